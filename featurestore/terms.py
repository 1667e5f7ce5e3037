"""Entropy and decayed sums over index ranges: the correctly rounded sum of a term per value.

A term depends on its own value and row alone, and is computed one at a time: NumPy's exp and log may give other bits
for other lengths of array. So a row's figure does not depend on order, nor on the rows beside it (S13).
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from featurestore import fold
from featurestore.exact import fsums
from featurestore.fold import FloatArray
from featurestore.quantiles import ranked
from featurestore.spans import IntArray, Spans, paired
from featurestore.values import Values


def entropy(spans: Spans) -> Values:
    """``sum(c * (log2(n) - log2(c))) / n`` bits, c how often each value occurs; 0 if one alone does; null if empty."""
    ranks, distinct = ranked(spans)
    result = np.zeros(len(spans.lo))
    for rows, index, cuts in paired(ranks.lo, ranks.hi):
        lengths = np.diff(cuts)
        places = np.sort(np.repeat(np.arange(len(lengths)), lengths) * len(distinct) + ranks.values.data[index])
        first = np.flatnonzero(np.diff(places, prepend=-1))
        often = np.diff(first, append=len(places))
        row = places[first] // max(len(distinct), 1)
        logs = _logarithms(np.concatenate([often, lengths]))
        terms = often * (logs[lengths[row]] - logs[often])
        sums = _sums(terms.tolist(), np.searchsorted(row, np.arange(len(lengths) + 1)))
        result[rows] = sums / np.maximum(lengths, 1)
    return fold.finite(result, spans.counts > 0)


def decayed(spans: Spans, times: IntArray, as_of: IntArray, half_life: int) -> Values:
    """``sum(value * 2**-(abs(as_of - time) / half_life))``; 0 on an empty range, null past the largest double."""
    result = np.zeros(len(spans.lo))
    data = spans.values.data.astype(np.float64)
    for rows, index, cuts in paired(spans.lo, spans.hi):
        age = np.abs(np.repeat(as_of[rows], np.diff(cuts)) - times[index]) / half_life
        weights = np.fromiter(map(math.exp2, (-age).tolist()), np.float64, len(age))
        result[rows] = _sums((data[index] * weights).tolist(), cuts)
    return fold.finite(result)


def _sums(terms: Sequence[float], cuts: IntArray) -> FloatArray:
    """Correctly rounded sums of the terms between the cuts."""
    edges = cuts.tolist()
    return np.array(fsums([terms[lo:hi] for lo, hi in pairwise(edges)]), np.float64)


def _logarithms(counts: IntArray) -> FloatArray:
    """Table of ``log2`` that holds those of the counts."""
    table = np.zeros(int(counts.max(initial=0)) + 1)
    wanted = np.flatnonzero(np.bincount(counts)[1:]) + 1
    table[wanted] = [math.log2(one) for one in wanted.tolist()]
    return table
