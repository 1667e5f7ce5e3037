"""``POST /predict/{model}``: what a saved model says of one row, or of many.

Models come and go while the server runs, so their routes are not made of a list: the name in the path, ``name``,
``name@alias`` or ``name@version``, is resolved with each request.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from fastapi import Depends, FastAPI
from starlette.requests import Request
from starlette.responses import Response

from featurestore.server import answers, openapi, shapes
from featurestore.server.serving import Serving, as_of

Handler = Callable[[Request], Awaitable[Response]]
_MODEL: Mapping[str, Any] = {
    "name": "model",
    "in": "path",
    "required": True,
    "description": "name (its champion), name@alias or name@version",
    "schema": {"type": "string"},
}


def add(app: FastAPI, serving: Serving) -> None:
    """Add the routes."""
    needs = [Depends(serving.access.needs("predict"))]
    taken = {name: shapes.request_of(plan) for name, plan in serving.plans().items()}
    schemas = [shape.schema for shape in taken.values()]
    row: Mapping[str, Any] = {"anyOf": schemas} if schemas else {"type": "object"}
    batch = shapes.rows_schema(row, serving.options.batch_rows)
    made = openapi.prediction()
    routes: list[tuple[str, Handler, Mapping[str, Any], Mapping[str, Any], str]] = [
        ("/predict/{model}", _one(serving, taken), row, made, "What a model says of one row"),
        ("/predict/{model}/batch", _many(serving, taken), batch, shapes.rows_schema(made), "Of many rows"),
    ]
    for path, handler, body, answer, summary in routes:
        app.add_api_route(
            path,
            handler,
            methods=["POST"],
            dependencies=needs,
            response_model=None,
            tags=["predictions"],
            summary=summary,
            operation_id="predict" if handler is routes[0][1] else "predict_batch",
            openapi_extra=openapi.operation(answer, body=body, parameters=[_MODEL, openapi.AS_OF], also=["404"]),
        )


def _one(serving: Serving, taken: Mapping[str, shapes.Shape]) -> Handler:
    loaded: set[str] = set()

    async def predict(request: Request) -> Response:
        model, at = request.path_params["model"], as_of(request)
        given = await serving.read(request, slow=model not in loaded)

        def answer() -> bytes:
            row = _shape(serving, taken, model).row(given)
            made = serving.store.predict(model, row, as_of=at)
            loaded.add(model)  # the first time it was read from the disk and checked
            serving.metrics.rows("/predict/{model}", 1)
            return answers.dumps(made.to_dict())

        return Response(await serving.threads.run(answer), media_type=answers.JSON)

    return predict


def _many(serving: Serving, taken: Mapping[str, shapes.Shape]) -> Handler:
    loaded: set[str] = set()

    async def predict(request: Request) -> Response:
        model, at = request.path_params["model"], as_of(request)
        given = await serving.read(request, bulk=True, slow=model not in loaded)

        def answer() -> bytes:
            rows = _shape(serving, taken, model).rows(given, limit=serving.options.batch_rows)
            made = serving.store.predict_many(model, rows, as_of=at)
            loaded.add(model)
            serving.metrics.rows("/predict/{model}/batch", len(made))
            return answers.dumps({"rows": [one.to_dict() for one in made]})

        return Response(await serving.threads.run(answer), media_type=answers.JSON)

    return predict


def _shape(serving: Serving, taken: Mapping[str, shapes.Shape], model: str) -> shapes.Shape:
    """Shape of the rows that a model takes: those of its feature service."""
    return taken[serving.store.saved_models.load(model).service]
