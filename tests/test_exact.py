import math
from fractions import Fraction
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore.exact import (
    ExactSums,
    exact_integers,
    fsums,
    integers,
    nearest,
    round_limbs,
    two_product,
    two_sum,
)

LARGEST = 1.7976931348623157e308
CENTS = [0.1, 0.2, 0.3, 10.01, 19.99, -0.1, 1e9 + 0.01]
TIES = [1.0, 2.0**-53, 2.0**-54, -(2.0**-54), 1 + 2.0**-52, -1.0, 2.0**-106]
MIXED = [1e300, -1e300, 1e-300, 1.0, 5e-324, -5e-324, 2.2250738585072014e-308]
CANCELLING = [1e16, 1.0, -1e16, 2.0**53, -(2.0**53), 0.5, -0.25]

hostile = st.one_of(
    *(st.lists(st.sampled_from(family), max_size=12) for family in (CENTS, TIES, MIXED, CANCELLING)),
    st.lists(st.floats(allow_nan=False, allow_infinity=False, max_value=1e307, min_value=-1e307), max_size=12),
)


def sums(values: list[float], lo: list[int], hi: list[int]) -> list[float]:
    made = ExactSums(np.array(values, np.float64)).rounded(np.array(lo), np.array(hi))
    return [float(one) for one in made]


@settings(deadline=None)
@given(hostile)
def test_every_range_is_the_correctly_rounded_sum(values: list[float]) -> None:
    ranges = [(lo, hi) for lo in range(len(values) + 1) for hi in range(lo, len(values) + 1)]
    made = sums(values, [lo for lo, _ in ranges], [hi for _, hi in ranges])
    assert made == [math.fsum(values[lo:hi]) for lo, hi in ranges]


@pytest.mark.parametrize("family", [CENTS, TIES, MIXED, CANCELLING])
def test_a_sum_does_not_depend_on_order_or_repetition(family: list[float]) -> None:
    forth, back = (sums(values * 1000, [0], [7000]) for values in (family, family[::-1]))
    assert forth == back == [float(sum(map(Fraction, family)) * 1000)]


edges_of_words = st.builds(
    lambda bits, off, sign: sign * (2**bits + off), st.integers(0, 60), st.integers(-2, 2), st.sampled_from([-1, 1])
)
limbs = st.one_of(st.just(0), edges_of_words, st.integers(-(2**60), 2**60))


@settings(deadline=None)
@given(st.lists(limbs, min_size=1, max_size=5), st.sampled_from([-1074, -1040, -56, 0, 10, 850, 930]))
def test_limbs_are_rounded_once(totals: list[int], lowest: int) -> None:
    exact = sum(one << (32 * place) for place, one in enumerate(totals)) * Fraction(2) ** lowest
    made = float(round_limbs([np.array([one]) for one in totals], lowest)[0])
    assert made == nearest(exact)
    assert math.copysign(1.0, made) == math.copysign(1.0, nearest(exact))


@pytest.mark.parametrize("bits", [*range(54, 66), 80, 94, 95, 96])
@pytest.mark.parametrize("sign", [-1, 1])
def test_limbs_beside_a_tie_are_rounded_once(bits: int, sign: int) -> None:
    drawn = Random(bits)
    for _ in range(200):
        tie = sign * (((1 << 53) | drawn.getrandbits(53) | 1) << (bits - 54))  # a bit more than a double has
        for whole in (tie - 1, tie, tie + 1):
            borrowed = drawn.randrange(-(1 << 20), 1 << 20)
            totals = [(whole & 0xFFFFFFFF) + (borrowed << 32), ((whole >> 32) & 0xFFFFFFFF) - borrowed, whole >> 64]
            made = round_limbs([np.array([one]) for one in totals], 0)
            assert made[0] == float(whole)


@pytest.mark.parametrize("top", [2**31 - 1, 2**31, -(2**31), -(2**31) - 1, 2**62])
def test_limbs_of_many_bits_are_rounded_once(top: int) -> None:
    assert round_limbs([np.array([one]) for one in (5, 7, top)], 0)[0] == float((top << 64) + (7 << 32) + 5)


def test_a_sum_past_the_largest_double_is_infinite() -> None:
    assert sums([LARGEST, LARGEST, -LARGEST], [0, 0], [2, 3]) == [math.inf, LARGEST]
    assert sums([-LARGEST, -LARGEST], [0], [2]) == [-math.inf]


def test_few_sums_go_on_where_partial_sums_overflow() -> None:
    parts = [[LARGEST, LARGEST, -LARGEST], [LARGEST, LARGEST], [0.1] * 10, [-LARGEST, -LARGEST], []]
    assert fsums(parts) == [LARGEST, math.inf, 1.0, -math.inf, 0.0]


def test_a_sum_that_cancels_is_plus_zero() -> None:
    assert math.copysign(1.0, sums([-1.0, 1.0], [0], [2])[0]) == 1.0


def test_subnormals_are_summed_exactly() -> None:
    assert sums([5e-324] * 3, [0, 1], [3, 1]) == [1.5e-323, 0.0]


def test_sums_of_nothing_are_zero() -> None:
    assert sums([], [0], [0]) == [0.0]


def test_parts_are_summed_together() -> None:
    made = ExactSums(np.array([1.0, 2.0]), np.array([2.0**-60, 2.0**-61]))
    assert made.rounded(np.array([0]), np.array([2])).tolist() == [3.0]
    assert exact_integers(made.totals(np.array([0]), np.array([2])), np.array([0])) == [
        Fraction(3 + Fraction(3, 2**61)) / Fraction(2) ** made.lowest
    ]


def test_the_rest_is_what_rounding_left() -> None:
    made = ExactSums(np.array([1.0, 2.0**-60]))
    totals = made.totals(np.array([0]), np.array([2]))
    assert made.rest(totals, np.array([1.0])).tolist() == [2.0**-60]


@settings(deadline=None)
@given(st.sampled_from(CENTS + TIES + CANCELLING), st.sampled_from(CENTS + TIES + CANCELLING))
def test_two_sums_and_two_products_lose_nothing(left: float, right: float) -> None:
    total, error = two_sum(np.array([left]), np.array([right]))
    assert Fraction(float(total[0])) + Fraction(float(error[0])) == Fraction(left) + Fraction(right)
    product, error = two_product(np.array([left]), np.array([right]))
    assert Fraction(float(product[0])) + Fraction(float(error[0])) == Fraction(left) * Fraction(right)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False)))
def test_doubles_as_integers_are_what_fractions_say_times_the_least_power_of_two(values: list[float]) -> None:
    whole, scale = integers(np.array(values, np.float64))
    assert [Fraction(one, scale) for one in whole] == [Fraction(one) for one in values]
    assert scale == max((Fraction(one).denominator for one in values), default=1)


@pytest.mark.parametrize("values", [[True, False, True], [2**62, -(2**63), 0]])
def test_numbers_that_are_whole_stay_as_they_are(values: list[int]) -> None:
    assert integers(np.array(values)) == ([int(one) for one in values], 1)
