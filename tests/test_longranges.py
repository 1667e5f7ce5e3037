"""Long ranges against plain loops, with blocks of their real size."""

import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from featurestore import extremes, fold, longranges
from featurestore.longranges import BLOCK, Extremes, count_below, count_new
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


@pytest.mark.parametrize("values", [0, 1, 2, 130])
def test_new_values_of_ranges_that_slide_along_are_counted(values: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(longranges, "_SLID_AT_ONCE", 16)
    previous = [RANDOM.randrange(-1, place) for place in range(values)]
    lo, hi = (np.sort([RANDOM.randrange(values + 1) for _ in range(60)]) for _ in range(2))
    hi = np.maximum(lo, hi)
    found = count_new(np.array(previous, np.int64), lo, hi).tolist()
    pairs = zip(lo.tolist(), hi.tolist(), strict=True)
    assert found == [sum(one < begin for one in previous[begin:end]) for begin, end in pairs]


@pytest.mark.parametrize("kind", ["int", "float", "bool", "str", "datetime"])
@pytest.mark.parametrize("ways", ["in order", "in any order", "bits that are alike"])
def test_different_values_of_windows_that_slide_along_are_counted(
    kind: Kind, ways: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = [RANDOM.choice([None, *range(20)]) for _ in range(200)]
    converts: dict[Kind, Callable[[int], Any]] = {
        "int": lambda one: one - 9,
        "float": lambda one: one / 3 - 2,
        "bool": lambda one: one > 9,
        "str": "abcdefghijklmnopqrstuvwxyz".__getitem__,
        "datetime": lambda one: datetime(2026, 1, 1 + one, tzinfo=UTC),
    }
    items = [None if one is None else converts[kind](one) for one in drawn]
    ends = [RANDOM.randrange(201) for _ in range(300)]
    ends = ends if ways == "in any order" else sorted(ends)
    pairs = [(max(end - length, 0), end) for length in (0, 7, 90, 300) for end in ends]
    lo, hi = (np.array([pair[side] for pair in pairs], np.int64) for side in (0, 1))
    if ways == "bits that are alike":
        monkeypatch.setattr(fold, "_MIXER", np.uint64(0))
    monkeypatch.setattr(fold, "_count_pairs", None)
    spans = spans_of(from_list(kind, items), lo, hi, {}, windows=4)
    spans.few = False
    distinct = [len({one for one in items[begin:end] if one is not None}) for begin, end in pairs]
    assert fold.distinct(spans).to_list() == distinct


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
