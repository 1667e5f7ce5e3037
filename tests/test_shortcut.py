"""Routes of a fixed path answer the same with and without what lies between."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from served import write_project

from featurestore import FeatureStore
from featurestore.server import application
from featurestore.server.edge import Edge, to_nowhere
from featurestore.server.options import Options
from featurestore.server.shortcut import Shortcut
from featurestore.store import FeatureStore as Store

NOW = datetime(2026, 2, 1, tzinfo=UTC)
PAYMENT = {"id": "p", "customer": 1, "event_time": "2026-01-01", "amount": 2.0}
ASKED: tuple[tuple[str, str, Any], ...] = (
    ("POST", "/events/payments", PAYMENT),
    ("POST", "/events/payments", {"rows": [PAYMENT, PAYMENT | {"amount": -1.0}]}),
    ("POST", "/features/counts?as_of=2026-01-02", {"customer": 1}),
    ("POST", "/features/counts?as_of=2999-01-01", {"customer": 1}),
    ("POST", "/features/counts?as_off=1", {"customer": 1}),
    ("POST", "/features/counts", {"customer": "c"}),
    ("POST", "/features/counts", {}),
    ("POST", "/features/counts/batch?as_of=2026-01-02", {"rows": [{"customer": 1}]}),
    ("POST", "/features/counst", {"customer": 1}),
    ("POST", "/features/counts/", {"customer": 1}),
    ("GET", "/features/counts", None),
)


def answers(made: Edge, root: str = "") -> list[tuple[int, Any]]:
    """Status and body of each, without what names a request."""

    async def ask() -> list[tuple[int, Any]]:
        transport = httpx.ASGITransport(made, root_path=root)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            told = [await client.request(method, root + path, json=body) for method, path, body in ASKED]
        return [(one.status_code, _without_id(one.json())) for one in told]

    return asyncio.run(ask())


def _without_id(document: Any) -> Any:
    if "error" in document:
        document["error"].pop("request_id")
    return document


@pytest.fixture
def made(tmp_path: Path) -> Edge:
    store = FeatureStore.open(write_project(tmp_path), clock=lambda: NOW)
    return application.build(store, Options(project=str(tmp_path)), to_nowhere)


def test_answers_are_those_of_the_application(made: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    first = answers(made)[2:]  # what was taken comes as a duplicate from now on
    assert [status for status, _ in first] == [200, 422, 422, 422, 422, 200, 404, 404, 405]
    with_root = answers(made, root="/base")
    assert with_root[2:] == first
    shortcut: Any = made._app
    assert isinstance(shortcut, Shortcut)
    assert {"/features/counts", "/events/payments", "/features/fraud/batch"} <= shortcut._routes.keys()
    monkeypatch.setattr(made, "_app", shortcut._app)
    assert answers(made) == with_root


def test_what_nobody_foresaw_is_answered_and_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[dict[str, Any]] = []
    store = FeatureStore.open(write_project(tmp_path))

    def log(event: str, **facts: Any) -> None:
        logged.append({"event": event, **facts})

    made = application.build(store, Options(project=str(tmp_path)), log)

    def fails(*_: Any, **__: Any) -> Sequence[Any]:
        raise ZeroDivisionError

    monkeypatch.setattr(Store, "lookup", fails)
    status, told = answers(made)[2]
    assert (status, told["error"]["code"]) == (500, "internal")
    assert [one["type"] for one in logged if one["event"] == "error"][:1] == ["ZeroDivisionError"]
