"""``POST /outcomes/{model}``: what came of predictions, durable when it is answered for."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from featurestore.errors import ConflictingRows
from featurestore.server import answers, openapi
from featurestore.server.failure import refused
from featurestore.server.serving import Handler, Serving, no_parameters, post

_MODEL: Mapping[str, Any] = {
    "name": "model",
    "in": "path",
    "required": True,
    "description": "name of the model, whatever version predicted",
    "schema": {"type": "string"},
}
_TEXT = {"type": "string", "maxLength": 64, "minLength": 1, "description": "X-Request-Id of the prediction."}
_ANY = [{"type": kind} for kind in ("boolean", "integer", "number", "string")]
_OUTCOME: Mapping[str, Any] = {
    "type": "object",
    "required": ["request_id", "outcome"],
    "additionalProperties": False,
    "properties": {
        "request_id": _TEXT,
        "outcome": {"anyOf": _ANY, "description": "One of the model's classes; of a regression a number."},
        "row": {"type": "integer", "minimum": 0, "default": 0, "description": "Place in a batch."},
        "event_time": {
            "anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}],
            "description": "When it turned out.",
        },
    },
}


def add(app: FastAPI, serving: Serving) -> None:
    """Add the route."""
    listed = {"type": "array", "items": _OUTCOME, "maxItems": serving.options.event_rows}
    body = {**openapi.objects({"outcomes": listed}), "additionalProperties": False}
    answer = openapi.objects({"rows": {"type": "integer"}, "duplicates": {"type": "integer"}})
    post(
        app,
        "/outcomes/{model}",
        _take(serving),
        serving.access.needs("ingest", of="model"),
        tag="predictions",
        summary="What came of predictions: all of them are taken, or none",
        name="outcomes",
        told=openapi.operation(answer, body=body, parameters=[_MODEL], also=["404", "409"]),
    )


def _take(serving: Serving) -> Handler:
    async def outcomes(request: Request) -> Response:
        no_parameters(request)
        model = request.path_params["model"]

        def answer(given: Any) -> bytes:
            rows = _listed(given, serving.options.event_rows)
            try:
                taken = serving.store.add_outcomes(model, rows, sender=request.state.key)
            except ConflictingRows as error:  # its words have request ids in them, and no values
                raise refused(409, "conflict", str(error)) from error
            return answers.dumps({"rows": taken.rows, "duplicates": taken.duplicates})

        return await serving.answer(request, answer, bulk=True, slow=True)

    return outcomes


def _listed(given: Any, limit: int) -> list[dict[str, Any]]:
    listed = given.get("outcomes") if type(given) is dict and given.keys() == {"outcomes"} else None
    if type(listed) is not list or any(type(one) is not dict for one in listed):
        raise refused(422, "invalid_request", 'Give one JSON object: {"outcomes": [{...}]}, and nothing else in it.')
    if len(listed) > limit:
        raise refused(422, "too_many_rows", f"There are {len(listed):,} outcomes; {limit:,} go at once.")
    return listed
