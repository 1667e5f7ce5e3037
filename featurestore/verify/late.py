"""How much late data moved each feature: values as they could be seen, against what is known today.

The same functions over the same windows, with one thing changed: every event that is in the log today counts from its
event_time on, whenever it became known.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from featurestore import spine, times
from featurestore.engine import local
from featurestore.events import Events, IntArray
from featurestore.verify.bits import same
from featurestore.verify.causes import Present


@dataclass(frozen=True)
class Moved:
    """How late data moved a feature.

    Parameters
    ----------
    rows
        Rows whose value is another one today.
    mean, largest
        Mean and largest absolute change of a number over the rows that moved and have a number on both sides;
        ``None`` without such a row.
    appeared, vanished
        Rows where a value became null, or was null and is not.
    row, then, now
        The row that moved most (its number from 1), or the first, and its two values.
    """

    rows: int
    mean: float | None
    largest: float | None
    appeared: int
    vanished: int
    row: int
    then: Any
    now: Any


@dataclass(frozen=True)
class Late:
    """What is known today that was not known then; ``features`` are those that moved, most rows first."""

    subject: str
    rows: int
    moved_rows: int
    features: Mapping[str, Moved]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """All of it as dicts, lists and Python scalars."""
        return asdict(self)


def late(
    subject: str,
    present: Present,
    rows: Sequence[Mapping[str, Any]],
    as_of: IntArray,
    then: Mapping[str, Sequence[Any]],
) -> Late:
    """Compare values that rows had with those that they have by what the log holds today."""
    began = time.perf_counter()
    now = known_today(present, rows, as_of)
    places = {
        name: [place for place in range(len(rows)) if not same(then[name][place], now[name][place])]
        for name in then
        if name in now
    }
    features = {name: _moved(then[name], now[name], some) for name, some in places.items() if some}
    ordered = dict(sorted(features.items(), key=lambda one: -one[1].rows))
    touched = {place for some in places.values() for place in some}
    return Late(subject, len(rows), len(touched), ordered, round(time.perf_counter() - began, 3))


def known_today(present: Present, rows: Sequence[Mapping[str, Any]], as_of: IntArray) -> dict[str, list[Any]]:
    """Features of rows as if each event that the log holds had been known when it happened."""
    plan = present.service.plan
    typed = spine.from_rows(plan, rows, as_of)
    sources = {view.source.name: view.source for view in plan.views}
    tables = {name: local.read(source, present.log, None) for name, source in sources.items()}
    made = local.over(plan, typed, tables, arranged=_known_at_once)
    return {name: column.to_list() for name, column in made.items()}


def _known_at_once(events: Events) -> Events:
    return replace(events, known_at=np.full(len(events), times.EARLIEST, np.int64))


def _moved(then: Sequence[Any], now: Sequence[Any], places: Sequence[int]) -> Moved:
    numbers = [place for place in places if _is_number(then[place]) and _is_number(now[place])]
    changes = [abs(float(now[place]) - float(then[place])) for place in numbers]
    most = numbers[changes.index(max(changes))] if changes else places[0]
    return Moved(
        len(places),
        sum(changes) / len(changes) if changes else None,
        max(changes, default=None),
        sum(then[place] is None for place in places),
        sum(now[place] is None for place in places),
        most + 1,
        then[most],
        now[most],
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
