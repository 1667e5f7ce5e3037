"""What stands before every route: request id, headers, deadline, one log line, metrics, and no error that gets out."""

import os
import re
import sys
import time
from collections.abc import Mapping
from typing import Any, Protocol

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from featurestore import times
from featurestore.server.deadlines import Deadlines
from featurestore.server.failure import document, where
from featurestore.server.metrics import Metrics
from featurestore.server.options import Options

HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
POLICY = (
    b"content-security-policy",
    b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
)
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")


class Log(Protocol):
    """Takes one line of the log."""

    def __call__(self, event: str, **facts: Any) -> None:
        """Write it."""


def to_stderr(event: str, **facts: Any) -> None:
    """Write one JSON line: when, what, in which process, and facts of it."""
    line = {"time": times.isoformat(times.system_clock()), "event": event, "pid": os.getpid(), **facts}
    sys.stderr.buffer.write(orjson.dumps(line, str) + b"\n")
    sys.stderr.buffer.flush()


def to_nowhere(event: str, **facts: Any) -> None:
    """Write nothing."""


class Edge:
    """The whole application, as pure ASGI.

    Handlers find in ``request.state``: ``request_id``; ``deadlines``, to move their own, which is the body's first;
    ``reading``, to be set while a body is read, and ``unread`` where one is left; ``key`` (its id) and ``where`` (of an
    error), which go to the log.
    """

    def __init__(self, app: ASGIApp, options: Options, metrics: Metrics, log: Log) -> None:
        self._app = app
        self._options = options
        self._metrics = metrics
        self._deadlines = Deadlines()
        self._log = log
        self._requests = log if options.log else to_nowhere

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http":
            await self._answer(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1003})

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = time.perf_counter()
        state: dict[str, Any] = scope.setdefault("state", {})
        state.update(request_id=_request_id(scope), unread=False, reading=False, key=None, where=None)
        state["deadlines"] = self._deadlines
        answer = _Answer(send, state["request_id"].encode())
        options = self._options
        limit = options.body_s if scope["method"] == "POST" else options.body_s + options.deadline_s
        try:
            await self._deadlines.within(limit, self._app(scope, receive, answer))
        except TimeoutError as error:
            if state["reading"]:
                words = f"The body did not arrive within {options.body_s:g} s."
                await answer.fail(408, "slow_body", words, state["request_id"])
            else:
                state["where"] = where(error)
                words = "The answer took too long. Events may have been taken: send them again under the same keys."
                await answer.fail(504, "deadline", words, state["request_id"])
        except Exception as error:  # noqa: BLE001 - the outermost place: nothing gets out of here but an answer
            state["where"] = where(error)
            words = "This was not foreseen. The server's log has it under the request id."
            await answer.fail(500, "internal", words, state["request_id"])
        finally:
            self._note(scope, state, answer.status, time.perf_counter() - begun)

    def _note(self, scope: Scope, state: Mapping[str, Any], status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "unmatched")
        self._metrics.answered(route, scope["method"], status, seconds)
        event, log = ("request", self._requests) if state["where"] is None else ("error", self._log)
        if log is to_nowhere:
            return
        facts = {"request_id": state["request_id"], "method": scope["method"], "route": route, "status": status}
        facts |= {"latency_ms": round(seconds * 1000, 3), "key": state["key"]}
        log(event, **facts, **state["where"] or {})


class _Answer:
    """Sends an answer with what every answer has, and knows how far it has got."""

    def __init__(self, send: Send, request_id: bytes) -> None:
        self._send = send
        self._request_id = request_id
        self.status = 499  # nothing was sent: the client has gone

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = message.setdefault("headers", [])
            headers += [*HEADERS, (b"x-request-id", self._request_id)]
            if not any(name == POLICY[0] for name, _ in headers):
                headers.append(POLICY)
        await self._send(message)

    async def fail(self, status: int, code: str, words: str, request_id: str) -> None:
        """Answer with an error, if nothing has been sent yet."""
        if self.status != 499:  # noqa: PLR2004 - as above
            return
        body = document(code, words, request_id)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        await self({"type": "http.response.start", "status": status, "headers": headers})
        await self({"type": "http.response.body", "body": body})


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return str(value.decode())
    return os.urandom(8).hex()  # outcomes are told under it: it can be neither seeded nor foreseen
