"""A hash of what a table holds: the same for the same rows in the same order, whoever made the table."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_PART = 1 << 16
"""Rows that are looked at together: a multiple of eight, so that their bits are whole bytes."""


def content_hash(table: pa.Table) -> str:
    """Hash of names, types, nulls and values, row by row in order; how the table is chunked does not matter."""
    return content_hash_of(column_hashes(table))


def column_hashes(table: pa.Table) -> list[bytes]:
    """Hash of each column alone."""
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        return list(threads.map(_column_hash, table.column_names, table.columns))


def content_hash_of(hashes: Iterable[bytes]) -> str:
    """Content hash of a table whose columns have these."""
    return hashlib.sha256(b"".join(hashes)).hexdigest()


def _column_hash(name: str, column: pa.ChunkedArray) -> bytes:
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    digest = hashlib.sha256(json.dumps([name, str(kind).removeprefix("large_"), len(column)]).encode())
    for part in _parts(column):
        digest.update(_there(part))
    if _is_text(kind):
        for content in (_lengths, _texts):
            for part in _parts(column):
                digest.update(content(_filled(part)))
    elif _is_plain(kind):
        for part in _parts(column):
            digest.update(_bytes_of(part))
    else:
        digest.update(_bytes_of(column.combine_chunks()))
    return digest.digest()


def _parts(column: pa.ChunkedArray) -> Iterator[pa.Array]:
    """Rows of a column, some at a time: their bytes, one after another, are those of all rows."""
    for start in range(0, len(column), _PART):
        some = column.slice(start, _PART)
        part = some.chunk(0) if some.num_chunks == 1 else some.combine_chunks()
        yield part.cast(part.type.value_type) if pa.types.is_dictionary(part.type) else part


def _there(part: pa.Array) -> Any:
    """A bit of each row: whether it has a value."""
    known = pc.is_valid(part).to_numpy(zero_copy_only=False) if part.null_count else np.ones(len(part), np.bool_)
    return np.packbits(known).data


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_plain(kind: pa.DataType) -> bool:
    """Whether each row is so many bits: numbers, truth, times."""
    temporal = pa.types.is_temporal(kind) and not pa.types.is_interval(kind)
    return bool(temporal or pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _filled(array: pa.Array) -> pa.Array:
    """Texts, empty where there is none."""
    return pc.fill_null(array.cast(pa.large_string()), "")


def _lengths(filled: pa.Array) -> bytes:
    return bytes(pc.binary_length(filled).to_numpy(zero_copy_only=False).tobytes())


def _texts(filled: pa.Array) -> memoryview:
    """All texts in UTF-8, one after another."""
    _, offsets, texts = filled.buffers()
    edges = np.frombuffer(offsets, np.int64)[filled.offset : filled.offset + len(filled) + 1]
    return memoryview(texts or b"")[edges[0] : edges[-1]]


def _bytes_of(array: pa.Array) -> Any:
    """All that an array holds, but for which of its rows are null."""
    kind = array.type
    if _is_text(kind):
        filled = _filled(array)
        return _lengths(filled) + bytes(_texts(filled))
    if pa.types.is_map(kind) and not array.null_count:
        edges = array.offsets.to_numpy()
        keys, items = (one[edges[0] : edges[-1]] for one in (array.keys, array.items))
        there = np.packbits(pc.is_valid(items).to_numpy(zero_copy_only=False))
        return np.diff(edges).tobytes() + bytes(_bytes_of(keys)) + there.tobytes() + bytes(_bytes_of(items))
    if pa.types.is_boolean(kind):
        return np.packbits(pc.fill_null(array, False).to_numpy(zero_copy_only=False))
    if pa.types.is_temporal(kind) and not pa.types.is_interval(kind):
        array = array.cast(pa.int32() if kind.bit_width == 32 else pa.int64())  # noqa: PLR2004 - the type's own width
        kind = array.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        filled = pc.fill_null(array, 0) if array.null_count else array
        return np.ascontiguousarray(filled.to_numpy(zero_copy_only=False))
    return json.dumps(array.to_pylist(), default=repr).encode()
