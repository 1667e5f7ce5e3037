"""Skewness, kurtosis and slope over index ranges: ratios of sums of powers and products, computed in integers.

Every double is an integer times a power of two, so these sums have no rounding at all (S13). A row's figure is one
division of integers, correctly rounded; skewness is the square root of one. A mean a million times the spread, which
leaves formulas in doubles nothing, costs no digit here.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate, repeat
from operator import mul

import numpy as np

from featurestore import fold
from featurestore.exact import integers
from featurestore.spans import IntArray, Spans, expand
from featurestore.values import Values

ROWS_AT_ONCE = 1 << 14
_TWO, _THREE, _FOUR = 2, 3, 4


def skewness(spans: Spans) -> Values:
    """``n sqrt(n-1) / (n-2) * sum(d^3) / sum(d^2)^1.5``, d from the mean; null below 3 values or if all are equal."""
    return _by_row(spans, _THREE, _powers(spans, _THREE), _skewness)


def kurtosis(spans: Spans) -> Values:
    """Excess kurtosis, bias-corrected (G2); null below 4 values or if all are equal."""
    return _by_row(spans, _FOUR, _powers(spans, _FOUR), _kurtosis)


def slope(spans: Spans, times: IntArray, per: int) -> Values:
    """Slope of the least-squares line of values against ``times``, per ``per`` of them; null without two instants."""

    def columns(index: IntArray) -> tuple[list[Iterable[int]], int]:
        values, scale = integers(spans.values.data[index])
        instants = (times[index] - times[index].min()).tolist()
        products = [map(mul, instants, values), map(mul, instants, instants)]
        return [values, instants, *products], scale

    def figure(n: int, scale: int, sums: Sequence[int]) -> float | None:
        values, instants, products, squares = sums
        spread = scale * (n * squares - instants * instants)
        return None if spread == 0 else _quotient(per * (n * products - instants * values), spread)

    return _by_row(spans, _TWO, columns, figure)


Columns = Callable[[IntArray], tuple[list[Iterable[int]], int]]
Figure = Callable[[int, int, Sequence[int]], float | None]


def _skewness(n: int, _: int, sums: Sequence[int]) -> float | None:
    s1, s2, s3 = sums
    second = n * s2 - s1 * s1
    if second == 0:
        return None
    third = n * n * s3 - 3 * n * s1 * s2 + 2 * s1**3
    root = math.sqrt(n * (n - 1) * third * third / ((n - 2) ** 2 * second**3))
    return -root if third < 0 else root


def _kurtosis(n: int, _: int, sums: Sequence[int]) -> float | None:
    s1, s2, s3, s4 = sums
    second = (n * s2 - s1 * s1) ** 2
    if second == 0:
        return None
    fourth = n**3 * s4 - 4 * n * n * s1 * s3 + 6 * n * s1 * s1 * s2 - 3 * s1**4
    return (n - 1) * ((n + 1) * fourth - 3 * (n - 1) * second) / ((n - 2) * (n - 3) * second)


def _quotient(above: int, below: int) -> float:
    """Correctly rounded; infinite past the largest double."""
    try:
        return above / below
    except OverflowError:
        return math.inf


def _powers(spans: Spans, highest: int) -> Columns:
    """Values as integers, and their powers; their scale cancels."""

    def columns(index: IntArray) -> tuple[list[Iterable[int]], int]:
        values, scale = integers(spans.values.data[index])
        return [values, *(map(pow, values, repeat(power)) for power in range(2, highest + 1))], scale

    return columns


def _by_row(spans: Spans, least: int, columns: Columns, figure: Figure) -> Values:
    """``figure(n, scale, sums of the columns)`` of each range of ``least`` values or more."""
    result = np.full(len(spans.lo), np.nan)
    for rows, index, los, his in _blocks(spans, least):
        made, scale = columns(index)
        prefixes = [list(accumulate(column, initial=0)) for column in made]
        for row, lo, hi in zip(rows, los, his, strict=True):
            found = figure(hi - lo, scale, [prefix[hi] - prefix[lo] for prefix in prefixes])
            if found is not None:
                result[row] = found
    return fold.finite(result)


def _blocks(spans: Spans, least: int) -> Iterator[tuple[list[int], IntArray, list[int], list[int]]]:
    """Some rows, the indices that their ranges cover, each once, and the ranges among those."""
    rows = np.flatnonzero(spans.counts >= least)
    rows = rows[np.lexsort((spans.hi[rows], spans.lo[rows]))]
    for start in range(0, len(rows), ROWS_AT_ONCE):
        block = rows[start : start + ROWS_AT_ONCE]
        lo, hi = spans.lo[block], spans.hi[block]
        reach = np.maximum.accumulate(hi)
        fresh = np.concatenate([[True], lo[1:] > reach[:-1]])
        begins = np.flatnonzero(fresh)
        starts, stops = lo[begins], reach[np.append(begins[1:], len(block)) - 1]
        lengths = stops - starts
        shift = (starts - (np.cumsum(lengths) - lengths))[np.cumsum(fresh) - 1]
        yield block.tolist(), expand(starts, stops), (lo - shift).tolist(), (hi - shift).tolist()
