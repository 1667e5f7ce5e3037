"""Training sets in parts: which row groups are read, and what comes together from them."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from shop import Clock, write

from featurestore import FeatureStore
from featurestore.engine import buckets, local, portions
from featurestore.engine.portions import Portion, Room, portions_of
from featurestore.engine.results import Results, on_disk
from featurestore.log import Group, Shelf, keys_of, scan, segments
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


def in_parts(patch: pytest.MonkeyPatch, looks: int) -> None:
    patch.setattr(portions, "AT_ONCE", 8)
    patch.setattr(portions, "_LOOKS", looks)
    patch.setattr(local, "MANY_ROWS", 1)
    patch.setattr(local, "_SHARE", 10**10)
    patch.setattr(buckets, "AT_ONCE", 5)


@pytest.mark.parametrize("looks", [0, 100])
def test_in_parts_or_whole_it_is_the_same_training_set(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch, looks: int
) -> None:
    asked = spine(*CUSTOMERS[::-1], None, "nobody", *CUSTOMERS[3:9])
    whole = store.training_set("shop", asked)
    expected: dict[Any, int] = {**dict.fromkeys(CUSTOMERS, 4), "c03": 5, "c17": 5, None: 0, "nobody": 0}
    assert whole.to_arrow()["number"].to_pylist() == [expected[name] for name in asked["customer"].to_pylist()]
    in_parts(monkeypatch, looks)
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


def test_a_read_of_keys_gives_their_rows_as_codes_of_them(store: FeatureStore) -> None:
    store.training_set("shop", spine("c01"))
    keys = keys_of("customer", np.array(["c00", "c02", "c04", "c05", "x"], object))
    part = replace(keys, part=slice(1, 3))
    for asked in (part, part.alone):
        table = store.log.read("payments", columns=["customer", "amount"], keys=asked)
        assert sorted(table["customer"].to_pylist()) == ["c02"] * 4 + ["c04"] * 4
        assert {tuple(one.dictionary.to_pylist()) for one in table["customer"].chunks if len(one)} == {("c02", "c04")}


def test_of_rows_in_order_none_is_copied_and_of_no_rows_there_are_none() -> None:
    names, texts = ["a", "b", "c"], pa.array(["a", "b", "b", "c", "c", "c", None]).dictionary_encode()
    table = pa.Table.from_batches([pa.record_batch({"customer": texts[rows]}) for rows in (slice(0), slice(7))])
    keys = keys_of("customer", np.array(names, object))
    for asked, kept in (
        (slice(0, 3), names[:1] + ["b"] * 2 + ["c"] * 3),
        (slice(1, 2), ["b"] * 2),
        (slice(2, 3), ["c"] * 3),
    ):
        assert replace(keys, part=asked).within(keys.coded(table))["customer"].to_pylist() == kept


def test_a_row_group_that_several_reads_look_at_is_read_once_and_held_no_longer_than_that() -> None:
    shelf, read = Shelf({"a": 2}), Counter[str]()

    def of(name: str) -> pa.Table:
        def table() -> pa.Table:
            read[name] += 1
            return pa.table({"name": [name]})

        return shelf.take(name, table)

    assert [of("a")["name"].to_pylist() for _ in range(2)] == [["a"], ["a"]]
    assert read == {"a": 1}
    of("b"), of("b"), of("a")
    assert read == {"a": 2, "b": 2}


def test_what_reading_raises_is_raised_to_all_that_wait_for_it() -> None:
    def fails() -> pa.Table:
        raise OSError("gone")

    shelf = Shelf({"a": 2})
    for _ in range(2):
        with pytest.raises(OSError, match="gone"):
            shelf.take("a", fails)


def test_portions_are_of_a_few_row_groups_or_as_few_as_memory_allows(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = store._plan("shop")
    keys = from_list("str", [*CUSTOMERS])

    def cut(memory: int, read: int = 1) -> list[Portion]:
        room = Room(memory, threads=2, read=read, each=10)
        return portions_of(plan.views[0], [keys], store.log, store.log.position, room)

    assert [one.apart for one in cut(10_000)] == [False]  # fewer events than are worth a portion
    found = cut(200)
    assert all(one.apart for one in found)
    assert len(found) == 8  # of ten events each
    assert sorted(row for one in found for row in one.rows[0].tolist()) == list(range(20))
    assert [one.apart for one in cut(200, read=10)] == [False] * 4  # memory does not hold row groups for two
    monkeypatch.setattr(portions, "_LOOKS", 0)
    assert [one.apart for one in cut(200)] == [False] * 4


def test_keys_are_cut_where_row_groups_say_that_their_events_are() -> None:
    asked = np.arange(10)
    hot, wide = Group(Path("a"), 0, 100, 3, 3), Group(Path("a"), 1, 50, 3, 7)
    unknown = Group(Path("b"), 0, 10, None, None)
    upto = portions._events_upto([hot, wide, unknown], asked)
    assert upto.round(6).tolist() == [1, 2, 3, 114, 125, 136, 147, 158, 159, 160]
    assert portions._edges(upto, 20) == [0, 4, 5, 7, 10]
    assert portions._looked_at([hot, wide, unknown], asked, [0, 4, 6, 10]) == [160, 60, 60]
    assert portions._looks([hot, wide, unknown], asked, [0, 4, 6, 10]) == {
        hot.place: 1,
        wide.place: 3,
        unknown.place: 3,
    }


@pytest.mark.parametrize(("kind", "first"), [("str", "k{}"), ("int", "{}")])
def test_rows_go_where_their_key_is_and_those_of_a_null_key_somewhere(kind: Any, first: str) -> None:
    made = [first.format(number) for number in (3, 1, 4, 1, 5)]
    keys = from_list(kind, [None, *(made if kind == "str" else map(int, made))])
    begins = np.array(["k2", "k4"], object) if kind == "str" else np.array([2, 4])
    assert [rows.tolist() for rows in portions._rows_by_part(keys, begins)] == [[0, 2, 4], [1], [3, 5]]
    alone = portions._rows_by_part(from_list(kind, [None]), begins)
    assert (len(alone), np.concatenate(alone).tolist()) == (3, [0])


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
            results.put(np.array(rows), {"x": part})
        results.settle()
        whole = from_list(kind, items, nullable=nullable)
        assert results["x"].to_list() == whole.to_list()
        assert (results["x"].valid is None) == (whole.valid is None)
        assert results["x"].to_arrow().equals(whole.to_arrow())
    assert list(tmp_path.iterdir()) == []


def test_columns_of_several_roles_are_put_in_orders_of_their_own() -> None:
    results = Results(3)
    for rows in ([2], [0, 1]):
        results.put(np.array(rows), {name: from_list("int", rows, nullable=False) for name in ("a", "b")})
    for rows in ([1, 2], [0]):
        results.put(np.array(rows), {"c": from_list("int", [10 * row for row in rows], nullable=False)})
    results.settle()
    assert {name: values.to_list() for name, values in results.items()} == {
        "a": [0, 1, 2],
        "b": [0, 1, 2],
        "c": [0, 10, 20],
    }


def test_maps_put_in_parts_are_the_whole() -> None:
    items = [{"a": 1.0}, {}, {"b": 2.0, "c": None}]
    results = Results(3)
    results.put(np.array([2, 0]), {"x": from_list("map[float]", [items[2], items[0]])})
    results.put(np.array([1]), {"x": from_list("map[float]", [items[1]])})
    results.settle()
    assert results["x"].to_list() == items


def test_no_rows_give_columns_without_rows(store: FeatureStore) -> None:
    made = store.training_set("shop", spine().cast(spine("c1").schema)).to_arrow()
    assert (len(made), made.column_names[-4:]) == (0, ["number", "spent", "latest", "share"])
