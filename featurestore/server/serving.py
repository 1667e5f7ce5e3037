"""What the routes share, and how one request is taken in."""

from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from featurestore import times
from featurestore.errors import RequestError
from featurestore.lookup import Vector
from featurestore.models import Prediction
from featurestore.monitoring.recorder import Recorder
from featurestore.plan import ServicePlan, compile_service
from featurestore.server import answers, body
from featurestore.server.access import Access, Needs
from featurestore.server.failure import refused
from featurestore.server.metrics import Metrics
from featurestore.server.options import Options
from featurestore.server.threads import Threads
from featurestore.store import FeatureStore

Handler = Callable[[Request], Awaitable[Response]]


@dataclass
class Serving:
    """One process that answers: the store, what guards it, and whether the end has begun.

    ``recorder`` is there while the application runs.
    """

    store: FeatureStore
    options: Options
    access: Access
    threads: Threads
    metrics: Metrics = field(default_factory=Metrics)
    recorder: Recorder | None = None
    draining: bool = False

    def plans(self) -> Mapping[str, ServicePlan]:
        """Every feature service, resolved."""
        registry = self.store.registry
        return {name: compile_service(one, registry.outputs) for name, one in registry.services.items()}

    async def read(self, request: Request, *, bulk: bool = False, slow: bool = False) -> Any:
        """Return what a body says, and start the clock of its answer; a ``slow`` one has five times as long."""
        options = self.options
        limit = options.bulk_bytes if bulk else options.body_bytes
        read = await body.read(request, limit=limit)
        request.state.deadlines.move(options.deadline_s * (5 if slow else 1))
        if len(read) > options.body_bytes // 4:  # long enough to hold up the others
            return await self.threads.run(lambda: body.parse(read))
        return body.parse(read)

    async def answer(
        self,
        request: Request,
        answer: Callable[[Any], bytes],
        *,
        bulk: bool = False,
        slow: bool = False,
        quick: Callable[[Any], bool] = lambda given: False,  # noqa: ARG005 - named for the reader
    ) -> Response:
        """Answer what a body says: in a thread, unless it is so ``quick`` that handing it over would take longer."""
        given = await self.read(request, bulk=bulk, slow=slow)
        made = answer(given) if quick(given) else await self.threads.run(lambda: answer(given))
        return Response(made, media_type=answers.JSON)

    def served(
        self,
        request: Request,
        service: str,
        rows: Sequence[Mapping[str, Any]],
        made: Sequence[Vector] | Sequence[Prediction],
    ) -> None:
        """Count what is about to be answered, and have it written down."""
        self.metrics.rows(request.scope["route"].path, len(made))
        if self.recorder is not None:
            self.recorder.record(service, request.state.request_id, rows, made)


def post(
    app: FastAPI,
    path: str,
    handler: Handler,
    needs: Needs,
    *,
    tag: str,
    summary: str = "",
    name: str = "",
    told: Mapping[str, Any] | None = None,
) -> None:
    """Add a route that takes a body; without what is to be ``told`` of it, ``/docs`` does not show it."""

    async def admitted(request: Request) -> Response:
        await needs(request)
        return await handler(request)

    app.router.add_api_route(
        path,
        admitted,
        methods=["POST"],
        route_class_override=Direct,
        response_model=None,
        tags=[tag],
        summary=summary,
        operation_id=name or None,
        openapi_extra=None if told is None else dict(told),
        include_in_schema=told is not None,
    )


class Direct(APIRoute):
    """A route whose handler takes the request as it is: to resolve its one parameter costs as much as to read a row."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Give the handler."""
        return self.endpoint


def as_of(request: Request) -> int | None:
    """Return the instant that is asked for, microseconds UTC, or ``None`` for now.

    Raises
    ------
    HTTPException
        422 if it is none, or another parameter is given: one that is misspelt must not ask for now.
    """
    if not request.scope["query_string"]:
        return None
    given = parameters(request)
    unknown = sorted(name for name in given if name != "as_of")
    if unknown or len(given.getlist("as_of")) > 1:
        raise refused(422, "parameter", "Give as_of once, and no other parameter.")
    try:
        return times.to_micros(given["as_of"])
    except RequestError as error:
        words = "as_of is no ISO 8601 instant such as 2026-01-31T12:00:00Z (in a query, + is written %2B)."
        raise refused(422, "as_of", words) from error


def no_parameters(request: Request) -> None:
    """Refuse parameters on a route that has none."""
    if request.scope["query_string"] and parameters(request):
        raise refused(422, "parameter", "There are no parameters here.")


def parameters(request: Request) -> QueryParams:
    """Parameters of the query."""
    return request.query_params
