"""The payment definitions against plain loops over a few literal payments."""

import math
import statistics
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from featurestore import FeatureStore
from featurestore.simulate import simulate

DEFINITIONS = Path(__file__).resolve().parent.parent / "definitions" / "payments.py"
T = datetime(2026, 5, 20, 12, tzinfo=UTC)
Row = dict[str, Any]


def payment(number: int, ago: timedelta, amount: float, merchant: str | None = "m1", **other: Any) -> Row:
    """A payment that happened ``ago`` before T and was received a second later."""
    happened = T - ago
    return {
        "transaction_id": f"t{number}",
        "customer_id": "c1",
        "event_time": happened,
        "received_at": happened + timedelta(seconds=1),
        "amount": amount,
        "merchant": merchant,
        "channel": "shop",
        **other,
    }


HOUR, DAY = timedelta(hours=1), timedelta(days=1)
PAYMENTS = [
    payment(1, 40 * DAY, 900.0),
    payment(2, 30 * DAY, 10.0, "m2"),
    payment(3, 8 * DAY, 20.0, None, channel="online"),
    payment(4, 7 * DAY, 4.99, "m2"),
    payment(5, 3 * HOUR, 5.0, channel="online"),
    payment(6, 3 * HOUR, 7.25, "m3", channel="online"),
    payment(7, HOUR, 1.5),
    payment(8, timedelta(minutes=5), 60.0, "m2"),
    payment(9, timedelta(minutes=1), 70.0, received_at=T),  # received at T: not seen
    payment(10, 2 * DAY, 80.0, received_at=T + DAY),  # late
    payment(11, timedelta(0), 90.0),
    payment(12, 2 * HOUR, 3.0, customer_id="c2"),
    payment(13, 2 * DAY, 33.0, customer_id="c2"),
]


def opened(root: Path, payments: list[Row]) -> FeatureStore:
    folder = root / "data" / "transactions"
    folder.mkdir(parents=True)
    schema = pa.schema(
        [
            *((name, pa.string()) for name in ("transaction_id", "customer_id", "merchant", "channel")),
            *((name, pa.timestamp("us", tz="UTC")) for name in ("event_time", "received_at")),
            ("amount", pa.float64()),
        ]
    )
    pq.write_table(pa.Table.from_pylist(payments, schema=schema), folder / "few.parquet")
    store = FeatureStore(DEFINITIONS, root / "home", root=root)
    store.materialize()
    return store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureStore]:
    with opened(tmp_path_factory.mktemp("few"), PAYMENTS) as store:
        yield store


def asked(amount: float = 100.0, **other: Any) -> Row:
    return {"customer_id": "c1", "merchant": "m1", "amount": amount, "channel": "online", **other}


def expected(payments: list[Row], row: Row, at: datetime) -> Row:
    """Every feature by a plain loop, straight from the docstrings."""
    seen = [one for one in payments if one["event_time"] < at and one["received_at"] < at]
    own = [one for one in seen if one["customer_id"] == row["customer_id"]]
    shop = [one for one in seen if one["merchant"] is not None and one["merchant"] == row["merchant"]]

    def within(some: list[Row], span: timedelta) -> list[float]:
        return [one["amount"] for one in some if one["event_time"] >= at - span]

    def tiny(amounts: list[float]) -> int:
        return sum(amount < 5 for amount in amounts)

    month, shop_week = within(own, 30 * DAY), within(shop, 7 * DAY)
    recent = [one for one in own if one["event_time"] >= at - 30 * DAY]
    week = [one for one in own if one["event_time"] >= at - 7 * DAY]
    mean = math.fsum(month) / len(month) if month else None
    spread = statistics.stdev(month) if len(month) > 1 else None
    return {
        "avg_amount_30d": mean,
        "std_amount_30d": spread,
        **{f"txn_count_{name}": len(within(own, span)) for name, span in (("1h", HOUR), ("1d", DAY), ("7d", 7 * DAY))},
        **{f"tiny_count_{name}": tiny(within(own, span)) for name, span in (("1h", HOUR), ("1d", DAY))},
        "merchants_7d": len({one["merchant"] for one in week} - {None}),
        "online_share_30d": sum(one["channel"] == "online" for one in recent) / len(recent) if recent else None,
        "since_last_s": (at - max(one["event_time"] for one in own)).total_seconds() if own else None,
        **{f"amount_sum_{name}": math.fsum(within(own, span)) for name, span in (("1h", HOUR), ("7d", 7 * DAY))},
        **{
            f"amount_max_{name}": max(within(own, span), default=None) for name, span in (("1h", HOUR), ("7d", 7 * DAY))
        },
        **{f"merchant_txn_count_{name}": len(within(shop, span)) for name, span in (("1h", HOUR), ("1d", DAY))},
        "merchant_avg_amount_7d": math.fsum(shop_week) / len(shop_week) if shop_week else None,
        "merchant_tiny_share_7d": tiny(shop_week) / len(shop_week) if shop_week else None,
        "visits": sum(one["customer_id"] == row["customer_id"] for one in shop),
        "amount_vs_avg": row["amount"] / mean if mean else 0.0,
        "amount_score": None if mean is None or not spread else (row["amount"] - mean) / spread,
        "is_online": row["channel"] == "online",
        "hour": at.hour,
    }


def same(found: Row, wanted: Row) -> bool:
    """Equal, but for the last bits of a deviation: Python's own is rounded in another way."""
    rounded = {"std_amount_30d", "amount_score"}
    for name in rounded:
        if (found[name] is None) != (wanted[name] is None):
            return False
        if found[name] is not None and not math.isclose(found[name], wanted[name], rel_tol=1e-14):
            return False
    return list(found) == list(wanted) and all(found[name] == wanted[name] for name in found if name not in rounded)


def test_counts_end_before_the_instant_and_begin_with_the_window(store: FeatureStore) -> None:
    found = store.lookup("fraud", asked(), as_of=T)
    assert [found[f"txn_count_{window}"] for window in ("1h", "1d", "7d")] == [2, 4, 5]
    assert [found[f"tiny_count_{window}"] for window in ("1h", "1d")] == [1, 1]
    assert found["amount_sum_1h"] == 61.5
    assert found["since_last_s"] == 300.0


def test_a_payment_counts_once_it_has_been_received(store: FeatureStore) -> None:
    just_after = T + timedelta(microseconds=1)
    assert store.lookup("fraud", asked(), as_of=T)["amount_max_7d"] == 60.0
    assert store.lookup("fraud", asked(), as_of=just_after)["amount_max_7d"] == 70.0
    assert store.lookup("fraud", asked(), as_of=T + 2 * DAY)["amount_max_7d"] == 90.0


def test_a_merchant_is_seen_over_all_its_customers(store: FeatureStore) -> None:
    found = store.lookup("fraud", asked(), as_of=T)
    assert (found["merchant_txn_count_1d"], found["visits"]) == (3, 3)
    assert found["merchant_tiny_share_7d"] == 0.5


def test_a_payment_without_merchant_is_one_of_a_merchant_that_nobody_knows(store: FeatureStore) -> None:
    found = store.lookup("fraud", asked(merchant=None), as_of=T)
    assert (found["visits"], found["merchant_txn_count_1d"], found["merchant_avg_amount_7d"]) == (0, 0, None)
    assert found["txn_count_1d"] == 4


def test_a_stranger_has_no_history_and_no_error(store: FeatureStore) -> None:
    found = store.lookup("fraud", asked(customer_id="nobody", merchant="nowhere"), as_of=T)
    assert (found["txn_count_7d"], found["avg_amount_30d"], found["since_last_s"]) == (0, None, None)
    assert (found["amount_vs_avg"], found["amount_score"]) == (0.0, None)


@pytest.mark.parametrize("customer", ["c1", "c2", "c3"])
@pytest.mark.parametrize("merchant", ["m1", "m2", None])
def test_every_feature_is_that_of_a_plain_loop(store: FeatureStore, customer: str, merchant: str | None) -> None:
    row = asked(12.5, customer_id=customer, merchant=merchant)
    for at in (T, T - 7 * DAY, T - 8 * DAY, T - timedelta(minutes=5), T + 30 * DAY):
        assert same(store.lookup("fraud", row, as_of=at).to_dict(), expected(PAYMENTS, row, at)), at


def test_simulated_payments_have_the_features_of_a_plain_loop(tmp_path: Path) -> None:
    made = simulate(tmp_path / "data", events=3_000, seed=11, end=datetime(2026, 6, 1, tzinfo=UTC))
    first: dict[str, Row] = {}
    for file in made.files:
        for row in pq.read_table(file).to_pylist():
            first.setdefault(row["transaction_id"], row)
    payments = list(first.values())
    with FeatureStore(DEFINITIONS, tmp_path / "home", root=tmp_path) as store:
        assert store.materialize().rows == 3_000
        spine = pq.read_table(made.labels).slice(2_900).drop_columns(["transaction_id"])
        made_rows = store.training_set("fraud", spine).to_arrow().to_pylist()
    for row in made_rows:
        found = {name: value for name, value in row.items() if name not in {*asked(), "event_time", "is_fraud"}}
        assert same(found, expected(payments, row, row["event_time"]))
