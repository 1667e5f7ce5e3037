"""Entity buckets: rows and events of one view, cut into parts that share no entity, evaluated in threads.

Rows are put in order of entity and time first, so that those of one entity find their events beside each other. Which
bucket a row falls into, and in how many threads they run, changes no bit of a value (S13).
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from featurestore import parallel
from featurestore.engine.results import Results
from featurestore.evaluate import Spine, evaluate
from featurestore.events import Events, IntArray
from featurestore.plan import Keyed, RowStep, ServicePlan
from featurestore.values import Values
from featurestore.view import TableColumns

MANY_ROWS = 1 << 14
AT_ONCE = 1 << 17
"""Rows and events of a bucket, which then stay in the processor's cache; an entity that has more is one of its own."""
_HOT = 8  # times as many
_INT64_BITS = 63


def in_buckets(
    plan: ServicePlan,
    spine: Spine,
    events: Mapping[str, Events],
    entities: Mapping[Keyed, IntArray],
    not_finite: dict[str, int],
) -> Mapping[str, Values]:
    """Evaluate a service as :func:`evaluate` does: windows and labels bucket by bucket, then row features."""
    if len(spine) < MANY_ROWS:
        return evaluate(plan, spine, events, entities, not_finite)
    results, rows = Results(len(spine)), np.arange(len(spine))
    with working() as threads, parallel.helped(threads.map):
        for keyed in plan.keyed:
            windows = Windows(plan, keyed, spine, rows, events[keyed.view.name], entities[keyed])
            counted(not_finite, windows.fill(results))
        results.settle()
    return with_row_features(plan, spine, results, not_finite)


@contextmanager
def working() -> Iterator[ThreadPoolExecutor]:
    """As many threads as there are processors; after an error nothing more is begun."""
    threads = ThreadPoolExecutor(os.cpu_count())
    try:
        yield threads
    finally:
        threads.shutdown(cancel_futures=True)


def counted(not_finite: dict[str, int], parts: Iterable[Mapping[str, int]]) -> None:
    """Add up what parts have counted."""
    for counts in parts:
        for name, count in counts.items():
            not_finite[name] = not_finite.get(name, 0) + count


def with_row_features(
    plan: ServicePlan, spine: Spine, made: Mapping[str, Values], not_finite: dict[str, int]
) -> Mapping[str, Values]:
    """All values of a service, of those of its windows and labels."""
    rest = replace(plan, steps=tuple(step for step in plan.steps if isinstance(step, RowStep)), labels=())
    return evaluate(rest, replace(spine, columns={**spine.columns, **made}), {}, {}, not_finite)


def of_entity(plan: ServicePlan, keyed: Keyed) -> ServicePlan:
    """Return what a plan looks at by one entity: its windows and labels, without what is made of them."""
    steps = tuple(step for step in plan.steps if not isinstance(step, RowStep) and step.keyed == keyed)
    labels = tuple(step for step in plan.labels if step.keyed == keyed)
    outputs = [name for step in steps for name in step.outputs] + [step.label.name for step in labels]
    return replace(plan, steps=steps, labels=labels, outputs=tuple(outputs))


@dataclass(frozen=True)
class Bucket:
    """Rows, by their place in order of entity and time, and the entities that they ask for."""

    rows: slice
    entities: slice
    work: int = 0
    """How many rows and events."""


class Windows:
    """Windows and labels by one entity, of some rows of the spine; ``entity`` is that of each of them."""

    def __init__(
        self, plan: ServicePlan, keyed: Keyed, spine: Spine, rows: IntArray, events: Events, entity: IntArray
    ) -> None:
        self.plan, self.keyed, self.events = of_entity(plan, keyed), keyed, events
        order = _order(entity, spine.as_of[rows])
        self.entity, self.rows = entity[order], rows[order]
        self.as_of = spine.as_of[self.rows]
        self.position = None if spine.position is None else spine.position[self.rows]

    def buckets(self) -> Iterator[Bucket]:
        """Cut between entities; rows of none are in the first bucket."""
        starts = self.events.starts
        before = np.searchsorted(self.entity, np.arange(len(starts)))
        before[0] = 0
        work = before + starts
        cuts = np.searchsorted(work, np.arange(AT_ONCE, work[-1], AT_ONCE))
        edges = np.unique(np.concatenate([[0], cuts, [len(starts) - 1]])).tolist()
        for begin, end in pairwise(edges):
            stop = len(self.entity) if end == edges[-1] else int(before[end])
            if stop > before[begin]:
                yield Bucket(slice(int(before[begin]), stop), slice(begin, end), int(work[end] - work[begin]))
        if len(edges) == 1:  # no events at all
            yield Bucket(slice(0, len(self.entity)), slice(0, 0))

    def fill(self, results: Results) -> Iterator[Mapping[str, int]]:
        """Evaluate all buckets, put their values among the results, and count how many of each were not finite.

        Those that help take a bucket each; of a hot entity's they take parts.
        """
        buckets = list(self.buckets())
        hot = [one for one in buckets if one.work > _HOT * AT_ONCE]
        yield from parallel.each(lambda one: self._fill(one, results), [one for one in buckets if one not in hot])
        yield from (self._fill(one, results) for one in hot)

    def _fill(self, bucket: Bucket, results: Results) -> dict[str, int]:
        rows, first = bucket.rows, bucket.entities.start
        position = None if self.position is None else self.position[rows]
        counts: dict[str, int] = {}
        spine = Spine(self.as_of[rows], {}, position)
        events = {self.keyed.view.name: self._part(bucket.entities)}
        made = evaluate(self.plan, spine, events, {self.keyed: self.entity[rows] - first}, counts)
        results.put(self.rows[rows], {name: made[name] for name in self.plan.outputs})
        return counts

    def _part(self, entities: slice) -> Events:
        events, starts = self.events, self.events.starts[entities.start : entities.stop + 1]
        rows = slice(int(starts[0]), int(starts[-1]))
        position = None if events.position is None else events.position[rows]
        held = events.columns
        columns = held.part(rows) if isinstance(held, TableColumns) else _Sliced(held, rows)
        return Events(starts - starts[0], events.event_time[rows], events.known_at[rows], columns, position)


def _order(entity: IntArray, as_of: IntArray) -> IntArray:
    """Permutation that puts rows in order of entity and time."""
    first, last = int(as_of.min()), int(as_of.max())
    span = last - first + 1
    if (int(entity.max()) + 2) * span >= 2**_INT64_BITS:
        return np.lexsort((as_of, entity))
    return np.argsort(entity * span + (as_of - first))


class _Sliced(Mapping[str, Values]):
    """Some rows of columns."""

    def __init__(self, columns: Mapping[str, Values], rows: slice) -> None:
        self._columns, self._rows = columns, rows
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Values:
        if name not in self._made:
            self._made[name] = self._columns[name].take(self._rows)
        found: Values = self._made[name]
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)
