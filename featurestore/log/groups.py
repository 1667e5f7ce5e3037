"""Row groups of a segment that may hold some keys: segments lie in order of a key, so that most hold few of them."""

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
_KEPT = 256  # segments are immutable: what their files say of themselves is kept of so many


@dataclass(frozen=True, eq=False)
class Keys:
    """Keys asked for: texts or integers of one column, sorted and different, at least one.

    A read gives all rows between the first and the last of them, and may leave out what is none of them.
    """

    column: str
    asked: Array

    def within(self, table: pa.Table) -> pa.Table:
        """Rows of a table between the first and the last key; where they are most of it nothing is copied."""
        return pa.Table.from_batches([self._within(one) for one in table.to_batches()], table.schema)

    def _within(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        kept = self._between(batch.column(self.column))
        places = np.flatnonzero(kept.to_numpy(zero_copy_only=False))
        if 2 * len(places) > len(batch) and places[-1] - places[0] + 1 == len(places):
            return batch.slice(int(places[0]), len(places))
        return batch.filter(kept)  # a copy: what is left out is not held

    def _between(self, column: pa.Array) -> pa.Array:
        first, last = self.asked[0], self.asked[-1]
        if pa.types.is_dictionary(column.type):
            names = column.dictionary
            kept = pc.and_(pc.greater_equal(names, first), pc.less_equal(names, last))
            return kept.take(column.indices).fill_null(False)
        return pc.and_(pc.greater_equal(column, first), pc.less_equal(column, last)).fill_null(False)


@dataclass(frozen=True, eq=False)
class Group:
    """Rows of a row group of a file, and the least and greatest key in it; ``None`` where the file does not say."""

    path: Path
    number: int
    rows: int
    least: Any
    greatest: Any

    def meets(self, asked: Array) -> bool:
        """Whether it may hold one of these keys."""
        if self.least is None:
            return True
        place = int(np.searchsorted(asked, self.least))
        return place < len(asked) and bool(asked[place] <= self.greatest)

    def lies_within(self, asked: Array) -> bool:
        """Whether it certainly holds no key before the first of these or after the last."""
        return self.least is not None and bool(asked[0] <= self.least and self.greatest <= asked[-1])


def groups_of(segment: Segment, keys: Keys) -> list[Group]:
    """Row groups that may hold one of the keys."""
    return [one for one in _groups(segment.path, keys.column) if one.meets(keys.asked)]


@lru_cache(_KEPT)
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
