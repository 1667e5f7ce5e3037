"""What the server tells of itself: registry, health, metrics, its OpenAPI and a page that shows it."""

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

from fastapi import Depends, FastAPI
from starlette.responses import Response

from featurestore.errors import FeatureStoreError
from featurestore.registry import Registry
from featurestore.server import answers, openapi
from featurestore.server.failure import refused
from featurestore.server.page import Page
from featurestore.server.serving import Serving

Handler = Callable[[], Awaitable[Response]]
_STATUS = openapi.objects({"status": {"type": "string"}})
_TEXT = "text/plain; version=0.0.4; charset=utf-8"


def add(app: FastAPI, serving: Serving) -> None:
    """Add the routes."""
    reads = [Depends(serving.access.needs("read"))]
    pages = [Depends(serving.access.needs("read", page=True))]
    registry = openapi.objects({kind: {"type": "array", "items": {"type": "object"}} for kind in _KINDS.values()})

    def get(path: str, handler: Handler, needs: list[Any], told: dict[str, Any] | None, summary: str = "") -> None:
        app.add_api_route(
            path,
            handler,
            methods=["GET"],
            dependencies=needs,
            response_model=None,
            tags=["server"],
            summary=summary,
            operation_id=path.strip("/").replace("/", "_").replace(".", "_"),
            include_in_schema=told is not None,
            openapi_extra=told,
        )

    get("/registry", _registry(serving), reads, openapi.operation(registry), "Every declaration, with its fingerprint")
    get("/health/live", _live, [], openapi.operation(_STATUS), "The process answers")
    get("/health/ready", _ready(serving), [], openapi.operation(_STATUS), "The store can be read, and no end has begun")
    get("/metrics", _metrics(serving), reads, openapi.operation(None, media_type="text/plain"), "For Prometheus")
    get("/openapi.json", _openapi(app), pages, None)
    get("/docs", _docs(app), pages, None)


_KINDS = {"entity": "entities", "source": "sources", "feature": "features", "label": "labels", "service": "services"}


def declared(registry: Registry) -> dict[str, list[dict[str, Any]]]:
    """Facts of every declaration by kind, in declared order: what ``GET /registry`` answers and the pages show."""
    told: dict[str, list[dict[str, Any]]] = {name: [] for name in _KINDS.values()}
    for fact in registry.facts():
        told[_KINDS[fact.kind]].append({name: value for name, value in asdict(fact).items() if name != "kind"})
    return told


def _registry(serving: Serving) -> Handler:
    document = answers.dumps(declared(serving.store.registry))

    async def registry() -> Response:
        return Response(document, media_type=answers.JSON)

    return registry


async def _live() -> Response:
    return answers.json({"status": "live"})


def _ready(serving: Serving) -> Handler:
    async def ready() -> Response:
        if serving.draining:
            raise refused(503, "stopping", "The server is about to stop.")
        try:
            serving.store.online.state()
        except FeatureStoreError as error:
            raise refused(503, "not_ready", "The store cannot be read.") from error
        return answers.json({"status": "ready"})

    return ready


def _metrics(serving: Serving) -> Handler:
    async def metrics() -> Response:
        return Response(serving.metrics.text(), media_type=_TEXT)

    return metrics


def _openapi(app: FastAPI) -> Handler:
    async def document() -> Response:
        return answers.json(app.openapi())

    return document


def _docs(app: FastAPI) -> Handler:
    page = Page()

    async def docs() -> Response:
        return page.answer(app.openapi())

    return docs
