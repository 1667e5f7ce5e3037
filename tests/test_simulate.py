"""Simulated payments are what they are said to be: late, doubled, tied, and some of them fraud."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from featurestore.errors import RequestError
from featurestore.simulate import Simulated, simulate

END = datetime(2026, 6, 1, tzinfo=UTC)
Row = dict[str, Any]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Simulated:
    return simulate(tmp_path_factory.mktemp("simulated"), events=20_000, end=END)


@pytest.fixture(scope="module")
def delivered(made: Simulated) -> list[Row]:
    return [row for file in made.files for row in pq.read_table(file).to_pylist()]


@pytest.fixture(scope="module")
def labels(made: Simulated) -> list[Row]:
    return list(pq.read_table(made.labels).to_pylist())


@pytest.fixture(scope="module")
def first(delivered: list[Row]) -> dict[str, Row]:
    """First delivery of each payment."""
    found: dict[str, Row] = {}
    for row in delivered:
        found.setdefault(row["transaction_id"], row)
    return found


def test_the_same_seed_gives_the_same_rows(tmp_path: Path) -> None:
    one = simulate(tmp_path / "one", events=500, seed=3, end=END)
    two = simulate(tmp_path / "two", events=500, seed=3, end=END)
    assert [file.read_bytes() for file in one.files] == [file.read_bytes() for file in two.files]
    assert one.labels.read_bytes() == two.labels.read_bytes()


def test_another_seed_gives_other_rows(tmp_path: Path) -> None:
    one = simulate(tmp_path / "one", events=500, seed=3, end=END)
    two = simulate(tmp_path / "two", events=500, seed=4, end=END)
    assert pq.read_table(one.labels) != pq.read_table(two.labels)


def test_another_end_shifts_all_payments(tmp_path: Path) -> None:
    one = pq.read_table(simulate(tmp_path / "one", events=500, end=END).labels).to_pylist()
    two = pq.read_table(simulate(tmp_path / "two", events=500, end=END + timedelta(days=9)).labels).to_pylist()
    assert [{**row, "event_time": row["event_time"] + timedelta(days=9)} for row in one] == two


def test_by_default_it_ends_with_the_last_midnight(tmp_path: Path) -> None:
    end = simulate(tmp_path, events=500).end
    assert (end.hour, end.minute, end.second, end.microsecond) == (0, 0, 0, 0)
    assert timedelta(0) <= datetime.now(UTC) - end < timedelta(days=1, minutes=1)


def test_each_payment_is_delivered_once_or_twice(made: Simulated, delivered: list[Row]) -> None:
    times = Counter(Counter(row["transaction_id"] for row in delivered).values())
    assert times == {1: 20_000 - made.doubled, 2: made.doubled}
    assert made.doubled == 200


def test_a_second_delivery_says_the_same(delivered: list[Row], first: dict[str, Row]) -> None:
    for row in delivered:
        known = first[row["transaction_id"]]
        assert {**row, "received_at": known["received_at"]} == known
        assert row["received_at"] >= known["received_at"]


def test_nothing_is_received_before_it_happens_or_after_the_end(made: Simulated, delivered: list[Row]) -> None:
    assert all(made.start <= row["event_time"] < row["received_at"] < END for row in delivered)


def test_late_payments_are_received_an_hour_or_days_later(made: Simulated, first: dict[str, Row]) -> None:
    waits = [row["received_at"] - row["event_time"] for row in first.values() if row["event_time"].month < 5]
    late = [wait for wait in waits if wait >= timedelta(hours=1)]
    assert 0.01 * len(waits) < len(late) < 0.03 * len(waits)
    assert timedelta(days=2) < max(late) <= timedelta(days=3)
    assert 0.01 * made.payments < made.late < 0.03 * made.payments
    assert all(wait <= timedelta(seconds=30) for wait in waits if wait < timedelta(hours=1))


def test_some_customers_pay_twice_in_one_instant(made: Simulated, labels: list[Row]) -> None:
    instants = Counter((row["customer_id"], row["event_time"]) for row in labels)
    assert sum(count - 1 for count in instants.values()) >= made.tied > 150


def test_a_file_holds_what_arrived_in_its_month_in_that_order(made: Simulated) -> None:
    assert [file.name for file in made.files] == [f"2026-0{month}.parquet" for month in (3, 4, 5)]
    for file in made.files:
        received = pq.read_table(file)["received_at"].to_pylist()
        assert {f"{one:%Y-%m}.parquet" for one in received} == {file.name}
        assert received == sorted(received)


def test_labels_are_the_payments_in_the_order_in_which_they_happened(labels: list[Row], first: dict[str, Row]) -> None:
    assert [row["event_time"] for row in labels] == sorted(row["event_time"] for row in first.values())
    for row in labels:
        known = first[row["transaction_id"]]
        assert row == {**{name: known[name] for name in row if name != "is_fraud"}, "is_fraud": row["is_fraud"]}


def test_the_ring_tries_cards_out_at_five_merchants(made: Simulated, labels: list[Row]) -> None:
    fraud = [row for row in labels if row["is_fraud"]]
    assert len(fraud) == made.fraudulent == 200
    merchants = Counter(row["merchant"] for row in fraud if row["amount"] < 3)
    assert sum(count for _, count in merchants.most_common(5)) >= 4 * 16
    assert {row["channel"] for row in fraud if row["merchant"] in dict(merchants.most_common(5))} == {"online"}


def test_some_payments_name_no_merchant(labels: list[Row]) -> None:
    assert 100 < sum(row["merchant"] is None for row in labels) < 300


def test_a_folder_that_holds_payments_is_left_alone(tmp_path: Path) -> None:
    file = simulate(tmp_path, events=500, end=END).files[0]
    before = file.read_bytes()
    with pytest.raises(RequestError, match="holds payments already"):
        simulate(tmp_path, events=600, end=END)
    assert file.read_bytes() == before


@pytest.mark.parametrize("events", [99, 100_000_001])
def test_a_number_out_of_range_is_refused_and_nothing_is_written(tmp_path: Path, events: int) -> None:
    with pytest.raises(RequestError, match="ask for 100 to 100,000,000"):
        simulate(tmp_path / "new", events=events)
    assert not (tmp_path / "new").exists()


def test_the_fewest_payments_can_be_made(tmp_path: Path) -> None:
    assert simulate(tmp_path, events=100, end=END).payments == 100
