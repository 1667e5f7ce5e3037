"""Asking for rows again through the online path: in this process, or a server over HTTP."""

import http.client
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlsplit

from featurestore import times
from featurestore.errors import AsOfError, OperationError, RequestError
from featurestore.lookup import Prepared, Vector

Answer = Mapping[str, Any] | str
"""Features by name, or why the row could not be asked for."""
Ask = Callable[[Sequence[Mapping[str, Any]], Sequence[int]], Iterator[Answer]]
"""Gives the answer of each row, in order; ``as_of`` in microseconds UTC."""
ROWS = 1000
_HTTP_ROWS = 100
_TIMEOUT_S = 60.0
_OK, _REFUSED = 200, 422


def here(service: Prepared, look_up: Callable[..., Sequence[Vector]]) -> Ask:
    """Ask the store of this process."""
    name = service.plan.service.name

    def ask(rows: Sequence[Mapping[str, Any]], as_of: Sequence[int]) -> Iterator[Answer]:
        for first in range(0, len(rows), ROWS):
            some = slice(first, first + ROWS)
            yield from _halving(name, rows[some], as_of[some])

    def _halving(name: str, rows: Sequence[Mapping[str, Any]], as_of: Sequence[int]) -> Iterator[Answer]:
        try:
            yield from [vector.features for vector in look_up(name, list(rows), as_of=list(as_of))]
        except AsOfError as error:
            if len(rows) == 1:
                yield _reason(str(error))
            else:
                half = len(rows) // 2
                yield from _halving(name, rows[:half], as_of[:half])
                yield from _halving(name, rows[half:], as_of[half:])

    return ask


def over_http(url: str, service: str, *, key: str | None = None) -> Ask:
    """Ask a server: rows of one instant that follow each other in one batch.

    Raises
    ------
    OperationError
        If it does not answer.
    RequestError
        If it refuses.
    """
    address = urlsplit(url)
    if address.scheme not in ("http", "https") or not address.hostname:
        raise RequestError(f"{url!r} is no address of a server: give one such as http://127.0.0.1:8000.")
    kind = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
    headers = {"Content-Type": "application/json"} | ({} if key is None else {"Authorization": f"Bearer {key}"})

    def ask(rows: Sequence[Mapping[str, Any]], as_of: Sequence[int]) -> Iterator[Answer]:
        connection = kind(str(address.hostname), address.port, timeout=_TIMEOUT_S)
        try:
            for instant, group in itertools.groupby(zip(as_of, rows, strict=True), key=lambda one: one[0]):
                at = quote(times.isoformat(instant))
                path = f"{address.path.rstrip('/')}/features/{quote(service)}/batch?as_of={at}"
                own = [row for _, row in group]
                for first in range(0, len(own), _HTTP_ROWS):
                    some = own[first : first + _HTTP_ROWS]
                    body = json.dumps({"rows": some}, default=_as_text).encode()
                    yield from _answers(connection, path, body, headers, len(some))
        except (OSError, http.client.HTTPException) as error:
            raise OperationError(f"The server at {url} does not answer: {error!r}.") from error
        finally:
            connection.close()

    return ask


def _answers(
    connection: http.client.HTTPConnection, path: str, body: bytes, headers: Mapping[str, str], rows: int
) -> list[Answer]:
    connection.request("POST", path, body, dict(headers))
    answer = connection.getresponse()
    text = answer.read()
    if answer.status == _OK:
        return [one["features"] for one in json.loads(text)["rows"]]
    if answer.status == _REFUSED and json.loads(text)["error"]["code"] == "as_of":
        return [_reason(text.decode(errors="replace"))] * rows
    raise RequestError(f"POST {path} was answered with {answer.status}: {text.decode(errors='replace')}")


def _reason(text: str) -> str:
    return "as_of in the future" if "future" in text else "as_of older than the online store retains"


def _as_text(value: Any) -> str:
    return times.isoformat(times.to_micros(value))
