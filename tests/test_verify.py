"""Verification: identical data is found identical, each planted difference is found, and named for what it is."""

import json
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from served import running, write_project
from shop import PAYMENTS, Clock, Request, customer, payments, write

from featurestore import FeatureService, FeatureStore, feature
from featurestore.cli import main
from featurestore.errors import RequestError, UnknownService
from featurestore.verify.bits import in_bytes, same
from featurestore.verify.page import page

Open = Callable[..., FeatureStore]
MAY_20 = datetime(2026, 5, 20, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path, open_store: Open) -> FeatureStore:
    """Two customers with payments, and the training set ``spent`` of four rows at position 1."""
    write(
        tmp_path / "data/a.csv",
        *(f"p{day},c{day % 2},2026-05-{day:02}T10:00:00,{day}.25" for day in range(10, 20)),
    )
    store = open_store()
    store.materialize()
    store.training_set("shop", spine(), name="spent")
    return store


def spine() -> list[dict[str, Any]]:
    return [{"customer": f"c{n % 2}", "amount": 1.5, "event_time": MAY_20 - timedelta(days=n)} for n in range(4)]


def serve(store: FeatureStore, count: int = 4) -> None:
    """Write down what a server would answer to these rows."""
    rows = [{"customer": f"c{n % 2}", "amount": 2.5} for n in range(count)]
    recorder = store.recorder()
    recorder.record("shop", "r1", rows, store.lookup_many("shop", rows))
    recorder.close()


def test_bits_tell_types_zeros_and_last_places_apart() -> None:
    assert same({"a": 0.1, "b": None}, {"a": 0.1, "b": None})
    kinds = [0.0, -0.0, 0, False, None, "0", 0.1, 0.1 + 2**-56]
    assert len({in_bytes(kind) for kind in kinds}) == len(kinds)


def test_a_training_set_served_again_is_the_same_bytes(store: FeatureStore) -> None:
    found = store.verify_training_set("spent")
    assert (found.rows, found.values, found.differing, found.unexplained) == (4, 16, 0, 0)
    assert store.verify_training_set("spent", sample=3).rows == 3


def test_rows_that_cannot_be_asked_for_are_counted_not_compared(store: FeatureStore, clock: Clock) -> None:
    store.training_set("shop", [*spine(), {**spine()[0], "event_time": clock.now + timedelta(days=1)}], name="ahead")
    found = store.verify_training_set("ahead")
    assert (found.rows, dict(found.skipped)) == (4, {"as_of in the future": 1})


def test_late_data_is_named_with_the_event_that_came_late(store: FeatureStore, tmp_path: Path) -> None:
    write(tmp_path / "data/late.csv", "late,c0,2026-05-12T09:00:00,100")
    store.materialize(history=True)
    found = store.verify_training_set("spent")
    assert (found.causes, found.unexplained) == ({"late data": 2}, 0)
    first = found.differences[0]
    assert (first.row, first.feature, first.then, first.now) == (1, "number", 5, 6)
    assert [event.columns["id"] for event in first.only_now] == ["late"]
    assert (first.shared, first.only_then) == (5, ())


@pytest.mark.usefixtures("store")
def test_a_changed_definition_is_named(open_store: Open) -> None:
    @feature(payments, by=customer, window="30d")
    def spent(tx: Any) -> Any:
        return tx.amount.sum() + 1

    others = [one for one in PAYMENTS[0].features if getattr(one, "name", "") != "spent"]
    changed = open_store([FeatureService("shop", features=[others[0], spent, *others[1:]], request=Request)])
    found = changed.verify_training_set("spent")
    assert (found.causes, found.unexplained) == ({"changed definition": 4}, 0)
    assert found.differences[0].feature == "spent"


def test_a_changed_library_is_named(store: FeatureStore, tmp_path: Path) -> None:
    # The value in the training set is what another NumPy might have given, and the manifest says it was another.
    with duckdb.connect(str(tmp_path / "home/training_sets.duckdb")) as connection:
        connection.execute("update spent set share = share + 1e-9 where customer = 'c0'")
        (text,) = connection.execute("select manifest from featurestore_manifests").fetchone() or ("",)
        manifest = json.loads(text)
        manifest["environment"]["numpy"] = "0.1"
        connection.execute("update featurestore_manifests set manifest = ?", [json.dumps(manifest)])
    found = store.verify_training_set("spent")
    assert (found.causes, found.features) == ({"changed library": 2}, {"share": 2})
    assert "numpy 0.1 then" in found.differences[0].detail


def test_a_tampered_training_set_and_a_damaged_online_store_are_unexplained(
    store: FeatureStore, tmp_path: Path
) -> None:
    with duckdb.connect(str(tmp_path / "home/training_sets.duckdb")) as connection:
        connection.execute("update spent set latest = -0.5 where customer = 'c1'")
    found = store.verify_training_set("spent")
    assert (found.causes, found.unexplained) == ({"something else": 2}, 2)
    store.close()
    with sqlite3.connect(tmp_path / "home/online.sqlite") as connection:
        (run,) = connection.execute("select id from runs where kind = 'events' and state = 'live'").fetchone()
        connection.execute(f"delete from run_{run} where key like '%c0%'")
    found = store.verify_training_set("spent")
    assert found.unexplained == 4
    lost = next(one for one in found.differences if one.inputs["customer"] == "c0")
    assert (lost.now, len(lost.only_then), lost.only_now) == (0, 5, ())


def test_what_was_served_is_computed_again_at_its_own_instant_and_position(
    store: FeatureStore, tmp_path: Path, clock: Clock
) -> None:
    serve(store)
    clock.advance(hours=1)
    store.ingest("payments", {"id": "q", "customer": "c1", "event_time": "2026-05-30T10:00:00", "amount": 3.0})
    clock.advance(hours=1)
    serve(store)
    write(tmp_path / "data/late.csv", "late,c0,2026-05-12T09:00:00,100")
    store.materialize(history=True)  # seen by neither: both were served at earlier positions
    found = store.verify_served()
    assert (found.rows, found.values, found.differing) == (8, 32, 0)
    assert store.verify_served(since=clock.now).rows == 4
    assert store.verify_served(service="shop", until=clock.now).rows == 4


def test_a_served_vector_that_was_tampered_with_is_unexplained(store: FeatureStore, tmp_path: Path) -> None:
    serve(store)
    (file,) = (tmp_path / "home/served").glob("*.parquet")
    with duckdb.connect() as connection:
        table = connection.sql(
            f"select * replace (replace(features, '\"number\":5', '\"number\":6') as features) from '{file}'"
        )
        changed = table.to_arrow_table()
    import pyarrow.parquet as pq

    before = pq.read_table(file)
    pq.write_table(changed.cast(before.schema.remove_metadata()).replace_schema_metadata(before.schema.metadata), file)
    found = store.verify_served()
    assert (found.differing, found.unexplained, dict(found.features)) == (4, 4, {"number": 4})


def test_late_data_moves_features_and_says_by_how_much(store: FeatureStore, tmp_path: Path) -> None:
    assert store.verify_late("spent").features == {}
    write(tmp_path / "data/late.csv", "late,c0,2026-05-12T09:00:00,100")
    store.materialize()  # arrives now: no earlier row may see it, and by hindsight two would have
    assert store.verify_training_set("spent").differing == 0
    found = store.verify_late("spent")
    assert (found.rows, found.moved_rows) == (4, 2)
    number, spent = found.features["number"], found.features["spent"]
    assert (number.rows, number.mean, number.largest) == (2, 1.0, 1.0)
    assert (spent.rows, spent.mean, spent.then, spent.now) == (2, 100.0, 71.25, 171.25)
    assert "latest" not in found.features


def test_reports_are_text_json_and_one_html_file_with_everything_escaped(store: FeatureStore, tmp_path: Path) -> None:
    write(tmp_path / "data/late.csv", "<script>,c0,2026-05-12T09:00:00,100")
    store.materialize(history=True)
    found = store.verify_training_set("spent")
    told = page(found)
    assert "&lt;script&gt;" in told
    assert "<script" not in told
    assert "http" not in told
    assert json.loads(json.dumps(found.to_dict(), default=str))["causes"] == {"late data": 2}


def test_what_cannot_be_verified_is_refused_in_words(store: FeatureStore) -> None:
    store.training_set("shop", spine(), name="each", position=[0, 1, 1, 1])
    with pytest.raises(RequestError, match="a position per row"):
        store.verify_training_set("each")
    with pytest.raises(UnknownService, match="No training set named 'spend'"):
        store.verify_training_set("spend")
    with pytest.raises(RequestError, match="no address of a server"):
        store.verify_training_set("spent", url="localhost")


def test_a_server_is_asked_over_http_and_the_command_line_says_what_it_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = write_project(tmp_path)
    with FeatureStore.open(project) as opened:
        days = [datetime(2026, 5, day, tzinfo=UTC) for day in range(1, 21)]
        rows = [
            {"id": f"p{day.day}", "customer": day.day % 3, "shop": "a", "amount": day.day / 7, "event_time": day}
            for day in days
        ]
        opened.ingest("payments", rows)
        asked = [
            {
                "customer": day.day % 3,
                "shop": "a",
                "amount": 1.25,
                "event_time": datetime.now(UTC) - timedelta(hours=hour),
            }
            for hour, day in enumerate(days)
        ]
        opened.training_set("fraud", asked, name="t")
    with running(project) as server:
        code = main(["verify", "training-set", "t", "--project", str(project), "--url", server.url, "--json"])
        assert code == 0, capsys.readouterr()
        found = json.loads(capsys.readouterr().out)
        assert (found["rows"], found["differing"]) == (20, 0)
    assert main(["verify", "served", "--project", str(project), "--html", str(tmp_path / "out.html")]) == 0
    assert "Every value is the same bytes." in capsys.readouterr().out
    assert "<h1>served</h1>" in (tmp_path / "out.html").read_text()
