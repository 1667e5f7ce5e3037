"""Errors on their way out: the status of each class, and what a client is told.

A body is ``{"error": {"code", "message", "request_id", "fields"}}``. ``code`` is stable, for programs. ``fields`` says
which fields of which rows, and by what rule: never the values, for answers to errors end up in logs.
"""

import re
import traceback
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import orjson
from fastapi import HTTPException
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.requests import Request
from starlette.responses import Response

from featurestore import errors
from featurestore.refusals import BadRow

Field = Mapping[str, Any]
_SHOWN = 20
_SERVERS = 500  # statuses from here on are the server's own fault
# Rules as they are declared; another one is a validator's own words, which may hold values.
_DECLARED = re.compile(
    r"(ge|gt|le|lt|multiple_of|min_length|max_length|pattern)=|one of |(required|not null|bool|int|float|str|datetime)$"
    r"|not in the future$|no such field$"
)


class Verdict(NamedTuple):
    """Status, code, and words; ``None`` for the error's own words."""

    status: int
    code: str
    message: str | None


VERDICTS: Mapping[type[Exception], Verdict] = {
    errors.UnknownService: Verdict(404, "unknown_name", None),
    errors.AsOfError: Verdict(422, "as_of", None),
    errors.KeyTypeMismatch: Verdict(422, "key_type", "An entity key is not of the declared type: see the registry."),
    errors.InvalidRequest: Verdict(422, "invalid_request", "Fields are against the request schema: see `fields`."),
    errors.ConflictingRows: Verdict(
        409, "conflict", "Rows come under a known key with another payload: nothing taken."
    ),
    errors.InvalidRows: Verdict(422, "invalid_rows", "Rows are against the source's schema: nothing was accepted."),
    errors.DataError: Verdict(422, "data", "The data cannot be used as the source declares it."),
    errors.RequestError: Verdict(422, "invalid_request", "The request cannot be answered as asked."),
    errors.DefinitionError: Verdict(500, "definition", "A definition fails: its author finds why in the server's log."),
    errors.StoreBusy: Verdict(503, "busy", "The store is busy: try again."),
    errors.NotMaterialized: Verdict(
        503, "not_materialized", "The store has not been filled: featurestore materialize."
    ),
    errors.FeaturesChanged: Verdict(409, "features_changed", None),
    errors.MissingExtra: Verdict(503, "missing_extra", None),
    errors.OperationError: Verdict(503, "operation", "The store cannot answer: its operator finds why in the log."),
}
_UNFORESEEN = Verdict(500, "internal", "This was not foreseen. The server's log has it under the request id.")
_CODES = {400: "malformed", 401: "unauthorized", 403: "forbidden", 404: "not_found", 405: "method"}
_WORDS = {404: "There is nothing at this path: see /docs.", 405: "This path has another method: see /docs."}


def refused(
    status: int, code: str, message: str, fields: Sequence[Field] = (), headers: Mapping[str, str] | None = None
) -> HTTPException:
    """Return what to raise for a request that is refused before the store sees it."""
    return HTTPException(status, {"code": code, "message": message, "fields": list(fields)}, dict(headers or {}))


def verdict(error: Exception) -> Verdict:
    """Status, code and words of an error: those of its nearest class."""
    return next((VERDICTS[one] for one in type(error).__mro__ if one in VERDICTS), _UNFORESEEN)


def where(error: BaseException) -> dict[str, Any]:
    """Class and places of an error and its causes, for the log; its words only where they hold no values.

    What a user's function raises may quote what it was given: then the words end where that begins.
    """
    frames = traceback.extract_tb(error.__traceback__)  # to be taken while it is handled: later it has none
    told: dict[str, Any] = {"type": type(error).__name__, "at": [f"{one.filename}:{one.lineno}" for one in frames[-6:]]}
    cause = error.__cause__ or error.__context__
    if isinstance(error, errors.OperationError):
        told["message"] = str(error)
    elif isinstance(error, errors.DefinitionError):
        told["message"] = str(error) if cause is None else str(error).partition(type(cause).__name__)[0]
    return told if cause is None else told | {"cause": where(cause)}


def fields_of(error: Exception) -> list[Field]:
    """Rows and columns that an error names, with the rule but not the value."""
    named = error.args[1] if len(error.args) > 1 and isinstance(error.args[1], tuple) else ()
    return list(_fields(one for one in named[:_SHOWN] if isinstance(one, BadRow)))


def document(code: str, message: str, request_id: str, fields: Sequence[Field] = ()) -> bytes:
    """JSON of an error."""
    told = {"code": code, "message": message, "request_id": request_id, "fields": fields}
    return orjson.dumps({"error": told})


async def on_store_error(request: Request, error: Exception) -> Response:
    """Answer for an error of the store's."""
    status, code, words = verdict(error)
    if status >= _SERVERS:
        request.state.where = where(error)
    return _response(request, status, document(code, words or str(error), request.state.request_id, fields_of(error)))


async def on_refusal(request: Request, error: Exception) -> Response:
    """Answer for a request that was refused."""
    assert isinstance(error, AnyHTTPException)  # noqa: S101 - registered for this class alone
    told: Any = error.detail  # the framework's own are text
    if not isinstance(told, dict):
        words = _WORDS.get(error.status_code, str(error.detail))
        told = {"code": _CODES.get(error.status_code, "refused"), "message": words}
    body = document(request_id=request.state.request_id, **told)
    return _response(request, error.status_code, body, error.headers)


async def on_unforeseen(request: Request, error: Exception) -> Response:
    """Answer for what is no deliberate error."""
    request.state.where = where(error)
    status, code, words = _UNFORESEEN
    return _response(request, status, document(code, str(words), request.state.request_id))


def _response(request: Request, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> Response:
    added = dict(headers or {})
    if status == 503:  # noqa: PLR2004 - Service Unavailable
        added.setdefault("Retry-After", "1")
    if request.state.unread:  # the rest of a body that nobody reads must not be taken for the next request
        added["Connection"] = "close"
    return Response(body, status, added, "application/json")


def _fields(bad: Iterable[BadRow]) -> Iterable[Field]:
    for one in bad:
        rule = one.rule if _DECLARED.match(one.rule) else "rule of the schema"
        yield {"row": one.row, "field": one.column, "rule": rule}
