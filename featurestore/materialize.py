"""New source rows into the event log and the online store; repeatable, incremental, and safe to interrupt.

A load is written beside what is there, then published in two steps: the online store gives it its position, then the
log's catalogue takes that position. A load that was cut short between the two is finished by the next writer; any
other is dropped.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import chain

import numpy as np
import pyarrow as pa

from featurestore import events as event_order
from featurestore import filling, keys, known, times, values
from featurestore.ahead import ahead, mapped
from featurestore.arrivals import Arrived, Terms, arrived
from featurestore.compatible import check_schema
from featurestore.definition import Source, SourceBy
from featurestore.errors import OperationError, StoreDamaged
from featurestore.events import IntArray
from featurestore.filling import Wanted
from featurestore.ingest import take_over
from featurestore.log import EventLog, Kind, Load
from featurestore.online import KnownKeys, OnlineStore, State, ViewState
from featurestore.online.keys import merged, worth_merging
from featurestore.spill import Room, Spill, ranges, room_at
from featurestore.view import KNOWN_AT, TableColumns, coded, ties_of

Progress = Callable[[str], None]
_ATTEMPTS = 5


@dataclass(frozen=True)
class SourceReport:
    """What a materialization did for one source; ``known_at`` says which rule stamped its events (S2).

    ``forgotten`` rows were left out: they are of entities that ``forget`` was called for.
    """

    source: str
    rows: int
    duplicates: int
    quarantined: int
    vanished: tuple[str, ...]
    known_at: str
    forgotten: int = 0


@dataclass(frozen=True)
class Materialized:
    """Newest position, and what was done; views filled anew are named with the reason."""

    position: int
    sources: tuple[SourceReport, ...]
    taken_over: int = 0
    filled: Mapping[str, str] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """New events in all."""
        return sum(one.rows for one in self.sources)


def recover(log: EventLog, online: OnlineStore) -> None:
    """Finish or drop the loads that a killed process left; the caller holds the log's lock.

    Raises
    ------
    StoreDamaged
        If the log ends before what the online store knows to be in it.
    """
    for load in log.unfinished():
        published = online.published(load.id) if load.state == "prepared" else None
        if published is None:
            online.abandon(load.id)
            load.discard()
        else:
            load.publish(published.position, published.stamp)
    if online.logged() > log.position:
        raise StoreDamaged(
            f"The event log {log.folder} ends at position {log.position}; the online store knows it up to "
            f"{online.logged()}: the log is of an older backup. Restore both from one backup. Or delete the online "
            "store, which goes back to the log as it is, without what was ingested since."
        )


def materialize(
    sources: Sequence[Source],
    wanted: Sequence[Wanted],
    log: EventLog,
    online: OnlineStore,
    terms: Terms,
    *,
    progress: Progress = lambda text: None,  # noqa: ARG005 - named for who reads the signature
) -> Materialized:
    """Load what is new in ``sources``, and bring the online store's views up to what features want.

    The caller holds the log's lock. With bad rows, conflicts or unreadable sources nothing changes at all. After
    ``key=`` of a source has changed, the keys of all its events are made again, and what comes is compared with them.

    A rebuild reads the sources anew. A row that was there before (the same payload, the k-th of several to the k-th)
    keeps its known_at, so that an arrival that was observed stays observed (S2); a row that was not is history: its
    declared known_at, or event_time and the delay. With ``history`` too, that holds for all rows.
    """
    recover(log, online)
    taken = take_over(sources, log, online, terms.stamp)
    for source in sources:
        check_schema(source, log, origin="ingest" if terms.rebuild else None)
    for _ in range(_ATTEMPTS):
        with room_at(log.folder / "spill", terms.memory) as room:
            done = _Loading(sources, wanted, log, online, terms, progress, room).run()
        if done is not None:
            return replace(done, taken_over=taken)
        taken += take_over(sources, log, online, terms.stamp)
    raise OperationError(
        f"Keys of this load kept arriving by ingest; after {_ATTEMPTS} attempts nothing was loaded. Try again."
    )


class _Loading:
    """One attempt at a load."""

    def __init__(
        self,
        sources: Sequence[Source],
        wanted: Sequence[Wanted],
        log: EventLog,
        online: OnlineStore,
        terms: Terms,
        progress: Progress,
        room: Room,
    ) -> None:
        self.sources, self.terms, self.progress, self.room = sources, terms, progress, room
        self.views_read, self.wanted = wanted, wanted if terms.online else ()
        self.log, self.online = log, online
        # What is compared holds all events up to here: a key that is appended later and is in the load stops it.
        self.expected = log.taken_over
        self.states = online.views()
        self.stale = {one.view.name: filling.stale(one, self.states) for one in self.wanted}
        self.found: list[Arrived] = []
        self.written: dict[str, Spill] = {}
        self.views: dict[str, ViewState] = {}
        self.replaced: list[int] = []
        self.unkeyed = {one.name for one in sources if not known.keyed(one, online)}
        self.keys: dict[str, Iterator[KnownKeys]] = {}

    def run(self) -> Materialized | None:
        """Do it; ``None`` if a key of it was ingested meanwhile, so that all must be compared again."""
        for source in self.sources:
            if not source.fed_by_ingest:
                self.progress(f"reading {source.name}")
                self.found.append(arrived(source, self.log, self.online, self.terms, self.room))
        self.keys = {source.name: self._keys_of(source) for source in self.sources}
        state = self.online.state()
        views = any(self.stale.values()) or any(map(self._appended, self.wanted))
        if views or any(map(self._touches, self.found)) or any(map(self._keys_anew, self.sources)):
            published = self._load()
            if published is None:
                return None
            state = published
            self.progress("tidying up")
            self._tidy()
        reports = tuple(_report(one, max(state.stamp, self.terms.stamp)) for one in self.found)
        filled = {name: reason for name, reason in self.stale.items() if reason}
        return Materialized(state.position, reports, filled=filled)

    def _touches(self, one: Arrived) -> bool:
        return bool(one.rows or one.parts or one.bad or self.terms.rebuild)

    def _appended(self, one: Wanted) -> bool:
        """Whether a view has a tail that is better a run: many events, in proportion to those that loads wrote."""
        return filling.long_tail(one, self.log, self.states)

    def _load(self) -> State | None:
        """Write, then publish; whatever fails before leaves nothing."""
        kind: Kind = "rebuild" if self.terms.rebuild else "bulk"
        load = self.log.begin(kind, at=self.terms.stamp, history=self.terms.history)
        try:
            self.online.begin_load(load.id)
            for one in filter(self._touches, self.found):
                self.progress(f"writing {one.rows:,} events of {one.source.name}")
                self._write(one, load)
            for name, parts in self.keys.items():
                if (first := next(parts, None)) is not None:
                    self.online.write_keys(load.id, name, chain([first], parts))
            published = self._publish_online(load)
        except BaseException:
            if self.online.published(load.id) is None:
                self._drop(load)
            raise
        if published is None:
            self._drop(load)
        else:
            load.publish(published.position, published.stamp)
        return published

    def _write(self, one: Arrived, load: Load) -> None:
        """Segment, file records and bad rows of a source's new events; its first view is filled from them meanwhile."""
        name = one.source.name
        tables = load.write_passing(
            self._ordered(one),
            source=name,
            origin="bulk",
            part=None,
            event_time=one.source.event_time,
            arrive=not one.history,
        )
        with closing(ahead(tables)) as written:
            for view in self._views_of(one.source)[:1] if one.rows else ():
                self._fill(view, written, load)
            for _ in written:
                pass
        one.read.close()
        for part, digest, rows in one.parts:
            load.add_part(name, part.name, part.size, part.mtime_ns, digest, rows)
        bad = [
            {"file": row.file, "row": row.row, "column": row.column, "rule": row.rule, "value": row.value}
            for row in one.bad
        ]
        load.add_quarantined(name, bad)

    def _ordered(self, one: Arrived) -> Iterator[pa.Table]:
        """New events in the order of the log, which is that of the first view too; put aside if there are others."""
        source, entity = one.source, self._entity_columns(one.source)
        first = (*entity, source.event_time)[0]
        if len(self._views_of(source)) > 1:
            self.written[source.name] = Spill(self.room)
        parts = ranges(one.read, first, source.fields[first].kind, one.tables)
        for table in mapped(lambda part: _sorted(source, entity, part), parts):
            if source.name in self.written:
                self.written[source.name].add(table)
            yield table

    def _views_of(self, source: Source) -> list[Wanted]:
        return [one for one in self.wanted if one.view.source is source]

    def _fresh(self, view: SourceBy) -> Iterable[pa.Table]:
        """New events for a view that is not the first of its source, each entity's in one table."""
        source, column = view.source, view.key_columns[0]
        written = self.written.get(source.name)
        if written is None or column == self._entity_columns(source)[0]:
            return written or ()
        return ranges(written, column, source.fields[column].kind)

    def _keys_anew(self, source: Source) -> bool:
        """Whether the store's keys of a source are made again: in a rebuild, or since they are of another column."""
        one = self._found_of(source)
        if self.terms.rebuild and one is not None:
            return True
        return source.name in self.unkeyed and bool(self.log.rows(source.name) or (one and one.rows))

    def _keys_of(self, source: Source) -> Iterator[KnownKeys]:
        """Keys that this load writes: of its rows and of small loads before it; of all where they are made again."""
        one = self._found_of(source)
        own = iter(()) if one is None else one.keys()
        if source.key is None:
            return own
        if self._keys_anew(source):
            again = known.keys_again(source, self.log, rebuild=self.terms.rebuild and one is not None)
            return merged([own, [again]])
        runs = worth_merging(self.online.key_runs(source.name), 0 if one is None else one.rows)
        self.replaced += runs
        return merged([own, *map(self.online.keys_of_run, runs)])

    def _found_of(self, source: Source) -> Arrived | None:
        return next((one for one in self.found if one.source is source), None)

    def _publish_online(self, load: Load) -> State | None:
        grown = {one.source.name for one in self.found if one.rows}
        rebuild = self.terms.rebuild
        for one in self.wanted:
            due = self.stale[one.view.name] or rebuild or one.view.source.name in grown or self._appended(one)
            if due and one.view.name not in self.views:
                self._fill(one, self._fresh(one.view), load)
        for source in filter(self._keys_anew, self.sources):
            self.replaced += self.online.key_runs(source.name)
        load.prepare()
        arrivals = any(not one.history and one.rows for one in self.found)
        return self.online.publish_load(
            load.id,
            views=self.views,
            sources={one.source.name for one in self.found if one.rows or rebuild},
            replaces=self.replaced,
            tail_upto=self.log.taken_over if self.views else None,
            advances=bool(grown) or rebuild,
            stamp=max(self.terms.stamp, self.terms.now()) if arrivals else None,
            expect_position=self.expected,
        )

    def _fill(self, one: Wanted, fresh: Iterable[pa.Table], load: Load) -> None:
        """Write a run of a view."""
        self.progress(f"filling online view {one.view.name}")
        found, rebuild = self._found_of(one.view.source), self.terms.rebuild
        self.views[one.view.name], replaced = filling.fill(
            one,
            fresh,
            load.id,
            self.log,
            self.online,
            whole=bool(self.stale[one.view.name]) or rebuild,
            bulk=not rebuild,
            arrive=found is not None and not found.history,
            room=self.room,
        )
        self.replaced += replaced

    def _drop(self, load: Load) -> None:
        self.online.abandon(load.id)
        load.discard()

    def _tidy(self) -> None:
        for source in self.sources:
            names = [*self._entity_columns(source), source.event_time, KNOWN_AT]
            sort = [(name, "ascending") for name in names]
            self.log.compact(source.name, sort, at=self.terms.stamp, schema=source.fields.arrow())
        self.log.collect_garbage(at=self.terms.stamp)

    def _entity_columns(self, source: Source) -> tuple[str, ...]:
        """Key columns of the view that the source's segments are sorted for: the first one that a service reads."""
        return next((one.view.key_columns for one in self.views_read if one.view.source is source), ())


def _sorted(source: Source, entity_columns: Sequence[str], table: pa.Table) -> pa.Table:
    """Rows in the order of the log, their texts as codes."""
    whole = coded(source, table).unify_dictionaries().combine_chunks()
    place = _log_order(source, whole, entity_columns)
    return whole if place is None else whole.take(pa.array(place))


def _log_order(source: Source, table: pa.Table, entity_columns: Sequence[str]) -> IntArray | None:
    """Sort by entity, then as S5 says, so that equal loads are equal files and readers find events in order."""
    event_time = values.from_arrow(table.column(source.event_time), "datetime", nullable=False).data
    known = values.from_arrow(table.column(KNOWN_AT), "datetime", nullable=False).data
    columns = TableColumns(source.fields, table, None)
    key = [columns[name] for name in entity_columns]
    entity = keys.own_codes(key)[0] if key else np.zeros(len(known), np.int64)
    return event_order.order(entity, event_time, known, ties_of(source, table, None))


def _report(one: Arrived, stamp: int) -> SourceReport:
    source = one.source
    if not one.history:
        rule = f"load time {times.isoformat(stamp)}"
    elif source.known_at is not None:
        rule = f"column {source.known_at}"
    else:
        rule = source.event_time + (f" + {times.format_duration(source.delay)}" if source.delay else "")
    if one.as_before:
        rule += f"; {one.as_before} rows as they were"
    bad_rows = len({(bad.file, bad.row) for bad in one.bad})
    return SourceReport(source.name, one.rows, one.duplicates, bad_rows, one.vanished, rule, one.forgotten)
