"""An event counts once (S6): however it comes, whatever else is going on, and after the declarations have changed."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Field
from shop import Clock, Payment, ingested, payments, service, unkeyed, write

from featurestore import FeatureStore, Source
from featurestore.arrivals import Terms, arrived
from featurestore.errors import ConflictingRows, NotMaterialized
from featurestore.forgotten import Forgotten
from featurestore.known import known_events
from featurestore.memory import usual
from featurestore.online.sqlite import SQLiteStore
from featurestore.spill import Room

Open = Callable[..., FeatureStore]
MAY_15 = "2026-05-15T10:00:00"


class Noted(Payment):
    note: str | None = None


class Numbered(BaseModel):
    id: str
    customer: str | None
    event_time: datetime
    amount: float | None = Field(ge=0)
    number: int | None = None


class Cut(SQLiteStore):
    """A process that dies between the two steps of publishing: its load is live online, and not yet in the log."""

    def publish_load(self, *given: Any, **options: Any) -> Any:
        super().publish_load(*given, **options)
        raise KeyboardInterrupt


def event(key: str, amount: float | None = 5.0, time: str = MAY_15, **more: Any) -> dict[str, Any]:
    return {"id": key, "customer": "c1", "event_time": time, "amount": amount, **more}


def spent(store: FeatureStore, **options: Any) -> float:
    return float(store.lookup("shop", {"customer": "c1", "amount": 1.0}, **options)["spent"])


def terms(folder: Path, *, rebuild: bool = False) -> Terms:
    forgotten = Forgotten(folder / "forgotten.sqlite")
    return Terms(folder, 0, lambda: 0, forgotten, memory=usual(), rebuild=rebuild)


# -- an event that is on its way ----------------------------------------------------------------------------------


def test_a_load_is_compared_with_events_that_are_not_taken_over_yet(tmp_path: Path, open_store: Open) -> None:
    write(tmp_path / "data/a.csv", f"p1,c1,{MAY_15},5")
    store = open_store()
    store.ingest("payments", event("p1", 99.0))
    with pytest.raises(ConflictingRows, match=r"'p1' is known with another payload: amount was 99\.0 and is 5\.0"):
        arrived(payments, store.log, store.online, terms(tmp_path), Room(tmp_path, usual()))


def test_a_rebuild_is_compared_with_events_that_are_not_taken_over_yet(tmp_path: Path, open_store: Open) -> None:
    write(tmp_path / "data/a.csv", f"p1,c1,{MAY_15},5", f"p2,c1,{MAY_15},7")
    store = open_store()
    store.ingest("payments", event("p1", 5.0))
    found = arrived(payments, store.log, store.online, terms(tmp_path, rebuild=True), Room(tmp_path, usual()))
    assert [table["id"].to_pylist() for table in found.tables()] == [["p2"]]
    assert (found.rows, found.duplicates) == (1, 1)


def test_a_rebuild_counts_an_event_once_that_is_ingested_meanwhile(tmp_path: Path, open_store: Open) -> None:
    write(tmp_path / "data/a.csv", f"p1,c1,{MAY_15},5", f"p2,c1,{MAY_15},7")
    store, other = open_store(), open_store()
    store.materialize()
    fresh = [event("p3", 9.0)]
    write(tmp_path / "data/b.csv", f"p3,c1,{MAY_15},9")

    def meanwhile(text: str) -> None:
        if text.startswith("writing") and fresh:
            other.ingest("payments", fresh.pop())

    store.materialize(rebuild=True, progress=meanwhile)
    assert spent(store) == 21.0
    assert sorted(store.log.read("payments", columns=["id"])["id"].to_pylist()) == ["p1", "p2", "p3"]


def test_a_conflict_with_a_load_that_is_being_published_is_seen(tmp_path: Path, open_store: Open, clock: Clock) -> None:
    write(tmp_path / "data/a.csv", f"p1,c1,{MAY_15},5")
    cut, store = open_store(), open_store()
    cut.online = Cut(store.online.path)
    with pytest.raises(KeyboardInterrupt):
        cut.materialize()
    assert (store.online.state().position, store.log.position) == (1, 0)
    with pytest.raises(ConflictingRows, match=r"amount was 5\.0 and is 9\.0"):
        store.ingest("payments", event("p1", 9.0))
    assert store.ingest("payments", event("p1", 5.0)).duplicates == 1
    store.materialize()
    assert (spent(store, as_of=clock.now), store.log.rows("payments")) == (5.0, 1)


def test_events_are_found_in_journal_and_log(tmp_path: Path, open_store: Open) -> None:
    write(tmp_path / "data/a.csv", f"p1,c1,{MAY_15},5")
    store = open_store()
    store.materialize()
    store.ingest("payments", event("p2", 7.0))
    found = known_events(payments, ["p1", "p2", "p3"], store.log, store.online)
    assert {key: one["amount"] for key, one in found.items()} == {"p1": 5.0, "p2": 7.0}


# -- payloads -----------------------------------------------------------------------------------------------------


def test_a_new_nullable_column_leaves_delivered_events_known(tmp_path: Path, open_store: Open) -> None:
    write(tmp_path / "data/a.csv", f"p1,c1,{MAY_15},5")
    open_store().materialize()
    noted = Source("payments", schema=Noted, path="data/*.csv", event_time="event_time", key="id")
    store = open_store([service(noted)])
    write(tmp_path / "data/b.csv", f"p1,c1,{MAY_15},5", f"p2,c1,{MAY_15},7")
    done = store.materialize()
    assert (done.rows, done.sources[0].duplicates) == (1, 1)
    assert store.ingest("payments", event("p1", 5.0)).duplicates == 1
    with pytest.raises(ConflictingRows, match="note was None and is 'late'"):
        store.ingest("payments", event("p1", 5.0, note="late"))


def test_a_new_nullable_column_leaves_rows_without_a_key_known(tmp_path: Path, open_store: Open) -> None:
    write(tmp_path / "data/a.csv", f"p1,c1,{MAY_15},5")
    open_store([service(unkeyed)]).materialize()
    write(tmp_path / "data/a.csv", f"p1,c1,{MAY_15},5", f"p2,c1,{MAY_15},7")
    noted = Source("payments", schema=Noted, path="data/*.csv", event_time="event_time")
    assert open_store([service(noted)]).materialize().rows == 1


def test_null_is_no_number(open_store: Open) -> None:
    store = open_store([service(Source("payments", schema=Numbered, event_time="event_time", key="id"))])
    store.ingest("payments", event("p1", number=None))
    with pytest.raises(ConflictingRows, match="number was None and is 1853189228"):
        store.ingest("payments", event("p1", number=0x6E756C6C))


def test_event_time_is_of_the_payload_where_it_is_known_at_too(open_store: Open) -> None:
    both = Source("payments", schema=Payment, event_time="event_time", known_at="event_time", key="id")
    store = open_store([service(both)])
    store.ingest("payments", event("p1", time=MAY_15))
    with pytest.raises(ConflictingRows, match="event_time was 2026-05-15T10:00:00"):
        store.ingest("payments", event("p1", time="2026-05-16T10:00:00"))


# -- another key --------------------------------------------------------------------------------------------------


def by(key: str | None, schema: type[BaseModel] = Numbered) -> list[Any]:
    return [service(Source("payments", schema=schema, path="data/*.csv", event_time="event_time", key=key))]


def test_a_key_that_is_declared_later_holds_for_what_was_loaded(tmp_path: Path, open_store: Open) -> None:
    write(tmp_path / "data/a.csv", f"p1,c1,{MAY_15},5")
    open_store(by(None)).materialize()
    write(tmp_path / "data/b.csv", f"p1,c1,{MAY_15},5", f"p2,c1,{MAY_15},7")
    store = open_store(by("id"))
    done = store.materialize()
    assert (done.rows, done.sources[0].duplicates, spent(store)) == (1, 1, 12.0)
    assert store.ingest("payments", event("p1")).duplicates == 1


def test_another_key_holds_for_what_was_loaded_and_ingested(tmp_path: Path, open_store: Open) -> None:
    (tmp_path / "data/a.csv").write_text(f"id,customer,event_time,amount,number\np1,c1,{MAY_15},5,1\n")
    first = open_store(by("id"))
    first.materialize()
    first.ingest("payments", event("p2", 7.0, number=2))
    (tmp_path / "data/b.csv").write_text(
        f"id,customer,event_time,amount,number\np1,c1,{MAY_15},5,1\np2,c1,{MAY_15},7,2\np3,c1,{MAY_15},9,3\n"
    )
    store = open_store(by("number"))
    assert store.materialize().rows == 1
    with pytest.raises(NotMaterialized, match="key='id'"):
        first.ingest("payments", event("p5", number=5))
    assert store.materialize(rebuild=True).position > 0
    assert store.ingest("payments", event("p2", 7.0, number=2)).duplicates == 1
    with pytest.raises(ConflictingRows):
        store.ingest("payments", event("p4", 7.0, number=2))
    assert open_store(by("id")).materialize().rows == 0


def test_nothing_is_ingested_under_another_key_before_a_load_has_made_the_keys(open_store: Open) -> None:
    open_store([service(Source("payments", schema=Payment, event_time="event_time"))]).ingest("payments", event("p1"))
    store = open_store([service(ingested)])
    with pytest.raises(NotMaterialized, match=r"key='id'.*featurestore materialize"):
        store.ingest("payments", event("p1"))
    position = store.materialize().position
    assert store.ingest("payments", event("p1")).duplicates == 1
    assert (position, store.materialize().position) == (1, 1)


def test_a_key_that_repeats_in_what_was_loaded_asks_for_a_rebuild(tmp_path: Path, open_store: Open) -> None:
    write(tmp_path / "data/a.csv", f"p1,c1,{MAY_15},5", f"p1,c1,{MAY_15},5")
    open_store([service(unkeyed)]).materialize()
    store = open_store()
    with pytest.raises(ConflictingRows, match="1 of its events repeat the key of another"):
        store.materialize()
    assert store.materialize(rebuild=True).rows == 1
    assert spent(store) == 5.0


def test_without_its_key_every_row_of_a_source_counts(tmp_path: Path, open_store: Open, clock: Clock) -> None:
    write(tmp_path / "data/a.csv", f"p1,c1,{MAY_15},5")
    open_store().materialize()
    store = open_store([service(unkeyed)])
    with pytest.raises(NotMaterialized):
        store.ingest("payments", event("p1"))
    store.materialize()
    store.ingest("payments", [event("p1"), event("p1")])
    clock.advance(seconds=1)
    assert spent(store) == 15.0


# -- a rebuild ----------------------------------------------------------------------------------------------------


def test_a_rebuild_keeps_what_was_observed(tmp_path: Path, open_store: Open, clock: Clock) -> None:
    write(tmp_path / "data/a.csv", f"p1,c1,{MAY_15},5")
    store = open_store()
    store.materialize()
    before, _ = clock.now, clock.advance(days=9)
    write(tmp_path / "data/b.csv", f"p2,c1,{MAY_15},7")
    store.materialize()
    write(tmp_path / "data/c.csv", f"p3,c1,{MAY_15},9")
    done = store.materialize(rebuild=True)
    assert done.sources[0].known_at == "event_time; 2 rows as they were"
    clock.advance(seconds=1)
    assert (spent(store, as_of=before), spent(store)) == (14.0, 21.0)  # p2 came later; p3 is new, so it is history


def test_of_equal_rows_each_keeps_its_arrival_in_a_rebuild(tmp_path: Path, open_store: Open, clock: Clock) -> None:
    write(tmp_path / "data/a.csv", f"p1,c1,{MAY_15},5")
    store = open_store([service(unkeyed)])
    store.materialize()
    before, _ = clock.now, clock.advance(days=9)
    write(tmp_path / "data/a.csv", f"p1,c1,{MAY_15},5", f"p1,c1,{MAY_15},5")
    store.materialize()
    clock.advance(seconds=1)
    assert (spent(store, as_of=before), spent(store)) == (5.0, 10.0)
    store.materialize(rebuild=True)
    assert (spent(store, as_of=before), spent(store)) == (5.0, 10.0)


def test_a_rebuild_with_history_stamps_all_rows_anew(tmp_path: Path, open_store: Open, clock: Clock) -> None:
    write(tmp_path / "data/a.csv", f"p1,c1,{MAY_15},5")
    store = open_store()
    store.materialize()
    clock.advance(days=9)
    write(tmp_path / "data/b.csv", f"p2,c1,{MAY_15},7")
    store.materialize()
    store.materialize(history=True, rebuild=True)
    assert spent(store, as_of=datetime(2026, 5, 20, tzinfo=UTC)) == 12.0


def test_a_rebuild_restores_a_damaged_file_and_keeps_the_others_arrivals(
    tmp_path: Path, open_store: Open, clock: Clock
) -> None:
    write(tmp_path / "data/a.csv", f"p1,c1,{MAY_15},5")
    store = open_store()
    store.materialize()
    before, _ = clock.now, clock.advance(days=9)
    write(tmp_path / "data/b.csv", f"p2,c1,{MAY_15},7")
    store.materialize()
    store.log.segments("payments")[0].path.write_bytes(b"not a Parquet file")
    store.materialize(rebuild=True)
    clock.advance(seconds=1)
    assert (store.log.verify(), spent(store, as_of=before), spent(store)) == (1, 5.0, 12.0)
