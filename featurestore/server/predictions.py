"""``POST /predict/{model}``: what a saved model says of one row, or of many.

Models come and go while the server runs, so their routes are not made of a list: the name in the path, ``name``,
``name@alias`` or ``name@version``, is resolved with each request.
"""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from featurestore.server import answers, openapi, shapes
from featurestore.server.serving import Handler, Serving, as_of, post

_MODEL: Mapping[str, Any] = {
    "name": "model",
    "in": "path",
    "required": True,
    "description": "name (its champion), name@alias or name@version",
    "schema": {"type": "string"},
}


def add(app: FastAPI, serving: Serving) -> None:
    """Add the routes."""
    needs = serving.access.needs("predict", of="model")
    taken = {name: shapes.request_of(plan) for name, plan in serving.plans().items()}
    schemas = [shape.schema for shape in taken.values()]
    row: Mapping[str, Any] = {"anyOf": schemas} if schemas else {"type": "object"}
    batch = shapes.rows_schema(row, serving.options.batch_rows)
    one, many = openapi.prediction(), shapes.rows_schema(openapi.prediction())

    def told(body: Mapping[str, Any], answer: Mapping[str, Any]) -> dict[str, Any]:
        return openapi.operation(answer, body=body, parameters=[_MODEL, openapi.AS_OF], also=["404"])

    post(
        app,
        "/predict/{model}",
        _one(serving, taken),
        needs,
        tag="predictions",
        summary="What a model says of one row",
        name="predict",
        told=told(row, one),
    )
    post(
        app,
        "/predict/{model}/batch",
        _many(serving, taken),
        needs,
        tag="predictions",
        summary="Of many rows",
        name="predict_batch",
        told=told(batch, many),
    )


def _one(serving: Serving, taken: Mapping[str, shapes.Shape]) -> Handler:
    loaded: set[str] = set()

    async def predict(request: Request) -> Response:
        model, at = request.path_params["model"], as_of(request)

        def answer(given: Any) -> bytes:
            service = _service(serving, model)
            row = taken[service].row(given)
            made = serving.store.predict(model, row, as_of=at)
            loaded.add(model)  # the first time it was read from the disk and checked
            serving.served(request, service, [row], [made])
            return answers.dumps(made.to_dict())

        return await serving.answer(request, answer, slow=model not in loaded)

    return predict


def _many(serving: Serving, taken: Mapping[str, shapes.Shape]) -> Handler:
    loaded: set[str] = set()

    async def predict(request: Request) -> Response:
        model, at = request.path_params["model"], as_of(request)

        def answer(given: Any) -> bytes:
            service = _service(serving, model)
            rows = taken[service].rows(shapes.listed(given, limit=serving.options.batch_rows))
            made = serving.store.predict_many(model, rows, as_of=at)
            loaded.add(model)
            serving.served(request, service, rows, made)
            return answers.dumps({"rows": [one.to_dict() for one in made]})

        return await serving.answer(request, answer, bulk=True, slow=model not in loaded)

    return predict


def _service(serving: Serving, model: str) -> str:
    """Feature service whose rows a model takes."""
    return serving.store.saved_models.load(model).service
