"""``POST /events/{source}``: events that arrive, durable and visible when they are answered for."""

from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from featurestore import rules
from featurestore.errors import InvalidRows, UnknownService
from featurestore.ingest import Ingested
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
    plain = rules.plan_of(serving.store.registry.sources[name].schema).plain

    def take(rows: list[Any]) -> Ingested:
        if not plain:  # validators of the model's own would see what has no place in this shape
            return serving.store.ingest(name, shape.rows(rows))
        try:
            return serving.store.ingest(name, rows)  # it takes what the shape takes, or less
        except InvalidRows:
            shape.rows(rows)  # which refuses in the words of every route, but for the model's own rules
            raise

    async def ingest(request: Request) -> Response:
        no_parameters(request)

        def answer(given: Any) -> bytes:
            done = take(_rows(given, serving.options.event_rows))
            serving.metrics.rows(f"/events/{name}", done.rows)
            return answers.dumps(answers.ingested(done))

        return await serving.answer(request, answer, bulk=True, slow=True)

    return ingest


def _rows(given: Any, limit: int) -> list[Any]:
    """Rows of ``{"rows": [...]}`` or of one event; no column of an event is a list."""
    several = type(given) is dict and type(given.get("rows")) is list
    return shapes.listed(given, limit=limit) if several else [given]


def _none(serving: Serving) -> Handler:
    async def unknown(request: Request) -> Response:
        name = request.path_params["source"]
        serving.store.registry.source(name)
        raise UnknownService(f"No source named {name!r}.")

    return unknown
