"""A view's events out of a table of its source: sorted for ``evaluate``, or packed per entity for the online store."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
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
MANY_EVENTS = 1 << 16


def events_of(view: SourceBy, table: pa.Table, asked: Sequence[Sequence[Values]]) -> tuple[Events, list[IntArray]]:
    """Sorted events of the entities that the rows ask for, and for each role the index of each row's entity."""
    schema = view.source.fields
    rows = [len(columns[0]) for columns in asked]
    spine = [values.concatenate([columns[number] for columns in asked]) for number in range(len(view.key_columns))]
    there = [_converted(table, schema, column) for column in view.key_columns]
    found = keys.grouped(spine[0], there[0]) if len(there) == 1 else None
    if found is not None and _most_asked(*found):
        whole = _as_it_is(view, table, found[1])
        if whole is not None:
            return whole, np.split(found[0], np.cumsum(rows)[:-1])
    asking, owner, count = keys.codes_of(spine, there) if found is None else _owners(*found)
    return _sorted(view, table, owner, count)[0], np.split(asking, np.cumsum(rows)[:-1])


def pieces_of(view: SourceBy, table: pa.Table) -> Iterator[tuple[str, int, bytes]]:
    """Key text, newest event_time and packed events of each entity, in blocks; events with a null key are of none."""
    schema = view.source.fields
    owner, count = keys.own_codes([_converted(table, schema, column) for column in view.key_columns])
    events, index = _sorted(view, table, owner, count)
    texts = keys.texts_of([events.columns[column].take(events.starts[:-1]) for column in view.key_columns])
    key = [name for name in (view.source.key,) if name is not None and schema[name].kind == "str"]
    distinct = {name: _plain(table.column(name), index) for name in key}
    for entity, newest, blob in pack_many(events, schema, distinct=distinct):
        yield str(texts[entity]), newest, blob


def _plain(column: pa.ChunkedArray, index: IntArray | None) -> pa.ChunkedArray:
    """Texts at an index."""
    texts = column.cast(pa.string())
    return texts if index is None else texts.take(pa.array(index))


def _sorted(view: SourceBy, table: pa.Table, owner: IntArray, count: int) -> tuple[Events, IntArray | None]:
    """Events in order, those without an entity left out, and their rows; ``owner`` is each one's entity, or -1."""
    schema = view.source.fields
    chosen = np.flatnonzero(owner >= 0)
    index: IntArray | None = None if len(chosen) == len(owner) else chosen
    event_time = _converted(table, schema, view.source.event_time).data
    known_at = values.from_arrow(table.column(KNOWN_AT), "datetime", nullable=False).data
    if index is not None:
        owner, event_time, known_at = owner[index], event_time[index], known_at[index]
    place = event_order.order(owner, event_time, known_at, ties_of(view.source, table, index))
    if place is not None:
        owner, event_time, known_at = owner[place], event_time[place], known_at[place]
        index = place if index is None else index[place]
    position = table.column(POSITION).to_numpy() if POSITION in table.column_names else None
    if position is not None and index is not None:
        position = position[index]
    starts = np.searchsorted(owner, np.arange(count + 1))
    return Events(starts.astype(np.int64), event_time, known_at, TableColumns(schema, table, index), position), index


def _most_asked(asking: IntArray, starts: IntArray) -> bool:
    """Whether most of many events are of entities that rows ask for: to leave the others out would cost more."""
    return bool(starts[-1] > MANY_EVENTS and 2 * np.diff(starts)[_wanted(asking, starts)].sum() > starts[-1])


def _wanted(asking: IntArray, starts: IntArray) -> np.ndarray[Any, np.dtype[np.bool_]]:
    wanted = np.zeros(len(starts) - 1, np.bool_)
    wanted[asking[asking >= 0]] = True
    return wanted


def _as_it_is(view: SourceBy, table: pa.Table, starts: IntArray) -> Events | None:
    """Events of a table that lies in order, entity by entity; ``None`` if it does not."""
    event_time = _converted(table, view.source.fields, view.source.event_time).data
    known_at = values.from_arrow(table.column(KNOWN_AT), "datetime", nullable=False).data
    known_at = event_time if np.array_equal(event_time, known_at) else known_at  # one of them is held then
    rises = event_time[1:] > event_time[:-1]
    rises[starts[1:-1] - 1] = True  # from one entity to the next
    ahead = np.flatnonzero(~rises)
    if (event_time[ahead + 1] < event_time[ahead]).any():
        return None
    tied = np.unique([ahead, ahead + 1])
    owner = np.searchsorted(starts, tied, side="right")
    if event_order.order(owner, event_time[tied], known_at[tied], ties_of(view.source, table, tied)) is not None:
        return None
    position = table.column(POSITION).to_numpy() if POSITION in table.column_names else None
    return Events(starts, event_time, known_at, TableColumns(view.source.fields, table, None), position)


def _owners(asking: IntArray, starts: IntArray) -> tuple[IntArray, IntArray, int]:
    """Each row's entity and each event's, and how many there are: those that rows ask for alone, -1 for the others."""
    wanted = _wanted(asking, starts)
    number = np.where(wanted, np.cumsum(wanted) - 1, -1)
    return np.where(asking < 0, -1, number[asking]), np.repeat(number, np.diff(starts)), int(wanted.sum())


def coded(source: Source, table: pa.Table) -> pa.Table:
    """Give a table's strings as codes, but for those of the source's key as they are: these hardly repeat."""
    for place, field in enumerate(table.schema):
        column = table.column(place)
        if field.name == source.key and pa.types.is_dictionary(field.type):
            table = table.set_column(place, field.name, column.cast(pa.string()))
        elif field.name != source.key and field.type == pa.string():
            table = table.set_column(place, field.name, column.dictionary_encode())
    return table


class TableColumns(Mapping[str, Values]):
    """Columns of a table at an index, converted when they are asked for."""

    def __init__(self, schema: Schema, table: pa.Table, index: IntArray | None) -> None:
        self._schema = schema
        self._table = table
        self._index = index
        self._made: dict[str, Values] = {}
        self._sharing = Lock()

    def part(self, rows: slice) -> Mapping[str, Values]:
        """Columns of some rows; threads may ask for several parts at once."""
        return TablePart(self, self._schema, None if self._index is not None else self._table, rows, self._sharing)

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


@dataclass(frozen=True, slots=True, eq=False)
class Tie:
    """A column of a table at an index, converted only at the rows that are asked for."""

    schema: Schema
    table: pa.Table
    index: IntArray | None
    name: str

    def take(self, index: IntArray, /) -> Values:
        """Values at some rows."""
        rows = index if self.index is None else self.index[index]
        return _converted(self.table.select([self.name]).take(pa.array(rows)), self.schema, self.name)


class TablePart(Mapping[str, Values]):
    """Some rows of a table's columns: numbers are converted alone, texts with those of the other parts."""

    def __init__(self, whole: TableColumns, schema: Schema, table: pa.Table | None, rows: slice, sharing: Lock) -> None:
        self._whole, self._schema, self._table, self._rows, self._sharing = whole, schema, table, rows, sharing
        self._made: dict[str, Values] = {}

    def __getitem__(self, name: str) -> Values:
        """Values of a column."""
        if name not in self._made:
            self._made[name] = self._values(name)
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        """Column names in schema order."""
        return iter(self._schema.names)

    def __len__(self) -> int:
        """Columns."""
        return len(self._schema.names)

    def _values(self, name: str) -> Values:
        if self._table is not None and name in self._schema.names and self._schema[name].kind != "str":
            alone = self._table.select([name]).slice(self._rows.start, self._rows.stop - self._rows.start)
            return _converted(alone, self._schema, name)
        with self._sharing:
            return self._whole[name].take(self._rows)


def ties_of(source: Source, table: pa.Table, index: IntArray | None) -> list[Tie]:
    """What decides the order of events with equal times (S5)."""
    return [Tie(source.fields, table, index, name) for name in tie_columns(source)]


def tie_columns(source: Source) -> tuple[str, ...]:
    """Return what decides after event_time and known_at: the other columns in schema order (S5)."""
    return tuple(name for name in source.fields.names if name != source.event_time)


def _converted(table: pa.Table, schema: Schema, name: str) -> Values:
    field = schema[name]
    return values.from_arrow(table.column(name), field.kind, nullable=field.nullable)
