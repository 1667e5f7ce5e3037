"""The served log of a store, read: what was served to whom, when, and by what."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from featurestore.errors import StoreDamaged
from featurestore.monitoring import spool
from featurestore.monitoring.served import SCHEMA, Origin, ServedRow, row_of
from featurestore.monitoring.spool import Part

ORIGIN = "origin"
"""Column that names the process which served a row."""
BATCH = 1024


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rows; ``None`` for all.

    ``since`` is the first instant and ``until`` the one after the last, microseconds UTC.
    """

    service: str | None = None
    since: int | None = None
    until: int | None = None
    model: str | None = None
    request_id: str | None = None

    def of(self, table: pa.Table) -> pa.Table:
        """Those rows of a table."""
        name, _, version = (self.model or "").partition("@")
        equal = {
            "service": self.service,
            "request_id": self.request_id,
            "model": name or None,
            "version": version or None,
        }
        for column, value in equal.items():
            if value is not None:
                table = table.filter(pc.equal(table[column], value))
        at = table["served_at"].cast(pa.int64())
        keep = pa.repeat(True, len(table))
        if self.since is not None:
            keep = pc.and_(keep, pc.greater_equal(at, self.since))
        if self.until is not None:
            keep = pc.and_(keep, pc.less(at, self.until))
        return table.filter(keep)


@dataclass(frozen=True, eq=False)
class Served:
    """Rows of the served log in the order in which they were served.

    ``lost`` counts lines of those files that could not be read: what a killed process had half written, and damage.
    ``damaged`` says of each file that cannot be read at all why.
    """

    table: pa.Table
    origins: Mapping[str, Origin]
    lost: int
    damaged: tuple[str, ...]

    def __len__(self) -> int:
        """Rows."""
        return len(self.table)

    def __iter__(self) -> Iterator[ServedRow]:
        """Rows with their values as they were served."""
        for batch in self.table.to_batches(max_chunksize=BATCH):
            for told in batch.to_pylist():
                yield row_of(told, self.origins[told.pop(ORIGIN)])

    def to_arrow(self) -> pa.Table:
        """Arrow table: columns as in ``SCHEMA`` and ``origin``; inputs, features, label, probabilities as JSON text."""
        return self.table

    def to_pandas(self) -> Any:
        """Pandas frame of the same columns."""
        return self.table.to_pandas()


class ServedLog:
    """The served log in a folder. Reading it needs no lock and disturbs no writer."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, wanted: Wanted = Wanted(), *, last: int | None = None) -> Served:
        """Read the rows that are wanted; with ``last`` that many of the newest."""
        tables, origins, damaged, lost = [_COLUMNS.empty_table()], {}, [], 0
        for path, ends in self._files():
            if (wanted.since is not None and ends < wanted.since) or (last and _enough(tables, last, ends)):
                break  # newest first: what follows is older
            try:
                part = _part(path)
            except StoreDamaged as error:
                damaged.append(str(error))
                continue
            if part is not None:
                lost += part.lost
                origins[part.origin.id] = part.origin
                tables.append(_named(wanted.of(part.table), part.origin))
        table = pa.concat_tables(tables).combine_chunks()
        order = pc.sort_indices(table, [(name, "ascending") for name in ("served_at", "request_id", "row", ORIGIN)])
        table = table.take(order if last is None else order[max(0, len(order) - last) :])
        return Served(table, origins, lost, tuple(damaged))

    def rows(self, wanted: Wanted = Wanted()) -> Iterator[ServedRow]:
        """Yield rows file by file, newest file first: as much memory as one file takes.

        Raises
        ------
        StoreDamaged
            If a file cannot be read.
        """
        for path, ends in self._files():
            if wanted.since is not None and ends < wanted.since:
                return
            part = _part(path)
            if part is not None:
                for batch in wanted.of(part.table).to_batches(max_chunksize=BATCH):
                    for told in batch.to_pylist():
                        yield row_of(told, part.origin)

    def _files(self) -> list[tuple[Path, int]]:
        """Files by their newest row, newest first; what is still written to counts as newest."""
        spools = {path.stem: path for path in self.folder.glob(f"*{spool.OPEN}")}  # first: one may be sealed meanwhile
        sealed = {path.stem: path for path in self.folder.glob(f"*{spool.SEALED}") if not path.name.startswith(".")}
        newest = {path: spool.newest(path) for path in sealed.values()}
        found = [(path, _ALWAYS) for stem, path in spools.items() if stem not in sealed]
        found += [(path, _ALWAYS if ends is None else ends) for path, ends in newest.items()]
        return sorted(found, key=lambda one: (-one[1], one[0]))


_ALWAYS = 2**63 - 1
_COLUMNS = SCHEMA.append(pa.field(ORIGIN, pa.string()))  # a table made here would make Arrow import pandas


def _part(path: Path) -> Part | None:
    """Rows of a file, or of what it has become since it was listed."""
    return spool.read(path) or spool.read(path.with_suffix(spool.SEALED))


def _named(table: pa.Table, origin: Origin) -> pa.Table:
    return table.append_column(ORIGIN, pa.repeat(origin.id, len(table)))


def _enough(tables: list[pa.Table], last: int, ends: int) -> bool:
    """Whether so many rows have been found that are all newer than a file's."""
    newer = [pc.sum(pc.greater(one["served_at"].cast(pa.int64()), ends)).as_py() or 0 for one in tables]
    return sum(newer) >= last
