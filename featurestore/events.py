"""Events of one view (a source's events by one entity), sorted: what both callers hand to ``evaluate``.

The order within an entity is S5: event_time, known_at, then the source's columns in schema order, null first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from featurestore.values import Values

IntArray = np.ndarray[Any, np.dtype[np.int64]]


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


def order(entity: IntArray, event_time: IntArray, known_at: IntArray, ties: Sequence[Values]) -> IntArray | None:
    """Permutation that puts events in S5 order within ascending entities; ``None`` if they already are.

    ``ties`` are the source's remaining columns in schema order. Equal logs give equal orders: rows that agree in every
    column cannot be told apart.
    """
    step = _steps(entity, event_time, known_at)
    if not (step < 0).any() and not ((step == 0).any() and ties):
        return None
    place = np.lexsort((known_at, event_time, entity))
    tied = _steps(entity[place], event_time[place], known_at[place]) == 0
    if tied.any() and ties:
        member = np.concatenate([tied, [False]]) | np.concatenate([[False], tied])
        rows = np.flatnonzero(member)
        group = np.cumsum(np.concatenate([[True], ~tied]))[rows]
        chosen = place[rows]
        keys = [key for values in reversed(ties) for key in _sort_keys(values.take(chosen))]
        place[rows] = chosen[np.lexsort((*keys, group))]
    return place


def _steps(entity: IntArray, event_time: IntArray, known_at: IntArray) -> IntArray:
    """Sign of the step from each row to the next: -1 out of order, 0 tied, 1 in order."""
    sign = np.sign(np.diff(known_at))
    for key in (event_time, entity):
        above = np.sign(np.diff(key))
        sign = np.where(above == 0, sign, above)
    return sign


def _sort_keys(values: Values) -> list[np.ndarray[Any, Any]]:
    return [values.data] if values.valid is None else [values.data, values.valid]
