"""Ranges so long that to visit each one's values is out of the question: a hot entity that a million rows ask for.

What is made of all values once, in the time of a few passes, answers each range in the time of its logarithm. Extremes
and counts are exact whichever way they are found (S13).
"""

from typing import Any

import numpy as np

from featurestore import parallel

Array = np.ndarray[Any, Any]
IntArray = np.ndarray[Any, np.dtype[np.int64]]

BITS = 6
BLOCK = 1 << BITS
_AT_ONCE = 1 << 15
_SLID_AT_ONCE = 1 << 19


class Extremes:
    """Minima or maxima of ranges: of the ends within their blocks, and of whole blocks by a sparse table.

    Bender and Farach-Colton, The LCA problem revisited, 2000: two runs of a power of two blocks cover any run of them.

    Parameters
    ----------
    ufunc
        ``np.minimum`` or ``np.maximum``.
    data
        Values, shape ``(n,)``, n above 0.
    """

    def __init__(self, ufunc: np.ufunc, data: Array) -> None:
        self._ufunc = ufunc
        grid = np.append(data, np.repeat(data[-1:], -len(data) % BLOCK)).reshape(-1, BLOCK)
        from_begin, to_end = np.empty_like(grid), np.empty_like(grid)

        def accumulate(blocks: slice) -> None:
            ufunc.accumulate(grid[blocks], axis=1, out=from_begin[blocks])
            ufunc.accumulate(grid[blocks, ::-1], axis=1, out=to_end[blocks, ::-1])

        parallel.each(accumulate, parallel.slices(len(grid), _AT_ONCE // BLOCK))
        self._from_begin, self._to_end = from_begin.ravel(), to_end.ravel()
        self._runs = [np.ascontiguousarray(self._from_begin[BLOCK - 1 :: BLOCK])]
        while len(self._runs[-1]) > 1 << (len(self._runs) - 1):
            run, step = self._runs[-1], 1 << (len(self._runs) - 1)
            self._runs.append(ufunc(run[:-step], run[step:]))

    def over(self, lo: IntArray, hi: IntArray) -> Array:
        """Extreme of each range ``[lo, hi)``; each reaches over the edge of a block."""
        found = np.empty(len(lo), self._to_end.dtype)

        def look(rows: slice) -> None:
            found[rows] = self._over(lo[rows], hi[rows])

        parallel.each(look, parallel.slices(len(lo), _AT_ONCE))
        return found

    def _over(self, lo: IntArray, hi: IntArray) -> Array:
        found = self._ufunc(self._to_end[lo], self._from_begin[hi - 1])
        first, last = (lo >> BITS) + 1, (hi - 1) >> BITS  # whole blocks: from first, before last
        level = np.frexp((last - first).astype(np.float64))[1] - 1
        for power in np.unique(level[last > first]).tolist():
            rows = np.flatnonzero((level == power) & (last > first))
            run = self._runs[power]
            whole = self._ufunc(run[first[rows]], run[last[rows] - (1 << power)])
            found[rows] = self._ufunc(found[rows], whole)
        return np.asarray(found)


def count_new(previous: IntArray, lo: IntArray, hi: IntArray) -> IntArray:
    """How many indices ``i`` of each range ``[lo, hi)`` have ``previous[i] < lo``; begins and ends never fall.

    A range's values slide along then. Index ``i`` counts for the ranges from the first that both reaches over it and
    begins after ``previous[i]``, until one begins after ``i``: two edges for each index, whatever the ranges' lengths.

    Parameters
    ----------
    previous
        Index before ``i``, or -1, for each ``i``; shape ``(n,)``.
    lo, hi
        Shape ``(ranges,)``, each in ascending order, from 0 to n.
    """
    n = len(previous)
    begun = np.concatenate([[0], np.cumsum(np.bincount(lo, minlength=n + 1))])  # ranges that begin before each index
    ended = np.cumsum(np.bincount(hi, minlength=n + 1))

    def edges(part: slice) -> tuple[int, IntArray]:
        first = np.maximum(ended[part], begun[previous[part] + 1])
        last = begun[part.start + 1 : part.stop + 1]
        there, base = first < last, int(ended[part.start])
        first, last = (one[there] - base for one in (first, last))
        width = int(last.max(initial=0)) + 1
        return base, np.bincount(first, minlength=width) - np.bincount(last, minlength=width)

    change = np.zeros(len(lo) + 1, np.int64)
    for base, own in parallel.each(edges, parallel.slices(n, _SLID_AT_ONCE)):
        change[base : base + len(own)] += own
    return np.asarray(np.cumsum(change)[: len(lo)])


def count_below(data: IntArray, lo: IntArray, hi: IntArray, bound: IntArray) -> IntArray:
    """How many values of each range ``[lo, hi)`` lie below its bound; values and bounds from 0.

    Claude, Navarro and Ordóñez, The wavelet matrix, 2015: values are parted by one bit after another, from the highest.
    """
    counts = np.zeros(len(lo), np.int64)
    highest = max(int(data.max(initial=0)), int(bound.max(initial=0)))
    for level in reversed(range(highest.bit_length())):
        one = (data >> level) & 1 == 1
        zeros = np.concatenate([[0], np.cumsum(~one)])
        begin, end = zeros[lo], zeros[hi]
        above = (bound >> level) & 1 == 1
        counts += np.where(above, end - begin, 0)
        lo, hi = np.where(above, zeros[-1] + lo - begin, begin), np.where(above, zeros[-1] + hi - end, end)
        data = np.concatenate([data[~one], data[one]])
    return counts
