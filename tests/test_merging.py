"""Blobs of many appends as few: every lookup gives what it gave, whatever comes between."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shop import Clock, customer, ingested, payments, write
from test_handful import BARE, KEYED, PLAIN, ROWS, STAMPS
from test_handful import customer as by_customer

from featurestore import FeatureService, FeatureStore, Source, feature
from featurestore.handful import read
from featurestore.merging import merged
from featurestore.online import sqlite_fresh
from featurestore.online.sqlite_tail import MOST
from featurestore.packing import BLOCK
from featurestore.unpacking import events_of
from featurestore.view import tie_columns

Open = Callable[..., FeatureStore]
MAY = datetime(2026, 5, 1, tzinfo=UTC)


@given(st.sampled_from([PLAIN, KEYED]), st.lists(st.tuples(ROWS, st.sampled_from(STAMPS)), min_size=1, max_size=5))
def test_merged_blobs_hold_the_same_events_in_the_same_order(source: Source, appends: list[Any]) -> None:
    view = source.by(by_customer)
    blobs: dict[str, list[bytes]] = {}
    for rows, stamp in appends:
        few = read(rows, source) or read([BARE], source)
        assert few is not None
        _, pieces = few.pack([view], stamp, np.arange(few.rows))
        for key, _, blob in pieces[view.name]:
            blobs.setdefault(key, []).append(blob)
    for one, packed in zip(blobs.values(), merged(view, list(blobs.values())), strict=True):
        assert packed is not None
        before, after = (
            events_of([[(blob, None) for blob in each]], source.fields, tie_columns(source))
            for each in (one, [blob for _, blob in packed])
        )
        assert len(packed) == 1
        assert packed[0][0] == before.event_time.max()
        assert (before.event_time.tolist(), before.known_at.tolist()) == (
            after.event_time.tolist(),
            after.known_at.tolist(),
        )
        for name in source.fields.names:
            assert before.columns[name].to_list() == after.columns[name].to_list()
            assert (before.columns[name].valid is None) == (after.columns[name].valid is None)


def test_blobs_of_a_later_schema_are_left_alone() -> None:
    class Longer(PLAIN.schema):  # type: ignore[name-defined, misc]
        more: str | None = None

    later = Source("plain", schema=Longer, event_time="event_time")
    few = read([BARE], later)
    assert few is not None
    ((_, _, blob),) = few.pieces(later.by(by_customer), [0])
    assert merged(PLAIN.by(by_customer), [[blob, blob]]) == [None]


@feature(ingested, by=customer)
def amounts(tx: Any) -> Any:
    """Amounts in the order of the events."""
    return tx.amount.apply(lambda values: ",".join(f"{value:g}" for value in values), returns=str)


@feature(payments, by=customer)
def filed_amounts(tx: Any) -> Any:
    """The same, of a source that has files too."""
    return tx.amount.apply(lambda values: ",".join(f"{value:g}" for value in values), returns=str)


SHOP = [FeatureService("shop", features=[amounts])]


def send(store: FeatureStore, numbers: range) -> None:
    for number in numbers:
        at = MAY - timedelta(minutes=number * 7 % 100)
        store.ingest("payments", {"id": f"p{number}", "customer": "c1", "event_time": at, "amount": number})


def expected(count: int) -> str:
    return ",".join(map(str, sorted(range(count), key=lambda number: (-(number * 7 % 100), number))))


def blobs(store: FeatureStore) -> int:
    return len(store.online.read({"payments_by_customer": ["c1"]}, {}).blobs["payments_by_customer"][0])


@pytest.fixture(params=[sqlite_fresh._MOST, 5], ids=["moved when much", "moved at once"])
def moved(request: pytest.FixtureRequest) -> Iterator[None]:
    """So many rows of appends lie in the small tables before they are moved."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite_fresh, "_MOST", request.param)
        yield


@pytest.mark.usefixtures("moved")
def test_many_ingests_leave_few_blobs_and_a_load_leaves_the_events_once(open_store: Open, clock: Clock) -> None:
    store = open_store(SHOP)
    for count in range(0, 225, 45):
        send(store, range(count, count + 45))
        clock.advance(seconds=1)
        assert blobs(store) <= 2 * MOST + 2
        assert store.lookup("shop", {"customer": "c1"})["amounts"] == expected(count + 45)
        store.materialize()
        assert store.lookup("shop", {"customer": "c1"})["amounts"] == expected(count + 45)


@pytest.mark.usefixtures("moved")
def test_a_batch_of_more_events_of_one_entity_than_a_blob_takes_counts_once(open_store: Open, clock: Clock) -> None:
    @feature(ingested, by=customer)
    def number(tx: Any) -> Any:
        """Events."""
        return tx.count()

    store = open_store([FeatureService("shop", features=[number])])
    send(store, range(MOST))
    many = [{"id": f"q{one}", "customer": "c1", "event_time": MAY, "amount": 1.0} for one in range(2 * BLOCK + 1)]
    store.ingest("payments", [*many, {"id": "r", "customer": "c2", "event_time": MAY, "amount": 1.0}])
    send(store, range(MOST, 2 * MOST))
    clock.advance(seconds=1)
    numbers = [store.lookup("shop", {"customer": one})["number"] for one in ("c1", "c2")]
    assert numbers == [2 * MOST + 2 * BLOCK + 1, 1]


@pytest.mark.usefixtures("moved")
@pytest.mark.parametrize("step", ["journal", "trim_journal", "begin_load", "publish_load"])
def test_what_is_ingested_while_a_load_takes_over_stays_apart(
    tmp_path: Path, open_store: Open, clock: Clock, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    write(tmp_path / "data/a.csv", "x1,c2,2026-05-15T10:00:00,1")
    store = open_store([FeatureService("shop", features=[filed_amounts])])
    send(store, range(10))
    taken = getattr(type(store.online), step)

    def meanwhile(self: Any, *given: Any, **named: Any) -> Any:
        monkeypatch.undo()
        send(store, range(10, 60))
        return taken(self, *given, **named)

    monkeypatch.setattr(type(store.online), step, meanwhile)
    store.materialize()
    clock.advance(seconds=1)
    assert store.lookup("shop", {"customer": "c1"})["filed_amounts"] == expected(60)
    send(store, range(60, 70))
    write(tmp_path / "data/b.csv", "x2,c2,2026-05-15T10:00:00,1")
    store.materialize()
    clock.advance(seconds=1)
    assert store.lookup("shop", {"customer": "c1"})["filed_amounts"] == expected(70)
    assert blobs(store) <= 2
