"""``POST /features/{service}``: the features of one row, or of many."""

from collections.abc import Awaitable, Callable

from fastapi import Depends, FastAPI
from starlette.requests import Request
from starlette.responses import Response

from featurestore.errors import UnknownService
from featurestore.plan import ServicePlan
from featurestore.server import answers, openapi, shapes
from featurestore.server.serving import Serving, as_of

Handler = Callable[[Request], Awaitable[Response]]
_IN_THE_LOOP = 8  # rows: a batch up to here takes less than handing it to a thread and back


def add(app: FastAPI, serving: Serving) -> None:
    """Add the routes of every feature service."""
    needs = [Depends(serving.access.needs("read"))]
    for name, plan in serving.plans().items():
        request, features = shapes.request_of(plan), shapes.features_of(plan)
        vector = openapi.vector(features.schema)
        app.add_api_route(
            f"/features/{name}",
            _one(serving, plan, request),
            methods=["POST"],
            dependencies=needs,
            response_model=None,
            tags=["features"],
            summary=f"Features of {name} for one row",
            operation_id=f"features_{name}",
            openapi_extra=openapi.operation(vector, body=request.schema, parameters=[openapi.AS_OF]),
        )
        batch = shapes.rows_schema(request.schema, serving.options.batch_rows)
        app.add_api_route(
            f"/features/{name}/batch",
            _many(serving, plan, request),
            methods=["POST"],
            dependencies=needs,
            response_model=None,
            tags=["features"],
            summary=f"Features of {name} for many rows",
            operation_id=f"features_{name}_batch",
            openapi_extra=openapi.operation(shapes.rows_schema(vector), body=batch, parameters=[openapi.AS_OF]),
        )
    for path in ("/features/{service}", "/features/{service}/batch"):
        app.add_api_route(path, _none(serving), methods=["POST"], dependencies=needs, include_in_schema=False)


def _one(serving: Serving, plan: ServicePlan, shape: shapes.Shape) -> Handler:
    name, store = plan.service.name, serving.store
    route = f"/features/{name}"

    async def features(request: Request) -> Response:
        at = as_of(request)
        row = shape.row(await serving.read(request))
        vector = store.lookup(name, row, as_of=at)
        serving.metrics.rows(route, 1)
        return answers.json(answers.vector(vector))

    return features


def _many(serving: Serving, plan: ServicePlan, shape: shapes.Shape) -> Handler:
    name, store = plan.service.name, serving.store
    route = f"/features/{name}/batch"

    async def features(request: Request) -> Response:
        at = as_of(request)
        given = await serving.read(request, bulk=True)

        def answer() -> bytes:
            rows = shape.rows(given, limit=serving.options.batch_rows)
            made = store.lookup_many(name, rows, as_of=at)
            serving.metrics.rows(route, len(made))
            return answers.dumps(answers.vectors(made))

        rows = given.get("rows") if type(given) is dict else None
        small = type(rows) is list and len(rows) <= _IN_THE_LOOP
        return Response(answer() if small else await serving.threads.run(answer), media_type=answers.JSON)

    return features


def _none(serving: Serving) -> Callable[[str], Awaitable[Response]]:
    async def unknown(service: str) -> Response:
        serving.store.registry.service(service)
        raise UnknownService(f"No feature service named {service!r}.")

    return unknown
