"""Training sets in parts: which row groups are read, and what comes together from them."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from shop import Clock, write

from featurestore import FeatureStore
from featurestore.engine import buckets, local, portions
from featurestore.engine.portions import Room, portions_of
from featurestore.engine.results import Results, on_disk
from featurestore.log import Keys, scan, segments
from featurestore.values import from_list

Open = Callable[..., FeatureStore]
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
CUSTOMERS = [f"c{number:02}" for number in range(20)]


@pytest.fixture
def store(open_store: Open, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> FeatureStore:
    """Payments of twenty customers: two loads in order of the customer, in row groups of four, and ingested ones."""
    monkeypatch.setattr(segments, "ROW_GROUP", 4)
    store = open_store()
    for number in range(2):
        lines = (f"p{number}{name},{name},2026-05-0{number + 5},{number + 1}" for name in [*CUSTOMERS, *CUSTOMERS])
        write(tmp_path / f"data/{number}.csv", *(f"{place}{line}" for place, line in enumerate(lines)))
        store.materialize(history=True)
    for name in ("c03", "c17"):
        store.ingest("payments", {"id": f"i{name}", "customer": name, "event_time": NOON + timedelta(5), "amount": 9.0})
    clock.advance(days=1)
    return store


def spine(*customers: str | None, at: datetime = NOON + timedelta(days=31)) -> pa.Table:
    return pa.table({"customer": [*customers], "amount": [1.0] * len(customers), "event_time": [at] * len(customers)})


def in_parts(patch: pytest.MonkeyPatch, reread: int) -> None:
    patch.setattr(portions, "AT_ONCE", 8)
    patch.setattr(portions, "_REREAD", reread)
    patch.setattr(local, "MANY_ROWS", 1)
    patch.setattr(local, "_SHARE", 10**10)
    patch.setattr(buckets, "AT_ONCE", 5)


@pytest.mark.parametrize("reread", [0, 100])
def test_in_parts_or_whole_it_is_the_same_training_set(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch, reread: int
) -> None:
    asked = spine(*CUSTOMERS[::-1], None, "nobody", *CUSTOMERS[3:9])
    whole = store.training_set("shop", asked)
    expected: dict[Any, int] = {**dict.fromkeys(CUSTOMERS, 4), "c03": 5, "c17": 5, None: 0, "nobody": 0}
    assert whole.to_arrow()["number"].to_pylist() == [expected[name] for name in asked["customer"].to_pylist()]
    in_parts(monkeypatch, reread)
    parts = store.training_set("shop", asked)
    assert parts.to_arrow().equals(whole.to_arrow())
    assert parts.manifest["content_hash"] == whole.manifest["content_hash"]


def test_row_groups_that_hold_no_asked_key_are_not_read(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.training_set("shop", spine("c01"))  # what was ingested moves into the log
    read: list[Any] = []
    real = scan.read

    def seen(*given: Any, **more: Any) -> Any:
        read.append(more.get("group"))
        return real(*given, **more)

    monkeypatch.setattr(scan, "read", seen)
    made = store.training_set("shop", spine("c19"), name="one").to_arrow()
    assert made["number"].to_pylist() == [4]
    assert len(read) == 2  # one of each load, and none of what was ingested


def test_keys_are_read_from_the_first_to_the_last(store: FeatureStore) -> None:
    store.training_set("shop", spine("c01"))
    names = np.array(["c02", "c04"], object)
    table = store.log.read("payments", columns=["customer", "amount"], keys=Keys("customer", names))
    assert set(table["customer"].to_pylist()) == {"c02", "c03", "c04"}
    assert len(table) == 3 * 4 + 1


def test_portions_are_of_a_few_row_groups_or_as_few_as_memory_allows(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = store._plan("shop")
    keys = from_list("str", [*CUSTOMERS])
    room = Room(10_000, threads=2, each=10)
    found = portions_of(plan.views[0], [keys], store.log, store.log.position, room)
    assert [one.apart for one in found] == [False]  # fewer events than are worth a portion
    found = portions_of(plan.views[0], [keys], store.log, store.log.position, Room(200, threads=2, each=10))
    assert all(one.apart for one in found)
    assert len(found) > 1
    assert sorted(row for one in found for row in one.rows[0].tolist()) == list(range(20))
    monkeypatch.setattr(portions, "_REREAD", 0)
    found = portions_of(plan.views[0], [keys], store.log, store.log.position, Room(200, threads=2, each=10))
    assert [one.apart for one in found] == [False] * 4


@pytest.mark.parametrize("kind", ["int", "float", "bool", "str", "datetime"])
@pytest.mark.parametrize("nullable", [True, False])
def test_results_put_in_parts_are_the_whole(tmp_path: Path, kind: Any, nullable: bool) -> None:  # noqa: FBT001
    samples: dict[str, list[Any]] = {"int": [3, 1, 2], "float": [1.5, 0.0, 2.5], "bool": [True, False, True]}
    samples |= {"str": ["b", "a", "b"], "datetime": [NOON, NOON + timedelta(1), NOON]}
    items = [*samples[kind], *([None, None] if nullable else samples[kind][:2])]
    for empty in (np.empty, on_disk(tmp_path)):
        results = Results(5, empty)
        for rows in ([4, 0], [2], [3, 1]):
            part = from_list(kind, [items[row] for row in rows], nullable=nullable)
            results.put("x", np.array(rows), part)
        whole = from_list(kind, items, nullable=nullable)
        assert results["x"].to_list() == whole.to_list()
        assert (results["x"].valid is None) == (whole.valid is None)
        assert results["x"].to_arrow().equals(whole.to_arrow())
    assert list(tmp_path.iterdir()) == []


def test_maps_put_in_parts_are_the_whole() -> None:
    items = [{"a": 1.0}, {}, {"b": 2.0, "c": None}]
    results = Results(3)
    results.put("x", np.array([2, 0]), from_list("map[float]", [items[2], items[0]]))
    results.put("x", np.array([1]), from_list("map[float]", [items[1]]))
    assert results["x"].to_list() == items


def test_no_rows_give_columns_without_rows(store: FeatureStore) -> None:
    made = store.training_set("shop", spine().cast(spine("c1").schema)).to_arrow()
    assert (len(made), made.column_names[-4:]) == (0, ["number", "spent", "latest", "share"])
