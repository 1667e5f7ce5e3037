"""What uvicorn leaves open on one connection: a deadline for the head of a request, its size, how many there may be."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from featurestore.server.edge import HEADERS, POLICY
from featurestore.server.failure import document
from featurestore.server.options import Options

_HEAD_BYTES = 64 << 10


class Connection(HttpToolsProtocol):
    """One client. A head that does not arrive in time, or is too long, ends the connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._options = Options.from_environment()
        self._waiting: asyncio.TimerHandle | None = None
        self._in_head = True
        self._head = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count it in, or refuse it."""
        super().connection_made(_AtOnce(transport, self.loop))  # type: ignore[arg-type]
        if len(self.connections) > self._options.connections:
            self._refuse(b"503 Service Unavailable", "busy", "Too many connections are open: try again.")
        else:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._arrived()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes in; between requests they begin the head of the next."""
        if self.transport.is_closing():
            return
        self._in_head = self._in_head or self.cycle is None or self.cycle.response_complete
        super().data_received(data)
        if self._in_head:  # all of it was head, and there is more to come
            if self._waiting is None:
                self._wait()
            self._head += len(data)
            if self._head > _HEAD_BYTES:
                self._refuse(b"431 Request Header Fields Too Large", "head", "The head of the request is too long.")

    def on_headers_complete(self) -> None:
        """Start the request: its head is here."""
        self._arrived()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP as everything is answered."""
        self._refuse(b"400 Bad Request", "malformed", msg)

    def _wait(self) -> None:
        self._head = 0
        self._waiting = self.loop.call_later(self._options.head_s, self.transport.abort)

    def _arrived(self) -> None:
        self._in_head = False
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _refuse(self, status: bytes, code: str, words: str) -> None:
        self._arrived()
        body = document(code, words, "")
        lines = [*HEADERS, POLICY, (b"content-type", b"application/json"), (b"retry-after", b"1")]
        lines += [(b"content-length", str(len(body)).encode()), (b"connection", b"close")]
        head = b"".join(name + b": " + value + b"\r\n" for name, value in lines)
        self.transport.write(b"HTTP/1.1 " + status + b"\r\n" + head + b"\r\n" + body)
        self.transport.close()


class _AtOnce:
    """A transport that sends at once what is written in one turn of the loop: a head and its body are two writes."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._held: list[bytes] = []

    def write(self, data: bytes) -> None:
        if not self._held:
            self._loop.call_soon(self._send)
        self._held.append(data)

    def close(self) -> None:
        self._send()
        self._transport.close()

    def _send(self) -> None:
        if self._held:
            held, self._held = self._held, []
            self._transport.write(b"".join(held))

    def __getattr__(self, name: str) -> Any:
        """Return whatever else the transport does."""
        return getattr(self._transport, name)
