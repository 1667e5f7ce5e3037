"""Events of one view (a source's events by one entity), sorted: what both callers hand to ``evaluate``.

The order within an entity is S5: event_time, known_at, then the source's columns in schema order, null first.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from featurestore.values import Values

IntArray = np.ndarray[Any, np.dtype[np.int64]]
BoolArray = np.ndarray[Any, np.dtype[np.bool_]]
_BITS = 63  # of an int64, without its sign


@dataclass(slots=True, eq=False)
class Events:
    """Sorted events of ``len(starts) - 1`` entities; entity ``e`` owns rows ``starts[e]:starts[e + 1]``.

    ``event_time`` and ``known_at`` are int64 microseconds UTC, shape ``(n,)``; ``columns`` holds the source's schema
    columns. ``position`` is each event's position in the log, given where rows ask as of different positions (S10).
    """

    starts: IntArray
    event_time: IntArray
    known_at: IntArray
    columns: Mapping[str, Values]
    position: IntArray | None = None

    def __len__(self) -> int:
        """Events."""
        return len(self.event_time)


class Takes(Protocol):
    """A column, as far as order needs it: its values at some rows."""

    def take(self, index: IntArray, /) -> Values:
        """Rows at ``index``."""
        ...


def order(entity: IntArray, event_time: IntArray, known_at: IntArray, ties: Sequence[Takes]) -> IntArray | None:
    """Permutation that puts events in S5 order within ascending entities; ``None`` if they already are.

    ``ties`` are the source's remaining columns in schema order. Equal logs give equal orders: rows that agree in every
    column cannot be told apart.
    """
    place = None
    wrong, tied = _steps(entity, event_time, known_at)
    if wrong:
        place, tied = _sorted(entity, event_time, known_at)
    if ties and tied.any():
        place = np.arange(len(entity)) if place is None else place
        settle(place, tied, lambda rows: [key for one in ties for key in _sort_keys(one.take(rows))])
        if not wrong and bool((place[1:] > place[:-1]).all()):
            return None
    return place


def settle(place: IntArray, tied: BoolArray, keys: Callable[[IntArray], Sequence[np.ndarray[Any, Any]]]) -> None:
    """Put each run of tied rows of a permutation in the order of further keys, the first of them first.

    ``tied`` says of each row but the last whether the next one ties with it; ``keys`` are given for the rows of runs.
    """
    rows = np.flatnonzero(np.append(tied, False) | np.append(False, tied))
    run = np.cumsum(np.append(True, ~tied))[rows]
    chosen = place[rows]
    place[rows] = chosen[np.lexsort((*reversed(keys(chosen)), run))]


def _steps(*keys: IntArray, place: IntArray | None = None) -> tuple[bool, BoolArray]:
    """Whether any row belongs before the one ahead of it, by the first key that differs; which tie with the next.

    ``place`` is the order in which the rows are looked at: no key is, once no rows tie.
    """
    tied = np.ones(max(len(keys[0]) - 1, 0), np.bool_)
    wrong = False
    for number, key in enumerate(keys):
        if number and not tied.any():
            break
        ordered = key if place is None else key[place]
        wrong = wrong or bool((tied & (ordered[1:] < ordered[:-1])).any())
        tied &= ordered[1:] == ordered[:-1]
    return wrong, tied


def _sorted(entity: IntArray, event_time: IntArray, known_at: IntArray) -> tuple[IntArray, BoolArray]:
    """Permutation by entity, event_time and known_at; and which rows tie with the next in all three.

    One sort of whole numbers takes a quarter of the time of a permutation's: so rows that come by time are sorted by
    (entity, row), and others by (entity, event_time) in one number, where it holds both.
    """
    row = len(entity).bit_length()
    first, last = int(entity.min()), int(entity.max())
    if (last - first).bit_length() + row < _BITS:
        place = np.sort(((entity - first) << row) | np.arange(len(entity))) & ((1 << row) - 1)
        wrong, tied = _steps(entity, event_time, known_at, place=place)
        if not wrong:
            return place, tied
    oldest, newest = int(event_time.min()), int(event_time.max())
    room = (newest - oldest).bit_length()
    if (last - first).bit_length() + room >= _BITS:
        place = np.lexsort((known_at, event_time, entity))
        return place, _steps(entity, event_time, known_at, place=place)[1]
    packed = ((entity - first) << room) | (event_time - oldest)
    place = np.argsort(packed)
    packed = packed[place]
    tied = packed[1:] == packed[:-1]
    if tied.any():
        settle(place, tied, lambda rows: [known_at[rows]])
        ordered = known_at[place]
        tied &= ordered[1:] == ordered[:-1]
    return place, tied


def _sort_keys(values: Values) -> list[np.ndarray[Any, Any]]:
    return [values.data] if values.valid is None else [values.valid, values.data]
