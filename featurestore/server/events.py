"""``POST /events/{source}``: events that arrive, durable and visible when they are answered for."""

from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from featurestore.errors import UnknownService
from featurestore.server import answers, openapi, shapes
from featurestore.server.serving import Handler, Serving, no_parameters, post


def add(app: FastAPI, serving: Serving) -> None:
    """Add the routes of every source."""
    for name, source in serving.store.registry.sources.items():
        event = shapes.event_of(source)
        either = {"anyOf": [event.schema, shapes.rows_schema(event.schema, serving.options.event_rows)]}
        post(
            app,
            f"/events/{name}",
            _ingest(serving, name, event),
            serving.access.needs("ingest", name),
            tag="events",
            summary=f"Append events of {name}: all of them, or none",
            name=f"events_{name}",
            told=openapi.operation(openapi.ingested(), body=either, also=["409"]),
        )
    post(app, "/events/{source}", _none(serving), serving.access.needs("ingest", of="source"), tag="events")


def _ingest(serving: Serving, name: str, shape: shapes.Shape) -> Handler:
    async def ingest(request: Request) -> Response:
        no_parameters(request)

        def answer(given: Any) -> bytes:
            done = serving.store.ingest(name, _rows(given, shape, serving.options.event_rows))
            serving.metrics.rows(f"/events/{name}", done.rows)
            return answers.dumps(answers.ingested(done))

        return await serving.answer(request, answer, bulk=True, slow=True)

    return ingest


def _rows(given: Any, shape: shapes.Shape, limit: int) -> list[dict[str, Any]]:
    """Rows of ``{"rows": [...]}`` or of one event; no column of an event is a list."""
    if type(given) is dict and type(given.get("rows")) is list:
        return shape.rows(given, limit=limit)
    return [shape.row(given)]


def _none(serving: Serving) -> Handler:
    async def unknown(request: Request) -> Response:
        name = request.path_params["source"]
        serving.store.registry.source(name)
        raise UnknownService(f"No source named {name!r}.")

    return unknown
