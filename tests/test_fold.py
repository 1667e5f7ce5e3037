import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from folding import both_ways, parts, spans
from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore import extremes, fold, grouping
from featurestore.errors import IntegerOverflow
from featurestore.spans import expand, spans_of
from featurestore.values import from_list

BIG = 2**62
FLOATS = [0.1, 0.2, 19.99, 1e16, -1e16, 1.0, 2.0**-54, 1e-300, 1e300, -1e300, 5e-324, 3.0, -7.25]
INTEGERS = [0, 1, -1, 7, 2**53 + 1, -(2**53) - 3, 2**40]


def exact_variance(part: list[Any], ddof: int) -> float | None:
    if len(part) <= ddof:
        return None
    fractions = [Fraction(one) for one in part]
    middle = sum(fractions, Fraction(0)) / len(part)
    try:
        return float(sum(((one - middle) ** 2 for one in fractions), Fraction(0)) / (len(part) - ddof))
    except OverflowError:
        return None


floats = st.lists(st.none() | st.sampled_from(FLOATS), max_size=7)
cents = st.lists(st.none() | st.integers(-(10**6), 10**6).map(lambda one: one / 100), max_size=7)
integers = st.lists(st.none() | st.sampled_from(INTEGERS), max_size=7)


@settings(deadline=None)
@given(floats | cents)
def test_float_sums_and_means_are_those_of_fsum(items: list[float | None]) -> None:
    assert both_ways(fold.total, "float", items) == [math.fsum(part) for part in parts(items)]
    means = [math.fsum(part) / len(part) if part else None for part in parts(items)]
    assert both_ways(fold.mean, "float", items) == means


@settings(deadline=None)
@given(integers)
def test_integer_sums_and_means_are_exact(items: list[int | None]) -> None:
    assert both_ways(fold.total, "int", items) == [sum(part) for part in parts(items)]
    assert both_ways(fold.mean, "int", items) == [sum(part) / len(part) if part else None for part in parts(items)]


@settings(deadline=None)
@given(floats | cents, st.integers(0, 2))
def test_float_variances_are_correctly_rounded(items: list[float | None], ddof: int) -> None:
    made = both_ways(lambda one: fold.variance(one, ddof), "float", items)
    assert made == [exact_variance(part, max(ddof, 0)) if part else None for part in parts(items)]


@settings(deadline=None)
@given(integers)
def test_integer_variances_are_correctly_rounded(items: list[int | None]) -> None:
    assert both_ways(fold.variance, "int", items) == [exact_variance(part, 1) for part in parts(items)]


@settings(deadline=None)
@given(floats)
def test_extremes_and_distinct_values_skip_nulls(items: list[float | None]) -> None:
    assert both_ways(extremes.minimum, "float", items) == [min(part, default=None) for part in parts(items)]
    assert both_ways(extremes.maximum, "float", items) == [max(part, default=None) for part in parts(items)]
    assert both_ways(fold.distinct, "float", items) == [len(set(part)) for part in parts(items)]
    assert both_ways(fold.count, "float", items) == [len(part) for part in parts(items)]


@settings(deadline=None)
@given(st.lists(st.sampled_from([True, False, None]), max_size=6))
def test_booleans_are_true_somewhere_or_everywhere(items: list[bool | None]) -> None:
    assert both_ways(fold.some, "bool", items) == [any(part) if part else None for part in parts(items)]
    assert both_ways(fold.every, "bool", items) == [all(part) if part else None for part in parts(items)]
    assert both_ways(fold.total, "bool", items) == [sum(part) for part in parts(items)]


def test_text_is_ordered_by_code_point() -> None:
    assert both_ways(extremes.minimum, "str", ["b", None, "Z"])[-2:] == ["Z", None]
    assert extremes.maximum(spans("str", ["b", "ä", "Z"])).to_list() == ["ä"]


@pytest.mark.parametrize("few", [True, False])
def test_an_integer_sum_past_int64_is_an_error(*, few: bool) -> None:
    three = spans("int", [BIG, BIG, -1])
    three.few = few
    with pytest.raises(IntegerOverflow, match="9223372036854775808, past int64"):
        fold.total(spans("int", [BIG, BIG]))
    assert fold.total(three).to_list() == [2**63 - 1]


def test_a_mean_of_integers_goes_past_int64() -> None:
    assert both_ways(fold.mean, "int", [2**63 - 1, 2**63 - 1])[1] == float(2**63 - 1)


def test_a_float_sum_past_the_largest_double_is_null() -> None:
    assert both_ways(fold.total, "float", [1.7e308, 1.7e308]) == [0.0, 1.7e308, None, 0.0, 1.7e308, 0.0]


def test_an_event_is_picked_with_its_null() -> None:
    values = from_list("int", [1, None, 3])
    lo, hi = np.array([0, 1, 2, 3]), np.array([3, 3, 2, 3])
    assert fold.pick(values, lo, hi, 0).to_list() == [1, None, None, None]
    assert fold.pick(values, lo, hi, -1).to_list() == [3, 3, None, None]
    assert fold.pick(values, lo, hi, 1).to_list() == [None, 3, None, None]
    assert fold.pick(values, lo, hi, -3).to_list() == [1, None, None, None]


def test_a_function_gets_a_fresh_array_of_each_range() -> None:
    def spoil(values: Any) -> float:
        values[0] = 100.0
        return float(values.sum())

    assert fold.each(spans("float", [1.0, None, 2.0], [(0, 3), (0, 1), (1, 2)]), spoil) == [102.0, 100.0, None]
    assert fold.each(spans("str", ["b", "a"]), "".join) == ["ba"]


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 5)), max_size=8))
def test_ranges_are_expanded_one_after_another(pairs: list[tuple[int, int]]) -> None:
    lo = np.array([start for start, _ in pairs], np.int64)
    hi = np.array([start + length for start, length in pairs], np.int64)
    assert expand(lo, hi).tolist() == [index for start, length in pairs for index in range(start, start + length)]


def test_many_pairs_are_counted_a_part_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featurestore.spans.PAIRS_AT_ONCE", 3)
    ones = spans("int", [1, 2, 1, 2], [(0, 4), (0, 0), (1, 3), (2, 4)])
    ones.few = False
    assert fold.distinct(ones).to_list() == [2, 0, 2, 2]


def mode_of(part: list[Any]) -> Any:
    return min(part, key=lambda one: (-part.count(one), one), default=None)


@settings(deadline=None)
@given(items=st.lists(st.none() | st.sampled_from([3, -1, 2**60, 0]), max_size=8))
def test_mode_is_the_most_frequent_value_and_the_smallest_of_a_tie(items: list[Any]) -> None:
    assert both_ways(grouping.most_frequent, "int", items) == [mode_of(part) for part in parts(items)]


def test_mode_knows_every_kind() -> None:
    assert both_ways(grouping.most_frequent, "str", ["b", "a", "b", "a"])[:5] == [None, "b", "a", "b", "a"]
    assert both_ways(grouping.most_frequent, "bool", [True, False])[1:3] == [True, False]
    assert both_ways(grouping.most_frequent, "float", [0.1, None, -0.0, 0.1])[4] == 0.1


def test_mode_is_the_same_in_batches_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featurestore.spans.PAIRS_AT_ONCE", 3)
    items = [1, 2, 2, 1, None, 3, 3, 3]
    assert both_ways(grouping.most_frequent, "int", items) == [mode_of(part) for part in parts(items)]


NUMBERS = st.one_of(st.none(), st.sampled_from([0.0, -0.0, 1.5, -2.5, 5e-324, 1.7976931348623157e308]))


@settings(deadline=None)
@given(st.lists(NUMBERS, max_size=12), st.data())
def test_extremes_of_windows_within_each_other_are_those_of_each(
    items: list[float | None], data: st.DataObject
) -> None:
    place = st.integers(0, len(items))
    edges = data.draw(st.lists(st.lists(place, min_size=4, max_size=4), min_size=1, max_size=5))
    rows = [sorted(row) if data.draw(st.booleans()) else row for row in edges]  # some are not within each other
    pairs = [(min(row[2 - window], row[3]), row[3]) for window in range(3) for row in rows]
    lo, hi = (np.array([pair[side] for pair in pairs], np.int64) for side in (0, 1))
    for reduction, extreme in ((extremes.minimum, min), (extremes.maximum, max)):
        nested = spans_of(from_list("float", items), lo, hi, {}, windows=3)
        nested.few = False
        held = [[one for one in items[begin:end] if one is not None] for begin, end in pairs]
        assert reduction(nested).to_list() == [extreme(part) if part else None for part in held]
