"""A hot entity, kept between lookups, gives what plain loops and training sets give (S3 to S7, S13)."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from featurestore import Entity, FeatureService, FeatureStore, Source, aggregations, feature, hot
from featurestore.definition import WindowFeature
from featurestore.events import Events
from featurestore.values import from_list

SECOND = 1_000_000
BEGUN = datetime(2026, 3, 1, tzinfo=UTC)
KINDS: dict[str, Any] = {"price": "float", "units": "int", "paid": "bool"}
LOOPS: dict[str, Any] = {
    "count": lambda seen, _: len(oracle.present(seen)),
    "sum": oracle.total,
    "mean": oracle.mean,
    "min": lambda seen, _: oracle.smallest(seen),
    "max": lambda seen, _: oracle.largest(seen),
    "var": oracle.variance,
    "std": oracle.deviation,
}
PRICES = st.none() | st.sampled_from([0.0, 0.1, -2.5, 1e-100, 1e100, -1e100, 3.0, 2.0**53 + 2])


class Sale(BaseModel):
    shop: str
    at: datetime
    price: float | None
    units: int
    paid: bool


shop = Entity("shop", key="shop")


def reductions(*, inclusive: bool, windows: list[str]) -> list[WindowFeature]:
    by_shop = Source("sales", schema=Sale, event_time="at", inclusive=inclusive).by(shop)
    plain = aggregations(by_shop, columns=[*KINDS], functions=[*LOOPS][:5], windows=windows)
    return [*plain, *aggregations(by_shop, columns=["price", "units"], functions=["var", "std"], windows=windows)]


FEATURES = {one: reductions(inclusive=one, windows=["3s", "40s", "100s"]) for one in (False, True)}


@pytest.fixture(autouse=True)
def any_entity_is_hot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hot, "MANY_EVENTS", 1)


@given(st.data())
def test_a_window_of_a_hot_entity_holds_what_plain_loops_see(data: st.DataObject) -> None:
    inclusive, as_of = data.draw(st.booleans()), data.draw(st.integers(0, 130))
    parts = [data.draw(events(least)) for least in (1, 0, 0)]
    kept = hot.Hot.of(sorted_events(parts[0]), [one.function for one in FEATURES[inclusive]], None, 1, 1)  # type: ignore[misc]
    position = 1
    for part in parts[1:]:
        position += 1
        kept = None if kept is None else kept.with_later(sorted_events(part), position)
    if kept is None:  # known in an order that would take too many chains
        return
    assert kept.position == 3
    row, nobody = hot.HotRow(as_of * SECOND, 0, kept), hot.HotRow(as_of * SECOND, -1, kept)
    everything = [one for part in parts for one in part]
    for one in FEATURES[inclusive]:
        column, function = one.name.split("_")
        assert nobody.reduced(one).to_list() == [LOOPS[function]([], KINDS[column])] * 3
        for window, value in zip(one.windows, row.reduced(one).to_list(), strict=True):
            assert window is not None
            begin = as_of - window // SECOND
            seen = [
                event[column]
                for event in everything
                if event["at"] >= begin and max(event["at"], event["known"]) < as_of + inclusive
            ]
            assert repr(value) == repr(LOOPS[function](seen, KINDS[column])), one.name


@st.composite
def events(draw: st.DrawFn, least: int) -> list[dict[str, Any]]:
    """Sales whose times are seconds; one in four is known late."""
    sale = st.fixed_dictionaries(
        {
            "at": st.integers(0, 120),
            "known": st.sampled_from([0, 0, 0, 9, 60]),
            "price": PRICES,
            "units": st.integers(-(2**50), 2**50),
            "paid": st.booleans(),
        }
    )
    some: Any = st.lists(sale, min_size=least, max_size=6)
    drawn: list[dict[str, Any]] = list(draw(some))
    seed: Any = st.integers(0, 99)
    if drawn and draw(seed) % 2:  # longer than a block
        chance = np.random.default_rng(draw(seed))
        times, prices = chance.integers(0, 120, 150).tolist(), chance.lognormal(3, 5, 150).tolist()
        drawn += [drawn[0] | {"at": at, "price": price} for at, price in zip(times, prices, strict=True)]
    return [one | {"known": one["at"] + one["known"]} for one in drawn]


def sorted_events(drawn: list[dict[str, Any]]) -> Events:
    rows = sorted(drawn, key=lambda one: (one["at"], one["known"]))
    columns = {
        name: from_list(kind, [one[name] for one in rows], nullable=name == "price") for name, kind in KINDS.items()
    }
    at, known = (np.array([one[name] for one in rows], np.int64) * SECOND for name in ("at", "known"))
    return Events(np.array([0, len(rows)]), at, known, columns)


class Shop(BaseModel):
    """What is ingested and loaded."""

    shop: str
    at: datetime
    price: float | None = None
    units: int


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FeatureStore]:
    sales = Source("sales", schema=Shop, event_time="at", delay="0s")
    returns = Source("returns", schema=Shop, event_time="at")
    functions = ["count", "sum", "mean", "min", "max", "std"]
    by_shop = aggregations(sales.by(shop), columns=["price", "units"], functions=functions, windows=["1h", "30d"])

    @feature(returns, by=shop, window="30d")
    def returned(tx: Any) -> Any:
        return tx.units.sum()

    @feature
    def share(returned: int | None, units_sum_30d: int | None) -> float:
        return (returned or 0) / (units_sum_30d or 1)

    service = FeatureService("shops", features=[*by_shop, returned, share])
    with FeatureStore([service], home=tmp_path / "home", root=tmp_path, clock=lambda: Clock.now) as opened:
        yield opened


class Clock:
    now = BEGUN


def test_lookups_of_a_hot_entity_are_training_rows(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through appends in any order, loads, a retroactive as_of and other entities."""
    monkeypatch.setattr(hot, "MOST_LATER", 40)
    chance = np.random.default_rng(7)
    asked = []
    for number in range(120):
        Clock.now = BEGUN + timedelta(minutes=7 * number)
        late = timedelta(minutes=int(chance.choice([0, 0, 0, 3, 90])))
        price = None if number % 9 == 4 else float(np.round(chance.lognormal(3, 2), 2))
        row = {"shop": "x", "at": Clock.now - late, "price": price, "units": int(chance.integers(-5, 99))}
        store.ingest("returns" if number % 10 == 3 else "sales", [row])
        if number % 5 == 0:
            store.ingest("sales", [row | {"shop": "y"}])
        if number in (60, 61, 100):
            store.materialize()
        back = timedelta(hours=int(chance.choice([0, 0, 1, 30])))
        for name in ("x", "y", "nobody"):
            vector = store.lookup("shops", {"shop": name}, as_of=None if not back else max(BEGUN, Clock.now - back))
            asked.append((name, vector))
    assert store._prepare("shops").hot._entities
    spine = [{"shop": name, "event_time": vector.as_of} for name, vector in asked]
    rows = store.training_set("shops", spine, position=[one.position for _, one in asked]).to_arrow().to_pylist()
    for (_, vector), row in zip(asked, rows, strict=True):
        assert repr(dict(vector)) == repr({name: row[name] for name in vector})


def test_what_was_forgotten_is_not_kept(store: FeatureStore) -> None:
    Clock.now = BEGUN
    store.ingest("sales", [{"shop": "x", "at": BEGUN, "price": 4.0, "units": 1}])
    Clock.now = BEGUN + timedelta(minutes=1)
    assert store.lookup("shops", {"shop": "x"})["units_sum_30d"] == 1
    assert store._prepare("shops").hot._entities
    store.forget("shop", "x")
    assert store.lookup("shops", {"shop": "x"})["units_sum_30d"] == 0


def test_entities_are_kept_within_bounds(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featurestore.kept.MOST_EVENTS", 3)
    Clock.now = BEGUN
    for name in "abcd":
        store.ingest("sales", [{"shop": name, "at": BEGUN, "units": 1}] * 2)
    Clock.now = BEGUN + timedelta(minutes=1)
    for name in "abcd":
        assert store.lookup("shops", {"shop": name})["units_count_1h"] == 2
    assert [key for _, key in store._prepare("shops").hot._entities] == ["d"]
