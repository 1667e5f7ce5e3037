"""Lookups of a row that is no more than a key are training rows, and refuse what all lookups refuse."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import BaseModel

from featurestore import Entity, FeatureService, FeatureStore, Source, aggregations, lookup
from featurestore.errors import AsOfError, InvalidRequest, KeyTypeMismatch, NotMaterialized

BEGUN = datetime(2026, 3, 1, tzinfo=UTC)
FUNCTIONS = ["count", "sum", "mean", "min", "max", "std", "nunique"]


class Sale(BaseModel):
    shop: str | None
    number: int
    at: datetime
    known: datetime
    price: float | None = None
    units: int
    paid: bool


class Clock:
    now = BEGUN


def services() -> list[FeatureService]:
    """One by a key of text, one by a number; of two columns, with windows of their own."""
    sales = Source("sales", schema=Sale, path="sales*.parquet", event_time="at", known_at="known")
    shops = sales.by(Entity("shop", key="shop"))
    by_shop = [
        *aggregations(shops, columns=["units"], functions=FUNCTIONS, windows=["1h", "30d"]),
        *aggregations(shops, columns=["price"], functions=FUNCTIONS[:5], windows=["30d", "3h", "400d"]),
    ]
    by_number = aggregations(
        sales.by(Entity("number", key="number")), columns=["paid"], functions=FUNCTIONS[:5], windows=["12h"]
    )
    return [
        FeatureService("shops", features=[*by_shop[::2], *by_shop[1::2]]),
        FeatureService("numbers", features=by_number),
    ]


def sale(chance: np.random.Generator, at: datetime, *, nulls: bool = False) -> dict[str, Any]:
    """One in twenty is known late; of some shops one in five has no price."""
    late = timedelta(hours=int(30 * (chance.random() < 0.05)))
    name = str(chance.choice(["a", "b", "c"] if nulls else ["x", "y", "é"]))
    price = None if nulls and chance.random() < 0.2 else float(np.round(chance.lognormal(3, 2), 2))
    number, units = int(chance.integers(-3, 3)), int(chance.integers(-5, 99))
    times = {"at": at, "known": at + late}
    return {"shop": name, "number": number, **times, "price": price, "units": units, "paid": units > 50}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FeatureStore]:
    chance = np.random.default_rng(3)
    happened = [BEGUN - timedelta(hours=hours) for hours in chance.integers(1, 300, 200).tolist()]
    sales = [sale(chance, at, nulls=number % 2 == 0) for number, at in enumerate(happened)]
    pq.write_table(pa.Table.from_pylist(sales), tmp_path / "sales.parquet")
    Clock.now = BEGUN
    with FeatureStore(services(), home=tmp_path / "home", root=tmp_path, clock=lambda: Clock.now) as opened:
        opened.materialize()
        yield opened


def test_each_is_the_training_row(store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through appends in any order, loads, an as_of that lies back, late events, nulls and entities without events."""
    closer = Mock(wraps=lookup.find)
    monkeypatch.setattr(lookup, "find", closer)
    chance = np.random.default_rng(7)
    asked: list[tuple[str, dict[str, Any], Any]] = []
    for turn in range(60):
        Clock.now = BEGUN + timedelta(minutes=7 * turn)
        store.ingest("sales", [sale(chance, Clock.now - timedelta(minutes=int(chance.choice([0, 0, 3, 90]))))])
        if turn in (20, 45):
            pq.write_table(pa.Table.from_pylist([sale(chance, Clock.now)]), tmp_path / f"sales{turn}.parquet")
            store.materialize()
        back = timedelta(hours=int(chance.choice([0, 0, 1, 30, 200])))
        as_of = Clock.now - back if back else None
        for service, row in (
            ("shops", {"shop": str(chance.choice(["x", "y", "é", "a", "nobody", "a\tb"]))}),
            ("numbers", {"number": int(chance.integers(-3, 4))}),
        ):
            asked.append((service, row, store.lookup(service, row, as_of=as_of)))
    assert 0 < closer.call_count < len(asked) / 2
    for service in ("shops", "numbers"):
        mine = [(row, vector) for of, row, vector in asked if of == service]
        spine = [{**row, "event_time": vector.as_of} for row, vector in mine]
        made = store.training_set(service, spine, position=[vector.position for _, vector in mine])
        for (_, vector), row in zip(mine, made.to_arrow().to_pylist(), strict=True):
            assert list(vector) == list(store.registry.services[service].outputs)
            assert repr(dict(vector)) == repr({name: row[name] for name in vector})


def test_what_was_acknowledged_is_seen_though_the_clock_stands_still(store: FeatureStore) -> None:
    before = store.lookup("shops", {"shop": "x"})["units_count_30d"]
    store.ingest("sales", [{**sale(np.random.default_rng(1), BEGUN), "shop": "x", "known": BEGUN}])
    assert store.lookup("shops", {"shop": "x"})["units_count_30d"] == before + 1


class Who(Enum):
    X = "x"


def test_a_key_that_reads_as_declared_finds_the_same(store: FeatureStore) -> None:
    plain = store.lookup("shops", {"shop": "x"})
    assert plain["units_count_30d"] > 0
    for row in ({"shop": Who.X}, {"shop": np.str_("x")}, {"shop": "x", "more": 1}):
        assert repr(store.lookup("shops", row)) == repr(plain)
    number = store.lookup("numbers", {"number": 1}, as_of=BEGUN - timedelta(days=3))
    assert repr(store.lookup("numbers", {"number": np.int64(1)}, as_of=number.as_of)) == repr(number)
    assert store.lookup("shops", {"shop": None})["units_count_30d"] == 0


@pytest.mark.parametrize(
    ("service", "row", "error", "match"),
    [
        ("shops", {"shop": 7}, KeyTypeMismatch, "shop"),
        ("shops", {"shop": "\ud800"}, InvalidRequest, "surrogate"),
        ("shops", {"shpo": "x"}, InvalidRequest, "lacks shop"),
        ("shops", {}, InvalidRequest, "lacks shop"),
        ("numbers", {"number": "1"}, KeyTypeMismatch, "number"),
        ("numbers", {"number": True}, KeyTypeMismatch, "number"),
        ("numbers", {"number": 2**63}, KeyTypeMismatch, "number"),
    ],
)
def test_what_is_wrong_is_refused(
    store: FeatureStore, service: str, row: dict[str, Any], error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        store.lookup(service, row)


def test_an_as_of_in_the_future_is_refused(store: FeatureStore) -> None:
    with pytest.raises(AsOfError, match="in the future"):
        store.lookup("numbers", {"number": 1}, as_of=BEGUN + timedelta(seconds=1))


@pytest.mark.usefixtures("store")
def test_a_store_that_was_not_filled_is_not_answered_from(tmp_path: Path) -> None:
    with (
        FeatureStore(services(), home=tmp_path / "other", root=tmp_path) as empty,
        pytest.raises(NotMaterialized, match="has not been filled"),
    ):
        empty.lookup("numbers", {"number": 1})


def test_what_is_no_longer_retained_is_refused(tmp_path: Path, store: FeatureStore) -> None:
    store.close()
    with FeatureStore(services()[1:], home=tmp_path / "kept", root=tmp_path, clock=lambda: BEGUN, retain="1d") as kept:
        kept.materialize()
        assert kept.lookup("numbers", {"number": 1}, as_of=BEGUN - timedelta(hours=20))
        with pytest.raises(AsOfError, match="retains them since"):
            kept.lookup("numbers", {"number": 1}, as_of=BEGUN - timedelta(days=3))
