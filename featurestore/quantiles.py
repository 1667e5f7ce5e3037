"""Order statistics over index ranges: which value would stand at a place if a range's values were sorted.

For many ranges the values' ranks go through a wavelet matrix, bit by bit from the highest: at each bit the ranges keep
their own values side by side, so a range of a million costs what a range of one does, and nothing is sorted per range.
"""

import numpy as np

from featurestore import fold
from featurestore.fold import FloatArray
from featurestore.spans import Array, IntArray, Spans, expand
from featurestore.values import Values

_SUMS_WHOLE = 2**52


def median(spans: Spans) -> Values:
    """Middle value, of an even count the midpoint of the two in the middle; null on an empty range."""
    return quantile(spans, 0.5)


def quantile(spans: Spans, q: float) -> Values:
    """Value at place ``q * (n - 1)`` of the sorted values, between two of them by a straight line; null if empty.

    The line is NumPy's (``method="linear"``) in doubles. Half way it is the midpoint, exact and rounded once.
    """
    filled = spans.counts > 0
    result = np.zeros(len(filled))
    lo, hi = spans.lo[filled], spans.hi[filled]
    place = q * (hi - lo - 1)
    below = np.floor(place)
    share = place - below
    between = np.flatnonzero(share > 0)
    wanted = np.concatenate([below, below[between] + 1]).astype(np.int64)
    los, his = (np.concatenate([edge, edge[between]]) for edge in (lo, hi))
    found = _at_places(spans, los, his, wanted)
    lower, upper = found[: len(lo)], found[len(lo) :]
    figures = lower.astype(np.float64)
    figures[between] = _between(lower[between], upper, share[between])
    result[filled] = figures
    return fold.finite(result, filled)


def ranked(spans: Spans) -> tuple[Spans, Array]:
    """Spans whose values are ranks from 0 of the sorted distinct values, and those; only values in a range if fewer."""
    pairs = int(spans.counts.sum())
    if pairs >= len(spans.values):
        distinct, ranks = spans.once("ranked", lambda: np.unique(spans.values.data, return_inverse=True))
        return Spans(Values("int", ranks), spans.lo, spans.hi), distinct
    ends = np.cumsum(spans.counts)
    distinct, ranks = np.unique(spans.values.data[expand(spans.lo, spans.hi)], return_inverse=True)
    return Spans(Values("int", ranks), ends - spans.counts, ends), distinct


def _at_places(spans: Spans, lo: IntArray, hi: IntArray, places: IntArray) -> Array:
    """Value of the spans at each range's place, counted from 0 in ascending order; no range is empty."""
    if spans.few:
        items = spans.once("items", spans.values.data.tolist)
        asked = zip(lo.tolist(), hi.tolist(), places.tolist(), strict=True)
        found = np.array([sorted(items[start:stop])[place] for start, stop, place in asked], spans.values.data.dtype)
    else:
        ranks, distinct = ranked(Spans(spans.values, lo, hi, spans.made))
        found = distinct[_ranks_at(ranks, places, len(distinct))]
    return found.astype(np.int64) if spans.values.kind == "bool" else found


def _ranks_at(spans: Spans, places: IntArray, distinct: int) -> IntArray:
    """Rank at each range's place (Claude, Navarro and Ordóñez, The wavelet matrix, 2015: quantile)."""
    data, lo, hi = spans.values.data, spans.lo, spans.hi
    rank = np.zeros(len(lo), np.int64)
    for level in reversed(range((max(distinct, 1) - 1).bit_length())):
        one = (data >> level) & 1 == 1
        before = np.concatenate([[0], np.cumsum(~one)])  # zeros before each index
        zeros = int(before[-1])
        low, high = before[lo], before[hi]
        up = places >= high - low
        places = np.where(up, places - (high - low), places)
        lo, hi = np.where(up, zeros + lo - low, low), np.where(up, zeros + hi - high, high)
        rank |= up.astype(np.int64) << level
        data = np.concatenate([data[~one], data[one]])
    return rank


def _between(lower: Array, upper: Array, share: FloatArray) -> FloatArray:
    """Value at ``share`` of the way from ``lower`` to ``upper``."""
    start, end = lower.astype(np.float64), upper.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        line = _line(start, end, share)
    far = np.flatnonzero(~np.isfinite(line))  # the way is longer than the largest double
    line[far] = 2.0 * _line(start[far] / 2.0, end[far] / 2.0, share[far])
    half = share == 0.5  # noqa: PLR2004 - half way
    line[half] = _midpoints(lower[half], upper[half])
    return line


def _line(start: FloatArray, end: FloatArray, share: FloatArray) -> FloatArray:
    way = end - start
    return np.where(share < 0.5, start + way * share, end - way * (1.0 - share))  # noqa: PLR2004 - from the nearer end


def _midpoints(lower: Array, upper: Array) -> FloatArray:
    """Correctly rounded: the sum is exact where halving it could round (below the least normal double)."""
    if lower.dtype != np.int64:
        with np.errstate(over="ignore"):
            middle = (lower + upper) / 2.0
        return np.where(np.isfinite(middle), middle, lower / 2.0 + upper / 2.0)
    large = np.flatnonzero((lower < -_SUMS_WHOLE) | (upper > _SUMS_WHOLE))
    middles = np.asarray((lower + upper) / 2.0)
    middles[large] = [
        (one + other) / 2 for one, other in zip(lower[large].tolist(), upper[large].tolist(), strict=True)
    ]
    return middles
