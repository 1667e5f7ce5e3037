"""Events of each range by what they share: put in order of value once, a range's equal values are a range too.

Groups are found without writing out the pairs of rows and events, so that what folds know of ranges holds for groups.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from featurestore import times
from featurestore.events import IntArray
from featurestore.spans import Spans, batches, expand
from featurestore.values import Values, from_list

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class Arrangement:
    """Values in order of code, then of place; those that are null are left out.

    ``codes`` has one integer per value, ``order`` the places of the values in their new order, ``packed`` code and
    place as one number each, in that order. ``rank`` is each value's place in it, ``previous`` that of the equal value
    before it; -1 stands for none.
    """

    codes: IntArray
    order: IntArray
    packed: IntArray
    rank: IntArray
    previous: IntArray


@dataclass(frozen=True, eq=False)
class Groups:
    """Groups of all rows, those of one row in order of code: ``[first, last)`` are row ``i``'s.

    Group ``g`` holds the values of the arrangement's order at ``[lo, hi)``, and shares ``code``.
    """

    first: IntArray
    last: IntArray
    code: IntArray
    lo: IntArray
    hi: IntArray


def arranged(codes: IntArray, valid: Array | None = None) -> Arrangement:
    """Arrange values by their codes."""
    count = len(codes)
    order = np.argsort(codes, kind="stable")
    order = order if valid is None else order[valid[order]]
    rank, previous = np.full(count, -1, np.int64), np.full(count, -1, np.int64)
    rank[order] = np.arange(len(order))
    same = codes[order][1:] == codes[order][:-1]
    previous[order[1:][same]] = order[:-1][same]
    return Arrangement(codes, order, codes[order] * count + order, rank, previous)


def grouped(values: Arrangement, lo: IntArray, hi: IntArray) -> Groups:
    """Groups of each range ``[lo, hi)`` of the values; a null is in none."""
    rows, opening = _opening(values, lo, hi)
    code = values.codes[opening]
    place = np.lexsort((code, rows))
    rows, opening, code = rows[place], opening[place], code[place]
    edges = np.searchsorted(rows, np.arange(len(lo) + 1))
    end = np.searchsorted(values.packed, code * len(values.codes) + hi[rows])
    return Groups(edges[:-1], edges[1:], code, values.rank[opening], end)


def most_frequent(spans: Spans) -> Values:
    """Most frequent value, the smallest of those that tie; null on an empty range."""
    values, filled = spans.values, spans.counts > 0
    if spans.few:
        found = np.array([_most_frequent(part) for part in spans.parts()], values.data.dtype)
        return Values(values.kind, found, filled, values.categories)
    arrangement = spans.once("arranged", lambda: arranged(_ranked(values.data)))
    groups = grouped(arrangement, spans.lo, spans.hi)
    result = np.zeros(len(filled), values.data.dtype)
    if filled.any():
        counts, first = groups.hi - groups.lo, groups.first[filled]
        most = np.repeat(np.maximum.reduceat(counts, first), (groups.last - groups.first)[filled])
        winners = np.flatnonzero(counts == most)
        winner = winners[np.searchsorted(winners, first)]
        result[filled] = values.data[arrangement.order[groups.lo[winner]]]
    return Values(values.kind, result, filled, values.categories)


def as_text(values: Values) -> Values:
    """Names of groups: text as it is, ``true`` and ``false``, numbers as Python writes them, instants as ISO 8601."""
    if values.kind == "str":
        return values
    distinct, place = np.unique(values.data, return_inverse=True)
    named = from_list("str", [_text(one, values.kind) for one in distinct.tolist()], nullable=False)
    codes = named.data[place] if len(distinct) else np.zeros(0, np.int32)
    return Values("str", codes, values.valid, named.categories)


def _opening(values: Arrangement, lo: IntArray, hi: IntArray) -> tuple[IntArray, IntArray]:
    """Rows, and places of the values that are the first of their code in the row's range."""
    rows, opening = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for start, stop in batches(lo, hi):
        index = expand(lo[start:stop], hi[start:stop])
        row = np.repeat(np.arange(start, stop), hi[start:stop] - lo[start:stop])
        new = (values.previous[index] < lo[row]) & (values.rank[index] >= 0)
        rows.append(row[new])
        opening.append(index[new])
    return np.concatenate(rows), np.concatenate(opening)


def _most_frequent(part: list[Any]) -> Any:
    counts = Counter(part)
    most = max(counts.values(), default=0)
    return min((one for one, count in counts.items() if count == most), default=0)


def _ranked(data: Array) -> IntArray:
    return np.unique(data, return_inverse=True)[1].astype(np.int64)


def _text(one: Any, kind: str) -> str:
    if kind == "datetime":
        return times.isoformat(one)
    return str(one).lower() if kind == "bool" else str(one)
