"""Connections to the online store's SQLite file: opened, checked, one per thread, errors put into words."""

import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from featurestore.errors import FeatureStoreError, NewerFormat, OperationError, StoreBusy, StoreDamaged
from featurestore.online import ViewState

FORMAT = 4
APPLICATION = 0x46534F4E  # "FSON": tells our file from any other SQLite file
BUSY_S = 5.0
_POLL_S = 0.0005
_WAL_PAGES = 8192  # 32 MB: pages of indexes that every append changes are then written to the file once for several
_INHERITED: list[object] = []  # connections of a parent process: SQLite forbids to use them here, or even to close them

_TAIL = (
    "(view TEXT NOT NULL, key TEXT NOT NULL, position INTEGER NOT NULL, last_time INTEGER NOT NULL, blob BLOB NOT NULL)"
)
_KEYS = "(source TEXT NOT NULL, key_hash INTEGER NOT NULL, payload_hash INTEGER NOT NULL, position INTEGER NOT NULL)"
SCHEMA = f"""
CREATE TABLE state
    (position INTEGER NOT NULL, stamp INTEGER NOT NULL, generation INTEGER NOT NULL, logged INTEGER NOT NULL,
     closed INTEGER NOT NULL);
INSERT INTO state VALUES (0, -9223372036854775808, 0, 0, 0);
CREATE TABLE journal
    (position INTEGER PRIMARY KEY, source TEXT NOT NULL, stamp INTEGER NOT NULL, covers TEXT NOT NULL,
     payload BLOB NOT NULL);
CREATE TABLE sources (name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE tail {_TAIL};
CREATE INDEX tail_by_key ON tail (view, key, position);
CREATE TABLE keys {_KEYS};
CREATE INDEX keys_by_hash ON keys (source, key_hash);
CREATE TABLE views
    (name TEXT PRIMARY KEY, horizon INTEGER, source TEXT NOT NULL, signature TEXT NOT NULL, complete INTEGER NOT NULL,
     tail_from INTEGER NOT NULL);
CREATE TABLE loads (id TEXT PRIMARY KEY, position INTEGER, stamp INTEGER);
CREATE TABLE runs
    (id INTEGER PRIMARY KEY AUTOINCREMENT, load TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL,
     state TEXT NOT NULL, arrive INTEGER NOT NULL, stamp INTEGER);
"""

_FORMAT_3 = f"""
CREATE TABLE fresh_tail {_TAIL};
CREATE INDEX fresh_tail_by_key ON fresh_tail (view, key, position);
CREATE TABLE fresh_keys {_KEYS};
CREATE INDEX fresh_keys_by_hash ON fresh_keys (source, key_hash);
ALTER TABLE runs ADD COLUMN keys INTEGER NOT NULL DEFAULT 0;
"""
_FORMAT_4 = """
ALTER TABLE fresh_keys RENAME TO fresh_key_rows;
CREATE TABLE fresh_key_blocks
    (first_row INTEGER PRIMARY KEY, source TEXT NOT NULL, position INTEGER NOT NULL, pairs BLOB NOT NULL);
"""

_UPGRADES = {  # from each earlier format to the next; SCHEMA is of format 2
    1: "ALTER TABLE state ADD COLUMN closed INTEGER NOT NULL DEFAULT 0;\nUPDATE state SET closed = position",
    2: _FORMAT_3,
    3: _FORMAT_4,  # under its new name a process of the earlier version, still running, finds no keys, and fails
}


class Statements(NamedTuple):
    """How a view is read: one entity's events, the same with the state beside them, many entities' events, one's runs.

    Appends up to the position ``taken`` are in its runs.
    """

    one: str
    snapshot: str
    many: str
    runs: str
    taken: int


class Connection:
    """One thread's connection, and the views and their runs as of the generation that it last saw."""

    def __init__(self, path: Path, *, synchronous: str = "FULL") -> None:
        self.generation = -1
        self.statements: dict[str, Statements] = {}
        self.views: dict[str, ViewState] = {}
        self.sqlite = sqlite3.connect(
            path, timeout=BUSY_S, isolation_level=None, check_same_thread=False, cached_statements=512
        )
        self.execute = self.sqlite.execute
        try:
            self._prepare(path)
            self.execute(f"PRAGMA synchronous = {synchronous}")
            self.execute("PRAGMA mmap_size = 2147418112")
            self.execute(f"PRAGMA wal_autocheckpoint = {_WAL_PAGES}")
            self.execute("PRAGMA cache_size = -16384")
        except BaseException:
            self.sqlite.close()
            raise

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Close; a second time does nothing."""
        sqlite = getattr(self, "sqlite", None)
        if sqlite is not None:
            sqlite.close()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """One write transaction, begun as soon as other writers let it."""
        self.execute(
            "PRAGMA busy_timeout = 0"
        )  # SQLite's own waiting grows to 100 ms a step and misses a load's pauses
        try:
            self._when_free("BEGIN IMMEDIATE")
        finally:
            self.execute(f"PRAGMA busy_timeout = {int(BUSY_S * 1000)}")
        try:
            yield
            self.execute("COMMIT")
        except BaseException:
            if self.sqlite.in_transaction:
                self.execute("ROLLBACK")
            raise

    @contextmanager
    def reading(self) -> Iterator[None]:
        """One read transaction: everything read in it is of one moment."""
        self.execute("BEGIN")
        try:
            yield
        finally:
            self.execute("COMMIT")

    def _prepare(self, path: Path) -> None:
        """Check whose file it is; make it ours if it is new."""
        with self.reading():  # of one moment: another process may be making the file
            version = self._format(path)
        if version is None:
            self._when_free("PRAGMA journal_mode = WAL")
        if version != FORMAT:
            with self.writing():
                self._bring_up(self._format(path))  # another process may have been first

    def _bring_up(self, version: int | None) -> None:
        """Make the tables of a new file, or those of an earlier format into those of this one."""
        if version is None:
            self._execute_all(SCHEMA + _FORMAT_3 + _FORMAT_4)
            self.execute(f"PRAGMA application_id = {APPLICATION}")
        for earlier in range(FORMAT if version is None else version, FORMAT):
            self._execute_all(_UPGRADES[earlier])
        self.execute(f"PRAGMA user_version = {FORMAT}")

    def _execute_all(self, statements: str) -> None:
        for statement in statements.split(";\n"):
            self.execute(statement)

    def _when_free(self, statement: str) -> None:
        deadline = time.monotonic() + BUSY_S
        while True:
            try:
                self.execute(statement)
            except sqlite3.OperationalError as error:
                if not _is_busy(error) or time.monotonic() > deadline:
                    raise
                time.sleep(_POLL_S)
            else:
                return

    def _format(self, path: Path) -> int | None:
        """Format of the file; ``None`` if it is new."""
        application = self.execute("PRAGMA application_id").fetchone()[0]
        version = self.execute("PRAGMA user_version").fetchone()[0]
        if application == APPLICATION and version > FORMAT:
            raise NewerFormat(
                f"The online store {path} has format {version}; this version reads up to {FORMAT}. "
                "Upgrade the package, or rebuild the store."
            )
        if application != APPLICATION and self.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise StoreDamaged(
                f"{path} is an SQLite file of something else, not an online store. Move it away and rebuild."
            )
        return int(version) if application == APPLICATION else None


class Connections:
    """One connection per thread, opened when first used; a forked process opens its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._pid = os.getpid()
        self._local = threading.local()
        self._open: weakref.WeakSet[Connection] = weakref.WeakSet()
        self._closed = False

    def get(self) -> Connection:
        """Give this thread's connection."""
        if self._pid != os.getpid():
            self._forked()
        found: Connection | None = getattr(self._local, "connection", None)
        return found if found is not None else self._new()

    def close(self) -> None:
        """Close every thread's connection."""
        self._closed = True
        if self._pid == os.getpid():
            for connection in list(self._open):
                connection.close()
        self._local = threading.local()

    def _new(self) -> Connection:
        if self._closed:
            raise OperationError(f"The online store {self.path} has been closed. Open the feature store again.")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = Connection(self.path)
        self._open.add(connection)
        self._local.connection = connection
        return connection

    def _forked(self) -> None:
        _INHERITED.extend((self._local, list(self._open)))
        self._local, self._open, self._pid = threading.local(), weakref.WeakSet(), os.getpid()


@contextmanager
def in_words(path: Path) -> Iterator[None]:
    """Say SQLite's errors in the product's words."""
    try:
        yield
    except sqlite3.Error as error:
        raise translated(error, path) from error


def translated(error: sqlite3.Error, path: Path) -> FeatureStoreError:
    """Put one of SQLite's errors into the product's words."""
    if _is_busy(error):
        return StoreBusy(
            f"The online store {path} stayed locked by another writer for {BUSY_S:g} s. Try again, or stop that writer."
        )
    name = getattr(error, "sqlite_errorname", None) or ""
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return StoreDamaged(
            f"The online store {path} cannot be read ({error}). Move it away and rebuild it from the event log."
        )
    return OperationError(
        f"The online store {path} failed: {error}. Check the disk's space and the file's permissions."
    )


def _is_busy(error: sqlite3.Error) -> bool:
    return (getattr(error, "sqlite_errorname", None) or "").startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))
