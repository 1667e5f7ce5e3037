"""Lookups and ingest through the store: positions, clocks, keys, errors (S1, S3, S6, S10)."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from shop import PAYMENTS, Clock, Payment, customer, ingested, service, write

from featurestore import FeatureService, FeatureStore, Source, feature
from featurestore.errors import (
    AsOfError,
    ConflictingRows,
    InvalidRequest,
    InvalidRows,
    KeyTypeMismatch,
    NotMaterialized,
    OperationError,
    RequestError,
    UnknownService,
)

Open = Callable[..., FeatureStore]


@pytest.fixture
def store(open_store: Open) -> FeatureStore:
    return open_store([service(ingested)])


def pay(store: FeatureStore, number: str, at: datetime, amount: float = 1.0, who: str | None = "c1") -> Any:
    return store.ingest("payments", {"id": number, "customer": who, "event_time": at, "amount": amount})


def test_what_was_acknowledged_is_in_the_next_lookup_though_the_clock_stands_still(
    store: FeatureStore, clock: Clock
) -> None:
    receipt = pay(store, "p1", clock.now)
    vector = store.lookup("shop", {"customer": "c1", "amount": 1.0})
    assert vector["number"] == 1
    assert vector.position == receipt.position == 1
    assert vector.as_of == clock.now + timedelta(microseconds=1)


def test_what_was_acknowledged_is_seen_though_the_next_clock_is_behind(store: FeatureStore, clock: Clock) -> None:
    first = pay(store, "p1", clock.now - timedelta(hours=2))
    clock.advance(hours=-1)
    second = pay(store, "p2", clock.now - timedelta(hours=2))
    assert second.known_at >= first.known_at
    assert store.lookup("shop", {"customer": "c1", "amount": 1.0})["number"] == 2


def test_an_event_of_the_future_is_not_seen_before_its_time(store: FeatureStore, clock: Clock) -> None:
    pay(store, "p1", clock.now + timedelta(hours=1))
    assert store.lookup("shop", {"customer": "c1", "amount": 1.0})["number"] == 0
    clock.advance(hours=1)
    assert store.lookup("shop", {"customer": "c1", "amount": 1.0})["number"] == 0
    clock.advance(seconds=1)
    assert store.lookup("shop", {"customer": "c1", "amount": 1.0})["number"] == 1


def test_the_event_at_t_is_not_seen_and_the_microsecond_after_it_is(store: FeatureStore, clock: Clock) -> None:
    at = clock.now - timedelta(days=1)
    pay(store, "p1", at)
    later = clock.advance(days=40)
    assert store.lookup("shop", {"customer": "c1", "amount": 1.0}, as_of=later)["number"] == 0
    edge = at + timedelta(days=30)
    row = {"customer": "c1", "amount": 1.0}
    assert store.lookup("shop", row, as_of=edge)["number"] == 1
    assert store.lookup("shop", row, as_of=edge + timedelta(microseconds=1))["number"] == 0


def test_an_as_of_in_the_future_is_refused(store: FeatureStore, clock: Clock) -> None:
    pay(store, "p1", clock.now)
    with pytest.raises(AsOfError, match=r"in the future: it is 2026-06-01T00:00:00\.000001Z"):
        store.lookup("shop", {"customer": "c1", "amount": 1.0}, as_of=clock.now + timedelta(seconds=1))


def test_a_known_event_again_is_counted_as_known_and_another_payload_is_refused(
    store: FeatureStore, clock: Clock
) -> None:
    pay(store, "p1", clock.now, 5.0)
    again = pay(store, "p1", clock.now, 5.0)
    assert (again.rows, again.duplicates, again.position) == (0, 1, 1)
    with pytest.raises(ConflictingRows, match=r"key 'p1' is known with another payload: amount was 5\.0 and is 6\.0"):
        pay(store, "p1", clock.now, 6.0)
    assert store.lookup("shop", {"customer": "c1", "amount": 1.0})["spent"] == 5.0


def test_of_a_batch_with_a_bad_row_nothing_is_accepted(store: FeatureStore, clock: Clock) -> None:
    rows = [
        {"id": "p1", "customer": "c1", "event_time": clock.now, "amount": 1.0},
        {"id": "p2", "customer": "c1", "event_time": clock.now, "amount": -1.0},
        {"id": "p3", "customer": "c1", "event_time": clock.now, "amount": 1.0, "colour": "red"},
    ]
    with pytest.raises(InvalidRows, match=r"amount.*\n.*colour"):
        store.ingest("payments", rows)
    assert store.lookup("shop", {"customer": "c1", "amount": 1.0})["number"] == 0


def test_null_keys_match_nothing(store: FeatureStore, clock: Clock) -> None:
    pay(store, "p1", clock.now, who=None)
    vector = store.lookup("shop", {"customer": None, "amount": 1.0})
    assert vector.to_dict() == {"number": 0, "spent": 0.0, "latest": None, "share": None}


def test_never_seen_entities_have_empty_windows(store: FeatureStore) -> None:
    assert store.lookup("shop", {"customer": "nobody", "amount": 1.0})["number"] == 0


def test_vectors_come_in_the_order_of_the_rows(store: FeatureStore, clock: Clock) -> None:
    for number, who in enumerate(["a", "b", "b", "c", "c", "c"]):
        pay(store, f"p{number}", clock.now, who=who)
    rows = [{"customer": who, "amount": 1.0} for who in ("c", "a", "b", "c")]
    assert [vector["number"] for vector in store.lookup_many("shop", rows)] == [3, 1, 2, 3]
    assert [vector["number"] for vector in store.lookup_many("shop", pd.DataFrame(rows))] == [3, 1, 2, 3]
    assert store.lookup_many("shop", []) == []


def test_each_row_may_have_its_own_as_of(store: FeatureStore, clock: Clock) -> None:
    start = clock.now
    for hours in range(4):
        pay(store, f"p{hours}", clock.now)
        clock.advance(hours=1)
    rows = [{"customer": "c1", "amount": 1.0}] * 3
    asked = [start + timedelta(hours=hours) for hours in (1, 2, 4)]
    assert [vector["number"] for vector in store.lookup_many("shop", rows, as_of=asked)] == [1, 2, 4]
    assert [vector["number"] for vector in store.lookup_many("shop", rows, as_of=pd.Series(asked))] == [1, 2, 4]


@pytest.mark.parametrize(
    ("row", "error", "says"),
    [
        ({"customer": 7, "amount": 1.0}, KeyTypeMismatch, "is no str: give text"),
        ({"amount": 1.0}, InvalidRequest, "lacks customer"),
        ({"customer": "c1"}, InvalidRequest, "amount"),
        ({"customer": "c1", "amount": -1.0}, InvalidRequest, "amount"),
        ({"customer": "c1", "amount": True}, InvalidRequest, "amount"),
        ({"customer": "c1", "amount": float("inf")}, InvalidRequest, "amount"),
        ({"customer": "c1", "amuont": 1.0}, InvalidRequest, "amuont"),
    ],
)
def test_a_wrong_row_is_refused_in_words(store: FeatureStore, row: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        store.lookup("shop", row)


def test_an_unknown_service_has_a_suggestion(store: FeatureStore) -> None:
    with pytest.raises(UnknownService, match=r"No feature service named 'shpo'\. Did you mean 'shop'"):
        store.lookup("shpo", {})


def test_a_new_view_is_not_answered_before_it_is_filled(tmp_path: Path, open_store: Open) -> None:
    write(tmp_path / "data/a.csv", "p1,c1,2026-05-15T10:00:00,5")
    first = open_store()
    with pytest.raises(NotMaterialized, match="featurestore materialize"):
        first.lookup("shop", {"customer": "c1", "amount": 1.0})
    first.materialize()
    assert first.lookup("shop", {"customer": "c1", "amount": 1.0})["number"] == 1


def test_a_view_that_a_later_definition_adds_waits_for_materialize(open_store: Open, clock: Clock) -> None:
    from featurestore import Entity

    alone = Source("payments", schema=Payment, event_time="event_time", key="id")
    pay(open_store([service(alone)]), "p1", clock.now)
    by_id = Entity("payment", key="id")

    @feature(alone, by=by_id)
    def seen(tx: Any) -> Any:
        return tx.count()

    wider = open_store([service(alone), FeatureService("ids", features=[seen])])
    with pytest.raises(NotMaterialized, match="'payments' by 'payment'"):
        wider.lookup("ids", {"id": "p1"})
    assert wider.materialize().filled == {"payments_by_payment": "new view"}
    assert wider.lookup("ids", {"id": "p1"})["seen"] == 1
    assert customer.key == ("customer",)


def test_open_reads_the_project_and_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.featurestore]\ndefinitions = "defs.py"\nhome = "there"\n')
    (tmp_path / "defs.py").write_text("from featurestore import Entity\nshop = Entity('shop', key='shop')\n")
    assert FeatureStore.open(tmp_path).home == tmp_path / "there"
    monkeypatch.setenv("FEATURESTORE_HOME", str(tmp_path / "elsewhere"))
    assert FeatureStore.open(tmp_path).home == tmp_path / "elsewhere"
    assert list(FeatureStore.open(tmp_path).registry.entities) == ["shop"]


def test_a_clock_may_give_datetimes_or_microseconds(tmp_path: Path) -> None:
    at = datetime(2026, 6, 1, tzinfo=UTC)
    clocks: list[Callable[[], int | datetime]] = [lambda: at, lambda: at.replace(tzinfo=None), lambda: 1780272000000000]
    assert {FeatureStore(PAYMENTS, home=tmp_path, clock=one).now() for one in clocks} == {1780272000000000}


def test_an_enum_of_strings_is_the_key_that_it_stands_for(store: FeatureStore, clock: Clock) -> None:
    class Who(str, Enum):  # noqa: UP042 - whose text is its name
        FIRST = "c1"

    pay(store, "p1", clock.now)
    assert store.lookup("shop", {"customer": Who.FIRST, "amount": 1.0})["number"] == 1


def test_a_key_that_is_no_text_is_refused(store: FeatureStore) -> None:
    with pytest.raises(InvalidRequest, match="lone surrogate"):
        store.lookup("shop", {"customer": "\ud800", "amount": 1.0})


def test_an_instant_outside_the_calendar_is_refused(store: FeatureStore) -> None:
    with pytest.raises(RequestError, match="outside the years 1 to 9999"):
        store.lookup("shop", {"customer": "c1", "amount": 1.0}, as_of=2**70)


def test_a_closed_store_opens_again(store: FeatureStore, clock: Clock) -> None:
    pay(store, "p1", clock.now)
    store.close()
    assert store.lookup("shop", {"customer": "c1", "amount": 1.0})["number"] == 1


def test_a_home_that_cannot_be_made_says_which_and_how_to_name_another(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(OperationError, match=r"home .*taken cannot be made: File exists\. .* FEATURESTORE_HOME"):
        FeatureStore([service(ingested)], home=tmp_path / "taken").materialize()


def test_an_instant_of_many_that_is_none_is_named_by_its_row(store: FeatureStore, clock: Clock) -> None:
    rows = [{"customer": "c1", "amount": 1.0}] * 2
    with pytest.raises(RequestError, match="as_of of row 2: NaT is not an instant"):
        store.lookup_many("shop", rows, as_of=[clock.now, pd.NaT])


def test_keys_in_a_csv_spine_are_text_where_they_are_declared_so(
    store: FeatureStore, clock: Clock, tmp_path: Path
) -> None:
    pay(store, "p1", clock.now - timedelta(hours=1), who="007")
    (tmp_path / "asked.csv").write_text(f"customer,event_time,amount\n007,{clock.advance(minutes=1).isoformat()},1\n")
    made = store.training_set("shop", tmp_path / "asked.csv").to_pandas()
    assert made["customer"].tolist() == ["007"]
    assert made["number"].tolist() == [1]


def one(number: str, at: datetime, amount: float = 1.0) -> list[dict[str, Any]]:
    return [{"id": number, "customer": "c1", "event_time": at, "amount": amount}]


def test_what_several_send_is_one_append_that_tells_each_of_its_own(store: FeatureStore, clock: Clock) -> None:
    pay(store, "p1", clock.now)
    requests = [one("p2", clock.now), one("p1", clock.now) + one("p3", clock.now), [], one("p2", clock.now)]
    told = store.ingest_each("payments", requests)
    assert [(each.rows, each.duplicates) for each in told] == [(1, 0), (1, 1), (0, 0), (0, 1)]  # type: ignore[union-attr]
    assert {each.position for each in told} == {2}  # type: ignore[union-attr]
    assert store.lookup("shop", {"customer": "c1", "amount": 1.0})["number"] == 3


def test_of_what_several_send_the_wrong_is_refused_and_the_rest_taken(store: FeatureStore, clock: Clock) -> None:
    invalid, conflict = one("p2", clock.now, -1.0), one("p1", clock.now, 2.0)
    told = store.ingest_each("payments", [one("p1", clock.now), invalid, conflict, one("p3", clock.now)])
    assert [type(each) for each in told] == [type(told[0]), InvalidRows, ConflictingRows, type(told[0])]
    assert [entry.position for entry in store.online.journal(0)] == [1, 2]
    assert store.lookup("shop", {"customer": "c1", "amount": 1.0})["number"] == 2


def test_where_the_store_cannot_take_it_all_are_told(store: FeatureStore, clock: Clock) -> None:
    store.close()
    store.online.path.parent.mkdir(parents=True, exist_ok=True)
    store.online.close()
    with pytest.raises(OperationError):
        store.ingest_each("payments", [one("p1", clock.now), one("p2", clock.now)])
