"""A view's events out of a table of its source: sorted for ``evaluate``, or packed per entity for the online store."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from featurestore import events as event_order
from featurestore import keys, values
from featurestore.definition import Source, SourceBy
from featurestore.events import Events, IntArray
from featurestore.packing import pack_many
from featurestore.schema import Schema
from featurestore.values import Values

KNOWN_AT = "__known_at"
POSITION = "__position"
MANY_EVENTS = 1 << 20


def events_of(view: SourceBy, table: pa.Table, asked: Sequence[Sequence[Values]]) -> tuple[Events, list[IntArray]]:
    """Sorted events of the entities that the rows ask for, and for each role the index of each row's entity."""
    schema = view.source.fields
    rows = [len(columns[0]) for columns in asked]
    spine = [values.concatenate([columns[number] for columns in asked]) for number in range(len(view.key_columns))]
    there = [_converted(table, schema, column) for column in view.key_columns]
    found = keys.grouped(spine[0], there[0]) if len(there) == 1 else None
    asking, owner, count = keys.codes_of(spine, there) if found is None else _owners(*found)
    chosen = np.flatnonzero(owner >= 0)
    index: IntArray | None = None if len(chosen) == len(owner) else chosen
    event_time = _converted(table, schema, view.source.event_time).data
    known_at = values.from_arrow(table.column(KNOWN_AT), "datetime", nullable=False).data
    if index is not None:
        owner, event_time, known_at = owner[index], event_time[index], known_at[index]
    place = event_order.order(owner, event_time, known_at, Ties(view.source, table, index))
    if place is not None:
        owner, event_time, known_at = owner[place], event_time[place], known_at[place]
        index = place if index is None else index[place]
    position = table.column(POSITION).to_numpy() if POSITION in table.column_names else None
    if position is not None and index is not None:
        position = position[index]
    starts = np.searchsorted(owner, np.arange(count + 1))
    events = Events(starts.astype(np.int64), event_time, known_at, TableColumns(schema, table, index), position)
    return events, np.split(asking, np.cumsum(rows)[:-1])


def _owners(asking: IntArray, starts: IntArray) -> tuple[IntArray, IntArray, int]:
    """Number the entities that rows ask for alone, unless most of many events are theirs: then all are kept."""
    count = len(starts) - 1
    wanted = np.zeros(count, np.bool_)
    wanted[asking[asking >= 0]] = True
    lengths = np.diff(starts)
    if wanted.all() or (starts[-1] > MANY_EVENTS and 2 * lengths[wanted].sum() > starts[-1]):
        return asking, np.repeat(np.arange(count), lengths), count
    number = np.where(wanted, np.cumsum(wanted) - 1, -1)
    return np.where(asking < 0, -1, number[asking]), np.repeat(number, lengths), int(wanted.sum())


def pieces_of(view: SourceBy, table: pa.Table) -> Iterator[tuple[str, int, bytes]]:
    """Key text, newest event_time and packed events of each entity, in blocks; events with a null key are of none."""
    columns = [_converted(table, view.source.fields, column) for column in view.key_columns]
    events, (owner,) = events_of(view, table, [columns])
    entities, rows = np.unique(owner, return_index=True)
    texts = keys.texts_of([column.take(rows[entities >= 0]) for column in columns])
    for entity, newest, blob in pack_many(events, view.source.fields):
        yield str(texts[entity]), newest, blob


class TableColumns(Mapping[str, Values]):
    """Columns of a table at an index, converted when they are asked for."""

    def __init__(self, schema: Schema, table: pa.Table, index: IntArray | None) -> None:
        self._schema = schema
        self._table = table
        self._index = index
        self._made: dict[str, Values] = {}

    def __getitem__(self, name: str) -> Values:
        """Values of a column."""
        if name not in self._made:
            whole = _converted(self._table, self._schema, name)
            self._made[name] = whole if self._index is None else whole.take(self._index)
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        """Column names in schema order."""
        return iter(self._schema.names)

    def __len__(self) -> int:
        """Columns."""
        return len(self._schema.names)


class Ties(Sequence[Values]):
    """What decides the order of events with equal times (S5), converted only where there are such."""

    def __init__(self, source: Source, table: pa.Table, index: IntArray | None) -> None:
        self._names = tie_columns(source)
        self._columns = TableColumns(source.fields, table, index)

    def __getitem__(self, number: Any) -> Any:
        """Values of the columns in that place of the order."""
        return self._columns[self._names[number]]

    def __len__(self) -> int:
        """Columns that decide."""
        return len(self._names)


def tie_columns(source: Source) -> tuple[str, ...]:
    """Return what decides after event_time and known_at: the other columns in schema order (S5)."""
    return tuple(name for name in source.fields.names if name != source.event_time)


def _converted(table: pa.Table, schema: Schema, name: str) -> Values:
    field = schema[name]
    return values.from_arrow(table.column(name), field.kind, nullable=field.nullable)
