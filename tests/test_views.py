"""A view of the online store is read only for what it was packed for, and only while it has every event (S10)."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from shop import Clock

from featurestore import Entity, FeatureService, FeatureStore, Source, feature
from featurestore.definition import SourceBy
from featurestore.errors import NotMaterialized
from featurestore.online.signature import columns_of, difference, fits, mixes, signature_of

Open = Callable[..., FeatureStore]
GUEST = Entity("guest", key="name")
HOST = Entity("host", key="host")
VIEW = "visits_by_guest"
ANN = {"name": "ann"}


class Visit(BaseModel):
    guest: str
    host: str
    came: datetime
    left: datetime
    spent: int


class Rated(Visit):
    stars: int | None = None


class Noted(Rated):
    note: str | None = None


class Rooms(BaseModel):
    guest: str
    room: int | None = None
    host: str
    came: datetime
    left: datetime
    spent: int


def visits(schema: type[BaseModel] = Visit, guest: str = "guest", event_time: str = "came", **where: Any) -> Source:
    return Source("visits", schema=schema, event_time=event_time, keys={"name": guest}, **where)


def guests(source: Source, column: str = "spent") -> FeatureService:
    @feature(source, by=GUEST)
    def visited(tx: Any) -> Any:
        return tx.count()

    @feature(source, by=GUEST)
    def newest(tx: Any) -> Any:
        return tx[column].last()

    return FeatureService("guests", features=[visited, newest])


def hosts(source: Source) -> FeatureService:
    @feature(source, by=HOST)
    def hosted(tx: Any) -> Any:
        return tx.count()

    return FeatureService("hosts", features=[hosted])


def visit(guest: str, host: str, came: int, left: int, spent: int, **more: Any) -> dict[str, Any]:
    times = {"came": datetime(2026, 5, came, tzinfo=UTC), "left": datetime(2026, 5, left, tzinfo=UTC)}
    return {"guest": guest, "host": host, **times, "spent": spent, **more}


FIRST = visit("ann", "bob", 1, 9, 10)
SECOND = visit("ann", "cid", 2, 3, 20)
SWAPPED = visit("bob", "ann", 4, 5, 40)


def write(folder: Path, *rows: dict[str, Any]) -> None:
    lines = [",".join("" if value is None else str(value) for value in row.values()) for row in rows]
    (folder / "data/visits.csv").write_text("\n".join([",".join(rows[0]), *lines, ""]))


def both(store: FeatureStore, row: dict[str, Any], service: str = "guests", **asked: Any) -> list[Any]:
    """Values looked up, which a training set of that row must have too."""
    vector = store.lookup(service, row, **asked)
    trained = store.training_set(service, [{**row, "at": vector.as_of}], time="at", position=vector.position)
    assert trained.to_arrow().select(list(vector)).to_pylist() == [vector.to_dict()]
    return list(vector.values())


def refused(store: FeatureStore, why: str, row: dict[str, Any] = ANN) -> None:
    with pytest.raises(NotMaterialized, match=why):
        store.lookup("guests", row)


def test_a_key_mapped_to_another_column_refuses_lookups_and_fills_the_view_anew(
    tmp_path: Path, open_store: Open
) -> None:
    write(tmp_path, FIRST, SECOND, SWAPPED)
    open_store([guests(visits(path="data/visits.csv"))]).materialize()
    changed = open_store([guests(visits(path="data/visits.csv", guest="host"))])
    refused(changed, r"key was 'guest:str' and is 'host:str'\): run `featurestore materialize`")
    assert changed.materialize().filled == {VIEW: "changed definition"}
    assert both(changed, ANN) == [1, 40]


def test_another_event_time_refuses_lookups_and_fills_the_view_anew(tmp_path: Path, open_store: Open) -> None:
    write(tmp_path, FIRST, SECOND)
    open_store([guests(visits(path="data/visits.csv"))]).materialize()
    changed = open_store([guests(visits(path="data/visits.csv", event_time="left"))])
    refused(changed, "event_time was 'came' and is 'left'")
    changed.materialize()
    assert both(changed, ANN) == [2, 10]


def test_the_order_of_a_composite_key_counts(tmp_path: Path, open_store: Open) -> None:
    def pairs(*key: str) -> FeatureService:
        @feature(Source("visits", schema=Visit, path="data/visits.csv", event_time="came"), by=Entity("pair", key=key))
        def met(tx: Any) -> Any:
            return tx.count()

        return FeatureService("pairs", features=[met])

    write(tmp_path, FIRST, SECOND, SWAPPED)
    open_store([pairs("guest", "host")]).materialize()
    turned = open_store([pairs("host", "guest")])
    assert turned.materialize().filled == {"visits_by_pair": "changed definition"}
    assert both(turned, {"guest": "ann", "host": "bob"}, "pairs") == [1]


def test_a_removed_column_that_decided_ties_fills_the_view_anew(tmp_path: Path, open_store: Open) -> None:
    tied = [visit("ann", "bob", 1, 2, spent, room=room) for spent, room in ((5, 1), (3, 2))]
    write(tmp_path, *tied)
    with_rooms = open_store([guests(visits(Rooms, path="data/visits.csv"))])
    with_rooms.materialize()
    assert both(with_rooms, ANN) == [2, 3]
    without = open_store([guests(visits(path="data/visits.csv"))])
    refused(without, "columns was 'guest:str,room:int[?],")
    without.materialize()
    assert both(without, ANN) == [2, 5]


def test_a_view_that_a_load_left_out_is_filled_anew_when_it_comes_back(tmp_path: Path, open_store: Open) -> None:
    source = visits(path="data/visits.csv")
    write(tmp_path, FIRST)
    store = open_store([guests(source), hosts(source)])
    store.materialize()
    write(tmp_path, FIRST, SECOND)
    open_store([hosts(source)]).materialize()
    refused(store, "'visits' by 'guest' lacks events that were added without it: run `featurestore materialize`")
    assert store.materialize().filled == {VIEW: "events were added without it"}
    assert both(store, ANN) == [2, 20]


def test_a_rebuild_that_leaves_a_view_out_makes_it_incomplete(tmp_path: Path, open_store: Open) -> None:
    source = visits(path="data/visits.csv")
    write(tmp_path, FIRST, SECOND)
    store = open_store([guests(source), hosts(source)])
    store.materialize()
    write(tmp_path, FIRST)
    open_store([hosts(source)]).materialize(rebuild=True)
    refused(store, "lacks events")
    store.materialize()
    assert both(store, ANN) == [1, 10]


def test_an_event_ingested_by_older_definitions_makes_the_views_they_lack_incomplete(
    open_store: Open, clock: Clock
) -> None:
    source = visits()
    newer, older = open_store([guests(source), hosts(source)]), open_store([hosts(source)])
    newer.ingest("visits", FIRST)
    older.ingest("visits", SECOND)
    refused(newer, "lacks events")
    assert both(newer, {"host": "cid"}, "hosts") == [1]
    clock.advance(seconds=1)
    assert newer.materialize().filled == {VIEW: "events were added without it"}
    assert both(newer, ANN) == [2, 20]


def test_an_event_ingested_under_another_key_column_makes_the_view_incomplete(open_store: Open, clock: Clock) -> None:
    store, other = open_store([guests(visits())]), open_store([guests(visits(guest="host"))])
    store.ingest("visits", FIRST)
    other.ingest("visits", SWAPPED)
    refused(store, "lacks events")
    refused(other, "declared otherwise")
    clock.advance(seconds=1)
    store.materialize()
    assert both(store, ANN) == [1, 10]
    refused(other, "declared otherwise")


def test_an_event_that_older_definitions_ingest_while_a_view_is_filled_leaves_it_incomplete(
    open_store: Open, clock: Clock
) -> None:
    older, newer = open_store([hosts(visits())]), open_store([guests(visits())])
    older.ingest("visits", FIRST)

    def meanwhile(step: str) -> None:
        if step == f"filling online view {VIEW}":
            older.ingest("visits", SECOND)

    newer.materialize(progress=meanwhile)
    refused(newer, "lacks events")
    clock.advance(seconds=1)
    newer.materialize()
    assert both(newer, ANN) == [2, 20]


def test_an_event_of_the_same_definitions_while_a_view_is_filled_is_in_it(open_store: Open, clock: Clock) -> None:
    older, newer = open_store([hosts(visits())]), open_store([guests(visits())])
    older.ingest("visits", FIRST)

    def meanwhile(step: str) -> None:
        if step == f"filling online view {VIEW}":
            newer.ingest("visits", SECOND)

    newer.materialize(progress=meanwhile)
    clock.advance(seconds=1)
    assert both(newer, ANN) == [2, 20]


def test_a_nullable_column_gained_at_the_end_is_answered_before_it_is_filled(
    tmp_path: Path, open_store: Open, clock: Clock
) -> None:
    write(tmp_path, FIRST)
    old = open_store([guests(visits(path="data/visits.csv"))])
    old.materialize()
    new = open_store([guests(visits(Rated, path="data/visits.csv"), "stars")])
    assert both(new, ANN) == [1, None]
    new.ingest("visits", {**SECOND, "stars": 5})
    clock.advance(seconds=1)
    assert (both(new, ANN), both(old, ANN)) == ([2, 5], [2, 20])
    assert new.materialize().filled == {VIEW: "new column stars"}
    assert (both(new, ANN), both(old, ANN)) == ([2, 5], [2, 20])
    assert old.materialize().filled == {}


def test_a_column_that_the_log_has_and_a_fill_left_out_is_not_answered_as_null(open_store: Open, clock: Clock) -> None:
    new, old = open_store([guests(visits(Rated), "stars")]), open_store([guests(visits())])
    new.ingest("visits", {**FIRST, "stars": 4})
    clock.advance(seconds=1)
    assert (both(new, ANN), both(old, ANN)) == ([1, 4], [1, 10])
    open_store([guests(visits(guest="host"))]).materialize()
    assert old.materialize().filled == {VIEW: "changed definition"}
    refused(new, "stars had been left out")
    new.materialize()
    assert both(new, ANN) == [1, 4]


def test_a_view_opened_by_definitions_that_changed_before_the_first_event_is_the_later_ones(
    open_store: Open, clock: Clock
) -> None:
    open_store([guests(visits())]).ingest("visits", [])
    changed = open_store([guests(visits(guest="host"))])
    changed.ingest("visits", SWAPPED)
    clock.advance(seconds=1)
    assert both(changed, ANN) == [1, 40]


def signature(schema: type[BaseModel] = Visit, logged: Sequence[str] = (), **rules: Any) -> str:
    return signature_of(SourceBy(visits(schema, **rules), GUEST), logged)


def test_a_signature_says_what_blobs_do_not() -> None:
    assert signature(Rated, ["guest", "note"]).split("\n") == [
        "source visits",
        "key guest:str",
        "event_time came",
        "known_at -",
        "columns guest:str,host:str,came:datetime,left:datetime,spent:int,stars:int?",
        "without note",
    ]
    assert columns_of(signature()) == ("guest", "host", "came", "left", "spent")


def test_only_nullable_columns_at_the_end_may_differ() -> None:
    class Required(Visit):
        stars: int

    class Real(Visit):
        stars: float | None = None

    assert fits(signature(), signature(Rated))
    assert fits(signature(Noted), signature())
    assert not fits(signature(), signature(Required))
    assert not fits(signature(Rated), signature(Real))
    assert not fits(signature(), signature(Rooms))
    assert not fits(signature(), signature(known_at="left"))


def test_a_column_may_become_nullable_and_not_the_other_way() -> None:
    class Required(Visit):
        stars: int

    assert fits(signature(Required), signature(Rated))
    assert not fits(signature(Rated), signature(Required))
    assert mixes(signature(Rated), signature(Required))
    assert difference(signature(known_at="left"), signature()) == "known_at was 'left' and is '-'"


def test_a_column_that_was_left_out_is_missing_for_who_reads_it_alone() -> None:
    held = signature(Rated, ["note"])
    assert fits(held, signature(Rated))
    assert not fits(held, signature(Noted))
    assert mixes(held, signature(Noted))
