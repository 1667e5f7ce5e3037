from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from featurestore.errors import ColumnError
from featurestore.testing import window

MIDNIGHT = datetime(2026, 1, 1, tzinfo=UTC)
HOURS = [MIDNIGHT + timedelta(hours=hour) for hour in range(5)]
REDUCED: dict[str, Any] = {
    "median": lambda x: x.median(),
    "quantile": lambda x: x.quantile(0.9),
    "skew": lambda x: x.skew(),
    "kurtosis": lambda x: x.kurtosis(),
    "slope": lambda x: x.slope(per="1h"),
    "decayed_sum": lambda x: x.decayed_sum(half_life="1h"),
    "entropy": lambda x: x.entropy(),
}


def figure(name: str, items: Sequence[Any]) -> Any:
    return REDUCED[name](window(x=list(items), event_time=HOURS[: len(items)], as_of=HOURS[-1]).x).item()


@pytest.mark.parametrize(
    ("name", "expected"),
    [("median", 4.0), ("quantile", 7.2), ("skew", 0.0), ("kurtosis", -1.2), ("slope", 2.0), ("entropy", 2.0)],
)
def test_nulls_are_skipped(name: str, expected: float) -> None:
    five = [1.0, 3.0, None, 5.0, 7.0] if name != "slope" else [1.0, 3.0, None, 7.0, 9.0]
    wanted = {"quantile": pytest.approx(6.4)}.get(name, expected)
    assert figure(name, five) == wanted


def test_decay_is_counted_from_t() -> None:
    assert figure("decayed_sum", [16.0, None, 4.0, 2.0, 1.0]) == 16 / 16 + 4 / 4 + 2 / 2 + 1


@pytest.mark.parametrize("name", REDUCED)
def test_an_empty_window_has_no_figure_but_a_sum(name: str) -> None:
    assert figure(name, []) == (0.0 if name == "decayed_sum" else None)
    assert figure(name, [None, None]) == (0.0 if name == "decayed_sum" else None)


@pytest.mark.parametrize(("name", "least"), [("median", 1), ("slope", 2), ("skew", 3), ("kurtosis", 4)])
def test_too_few_values_have_no_figure(name: str, least: int) -> None:
    items = [1.0, 2.0, 4.0, 8.0]
    assert [figure(name, items[:length]) is None for length in range(5)] == [length < least for length in range(5)]


def test_a_window_that_is_filtered_keeps_its_times() -> None:
    tx = window(x=[1.0, 50.0, 3.0, 60.0, 5.0], event_time=HOURS, as_of=HOURS[-1])
    calm = tx[tx.x < 10]
    assert calm.x.slope(per="1h").item() == 1.0
    assert calm.x.decayed_sum(half_life="2h").item() == 1 / 4 + 3 / 2 + 5
    assert (calm.x * 2).slope(per="1h").item() == 2.0


def test_one_rule_holds_for_text_and_instants_too() -> None:
    tx = window(s=["a", "a", "b", None], at=[*HOURS[:2], None, HOURS[0]])
    assert tx.s.entropy().item() == pytest.approx(0.9182958340544896)
    assert tx.at.entropy().item() == pytest.approx(0.9182958340544896)
    with pytest.raises(ColumnError, match=r"\.median\(\) works on bool, int, float columns; this one is str"):
        tx.s.median()
    with pytest.raises(ColumnError, match=r"\.slope\(\) works on"):
        tx.at.slope()


@pytest.mark.parametrize("q", [-0.1, 1.1, float("nan"), "0.5", True, None, [0.5]])
def test_a_quantile_is_asked_by_a_share(q: Any) -> None:
    with pytest.raises(ColumnError, match="give one number from 0 to 1"):
        window(x=[1.0]).x.quantile(q)


@pytest.mark.parametrize("wrong", ["0s", "a week", timedelta(-1), 7, None])
def test_a_duration_is_above_zero(wrong: Any) -> None:
    tx = window(x=[1.0])
    with pytest.raises(ColumnError, match=r"\.decayed_sum\(half_life="):
        tx.x.decayed_sum(half_life=wrong)
    with pytest.raises(ColumnError, match=r"\.slope\(per="):
        tx.x.slope(per=wrong)
    with pytest.raises(ColumnError, match=r"\.rate\(per="):
        tx.rate(per=wrong)


def test_what_is_reduced_has_no_times() -> None:
    with pytest.raises(ColumnError, match="already has one value per row"):
        window(x=[1.0]).x.sum().decayed_sum(half_life="1d")


def test_numpy_names_lead_to_reductions() -> None:
    for function, instead in ((np.median, "median"), (np.percentile, "quantile"), (np.quantile, "quantile")):
        with pytest.raises(ColumnError, match=rf"Use the column's own reduction \.{instead}\(\)"):
            function(window(x=[1.0]).x, 50)


def test_a_rate_is_over_the_windows_length() -> None:
    tx = window(x=[1.0, 2.0, 3.0], window="6h")
    assert (tx.rate(per="1h").item(), tx.rate(per="1d").item(), tx[tx.x > 2].rate(per="6h").item()) == (0.5, 12.0, 1.0)
    assert window(x=[], window="6h").rate().item() == 0.0


def test_a_rate_over_the_whole_history_counts_from_the_first_event() -> None:
    tx = window(event_time=HOURS[:3], as_of=HOURS[4])
    assert tx.rate(per="1h").item() == 3 / 4
    assert window(x=[]).rate().item() is None
    assert window(event_time=HOURS[:1], as_of=HOURS[0]).rate().item() is None
