"""What tells events apart: hashes of their keys and payloads, the same for two deliveries of one event (S6)."""

import functools
from typing import Any

import numpy as np
import pyarrow as pa

from featurestore import values
from featurestore.definition import Source
from featurestore.events import IntArray
from featurestore.hashing import row_hashes
from featurestore.values import Values

_KEYED_BY = "__keyed_by"  # no column's name: pydantic has no fields that begin with an underscore


def column(source: Source, table: pa.Table, name: str) -> Values:
    """Values of a column of a source's table."""
    one = source.fields[name]
    return values.from_arrow(table.column(name), one.kind, nullable=one.nullable)


def key_column(source: Source, table: pa.Table) -> Values:
    """Values of the key column of a source that has one."""
    return column(source, table, str(source.key))


def has_key(source: Source, table: pa.Table) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Whether each row's key is not null."""
    return np.asarray(table.column(str(source.key)).is_valid().to_numpy())


def key_hashes(source: Source, table: pa.Table) -> IntArray:
    """Hash of each row's key; the column's name is part of it."""
    return row_hashes({str(source.key): _hashable(source, table, str(source.key))})


def payload_names(source: Source) -> tuple[str, ...]:
    """Columns that two deliveries of one event agree in: all but the declared known_at, which is no fact of its own.

    Where one column is both times, it counts.
    """
    return tuple(name for name in source.fields.names if name == source.event_time or name != source.known_at)


def payload_hashes(source: Source, table: pa.Table) -> IntArray:
    """Hash of each row's payload."""
    return row_hashes({name: _hashable(source, table, name) for name in payload_names(source)})


def _hashable(source: Source, table: pa.Table, name: str) -> Values | pa.Array:
    """A column as it is hashed: texts as they are, anything else as values."""
    return table.column(name).combine_chunks() if source.fields[name].kind == "str" else column(source, table, name)


@functools.lru_cache(maxsize=256)
def mark(key: str) -> IntArray:
    """Hash, shape ``(1,)``, that stands among a source's keys if these are of the column ``key``."""
    return row_hashes({_KEYED_BY: values.from_list("str", [key], nullable=False)})
