from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from featurestore.definition import Entity, Source, feature
from featurestore.errors import RequestError
from featurestore.testing import window

NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)


class Payment(BaseModel):
    customer_id: str
    event_time: datetime
    amount: float
    merchant: str | None = None
    currency: str = "EUR"


PAYMENTS = Source("payments", schema=Payment, event_time="event_time")


@feature(PAYMENTS, by=Entity("customer", key="customer_id"), window="30d")
def avg_amount_30d(tx: Any) -> Any:
    """Mean amount."""
    return tx.amount.mean()


def test_a_feature_is_called_on_events_without_a_store() -> None:
    assert avg_amount_30d(window(amount=[1, 2, 3])).item() == 2.0
    assert avg_amount_30d(window(amount=[])).item() is None


def test_events_are_put_in_order() -> None:
    tx = window(event_time=[NOON, NOON - timedelta(hours=1)], amount=[2.0, 1.0])
    assert (tx.amount.first().item(), tx.amount.last().item()) == (1.0, 2.0)
    tied = window(event_time=[NOON] * 3, amount=[2.0, None, 1.0])
    assert [tied.amount.nth(place).item() for place in range(3)] == [None, 1.0, 2.0]


def test_the_row_asks_a_second_after_the_last_event() -> None:
    assert window(event_time=[NOON], amount=[1]).since_last().item() == 1.0
    assert window(amount=[1, 2], as_of=NOON).since_first().item() == 2.0
    assert window(amount=[1]).as_of.item() == datetime(2026, 1, 1, tzinfo=UTC)


def test_a_schema_types_the_columns_and_adds_the_others() -> None:
    tx = window(Payment, amount=[1, 2], event_time=[NOON, NOON])
    assert (tx.amount.values.kind, tx.currency.last().item(), tx.merchant.last().item()) == ("float", "EUR", None)
    assert tx["event_time"].last().item() == NOON
    assert tx.customer_id.count().item() == 0


def test_types_follow_the_values() -> None:
    tx = window(a=[1, 2.5], b=[True, None], c=["x", "y"], d=[None, None])
    assert [tx[name].values.kind for name in "abcd"] == ["float", "bool", "str", "float"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"a": [1, 2], "b": [1]}, "one value per event"),
        ({"a": [1, "x"]}, "values of one type"),
        ({"a": [object()]}, "values of one type"),
    ],
)
def test_columns_that_do_not_fit_are_named(columns: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        window(None, **columns)


def test_a_column_that_the_schema_lacks_is_named() -> None:
    with pytest.raises(RequestError, match="Did you mean 'amount'"):
        window(Payment, amuont=[1.0])
