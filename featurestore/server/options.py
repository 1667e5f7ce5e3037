"""How a server is run: set once, and handed to its workers through the environment."""

import functools
import ipaddress
import json
import os
from dataclasses import asdict, dataclass

from featurestore.errors import OperationError

VARIABLE = "FEATURESTORE_SERVER"


@dataclass(frozen=True, slots=True)
class Options:
    """Where to listen, and the limits. Times are in seconds, sizes in bytes.

    Parameters
    ----------
    project
        Folder of the project.
    host, port
        Address; port 0 takes a free one.
    workers
        Processes that answer.
    insecure
        Ask for no key even where others can reach the server.
    deadline_s
        For an answer, once its request has been read; ingest has five times as long.
    body_s, head_s, read_s
        For a client to send a body, to send the head of a request, and to take in what it is sent.
    connections
        Open at once, for each worker.
    threads
        Batches, ingests and predictions at once, for each worker.
    drain_s, grace_s
        At the end: not ready but still answering, then waiting for the answers that have been begun.
    log
        A JSON line on stderr for each request.
    """

    project: str = "."
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    insecure: bool = False
    deadline_s: float = 2.0
    body_s: float = 5.0
    head_s: float = 5.0
    read_s: float = 10.0
    connections: int = 1000
    threads: int = 4
    drain_s: float = 0.5
    grace_s: float = 5.0
    body_bytes: int = 1 << 20
    bulk_bytes: int = 10 << 20
    batch_rows: int = 1000
    event_rows: int = 10_000
    log: bool = True

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return is_loopback(self.host)

    def export(self) -> None:
        """Put them where :meth:`from_environment` finds them, in this process and those it starts."""
        os.environ[VARIABLE] = json.dumps(asdict(self))

    @classmethod
    def from_environment(cls) -> "Options":
        """Return what :meth:`export` put there.

        Raises
        ------
        OperationError
            If there is nothing.
        """
        if VARIABLE not in os.environ:
            raise OperationError(f"{VARIABLE} is not set: start the server with `featurestore serve`.")
        return cls(**json.loads(os.environ[VARIABLE]))


@functools.lru_cache(maxsize=64)
def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own."""
    bare = host.strip("[]").lower()
    try:
        return ipaddress.ip_address(bare).is_loopback
    except ValueError:
        return bare == "localhost" or bare.endswith(".localhost")
