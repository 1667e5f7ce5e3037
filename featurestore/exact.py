"""Exact sums of floats over index ranges (S13).

A sum is the correctly rounded exact sum of its values: what ``math.fsum`` gives where it does not overflow. It
therefore does not depend on order, grouping, thread count or on which of the ways below computed it:

- few values: ``math.fsum`` itself;
- many: each float is split exactly into signed 32-bit limbs on one grid of powers of two, the limbs are summed as
integer
  prefixes, a range is the difference of two prefixes, and the limbs are rounded to a double once.
"""

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from featurestore import parallel

FloatArray = np.ndarray[Any, np.dtype[np.float64]]
IntArray = np.ndarray[Any, np.dtype[np.int64]]

LIMB = 32
_LOW = 0xFFFFFFFF
_MASK = np.uint64(_LOW)
_BELOW = 0x7FF  # of 63 bits: 52 are above them, which a double holds
_HALF_WORD = 1 << 31
_FEW_LIMBS = 3
_LOWEST_BIT = -1074
_MANTISSA = 53  # bits of a double
_CACHED_LIMBS = 8
_FAST_SCALE = 1000
_PREFIX_CHUNK = 1 << 14
_PREFIX_PART = 1 << 20
_ROUND_CHUNK = 1 << 15
_WIDE_CHUNK = 1 << 18


class ExactSums:
    """Exact sums over ranges of the element-wise sum of finite ``addends``, arrays of shape ``(n,)``."""

    def __init__(self, *addends: FloatArray) -> None:
        self._addends = addends
        reach = [one for part in addends for one in _reaches(part)]
        largest = max((most for _, most in reach), default=0.0)
        smallest = min((least for least, _ in reach), default=math.inf)
        if largest == 0.0:
            self.lowest, self.count = 0, 1
        else:
            self.lowest = max(math.frexp(smallest)[1] - 53, _LOWEST_BIT)
            self.count = -(-(math.frexp(largest)[1] - self.lowest + 1) // LIMB)
        self._prefixes: list[IntArray] | None = None
        if self.count <= _CACHED_LIMBS:
            self._prefixes, self._addends = self._all(), ()

    def totals(self, lo: IntArray, hi: IntArray) -> list[IntArray]:
        """Limb totals over ``[lo, hi)``, lowest limb first: the sum is ``sum(total << 32 * i) * 2**lowest``."""
        totals = [prefix[hi] - prefix[lo] for prefix in (self._made() if self._prefixes is None else self._prefixes)]
        totals.reverse()
        return totals

    def rounded(self, lo: IntArray, hi: IntArray) -> FloatArray:
        """Correctly rounded sums; infinite where they exceed the largest double."""
        sums = np.empty(len(lo))

        def round_part(rows: slice) -> None:
            sums[rows] = round_limbs(self.totals(lo[rows], hi[rows]), self.lowest)

        parallel.each(round_part, parallel.slices(len(lo), self.rows_at_once))
        return sums

    @property
    def rows_at_once(self) -> int:
        """How many ranges to ask for at a time."""
        return _ROUND_CHUNK if self._prefixes is not None else _WIDE_CHUNK  # these make many limbs' prefixes anew

    def doubled(self, lo: IntArray, hi: IntArray) -> tuple[FloatArray, FloatArray]:
        """Sums as two doubles: correctly rounded, and the correctly rounded rest."""
        totals = self.totals(lo, hi)
        rounded = round_limbs(totals, self.lowest)
        return rounded, self.rest(totals, rounded)

    def rest(self, totals: Sequence[IntArray], rounded: FloatArray) -> FloatArray:
        """Correctly rounded difference between the sums that ``totals`` hold and ``rounded``: their second double."""
        finite = np.where(np.isfinite(rounded), rounded, 0.0)
        digits = list(_digits(finite, self.lowest, self.count))
        digits.reverse()
        return round_limbs([total - digit for total, digit in zip(totals, digits, strict=True)], self.lowest)

    def _all(self) -> list[IntArray]:
        """Prefix sums of all limbs, highest first: first within parts of the values, then from the first value on."""
        values = len(self._addends[0])
        prefixes = [np.zeros(values + 1, np.int64) for _ in range(self.count)]
        cut = parallel.slices(values, _PREFIX_PART)
        ends = np.array(parallel.each(lambda one: self._within(one, prefixes), cut)).reshape(len(cut), self.count)
        before = np.cumsum(ends, axis=0)

        def lift(part: slice, by: IntArray) -> None:
            for prefix, number in zip(prefixes, by.tolist(), strict=True):
                prefix[part.start + 1 : part.stop + 1] += number

        parallel.each(lift, cut[1:], list(before[:-1]))
        return prefixes

    def _within(self, part: slice, prefixes: Sequence[IntArray]) -> list[int]:
        """Put prefix sums from the part's first value on, some at a time; gives the last of each limb."""
        ends = [0] * self.count
        for start in range(part.start, part.stop, _PREFIX_CHUNK):
            stop = min(start + _PREFIX_CHUNK, part.stop)
            digits = zip(*(_digits(one[start:stop], self.lowest, self.count) for one in self._addends), strict=True)
            for number, limbs in enumerate(digits):
                limb = limbs[0] if len(limbs) == 1 else sum(limbs[1:], start=limbs[0])
                limb[0] += ends[number]
                ends[number] = int(np.cumsum(limb, out=prefixes[number][start + 1 : stop + 1])[-1])
        return ends

    def _made(self) -> Iterator[IntArray]:
        """Prefix sums of the limbs, highest first, one at a time; shape ``(n + 1,)`` each."""
        for limbs in zip(*(_digits(part, self.lowest, self.count) for part in self._addends), strict=True):
            prefix = np.zeros(len(limbs[0]) + 1, np.int64)
            for limb in limbs:
                prefix[1:] += limb
            yield np.cumsum(prefix, out=prefix)


def fsums(parts: Sequence[Sequence[float]]) -> list[float]:
    """Correctly rounded sum of the finite floats of each part; infinite past the largest double."""
    try:
        return list(map(math.fsum, parts))
    except OverflowError:  # of the sum, or on the way to it
        return [nearest(sum(map(Fraction, part), Fraction())) for part in parts]


def nearest(exact: Fraction) -> float:
    """Nearest double; infinite past the largest."""
    try:
        return float(exact)
    except OverflowError:
        return math.inf if exact > 0 else -math.inf


def round_limbs(totals: Sequence[IntArray], lowest: int) -> FloatArray:
    """Doubles nearest to ``sum(total << 32 * i) * 2**lowest``, ties to even; ``totals`` hold the lowest limb first."""
    few = _round_few(totals, lowest) if len(totals) <= _FEW_LIMBS else None
    return _round_many(totals, lowest) if few is None else few


def _round_few(totals: Sequence[IntArray], lowest: int) -> FloatArray | None:
    """Round sums of some 95 bits by one addition of doubles that are exact; ``None`` where one has more bits.

    The upper is a multiple of ``2**43`` of 52 bits, the lower has 43. A sum of more than 53 bits is never subnormal,
    for no value has a bit below ``2**-1074``: to scale it is exact.
    """
    none = np.zeros_like(totals[0])
    first, middle, top = [*totals, none, none][:_FEW_LIMBS]
    middle = middle + (first >> LIMB)
    top = top + (middle >> LIMB)
    if len(top) and (int(top.max()) >= _HALF_WORD or int(top.min()) < -_HALF_WORD):
        return None
    high = (top << LIMB) | (middle & _LOW)
    lower = ((high & _BELOW) << LIMB) | (first & _LOW)
    upper = (high & ~_BELOW).astype(np.float64) * 2.0**LIMB
    with np.errstate(over="ignore"):
        return _scale(upper + lower.astype(np.float64), lowest)


def _round_many(totals: Sequence[IntArray], lowest: int) -> FloatArray:
    negative = _carried(totals)[-1] < 0
    sign = np.where(negative, -1, 1)
    limbs = [limb.astype(np.uint64) for limb in _carried([total * sign for total in totals])]
    top, below, third, dropped, place = _leading(limbs)
    shift = (LIMB - np.frexp(top.astype(np.float64))[1]).astype(np.uint64) * (top > 0)
    bits = (((top << np.uint64(LIMB)) | below) << shift) | (third >> (np.uint64(LIMB) - shift))
    sticky = dropped | (((third << shift) & _MASK) > 0)
    tail = bits & np.uint64(0x7FF)
    kept = bits >> np.uint64(11)
    half = np.uint64(0x400)
    kept += (tail > half) | ((tail == half) & (sticky | ((kept & np.uint64(1)) > 0)))
    exponent = lowest + LIMB * (place - 1) - shift.astype(np.int64) + 11
    with np.errstate(over="ignore"):
        return np.asarray(np.ldexp(np.where(negative, -1.0, 1.0) * kept.astype(np.float64), exponent) + 0.0)


def integers(numbers: np.ndarray[Any, Any]) -> tuple[list[int], int]:
    """Finite numbers, shape ``(n,)``, as integers: each multiplied by one power of two, the least that does, from 1."""
    if numbers.dtype.kind != "f":
        return numbers.astype(np.int64).tolist(), 1
    mantissa, exponent = np.frexp(numbers)
    whole = np.ldexp(mantissa, _MANTISSA).astype(np.int64)
    zeros = np.frexp((whole & -whole).astype(np.float64))[1] - 1  # at the end of each, in binary; below 0 of zero
    shift = np.where(whole == 0, 0, exponent - _MANTISSA + zeros)
    lowest = int(shift.min(initial=0))
    odd = (whole >> np.maximum(zeros, 0)).tolist()
    return [one << up for one, up in zip(odd, (shift - lowest).tolist(), strict=True)], 1 << -lowest


def exact_integers(totals: Sequence[IntArray], rows: IntArray) -> list[int]:
    """Python integers of the limb totals at ``rows``."""
    columns = [total[rows].tolist() for total in totals]
    return [sum(limb << (LIMB * number) for number, limb in enumerate(limbs)) for limbs in zip(*columns, strict=True)]


def two_sum(left: FloatArray, right: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Rounded sum and its exact error (Knuth)."""
    total = left + right
    back = total - left
    return total, (left - (total - back)) + (right - back)


def two_product(left: FloatArray, right: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Rounded product and its exact error (Dekker); exact for magnitudes between 2**-480 and 2**500."""
    product = left * right
    left_high, left_low = _halves(left)
    right_high, right_low = _halves(right)
    error = ((left_high * right_high - product) + left_high * right_low + left_low * right_high) + left_low * right_low
    return product, error


def _halves(values: FloatArray) -> tuple[FloatArray, FloatArray]:
    scaled = values * 134217729.0
    high = scaled - (scaled - values)
    return high, values - high


def _reaches(values: FloatArray) -> list[tuple[float, float]]:
    """Smallest magnitude above zero and largest, of some values at a time."""

    def reach(part: slice) -> tuple[float, float]:
        magnitude = np.abs(values[part])
        return float(np.min(magnitude, initial=math.inf, where=magnitude > 0)), float(magnitude.max(initial=0.0))

    return parallel.each(reach, parallel.slices(len(values), _ROUND_CHUNK))


def _digits(values: FloatArray, lowest: int, count: int) -> Iterator[IntArray]:
    """Signed limbs of each value, highest first: the value is ``sum(limb * 2**(lowest + 32 * i))`` exactly."""
    rest = values
    for number in range(count - 1, -1, -1):
        unit = lowest + LIMB * number
        scaled = _scale(rest, -unit)
        if number:
            whole = np.trunc(scaled)  # rounding up could pass the largest double
            rest = rest - _scale(whole, unit)
            scaled = whole
        yield scaled.astype(np.int64)


def _scale(values: FloatArray, exponent: int) -> FloatArray:
    if -_FAST_SCALE <= exponent <= _FAST_SCALE:
        return values * 2.0**exponent
    return np.ldexp(values, exponent)


def _carried(totals: Sequence[IntArray]) -> list[IntArray]:
    """Limbs in ``[0, 2**32)`` and, last, the signed rest above them."""
    carry = np.zeros_like(totals[0])
    limbs = []
    for total in totals:
        whole = total + carry
        limbs.append(whole & _LOW)
        carry = whole >> LIMB
    return [*limbs, carry]


def _leading(limbs: Sequence[np.ndarray[Any, Any]]) -> tuple[Any, Any, Any, Any, IntArray]:
    """Highest limb that is not zero, the two below it, whether anything is below those, and its place."""
    zero = np.zeros_like(limbs[0])
    running = (zero, zero, zero, np.zeros(len(zero), np.bool_))
    found = running
    place = np.zeros(len(zero), np.int64)
    for number, limb in enumerate(limbs):
        top, below, third, dropped = running
        running = (limb, top, below, dropped | (third > 0))
        here = limb > 0
        found = tuple(np.where(here, new, old) for new, old in zip(running, found, strict=True))  # type: ignore[assignment]
        place = np.where(here, number, place)
    return *found, place
