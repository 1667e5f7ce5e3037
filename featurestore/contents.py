"""A hash of what a table holds: the same for the same rows in the same order, whoever made the table."""

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def content_hash(table: pa.Table) -> str:
    """Hash of names, types, nulls and values, row by row in order; how the table is chunked does not matter."""
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        columns = threads.map(_column_hash, table.column_names, table.columns)
        return hashlib.sha256(b"".join(columns)).hexdigest()


def _column_hash(name: str, column: pa.ChunkedArray) -> bytes:
    whole = column.combine_chunks()
    if pa.types.is_dictionary(whole.type):
        whole = whole.cast(whole.type.value_type)
    digest = hashlib.sha256(json.dumps([name, str(whole.type).removeprefix("large_"), len(whole)]).encode())
    digest.update(np.packbits(pc.is_valid(whole).to_numpy(zero_copy_only=False)).tobytes())
    digest.update(_bytes_of(whole))
    return digest.digest()


def _bytes_of(array: pa.Array) -> bytes:
    kind = array.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        filled = pc.fill_null(array.cast(pa.large_string()), "")
        lengths = pc.binary_length(filled).to_numpy(zero_copy_only=False)
        return bytes(lengths.tobytes() + "".join(filled.to_pylist()).encode())
    if pa.types.is_map(kind) and not array.null_count:
        edges = array.offsets.to_numpy()
        keys, items = (one[edges[0] : edges[-1]] for one in (array.keys, array.items))
        there = np.packbits(pc.is_valid(items).to_numpy(zero_copy_only=False))
        return bytes(np.diff(edges).tobytes() + _bytes_of(keys) + there.tobytes() + _bytes_of(items))
    if pa.types.is_boolean(kind):
        return bytes(np.packbits(pc.fill_null(array, False).to_numpy(zero_copy_only=False)).tobytes())
    if pa.types.is_temporal(kind) and not pa.types.is_interval(kind):
        array = array.cast(pa.int32() if kind.bit_width == 32 else pa.int64())  # noqa: PLR2004 - the type's own width
        kind = array.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        filled = pc.fill_null(array, 0) if array.null_count else array
        return bytes(np.ascontiguousarray(filled.to_numpy(zero_copy_only=False)).tobytes())
    return json.dumps(array.to_pylist(), default=repr).encode()
