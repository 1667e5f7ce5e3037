"""The online store in one SQLite file: many readers in many processes, one writer at a time, no server.

The file is in WAL mode: a read is one transaction and waits for nobody. An append is one transaction, synced before it
returns. What loads write is in :mod:`featurestore.online.sqlite_loads`.
"""

import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from featurestore.events import IntArray
from featurestore.layout import Stored
from featurestore.online import (
    NOTHING_HELD,
    Batch,
    JournalEntry,
    KnownKeys,
    Piece,
    Receipt,
    Snapshot,
    State,
    ViewState,
    sqlite_loads,
    sqlite_tail,
    sqlite_views,
)
from featurestore.online.connection import Connection, Connections, Statements, in_words, translated
from featurestore.online.group_commit import GroupCommit
from featurestore.online.keys import NO_KEYS, sift, signed
from featurestore.online.sqlite_fresh import TAIL, settle
from featurestore.online.sqlite_keys import known_keys, live_runs, part_of_run, remember

_ENTRIES = 64  # journal entries fetched together: one of them may be thousands of rows
_BEGINNING = -(1 << 63)


class SQLiteStore:
    """The :class:`~featurestore.online.OnlineStore` of one machine.

    Parameters
    ----------
    path
        The file; it and its folder are made when first needed. Two files beside it (``-wal``, ``-shm``) belong to it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connections = Connections(path)
        self._commits = GroupCommit()

    def state(self) -> State:
        """Give the newest published position and arrival stamp (the lowest int64 before any arrival)."""
        with self._connected() as connection:
            return State(*connection.execute("SELECT position, stamp FROM state").fetchone())

    def generation(self) -> int:
        """Give a number that changes with the views, their runs, and the keys that loads wrote."""
        with self._connected() as connection:
            return int(connection.execute("SELECT generation FROM state").fetchone()[0])

    def logged(self) -> int:
        """Give the newest position that the log has, by what was loaded from it and moved into it."""
        with self._connected() as connection:
            return int(connection.execute("SELECT logged FROM state").fetchone()[0])

    def resume(self, position: int, stamp: int) -> None:
        """Go on from a position of the log: see :meth:`~featurestore.online.OnlineStore.resume`."""
        with self._connected() as connection, connection.writing():
            if connection.execute("SELECT position FROM state").fetchone()[0] < position:
                sqlite_loads.resume(connection, position, stamp)

    def read(
        self,
        wants: Mapping[str, Sequence[str]],
        since: Mapping[str, int | None],
        held: Mapping[str, int] = NOTHING_HELD,
    ) -> Snapshot:
        """Read entities' events in one snapshot: see :meth:`~featurestore.online.OnlineStore.read`."""
        try:
            connection = self._connections.get()
            execute = connection.execute
            alone = _only_key(wants)
            if alone is not None:
                snapshot = _read_one(connection, *alone, since, held)
                if snapshot is not None:
                    return snapshot
            execute("BEGIN")
            try:
                position, stamp, generation = execute(_STATE).fetchone()
                if generation != connection.generation:
                    _learn_views(connection, generation)
                later = [view for view, of in held.items() if of == generation]
                blobs = {}
                for view, keys in wants.items():
                    oldest = since.get(view)
                    asked = _BEGINNING if oldest is None else oldest
                    blobs[view] = _read_many(connection, view, keys, asked, tail=view in later)
            finally:
                execute("COMMIT")
        except sqlite3.Error as error:
            raise translated(error, self.path) from error
        return Snapshot(position, stamp, blobs, connection.views, generation, later)

    def read_runs(self, view: str, key: str, since: int | None) -> Snapshot:
        """Read what loads wrote of one entity: see :meth:`~featurestore.online.OnlineStore.read_runs`."""
        with self._connected() as connection, connection.reading():
            position, stamp, generation = connection.execute(_STATE).fetchone()
            if generation != connection.generation:
                _learn_views(connection, generation)
            runs = connection.statements.get(view, _TAIL_ALONE).runs
            asked = (key, _BEGINNING if since is None else since)
            blobs = connection.execute(runs, asked).fetchall() if runs else []
            return Snapshot(position, stamp, {view: [blobs]}, connection.views, generation)

    def append(self, source: str, batch: Batch) -> Receipt:
        """Append rows, synced to the disk before it returns: see :meth:`~featurestore.online.OnlineStore.append`."""
        with self._connected() as connection:
            return self._commits.run(connection, lambda writer: _append(writer, source, batch))

    def touched(self, source: str) -> bool:
        """Whether an event of the source was ever appended or loaded."""
        with self._connected() as connection:
            return sqlite_views.touched(connection, source)

    def open_views(self, views: Mapping[str, ViewState]) -> None:
        """Note empty views as complete: see :meth:`~featurestore.online.OnlineStore.open_views`."""
        with self._connected() as connection, connection.writing():
            sqlite_views.open_untouched(connection, views)

    def close_tail(self) -> int:
        """Keep blobs of earlier appends apart from those of later ones; gives the newest position."""
        with self._connected() as connection, connection.writing():
            return sqlite_tail.close(connection)

    def journal(self, after: int) -> Iterator[JournalEntry]:
        """Give the appends with a position above ``after``, in order; those that arrive meanwhile may be among them."""
        statement = "SELECT position, source, stamp, payload FROM journal WHERE position > ? ORDER BY position LIMIT ?"
        while True:
            with self._connected() as connection:
                rows = connection.execute(statement, (after, _ENTRIES)).fetchall()
            for row in rows:
                yield JournalEntry(*row)
            if len(rows) < _ENTRIES:
                return
            after = rows[-1][0]

    def trim_journal(self, upto: int) -> None:
        """Forget journal entries up to a position."""
        with self._staging() as connection:
            sqlite_loads.trim_journal(connection, upto)

    def seen(self, source: str, key_hash: IntArray) -> KnownKeys:
        """Give what is stored under any of these key hashes, sorted by key hash."""
        with self._connected() as connection, connection.reading():
            return known_keys(connection, source, key_hash)

    def begin_load(self, load_id: str) -> None:
        """Begin a load: see :meth:`~featurestore.online.OnlineStore.begin_load`."""
        with self._staging() as connection:
            sqlite_loads.begin(connection, load_id)

    def write_run(self, load_id: str, view: str, rows: Iterable[Piece], *, arrive: bool = False) -> int:
        """Stage events of a view: see :meth:`~featurestore.online.OnlineStore.write_run`."""
        with self._staging() as connection:
            return sqlite_loads.write_events(connection, load_id, view, rows, arrive=arrive)

    def write_keys(self, load_id: str, source: str, parts: Iterable[KnownKeys]) -> int:
        """Stage keys of a source: see :meth:`~featurestore.online.OnlineStore.write_keys`."""
        with self._staging() as connection:
            return sqlite_loads.write_keys(connection, load_id, source, parts)

    def key_runs(self, source: str) -> Mapping[int, int]:
        """Give the numbers of a source's published runs of keys, and how many keys each has."""
        with self._connected() as connection:
            return live_runs(connection, source)

    def keys_of_run(self, run: int) -> Iterator[KnownKeys]:
        """Give the keys of a published run, part by part, each after those before it."""
        last = None
        while True:
            with self._connected() as connection:  # no transaction is left open meanwhile
                part = part_of_run(connection, run, last)
            if part is None:
                return
            yield part
            last = int(part.key_hash[-1])

    def publish_load(
        self,
        load_id: str,
        *,
        views: Mapping[str, ViewState],
        sources: Collection[str] = (),
        replaces: Collection[int] = (),
        tail_upto: int | None = None,
        advances: bool = True,
        stamp: int | None = None,
        expect_position: int | None = None,
    ) -> State | None:
        """Make a load visible in one step: see :meth:`~featurestore.online.OnlineStore.publish_load`."""
        with self._connected() as connection:
            published = sqlite_loads.publish(
                connection,
                load_id,
                views=views,
                sources=sources,
                replaces=replaces,
                tail_upto=tail_upto,
                advances=advances,
                stamp=stamp,
                expect_position=expect_position,
            )
        with self._staging() as connection:
            sqlite_loads.clear(connection)
        return published

    def published(self, load_id: str) -> State | None:
        """Give what publishing a load gave; ``None`` if it was not published."""
        with self._connected() as connection:
            return sqlite_loads.published(connection, load_id)

    def abandon(self, load_id: str) -> None:
        """Drop what an unpublished load has staged."""
        with self._staging() as connection:
            sqlite_loads.abandon(connection, load_id)

    def views(self) -> Mapping[str, ViewState]:
        """Give the views that were opened or filled."""
        with self._connected() as connection, connection.reading():
            return sqlite_views.states(connection)

    def delete(self, view: str, keys: Collection[str]) -> None:
        """Erase entities' events from a view, staged ones included; the pages that held them are overwritten.

        Journal entries hold whole batches and stay: trim them. Space that was freed earlier, by runs and by appends
        that were moved, keeps its bytes until it is reused: see :meth:`scrub`.
        """
        with self._staging() as connection:
            connection.execute("PRAGMA secure_delete = ON")
            sqlite_loads.delete(connection, view, keys)
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # the log of writes still has the pages as they were

    def scrub(self) -> None:
        """Write the file anew without the room that was freed; appends wait for it."""
        with self._staging() as connection:
            sqlite_loads.clear(connection)
            with connection.writing():
                settle(connection, all_of_them=True)  # VACUUM may number each table's rows anew
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close every thread's connection. Using the store afterwards is an error; open it anew."""
        self._connections.close()

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        with in_words(self.path):
            yield self._connections.get()

    @contextmanager
    def _staging(self) -> Iterator[Connection]:
        """Open a connection that syncs no commit: staged rows count for nothing until a publish syncs all."""
        with in_words(self.path):
            self._connections.get()
            connection = Connection(self.path, synchronous="NORMAL")
            try:
                yield connection
            finally:
                connection.close()


_FEW_KEYS = 4
_ONE_ARM = "SELECT blob, {stamp} FROM {table} WHERE key = ?1 AND last_time >= ?2"
_MANY_ARM = (
    "SELECT asked.key, held.blob, {stamp} FROM json_each(?1) AS asked CROSS JOIN {table} AS held"
    " WHERE held.key = asked.value AND held.last_time >= ?2"
)
_OF_TAIL = " AND view = ?3 AND position > ?4"
_STATE = "SELECT position, stamp, generation FROM state"


def _statements(runs: Sequence[tuple[str, int | None]], taken: int) -> Statements:
    """Statements of a view: of its runs (table and stamp), then of its tail."""
    tables = [(table, "NULL" if stamp is None else stamp, "") for table, stamp in runs]
    tables += [(table, "NULL", _OF_TAIL) for table in TAIL]

    def each(arm: str, *, beside: str = "") -> list[str]:
        return [arm.format(table=table, stamp=f"{stamp}{beside}") + more for table, stamp, more in tables]

    one, with_state, many = each(_ONE_ARM), each(_ONE_ARM, beside=", NULL"), each(_MANY_ARM)
    snapshot = [_STATE, *with_state]  # one after another: a join would copy what it joins
    return Statements(_all(one), _all(snapshot), _all(many), _all(one[: len(runs)]), taken)


def _all(arms: Sequence[str]) -> str:
    return " UNION ALL ".join(arms)


_TAIL_ALONE = _statements((), 0)


def _only_key(wants: Mapping[str, Sequence[str]]) -> tuple[str, str] | None:
    """View and key where one alone is asked for."""
    if len(wants) != 1:
        return None
    ((view, keys),) = wants.items()
    return (view, keys[0]) if len(keys) == 1 else None


def _read_one(
    connection: Connection, view: str, key: str, since: Mapping[str, int | None], held: Mapping[str, int]
) -> Snapshot | None:
    """Read one entity of one view by one statement, which is a snapshot too; ``None`` where views have changed."""
    oldest, had = since.get(view), held.get(view)
    statements = _statements_of(connection, view, tail=had is not None)
    asked = (key, _BEGINNING if oldest is None else oldest, view, statements.taken)
    try:
        rows = connection.execute(statements.snapshot, asked).fetchall()
    except sqlite3.OperationalError:  # a run that it names is gone
        return None
    position, stamp, generation = rows[0]
    if generation != connection.generation or had not in (None, generation):
        return None
    blobs = [(blob, blob_stamp) for blob, blob_stamp, _ in rows[1:]]
    return Snapshot(position, stamp, {view: [blobs]}, connection.views, generation, held)


def _read_many(
    connection: Connection, view: str, keys: Sequence[str], oldest: int, *, tail: bool
) -> list[list[Stored]]:
    """Read entities of one view: a few by a statement each, many by one that is given their keys as JSON."""
    statements = _statements_of(connection, view, tail=tail)
    rest = (oldest, view, statements.taken)
    listed = json.dumps(keys, ensure_ascii=False) if len(keys) > _FEW_KEYS else ""
    if not listed or "\\u0000" in listed or not listed.isprintable():  # in SQLite's JSON a NUL ends a text
        return [connection.execute(statements.one, (key, *rest)).fetchall() for key in keys]
    found: list[list[Stored]] = [[] for _ in keys]
    for place, blob, stamp in connection.execute(statements.many, (listed, *rest)):
        found[place].append((blob, stamp))
    return found


def _statements_of(connection: Connection, view: str, *, tail: bool) -> Statements:
    """Statements of a view, or of its tail alone."""
    found = connection.statements.get(view, _TAIL_ALONE)
    return _TAIL_ALONE._replace(taken=found.taken) if tail else found


def _learn_views(connection: Connection, generation: int) -> None:
    """Note each view's state and statements. They hold until the generation changes."""
    states = sqlite_views.states(connection)
    stamps = sqlite_loads.run_stamps(connection)
    statements = {
        view: _statements([(f"run_{run}", stamps.get(run)) for run in state.runs], state.tail_from)
        for view, state in states.items()
    }
    connection.views, connection.statements, connection.generation = states, statements, generation


def _append(connection: Connection, source: str, batch: Batch) -> Receipt:
    """Append rows within a transaction."""
    position, newest = connection.execute("SELECT position, stamp FROM state").fetchone()
    stamp = max(batch.now, newest)
    asked = None if batch.keys is None else batch.keys.key_hash[batch.keys.has_key]
    sifted = sift(batch.rows, batch.keys, NO_KEYS if asked is None else known_keys(connection, source, asked))
    if len(sifted.suspect):
        batch.confirm(sifted.suspect)
    if not len(sifted.kept):
        return Receipt(position, stamp, sifted.kept, sifted.duplicates)
    payload, views = batch.pack(stamp, sifted.kept)
    position += 1
    covers = json.dumps(dict(batch.covers))
    connection.execute("INSERT INTO journal VALUES (?, ?, ?, ?, ?)", (position, source, stamp, covers, payload))
    for view, pieces in views.items():
        sqlite_tail.add(connection, view, pieces, position, batch.merge)
    _remember_keys(connection, source, batch, sifted.kept, position)
    settle(connection)
    sqlite_views.note_events(connection, source, batch.covers)
    connection.execute("UPDATE state SET position = ?, stamp = ?", (position, stamp))
    return Receipt(position, stamp, sifted.kept, sifted.duplicates)


def _remember_keys(connection: Connection, source: str, batch: Batch, kept: IntArray, position: int) -> None:
    if batch.keys is None:
        return
    rows = kept[batch.keys.has_key[kept]]
    key_hash = signed(batch.keys.key_hash)
    rows = rows[np.argsort(key_hash[rows])]  # the index takes them faster in its order
    remember(connection, source, KnownKeys(key_hash[rows], signed(batch.keys.payload_hash)[rows]), position)
