"""Row groups of a segment that may hold some keys: segments lie in order of a key, so that most hold few of them."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from featurestore.log.segments import Segment

Array = np.ndarray[Any, Any]
KEPT = 256
"""Segments are immutable: what their files say of themselves is kept of so many."""


@dataclass(frozen=True, eq=False)
class Keys:
    """Keys that are asked for, and of them those that a read is for: the ``part``, at least one.

    A read gives all rows between the first and the last of the part, texts as codes of it, and may leave out what is
    none of it.

    Parameters
    ----------
    column
        Whose keys they are.
    every
        Texts or integers, sorted and different.
    names
        The texts for Arrow; ``None`` of integers.
    part
        Places among ``every``.
    """

    column: str
    every: Array
    names: pa.Array | None
    part: slice

    @property
    def asked(self) -> Array:
        """Keys of the part."""
        return self.every[self.part]

    @property
    def alone(self) -> "Keys":
        """The part, as if no other were asked for."""
        names = None if self.names is None else self.names[self.part]
        return Keys(self.column, self.asked, names, slice(0, len(self.asked)))

    def coded(self, table: pa.Table) -> pa.Table:
        """Give a table's texts as codes of every key, null for a text that is none."""
        if self.names is None:
            return table
        return pa.Table.from_batches([self._coded(one, self.names) for one in table.to_batches()], table.schema)

    def within(self, table: pa.Table) -> pa.Table:
        """Rows of a coded table between the first and the last key; where they lie together nothing is copied."""
        return pa.Table.from_batches([self._within(one) for one in table.to_batches()], table.schema)

    def _coded(self, batch: pa.RecordBatch, names: pa.Array) -> pa.RecordBatch:
        column = batch.column(self.column)
        ends = pc.min_max(column.dictionary).as_py()
        if ends["min"] is None:
            return batch
        first, last = (bisect(self.every, ends[end]) for bisect, end in ((bisect_left, "min"), (bisect_right, "max")))
        found = pc.index_in(column.dictionary, names[first:last])
        return self._with(batch, pc.add(found, pa.scalar(first, pa.int32())).take(column.indices), names)

    def _within(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        column = batch.column(self.column)
        if self.names is None:
            return _between(batch, column, self.asked[0], self.asked[-1])
        rows = _between(batch, column.indices, self.part.start, self.part.stop - 1)
        codes = pc.subtract(rows.column(self.column).indices, pa.scalar(self.part.start, pa.int32()))
        return self._with(rows, codes, self.names[self.part])

    def _with(self, batch: pa.RecordBatch, codes: pa.Array, names: pa.Array) -> pa.RecordBatch:
        place = batch.schema.get_field_index(self.column)
        return batch.set_column(place, batch.schema.field(place), pa.DictionaryArray.from_arrays(codes, names))


def keys_of(column: str, asked: Array) -> Keys:
    """Keys that are all asked for: texts or integers, sorted and different."""
    return Keys(column, asked, pa.array(asked, pa.string()) if asked.dtype == object else None, slice(0, len(asked)))


def _between(batch: pa.RecordBatch, numbers: pa.Array, first: int, last: int) -> pa.RecordBatch:
    """Rows whose number lies from the first to the last; a null does not."""
    held = numbers.fill_null(0).to_numpy()
    kept = (held >= first) & (held <= last)
    if numbers.null_count:
        kept &= pc.is_valid(numbers).to_numpy(zero_copy_only=False)
    many = int(np.count_nonzero(kept))
    begin = int(kept.argmax()) if many else 0
    return batch.slice(begin, many) if kept[begin : begin + many].all() else batch.filter(pa.array(kept))


@dataclass(frozen=True, eq=False)
class Group:
    """Rows of a row group of a file, and the least and greatest key in it; ``None`` where the file does not say."""

    path: Path
    number: int
    rows: int
    least: Any
    greatest: Any

    @property
    def place(self) -> tuple[Path, int]:
        """What no other row group has."""
        return self.path, self.number

    def among(self, asked: Array) -> slice:
        """Places of those of these keys that it may hold."""
        if self.least is None:
            return slice(0, len(asked))
        return slice(bisect_left(asked, self.least), bisect_right(asked, self.greatest))

    def meets(self, asked: Array) -> bool:
        """Whether it may hold one of these keys."""
        place = self.among(asked)
        return bool(place.start < place.stop)


def groups_of(segment: Segment, keys: Keys) -> list[Group]:
    """Row groups that may hold one of the keys."""
    return [one for one in _groups(segment.path, keys.column) if one.meets(keys.asked)]


@lru_cache(KEPT)
def _groups(path: Path, column: str) -> Sequence[Group]:
    with pq.ParquetFile(path) as file:
        metadata, names = file.metadata, file.schema_arrow.names
    place = names.index(column) if column in names else None
    groups = []
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        found = None if place is None else group.column(place).statistics
        least, greatest = (found.min, found.max) if found is not None and found.has_min_max else (None, None)
        groups.append(Group(path, number, group.num_rows, least, greatest))
    return groups
