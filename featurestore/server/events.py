"""``POST /events/{source}``: events that arrive, durable and visible when they are answered for."""

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, HTTPException
from starlette.requests import Request
from starlette.responses import Response

from featurestore import rules
from featurestore.errors import InvalidRows, UnknownService
from featurestore.ingest import Ingested
from featurestore.server import answers, openapi, shapes
from featurestore.server.intake import Intake
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

    def take(requests: Sequence[list[Any]]) -> list[Ingested | Exception]:
        if plain:
            done = serving.store.ingest_each(name, requests)  # it takes what the shape takes, or less
            return [_worded(one, rows, shape) for one, rows in zip(done, requests, strict=True)]
        ready = [_shaped(rows, shape) for rows in requests]  # the model's own validators would see what has no place
        taken = iter(serving.store.ingest_each(name, [rows for rows in ready if not isinstance(rows, Exception)]))
        return [rows if isinstance(rows, Exception) else next(taken) for rows in ready]

    intake = Intake(serving.threads, take)

    async def ingest(request: Request) -> Response:
        no_parameters(request)
        given = await serving.read(request, bulk=True, slow=True)
        done = await intake.take(_rows(given, serving.options.event_rows))
        serving.metrics.rows(f"/events/{name}", done.rows)
        return answers.json(answers.ingested(done))

    return ingest


def _shaped(rows: list[Any], shape: shapes.Shape) -> list[Any] | HTTPException:
    try:
        return shape.rows(rows)
    except HTTPException as error:
        return error


def _worded(done: Ingested | Exception, rows: list[Any], shape: shapes.Shape) -> Ingested | Exception:
    """Refuse invalid rows in the words of every route, but for the model's own rules."""
    if isinstance(done, InvalidRows):
        shaped = _shaped(rows, shape)
        return shaped if isinstance(shaped, HTTPException) else done
    return done


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
