"""64-bit hashes of rows, the same on every platform and version: they are stored, to find what was delivered before."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from featurestore.values import Values

IntArray = np.ndarray[Any, np.dtype[np.int64]]
_Words = np.ndarray[Any, np.dtype[np.uint64]]

_FIRST = np.uint64(0xFF51AFD7ED558CCD)  # the finalizer of MurmurHash3, by Austin Appleby
_SECOND = np.uint64(0xC4CEB9FE1A85EC53)
_SEED = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(33)
_WORD = 8


def row_hashes(columns: Mapping[str, Values]) -> IntArray:
    """Hash of each row over its columns' names and values, int64; the order of the columns does not matter.

    A null leaves no trace, so that a row keeps its hash when its source gains a column that it lacks.
    """
    rows = len(next(iter(columns.values())))
    state = np.full(rows, _SEED, np.uint64)
    for name in sorted(columns):
        column = columns[name]
        mixed = _mix((state ^ _words(column)) + _step(name))
        state = mixed if column.valid is None else np.where(column.valid, mixed, state)
    return state.view(np.int64)


@functools.lru_cache(maxsize=4096)
def _step(name: str) -> np.uint64:
    return np.uint64(_text_words([name])[0])


def _words(values: Values) -> _Words:
    """One word per value; what stands under a null does not matter."""
    if values.kind == "str":
        names = [] if values.categories is None else values.categories.tolist()
        return _text_words(names)[values.data] if names else np.zeros(len(values), np.uint64)
    data = values.data.astype(np.int64) if values.kind == "bool" else values.data
    return np.ascontiguousarray(data).view(np.uint64)


def _text_words(texts: Sequence[str]) -> _Words:
    """Hash of each text's UTF-8 bytes, eight at a time."""
    array = pa.array(texts, pa.large_string())
    _, offsets_buffer, data = array.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int64)[: len(array) + 1]
    padded = (b"" if data is None else data.to_pybytes()) + bytes(_WORD)
    every_byte = np.ndarray((len(padded) - _WORD + 1,), "<u8", padded, strides=(1,))
    start, lengths = offsets[:-1], np.diff(offsets)
    state = _mix(lengths.astype(np.uint64) + _SEED)
    for done in range(0, int(lengths.max(initial=0)), _WORD):
        rows = np.flatnonzero(lengths > done)
        beyond = np.maximum(_WORD - (lengths[rows] - done), 0).astype(np.uint64) * np.uint64(_WORD)
        word = (every_byte[start[rows] + done] << beyond) >> beyond
        state[rows] = _mix(state[rows] ^ word)
    return state


def _mix(state: _Words) -> _Words:
    state = (state ^ (state >> _SHIFT)) * _FIRST
    state = (state ^ (state >> _SHIFT)) * _SECOND
    return state ^ (state >> _SHIFT)
