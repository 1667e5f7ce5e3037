"""Loading: incremental, repeatable, all or nothing (S2, S6, S10)."""

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from shop import Clock, Payment, ingested, payments, service, unkeyed, write

from featurestore import FeatureStore, Source, reading
from featurestore.errors import (
    AsOfError,
    ConflictingRows,
    InvalidRows,
    NotMaterialized,
    SchemaChanged,
    SourceUnreadable,
)

Open = Callable[..., FeatureStore]


def number(store: FeatureStore, customer: str, **options: object) -> int:
    return int(store.lookup("shop", {"customer": customer, "amount": 1.0}, **options)["number"])


def test_a_second_materialize_adds_nothing(tmp_path: Path, open_store: Open) -> None:
    write(tmp_path / "data/a.csv", "p1,c1,2026-05-11T10:00:00,5", "p2,c1,2026-05-12T10:00:00,7")
    store = open_store()
    first, second = store.materialize(), store.materialize()
    assert (first.rows, second.rows) == (2, 0)
    assert first.position == second.position == 1
    assert number(store, "c1") == 2


def test_a_new_file_adds_its_rows_alone(tmp_path: Path, open_store: Open) -> None:
    write(tmp_path / "data/a.csv", "p1,c1,2026-05-15T10:00:00,5")
    store = open_store()
    store.materialize()
    write(tmp_path / "data/b.csv", "p1,c1,2026-05-15T10:00:00,5", "p2,c1,2026-05-16T10:00:00,7")
    done = store.materialize()
    assert (done.rows, done.sources[0].duplicates, done.position) == (1, 1, 2)
    assert number(store, "c1") == 2


def test_many_loads_leave_few_runs_of_keys_and_forget_none(tmp_path: Path, open_store: Open, clock: Clock) -> None:
    store, rows = open_store(), [f"p{one},c1,2026-05-11T10:{one // 3:02}:00,5" for one in range(60)]
    for load in range(20):
        write(tmp_path / f"data/{load:02}.csv", *rows[3 * load : 3 * load + 3])
        assert store.materialize().rows == 3
        clock.advance(seconds=1)
        assert len(store.online.key_runs("payments")) <= 4
    write(tmp_path / "data/again.csv", *rows, "p60,c1,2026-05-11T11:00:00,5")
    done = store.materialize()
    assert (done.rows, done.sources[0].duplicates) == (1, 60)
    assert sum(store.online.key_runs("payments").values()) == 61 + 1  # and the mark of their column
    clock.advance(seconds=1)
    assert number(store, "c1") == 61
    write(tmp_path / "data/other.csv", "p7,c1,2026-05-11T10:02:00,6")
    with pytest.raises(ConflictingRows, match="p7"):
        store.materialize()


def test_a_grown_file_adds_its_new_rows(tmp_path: Path, open_store: Open) -> None:
    write(tmp_path / "data/a.csv", "p1,c1,2026-05-15T10:00:00,5")
    store = open_store([service(unkeyed)])
    store.materialize()
    write(
        tmp_path / "data/a.csv",
        "p1,c1,2026-05-15T10:00:00,5",
        "p1,c1,2026-05-15T10:00:00,5",
        "p3,c2,2026-05-15T10:00:00,1",
    )
    assert store.materialize().rows == 2
    assert (number(store, "c1"), number(store, "c2")) == (2, 1)


def test_a_file_that_was_only_touched_adds_nothing(tmp_path: Path, open_store: Open) -> None:
    write(tmp_path / "data/a.csv", "p1,c1,2026-05-15T10:00:00,5")
    store = open_store([service(unkeyed)])
    store.materialize()
    os.utime(tmp_path / "data/a.csv", (0, 0))
    assert store.materialize().rows == 0


def test_a_vanished_file_is_named_and_its_events_stay(tmp_path: Path, open_store: Open) -> None:
    write(tmp_path / "data/a.csv", "p1,c1,2026-05-15T10:00:00,5")
    write(tmp_path / "data/b.csv", "p2,c1,2026-05-16T10:00:00,5")
    store = open_store()
    store.materialize()
    (tmp_path / "data/a.csv").unlink()
    assert store.materialize().sources[0].vanished == ("data/a.csv",)
    assert number(store, "c1") == 2


def test_another_payload_under_a_known_key_stops_the_load(tmp_path: Path, open_store: Open) -> None:
    write(tmp_path / "data/a.csv", "p1,c1,2026-05-15T10:00:00,5")
    store = open_store()
    store.materialize()
    write(tmp_path / "data/b.csv", "p1,c1,2026-05-15T10:00:00,6", "p2,c1,2026-05-15T10:00:00,6")
    with pytest.raises(ConflictingRows, match=r"'p1' is known with another payload: amount was 5\.0 and is 6\.0"):
        store.materialize()
    assert (number(store, "c1"), store.log.position) == (1, 1)


def test_a_row_without_a_key_that_was_changed_in_place_stops_the_load(tmp_path: Path, open_store: Open) -> None:
    write(tmp_path / "data/a.csv", "p1,c1,2026-05-15T10:00:00,5", "p2,c2,2026-05-15T10:00:00,5")
    store = open_store([service(unkeyed)])
    store.materialize()
    write(tmp_path / "data/a.csv", "p1,c1,2026-05-15T10:00:00,8", "p2,c2,2026-05-15T10:00:00,5")
    with pytest.raises(ConflictingRows, match=r"amount was 5\.0 and is 8\.0"):
        store.materialize()
    assert store.materialize(rebuild=True).rows == 2
    assert store.lookup("shop", {"customer": "c1", "amount": 1.0})["spent"] == 8.0


def test_a_bad_row_is_named_and_nothing_is_loaded(tmp_path: Path, open_store: Open) -> None:
    write(tmp_path / "data/a.csv", "p1,c1,2026-05-15T10:00:00,5", "p2,c1,2026-05-15T10:00:00,-5")
    store = open_store()
    with pytest.raises(InvalidRows, match=r"data/a\.csv row 2: amount = .*-5.* against"):
        store.materialize()
    assert store.log.position == 0
    with pytest.raises(NotMaterialized, match="featurestore materialize"):
        number(store, "c1")


def test_quarantine_sets_bad_rows_aside_and_keeps_them_readable(tmp_path: Path, open_store: Open) -> None:
    write(tmp_path / "data/a.csv", "p1,c1,2026-05-15T10:00:00,5", "p2,c1,2026-05-15T10:00:00,-5")
    store = open_store()
    done = store.materialize(on_invalid="quarantine")
    assert (done.rows, done.sources[0].quarantined) == (1, 1)
    (aside,) = store.log.quarantined("payments")
    assert (aside["file"], aside["row"], aside["column"]) == ("data/a.csv", 2, "amount")


def test_a_path_that_matches_nothing_says_where_it_looked(open_store: Open) -> None:
    with pytest.raises(SourceUnreadable, match=r"\*\.csv"):
        open_store().materialize()


def test_the_first_load_is_history_and_a_later_one_arrives_now(tmp_path: Path, open_store: Open, clock: Clock) -> None:
    write(tmp_path / "data/a.csv", "p1,c1,2026-05-15T10:00:00,5")
    store = open_store()
    first = store.materialize()
    clock.advance(days=1)
    write(tmp_path / "data/b.csv", "p2,c1,2026-05-16T10:00:00,7")
    second = store.materialize()
    assert (first.sources[0].known_at, second.sources[0].known_at) == (
        "event_time",
        "load time 2026-06-02T00:00:00.000000Z",
    )
    assert number(store, "c1", as_of=datetime(2026, 6, 1, 12, tzinfo=UTC)) == 1
    assert number(store, "c1") == 2


def test_history_stamps_a_later_load_as_if_it_had_been_there(tmp_path: Path, open_store: Open, clock: Clock) -> None:
    write(tmp_path / "data/a.csv", "p1,c1,2026-05-15T10:00:00,5")
    store = open_store()
    store.materialize()
    clock.advance(days=1)
    write(tmp_path / "data/b.csv", "p2,c1,2026-05-16T10:00:00,7")
    store.materialize(history=True)
    assert number(store, "c1", as_of=datetime(2026, 5, 20, tzinfo=UTC)) == 2


def test_what_was_ingested_is_taken_over_once(tmp_path: Path, open_store: Open, clock: Clock) -> None:
    write(tmp_path / "data/a.csv", "p1,c1,2026-05-15T10:00:00,5")
    store = open_store()
    store.materialize()
    receipt = store.ingest("payments", {"id": "p2", "customer": "c1", "event_time": clock.now, "amount": 1.0})
    assert (receipt.position, number(store, "c1")) == (2, 2)
    assert (store.materialize().taken_over, store.materialize().taken_over) == (1, 0)
    assert (number(store, "c1"), store.log.rows("payments"), store.log.position) == (2, 2, 2)


def test_a_first_load_beside_a_first_ingest_keeps_its_keys(
    tmp_path: Path, open_store: Open, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "data/a.csv", *(f"p{one},c1,2026-05-15T10:00:00,5" for one in range(5)))
    loading, ingesting = open_store(), open_store()
    stage = type(loading.online).write_keys

    def meanwhile(self: Any, *given: Any) -> int:
        monkeypatch.undo()
        run: int = stage(self, *given)
        loading.materialize()
        return run

    monkeypatch.setattr(type(loading.online), "write_keys", meanwhile)
    again = {"id": "p3", "customer": "c1", "event_time": datetime(2026, 5, 15, 10, tzinfo=UTC), "amount": 5.0}
    assert ingesting.ingest("payments", [again]).duplicates == 1
    clock.advance(seconds=1)
    assert number(loading, "c1") == 5


def test_an_ingested_event_in_a_later_file_counts_once(tmp_path: Path, open_store: Open, clock: Clock) -> None:
    write(tmp_path / "data/a.csv", "p1,c1,2026-05-15T10:00:00,5")
    store = open_store()
    store.materialize()
    store.ingest("payments", {"id": "p2", "customer": "c1", "event_time": "2026-05-31T00:00:00Z", "amount": 1.0})
    write(tmp_path / "data/b.csv", "p2,c1,2026-05-31T00:00:00,1", "p3,c1,2026-05-31T00:00:00,1")
    clock.advance(minutes=1)
    done = store.materialize()
    assert (done.rows, done.sources[0].duplicates) == (1, 1)
    assert number(store, "c1") == 3


def test_rebuild_starts_again_and_keeps_ingested_events(tmp_path: Path, open_store: Open, clock: Clock) -> None:
    write(tmp_path / "data/a.csv", "p1,c1,2026-05-15T10:00:00,5")
    store = open_store()
    before = store.materialize().position
    store.ingest("payments", {"id": "p2", "customer": "c1", "event_time": clock.now, "amount": 1.0})
    write(tmp_path / "data/a.csv", "p1,c1,2026-05-15T10:00:00,50")
    rebuilt = store.materialize(rebuild=True)
    clock.advance(seconds=1)
    assert store.lookup("shop", {"customer": "c1", "amount": 1.0})["spent"] == 51.0
    spine = [{"customer": "c1", "amount": 1.0, "event_time": clock.now}]
    assert store.training_set("shop", spine).to_arrow()["spent"].to_pylist() == [51.0]
    with pytest.raises(NotMaterialized):
        store.training_set("shop", spine, position=before)
    assert rebuilt.position > before
    with pytest.raises(ConflictingRows):
        store.ingest("payments", {"id": "p2", "customer": "c1", "event_time": clock.now, "amount": 2.0})


def test_a_longer_window_fills_the_online_store_from_the_log(tmp_path: Path, open_store: Open, clock: Clock) -> None:
    write(tmp_path / "data/a.csv", "p1,c1,2026-03-01T10:00:00,5", "p2,c1,2026-05-30T10:00:00,5")
    short = open_store([service(payments, "7d")], retain="1d")
    short.materialize()
    assert number(short, "c1") == 1
    longer = open_store([service(payments, "180d")], retain="1d")
    with pytest.raises(AsOfError, match="retains them since 2026-05-24"):
        number(longer, "c1", as_of=clock.now)
    assert longer.materialize().filled == {"payments_by_customer": "a lookup may look further back"}
    assert number(longer, "c1") == 2


def test_a_load_of_the_log_alone_serves_training_sets_and_lookups_follow(
    tmp_path: Path, open_store: Open, clock: Clock
) -> None:
    write(tmp_path / "data/a.csv", "p1,c1,2026-05-15T10:00:00,5", "p2,c1,2026-05-16T10:00:00,7")
    store, spine = open_store(), [{"customer": "c1", "event_time": clock.now, "amount": 1.0}]
    first = store.materialize(online=False)
    assert (first.rows, first.filled) == (2, {})
    generation = store.online.generation()
    assert store.materialize(online=False).position == first.position
    assert store.online.generation() == generation  # nothing new: nothing was published
    assert store.training_set("shop", spine).to_arrow()["number"].to_pylist() == [2]
    with pytest.raises(NotMaterialized, match="has not been filled"):
        number(store, "c1")
    row = {"id": "p3", "customer": "c1", "event_time": clock.now, "amount": 2.0}
    store.ingest("payments", row)
    clock.advance(seconds=1)
    done = store.materialize()
    assert (done.rows, dict(done.filled)) == (0, {"payments_by_customer": "new view"})
    assert number(store, "c1") == 3
    assert store.ingest("payments", row).duplicates == 1


def test_a_load_of_the_log_alone_after_others_refuses_lookups_until_one_fills_them(
    tmp_path: Path, open_store: Open, clock: Clock
) -> None:
    write(tmp_path / "data/a.csv", "p1,c1,2026-05-15T10:00:00,5")
    store = open_store()
    store.materialize()
    assert store.materialize(online=False).rows == 0
    assert number(store, "c1") == 1  # nothing was new: nothing is missing
    write(tmp_path / "data/b.csv", "p1,c1,2026-05-15T10:00:00,5", "p2,c1,2026-05-16T10:00:00,7")
    done = store.materialize(online=False)
    assert (done.rows, done.sources[0].duplicates) == (1, 1)
    with pytest.raises(NotMaterialized, match="lacks events that were added without it"):
        number(store, "c1")
    assert store.materialize().filled == {"payments_by_customer": "events were added without it"}
    clock.advance(seconds=1)
    assert number(store, "c1") == 2


def test_a_file_that_grows_while_it_is_loaded_is_read_again(
    tmp_path: Path, open_store: Open, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, grown = tmp_path / "data/a.csv", Event()
    write(path, "p1,c1,2026-05-15T10:00:00,5")
    store, tables, digest = open_store(), reading.tables, reading.digest

    def read_then_grown(*given: Any) -> Any:
        yield from tables(*given)
        with path.open("a") as file:
            file.write("p2,c1,2026-05-16T10:00:00,7\n")
        grown.set()

    with monkeypatch.context() as patch:
        patch.setattr(reading, "tables", read_then_grown)
        patch.setattr(reading, "digest", lambda part: (grown.wait(10), digest(part))[1])
        assert store.materialize().rows == 1
    clock.advance(days=1)
    assert [store.materialize().rows, store.materialize().rows] == [1, 0]
    assert number(store, "c1") == 2


def test_an_as_of_older_than_what_is_retained_is_refused(tmp_path: Path, open_store: Open) -> None:
    write(tmp_path / "data/a.csv", "p1,c1,2026-03-01T10:00:00,5", "p2,c1,2026-05-30T10:00:00,5")
    store = open_store(retain="1d")
    store.materialize()
    assert number(store, "c1", as_of="2026-05-31T12:00:00Z") == 1
    with pytest.raises(AsOfError, match="Raise `retain`"):
        number(store, "c1", as_of="2026-05-30T12:00:00Z")


def test_a_source_fed_by_ingest_alone_needs_no_materialize(open_store: Open, clock: Clock) -> None:
    store = open_store([service(ingested)])
    store.ingest("payments", [{"id": "p1", "customer": "c1", "event_time": clock.now, "amount": 2.5}])
    assert number(store, "c1") == 1
    spine = [{"customer": "c1", "amount": 1.0, "event_time": clock.advance(seconds=1)}]
    assert store.training_set("shop", spine).to_arrow()["spent"].to_pylist() == [2.5]


def test_a_schema_that_gains_a_column_that_may_not_be_null_is_refused(
    tmp_path: Path, open_store: Open, clock: Clock
) -> None:
    class Wider(Payment):
        country: str = "DE"

    write(tmp_path / "data/a.csv", "p1,c1,2026-05-15T10:00:00,5")
    open_store().materialize()
    wider = Source("payments", schema=Wider, path="data/*.csv", event_time="event_time", key="id")
    store = open_store([service(wider)])
    with pytest.raises(SchemaChanged, match=r"column 'country' is new and may not be null, and the log has 1 events"):
        store.materialize()
    with pytest.raises(SchemaChanged):
        store.training_set("shop", [{"customer": "c1", "amount": 1.0, "event_time": clock.now}])
    assert store.materialize(rebuild=True).rows == 1
    assert number(store, "c1") == 1


def test_a_column_that_may_not_be_null_any_more_is_refused_where_it_is(tmp_path: Path, open_store: Open) -> None:
    class Stricter(Payment):
        customer: str

    write(tmp_path / "data/a.csv", "p1,,2026-05-15T10:00:00,5")
    open_store().materialize()
    stricter = Source("payments", schema=Stricter, path="data/*.csv", event_time="event_time", key="id")
    with pytest.raises(SchemaChanged, match="'customer' may not be null any more, and is null in 1 events"):
        open_store([service(stricter)]).materialize()


def test_a_long_tail_becomes_a_run(open_store: Open, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featurestore.filling.LONG_TAIL", 20)
    store = open_store([service(ingested)])

    def ingest(one: int) -> None:
        store.ingest("payments", [{"id": f"p{one}", "customer": "c1", "event_time": clock.now, "amount": 1.0}])
        clock.advance(seconds=1)

    for one in range(19):
        ingest(one)
    store.materialize()
    ((view, state),) = store.online.views().items()
    assert state.runs == ()
    ingest(19)
    done = store.materialize()
    state = store.online.views()[view]
    assert (len(state.runs), state.tail_from, done.position) == (1, 20, 20)
    assert number(store, "c1") == 20
    ingest(20)
    store.materialize()
    assert store.online.views()[view] == state
    assert number(store, "c1") == 21
