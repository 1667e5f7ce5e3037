"""Bodies of requests: read under a cap and a deadline, parsed strictly.

What JSON leaves open is refused here, for two readers could take it differently: a name twice in one object, ``NaN``
and ``Infinity``, numbers outside what a double holds, bytes that are no UTF-8.
"""

import json
import math
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from starlette.requests import ClientDisconnect, Request

from featurestore.server.failure import refused


async def read(request: Request, *, limit: int) -> bytes:
    """Return a request's whole body; while it is ``reading``, the edge's deadline is the body's.

    Raises
    ------
    HTTPException
        413 above ``limit`` bytes, 415 if it is not plain JSON.
    """
    _check_type(request)
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and (len(declared) > len(str(limit)) or int(declared) > limit):
        raise _too_large(request, limit)
    state = request.scope["state"]
    state["reading"] = True
    try:
        whole = await _whole(request, limit)
    except ClientDisconnect as error:
        raise refused(400, "cut_off", "The body ended early.") from error
    state["reading"] = False
    return whole


def parse(body: bytes) -> Any:
    """Return what a body of JSON says: integers exact, whatever is not plain JSON refused.

    Raises
    ------
    HTTPException
        400, without the values.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise refused(400, "malformed", f"The body is not UTF-8: byte {error.start}.") from error
    try:
        return _decoded(text)
    except _Refused as error:
        raise refused(400, "malformed", str(error)) from error
    except json.JSONDecodeError as error:
        raise refused(400, "malformed", f"The body is no JSON: {error.msg}, at character {error.pos}.") from error
    except RecursionError as error:
        raise refused(400, "malformed", "The body is nested too deeply: objects here are flat.") from error
    except ValueError as error:  # an integer of thousands of digits
        raise refused(400, "malformed", "The body has a number of too many digits.") from error


def _decoded(text: str) -> Any:
    """Decode, and refuse text that no UTF-8 holds: half of a pair of surrogates, written as an escape."""
    said = _DECODER.decode(text)
    try:
        if _SURROGATE.search(text):
            json.dumps(said, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise _Refused("The body has half of a surrogate pair, which is no text.") from error
    return said


_TYPES = (b"content-type", b"content-encoding")
_PLAIN = (b"content-type", b"application/json")


class _Refused(ValueError):
    """What this parser does not take; it says why."""


async def _whole(request: Request, limit: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise _too_large(request, limit)
        chunks.append(chunk)
    return b"".join(chunks)


def _check_type(request: Request) -> None:
    """Ask for JSON by name: other sites' pages cannot make a browser send that here without leave."""
    given = [(name, value) for name, value in request.scope["headers"] if name in _TYPES]
    if given == [_PLAIN]:
        return
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        request.state.unread = True
        raise refused(415, "encoding", "Send the body as it is, without Content-Encoding.")
    kind, _, parameters = request.headers.get("content-type", "").partition(";")
    charset = parameters.strip().lower().removeprefix("charset=").strip('"')
    if kind.strip().lower() != "application/json" or charset not in ("", "utf-8"):
        request.state.unread = True
        raise refused(415, "content_type", "Send JSON in UTF-8, with Content-Type: application/json.")


def _too_large(request: Request, limit: int) -> Exception:
    request.state.unread = True
    return refused(413, "too_large", f"The body is larger than {limit:,} bytes.")


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise _Refused("The body has a name twice in one object.")
    return made


def _constant(name: str) -> NoReturn:
    raise _Refused(f"The body has {name}, which is no JSON: give null for a value that is missing.")


def _number(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise _Refused("The body has a number too large for a double.")
    return number


_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_constant, parse_float=_number)
