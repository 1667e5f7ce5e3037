"""Entity buckets: rows and events of one view, cut into parts that share no entity, evaluated in threads.

Rows are put in order of entity and time first, so that those of one entity find their events beside each other. Which
bucket a row falls into, and in how many threads they run, changes no bit of a value (S13).
"""

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from featurestore.evaluate import Spine, evaluate
from featurestore.events import Events, IntArray
from featurestore.plan import Keyed, RowStep, ServicePlan
from featurestore.values import Values, concatenate
from featurestore.view import TableColumns

MANY_ROWS = 1 << 14
AT_ONCE = 1 << 20
"""Rows and events of a bucket; an entity that has more is a bucket of its own."""
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
    made: dict[str, Values] = {}
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for keyed in plan.keyed:
            run = _Run(of_entity(plan, keyed), keyed, spine, events[keyed.view.name], entities[keyed])
            parts = list(threads.map(run, run.buckets()))
            columns = ([part[name] for part, _ in parts] for name in run.plan.outputs)
            made |= dict(zip(run.plan.outputs, threads.map(run.whole, columns), strict=True))
            for _, counts in parts:
                for name, count in counts.items():
                    not_finite[name] = not_finite.get(name, 0) + count
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


class _Run:
    """One view's windows for all rows."""

    def __init__(self, plan: ServicePlan, keyed: Keyed, spine: Spine, events: Events, entity: IntArray) -> None:
        self.plan, self.keyed, self.events = plan, keyed, events
        self.order = _order(entity, spine.as_of)
        self.entity, self.as_of = entity[self.order], spine.as_of[self.order]
        self.position = None if spine.position is None else spine.position[self.order]

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
                yield Bucket(slice(int(before[begin]), stop), slice(begin, end))
        if len(edges) == 1:  # no events at all
            yield Bucket(slice(0, len(self.entity)), slice(0, 0))

    def __call__(self, bucket: Bucket) -> tuple[Mapping[str, Values], dict[str, int]]:
        """Values of a bucket's rows in its order, and how many of them were not finite."""
        rows, first = bucket.rows, bucket.entities.start
        position = None if self.position is None else self.position[rows]
        counts: dict[str, int] = {}
        spine = Spine(self.as_of[rows], {}, position)
        events = {self.keyed.view.name: self._part(bucket.entities)}
        return evaluate(self.plan, spine, events, {self.keyed: self.entity[rows] - first}, counts), counts

    def whole(self, parts: list[Values]) -> Values:
        """Values of all rows, in the order in which they asked."""
        made = concatenate(parts)
        data = np.empty_like(made.data)
        data[self.order] = made.data
        if made.valid is None:
            return Values(made.kind, data, None, made.categories, made.entries)
        valid = np.empty_like(made.valid)
        valid[self.order] = made.valid
        return Values(made.kind, data, valid, made.categories, made.entries)

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
