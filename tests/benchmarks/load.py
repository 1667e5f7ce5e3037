"""Clients of a server, in a process of their own: each sends its next request when the last one is answered.

Bare connections rather than a library's: on a machine with few processors the client's own work is the server's loss.
"""

import asyncio
import http.client
import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from benchmarks.lookups import drawn, percentiles
from benchmarks.rivals import Found, Timed

OK = b"HTTP/1.1 200"
BATCH = 100  # events of one request


class Client(asyncio.Protocol):
    """One connection that asks again and again, and notes how long each answer took, seconds."""

    def __init__(self, requests: list[bytes], until: float) -> None:
        self.requests = requests
        self.until = until
        self.taken: list[tuple[float, float]] = []
        self.failed = 0
        self.done = asyncio.get_running_loop().create_future()
        self._answer = b""
        self._next = 0
        self._begun = 0.0

    def connection_made(self, transport: Any) -> None:
        """Ask for the first time."""
        self._transport = transport
        self._ask()

    def data_received(self, given: bytes) -> None:
        """Ask again once the answer is there."""
        self._answer += given
        head, found, body = self._answer.partition(b"\r\n\r\n")
        if not found or len(body) < _length(head):
            return
        now = time.perf_counter()
        self.taken.append((now, now - self._begun))
        self.failed += not head.startswith(OK)
        if now < self.until:
            self._ask()
        else:
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        """Be done; a server that hangs up has failed."""
        self.failed += error is not None or not self.taken or self.taken[-1][0] < self.until
        self.done.set_result(None)

    def _ask(self) -> None:
        self._answer = b""
        self._begun = time.perf_counter()
        self._transport.write(self.requests[self._next % len(self.requests)])
        self._next += 1


def asking(
    url: str,
    path: str,
    entities: int,
    clients: int,
    seconds: float,
    warming: float,
    features: Sequence[str] | None = None,
) -> Timed:
    """Ask for the features of random entities over so many connections, and count after some seconds.

    ``features`` are to be named in the request where the server is Feast's.
    """
    address = urlsplit(url)
    names = drawn(entities, 5_000)
    documents = [_document(name, features) for name in names]
    requests = [request(address.netloc, path, one) for one in documents]

    async def ask() -> Found:
        begun = time.perf_counter() + warming
        loop = asyncio.get_running_loop()
        opened = []
        for number in range(clients):
            own = requests[number * len(requests) // clients :] + requests[: number * len(requests) // clients]
            _, client = await loop.create_connection(
                lambda own=own: Client(own, begun + seconds),  # type: ignore[misc]
                str(address.hostname),
                address.port or 80,
            )
            opened.append(client)
        await asyncio.gather(*(one.done for one in opened))
        taken = [took for one in opened for ended, took in one.taken if begun <= ended < begun + seconds]
        failed = sum(one.failed for one in opened)
        return {"rps": len(taken) / seconds, "failed": failed, **percentiles(taken)}

    return lambda: _run(ask())


def ingesting(url: str, per_second: int, entities: int, seconds: float) -> Timed:
    """Send events of random entities, a hundred to a request, so many a second as long as the server keeps up."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=30)

    def send() -> Found:
        begun, sent, refused = time.perf_counter(), 0, 0
        while (now := time.perf_counter() - begun) < seconds:
            if sent >= now * per_second:
                time.sleep(sent / per_second - now)
            names = drawn(entities, BATCH, seed=sent)
            at = datetime.now(UTC).isoformat()
            rows = [{"customer_id": name, "event_time": at, "amount": 9.5} for name in names]
            connection.request("POST", "/events/payments", json.dumps({"rows": rows}).encode(), JSON)
            answer = connection.getresponse()
            answer.read()
            sent += BATCH
            refused += answer.status != http.client.OK
        return {"per_second": sent / (time.perf_counter() - begun), "refused": refused}

    return send


JSON = {"Content-Type": "application/json"}


def request(host: str, path: str, document: dict[str, Any]) -> bytes:
    """A request as it goes over the wire."""
    body = json.dumps(document).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


def _document(name: str, features: Sequence[str] | None) -> dict[str, Any]:
    if features is None:
        return {"customer_id": name}
    return {"features": list(features), "entities": {"customer_id": [name]}}


def _length(head: bytes) -> int:
    lowered = head.lower()
    begin = lowered.index(b"content-length:") + len(b"content-length:")
    return int(lowered[begin : begin + 12].split(b"\r\n")[0])


def _run(work: Any) -> Found:
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found: Found = runner.run(work)
        return found
