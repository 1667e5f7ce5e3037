"""Rows of a load on their way: in memory while they are few, else in a file; and cut into ranges that memory holds.

A load larger than memory is put in order range by range: all rows whose key lies in a range are read together, and the
ranges follow one another.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from featurestore import values
from featurestore.ahead import ahead, mapped
from featurestore.values import Kind

HELD = 1 << 29
"""Most bytes of rows that are held at once: more saves no time, for what is put aside lies in the system's cache."""
RANGE = 1 << 25
"""Bytes of rows that are put in order together: about half a million events."""

CELLS = 1 << 22
"""Values of a table that is read at once: with more rows, fewer tables have the same texts to be coded."""

_MOST_RANGES = 128  # files that are open at once; their numbers fit into a byte
_SAMPLED = 1 << 10  # of so many rows one is in the sample


@dataclass(frozen=True)
class Room:
    """What a load may take: ``memory`` in bytes, and a folder for the rows that this does not hold."""

    folder: Path
    memory: int

    @property
    def held(self) -> int:
        """Bytes of rows that are held at once: as they were read, and once more while they are cut into ranges."""
        return min(HELD, self.memory // 8)

    @property
    def range(self) -> int:
        """Bytes of a range: several are sorted, written and packed at a time, which takes a few times as much."""
        return min(RANGE, self.held // 4)

    def rows(self, columns: int) -> int:
        """Rows of a table, of so many columns, that is read at once; several are on their way."""
        return max(min(CELLS, self.memory // 256) // columns, 1)


class Spill:
    """Tables of one schema: added once, read any number of times, in order.

    Parameters
    ----------
    room
        Where its file lies, if it needs one; it is gone when the spill is closed.
    share
        Of so many that hold rows at once it is one.
    """

    def __init__(self, room: Room, *, share: int = 1) -> None:
        self.room = room
        self.rows = 0
        self.nbytes = 0
        self._most = room.held // share
        self._held: list[pa.Table] = []
        self._sample: list[pa.Table] = []
        self._path: Path | None = None
        self._writer: Any = None
        self._file: Any = None

    def add(self, table: pa.Table) -> None:
        """Add rows."""
        self.rows += table.num_rows
        self.nbytes += table.nbytes
        self._sample.append(_lean(table.take(np.arange(0, table.num_rows, _SAMPLED))))
        if self._writer is None and self.nbytes <= self._most:
            self._held.append(table)
            return
        if self._writer is None:
            handle, path = tempfile.mkstemp(dir=self.room.folder)
            os.close(handle)
            self._path, self._file = Path(path), pa.OSFile(path, "wb")
            self._writer = pa.ipc.new_stream(self._file, table.schema)
        for one in (*self._held, table):
            self._writer.write_table(one)
        self._held.clear()

    def __iter__(self) -> Iterator[pa.Table]:
        """Give the rows as they were added, a table at a time."""
        if self._path is None:
            yield from self._held
            return
        self._finish()
        with pa.OSFile(str(self._path)) as file, pa.ipc.open_stream(file) as reader:
            for batch in reader:
                yield pa.Table.from_batches([batch])

    def drain(self) -> Iterator[pa.Table]:
        """Give the rows for the last time: what memory holds of them is let go, table by table."""
        if self._path is not None:
            yield from self
        self._held.reverse()
        while self._held:
            yield self._held.pop()

    def sample(self, column: str) -> pa.ChunkedArray:
        """Give some values of a column, evenly from all rows."""
        return pa.chunked_array([chunk for one in self._sample for chunk in one.column(column).chunks])

    def close(self) -> None:
        """Drop the rows and the file."""
        self._finish()
        self._held.clear()
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _finish(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._file.close()
            self._writer = self._file = None


def ranges(
    spill: Spill, column: str, kind: Kind, tables: Callable[[], Iterable[pa.Table]] | None = None
) -> Iterator[pa.Table]:
    """Cut rows into ranges of a column: ascending, null first, each one table, none of them empty.

    All rows of one value are in one range: one with more rows than memory holds is given all the same.

    Parameters
    ----------
    spill
        The rows; where ``tables`` are given, what those were made of.
    kind
        What the column holds.
    tables
        Gives the rows to be cut, by default those of the spill.
    """
    each = iter(spill) if tables is None else iter(tables())
    edges = _edges(spill, column, kind)
    if not len(edges):
        whole = list(each)
        if whole and (table := pa.concat_tables(whole)).num_rows:
            yield table
        return
    parts = [Spill(spill.room, share=len(edges) + 1) for _ in range(len(edges) + 1)]
    try:
        for pieces in mapped(lambda table: list(_split(table, column, kind, edges)), ahead(each)):
            for part, rows in pieces:
                parts[part].add(rows)
        for one in parts:
            yield from ranges(one, column, kind)
            one.close()
    finally:
        for one in parts:
            one.close()


@contextlib.contextmanager
def room_at(path: Path, memory: int) -> Iterator[Room]:
    """Make a folder for spills; what a killed process left in it is gone."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    try:
        yield Room(path, memory)
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _lean(table: pa.Table) -> pa.Table:
    """Give a table whose codes are of the texts that it has, where its columns held more texts than it has rows."""
    for place, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            column = table.column(place).unify_dictionaries().combine_chunks()
            if len(column.dictionary) > len(column):
                used = pc.unique(column.indices).drop_null()
                own = pc.index_in(column.indices, value_set=used)
                column = pa.DictionaryArray.from_arrays(own, column.dictionary.take(used))
                table = table.set_column(place, field.name, column)
    return table


def _edges(spill: Spill, column: str, kind: Kind) -> list[Any]:
    """Values at which ranges begin, but for the first; none for little more than a range, or where one value is all."""
    if spill.nbytes <= 2 * spill.room.range:
        return []
    found = values.from_arrow(spill.sample(column), kind)
    ordered = np.sort(found.data[found.mask])
    count = min(-(-spill.nbytes // max(spill.room.range, 1)), _MOST_RANGES)
    chosen = np.unique(ordered[np.arange(1, count) * len(ordered) // count]) if len(ordered) else ordered
    chosen = chosen[chosen > ordered[0]] if len(ordered) else chosen
    if kind == "str" and found.categories is not None:
        return [found.categories[code] for code in chosen.tolist()]
    return list(chosen.tolist())


def _split(table: pa.Table, column: str, kind: Kind, edges: list[Any]) -> Iterator[tuple[int, pa.Table]]:
    """Rows of each range that a table has any of."""
    part = _parts_of(table.column(column), kind, edges)
    place = np.argsort(part, kind="stable")  # of so small numbers a radix sort
    ordered = table.take(pa.array(place))
    ends = np.cumsum(np.bincount(part, minlength=len(edges) + 1))
    for number, end in enumerate(ends.tolist()):
        start = 0 if number == 0 else int(ends[number - 1])
        if end > start:
            yield number, _lean(ordered.slice(start, end - start))


def _parts_of(column: pa.ChunkedArray, kind: Kind, edges: list[Any]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Number of each row's range; null belongs to the first. A text is looked for once, however many rows have it."""
    if kind != "str":
        found = values.from_arrow(column, kind)
        return np.where(found.mask, np.searchsorted(edges, found.data, side="right"), 0).astype(np.uint8)
    whole = column.combine_chunks()
    coded = whole if pa.types.is_dictionary(whole.type) else whole.dictionary_encode()
    texts, begins = coded.dictionary, pa.array(edges, coded.dictionary.type)
    part = np.zeros(len(texts) + 1, np.uint8)  # the last one stands for null
    for step in (1 << bit for bit in reversed(range(len(edges).bit_length()))):  # a binary search of all texts at once
        further = part[:-1] + np.uint8(step)
        reached = pc.greater_equal(texts, begins.take(pa.array(np.minimum(further, len(edges)) - 1)))
        part[:-1] += (reached.to_numpy(zero_copy_only=False) & (further <= len(edges))) * np.uint8(step)
    return np.asarray(part[coded.indices.fill_null(-1).to_numpy(zero_copy_only=False)])
