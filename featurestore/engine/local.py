"""Run ``evaluate`` on this machine: read the events of the spine's entities from the log, order them, evaluate.

What is held at once are the spine, the values, and the events of a portion of the entities in each thread.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

from featurestore import parallel, values
from featurestore.definition import Source, SourceBy
from featurestore.engine.buckets import MANY_ROWS, Windows, counted, in_buckets, with_row_features, working
from featurestore.engine.portions import Portion, Room, portions_of
from featurestore.engine.results import Empty, Results, on_disk
from featurestore.evaluate import Spine
from featurestore.events import Events, IntArray
from featurestore.log import EventLog, Keys, Shelf
from featurestore.memory import usual
from featurestore.plan import Keyed, ServicePlan
from featurestore.values import DTYPES, Values
from featurestore.view import KNOWN_AT, POSITION, events_of

_COPIES = 6
"""What is made of an event on the way, times what is read of it."""
_SHARE = 4
"""Events, and values that are held in memory, take this part of it each."""
_TEXT_BYTES = 24


class LocalEngine:
    """The default engine.

    Parameters
    ----------
    memory
        What events and values may take, bytes; by default a part of what the machine has.
    folder
        Where values are put that memory does not hold; by default the system's folder for temporary files.
    """

    def __init__(self, memory: int | None = None, folder: Path | None = None) -> None:
        self._memory = usual() if memory is None else memory
        self._folder = folder

    def run(
        self, plan: ServicePlan, spine: Spine, log: EventLog, position: int, not_finite: dict[str, int]
    ) -> Mapping[str, Values]:
        """Features of each row, seeing the log up to ``position`` (or up to the spine's own position per row)."""
        views = [_View(plan, view, spine, log, position) for view in plan.views]
        cut = [portions_of(one.view, one.keys, log, position, self._room(one.view.source)) for one in views]
        few = len(spine) < MANY_ROWS and all(len(portions) == 1 for portions in cut) and _sources_once(plan)
        if few or not len(spine):
            read_once = zip(views, cut, strict=True)
            tables = {one.view.source.name: one.read(portions[0]) for one, portions in read_once}
            return over(plan, spine, tables, not_finite)
        results = Results(len(spine), self._empty(plan, len(spine)))
        with working() as threads:
            for one, portions in zip(views, cut, strict=True):
                apart = [portion for portion in portions if portion.apart]
                counted(not_finite, threads.map(lambda portion, one=one: one.fill(portion, results), apart))
                with parallel.helped(threads.map):
                    counted(not_finite, (one.fill(portion, results) for portion in portions if not portion.apart))
            pa.default_memory_pool().release_unused()  # what held events: else Arrow keeps it beside what follows
            with parallel.helped(threads.map):
                results.settle()
        return with_row_features(plan, spine, results, not_finite)

    def _room(self, source: Source) -> Room:
        fields = source.fields.fields
        read_of_each = sum(_TEXT_BYTES if one.kind == "str" else 8 for one in fields) + 8
        return Room(self._memory // _SHARE, os.cpu_count() or 1, read_of_each, read_of_each * _COPIES)

    def _empty(self, plan: ServicePlan, rows: int) -> Empty:
        """Where values are put: on the disk, where they would take too much memory."""
        if rows * sum(np.dtype(DTYPES[kind]).itemsize + 1 for kind, _ in plan.kinds.values()) <= self._memory // _SHARE:
            return np.empty
        return on_disk(self._folder)


def _sources_once(plan: ServicePlan) -> bool:
    """Whether no source is read for two views."""
    return len({view.source.name for view in plan.views}) == len(plan.views)


class _View:
    """A view's events, read portion by portion, and the windows of all rows into them."""

    def __init__(self, plan: ServicePlan, view: SourceBy, spine: Spine, log: EventLog, position: int) -> None:
        self.plan, self.view, self.spine, self.log, self.position = plan, view, spine, log, position
        self.roles = [keyed for keyed in plan.keyed if keyed.view.name == view.name]
        self.keys = [spine.columns[keyed.columns[0]] for keyed in self.roles]

    def read(self, portion: Portion) -> pa.Table:
        """Events of a portion's keys."""
        each = self.spine.position is not None
        source, shelf = self.view.source, portion.shelf
        return read(source, self.log, self.position, with_position=each, keys=portion.keys, shelf=shelf)

    def fill(self, portion: Portion, results: Results) -> dict[str, int]:
        """Put the values of a portion's rows, bucket by bucket; counts those that were not finite."""
        counts: dict[str, int] = {}
        table = self.read(portion)
        for piece in portion.pieces(self.keys, len(table)):
            for windows in self._windows(piece, table if piece is portion else self._within(piece, table)):
                counted(counts, windows.fill(results))
        return counts

    def _within(self, piece: Portion, table: pa.Table) -> pa.Table:
        return table if piece.keys is None else piece.keys.within(table)

    def _windows(self, piece: Portion, table: pa.Table) -> list[Windows]:
        asked = [
            [values.compacted(self.spine.columns[name].take(rows)) for name in keyed.columns]
            for keyed, rows in zip(self.roles, piece.rows, strict=True)
        ]
        events, entities = events_of(self.view, table, asked)
        return [
            Windows(self.plan, keyed, self.spine, rows, events, entity)
            for keyed, rows, entity in zip(self.roles, piece.rows, entities, strict=True)
            if len(rows)
        ]


def over(
    plan: ServicePlan,
    spine: Spine,
    tables: Mapping[str, pa.Table],
    not_finite: dict[str, int] | None = None,
    *,
    arranged: Callable[[Events], Events] = lambda events: events,
) -> Mapping[str, Values]:
    """Features of each row, seeing the events in these tables: by source, with ``__known_at``, in any order.

    ``arranged`` may put them in another order than S5's, or change when they were known, to see what that would change.
    """
    counts = {} if not_finite is None else not_finite
    return in_buckets(plan, spine, *gather(plan, spine, tables, arranged), counts)


def gather(
    plan: ServicePlan,
    spine: Spine,
    tables: Mapping[str, pa.Table],
    arranged: Callable[[Events], Events] = lambda events: events,
) -> tuple[dict[str, Events], dict[Keyed, IntArray]]:
    """Sorted events of the spine's entities by view, and the index of each row's entity in them by role."""
    events: dict[str, Events] = {}
    entities: dict[Keyed, IntArray] = {}
    for view in plan.views:
        roles = [keyed for keyed in plan.keyed if keyed.view.name == view.name]
        asked = [_key_columns(spine, keyed) for keyed in roles]
        found, codes = events_of(view, tables[view.source.name], asked)
        events[view.name] = arranged(found)
        entities |= dict(zip(roles, codes, strict=True))
    return events, entities


def read(
    source: Source,
    log: EventLog,
    position: int | None,
    *,
    with_position: bool = False,
    keys: Keys | None = None,
    shelf: Shelf | None = None,
) -> pa.Table:
    """Events of a source up to a position, with ``__known_at``; of some keys, or all."""
    columns = [*source.fields.names, KNOWN_AT, *([POSITION] if with_position else [])]
    schema = source.fields.arrow()
    return log.read(
        source.name, columns=columns, position=position, schema=schema, encode_strings=True, keys=keys, shelf=shelf
    )


def _key_columns(spine: Spine, keyed: Keyed) -> list[Values]:
    return [spine.columns[name] for name in keyed.columns]
