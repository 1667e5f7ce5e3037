"""An entity with very many events, kept in memory between lookups: its windows are folded without visiting them.

Of its columns prefix sums and extremes of blocks are made once. Plain reductions of numbers do not depend on the order
of events (S13): a window's value is put together from ranges of what loads wrote and of what was appended since,
exactly, and rounded once.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from featurestore import extremes, fold
from featurestore.alone import FOLDS
from featurestore.arithmetic import NUMBERS
from featurestore.definition import Reduction, WindowFeature
from featurestore.events import Events, IntArray
from featurestore.exact import ExactSums, exact_integers, nearest
from featurestore.spans import Spans, spans_of
from featurestore.values import Values
from featurestore.visibility import Edge, edges, place

REDUCTIONS = frozenset(FOLDS) - {"nunique"}
MANY_EVENTS = 1 << 13
MOST_EVENTS = 1 << 21
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
        happened = 0 if nobody else place(self.event_time, end)
        whole = min(happened, place(self._latest, known))
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
        self._seen: dict[Any, Joined] = {}

    def reduced(self, feature: WindowFeature) -> Values:
        """Value of each window of a plain reduction of the kept columns."""
        reduction: Any = feature.function
        look = (reduction.column, feature.windows, feature.offset)
        if look not in self._seen:
            looked = edges(self._as_of, feature.windows, feature.offset, inclusive=feature.view.source.inclusive)
            spans = [one.spans(reduction.column, looked, nobody=self._nobody) for one in self._parts]
            self._seen[look] = Joined([span for of_part in spans for span in of_part])
        return FOLDS[reduction.reduction](self._seen[look])


class Joined(Spans):
    """Few ranges, each of several pieces: one of each of ``spans``. What folds ask is put together from theirs."""

    __slots__ = ("_spans",)

    def __init__(self, spans: Sequence[Spans]) -> None:
        super().__init__(spans[0].values, None, None, windows=spans[0].windows)
        self._spans = spans

    @property
    def lengths(self) -> list[int]:
        """Length of each range."""
        return [sum(pieces) for pieces in zip(*(one.counts.tolist() for one in self._spans), strict=True)]

    @property
    def float_sums(self) -> list[float]:
        """Correctly rounded sums of floats; infinite past the largest double."""
        return [nearest(one) for one in self._sums()]

    @property
    def whole_sums(self) -> list[int]:
        """Exact sums of integers or booleans."""
        return [int(one) for one in self._sums()]

    @property
    def powers(self) -> tuple[list[int], list[int], int]:
        """Exact sums and sums of squares as integers: times a power of two, the third, and times its square."""
        sums = self._sums()
        squares = [sum(pieces, Fraction()) for pieces in zip(*map(_exact_squares, self._spans), strict=True)]
        scale = max(one.denominator for one in (*sums, *squares))  # a power of two, as all denominators are
        return [int(one * scale) for one in sums], [int(one * scale * scale) for one in squares], scale

    def extremes(self, choose: Callable[..., Any]) -> list[Any]:
        """Least or greatest number of each range; ``None`` of none."""
        fold_each = extremes.long_minimum if choose is min else extremes.long_maximum
        found = zip(*(fold_each(one).to_list() for one in self._spans), strict=True)
        return [choose((one for one in pieces if one is not None), default=None) for pieces in found]

    def _sums(self) -> list[Fraction]:
        def summed() -> list[Fraction]:
            return [sum(pieces, Fraction()) for pieces in zip(*map(_exact_sums, self._spans), strict=True)]

        made: list[Fraction] = self.once("sums", summed)
        return made


def _spans(
    event_time: IntArray, values: Values, begins: Sequence[Edge | None], stop: int, made: dict[str, Any]
) -> Spans:
    lo = np.array([0 if begin is None else min(place(event_time, begin), stop) for begin in begins])
    return spans_of(values, lo, np.full(len(lo), stop), made, len(lo))


def _exact_sums(spans: Spans) -> list[Fraction]:
    if spans.values.kind == "float":
        return _fractions(spans, spans.once("sums", lambda: ExactSums(spans.values.data)))
    high, low = spans.integer_sums
    return [Fraction((int(one) << 32) + int(other)) for one, other in zip(high, low, strict=True)]


def _exact_squares(spans: Spans) -> list[Fraction]:
    moments = fold.moments_of(spans)
    assert moments is not None  # noqa: S101 - such a column is not kept
    return _fractions(spans, moments.squares)


def _fractions(spans: Spans, exact: ExactSums) -> list[Fraction]:
    unit = Fraction(2) ** exact.lowest
    return [unit * one for one in exact_integers(exact.totals(spans.lo, spans.hi), np.arange(len(spans.lo)))]
