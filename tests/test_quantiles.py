from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from folding import both_ways, parts, spans
from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore import quantiles
from featurestore.spans import Spans
from featurestore.values import Values

LARGEST = 1.7976931348623157e308
FLOATS = [0.1, 0.2, 0.3, 19.99, 1e16, -1e16, 5e-324, -5e-324, 1.5e-323, 2.5e-308, LARGEST, -LARGEST, 0.0, 3.0]
INTEGERS = [0, 1, -1, 2**52 + 1, 2**53 + 1, 2**53 + 3, 2**63 - 1, -(2**63), -(2**63) + 1, 7]

floats = st.lists(st.none() | st.sampled_from(FLOATS), max_size=7)
integers = st.lists(st.none() | st.sampled_from(INTEGERS), max_size=7)


def exact_median(part: list[Any]) -> float | None:
    if not part:
        return None
    ordered = sorted(map(Fraction, part))
    exact = (ordered[(len(part) - 1) // 2] + ordered[len(part) // 2]) / 2
    return exact.numerator / exact.denominator


@settings(deadline=None)
@given(floats)
def test_a_median_is_the_middle_value_or_the_midpoint_rounded_once(items: list[float | None]) -> None:
    assert both_ways(quantiles.median, "float", items) == [exact_median(part) for part in parts(items)]


@settings(deadline=None)
@given(integers)
def test_a_median_of_integers_is_exact_past_what_doubles_and_int64_hold(items: list[int | None]) -> None:
    assert both_ways(quantiles.median, "int", items) == [exact_median(part) for part in parts(items)]


def test_the_median_of_booleans_lies_between_no_and_yes() -> None:
    three = [None, False, True, None, True, False]
    assert both_ways(quantiles.median, "bool", three) == [exact_median(part) for part in parts(three)]


small = st.lists(st.none() | st.integers(-(10**6), 10**6).map(lambda one: one / 100), max_size=8)
shares = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.25, 0.9, 0.99, 1.0, 1 / 3]))


@settings(deadline=None)
@given(small, shares)
def test_a_quantile_is_that_of_numpy_but_half_way_the_midpoint(items: list[float | None], q: float) -> None:
    made = both_ways(lambda one: quantiles.quantile(one, q), "float", items)
    for part, found in zip(parts(items), made, strict=True):
        half_way = bool(part) and (q * (len(part) - 1)) % 1 == 0.5
        assert half_way or found == (float(np.quantile(part, q)) + 0.0 if part else None)


def test_a_quantile_lies_on_the_line_between_two_values() -> None:
    three = spans("float", [30.0, 10.0, None, 20.0])
    assert [quantiles.quantile(three, q).to_list()[0] for q in (0, 0.25, 0.5, 0.75, 0.95, 1)] == [
        *(10.0, 15.0, 20.0, 25.0, 29.0, 30.0)
    ]


def test_a_line_longer_than_the_largest_double_has_points() -> None:
    assert quantiles.quantile(spans("float", [-LARGEST, LARGEST]), 0.75).to_list() == [LARGEST / 2]
    assert quantiles.quantile(spans("float", [-LARGEST, LARGEST]), 0.25).to_list() == [-LARGEST / 2]
    assert quantiles.median(spans("float", [LARGEST, LARGEST])).to_list() == [LARGEST]


def many(seed: int, values: int, rows: int, distinct: int) -> Spans:
    chance = np.random.default_rng(seed)
    edges = np.sort(chance.integers(0, values + 1, (2, rows)), axis=0)
    return Spans(Values("float", chance.integers(0, distinct, values) / 100), edges[0], edges[1])


@pytest.mark.parametrize(("values", "rows", "distinct"), [(5000, 300, 2), (5000, 300, 3000), (9000, 2, 10**9)])
def test_many_long_ranges_are_those_of_sorting_each(values: int, rows: int, distinct: int) -> None:
    given_spans = many(7, values, rows, distinct)
    assert not given_spans.few
    for q in (0.0, 0.37, 0.5, 1.0):
        made = quantiles.quantile(given_spans, q).to_list()
        for lo, hi, found in zip(given_spans.lo.tolist(), given_spans.hi.tolist(), made, strict=True):
            part = given_spans.values.data[lo:hi]
            half_way = q == 0.5 or (q * (len(part) - 1)) % 1 == 0.5
            wanted = (np.median(part) if q == 0.5 else np.quantile(part, q)) if len(part) else None
            assert found == wanted or (half_way and q != 0.5)


def test_values_outside_the_ranges_are_not_looked_at() -> None:
    data = np.arange(100_000, dtype=np.float64)
    lo = np.arange(0, 90_000, 300)
    ranks, distinct = quantiles.ranked(Spans(Values("float", data), lo, lo + 10))
    assert (len(lo), len(ranks.values), len(distinct)) == (300, 3000, 3000)
    assert quantiles.median(Spans(Values("float", data), lo, lo + 10)).to_list() == (lo + 4.5).tolist()
