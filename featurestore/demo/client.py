"""A server process for one project: started on a free loopback port, asked over HTTP, always stopped."""

import contextlib
import http.client
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, urlsplit

from featurestore import times
from featurestore.errors import OperationError

_MAIN = "import sys; from featurestore.cli import main; sys.exit(main())"
_UP_S, _DOWN_S, _PAUSE_S, _ANSWER_S = 120.0, 10.0, 0.02, 30.0
_OK = 200
_LOG_LINES = 10


class ServerProcess:
    """``featurestore serve`` for a project's folder, with options of its command; its log is a file there."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.options = options
        self.log = folder / ".featurestore" / "server.log"
        self.url = ""
        self.process: subprocess.Popen[bytes] | None = None
        self._output: IO[bytes] | None = None
        self._connection: http.client.HTTPConnection | None = None

    def start(self) -> None:
        """Start it and wait until it is ready.

        Raises
        ------
        OperationError
            If it ends, or is not ready within two minutes; with the last lines of its log.
        """
        self._output = self.log.open("wb")
        command = [sys.executable, "-c", _MAIN, "serve", "--project", str(self.folder.resolve()), "--port", "0"]
        command += self.options
        self.process = subprocess.Popen(  # noqa: S603 - this program itself
            command, stdin=subprocess.DEVNULL, stdout=self._output, stderr=self._output, env=environment()
        )
        deadline = time.monotonic() + _UP_S
        while not self._ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise OperationError(f"The server did not come up. The end of {self.log}:\n{self._tail()}")
            time.sleep(_PAUSE_S)

    def post(self, path: str, document: Mapping[str, Any], *, as_of: datetime | None = None) -> dict[str, Any]:
        """Send a JSON object and give the answer's.

        Raises
        ------
        OperationError
            If the server is gone or refuses.
        """
        asked = path if as_of is None else f"{path}?as_of={quote(times.isoformat(times.to_micros(as_of)))}"
        status, body = self._request("POST", asked, json.dumps(document).encode())
        if status != _OK:
            raise OperationError(f"POST {path} was answered with {status}: {body.decode(errors='replace')}")
        return dict(json.loads(body))

    def stop(self) -> None:
        """Ask it to end, and see to it that it does. It may be stopped twice, or never have been started."""
        if self._connection is not None:
            self._connection.close()
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.process.wait(_DOWN_S)
            finally:  # too slow, or Ctrl-C once more: nothing of it may be left
                self.process.kill()
                self.process.wait()
        if self._output is not None:
            self._output.close()

    def _ready(self) -> bool:
        """Whether it listens, and says that it is ready."""
        said = re.search(rb"serving on (http://\S+)", self.log.read_bytes())
        if said is None:
            return False
        self.url = said.group(1).decode()
        address = urlsplit(self.url)
        if self._connection is not None:
            self._connection.close()
        self._connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=_ANSWER_S)
        try:
            return self._request("GET", "/health/ready", None)[0] == _OK
        except OperationError:
            return False

    def _request(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        if self._connection is None:
            raise OperationError("The server has not been started.")
        try:
            self._connection.request(method, path, body, {"Content-Type": "application/json"})
            answer = self._connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise OperationError(f"The server at {self.url} does not answer: {error!r}\n{self._tail()}") from error

    def _tail(self) -> str:
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_LINES:])


def environment() -> dict[str, str]:
    """Give the environment without ``FEATURESTORE_*``: the project's own settings are what counts."""
    return {name: value for name, value in os.environ.items() if not name.startswith("FEATURESTORE_")}
