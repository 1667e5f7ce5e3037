"""``POST /features/{service}``: the features of one row, or of many."""

from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from featurestore.errors import UnknownService
from featurestore.plan import ServicePlan
from featurestore.server import answers, openapi, shapes
from featurestore.server.serving import Handler, Serving, as_of, post

_IN_THE_LOOP = 8  # rows: a batch up to here takes less than handing it to a thread and back


def add(app: FastAPI, serving: Serving) -> None:
    """Add the routes of every feature service."""
    for name, plan in serving.plans().items():
        request, features = shapes.request_of(plan), shapes.features_of(plan)
        needs = serving.access.needs("read", name)
        vector = openapi.vector(features.schema)
        post(
            app,
            f"/features/{name}",
            _one(serving, plan, request),
            needs,
            tag="features",
            summary=f"Features of {name} for one row",
            name=f"features_{name}",
            told=openapi.operation(vector, body=request.schema, parameters=[openapi.AS_OF]),
        )
        batch = shapes.rows_schema(request.schema, serving.options.batch_rows)
        post(
            app,
            f"/features/{name}/batch",
            _many(serving, plan, request),
            needs,
            tag="features",
            summary=f"Features of {name} for many rows",
            name=f"features_{name}_batch",
            told=openapi.operation(shapes.rows_schema(vector), body=batch, parameters=[openapi.AS_OF]),
        )
    for path in ("/features/{service}", "/features/{service}/batch"):
        post(app, path, _none(serving), serving.access.needs("read", of="service"), tag="features")


def _one(serving: Serving, plan: ServicePlan, shape: shapes.Shape) -> Handler:
    name = plan.service.name

    async def features(request: Request) -> Response:
        at = as_of(request)

        def answer(given: Any) -> bytes:
            row = shape.row(given)
            vector = serving.store.lookup(name, row, as_of=at)
            serving.served(request, name, [row], [vector])
            return answers.dumps(answers.vector(vector))

        return await serving.answer(request, answer, quick=lambda _: True)

    return features


def _many(serving: Serving, plan: ServicePlan, shape: shapes.Shape) -> Handler:
    name = plan.service.name

    async def features(request: Request) -> Response:
        at = as_of(request)

        def answer(given: Any) -> bytes:
            rows = shape.rows(shapes.listed(given, limit=serving.options.batch_rows))
            made = serving.store.lookup_many(name, rows, as_of=at)
            serving.served(request, name, rows, made)
            return answers.dumps(answers.vectors(made))

        return await serving.answer(request, answer, bulk=True, quick=_few)

    return features


def _few(given: Any) -> bool:
    rows = given.get("rows") if type(given) is dict else None
    return type(rows) is list and len(rows) <= _IN_THE_LOOP


def _none(serving: Serving) -> Handler:
    async def unknown(request: Request) -> Response:
        name = request.path_params["service"]
        serving.store.registry.service(name)
        raise UnknownService(f"No feature service named {name!r}.")

    return unknown
