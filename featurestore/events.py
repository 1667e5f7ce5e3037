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
    in_order, tied = _steps(entity, event_time, known_at)
    if in_order and not (tied.any() and ties):
        return None
    if in_order:
        place = np.arange(len(entity))
    else:
        place = np.lexsort((known_at, event_time, entity))
        tied = _steps(entity[place], event_time[place], known_at[place])[1]
    if tied.any() and ties:
        member = np.concatenate([tied, [False]]) | np.concatenate([[False], tied])
        rows = np.flatnonzero(member)
        group = np.cumsum(np.concatenate([[True], ~tied]))[rows]
        chosen = place[rows]
        keys = [key for values in reversed(ties) for key in _sort_keys(values.take(chosen))]
        settled = chosen[np.lexsort((*keys, group))]
        if in_order and (settled == chosen).all():
            return None
        place[rows] = settled
    return place


def _steps(
    entity: IntArray, event_time: IntArray, known_at: IntArray
) -> tuple[bool, np.ndarray[Any, np.dtype[np.bool_]]]:
    """Whether rows are in order of the three, and which are equal to the next in all of them."""
    rises = np.where(entity[1:] == entity[:-1], event_time[1:] > event_time[:-1], entity[1:] > entity[:-1])
    unsure = np.flatnonzero(~rises)  # few: what is left is decided by known_at, or out of order
    step = np.sign(known_at[unsure + 1] - known_at[unsure])
    for key in (event_time, entity):
        above = np.sign(key[unsure + 1] - key[unsure])
        step = np.where(above == 0, step, above)
    tied = np.zeros(len(rises), np.bool_)
    tied[unsure[step == 0]] = True
    return not (step < 0).any(), tied


def _sort_keys(values: Values) -> list[np.ndarray[Any, Any]]:
    return [values.data] if values.valid is None else [values.data, values.valid]
