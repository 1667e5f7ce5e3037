"""An entity with very many events, kept in memory between lookups: its windows are folded without visiting them.

Of its columns prefix sums and extremes of blocks are made once. Plain reductions of numbers do not depend on the order
of events (S13): a window's value is put together from ranges of what loads wrote and of what was appended since,
exactly, and rounded once.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np

from featurestore import extremes, fold
from featurestore.arithmetic import NUMBERS
from featurestore.definition import Reduction, WindowFeature
from featurestore.events import Events, IntArray
from featurestore.exact import ExactSums, exact_integers, two_product
from featurestore.spans import Spans, spans_of
from featurestore.values import Values, scalars
from featurestore.visibility import Edge, edges

MANY_EVENTS = 1 << 13
MOST_EVENTS = 1 << 22
Edges = tuple[Edge, Edge, Sequence[Edge | None]]


class Part:
    """Some of an entity's events in order of event_time, and what folds of their columns share."""

    def __init__(self, events: Events, columns: Iterable[str]) -> None:
        self.event_time, self.known_at = events.event_time, events.known_at
        self.columns = {name: events.columns[name] for name in columns}
        self._latest = np.maximum.accumulate(events.known_at)
        self._made: dict[str, dict[str, Any]] = {name: {} for name in self.columns}

    def spans(self, column: str, edges: Edges, *, nobody: bool) -> Iterator[Spans]:
        """Ranges of a column's values that windows show: up to the first hidden event, then behind it."""
        end, known, begins = edges
        happened = 0 if nobody else _search(self.event_time, end)
        whole = min(happened, _search(self._latest, known))
        yield _spans(self.event_time, self.columns[column], begins, whole, self._made[column])
        if whole < happened:
            at, closed = known
            stamps = self.known_at[whole:happened]
            seen = whole + np.flatnonzero(stamps <= at if closed else stamps < at)
            yield _spans(self.event_time[seen], self.columns[column].take(seen), begins, len(seen), {})


class Hot:
    """What loads wrote of an entity: its events since ``since`` (microseconds UTC; ``None``: all).

    It holds while the online store's ``generation`` does. What was appended beside it is read by each lookup. Of the
    columns ``squared`` sums of squares are asked.
    """

    def __init__(self, events: Events, reductions: Sequence[Reduction], since: int | None, generation: int) -> None:
        self.since, self.generation = since, generation
        self._squared = {one.column for one in reductions if one.reduction in ("std", "var")}
        self._loaded = Part(events, dict.fromkeys(one.column for one in reductions))
        self._newest: tuple[Any, Part] | None = None

    def __len__(self) -> int:
        """Events."""
        return len(self._loaded.event_time)

    @property
    def fit(self) -> bool:
        """Whether it is worth it to keep it, and it can be folded."""
        return MANY_EVENTS <= len(self) <= MOST_EVENTS and self._folds(self._loaded)

    def reaches(self, since: int | None) -> bool:
        """Whether it has all events since then."""
        return self.since is None or (since is not None and since >= self.since)

    def with_later(self, blobs: Any, unpack: Callable[[Any], Events]) -> list[Part] | None:
        """Return its events and those that were appended; ``None`` if these cannot be folded so."""
        if not blobs[0]:
            return [self._loaded]
        newest = self._newest
        if newest is None or newest[0] != blobs:
            newest = self._newest = blobs, Part(unpack(blobs), self._loaded.columns)
        return [self._loaded, newest[1]] if self._folds(newest[1]) else None

    def _folds(self, part: Part) -> bool:
        numbers = all(values.kind in NUMBERS for values in part.columns.values())
        return numbers and all(fold.squares_are_exact(part.columns[name].data) for name in self._squared)


class HotRow:
    """A row that asks as of one instant (microseconds UTC) for a hot entity; for nobody where ``entity`` is -1."""

    def __init__(self, as_of: int, entity: int, parts: Sequence[Part]) -> None:
        self._as_of, self._nobody, self._parts = as_of, entity < 0, parts
        self._seen: dict[Any, _Seen] = {}

    def reduced(self, feature: WindowFeature) -> Values:
        """Value of each window of a plain reduction of the kept columns."""
        reduction: Any = feature.function
        look = (reduction.column, feature.windows, feature.offset)
        if look not in self._seen:
            looked = edges(self._as_of, feature.windows, feature.offset, inclusive=feature.view.source.inclusive)
            spans = [one.spans(reduction.column, looked, nobody=self._nobody) for one in self._parts]
            self._seen[look] = _Seen([span for of_part in spans for span in of_part])
        return FOLDS[reduction.reduction](self._seen[look])


class _Seen:
    """Ranges of one window after another, some for each of several parts of the events."""

    def __init__(self, spans: Sequence[Spans]) -> None:
        self.spans = spans
        self.kind = spans[0].values.kind

    @cached_property
    def counts(self) -> list[int]:
        """How many values each window has."""
        return [int(count) for count in sum(one.counts for one in self.spans)]  # type: ignore[union-attr]

    @cached_property
    def sums(self) -> list[Fraction]:
        """Exact sum of each window."""
        return [sum(parts, Fraction()) for parts in zip(*map(_exact_sums, self.spans), strict=True)]

    @cached_property
    def squares(self) -> list[Fraction]:
        """Exact sum of the squares of each window."""
        return [sum(parts, Fraction()) for parts in zip(*map(_exact_squares, self.spans), strict=True)]


def _count(parts: _Seen) -> Values:
    return scalars("int", parts.counts, nullable=False)


def _total(parts: _Seen) -> Values:
    if parts.kind == "float":
        return fold.finite_scalars([_nearest(one) for one in parts.sums])
    return fold.int64_sums([int(one) for one in parts.sums])


def _mean(parts: _Seen) -> Values:
    sums = [_nearest(one) for one in parts.sums] if parts.kind == "float" else [int(one) for one in parts.sums]
    return fold.finite_scalars([one / n if n else None for one, n in zip(sums, parts.counts, strict=True)])


def _variance(parts: _Seen) -> Values:
    pairs = zip(parts.counts, parts.sums, parts.squares, strict=True)
    return fold.finite_scalars([_nearest((n * q - s * s) / (n * (n - 1))) if n > 1 else None for n, s, q in pairs])


def _deviation(parts: _Seen) -> Values:
    return scalars("float", [None if one is None else math.sqrt(one) for one in _variance(parts).to_list()])


def _extreme(fold_each: Callable[[Spans], Values], choose: Callable[..., Any]) -> Callable[[_Seen], Values]:
    def extreme(parts: _Seen) -> Values:
        found = [fold_each(one).to_list() for one in parts.spans]
        there = [[one for one in of_parts if one is not None] for of_parts in zip(*found, strict=True)]
        return scalars(parts.kind, [choose(of_parts) if of_parts else None for of_parts in there])

    return extreme


FOLDS: Mapping[str, Callable[[_Seen], Values]] = {
    "count": _count,
    "sum": _total,
    "mean": _mean,
    "min": _extreme(extremes.long_minimum, min),
    "max": _extreme(extremes.long_maximum, max),
    "std": _deviation,
    "var": _variance,
}


def _spans(
    event_time: IntArray, values: Values, begins: Sequence[Edge | None], stop: int, made: dict[str, Any]
) -> Spans:
    lo = np.array([0 if begin is None else min(_search(event_time, begin), stop) for begin in begins])
    return spans_of(values, lo, np.full(len(lo), stop), made, len(lo))


def _search(stamps: IntArray, edge: Edge) -> int:
    return int(stamps.searchsorted(edge[0], side="right" if edge[1] else "left"))


def _exact_sums(spans: Spans) -> list[Fraction]:
    if spans.values.kind == "float":
        return _fractions(spans, "sums", lambda: ExactSums(spans.values.data))
    high, low = spans.integer_sums
    return [Fraction((int(one) << 32) + int(other)) for one, other in zip(high, low, strict=True)]


def _exact_squares(spans: Spans) -> list[Fraction]:
    def made() -> ExactSums:
        data = spans.values.data.astype(np.float64)
        return ExactSums(*two_product(data, data))

    return _fractions(spans, "squares of all", made)


def _fractions(spans: Spans, name: str, make: Callable[[], ExactSums]) -> list[Fraction]:
    exact: ExactSums = spans.once(name, make)
    unit = Fraction(2) ** exact.lowest
    return [unit * one for one in exact_integers(exact.totals(spans.lo, spans.hi), np.arange(len(spans.lo)))]


def _nearest(exact: Fraction) -> float:
    """Nearest double; infinite past the largest."""
    try:
        return float(exact)
    except OverflowError:
        return math.inf if exact > 0 else -math.inf
