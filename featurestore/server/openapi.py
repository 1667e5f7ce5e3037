"""The pieces of OpenAPI that routes give themselves: bodies, answers and errors, each schema whole in its place."""

from collections.abc import Mapping, Sequence
from typing import Any

Schema = Mapping[str, Any]

AS_OF: Schema = {
    "name": "as_of",
    "in": "query",
    "required": False,
    "description": "Instant to answer as of, ISO 8601, naive is UTC; by default now. Not in the future.",
    "schema": {"type": "string", "format": "date-time"},
}
_INSTANT: Schema = {"type": "string", "format": "date-time"}
_INTEGER: Schema = {"type": "integer"}
_TEXT: Schema = {"type": "string"}
_FIELD: Schema = {
    "type": "object",
    "properties": {"row": {"type": "integer", "minimum": 1}, "field": _TEXT, "rule": _TEXT},
    "required": ["row", "field", "rule"],
}
_ERROR: Schema = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "request_id", "fields"],
            "properties": {
                "code": _TEXT,
                "message": _TEXT,
                "request_id": _TEXT,
                "fields": {"type": "array", "items": _FIELD},
            },
        }
    },
}
_STATUSES = {
    "400": "No JSON",
    "401": "No key that holds",
    "403": "The key has not the scope",
    "404": "No such name",
    "408": "The body came too slowly",
    "413": "The body is too large",
    "415": "Not application/json",
    "421": "A foreign host name",
    "422": "Not as declared",
    "429": "Too many requests of this key: see Retry-After",
    "503": "Busy, or not ready",
    "504": "The answer took too long",
}


def objects(properties: Mapping[str, Any]) -> Schema:
    """Schema of an object that has all of these."""
    return {"type": "object", "required": list(properties), "properties": dict(properties)}


def vector(features: Schema) -> Schema:
    """Schema of a vector in an answer."""
    return objects({"features": features, "as_of": _INSTANT, "position": _INTEGER, "fingerprint": _TEXT})


def ingested() -> Schema:
    """Schema of what an ingest answers."""
    known_at = {"anyOf": [_INSTANT, {"type": "null"}]}
    return objects({"rows": _INTEGER, "duplicates": _INTEGER, "position": _INTEGER, "known_at": known_at})


def prediction() -> Schema:
    """Schema of a prediction in an answer."""
    number = {"anyOf": [{"type": "number"}, {"type": "null"}]}
    by_class = {"anyOf": [{"type": "object", "additionalProperties": {"type": "number"}}, {"type": "null"}]}
    return objects(
        {
            "model": _TEXT,
            "version": _TEXT,
            "label": {"description": "The likeliest class; null for a regression."},
            "probabilities": {**by_class, "description": "By class; null for a regression."},
            "value": {**number, "description": "What a regression gives."},
            "decision": {"anyOf": [{"type": "boolean"}, {"type": "null"}], "description": "By the model's threshold."},
            "fingerprint": _TEXT,
            "as_of": _INSTANT,
            "position": _INTEGER,
            "features": {"type": "object"},
        }
    )


def operation(
    answer: Schema | None,
    *,
    body: Schema | None = None,
    parameters: Sequence[Schema] = (),
    also: Sequence[str] = (),
    media_type: str = "application/json",
) -> dict[str, Any]:
    """Give what a route says of itself; ``also`` names statuses beyond those that every route has."""
    content = {media_type: {"schema": answer or {}}}
    responses: dict[str, Any] = {"200": {"description": "The answer", "content": content}}
    common = ["401", "403", "421", "429", "503", "504"]
    with_body = ["400", "408", "413", "415", "422"] if body is not None else []
    for status in sorted({*common, *with_body, *also}):
        words = _STATUSES.get(status, "A conflict: nothing was taken")
        responses[status] = {"description": words, "content": {"application/json": {"schema": _ERROR}}}
    told: dict[str, Any] = {"responses": responses, "security": [{"key": []}]}
    if parameters:
        told["parameters"] = [dict(one) for one in parameters]
    if body is not None:
        told["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return told
