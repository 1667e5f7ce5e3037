"""Spines made from the log: each entity at regular instants, or one row per event of a source."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from featurestore import times
from featurestore.definition import Entity, Source, SourceBy
from featurestore.errors import RequestError
from featurestore.events import IntArray
from featurestore.log import EventLog
from featurestore.values import ARROW_TYPES
from featurestore.view import KNOWN_AT
from featurestore.visibility import known_from

TIME = "event_time"
_DAY = 86_400_000_000
_FIRST = "__first"
_MOST = 10_000_000
_NULL_FIRST = (("there", pc.is_valid), ("value", lambda column: column))  # as events stand in order (S5)


def of_entity(
    entity: Entity,
    views: Sequence[SourceBy],
    log: EventLog,
    position: int,
    *,
    every: int,
    start: int | None,
    end: int | None,
) -> pa.Table:
    """Each entity that is known, at each instant ``start, start + every, ...`` before ``end``; microseconds UTC.

    An entity is known as of T if one of the views has an event of it that counts for T (S3). Columns are its key and
    ``event_time``; rows stand in order of time, then of the key. By default ``start`` is the midnight before the first
    event, and ``end`` lies just after the newest known_at.

    Raises
    ------
    RequestError
        If nothing is declared of the entity, ``every`` is zero, or ``end`` lies before ``start``.
    """
    if not views:
        raise RequestError(f"No feature or label is declared by {entity.name!r}: so no source is known to hold it.")
    if every <= 0:
        raise RequestError("every= is zero long: give a duration such as '7d'.")
    tables = [_keys_and_times(view, log, position) for view in views]
    happened = np.concatenate([_micros(one, view.source.event_time) for one, view in zip(tables, views, strict=True)])
    known = np.concatenate([_micros(one, KNOWN_AT) for one in tables])
    if not len(happened):
        start = end = 0
    begin = int(happened.min()) // _DAY * _DAY if start is None else start
    stop = int(known.max()) + 1 if end is None else end
    if (stop - begin) // every > _MOST:
        raise RequestError(
            f"every={times.format_duration(every)} gives more than {_MOST:,} instants: give a longer one."
        )
    if stop < begin:
        raise RequestError(f"end={times.isoformat(stop)} lies before start={times.isoformat(begin)}.")
    entities = _first_known(entity, views, tables)
    instants = np.arange(begin, stop, every, dtype=np.int64)
    since = np.searchsorted(instants, entities.column(_FIRST).to_numpy())
    row, at = _each_from(since, len(instants))
    made = entities.drop_columns([_FIRST]).take(pa.array(row))
    return made.append_column(TIME, pa.array(instants[at]).cast(ARROW_TYPES["datetime"]))


def of_source(
    source: Source, views: Sequence[SourceBy], log: EventLog, position: int, *, start: int | None, end: int | None
) -> pa.Table:
    """One row per event with ``start <= event_time < end``: entity keys, ``event_time``, the source's other columns.

    Keys have the names that their entities give them. Rows stand in order of time, then of the other columns. Asked as
    of its own ``event_time`` an event does not see itself, unless the source is inclusive.

    Raises
    ------
    RequestError
        If two columns would have one name.
    """
    names = _names(source, views)
    table = log.read(
        source.name, columns=[*source.fields.names, KNOWN_AT], position=position, schema=source.fields.arrow()
    )
    at = _micros(table, source.event_time)
    inside = np.ones(len(at), np.bool_)
    for edge, keep in ((start, np.greater_equal), (end, np.less)):
        inside &= True if edge is None else keep(at, edge)
    table = table.filter(pa.array(inside))
    order = [source.event_time, KNOWN_AT, *(one for one in source.fields.names if one != source.event_time)]
    ranks = {f"{name} {what}": find(table.column(name)) for name in order for what, find in _NULL_FIRST}
    table = table.take(pc.sort_indices(pa.table(ranks), [(name, "ascending") for name in ranks]))
    return pa.table([table.column(column) for column in names.values()], names=list(names))


def _names(source: Source, views: Sequence[SourceBy]) -> Mapping[str, str]:
    """The spine's columns in order, and the source's own that each is."""
    keys = {key: view.source.column_of(key) for view in views for key in view.entity.key}
    names = {**keys, TIME: source.event_time}
    rest = [one for one in source.fields.names if one not in names.values()]
    clash = sorted({*rest} & {*names}) + ([TIME] if TIME in keys else [])
    if clash:
        raise RequestError(
            f"A spine of {source.name!r} needs {', '.join(clash)} for an entity's key or the time, and the source has "
            "another column of that name: write the spine in SQL."
        )
    return {**names, **{one: one for one in rest}}


def _first_known(entity: Entity, views: Sequence[SourceBy], tables: Sequence[pa.Table]) -> pa.Table:
    """Each entity's key and the first instant as of which it is known, in order of the key; null keys are of none."""
    parts = []
    for view, table in zip(views, tables, strict=True):
        counts = known_from(
            _micros(table, view.source.event_time), _micros(table, KNOWN_AT), inclusive=view.source.inclusive
        )
        keys = [table.column(column) for column in view.key_columns]
        parts.append(pa.table([*keys, pa.array(counts)], names=[*entity.key, _FIRST]).drop_null())
    whole = pa.concat_tables(parts).group_by(list(entity.key)).aggregate([(_FIRST, "min")])
    ordered = whole.sort_by([(key, "ascending") for key in entity.key])
    return ordered.rename_columns([*entity.key, _FIRST]).combine_chunks()


def _each_from(since: IntArray, instants: int) -> tuple[IntArray, IntArray]:
    """Row and instant of each pair with ``instant >= since[row]``, in order of instants, then of rows."""
    counts = instants - since
    row = np.repeat(np.arange(len(since)), counts)
    at = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts - since, counts)
    order = np.argsort(at, kind="stable")
    return row[order], at[order]


def _keys_and_times(view: SourceBy, log: EventLog, position: int) -> pa.Table:
    columns = dict.fromkeys([*view.key_columns, view.source.event_time, KNOWN_AT])
    return log.read(view.source.name, columns=list(columns), position=position, schema=view.source.fields.arrow())


def _micros(table: pa.Table, column: str) -> IntArray:
    return np.asarray(table.column(column).cast(pa.int64()).to_numpy(), np.int64)
