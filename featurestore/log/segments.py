"""Segments: the immutable Parquet files that hold a source's events.

A segment has the source's columns and three of the log's own: ``__known_at`` (timestamp[us, UTC]: when the store could
first show the row, S2), ``__part`` (the source file that the row came from, null for ingested rows) and, where its rows
have different positions, ``__position`` (int64). A bulk segment has one position for all rows, which is known only when
it is published: the catalogue keeps it, and so it does the stamp of rows that arrived.

Every page carries a checksum that each read verifies; the whole file's SHA-256 stands in the catalogue. LZ4, since it
writes faster than zstd, and reads faster than Snappy, in which earlier versions wrote.
"""

import hashlib
import io
import os
from collections.abc import Generator, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict, Unpack, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from featurestore.errors import StoreDamaged
from featurestore.values import CODES

Origin = Literal["bulk", "ingest"]
KNOWN_AT = "__known_at"
POSITION = "__position"
PART = "__part"
SYSTEM = {KNOWN_AT: pa.timestamp("us", tz="UTC"), POSITION: pa.int64(), PART: CODES}
ROW_GROUP = 1 << 18
# Above the default of 1 MB, so that a few hundred thousand distinct names stay codes: those read three times as fast.
DICTIONARY_BYTES = 1 << 24


@dataclass(frozen=True, slots=True)
class Segment:
    """One file.

    Times are microseconds UTC, ``None`` if no ``event_time`` column was named; positions are ``None`` until a bulk load
    is published. ``positioned`` says that the file has a position per row, ``part=None`` of bulk rows a part per row.
    Rows that ``arrive`` were known no earlier than the ``stamp`` (microseconds UTC) that publishing gave them (S2).
    """

    id: str
    source: str
    origin: Origin
    part: str | None
    path: Path
    rows: int
    size: int
    checksum: str
    first_time: int | None
    last_time: int | None
    first_position: int | None
    last_position: int | None
    positioned: bool
    event_time: str | None
    arrive: bool = False
    stamp: int | None = None


class Facts(TypedDict):
    """What is known of a segment before it is written, as in :class:`Segment`."""

    source: str
    origin: Origin
    part: str | None
    event_time: str | None
    arrive: NotRequired[bool]


def write(path: Path, tables: Iterable[pa.Table], **facts: Unpack[Facts]) -> Segment:
    """Write one segment of one or more tables of one schema; it is on disk when this returns.

    ``path`` is new; its folder is made.
    """
    passing = write_passing(path, tables, **facts)
    while True:
        try:
            next(passing)
        except StopIteration as ended:
            return cast("Segment", ended.value)


def write_passing(path: Path, tables: Iterable[pa.Table], **facts: Unpack[Facts]) -> Generator[pa.Table, None, Segment]:
    """Do what :func:`write` does, and give each table on when it is written; the last one given, it returns."""
    part, event_time = facts["part"], facts["event_time"]
    _make_folder(path.parent)
    temporary = path.with_suffix(".tmp")
    times, positions = _Range(), _Range()
    rows, positioned = 0, False
    with _Hashed(io.FileIO(temporary, "wb")) as file:
        with ExitStack() as ending:  # closes the writer while the file is open, also where the tables end too soon
            writer = None
            for table in tables:
                stored = _stored(table, part)
                if writer is None:
                    positioned = POSITION in stored.column_names
                    repeating = [one.name for one in table.schema if pa.types.is_dictionary(one.type)]
                    writer = ending.enter_context(_writer(file, stored.schema, repeating))
                writer.write_table(stored, row_group_size=ROW_GROUP)
                rows += len(stored)
                times.see(stored, event_time)
                positions.see(stored, POSITION)
                yield table
        file.flush()
        os.fsync(file.fileno())
    size = temporary.stat().st_size
    temporary.rename(path)
    sync_folder(path.parent)
    return Segment(
        id=path.stem,
        path=path,
        rows=rows,
        size=size,
        checksum=file.made.hexdigest(),
        first_time=times.ends[0],
        last_time=times.ends[1],
        first_position=positions.ends[0],
        last_position=positions.ends[1],
        positioned=positioned,
        **facts,
    )


def verify(segment: Segment) -> bool:
    """Whether the whole file still has its recorded size and checksum."""
    try:
        return segment.path.stat().st_size == segment.size and digest(segment.path) == segment.checksum
    except OSError:
        return False


def damaged(segments: Sequence[Segment], reason: str) -> StoreDamaged:
    """Build the error that names the damaged files and what brings their rows back."""
    names = ", ".join(f"{segment.path} ({segment.rows} {segment.origin} rows)" for segment in segments)
    advice = "`rebuild` restores bulk data from the sources."
    if any(segment.origin == "ingest" for segment in segments):
        advice += " Ingested events are in no source: restore those files from a backup first."
    return StoreDamaged(f"Damaged in the event log: {names}: {reason}. {advice}")


def digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_folder(folder: Path) -> None:
    """Make a folder's names durable: a rename is on disk only when its folder is."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def is_text(kind: pa.DataType) -> bool:
    """Whether a column's type is a plain string."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


class _Hashed(io.BufferedWriter):
    """A file that is hashed as it is written."""

    def __init__(self, raw: io.RawIOBase) -> None:
        super().__init__(raw)
        self.made = hashlib.sha256()

    def write(self, data: Any, /) -> int:
        """Write bytes."""
        self.made.update(data)
        return super().write(data)


class _Range:
    """Least and greatest value of a column over several tables."""

    def __init__(self) -> None:
        self.ends: tuple[int | None, int | None] = (None, None)

    def see(self, table: pa.Table, column: str | None) -> None:
        if column is None or column not in table.column_names:
            return
        ends = pc.min_max(table.column(column).cast(pa.int64())).as_py()
        low = [end for end in (self.ends[0], ends["min"]) if end is not None]
        high = [end for end in (self.ends[1], ends["max"]) if end is not None]
        self.ends = (min(low, default=None), max(high, default=None))


def _stored(table: pa.Table, part: str | None) -> pa.Table:
    """Strings as plain strings, so that all segments of a source have one schema; ``__part`` on every row."""
    for place, field in enumerate(table.schema):
        if field.name != PART and pa.types.is_dictionary(field.type):
            table = table.set_column(place, field.name, table.column(place).cast(field.type.value_type))
    if PART in table.column_names:
        return table
    indices = pa.array([0 if part is not None else None], pa.int32()).take(pa.repeat(0, len(table)))
    return table.append_column(PART, pa.DictionaryArray.from_arrays(indices, pa.array([part or ""])))


def _writer(file: object, schema: pa.Schema, repeating: Sequence[str]) -> pq.ParquetWriter:
    return pq.ParquetWriter(
        file,
        schema,
        compression="lz4",
        use_dictionary=[*repeating, PART],
        dictionary_pagesize_limit=DICTIONARY_BYTES,
        write_page_checksum=True,
    )


def _make_folder(folder: Path) -> None:
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        sync_folder(folder.parent)
