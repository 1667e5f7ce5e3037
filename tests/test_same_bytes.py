"""The proof that users run of their own definitions: silent where all is well, and readable where it is not."""

import itertools
import math
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import strategies as st
from plants import edge_included, late_data_offline, made_of, ties_reversed_online
from pydantic import BaseModel, Field

from featurestore import Entity, FeatureService, Source, aggregations, feature, lookup, on, times
from featurestore.column import Column
from featurestore.errors import DefinitionError, DefinitionProblems, RequestError, UnknownService
from featurestore.evaluate import evaluate
from featurestore.registry import Registry
from featurestore.testing import proof, same_bytes
from featurestore.testing.comparing import Proof
from featurestore.testing.feeding import fed
from featurestore.testing.trials import INGEST, LOAD, Step, Trial
from featurestore.values import from_list
from featurestore.window import Window

ROOT = Path(__file__).parent.parent
NOON = times.to_micros("2026-01-01T12:00Z")
HOUR = 3_600_000_000


class Sale(BaseModel):
    number: int | None
    shop: str
    customer: str | None
    at: datetime
    seen: datetime | None
    price: float = Field(ge=0, le=100)
    units: int = Field(ge=1, le=9)
    kind: Literal["food", "toys"]
    gift: bool | None


class Shift(BaseModel):
    shop: str
    begins: datetime
    staff: int = Field(ge=0)


class Asked(BaseModel):
    price: float
    note: str | None


shop, customer, pair = Entity("shop", key="shop"), Entity("customer", key="who"), Entity("pair", key=("shop", "who"))
sales = Source(
    "sales", schema=Sale, path="no/such/*.csv", event_time="at", known_at="seen", key="number", keys={"who": "customer"}
)
shifts = Source("shifts", schema=Shift, event_time="begins", inclusive=True)


@feature(sales, by=shop, windows=["1h", "1d"])
def turnover(tx: Window) -> Column:
    return (tx.price * tx.units).sum()


@feature(sales, by=customer, window="1d", offset="1h")
def last_price(tx: Window) -> Column:
    return tx.price.last()


@feature(sales, by=pair)
def toys(tx: Window) -> Column:
    chosen: Column = tx[tx.kind == "toys"].count()
    return chosen


@feature(sales, by=shop, window="1d")
def by_kind(tx: Window) -> Column:
    return tx.group_by("kind").price.mean()


@feature(sales, by=shop, window="1d")
def newest_seen(tx: Window) -> Column:
    return tx.seen.max()


@feature(shifts, by=shop, window="1h")
def on_duty(tx: Window) -> Column:
    return tx.staff.last()


@feature
def dear(price: float, turnover_1d: float, note: str | None) -> float | None:
    return price / turnover_1d if turnover_1d > 0 and note is not None else None


@feature
def on_array(price: np.ndarray, on_duty: np.ndarray) -> np.ndarray:
    return np.where([one is None for one in on_duty], np.nan, price)


market = FeatureService(
    "market",
    features=[
        *(turnover, last_price, toys, by_kind, newest_seen, on_duty, dear, on_array),
        on("rival", turnover),
        aggregations(sales.by(shop), columns=["price"], functions=["min", "std"], windows=["1h"]),
    ],
    request=Asked,
)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tell a failure after a second: how small an example becomes is Hypothesis' affair."""
    monkeypatch.setattr(proof, "_SHRINKING_S", 1.0)


def mean_of(events: list[dict[str, Any]]) -> float | None:
    amounts = [event["amount"] for event in events]
    return math.fsum(amounts) / len(amounts) if amounts else None


def test_the_payments_example_is_the_same_bytes_everywhere() -> None:
    expected = {"avg_amount_30d": mean_of, "txn_count_1d": len, "visits": len}
    same_bytes("definitions/payments.py", "fraud", root=ROOT, examples=8, expected=expected)


def test_the_football_example_is_the_same_bytes_on_drawn_matches() -> None:
    same_bytes("definitions/football.py", "match", root=ROOT, examples=6, expected={"home_team__played_365d": len})


def test_sources_with_rules_of_their_own_are_proved_together() -> None:
    same_bytes([market], market, examples=8)


def service(*features: Any, request: type[BaseModel] | None = None) -> list[FeatureService]:
    return [FeatureService("one", features=features, request=request)]


# What is found, and how it is told


def failing(declared: list[FeatureService], **given: Any) -> str:
    with pytest.raises(AssertionError) as found:
        same_bytes(declared, "one", seed=1, **given)
    assert found.value.__notes__[-1].startswith("Again with: seed=1")
    return str(found.value)


def test_a_mean_over_the_whole_column_is_found() -> None:
    @feature
    def relative(price: np.ndarray) -> np.ndarray:
        mean: float = price.mean()
        return price - mean

    words = failing(service(turnover, relative, request=Asked))
    assert "feature 'relative' of service 'one' is not the same bytes" in words
    assert "(by the rules, for this row alone)" in words
    assert "made of: price=" in words


def test_a_window_feature_that_counts_the_rows_beside_it_is_found() -> None:
    @feature(sales, by=shop, window="1d")
    def crowd(tx: Window) -> Column:
        return tx.count() + len(tx.as_of.values)

    assert "feature 'crowd'" in failing(service(crowd))


def test_what_is_not_as_expected_is_found() -> None:
    words = failing(service(turnover), expected={"turnover_1d": lambda events: sum(one["price"] for one in events)})
    assert "feature 'turnover_1d'" in words
    assert "(by what is expected)" in words


def test_an_inclusive_comparison_is_found_and_the_message_shows_the_event_at_t(monkeypatch: pytest.MonkeyPatch) -> None:
    edge_included(monkeypatch)
    words = failing(service(turnover), columns={"sales.units": st.just(1)})
    assert f"{Path(__file__)}:" in words
    assert "(by the rules, for this row alone)" in words
    assert "more of the entity:" in words
    assert ": happened at T or after it" in words


def test_events_that_training_sees_too_early_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    late_data_offline(monkeypatch)
    words = failing(service(turnover))
    assert "(training set of" in words
    assert "known at T or after it" in words


def test_ties_in_another_order_online_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    ties_reversed_online(monkeypatch)
    assert "(lookup" in failing(service(last_price), examples=100)


def test_what_is_wrong_only_now_and_then_is_told_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, real = itertools.count(), evaluate

    def now_and_then(*given: Any, **named: Any) -> Any:
        made = real(*given, **named)
        wrong = next(calls) == 40
        return made_of({name: from_list("float", [-7.0] * len(one)) for name, one in made.items()}) if wrong else made

    monkeypatch.setattr(lookup, "evaluate", now_and_then)
    assert "-7.0 (lookup" in failing(service(turnover))


def test_a_feature_that_raises_on_allowed_data_is_told() -> None:
    @feature
    def inverse(price: float) -> float:
        return 1 / price

    with pytest.raises(DefinitionError, match="feature 'inverse' raised ZeroDivisionError"):
        same_bytes(service(turnover, inverse, request=Asked), "one")


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"service": "fruad"}, UnknownService, "Did you mean 'fraud'"),
        ({"expected": {"txn_count": len}}, RequestError, "no window feature of 'fraud' gives. Did you mean 'txn_count"),
        ({"expected": {"is_online": len}}, RequestError, "no window feature of 'fraud' gives"),
        ({"columns": {"transactions.amuont": st.none()}}, RequestError, "Did you mean 'transactions.amount'"),
        ({"definitions": "nowhere"}, DefinitionError, "nothing is there"),
    ],
)
def test_what_is_asked_wrongly_is_named(given: dict[str, Any], error: type[Exception], words: str) -> None:
    asked = {"definitions": "definitions/payments.py", "service": "fraud", "root": ROOT, **given}
    with pytest.raises(error, match=words):
        same_bytes(**asked)


def test_an_impure_definition_is_refused_before_anything_is_drawn() -> None:
    @feature
    def late(price: float) -> float:
        return price + datetime.now().timestamp()  # noqa: DTZ005 - that is what is refused

    with pytest.raises(DefinitionProblems, match="reads the clock"):
        same_bytes(service(turnover, late, request=Asked), "one")


# A trial by hand: what is compared


def sale(number: int, after: int, **given: Any) -> dict[str, Any]:
    plain = {"number": number, "shop": "a", "customer": "b", "price": 1.0, "units": 2, "kind": "toys", "gift": None}
    return {**plain, "at": times.to_datetime(NOON + after), "seen": None, **given}


def test_every_answer_is_compared_with_what_is_worked_by_hand() -> None:
    """Two rows: two lookups as they are delivered, then batch and single, two training sets, batch and single."""
    steps = [
        Step(LOAD, NOON, {"sales": [sale(1, -HOUR), sale(2, -1)]}),
        Step(INGEST, NOON + 5, {"sales": [sale(3, -2), sale(2, -1)]}),
    ]
    spine = [{"shop": "a", "as_of": NOON + 6}, {"shop": "a", "as_of": NOON}]
    seen: list[int] = []

    def turnover_1h(events: list[dict[str, Any]], as_of: datetime) -> float:
        seen.append(len(events))
        assert [event["at"] for event in events] == sorted(event["at"] for event in events)
        return 2.0 * len(events) if times.to_micros(as_of) - NOON in (0, 6) else -1.0

    declared = service(turnover)
    given = fed(Registry.of(declared), declared[0])
    assert Proof(given, {"turnover_1h": turnover_1h}).hold(Trial(steps, spine)) == 2 * (2 + 4 + 4 + 4)
    assert seen == [2, 2, *[2, 2, 2, 2], *[2, 2, 0, 2], *[2, 2, 2, 2]]


# The fixture


TEST = """
def test_my_features_are_the_same_bytes_everywhere(same_bytes):
    same_bytes("definitions", "fraud", examples=20)
"""
FAIR = """
from datetime import datetime
import numpy as np
from pydantic import BaseModel
from featurestore import Entity, FeatureService, Source, feature

class Transaction(BaseModel):
    customer_id: str
    event_time: datetime

class Payment(BaseModel):
    amount: float

transactions = Source("transactions", schema=Transaction, path="data/*.parquet", event_time="event_time")

@feature(transactions, by=Entity("customer", key="customer_id"), window="1d")
def visits(tx):
    return tx.count()

@feature
def share(amount: np.ndarray) -> np.ndarray:
    return amount - 1

fraud = FeatureService("fraud", features=[visits, share], request=Payment)
"""


def ran(folder: Path) -> subprocess.CompletedProcess[str]:
    plugin = ["-p", "no:featurestore", "-p", "featurestore.testing.plugin", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", "-q", *plugin]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_fixture_finds_the_definitions_from_any_folder(tmp_path: Path) -> None:
    (tmp_path / "definitions").mkdir()
    (tmp_path / "definitions/payments.py").write_text(FAIR)
    (tmp_path / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/test_features.py").write_text(TEST)
    found = ran(tmp_path / "tests")
    assert found.returncode == 0, found.stdout + found.stderr
    (tmp_path / "definitions/payments.py").write_text(FAIR.replace("amount - 1", "amount - amount.mean()"))
    found = ran(tmp_path / "tests")
    assert found.returncode == 1
    assert "feature 'share' of service 'fraud' is not the same bytes" in found.stdout
    assert "Again with: seed=" in found.stdout
