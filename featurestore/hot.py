"""An entity with very many events, kept in memory between lookups: its windows are folded without visiting them.

Its events lie in chains: runs of events in which event_time and known_at both rise, so that what a window shows of one
is a range. Of each chain's columns prefix sums and extremes of blocks are made once. Plain reductions of numbers do not
depend on the order of events (S13): a window's value is put together from its ranges, exactly, and rounded once.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
from featurestore.values import Values, concatenate, scalars
from featurestore.visibility import Edge, edges

MANY_EVENTS = 1 << 13
MOST_EVENTS = 1 << 22
MOST_LATER = 1 << 12
_MOST_CHAINS = 4
Edges = tuple[Edge, Edge, Sequence[Edge | None]]


@dataclass(frozen=True, eq=False)
class Chain:
    """Events whose event_time and known_at (microseconds UTC, shape ``(n,)``) both rise, and what their folds share."""

    event_time: IntArray
    known_at: IntArray
    columns: Mapping[str, Values]
    made: dict[str, dict[str, Any]] = field(default_factory=dict)

    def spans(self, column: str, edges: Edges, *, nobody: bool) -> Spans:
        """Ranges of a column's values that windows show, to nobody none."""
        end, known, begins = edges
        stop = 0 if nobody else min(_search(self.event_time, end), _search(self.known_at, known))
        lo = np.array([0 if begin is None else min(_search(self.event_time, begin), stop) for begin in begins])
        return spans_of(self.columns[column], lo, np.full(len(lo), stop), self.made.setdefault(column, {}), len(lo))


@dataclass(frozen=True, eq=False)
class Hot:
    """An entity's events since ``since`` (microseconds UTC; ``None``: all), of the online store up to ``position``.

    ``later`` are those that were appended after the chains were made; they have chains of their own. All of it holds
    while the online store's ``generation`` does.
    """

    chains: Sequence[Chain]
    since: int | None
    generation: int
    position: int
    later: Events | None = None
    later_chains: Sequence[Chain] = ()

    @classmethod
    def of(
        cls, events: Events, reductions: Iterable[Reduction], since: int | None, generation: int, position: int
    ) -> "Hot | None":
        """Keep an entity's events; ``None`` where that is not worth it, or they cannot be folded so."""
        if not MANY_EVENTS <= len(events) <= MOST_EVENTS:
            return None
        columns = {}
        for one in reductions:
            values = columns[one.column] = events.columns[one.column]
            if values.kind not in NUMBERS or (one.reduction in ("std", "var") and not _squares(values)):
                return None
        chains = _chained(replace(events, columns=columns))
        return None if chains is None else cls(chains, since, generation, position)

    def __len__(self) -> int:
        """Events."""
        return sum(len(one.event_time) for one in (*self.chains, *self.later_chains))

    def reaches(self, since: int | None) -> bool:
        """Whether it has all events since then."""
        return self.since is None or (since is not None and since >= self.since)

    def with_later(self, events: Events, position: int) -> "Hot | None":
        """Return it with events that were appended up to a position; ``None`` where it is better made anew."""
        if not len(events):
            return replace(self, position=position)
        names = list(self.chains[0].columns)
        columns = {name: events.columns[name] for name in names}
        later = replace(events, columns=columns) if self.later is None else _together(self.later, events, names)
        chains = _chained(later) if len(later) <= MOST_LATER else None
        return None if chains is None else replace(self, later=later, later_chains=chains, position=position)


class HotRow:
    """A row that asks as of one instant (microseconds UTC) for a hot entity; for nobody where ``entity`` is -1."""

    def __init__(self, as_of: int, entity: int, hot: Hot) -> None:
        self._as_of, self._nobody = as_of, entity < 0
        self._chains = [*hot.chains, *hot.later_chains]
        self._parts: dict[Any, _Parts] = {}

    def reduced(self, feature: WindowFeature) -> Values:
        """Value of each window of a plain reduction of the kept columns."""
        reduction: Any = feature.function
        look = (reduction.column, feature.windows, feature.offset)
        if look not in self._parts:
            looked = edges(self._as_of, feature.windows, feature.offset, inclusive=feature.view.source.inclusive)
            spans = [chain.spans(reduction.column, looked, nobody=self._nobody) for chain in self._chains]
            self._parts[look] = _Parts(spans)
        return FOLDS[reduction.reduction](self._parts[look])


class _Parts:
    """Ranges of one window after another in each of several chains."""

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


def _count(parts: _Parts) -> Values:
    return scalars("int", parts.counts, nullable=False)


def _total(parts: _Parts) -> Values:
    if parts.kind == "float":
        return fold.finite_scalars([_nearest(one) for one in parts.sums])
    return fold.int64_sums([int(one) for one in parts.sums])


def _mean(parts: _Parts) -> Values:
    sums = [_nearest(one) for one in parts.sums] if parts.kind == "float" else [int(one) for one in parts.sums]
    return fold.finite_scalars([one / n if n else None for one, n in zip(sums, parts.counts, strict=True)])


def _variance(parts: _Parts) -> Values:
    pairs = zip(parts.counts, parts.sums, parts.squares, strict=True)
    return fold.finite_scalars([_nearest((n * q - s * s) / (n * (n - 1))) if n > 1 else None for n, s, q in pairs])


def _deviation(parts: _Parts) -> Values:
    return scalars("float", [None if one is None else math.sqrt(one) for one in _variance(parts).to_list()])


def _extreme(fold_each: Callable[[Spans], Values], choose: Callable[..., Any]) -> Callable[[_Parts], Values]:
    def extreme(parts: _Parts) -> Values:
        found = [fold_each(one).to_list() for one in parts.spans]
        there = [[one for one in of_chains if one is not None] for of_chains in zip(*found, strict=True)]
        return scalars(parts.kind, [choose(of_chains) if of_chains else None for of_chains in there])

    return extreme


FOLDS: Mapping[str, Callable[[_Parts], Values]] = {
    "count": _count,
    "sum": _total,
    "mean": _mean,
    "min": _extreme(extremes.long_minimum, min),
    "max": _extreme(extremes.long_maximum, max),
    "std": _deviation,
    "var": _variance,
}


def _chained(events: Events) -> list[Chain] | None:
    """Part one entity's sorted events into chains; ``None`` if they are too many."""
    chains: list[Chain] = []
    rest = np.arange(len(events))
    while len(rest) or not chains:
        if len(chains) == _MOST_CHAINS:
            return None
        known = events.known_at[rest]
        risen = known >= np.maximum.accumulate(known)
        chosen = rest[risen]
        columns = events.columns if len(chosen) == len(events) else _taken(events, chosen)
        chains.append(Chain(events.event_time[chosen], events.known_at[chosen], columns))
        rest = rest[~risen]
    return chains


def _taken(events: Events, index: IntArray) -> dict[str, Values]:
    return {name: values.take(index) for name, values in events.columns.items()}


def _together(first: Events, second: Events, names: Sequence[str]) -> Events:
    """Events of both, in order of event_time and known_at."""
    happened = np.concatenate([first.event_time, second.event_time])
    known = np.concatenate([first.known_at, second.known_at])
    index = np.lexsort((known, happened))
    columns = {name: concatenate([first.columns[name], second.columns[name]]).take(index) for name in names}
    return Events(np.array([0, len(index)]), happened[index], known[index], columns)


def _search(stamps: IntArray, edge: Edge) -> int:
    return int(stamps.searchsorted(edge[0], side="right" if edge[1] else "left"))


def _squares(values: Values) -> bool:
    """Whether squares can be summed exactly in doubles' own products."""
    return fold.squares_are_exact(values.data)


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
