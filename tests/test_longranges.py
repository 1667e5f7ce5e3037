"""Long ranges against plain loops, with blocks of their real size."""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from featurestore import extremes, fold
from featurestore.longranges import BLOCK, Extremes, count_below
from featurestore.spans import Spans, spans_of
from featurestore.values import Kind, Values, from_list

RANDOM = random.Random(7)


def ranges(values: int, least: int) -> list[tuple[int, int]]:
    """Ranges of at least so many values, those that begin and end at the edges of blocks among them."""
    edges = [place for place in range(values + 1) if place % BLOCK in (0, 1, BLOCK - 1)] + [values]
    pairs = [(lo, hi) for lo in edges for hi in edges if hi - lo >= least]
    drawn = [sorted(RANDOM.sample(range(values + 1), 2)) for _ in range(300)]
    return pairs + [(lo, hi) for lo, hi in drawn if hi - lo >= least]


@pytest.mark.parametrize("values", [BLOCK + 1, 3 * BLOCK, 9 * BLOCK + 5])
def test_extremes_are_those_of_each_range(values: int) -> None:
    items = [RANDOM.randrange(-50, 50) for _ in range(values)]
    pairs = ranges(values, BLOCK + 1)
    lo, hi = (np.array([pair[side] for pair in pairs], np.int64) for side in (0, 1))
    for ufunc, extreme in ((np.minimum, min), (np.maximum, max)):
        found = Extremes(ufunc, np.array(items, np.int64)).over(lo, hi).tolist()
        assert found == [extreme(items[begin:end]) for begin, end in pairs]


@pytest.mark.parametrize("values", [0, 1, 2, 130])
def test_values_below_a_bound_are_counted_in_each_range(values: int) -> None:
    items = [RANDOM.randrange(0, 40) for _ in range(values)]
    pairs = [(lo, hi) for lo in range(0, values + 1, 7) for hi in range(lo, values + 1, 5)]
    bounds = [RANDOM.randrange(0, 45) for _ in pairs]
    lo, hi = (np.array([pair[side] for pair in pairs], np.int64) for side in (0, 1))
    found = count_below(np.array(items, np.int64), lo, hi, np.array(bounds, np.int64)).tolist()
    assert found == [
        sum(one < bound for one in items[begin:end]) for (begin, end), bound in zip(pairs, bounds, strict=True)
    ]


@pytest.mark.parametrize("kind", ["int", "float", "bool", "str"])
def test_a_fold_gives_the_same_where_its_ranges_are_crowded(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = [RANDOM.choice([None, 0, 1, 2, 3]) for _ in range(5 * BLOCK)]
    converts: dict[Kind, Callable[[int], Any]] = {
        "int": int,
        "float": lambda one: one / 3,
        "bool": bool,
        "str": "abcd".__getitem__,
    }
    items = [None if one is None else converts[kind](one) for one in drawn]
    pairs = [(0, 0), (3, 3), (5, 9), *ranges(len(items), 1)]
    lo, hi = (np.array([pair[side] for pair in pairs], np.int64) for side in (0, 1))

    def told(reduction: Callable[[Spans], Values]) -> list[object]:
        spans = spans_of(from_list(kind, items), lo, hi, {})
        spans.few = False
        return reduction(spans).to_list()

    for reduction in (extremes.minimum, extremes.maximum, fold.distinct):
        plain = told(reduction)
        with monkeypatch.context() as patch:
            patch.setattr("featurestore.spans.CROWDED", 0)
            assert told(reduction) == plain
