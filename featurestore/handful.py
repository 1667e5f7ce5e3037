"""A few events on their way in, as Python scalars: for so few, the calls of Arrow and NumPy cost more than the work.

There is one truth: :mod:`featurestore.deliveries` and :mod:`featurestore.packing`, for any number of rows. What is made
here is made of the same values, and is the same, bit by bit.
"""

import functools
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import BaseModel

from featurestore import keys, rowwise, stamps
from featurestore.definition import Source, SourceBy
from featurestore.deliveries import payload_names
from featurestore.events import IntArray, order
from featurestore.hashing import row_hash
from featurestore.layout import LETTER, Layout, header, layout_of
from featurestore.online import Keys, Piece
from featurestore.schema import schema_of
from featurestore.values import ARROW_TYPES, FEW, Kind, Values
from featurestore.view import KNOWN_AT, tie_columns

_AS_IS = pa.ipc.IpcWriteOptions()  # else the environment is asked, each time
_FORMATS: Mapping[Kind, str] = {"bool": "?", "int": "q", "float": "d", "str": "i", "datetime": "q"}
Column = list[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Handful:
    """At most ``FEW`` valid rows: of each field a list of Python scalars, null as ``None``, instants as microseconds.

    ``values`` are the same columns.
    """

    source: Source
    rows: int
    columns: Mapping[str, Column]
    values: Mapping[str, Values]

    def table(self) -> pa.Table:
        """Give the rows as they are checked elsewhere: an Arrow table of the schema's columns."""
        schema = self.source.fields.arrow()
        arrays = [pa.array(self.columns[field.name], field.type) for field in schema]
        return pa.Table.from_arrays(arrays, schema=schema)

    def keys(self) -> Keys | None:
        """Hashes of keys and payloads; ``None`` where the source has no key."""
        name = self.source.key
        if name is None:
            return None
        return Keys(
            self._hashes((name,)),
            self._hashes(payload_names(self.source)),
            np.array([one is not None for one in self.columns[name]]),
        )

    def pack(self, views: Sequence[SourceBy], stamp: int, kept: IntArray) -> tuple[bytes, dict[str, list[Piece]]]:
        """Journal's payload of the rows kept, and their pieces in each view."""
        chosen = self._chosen(kept)
        known_at = stamps.known_at(self.source, chosen.values, stamp).tolist()
        columns = [*(chosen.columns[name] for name in self.source.fields.names), known_at]
        rows = pa.array(list(zip(*columns, strict=True)), _entry(self.source.schema))  # one call, not one a column
        payload = streamed(pa.RecordBatch.from_struct_array(rows))
        return payload, {view.name: chosen.pieces(view, known_at) for view in views}

    def pieces(self, view: SourceBy, known_at: Sequence[int]) -> list[Piece]:
        """Key text, newest event_time and packed events of each entity, as :func:`featurestore.view.pieces_of`."""
        texts = keys.texts_of([self.values[name] for name in view.key_columns])
        owned: dict[str, list[int]] = {}
        for row, text in enumerate(texts):
            if text is not None:
                owned.setdefault(text, []).append(row)
        event_time = self.columns[self.source.event_time]
        layout = layout_of(self._listing(known_at, [row for rows in owned.values() for row in rows]))
        pieces = []
        for text, given in owned.items():
            rows = self._in_order(given, known_at) if len(given) > 1 else given
            pieces.append((text, event_time[rows[-1]], self._blob(layout, known_at, rows)))
        return pieces

    def _hashes(self, names: Sequence[str]) -> IntArray:
        kinds = {name: self.source.fields[name].kind for name in names}
        columns = [(name, kinds[name], self.columns[name]) for name in sorted(names)]
        found = [row_hash([(name, kind, column[row]) for name, kind, column in columns]) for row in range(self.rows)]
        return np.array(found, np.uint64).view(np.int64)

    def _chosen(self, kept: IntArray) -> "Handful":
        if len(kept) == self.rows:
            return self
        rows = kept.tolist()
        columns = {name: [column[row] for row in rows] for name, column in self.columns.items()}
        return Handful(self.source, len(rows), columns, {name: one.take(kept) for name, one in self.values.items()})

    def _in_order(self, rows: list[int], known_at: Sequence[int]) -> list[int]:
        """Rows of one entity in the order of its events (S5)."""
        index = np.array(rows)
        event_time, known = self.values[self.source.event_time].data[index], np.array(known_at)[index]
        ties = [self.values[name].take(index) for name in tie_columns(self.source)]
        place = order(np.zeros(len(rows), np.int64), event_time, known, ties)
        return rows if place is None else index[place].tolist()

    def _listing(self, known_at: Sequence[int], rows: Sequence[int]) -> bytes:
        """Column list of the blobs of these rows."""
        event_time = self.columns[self.source.event_time]
        items = []
        for field in self.source.fields.fields:
            letter, column = LETTER[field.kind], self.columns[field.name]
            if field.kind == "str" and field.name == self.source.key:
                letter = "u"
            elif field.kind == "datetime" and not field.nullable:
                letter = "K" if all(column[row] == known_at[row] for row in rows) else letter
                letter = "T" if all(column[row] == event_time[row] for row in rows) else letter
            items.append(f"{field.name}:{letter}{'?' if field.masked else ''}")
        listing = ",".join(items).encode()
        return listing + b" " * (-len(listing) % 8)

    def _blob(self, layout: Layout, known_at: Sequence[int], rows: Sequence[int]) -> bytes:
        """One entity's rows, packed."""
        n, event_time = len(rows), self.columns[self.source.event_time]
        times = [*(event_time[row] for row in rows), *(known_at[row] for row in rows)]
        arrays, texts = [(0, struct.pack(f"<{2 * n}q", *times))], []
        for name, slot in layout.slots.items():
            column = [self.columns[name][row] for row in rows]
            if slot.kind == "str":
                names = (
                    sorted({one for one in column if one is not None}) if slot.width else [one or "" for one in column]
                )
                texts.append(_texts(names))
                column = [None if one is None else names.index(one) for one in column] if slot.width else column
            if slot.stride > 8:  # noqa: PLR2004 else it is one of the times
                filled = [0 if one is None else one for one in column]
                arrays.append((slot.stride, struct.pack(f"<{n}{_FORMATS[slot.kind]}", *filled)))
            if slot.known is not None:
                arrays.append((slot.known, struct.pack(f"{n}?", *(one is not None for one in column))))
        arrays.sort()
        lengths = layout.texts.pack(*map(len, texts))
        return b"".join((header(layout, n), layout.listing, *(array for _, array in arrays), lengths, *texts))


def read(rows: Any, source: Source) -> Handful | None:
    """Rows as a handful; ``None`` if they are many, or no dicts, or any of them needs a closer look."""
    given = [rows] if isinstance(rows, Mapping) else rows
    if type(given) is not list or not 0 < len(given) <= FEW:
        return None
    names = frozenset(source.fields.names)
    if not all(type(row) is dict and row.keys() <= names for row in given):
        return None
    values = rowwise.values_of(given, source.fields)
    if values is None:
        return None
    columns = {name: _micros(one) if one.kind == "datetime" else one.to_list() for name, one in values.items()}
    return Handful(source, len(given), columns, values)


def streamed(rows: pa.RecordBatch | pa.Table) -> bytes:
    """Rows as a journal keeps them: a stream of Arrow's format."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema, options=_AS_IS) as writer:
        writer.write(rows)
    return bytes(sink.getvalue().to_pybytes())


@functools.lru_cache(maxsize=256)
def _entry(model: type[BaseModel]) -> pa.StructType:
    """Type of a row in the journal: the columns of its source, and when it is known."""
    return pa.struct([*schema_of(model).arrow(), pa.field(KNOWN_AT, ARROW_TYPES["datetime"])])


def _micros(values: Values) -> Column:
    micros = values.data.tolist()
    if values.valid is None:
        return list(micros)
    return [one if known else None for one, known in zip(micros, values.valid.tolist(), strict=True)]


def _texts(names: Sequence[str]) -> bytes:
    """Names, a NUL before each; a JSON array where one of them holds another."""
    if any("\0" in name for name in names):
        return json.dumps(names).encode()
    return "".join(f"\0{name}" for name in names).encode()
