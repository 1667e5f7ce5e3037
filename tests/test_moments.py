import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import pytest
from folding import both_ways, parts, spans
from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore import fold, moments
from featurestore.spans import Spans
from featurestore.values import Values

FLOATS = [0.1, 0.2, 0.3, 19.99, 1e16, -1e16, 5e-324, 1e300, -1e300, 3.0, -7.25, 0.0]
INTEGERS = [0, 1, -1, 7, 2**53 + 1, 2**63 - 1, -(2**63)]
DAY = 86_400_000_000

floats = st.lists(st.none() | st.sampled_from(FLOATS), max_size=6)
cents = st.lists(st.none() | st.integers(-(10**6), 10**6).map(lambda one: one / 100), max_size=7)


def central(part: list[Any]) -> list[Fraction]:
    """Sums of the second, third and fourth powers of the distances from the mean."""
    exact = [Fraction(one) for one in part]
    middle = sum(exact, Fraction(0)) / len(exact)
    return [sum(((one - middle) ** power for one in exact), Fraction(0)) for power in (2, 3, 4)]


def exact_skewness(part: list[Any]) -> float | None:
    n = len(part)
    if n < 3 or len(set(part)) == 1:
        return None
    second, third, _ = central(part)
    squared = Fraction(n * n * (n - 1), (n - 2) ** 2) * third**2 / second**3
    root = math.sqrt(squared.numerator / squared.denominator)
    return -root if third < 0 else root


def exact_kurtosis(part: list[Any]) -> float | None:
    n = len(part)
    if n < 4 or len(set(part)) == 1:
        return None
    second, _, fourth = central(part)
    above = Fraction(n * (n + 1) * (n - 1), (n - 2) * (n - 3)) * fourth / second**2
    exact = above - Fraction(3 * (n - 1) ** 2, (n - 2) * (n - 3))
    return exact.numerator / exact.denominator


@settings(deadline=None)
@given(floats | cents)
def test_skewness_and_kurtosis_are_those_of_fractions(items: list[float | None]) -> None:
    assert both_ways(moments.skewness, "float", items) == [exact_skewness(part) for part in parts(items)]
    assert both_ways(moments.kurtosis, "float", items) == [exact_kurtosis(part) for part in parts(items)]


@settings(deadline=None)
@given(st.lists(st.none() | st.sampled_from(INTEGERS), max_size=6))
def test_integers_are_taken_as_they_are(items: list[int | None]) -> None:
    assert both_ways(moments.skewness, "int", items) == [exact_skewness(part) for part in parts(items)]
    assert both_ways(moments.kurtosis, "int", items) == [exact_kurtosis(part) for part in parts(items)]


@settings(deadline=None)
@given(cents)
def test_they_are_what_pandas_gives_but_exact(items: list[float | None]) -> None:
    series = pd.Series(items, dtype=float)
    if series.nunique() < 2:
        return
    for made, wanted in (
        (moments.skewness(spans("float", items)).to_list()[0], float(series.skew())),
        (moments.kurtosis(spans("float", items)).to_list()[0], float(series.kurt())),
    ):
        assert (made is None and math.isnan(wanted)) or made == pytest.approx(wanted, rel=1e-6, abs=1e-6)


def test_equal_values_have_no_skewness() -> None:
    assert both_ways(moments.skewness, "float", [0.1] * 4) == [None] * 15
    assert both_ways(moments.kurtosis, "float", [0.1] * 4) == [None] * 15


def relative_error(found: Any, exact: Fraction) -> Fraction:
    return abs(Fraction(found) - exact) / abs(exact)


@pytest.mark.parametrize("mean_to_std", [1.0, 1e3, 1e6])
@pytest.mark.parametrize("few", [True, False])
def test_var_std_and_skew_hold_their_digits_far_from_zero(mean_to_std: float, *, few: bool) -> None:
    chance = np.random.default_rng(int(mean_to_std))
    data = mean_to_std * 0.37 + 0.37 * chance.gamma(2.0, size=400)
    lo = np.arange(0, 390, 13, dtype=np.int64)
    hi = np.minimum(lo + chance.integers(3, 200, len(lo)), 400)
    given_spans = Spans(Values("float", data), lo, hi)
    given_spans.few = few
    made = [reduce(given_spans).to_list() for reduce in (fold.variance, fold.deviation, moments.skewness)]
    for start, stop, variance, deviation, skewness in zip(lo.tolist(), hi.tolist(), *made, strict=True):
        n = stop - start
        second, third, _ = central(data[start:stop].tolist())
        assert relative_error(variance, second / (n - 1)) <= 1e-9
        assert relative_error(deviation**2, second / (n - 1)) <= 1e-9
        squared = Fraction(n * n * (n - 1), (n - 2) ** 2) * third**2 / second**3
        assert math.copysign(1, skewness) == math.copysign(1, third)
        assert relative_error(skewness**2, squared) <= 1e-9


def sloped(per: int, times: list[int]) -> Callable[[Spans], Values]:
    """Slope against the times of the values that are not null."""
    return lambda one: moments.slope(one, np.array(times, np.int64), per)


def exact_slope(pairs: list[tuple[int, Any]], per: int) -> float | None:
    if len({instant for instant, _ in pairs}) < 2:
        return None
    xs, ys = ([Fraction(pair[side]) for pair in pairs] for side in (0, 1))
    x, y = (sum(side, Fraction(0)) / len(pairs) for side in (xs, ys))
    above = sum(((one - x) * (other - y) for one, other in zip(xs, ys, strict=True)), Fraction(0))
    exact = per * above / sum(((one - x) ** 2 for one in xs), Fraction(0))
    try:
        return exact.numerator / exact.denominator
    except OverflowError:
        return None


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0, 1, DAY, 10**17, -5]), st.sampled_from(FLOATS)), max_size=6))
def test_a_slope_is_that_of_fractions(pairs: list[tuple[int, float]]) -> None:
    times, items = [one for one, _ in pairs], [one for _, one in pairs]
    made = both_ways(sloped(DAY, times), "float", list(items))
    ranges = [(lo, hi) for lo in range(len(pairs) + 1) for hi in range(lo, len(pairs) + 1)]
    assert made == [exact_slope(pairs[lo:hi], DAY) for lo, hi in ranges]


def test_a_line_has_its_slope_whatever_the_unit() -> None:
    line = [1.0, 3.0, 5.0]
    assert sloped(DAY, [0, DAY, 2 * DAY])(spans("float", list(line))).to_list() == [2.0]
    assert sloped(DAY // 2, [0, DAY, 2 * DAY])(spans("float", list(line))).to_list() == [1.0]
    assert sloped(DAY, [5, 5, 5])(spans("float", list(line))).to_list() == [None]


def test_rows_in_any_order_and_number_are_folded_a_block_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = np.random.default_rng(3)
    data = chance.integers(0, 50, 300) / 10
    edges = np.sort(chance.integers(0, 301, (2, 40)), axis=0)
    together = Spans(Values("float", data), edges[0], edges[1])
    whole = moments.skewness(together)
    monkeypatch.setattr(moments, "ROWS_AT_ONCE", 3)
    parted = moments.skewness(Spans(Values("float", data), edges[0], edges[1]))
    assert whole.data.tobytes() == parted.data.tobytes()
    assert whole.to_list() == [exact_skewness(data[lo:hi].tolist()) for lo, hi in edges.T.tolist()]
