"""``POST /events/{source}``: events that arrive, durable and visible when they are answered for."""

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Depends, FastAPI
from starlette.requests import Request
from starlette.responses import Response

from featurestore.errors import UnknownService
from featurestore.server import answers, openapi, shapes
from featurestore.server.serving import Serving, no_parameters


def add(app: FastAPI, serving: Serving) -> None:
    """Add the routes of every source."""
    needs = [Depends(serving.access.needs("ingest"))]
    for name, source in serving.store.registry.sources.items():
        event = shapes.event_of(source)
        either = {"anyOf": [event.schema, shapes.rows_schema(event.schema, serving.options.event_rows)]}
        app.add_api_route(
            f"/events/{name}",
            _ingest(serving, name, event),
            methods=["POST"],
            dependencies=needs,
            response_model=None,
            tags=["events"],
            summary=f"Append events of {name}: all of them, or none",
            operation_id=f"events_{name}",
            openapi_extra=openapi.operation(openapi.ingested(), body=either, also=["409"]),
        )
    app.add_api_route("/events/{source}", _none(serving), methods=["POST"], dependencies=needs, include_in_schema=False)


def _ingest(serving: Serving, name: str, shape: shapes.Shape) -> Callable[[Request], Awaitable[Response]]:
    route = f"/events/{name}"

    async def ingest(request: Request) -> Response:
        no_parameters(request)
        given = await serving.read(request, bulk=True, slow=True)

        def answer() -> bytes:
            done = serving.store.ingest(name, _rows(given, shape, serving.options.event_rows))
            serving.metrics.rows(route, done.rows)
            return answers.dumps(answers.ingested(done))

        return Response(await serving.threads.run(answer), media_type=answers.JSON)

    return ingest


def _rows(given: Any, shape: shapes.Shape, limit: int) -> list[dict[str, Any]]:
    """Rows of ``{"rows": [...]}`` or of one event; no column of an event is a list."""
    if type(given) is dict and type(given.get("rows")) is list:
        return shape.rows(given, limit=limit)
    return [shape.row(given)]


def _none(serving: Serving) -> Callable[[str], Awaitable[Response]]:
    async def unknown(source: str) -> Response:
        serving.store.registry.source(source)
        raise UnknownService(f"No source named {source!r}.")

    return unknown
