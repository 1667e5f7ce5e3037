import math
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from folding import both_ways, parts, spans
from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore import terms
from featurestore.spans import Spans
from featurestore.values import Values

HOUR = 3_600_000_000
NOON = 1_700_000_000_000_000


def plain_entropy(part: list[Any]) -> float | None:
    n = len(part)
    counts = Counter(part).values()
    return math.fsum(c * (math.log2(n) - math.log2(c)) for c in counts) / n if part else None


@settings(deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "c", "", None]), max_size=8))
def test_entropy_is_a_sum_over_the_values(items: list[str | None]) -> None:
    assert both_ways(terms.entropy, "str", items) == [plain_entropy(part) for part in parts(items)]


def test_entropy_is_in_bits() -> None:
    assert terms.entropy(spans("int", [1, 2, 3, 4])).to_list() == [2.0]
    assert terms.entropy(spans("float", [0.1, 0.1, None, 0.1])).to_list() == [0.0]
    assert terms.entropy(spans("bool", [True, True, True, False])).to_list() == [pytest.approx(2 - 0.75 * math.log2(3))]
    assert terms.entropy(spans("str", [None])).to_list() == [None]


def test_entropy_of_many_values_is_near_the_one_of_their_shares() -> None:
    items = np.random.default_rng(1).zipf(1.5, 20_000) % 1000
    made = terms.entropy(Spans(Values("int", items), np.array([0, 10_000]), np.array([20_000, 20_000]))).to_list()
    for part, found in zip((items, items[10_000:]), made, strict=True):
        shares = np.unique(part, return_counts=True)[1] / len(part)
        assert found == pytest.approx(-np.sum(shares * np.log2(shares)), rel=1e-12)


def decayed(times: list[int], as_of: int, half_life: int) -> Callable[[Spans], Values]:
    return lambda one: terms.decayed(one, np.array(times, np.int64), np.full(len(one.lo), as_of), half_life)


def test_a_value_weighs_half_after_each_half_life() -> None:
    two = decayed([NOON - 3 * HOUR, NOON - HOUR], NOON, HOUR)(spans("float", [80.0, 5.0]))
    assert two.to_list() == [80 / 8 + 5 / 2]
    assert decayed([NOON + HOUR], NOON, HOUR)(spans("int", [6])).to_list() == [3.0]
    assert decayed([NOON - 10**6 * HOUR], NOON, HOUR)(spans("float", [1e300])).to_list() == [0.0]


def test_nothing_decayed_is_zero_and_too_much_is_null() -> None:
    assert decayed([], NOON, HOUR)(spans("float", [])).to_list() == [0.0]
    assert decayed([NOON, NOON], NOON, HOUR)(spans("float", [1.7e308, 1.7e308])).to_list() == [None]
    assert decayed([NOON] * 3, NOON, HOUR)(spans("float", [1.7e308, 1.7e308, -1.7e308])).to_list() == [1.7e308]


ages = st.lists(st.tuples(st.integers(0, 10**13), st.sampled_from([0.1, -19.99, 1e16, 5e-324, 3.0])), max_size=6)


@settings(deadline=None)
@given(ages, st.sampled_from([HOUR, 7 * 24 * HOUR, 1]))
def test_a_decayed_sum_is_the_rounded_sum_of_its_terms(pairs: list[tuple[int, float]], half_life: int) -> None:
    items = [value for _, value in pairs]
    made = both_ways(decayed([NOON - age for age, _ in pairs], NOON, half_life), "float", list(items))
    ranges = [(lo, hi) for lo in range(len(pairs) + 1) for hi in range(lo, len(pairs) + 1)]
    for (lo, hi), found in zip(ranges, made, strict=True):
        exact = [Fraction(value * math.exp2(-(age / half_life))) for age, value in pairs[lo:hi]]
        assert found == float(sum(exact, Fraction(0)))


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 8, 33, 1000])
def test_a_row_has_the_same_bits_alone_and_among_others(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featurestore.spans.PAIRS_AT_ONCE", 100)
    chance = np.random.default_rng(rows)
    data, times = chance.normal(size=1100) * 10.0 ** chance.integers(-9, 9, 1100), np.arange(1100) * 977_777_777
    lo = chance.integers(0, 1000, rows)
    hi = lo + chance.integers(0, 60, rows)
    as_of = times[hi] + chance.integers(0, 10**9, rows)
    together = terms.decayed(Spans(Values("float", data), lo, hi), times, as_of, HOUR).data
    entropies = terms.entropy(Spans(Values("float", np.round(data)), lo, hi)).data
    for row in range(rows):
        part = slice(int(lo[row]), int(hi[row]))
        edges = np.array([0]), np.array([hi[row] - lo[row]])
        alone = terms.decayed(Spans(Values("float", data[part]), *edges, {}), times[part], as_of[row : row + 1], HOUR)
        assert alone.data.tobytes() == together[row : row + 1].tobytes()
        single = terms.entropy(Spans(Values("float", np.round(data[part])), *edges, {}))
        assert single.data.tobytes() == entropies[row : row + 1].tobytes()
