"""Reductions over index ranges: values, ``lo``, ``hi`` in, one value per range out.

Folds skip nulls (S7). Every result is exact or correctly rounded (S13), so the ways below may be chosen by cost alone:
none can change a bit.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from featurestore import longranges, parallel
from featurestore.errors import IntegerOverflow
from featurestore.exact import ExactSums, integers, two_product, two_sum
from featurestore.spans import Array, IntArray, Spans, paired
from featurestore.values import FEW, Values, masked, nulls, scalars

FloatArray = np.ndarray[Any, np.dtype[np.float64]]

_LOW = 0xFFFFFFFF
_SQUARES_EXACT = (2.0**-480, 2.0**480)
_SUMS_EXACT = 2.0**490
_LEAST_SQUARES = 2.0**-700
_ERROR = 2.0**-97
_SQUARES_AT_ONCE = 1 << 14
_MIXER = np.uint64(0x9E3779B97F4A7C15)
_WORD = 8  # bytes


def count(spans: Spans) -> Values:
    """Count the values; 0 on an empty range."""
    if spans.few:
        return scalars("int", spans.lengths, nullable=False)
    return lengths(spans.lo, spans.hi)


def lengths(lo: IntArray, hi: IntArray) -> Values:
    """Length of each range."""
    counts = hi - lo
    return scalars("int", counts.tolist(), nullable=False) if len(counts) <= FEW else Values("int", counts)


def total(spans: Spans) -> Values:
    """Sum; 0 on an empty range. Floats: correctly rounded, null past the largest double. Booleans: how many are true.

    Raises
    ------
    IntegerOverflow
        If a sum of integers does not fit int64.
    """
    if spans.values.kind == "float":
        return finite_scalars(spans.float_sums) if spans.few else finite(spans.float_sums)
    if spans.few:
        return _int64_sums(spans.whole_sums)
    high, low = spans.integer_sums
    top = high + (low >> 32)
    beyond = np.flatnonzero((top < -(2**31)) | (top >= 2**31))
    if len(beyond):
        raise _overflow((int(high[beyond[0]]) << 32) + int(low[beyond[0]]), len(beyond), len(high))
    return Values("int", (high << 32) + low)


def _int64_sums(sums: list[int]) -> Values:
    outside = [one for one in sums if not -(2**63) <= one < 2**63]
    if outside:
        raise _overflow(outside[0], len(outside), len(sums))
    return scalars("int", sums, nullable=False)


def _overflow(worst: int, many: int, ranges: int) -> IntegerOverflow:
    return IntegerOverflow(
        f"An integer sum is {worst}, past int64 ({many} of {ranges} windows). Make the column float, or sum a shorter "
        "window."
    )


def mean(spans: Spans) -> Values:
    """Sum divided by count; null on an empty range. Integers: the exact quotient, correctly rounded."""
    if spans.few:
        sums = spans.float_sums if spans.values.kind == "float" else spans.whole_sums
        return finite_scalars([one / many if many else None for one, many in zip(sums, spans.lengths, strict=True)])
    counts = spans.counts
    if spans.values.kind == "float":
        with np.errstate(all="ignore"):
            return finite(spans.float_sums / counts, counts > 0)
    high, low = spans.integer_sums
    halves = (high + (low >> 32)).astype(np.float64) * 2.0**32 + (low & _LOW)
    with np.errstate(all="ignore"):
        means = halves / counts
    for row in np.flatnonzero(np.abs(halves) >= 2.0**52).tolist():
        if counts[row]:
            means[row] = ((int(high[row]) << 32) + int(low[row])) / int(counts[row])
    return finite(means, counts > 0)


def variance(spans: Spans, ddof: int = 1) -> Values:
    """Variance ``(n S2 - S1**2) / (n (n - ddof))`` of the exact sums of values and squares, correctly rounded.

    Null with ``ddof`` values or fewer, and past the largest double. Computed in doubled doubles with an error bound;
    where that bound reaches a rounding boundary, in integers.
    """
    if spans.few:
        return finite_scalars(_few_variances(spans, ddof))
    counts = spans.counts
    enough = counts > max(ddof, 0)
    result, safe = np.zeros(len(counts)), np.zeros(len(counts), np.bool_)
    moments = moments_of(spans)
    if moments is not None:
        in_doubles = moments.variance

        def fill(rows: slice) -> None:
            with np.errstate(all="ignore"):
                result[rows], safe[rows] = in_doubles(spans.lo[rows], spans.hi[rows], ddof)

        parallel.each(fill, parallel.slices(len(counts), moments.rows_at_once))
    for row in np.flatnonzero(enough & ~safe).tolist():
        whole, scale = integers(spans.values.data[spans.lo[row] : spans.hi[row]])
        result[row] = _quotient(len(whole), sum(whole), sum(one * one for one in whole), scale, ddof)
    return finite(result, enough)


def deviation(spans: Spans, ddof: int = 1) -> Values:
    """Square root of :func:`variance`."""
    squared = variance(spans, ddof)
    if spans.few:
        return scalars("float", [None if one is None else math.sqrt(one) for one in squared.to_list()])
    return Values("float", np.sqrt(squared.data), squared.valid)


def some(spans: Spans) -> Values:
    """Whether any value is true; null on an empty range."""
    if spans.few:
        return scalars("bool", [any(part) if part else None for part in spans.parts()])
    high, low = spans.integer_sums
    return masked("bool", (high + low) > 0, spans.counts > 0)


def every(spans: Spans) -> Values:
    """Whether all values are true; null on an empty range."""
    if spans.few:
        return scalars("bool", [all(part) if part else None for part in spans.parts()])
    high, low = spans.integer_sums
    return masked("bool", (high + low) == spans.counts, spans.counts > 0)


def distinct(spans: Spans) -> Values:
    """Count the different values: those whose previous equal lies before the range. 0 on an empty range."""
    if spans.few:
        return scalars("int", [len(set(part)) for part in spans.parts()], nullable=False)
    previous = spans.once("previous", lambda: _previous_equal(spans.values.data))
    if int(spans.counts.sum()) > spans.windows * len(spans.values) + len(spans.counts):
        slid = _slid(spans, previous)
        if slid is not None:
            return Values("int", slid)
    if spans.crowded:
        return Values("int", longranges.count_below(previous + 1, spans.lo, spans.hi, spans.lo + 1))

    def new_ones(index: IntArray, lo: IntArray) -> Array:
        return np.asarray(previous[index] < lo)

    return Values("int", _count_pairs(spans.lo, spans.hi, new_ones))


def pick(values: Values, lo: IntArray, hi: IntArray, place: int) -> Values:
    """Value of the ``place``-th event (negative: from the end), null included; null where there is none."""
    index = lo + place if place >= 0 else hi + place
    there = (index >= lo) & (index < hi)
    taken = values.take(np.where(there, index, 0)) if len(values) else nulls(values.kind, len(lo))
    return masked(taken.kind, taken.data, there & taken.mask, taken.categories)


def each(spans: Spans, function: Callable[[Any], Any]) -> list[Any]:
    """Call ``function`` on each range's values, a fresh array (objects for text and datetimes); ``None`` if empty."""
    plain = spans.once("plain", lambda: _plain(spans.values))
    return [
        function(plain[start:stop].copy()) if stop > start else None
        for start, stop in zip(spans.lo.tolist(), spans.hi.tolist(), strict=True)
    ]


def _plain(values: Values) -> Array:
    if values.kind in ("bool", "int", "float"):
        return values.data
    objects = np.empty(len(values), object)
    objects[:] = values.to_list()
    return objects


@dataclass(frozen=True, eq=False)
class Moments:
    """Exact sums of values and of their squares, and how many values up to each have a square out of reach."""

    sums: ExactSums
    squares: ExactSums
    odd_before: IntArray

    @property
    def rows_at_once(self) -> int:
        """How many ranges to ask for at a time."""
        return max(self.sums.rows_at_once, self.squares.rows_at_once)

    def variance(self, lo: IntArray, hi: IntArray, ddof: int) -> tuple[FloatArray, Array]:
        """Variance of ranges, and whether it is certainly the correctly rounded one."""
        n = (hi - lo).astype(np.float64)
        sums, squares = self.sums.doubled(lo, hi), self.squares.doubled(lo, hi)
        product, error = two_product(sums[0], sums[0])
        error = error + 2.0 * sums[0] * sums[1]
        share = product / n
        back, back_error = two_product(share, n)
        share_rest = ((product - back) - back_error + error) / n
        spread, spread_rest = two_sum(squares[0], -share)
        spread_rest = spread_rest + (squares[1] - share_rest)
        freedom = n - ddof
        result = (spread + spread_rest) / freedom
        back, back_error = two_product(result, freedom)
        rest = ((spread - back) - back_error + spread_rest) / freedom
        bound = squares[0] * _ERROR / freedom
        safe = (result + (rest + bound) == result + (rest - bound)) & (squares[0] > _LEAST_SQUARES)
        safe &= (np.abs(sums[0]) < _SUMS_EXACT) & (self.odd_before[hi] == self.odd_before[lo])
        return result + rest, safe


def moments_of(spans: Spans) -> Moments | None:
    """Sums of the values and of their squares, made once; ``None`` of integers that a double does not hold."""
    made: Moments | None = spans.once("moments", lambda: _moments(spans))
    return made


def _moments(spans: Spans) -> Moments | None:
    data = spans.values.data.astype(np.float64, copy=False)
    if spans.values.kind == "int" and len(data) and np.abs(data).max() >= 2.0**53:
        return None
    squares, errors, odd = np.empty(len(data)), np.empty(len(data)), np.empty(len(data), np.bool_)

    def square(part: slice) -> None:
        odd[part] = _outside(data[part])
        inside = np.where(odd[part], 0.0, data[part])
        squares[part], errors[part] = two_product(inside, inside)

    parallel.each(square, parallel.slices(len(data), _SQUARES_AT_ONCE))
    sums = spans.once("sums", lambda: ExactSums(data))
    return Moments(sums, ExactSums(squares, errors), np.concatenate([[0], np.cumsum(odd)]))


def squares_are_exact(data: Array) -> bool:
    """Whether the squares of all numbers are sums of two doubles."""
    whole = data.dtype.kind != "f" and len(data) and np.abs(data.astype(np.float64)).max() >= 2.0**53
    return not whole and not _outside(data.astype(np.float64)).any()


def _outside(data: FloatArray) -> Array:
    magnitude = np.abs(data)
    return np.asarray((magnitude > _SQUARES_EXACT[1]) | ((magnitude < _SQUARES_EXACT[0]) & (magnitude > 0)))


def _few_variances(spans: Spans, ddof: int) -> list[float | None]:
    sums, squares, scale = spans.powers
    return [
        _quotient(n, total_sum, square_sum, scale, ddof) if n > max(ddof, 0) else None
        for n, total_sum, square_sum in zip(spans.lengths, sums, squares, strict=True)
    ]


def _quotient(n: int, total_sum: int, squares: int, scale: int, ddof: int) -> float:
    """Variance, correctly rounded by Python's division of integers; infinite past the largest double."""
    try:
        return (n * squares - total_sum * total_sum) / (scale * scale * n * (n - ddof))
    except OverflowError:
        return math.inf


def _previous_equal(data: Array) -> IntArray:
    """Index of the previous equal value, -1 where there is none."""
    previous = np.full(len(data), -1, np.int64)
    place = _equal_together(data)
    same = data[place][1:] == data[place][:-1]
    previous[place[1:][same]] = place[:-1][same]
    return previous


def _equal_together(data: Array) -> IntArray:
    """Permutation with equal values beside each other, in order of their index.

    One sort of whole numbers takes a tenth of the time of a permutation's: so what is sorted is a part of each value's
    bits, mixed, and its index. Where that is the same for different values, they are sorted themselves.
    """
    room = np.uint64(len(data).bit_length())
    bits = data.view(np.uint64) if data.itemsize == _WORD else data.astype(np.uint64)
    mixed = (bits * _MIXER) >> room << room
    keys = np.sort(mixed | np.arange(len(data), dtype=np.uint64))
    place = (keys & ((np.uint64(1) << room) - np.uint64(1))).astype(np.int64)
    alike = keys[1:] >> room == keys[:-1] >> room
    sorted_ = data[place]
    if (alike & (sorted_[1:] != sorted_[:-1])).any():
        return np.argsort(data, kind="stable")
    return place


def _slid(spans: Spans, previous: IntArray) -> IntArray | None:
    """Count the different values of ranges that slide along, window by window; ``None`` if they do not."""
    los, his = (edge.reshape(spans.windows, -1) for edge in (spans.lo, spans.hi))
    found = np.empty(los.shape, np.int64)
    for lo, hi, counts in zip(los, his, found, strict=True):
        place = slice(None) if _rises(lo) and _rises(hi) else np.lexsort((hi, lo))
        if not _rises(hi[place]):
            return None
        counts[place] = longranges.count_new(previous, lo[place], hi[place])
    return found.ravel()


def _rises(numbers: IntArray) -> bool:
    return bool((numbers[1:] >= numbers[:-1]).all())


def _count_pairs(lo: IntArray, hi: IntArray, test: Callable[[IntArray, IntArray], Array]) -> IntArray:
    """How many indices of each range pass ``test(index, lo of its row)``; a bounded number of pairs at once."""
    result = np.zeros(len(lo), np.int64)
    for rows, index, cuts in paired(lo, hi):
        passed = np.concatenate([[0], np.cumsum(test(index, np.repeat(lo[rows], np.diff(cuts))))])
        result[rows] = np.diff(passed[cuts])
    return result


def finite(data: FloatArray, valid: Array | None = None) -> Values:
    """Floats, null where they are not finite or not ``valid``."""
    known = np.isfinite(data) if valid is None else valid & np.isfinite(data)
    return Values("float", np.where(known, data, 0.0) + 0.0, known)


def finite_scalars(items: Iterable[float | None]) -> Values:
    """Floats, null where they are not finite."""
    return scalars("float", [None if one is None or not -math.inf < one < math.inf else one + 0.0 for one in items])
