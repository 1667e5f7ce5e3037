"""Strategies of events and requests: within the schema, and the hard cases among them."""

import subprocess
import sys
from datetime import datetime, timedelta
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from pydantic import BaseModel, Field, StringConstraints, model_validator

from featurestore import Entity, FeatureService, Source, feature, times
from featurestore.column import Column
from featurestore.errors import RequestError
from featurestore.testing import AS_OF, events, requests
from featurestore.window import Window


class Kind(Enum):
    HAM = "ham"
    EGG = "egg"


class Order(BaseModel):
    id: str
    customer: str | None
    at: datetime
    seen: datetime | None = None
    price: float = Field(gt=0, le=10)
    count: int = Field(ge=2, lt=5)
    code: Annotated[str, StringConstraints(pattern="^[A-Z]{2}[0-9]$")]
    kind: Kind
    size: Literal["s", "m"]
    note: str | None = Field(max_length=2)

    @model_validator(mode="after")
    def dear_ones_are_few(self) -> "Order":
        if self.price > 5 and self.count > 3:
            raise ValueError("too many")
        return self


class Asked(BaseModel):
    price: float = Field(ge=0)


customer = Entity("customer", key="customer")
orders = Source("orders", schema=Order, event_time="at", known_at="seen", key="id")
EDGE = timedelta(microseconds=1)
Rows = list[dict[str, Any]]


@feature(orders, by=customer, window="1h")
def spent(tx: Window) -> Column:
    return tx.price.sum()


@feature
def share(price: float, spent: float) -> float:
    return price / spent if spent else 0.0


shop = FeatureService("shop", features=[spent, share], request=Asked)
MANY = settings(max_examples=25, suppress_health_check=list(HealthCheck))


@MANY
@given(events(orders.by(customer)))
def test_events_are_within_the_schema_each_under_a_key_of_its_own(rows: Rows) -> None:
    for row in rows:
        Order.model_validate(row)
    assert len({row["id"] for row in rows}) == len(rows)
    assert {row["customer"] for row in rows} <= {"a", "b", None}


NEAR = {AS_OF - edge + step for edge in (timedelta(0), timedelta(hours=1)) for step in (-EDGE, timedelta(0), EDGE)}


@MANY
@given(events(orders, edges=["1h"]))
def test_events_lie_at_the_instant_and_the_windows_edges_and_a_microsecond_beside(rows: Rows) -> None:
    assert {row["at"] for row in rows} <= NEAR


HARD: dict[str, Any] = {
    "ties": lambda rows: len({(row["at"], row["customer"]) for row in rows}) < len(rows),
    "a window's begin": lambda rows: any(row["at"] == AS_OF - timedelta(hours=1) for row in rows),
    "late": lambda rows: any(row["seen"] and row["seen"] > row["at"] for row in rows),
    "a null key": lambda rows: any(row["customer"] is None for row in rows),
    "a null": lambda rows: any(row["note"] is None for row in rows),
    "a bound": lambda rows: any(row["price"] == 10 for row in rows),
    "a number no double holds": lambda rows: any(row["price"] == 0.1 for row in rows),
}


def drawn(strategy: SearchStrategy[Rows]) -> list[Rows]:
    """Examples, always the same."""
    found: list[Rows] = []

    @settings(MANY, derandomize=True, phases=[Phase.generate], max_examples=100)
    @given(strategy)
    def note(rows: Rows) -> None:
        found.append(rows)

    note()
    return found


def test_the_hard_cases_are_drawn() -> None:
    examples = drawn(events(orders.by(customer)))
    assert [case for case, is_it in HARD.items() if not any(map(is_it, examples))] == []


@MANY
@given(requests(shop, time="when", around=["2026-03-01"]))
def test_requests_are_rows_of_a_spine(row: dict[str, Any]) -> None:
    assert set(row) == {"price", "customer", "when"}
    assert row["price"] >= 0
    assert abs(row["when"] - times.to_datetime(times.to_micros("2026-03-01"))) <= EDGE


@MANY
@given(requests(shop, columns={"price": st.just(3.0)}), events(Order, columns={"note": st.just("ab")}))
def test_columns_can_be_drawn_as_one_says(row: dict[str, Any], rows: Rows) -> None:
    assert row["price"] == 3.0
    assert {one["note"] for one in rows} <= {"ab"}


def test_a_column_that_is_not_there_is_named() -> None:
    with pytest.raises(RequestError, match=r"Order has no column .nite.\. Did you mean .note."):
        events(orders, columns={"nite": st.none()})
    with pytest.raises(RequestError, match=r"shop has no column .prize.\. Did you mean .price."):
        requests(shop, columns={"prize": st.none()})


def test_a_column_of_one_value_is_drawn_by_its_bounds() -> None:
    class Narrow(BaseModel):
        at: datetime
        even: Annotated[int, Field(multiple_of=7919, gt=7919 * 1000, lt=7919 * 1002, strict=True)]

    assert all(rows[0]["even"] == 7919 * 1001 for rows in drawn(events(Narrow, min_size=1)))


def test_without_hypothesis_the_error_says_what_to_install() -> None:
    code = """
import sys
sys.modules["hypothesis"] = None
from featurestore import testing
assert testing.window(amount=[1.0]).amount.sum().item() == 1.0
try:
    testing.events
except ImportError as error:
    print(error)
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "featurestore.testing.events draws examples with Hypothesis: pip install hypothesis\n"


def test_the_plugin_costs_a_test_run_nothing_that_does_not_use_it() -> None:
    code = "import sys, featurestore.testing.plugin; print({'numpy', 'pydantic', 'hypothesis'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n"
