"""Ranges of literal values for the tests of folds, and both ways of folding them."""

from collections.abc import Callable
from typing import Any

import numpy as np

from featurestore.spans import Spans, spans_of
from featurestore.values import Kind, Values, from_list

Reduction = Callable[[Spans], Values]


def spans(kind: Kind, items: list[Any], ranges: list[tuple[int, int]] | None = None) -> Spans:
    pairs = [(0, len(items))] if ranges is None else ranges
    lo, hi = (np.array([pair[side] for pair in pairs], np.int64) for side in (0, 1))
    values = from_list(kind, items)
    return spans_of(values, lo, hi, {})


def both_ways(reduction: Reduction, kind: Kind, items: list[Any]) -> list[Any]:
    """All ranges, once by the way of few values and once by the way of many: they must agree to the bit."""
    pairs = [(lo, hi) for lo in range(len(items) + 1) for hi in range(lo, len(items) + 1)]
    few, many = spans(kind, items, pairs), spans(kind, items, pairs)
    few.few, many.few = True, False
    one, other = reduction(few), reduction(many)
    assert one.data.tobytes() == other.data.tobytes()
    assert one.mask.tolist() == other.mask.tolist()
    assert (one.valid is None) == (other.valid is None)
    return one.to_list()


def parts(items: list[Any]) -> list[list[Any]]:
    ends = range(len(items) + 1)
    return [[one for one in items[lo:hi] if one is not None] for lo in ends for hi in ends if hi >= lo]
