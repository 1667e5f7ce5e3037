"""The catalogue: a SQLite file that says which segments count, what was loaded, and up to which position.

One transaction publishes a load, so a kill leaves the state before or after it. A connection lives for one question:
nothing is held open, so processes fork and threads share as they like. Readers and writers do not wait for each other.
"""

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from featurestore.errors import NewerFormat, OperationError, StoreBusy, StoreDamaged
from featurestore.log.lock import WriterLock
from featurestore.log.segments import Segment

FORMAT = 1
_BUSY_S = 5.0
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
CREATE TABLE loads (id TEXT PRIMARY KEY, kind TEXT NOT NULL, state TEXT NOT NULL, at INTEGER NOT NULL,
    history INTEGER NOT NULL, position INTEGER, number INTEGER UNIQUE);
CREATE TABLE touched (load TEXT NOT NULL, source TEXT NOT NULL, PRIMARY KEY (load, source));
CREATE TABLE segments (id TEXT PRIMARY KEY, source TEXT NOT NULL, origin TEXT NOT NULL, part TEXT,
    rows INTEGER NOT NULL, size INTEGER NOT NULL, checksum TEXT NOT NULL,
    first_time INTEGER, last_time INTEGER, first_position INTEGER,
    last_position INTEGER, positioned INTEGER NOT NULL, event_time TEXT, arrive INTEGER NOT NULL, stamp INTEGER,
    load TEXT NOT NULL, state TEXT NOT NULL, retired_at INTEGER, retired_by INTEGER);
CREATE INDEX segments_by_source ON segments (source, state);
CREATE TABLE replaced (load TEXT NOT NULL, segment TEXT NOT NULL, PRIMARY KEY (load, segment));
CREATE TABLE parts (source TEXT NOT NULL, name TEXT NOT NULL, load TEXT NOT NULL, size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL, digest TEXT NOT NULL, rows INTEGER NOT NULL, PRIMARY KEY (source, name, load));
CREATE TABLE quarantine (load TEXT NOT NULL, source TEXT NOT NULL, file TEXT, row INTEGER, "column" TEXT, rule TEXT,
    value TEXT);
CREATE INDEX quarantine_by_source ON quarantine (source, load);
"""


@dataclass(frozen=True, slots=True)
class PartRecord:
    """A source file as it was when it was loaded: ``digest`` is of its bytes, ``mtime_ns`` its time of change."""

    name: str
    size: int
    mtime_ns: int
    digest: str
    rows: int


class Catalogue:
    """The SQLite file ``catalogue.sqlite`` of a log's folder; made if it is not there.

    Raises
    ------
    NewerFormat
        If a later version of the product wrote it.
    StoreDamaged
        If it is no catalogue, or is missing while there are segments.
    """

    def __init__(self, folder: Path, lock: WriterLock) -> None:
        self.folder = folder
        self.path = folder / "catalogue.sqlite"
        if self._format() is None:
            with lock.hold("create the event log", _BUSY_S * 2):
                self._create()
        found = self._format() or 0
        if found > FORMAT:
            raise NewerFormat(
                f"The event log {folder} has format {found}; this version of featurestore reads up to {FORMAT}. "
                "Upgrade featurestore to open it."
            )

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """One consistent view: everything read inside belongs to one moment."""
        with self._connected() as connection:
            connection.execute("BEGIN")
            yield connection
            connection.execute("COMMIT")

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction, durable at its end; an exception leaves nothing of it."""
        with self._connected() as connection:
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def segment_path(self, source: str, segment_id: str) -> Path:
        """Where a segment's file lies."""
        return self.folder / "segments" / source / f"{segment_id}.parquet"

    def published(self, source: str | None = None) -> list[Segment]:
        """Segments that count, of one source or all, in the order they were published."""
        with self.reading() as connection:
            rows = connection.execute(
                "SELECT s.* FROM segments s JOIN loads l ON l.id = s.load"
                " WHERE s.state = 'published' AND (?1 IS NULL OR source = ?1) ORDER BY l.number, s.rowid",
                (source,),
            ).fetchall()
        return [self._segment(row) for row in rows]

    def prepared(self, load: str, source: str) -> list[Segment]:
        """Segments of a source that a load has prepared and not published."""
        with self.reading() as connection:
            rows = connection.execute(
                "SELECT * FROM segments WHERE load = ? AND source = ? AND state = 'staged' ORDER BY rowid",
                (load, source),
            ).fetchall()
        return [self._segment(row) for row in rows]

    def value(self, question: str, *values: object) -> int:
        """One integer, null as 0."""
        with self.reading() as connection:
            return int(connection.execute(question, values).fetchone()[0] or 0)

    def _segment(self, row: sqlite3.Row) -> Segment:
        return Segment(
            id=row["id"],
            source=row["source"],
            origin=row["origin"],
            part=row["part"],
            path=self.segment_path(row["source"], row["id"]),
            rows=row["rows"],
            size=row["size"],
            checksum=row["checksum"],
            first_time=row["first_time"],
            last_time=row["last_time"],
            first_position=row["first_position"],
            last_position=row["last_position"],
            positioned=bool(row["positioned"]),
            event_time=row["event_time"],
            arrive=bool(row["arrive"]),
            stamp=row["stamp"],
        )

    @contextlib.contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        try:
            with contextlib.closing(sqlite3.connect(self.path, timeout=_BUSY_S, isolation_level=None)) as connection:
                connection.row_factory = sqlite3.Row
                yield connection
        except sqlite3.Error as error:
            raise self._translated(error) from error

    def _translated(self, error: sqlite3.Error) -> OperationError:
        code = (
            getattr(error, "sqlite_errorcode", 0) & 0xFF
        )  # the low byte: what lies above tells apart kinds of one code
        if code in _BUSY:
            return StoreBusy(f"The event log {self.folder} is being written by another process ({error}). Try again.")
        if code in _DAMAGE:
            return self._damaged(str(error))
        return OperationError(
            f"The catalogue {self.path} cannot be used: {error}. Check the disk's space and the file's owner."
        )

    def _damaged(self, reason: str) -> StoreDamaged:
        return StoreDamaged(
            f"The event log's catalogue {self.path}: {reason}. Restore it from a backup; or move {self.folder} away "
            "and `rebuild`, which restores bulk data from the sources, but not ingested events."
        )

    def _format(self) -> int | None:
        if not self.path.exists():
            return None
        with self._connected() as connection:
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone():
                return None
            return int(connection.execute("SELECT value FROM meta WHERE name = 'format'").fetchone()[0])

    def _create(self) -> None:
        """Make the tables, unless another process just did."""
        if self._format() is not None:
            return
        if any(self.folder.glob("segments/*/*.parquet")):
            # An empty catalogue would make orphans of the segments, and orphans are deleted.
            raise self._damaged("it is missing or empty, but there are segments")
        with self._connected() as connection:
            connection.execute("PRAGMA journal_mode = WAL")
        with self.writing() as connection:
            for statement in _TABLES.strip().split(";")[:-1]:
                connection.execute(statement)
            connection.execute("INSERT INTO meta VALUES ('format', ?)", (FORMAT,))
