"""A hot entity, kept between lookups, gives what plain loops and training sets give (S3 to S7, S13)."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from sales import KINDS, LOOPS, SECOND, Sale, shop

from featurestore import FeatureService, FeatureStore, Source, aggregations, feature, hot
from featurestore.definition import WindowFeature
from featurestore.events import Events
from featurestore.values import from_list

BEGUN = datetime(2026, 3, 1, tzinfo=UTC)
PRICES = st.none() | st.sampled_from([0.0, 0.1, -2.5, 1e-100, 1e100, -1e100, 3.0, 2.0**53 + 2])


def reductions(*, inclusive: bool, windows: list[str]) -> list[WindowFeature]:
    by_shop = Source("sales", schema=Sale, event_time="at", inclusive=inclusive).by(shop)
    plain = aggregations(by_shop, columns=[*KINDS], functions=["count", "sum", "mean", "min", "max"], windows=windows)
    return [*plain, *aggregations(by_shop, columns=["price", "units"], functions=["var", "std"], windows=windows)]


FEATURES = {one: reductions(inclusive=one, windows=["3s", "40s", "100s"]) for one in (False, True)}


@pytest.fixture(autouse=True)
def any_entity_is_hot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hot, "MANY_EVENTS", 1)


@given(st.data())
def test_a_window_of_a_hot_entity_holds_what_plain_loops_see(data: st.DataObject) -> None:
    inclusive, as_of = data.draw(st.booleans()), data.draw(st.integers(0, 130))
    parts = [data.draw(events(least)) for least in (1, 0)]
    functions: Any = [one.function for one in FEATURES[inclusive]]
    kept = hot.Hot(sorted_events(parts[0]), functions, None, 1)
    both = kept.with_later([parts[1]], lambda blobs: sorted_events(blobs[0]))
    assert both is not None
    row, nobody = hot.HotRow(as_of * SECOND, 0, both), hot.HotRow(as_of * SECOND, -1, both)
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
    """What is loaded, and then ingested."""

    shop: str
    at: datetime
    known: datetime
    price: float | None = None
    units: int


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FeatureStore]:
    chance = np.random.default_rng(3)
    happened = [BEGUN - timedelta(hours=hours) for hours in chance.integers(1, 300, 200).tolist()]
    loaded = [drawn_sale(chance, "abx"[number % 3], at) for number, at in enumerate(happened)]
    pq.write_table(pa.Table.from_pylist(loaded), tmp_path / "sales.parquet")
    sales = Source("sales", schema=Shop, path="sales*.parquet", event_time="at", known_at="known")
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
    Clock.now = BEGUN
    with FeatureStore([service], home=tmp_path / "home", root=tmp_path, clock=lambda: Clock.now) as opened:
        opened.materialize()
        yield opened


def drawn_sale(chance: np.random.Generator, name: str, at: datetime) -> dict[str, Any]:
    """One in three is known up to forty hours late."""
    late = timedelta(hours=int(chance.choice([0, 0, 3, 40])))
    price = None if chance.random() < 0.1 else float(np.round(chance.lognormal(3, 2), 2))
    return {"shop": name, "at": at, "known": at + late, "price": price, "units": int(chance.integers(-5, 99))}


class Clock:
    now = BEGUN


def test_lookups_of_a_hot_entity_are_training_rows(store: FeatureStore, tmp_path: Path) -> None:
    """Through appends in any order, loads, an as_of that lies back, and other entities."""
    chance = np.random.default_rng(7)
    asked = []
    for number in range(90):
        Clock.now = BEGUN + timedelta(minutes=7 * number)
        sale = drawn_sale(chance, "x", Clock.now - timedelta(minutes=int(chance.choice([0, 0, 0, 3, 90]))))
        store.ingest("returns" if number % 10 == 3 else "sales", [sale])
        if number in (40, 41, 70):
            more = [drawn_sale(chance, "x", Clock.now - timedelta(hours=hours)) for hours in range(9)]
            pq.write_table(pa.Table.from_pylist(more), tmp_path / f"sales{number}.parquet")
            store.materialize()
        back = timedelta(hours=int(chance.choice([0, 0, 1, 30, 200])))
        as_of = Clock.now - back if back else None
        asked += [(name, store.lookup("shops", {"shop": name}, as_of=as_of)) for name in ("x", "a", "nobody")]
    assert {key for _, key in store._prepare("shops").hot._entities} == {"x", "a"}
    spine = [{"shop": name, "event_time": vector.as_of} for name, vector in asked]
    rows = store.training_set("shops", spine, position=[one.position for _, one in asked]).to_arrow().to_pylist()
    for (_, vector), row in zip(asked, rows, strict=True):
        assert repr(dict(vector)) == repr({name: row[name] for name in vector})


def test_what_was_forgotten_is_not_kept(store: FeatureStore) -> None:
    Clock.now = BEGUN + timedelta(days=3)
    assert store.lookup("shops", {"shop": "x"})["units_count_30d"] == 66
    assert store._prepare("shops").hot._entities
    store.forget("shop", "x")
    assert store.lookup("shops", {"shop": "x"})["units_count_30d"] == 0


def test_entities_are_kept_within_bounds(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featurestore.kept.MOST_EVENTS", 140)
    Clock.now = BEGUN + timedelta(days=3)
    for name in "abx":
        assert store.lookup("shops", {"shop": name})["units_count_30d"] in (66, 67)
    assert [key for _, key in store._prepare("shops").hot._entities] == ["b", "x"]
