"""Spines from the log: who is known when, and one row per event."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from shop import Clock, Payment, customer, ingested, payments, service, write

from featurestore import Entity, FeatureService, FeatureStore, Source, feature, label
from featurestore.errors import NotMaterialized, RequestError, UnknownService

Open = Callable[..., FeatureStore]


def day(number: int) -> datetime:
    return datetime(2026, 5, number, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path, open_store: Open) -> FeatureStore:
    write(
        tmp_path / "data/a.csv",
        "p1,c2,2026-05-08T00:00:00,5",
        "p2,c1,2026-05-09T10:00:00,6",
        "p3,,2026-05-10T10:00:00,7",
        "p4,c1,2026-05-15T00:00:00,8",
    )
    opened = open_store()
    opened.materialize()
    return opened


def pairs(store: FeatureStore, *of: Any, **options: Any) -> list[tuple[Any, Any]]:
    rows = store.spine(*of, **options).to_pylist()
    return [(row["customer"], row["event_time"]) for row in rows]


def test_an_entity_is_asked_for_from_the_instant_when_it_is_known(store: FeatureStore) -> None:
    weekly = pairs(store, customer, every="7d", start=day(1), end=day(29))
    assert weekly == [("c1", day(15)), ("c2", day(15)), ("c1", day(22)), ("c2", day(22))]


def test_the_event_at_the_instant_itself_is_not_seen_yet(store: FeatureStore) -> None:
    edge = timedelta(microseconds=1)
    assert pairs(store, "customer", every="1us", start=day(8), end=day(8) + 2 * edge) == [("c2", day(8) + edge)]


def test_the_end_is_left_out(store: FeatureStore) -> None:
    assert pairs(store, customer, every="1d", start=day(9), end=day(10)) == [("c2", day(9))]


def test_by_default_instants_begin_before_the_first_event_and_end_with_the_newest_known_at(store: FeatureStore) -> None:
    daily = pairs(store, customer, every="1d")
    assert daily == [("c2", day(9)), *((who, day(at)) for at in range(10, 16) for who in ("c1", "c2"))]


def test_of_an_inclusive_source_an_event_counts_at_its_own_instant(tmp_path: Path, open_store: Open) -> None:
    inclusive = Source("payments", schema=Payment, path="data/*.csv", event_time="event_time", inclusive=True)
    write(tmp_path / "data/a.csv", "p1,c2,2026-05-08T00:00:00,5")
    store = open_store([service(inclusive)])
    store.materialize()
    assert pairs(store, customer, every="1d", start=day(7), end=day(9)) == [("c2", day(8))]


def test_an_entity_is_known_when_its_event_is_and_not_when_it_happened(tmp_path: Path, open_store: Open) -> None:
    late = Source("payments", schema=Payment, path="data/*.csv", event_time="event_time", delay="36h")
    write(tmp_path / "data/a.csv", "p1,c2,2026-05-08T00:00:00,5")
    store = open_store([service(late)])
    store.materialize()
    assert pairs(store, customer, every="1d", start=day(8), end=day(11)) == [("c2", day(10))]


def test_any_source_of_its_features_and_labels_makes_an_entity_known(open_store: Open) -> None:
    class Visit(BaseModel):
        visitor: str
        at: datetime

    visits = Source("visits", schema=Visit, event_time="at", keys={"customer": "visitor"})

    @label(visits, by=customer, horizon="1d")
    def returns(tx: Any) -> Any:
        return tx.count() > 0

    store = open_store([service(ingested), returns])
    store.ingest("visits", {"visitor": "c9", "at": day(1)})
    store.ingest("payments", {"id": "p1", "customer": "c1", "event_time": day(1), "amount": 1.0})
    june = datetime(2026, 6, 2, tzinfo=UTC)
    assert pairs(store, customer, every="1d", start=june, end=june + timedelta(days=1)) == [("c1", june), ("c9", june)]
    assert store.spine(visits).to_pylist() == [{"customer": "c9", "event_time": day(1)}]


def test_a_composite_key_is_an_entity_of_its_own(open_store: Open) -> None:
    pair = Entity("pair", key=("customer", "id"))

    @feature(ingested, by=pair)
    def times_paid(tx: Any) -> Any:
        return tx.count()

    store = open_store([FeatureService("pairs", features=[times_paid])])
    for one in ("b", "a"):
        store.ingest("payments", {"id": one, "customer": "c1", "event_time": day(1), "amount": 1.0})
    store.ingest("payments", {"id": "c", "customer": None, "event_time": day(1), "amount": 1.0})
    june = datetime(2026, 6, 2, tzinfo=UTC)
    table = store.spine(pair, every="1d", start=june, end=june + timedelta(days=1))
    assert table.to_pylist() == [
        {"customer": "c1", "id": "a", "event_time": june},
        {"customer": "c1", "id": "b", "event_time": june},
    ]


def test_a_spine_goes_into_a_training_set(store: FeatureStore) -> None:
    table = store.spine(payments)
    assert table.column_names == ["customer", "event_time", "id", "amount"]
    made = store.training_set("shop", table).to_arrow()
    assert made["id"].to_pylist() == ["p1", "p2", "p3", "p4"]
    assert made["number"].to_pylist() == [0, 0, 0, 1]  # an event does not see itself


def test_events_of_a_span_only(store: FeatureStore) -> None:
    assert store.spine("payments", start=day(8), end=day(15))["id"].to_pylist() == ["p1", "p2", "p3"]
    assert store.spine("payments", start="2026-05-08T00:00:00.000001Z")["id"].to_pylist() == ["p2", "p3", "p4"]


def test_what_was_ingested_is_there_and_an_earlier_position_is_without_it(store: FeatureStore, clock: Clock) -> None:
    store.ingest("payments", {"id": "p0", "customer": "c7", "event_time": day(1), "amount": 1.0})
    assert store.spine(payments)["id"].to_pylist() == ["p0", "p1", "p2", "p3", "p4"]
    assert store.spine(payments, position=1)["id"].to_pylist() == ["p1", "p2", "p3", "p4"]
    now = clock.now + timedelta(days=1)
    span = {"every": "1d", "start": now, "end": now + timedelta(days=1)}
    assert [who for who, _ in pairs(store, customer, **span)] == ["c1", "c2", "c7"]
    assert [who for who, _ in pairs(store, customer, position=1, **span)] == ["c1", "c2"]


def test_rows_stand_in_one_order_however_the_log_came(tmp_path: Path) -> None:
    tied = Source("payments", schema=Payment, event_time="event_time")
    rows = [
        {"id": name, "customer": who, "event_time": day(1), "amount": amount}
        for name, who, amount in [("b", "c1", 1.0), ("a", "c2", 1.0), ("a", "c1", None), ("a", "c1", 1.0)]
    ]
    found = []
    for number, order in enumerate((rows, rows[::-1])):
        with FeatureStore([service(tied)], home=tmp_path / str(number), clock=Clock(day(20))) as store:
            for row in order:
                store.ingest("payments", row)
            found.append(store.spine(tied).select(["id", "customer", "amount"]).to_pylist())
    assert found[0] == found[1]
    assert [tuple(row.values()) for row in found[0]] == [
        ("a", "c1", None),
        ("a", "c1", 1.0),
        ("a", "c2", 1.0),
        ("b", "c1", 1.0),
    ]


def test_an_empty_log_gives_an_empty_spine(open_store: Open) -> None:
    store = open_store([service(ingested)])
    assert store.spine(customer, every="1d").to_pylist() == []
    assert store.spine(ingested).num_rows == 0


def test_what_cannot_be_asked_says_why(store: FeatureStore) -> None:
    wrong: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"of": customer}, RequestError, "needs its instants: every='7d'"),
        ({"of": payments, "every": "7d"}, RequestError, "has a row per event: drop every="),
        ({"of": "custmer", "every": "7d"}, UnknownService, "No entity named 'custmer'. Did you mean 'customer'"),
        ({"of": "payment"}, UnknownService, "No source named 'payment'. Did you mean 'payments'"),
        ({"of": customer, "every": "0s"}, RequestError, "zero long"),
        ({"of": customer, "every": "weekly"}, RequestError, "every: 'weekly' is not a duration"),
        ({"of": customer, "every": "1us"}, RequestError, "more than 10,000,000 instants"),
        ({"of": customer, "every": "1d", "start": day(9), "end": day(8)}, RequestError, "lies before start="),
        ({"of": payments, "position": 2}, RequestError, "Position 2 is not there yet: the newest is 1"),
    ]
    for options, kind, words in wrong:
        with pytest.raises(kind, match=words):
            store.spine(**options)


def test_an_entity_without_features_is_of_no_source(open_store: Open) -> None:
    with pytest.raises(RequestError, match="No feature or label is declared by 'shop'"):
        open_store([service(ingested), Entity("shop", key="shop")]).spine("shop", every="1d")


def test_a_source_that_was_not_loaded_is_named(open_store: Open) -> None:
    with pytest.raises(NotMaterialized, match="'payments' has not been loaded"):
        open_store().spine(payments)


def test_a_column_that_would_stand_for_two_things_is_refused(open_store: Open) -> None:
    class Visit(BaseModel):
        visitor: str
        customer: str
        event_time: datetime

    visits = Source("visits", schema=Visit, event_time="event_time", keys={"customer": "visitor"})

    @label(visits, by=customer, horizon="1d")
    def returns(tx: Any) -> Any:
        return tx.count() > 0

    with pytest.raises(RequestError, match="needs customer for an entity's key or the time"):
        open_store([service(ingested), returns]).spine(visits)
