import copy
import math
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import BaseModel

from featurestore.column import Column
from featurestore.errors import ColumnError
from featurestore.schema import schema_of
from featurestore.testing import window
from featurestore.window import Window, empty_window


class Match(BaseModel):
    played: datetime
    count: int
    goals: int | None = None
    team: str


TX: Window = window(amount=[1.0, 20.0, None], merchant=["a", "b", "b"])


def test_a_column_is_an_attribute_or_an_item() -> None:
    assert TX.amount.sum().item() == TX["amount"].sum().item() == 21.0
    assert window(count=[5, 6])["count"].max().item() == 6
    assert window(count=[5, 6]).count().item() == 2


def test_a_mask_keeps_the_events_where_it_is_true() -> None:
    assert TX[TX.merchant == "b"].count().item() == 2
    assert TX[TX.amount > 1.0].merchant.last().item() == "b"


def test_a_mask_of_a_filtered_window_filters_it_further() -> None:
    b = TX[TX.merchant == "b"]
    assert b[b.amount > 1.0].count().item() == 1
    assert b[b.amount > 1.0].amount.sum().item() == 20.0
    assert b[b.amount > 1.0].event_time.count().item() == 1


def test_the_last_n_of_a_filter_and_a_filter_of_the_last_n_differ() -> None:
    tx = window(amount=[1.0, 20.0, 3.0, 40.0], merchant=["a", "a", "b", "b"])
    assert tx[tx.merchant == "a"].last(1).amount.sum().item() == 20.0
    recent = tx.last(2)
    assert recent[recent.merchant == "a"].count().item() == 0
    assert tx.first(3).last(2).amount.sum().item() == 23.0
    assert recent.since_first().item() == 2.0


def test_gaps_of_a_filter_are_between_the_events_it_keeps() -> None:
    tx = window(amount=[1.0, 20.0, 3.0, 40.0])
    assert tx.gaps().count().item() == 3
    assert tx[tx.amount > 10].gaps().max().item() == 2.0
    assert tx[tx.amount > 30].gaps().mean().item() is None
    assert (tx.gaps() > 0.5).sum().item() == 3
    assert (tx.amount.diff() / tx.gaps()).last().item() == 37.0


GROUPED: Window = window(
    amount=[1.0, 20.0, None, 4.0, 8.0, None], merchant=["b", "a", "b", "b", None, "c"], rank=[2, 2, 10, 2, 2, None]
)


def test_a_group_by_gives_a_value_for_each_text_and_skips_null_keys() -> None:
    by = GROUPED.group_by("merchant")
    assert by.amount.sum().item() == {"a": 20.0, "b": 5.0, "c": 0.0}
    assert by.count().item() == {"a": 1, "b": 3, "c": 1}
    assert by.amount.mean().item() == {"a": 20.0, "b": 2.5, "c": None}
    assert by.amount.last().item() == {"a": 20.0, "b": 4.0, "c": None}
    assert by.gaps().sum().item() == {"a": 0.0, "b": 3.0, "c": 0.0}
    assert by.since_last().item() == {"a": 5.0, "b": 3.0, "c": 1.0}
    assert by.last(2).amount.count().item() == {"a": 1, "b": 1, "c": 0}


DAYS = ["2026-01-01", "2026-01-01", "2026-01-08", "2026-01-08", "2026-01-08"]
NUMBERS_BY_DAY: dict[str, Any] = {"amount": [100.0, 40.0, 10.0, None, 2.0], "merchant": ["a", "b", "a", "b", "b"]}


def test_a_group_has_its_own_values_event_times_and_instant() -> None:
    by = window(as_of="2026-01-15", event_time=DAYS, **NUMBERS_BY_DAY).group_by("merchant")
    assert by.amount.median().item() == {"a": 55.0, "b": 21.0}
    assert by.amount.quantile(0.25).item() == {"a": 32.5, "b": 11.5}
    assert by.amount.slope(per="7d").item() == {"a": -90.0, "b": -38.0}
    assert by.amount.decayed_sum(half_life="7d").item() == {"a": 30.0, "b": 11.0}
    assert by.amount.last(1, skip_null=True).decayed_sum(half_life="7d").item() == {"a": 5.0, "b": 1.0}
    assert by[by.amount < 50].amount.decayed_sum(half_life="7d").item() == {"a": 5.0, "b": 11.0}
    assert by.amount.skew().item() == {"a": None, "b": None}
    assert by.as_of.item() == dict.fromkeys("ab", datetime(2026, 1, 15, tzinfo=UTC))


def test_a_group_s_rate_is_over_the_window_or_since_its_own_first_event() -> None:
    whole = window(as_of="2026-01-15", event_time=DAYS, **NUMBERS_BY_DAY)
    assert whole.group_by("merchant").rate(per="7d").item() == {"a": 1.0, "b": 1.5}
    assert whole[whole.amount < 50].group_by("merchant").rate(per="7d").item() == {"a": 1.0, "b": 1.0}
    month = window(window="28d", as_of="2026-01-15", event_time=DAYS, **NUMBERS_BY_DAY)
    assert month.group_by("merchant").rate(per="7d").item() == {"a": 0.5, "b": 0.75}


def test_values_of_groups_are_described_as_others_are() -> None:
    sums = GROUPED.group_by("merchant").amount.sum()
    assert (sums.median().item(), sums.quantile(0.75).item()) == (5.0, 12.5)


def test_keys_are_texts_in_order_of_code_point() -> None:
    assert list(GROUPED["rank"].value_counts().item().items()) == [("10", 1), ("2", 4)]
    assert (GROUPED.amount > 2).value_counts().item() == {"false": 1, "true": 3}
    assert window(x=[0.5, 0.5]).x.value_counts().item() == {"0.5": 2}
    day = window(at=[datetime(2026, 1, 2, 3, tzinfo=UTC)]).at.date
    assert day.value_counts().item() == {"2026-01-02T00:00:00.000000Z": 1}
    assert window(x=[]).group_by("x").x.sum().item() == {}


def test_values_of_groups_go_with_each_other_and_with_values_of_rows() -> None:
    by = GROUPED.group_by("merchant")
    assert (by.amount.sum() / by.count()).item() == {"a": 20.0, "b": 5 / 3, "c": 0.0}
    assert (by.count() / GROUPED.count()).item() == {"a": 1 / 6, "b": 0.5, "c": 1 / 6}
    assert (GROUPED.amount.max() - by.amount.mean().fill_null(0)).item() == {"a": 0.0, "b": 17.5, "c": 20.0}
    assert GROUPED.amount.mean().fill_null(by.amount.mean()).item() == {"a": 8.25, "b": 8.25, "c": 8.25}
    assert (by.amount.sum().max().item(), by.count().count().item(), by.count().sum().item()) == (20.0, 3, 5)


def test_a_filter_of_groups_keeps_their_keys() -> None:
    by = GROUPED.group_by(GROUPED.merchant)
    assert by[by.amount > 4].count().item() == {"a": 1, "b": 0, "c": 0}
    assert GROUPED[GROUPED.amount > 4].group_by("merchant").count().item() == {"a": 1}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda tx: tx.group_by(1), r"group_by\(1\): give a column's name, or a column of this window's events"),
        (lambda tx: tx.group_by(tx.amount.sum()), "give a column's name"),
        (lambda tx: tx.group_by(tx[tx.amount > 1].merchant), "give a column's name"),
        (lambda tx: tx.group_by("merchnt"), r"Did you mean 'merchant'\?"),
        (lambda tx: tx.group_by("merchant").group_by("amount"), "it is split by one column"),
        (lambda tx: tx.group_by("merchant").amount.value_counts(), "it is split by one column"),
        (lambda tx: tx.amount.sum().value_counts(), "splits events into groups"),
        (lambda tx: tx.group_by("merchant").amount.sum().slope(), "a group's value has none"),
        (lambda tx: tx.group_by("merchant").amount.sum().decayed_sum("1d"), "a group's value has none"),
        (lambda tx: tx.group_by("merchant").amount.sum().last(1, skip_null=True).slope(), "a group's value has none"),
        (lambda tx: tx.group_by("merchant").count() + tx.group_by("merchant").count(), "filtered, or grouped"),
        (lambda tx: tx.group_by("merchant").count() + tx.amount, "filtered, or grouped"),
        (lambda tx: float(tx.group_by("merchant").count()), "A column is no number"),
        (lambda tx: tx.last(0), r"\.last\(0\): give how many events, an integer from 1"),
        (lambda tx: tx.gaps() + tx.amount, "different windows"),
        (lambda tx: tx.amuont, r"No column named 'amuont'\. Did you mean 'amount'\?"),
        (lambda tx: tx[0], "give a column's name, or a boolean column"),
        (lambda tx: tx[tx.amount], "needs a boolean column; this one is float"),
        (lambda tx: tx[tx.count() > 1], "one value per row"),
        (lambda tx: tx[tx[tx.amount > 1].amount > 1], "of another window"),
        (bool, "neither true nor false"),
        (len, r"no length.*\.count\(\)"),
        (list, "cannot be iterated"),
    ],
)
def test_what_a_window_cannot_do_says_what_to_do(wrong: Any, message: str) -> None:
    with pytest.raises(ColumnError, match=message):
        wrong(TX)


def test_seconds_are_counted_from_the_first_and_last_event() -> None:
    first, last = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 2, tzinfo=UTC)
    tx = window(event_time=[last, first], as_of=datetime(2024, 1, 2, 0, 0, 1, 1, tzinfo=UTC))
    assert tx.since_last().item() == 1.000001
    assert tx.since_first().item() == 86401.000001
    assert window(amount=[]).since_last().item() is None


def test_a_window_knows_its_instant_and_its_events_instants() -> None:
    moment = datetime(2024, 1, 1, tzinfo=UTC)
    tx = window(event_time=[moment], known_at=[moment.replace(hour=3)], as_of=moment.replace(hour=4))
    assert (tx.as_of.item(), tx.event_time.last().item(), tx.known_at.last().item()) == (
        *(moment.replace(hour=4), moment, moment.replace(hour=3)),
    )


def test_a_feature_returns_one_value_per_row() -> None:
    assert TX.result(TX.count()).to_list() == [3]
    assert TX.result(7).to_list() == [7]
    assert TX.result(math.nan).to_list() == [None]


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (TX.amount, "a column of events"),
        (TX, "returns a window"),
        (None, "`return` missing"),
        ([1], r"it returns \[1\]"),
    ],
)
def test_anything_else_that_a_feature_returns_is_an_error(returned: object, message: str) -> None:
    with pytest.raises(ColumnError, match=message):
        TX.result(returned)


def test_an_empty_window_has_the_columns_of_the_schema() -> None:
    tx = empty_window(schema_of(Match), "played")
    kinds = [(tx[name].values.kind, tx[name].values.valid is None) for name in ("played", "count", "goals", "team")]
    assert kinds == [("datetime", True), ("int", True), ("int", False), ("str", True)]
    assert len(tx.goals.sum().values) == 0
    assert tx.columns_read == {"played", "count", "goals", "team"}


def test_a_window_can_be_looked_at() -> None:
    assert repr(TX) == "<Window of amount, merchant>"
    assert not hasattr(TX, "_repr_html_")
    assert isinstance(copy.copy(TX).amount, Column)
