"""Outcomes: held to the model's classes, taken once, durable, joined with what was predicted."""

import multiprocessing
import sqlite3
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from served import running, write_project
from test_predict_http import ROW, trained
from test_served import wait_for

from featurestore import FeatureStore, times
from featurestore.apikeys import ApiKeys
from featurestore.errors import ConflictingRows, InvalidRows, NewerFormat, RequestError, StoreDamaged, UnknownService
from featurestore.monitoring.outcomes import Outcomes, Taken
from featurestore.monitoring.served import SCHEMA

NOW = 1_780_000_000_000_000
NOBODY = SCHEMA.empty_table()


@pytest.fixture
def outcomes(tmp_path: Path) -> Outcomes:
    return Outcomes(tmp_path / "store" / "outcomes.sqlite")


def one(request_id: str, outcome: Any, **more: Any) -> dict[str, Any]:
    return {"request_id": request_id, "outcome": outcome, **more}


def predictions(*rows: tuple[str, int, str]) -> pa.Table:
    """A served log's rows: request id, place in the batch, version; the third is a second later than the first."""
    told = [
        dict.fromkeys(SCHEMA.names)
        | {"request_id": name, "row": row, "version": version, "label": "true", "probabilities": '{"true":0.75}'}
        | {"served_at": times.to_datetime(NOW + number), "value": None}
        for number, (name, row, version) in enumerate(rows)
    ]
    return pa.Table.from_pylist(told, SCHEMA)


def test_an_outcome_is_taken_once_and_another_is_refused_by_name(outcomes: Outcomes) -> None:
    first = [one("a", True), one("b", False)]
    assert outcomes.add("risk", [False, True], first, now=NOW) == Taken(2, 0)
    assert outcomes.add("risk", [False, True], [*first, one("c", True)], now=NOW + 1) == Taken(1, 2)
    with pytest.raises(ConflictingRows, match=r"Predictions of 'risk' have another outcome already: 'b'\. Nothing"):
        outcomes.add("risk", [False, True], [one("d", True), one("b", True)], now=NOW + 2)
    with pytest.raises(ConflictingRows, match="'e'"):
        outcomes.add("risk", [False, True], [one("e", True), one("e", False)], now=NOW + 2)
    assert outcomes.add("other", [False, True], [one("b", True)], now=NOW) == Taken(1, 0)  # its own model's
    assert outcomes.table("risk", NOBODY)["request_id"].to_pylist() == ["a", "b", "c"]
    assert outcomes.table("risk", NOBODY)["outcome"].to_pylist() == [True, False, True]


@pytest.mark.parametrize(
    ("classes", "good", "bad"),
    [
        ([False, True], [True, False], [1, 0, "true", None, 1.0]),
        ([0, 1, 2], [2, 1.0], [True, 3, "1", 0.5]),
        ([0.0, 1.0], [0, 1.0], [True, 2, "0"]),
        (["no", "yes"], ["yes"], [True, "Yes", "", 1]),
        (None, [0, -1.5, 1e300], [True, "1", float("nan"), float("inf"), None, [1]]),
    ],
)
def test_an_outcome_is_a_class_of_the_model(
    outcomes: Outcomes, classes: list[Any] | None, good: list[Any], bad: list[Any]
) -> None:
    rows = [one(f"g{number}", value) for number, value in enumerate(good)]
    assert outcomes.add("risk", classes, rows, now=NOW).rows == len(good)
    assert outcomes.table("risk", NOBODY)["outcome"].to_pylist() == good
    for value in bad:
        with pytest.raises(InvalidRows, match="outcome") as caught:
            outcomes.add("risk", classes, [one("new", good[0]), one("x", value)], now=NOW)
        ((row, column),) = [(found.row, found.column) for found in caught.value.args[1]]
        assert (row, column) == (2, "outcome")
    assert len(outcomes.table("risk", NOBODY)) == len(good)


@pytest.mark.parametrize(
    ("wrong", "column"),
    [
        ({"request_id": ""}, "request_id"),
        ({"request_id": 1}, "request_id"),
        ({"request_id": "x" * 65}, "request_id"),
        ({"row": -1}, "row"),
        ({"row": True}, "row"),
        ({"event_time": "yesterday"}, "event_time"),
        ({"event_time": NOW + 1}, "event_time"),
        ({"label": True}, "label"),
    ],
)
def test_what_is_no_outcome_is_refused(outcomes: Outcomes, wrong: dict[str, Any], column: str) -> None:
    with pytest.raises(InvalidRows) as caught:
        outcomes.add("risk", [True, False], [one("a", True) | wrong], now=NOW)
    assert [found.column for found in caught.value.args[1]] == [column]
    assert len(outcomes.table("risk", NOBODY)) == 0


def test_each_outcome_stands_beside_its_newest_prediction(outcomes: Outcomes) -> None:
    given = [one("a", True), one("b", False, row=1, event_time=NOW - 5), one("none", True)]
    outcomes.add("risk", [False, True], given, now=NOW)
    made = predictions(("a", 0, "v1"), ("b", 0, "v1"), ("b", 1, "v1"), ("a", 0, "v2"), ("unanswered", 0, "v1"))
    rows = outcomes.table("risk", made).to_pylist()
    assert [(row["request_id"], row["row"], row["version"]) for row in rows] == [
        ("a", 0, "v2"),
        ("b", 1, "v1"),
        ("none", 0, None),
    ]
    assert (rows[0]["label"], rows[0]["probabilities"]) == (True, [("true", 0.75)])
    assert rows[1]["event_time"] == times.to_datetime(NOW - 5)
    assert (rows[2]["outcome"], rows[2]["served_at"], rows[2]["label"]) == (True, None, None)


def test_classes_of_several_types_are_told_as_text(outcomes: Outcomes) -> None:
    outcomes.add("risk", [False, True], [one("a", True)], now=NOW)
    outcomes.add("risk", ["no", "yes"], [one("b", "yes")], now=NOW)
    assert outcomes.table("risk", NOBODY)["outcome"].to_pylist() == ["true", '"yes"']


def test_a_damaged_or_later_file_is_said_to_be_so(outcomes: Outcomes) -> None:
    outcomes.add("risk", [True], [one("a", True)], now=NOW)
    assert stat.S_IMODE(outcomes.path.stat().st_mode) == 0o600
    with sqlite3.connect(outcomes.path) as connection:
        connection.execute("PRAGMA user_version = 9")
    connection.close()
    with pytest.raises(NewerFormat, match="format 9"):
        outcomes.table("risk", NOBODY)
    outcomes.path.write_bytes(b"no database" * 100)
    with pytest.raises(StoreDamaged, match=r"outcomes\.sqlite is damaged"):
        outcomes.add("risk", [True], [one("b", True)], now=NOW)


def _add(path: Path, start: int) -> None:
    for number in range(start, start + 40):
        Outcomes(path).add("risk", [True], [one(f"r{number}", True)], now=NOW)


def test_processes_that_add_at_once_lose_and_double_none(outcomes: Outcomes) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_add, args=(outcomes.path, start)) for start in (0, 20)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert sorted(outcomes.table("risk", NOBODY)["request_id"].to_pylist()) == sorted(f"r{n}" for n in range(60))


def test_outcomes_come_over_http_and_meet_their_predictions(tmp_path: Path) -> None:
    project = write_project(tmp_path)
    with trained(project) as store, running(project) as server:
        told = server.post("/predict/risk", ROW, headers={"X-Request-Id": "p1"}).json()
        server.post("/predict/risk@v1/batch", {"rows": [ROW, ROW | {"customer": 2}]}, headers={"X-Request-Id": "p2"})
        sent = {"outcomes": [one("p1", True, event_time="2026-01-01T00:00:00Z"), one("p2", False, row=1)]}
        assert server.post("/outcomes/risk", sent).json() == {"rows": 2, "duplicates": 0}
        assert server.post("/outcomes/risk", sent).json() == {"rows": 0, "duplicates": 2}
        conflict = server.post("/outcomes/risk", {"outcomes": [one("p3", True), one("p2", True, row=1)]})
        assert (conflict.status_code, conflict.json()["error"]["code"]) == (409, "conflict")
        assert "'p2'" in conflict.json()["error"]["message"]
        wrong = server.post("/outcomes/risk", {"outcomes": [one("p3", True), one("p4", "maybe-7654", when="now")]})
        assert wrong.json()["error"]["fields"] == [
            {"row": 2, "field": "when", "rule": "no such field"},
            {"row": 2, "field": "outcome", "rule": "one of false, true"},
        ]
        assert "7654" not in wrong.text
        no_bodies: list[Any] = [{}, {"outcomes": {}}, {"outcomes": [1]}, {"outcomes": [], "more": 1}, [sent]]
        for body in no_bodies:
            assert server.post("/outcomes/risk", body).status_code == 422
        assert server.post("/outcomes/none", sent).status_code == 404
        assert server.post("/outcomes/risk@v1", sent).status_code == 422
        assert "/outcomes/{model}" in server.client.get("/docs").text
        wait_for(lambda: len(store.served(model="risk")) == 3)
        first, second = store.outcomes("risk").to_pylist()
        assert (first["request_id"], first["outcome"], first["version"]) == ("p1", True, "v1")
        assert (first["label"], dict(first["probabilities"])) == (told["label"], told["probabilities"])
        assert first["event_time"] == datetime(2026, 1, 1, tzinfo=UTC)
        assert (second["request_id"], second["row"], second["outcome"]) == ("p2", 1, False)
        with pytest.raises(UnknownService, match="No model named 'none'"):
            store.outcomes("none")
        with pytest.raises(RequestError, match="not of a version"):
            store.add_outcomes("risk@v1", sent["outcomes"])
        scopes = ["ingest:risk", "predict"]
        made = {scope: ApiKeys(project / "store" / "keys.json").create("x", [scope], now=NOW) for scope in scopes}
        bearers = [{"Authorization": f"Bearer {secret}"} for _, secret in made.values()]
        assert [server.post("/outcomes/risk", sent, headers=one).status_code for one in bearers] == [200, 403]
    with FeatureStore.open(project) as again:
        assert len(again.outcomes("risk")) == 2
