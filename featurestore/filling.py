"""Keeping the online store's views what features want: which are stale, and writing their runs from the log."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import pyarrow as pa
import pyarrow.compute as pc

from featurestore.definition import SourceBy
from featurestore.log import EventLog, Origin, scan
from featurestore.log.segments import SYSTEM
from featurestore.online import OnlineStore, Piece, ViewState
from featurestore.online.signature import columns_of, fits, signature_of
from featurestore.spill import Room, Spill, ranges
from featurestore.view import KNOWN_AT, POSITION, coded, pieces_of

MOST_RUNS = 4
LONG_TAIL = 10_000
"""Events of a tail that a load makes a run of though it has no other for the view."""


@dataclass(frozen=True)
class Wanted:
    """A view that lookups read, how far back from T (microseconds; ``None``: the whole history), and since when.

    ``horizon`` is the instant before which no lookup that is allowed needs events; ``None`` if all are retained.
    """

    view: SourceBy
    reach: int | None
    horizon: int | None


def wanted(reaches: Mapping[str, tuple[SourceBy, Sequence[int | None]]], now: int, retain: int | None) -> list[Wanted]:
    """Views with the furthest reach that any service has.

    ``retain`` is how far back a lookup's ``as_of`` may lie, microseconds; ``None``: as far as there are events.
    """
    found = []
    for view, each in reaches.values():
        reach = None if None in each else max(one for one in each if one is not None)
        found.append(Wanted(view, reach, None if retain is None or reach is None else now - retain - reach))
    return found


def stale(one: Wanted, states: Mapping[str, ViewState]) -> str:
    """Why the view must be filled from the whole log; empty if what is new is enough."""
    state = states.get(one.view.name)
    if state is None:
        return "new view"
    if not state.complete:
        return "events were added without it"
    if not fits(state.signature, signature_of(one.view)):
        return "changed definition"
    held = columns_of(state.signature)
    missing = [name for name in one.view.source.fields.names if name not in held]
    if missing:
        return f"new column {', '.join(missing)}"
    if state.horizon is not None and (one.horizon is None or one.horizon < state.horizon):
        return "a lookup may look further back"
    return "many runs" if len(state.runs) >= MOST_RUNS else ""


def long_tail(one: Wanted, log: EventLog, states: Mapping[str, ViewState]) -> bool:
    """Whether the view's tail is worth a run: many events, and a tenth of all or more."""
    taken = states[one.view.name].tail_from if one.view.name in states else 0
    segments = log.segments(one.view.source.name)
    rows = sum(seg.rows for seg in segments if seg.origin == "ingest" and (seg.last_position or 0) > taken)
    return rows >= LONG_TAIL and 10 * rows >= sum(seg.rows for seg in segments)


def fill(
    one: Wanted,
    fresh: Iterable[pa.Table],
    load_id: str,
    log: EventLog,
    online: OnlineStore,
    *,
    whole: bool,
    bulk: bool,
    arrive: bool,
    room: Room,
) -> tuple[ViewState, tuple[int, ...]]:
    """Write a run of the view; gives its new state and the runs that it replaces.

    Parameters
    ----------
    fresh
        Events of this load, not in the log yet: tables that hold all events of each of their entities.
    whole
        Write all events, in place of the runs that are there; otherwise those that the view lacks.
    bulk
        Whether bulk events in the log count (a rebuild loads them anew).
    arrive
        Whether the fresh events are known no earlier than their load is published.
    room
        For the rows while they are put together.
    """
    view, source = one.view, one.view.source
    state = online.views().get(view.name, ViewState())
    columns = [*source.fields.names, KNOWN_AT]
    schema = source.fields.arrow()
    origin: Origin | None = None if whole and bulk else "ingest"
    names = columns if whole else [*columns, POSITION]
    table = log.read(source.name, columns=names, schema=schema, origin=origin, encode_strings=True)
    if not whole:
        table = table.filter(pc.greater(table.column(POSITION), state.tail_from))
    held = coded(source, table.select(columns))
    horizon = one.horizon if whole else state.horizon
    new = (table.select(columns) for table in fresh)
    runs: list[tuple[Iterable[pa.Table], bool]] = [(new, arrive)]
    if held.num_rows:
        runs = [(_together(view, held, () if arrive else new, room), False)] + (runs if arrive else [])
    for tables, arriving in runs:
        pieces = _pieces(view, tables, horizon)
        first = next(pieces, None)
        if first is not None:
            online.write_run(load_id, view.name, chain([first], pieces), arrive=arriving)
    read = [
        one for one in log.segments(source.name) if origin in (None, one.origin) or not whole
    ]  # others may be damaged
    logged = {name for segment in read for name in scan.schema_of(segment).names}
    signature = signature_of(view, logged - set(SYSTEM))
    return ViewState(horizon, source.name, signature), state.runs if whole else ()


def _pieces(view: SourceBy, tables: Iterable[pa.Table], horizon: int | None) -> Iterator[Piece]:
    """Packed events of tables, each of which holds all events of its entities."""
    for table in tables:
        if table.num_rows:
            yield from pieces_of(view, _since(table.unify_dictionaries(), view.source.event_time, horizon))


def _together(view: SourceBy, held: pa.Table, new: Iterable[pa.Table], room: Room) -> Iterator[pa.Table]:
    """All events, each entity's in one table."""
    spill = Spill(room)
    try:
        rows = room.rows(held.num_columns)
        for table in chain((held.slice(start, rows) for start in range(0, len(held), rows)), new):
            spill.add(table)
        column = view.key_columns[0]
        yield from ranges(spill, column, view.source.fields[column].kind)
    finally:
        spill.close()


def _since(table: pa.Table, event_time: str, horizon: int | None) -> pa.Table:
    if horizon is None:
        return table
    return table.filter(pc.greater_equal(table.column(event_time), pa.scalar(horizon, pa.timestamp("us", tz="UTC"))))
