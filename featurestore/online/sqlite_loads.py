"""Loads into the SQLite store: staged beside what is live, published in one step, cleared away in small ones.

Each run has a table of its own. Staging and clearing work in short transactions with a pause after each, so that an
append waits milliseconds; a crash at any point leaves runs marked staged or retired, which the next load clears.
"""

import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import astuple
from typing import TypeVar

from featurestore.ahead import ahead
from featurestore.errors import OperationError
from featurestore.online import KnownKeys, Piece, State, ViewState, sqlite_views
from featurestore.online.connection import Connection
from featurestore.online.keys import key_blocks
from featurestore.online.sqlite_fresh import BLOCKS, KEYS, TAIL
from featurestore.online.sqlite_keys import appended_after, in_run

_Row = TypeVar("_Row", Piece, tuple[int, int, bytes])
_BYTES = 1 << 21  # of one transaction: some 10 ms of writing
_ROWS = 4096
_PAUSE_S = 0.001
_TABLES = {
    "events": (
        "CREATE TABLE run_{run} (key TEXT NOT NULL, last_time INTEGER NOT NULL, blob BLOB NOT NULL)",
        "CREATE INDEX run_{run}_by_key ON run_{run} (key, last_time)",
    ),
    "keys": ("CREATE TABLE keys_{run} (first INTEGER PRIMARY KEY, last INTEGER NOT NULL, pairs BLOB NOT NULL)",),
}


def begin(connection: Connection, load: str) -> None:
    """Begin a load afresh."""
    with connection.writing():
        done = published(connection, load)
        if done is not None:
            raise OperationError(
                f"Load {load!r} was published at position {done.position}. Begin another under a new id."
            )
        _retire_staged(connection, load)
        connection.execute("INSERT OR IGNORE INTO loads (id) VALUES (?)", (load,))
    clear(connection)


def abandon(connection: Connection, load: str) -> None:
    """Forget an unpublished load."""
    with connection.writing():
        _retire_staged(connection, load)
        connection.execute("DELETE FROM loads WHERE id = ? AND position IS NULL", (load,))
    clear(connection)


def write_events(connection: Connection, load: str, view: str, rows: Iterable[Piece], *, arrive: bool) -> int:
    """Stage pieces of a view in the load's run of that view, or in its run of arrivals."""
    run = _run(connection, load, "events", view, reuse=True, arrive=arrive)
    _stage(connection, f"INSERT INTO run_{run} VALUES (?, ?, ?)", rows)
    return run


def write_keys(connection: Connection, load: str, source: str, parts: Iterable[KnownKeys]) -> int:
    """Stage keys of a source in a run of their own."""
    run = _run(connection, load, "keys", source, reuse=False, arrive=False)
    count = 0

    def blocks() -> Iterator[tuple[int, int, bytes]]:
        nonlocal count
        for part in parts:
            count += len(part.key_hash)
            yield from key_blocks(part)

    _stage(connection, f"INSERT INTO keys_{run} VALUES (?, ?, ?)", blocks())
    with connection.writing():
        connection.execute("UPDATE runs SET keys = ? WHERE id = ?", (count, run))
    return run


def publish(
    connection: Connection,
    load: str,
    *,
    views: Mapping[str, ViewState],
    sources: Collection[str],
    replaces: Collection[int],
    tail_upto: int | None,
    advances: bool,
    stamp: int | None,
    expect_position: int | None,
) -> State | None:
    """Make a load visible in one transaction; ``None`` if keys appended meanwhile collide with its own."""
    with connection.writing():
        done = _begun(connection, load)
        if done is not None:
            return done
        if expect_position is not None and _collides(connection, load, expect_position):
            return None
        connection.execute(
            "UPDATE state SET position = position + ?1, stamp = max(stamp, ?2), generation = generation + 1,"
            " logged = iif(?1, position + 1, logged), closed = max(closed, ?3)",
            (int(advances), -(1 << 63) if stamp is None else stamp, tail_upto or 0),
        )
        now = State(*connection.execute("SELECT position, stamp FROM state").fetchone())
        connection.sqlite.executemany("UPDATE runs SET state = 'retired' WHERE id = ?", [(run,) for run in replaces])
        connection.execute(
            "UPDATE runs SET state = 'live', stamp = iif(arrive, ?, NULL) WHERE load = ? AND state = 'staged'",
            (now.stamp, load),
        )
        sqlite_views.publish(connection, views, sources, tail_upto or 0)
        connection.execute("UPDATE loads SET position = ?, stamp = ? WHERE id = ?", (*astuple(now), load))
    return now


def published(connection: Connection, load: str) -> State | None:
    """What publishing a load gave; ``None`` if it is open or unknown."""
    found = connection.execute("SELECT position, stamp FROM loads WHERE id = ?", (load,)).fetchone()
    return None if found is None or found[0] is None else State(*found)


def run_stamps(connection: Connection) -> dict[int, int]:
    """Stamps of the live runs whose events arrived with their load."""
    return dict(connection.execute("SELECT id, stamp FROM runs WHERE state = 'live' AND stamp NOT NULL").fetchall())


def delete(connection: Connection, view: str, keys: Collection[str]) -> None:
    """Delete entities from every run of a view, staged ones too, and from its tail."""
    asked = [(key,) for key in keys]
    for first in range(0, len(asked), _ROWS // 16):
        some = asked[first : first + _ROWS // 16]
        with connection.writing():
            runs = connection.execute("SELECT id FROM runs WHERE kind = 'events' AND name = ?", (view,)).fetchall()
            for (run,) in runs:
                connection.sqlite.executemany(f"DELETE FROM run_{run} WHERE key = ?", some)
            for tail in TAIL:
                connection.sqlite.executemany(
                    f"DELETE FROM {tail} WHERE view = ? AND key = ?", [(view, key) for (key,) in some]
                )
            connection.execute("UPDATE state SET generation = generation + 1")  # readers may hold what was there
        time.sleep(_PAUSE_S)


def trim_journal(connection: Connection, upto: int) -> None:
    """Delete journal entries up to a position: the log has them."""
    with connection.writing():
        connection.execute("UPDATE state SET logged = max(logged, ?)", (upto,))
    _repeat(
        connection,
        "DELETE FROM journal WHERE position IN (SELECT position FROM journal WHERE position <= ? LIMIT ?)",
        (upto, _ROWS),
    )


def resume(connection: Connection, position: int, stamp: int) -> None:
    """Within a transaction: take over position and stamp, and distrust views and keys."""
    connection.execute(
        "UPDATE state SET position = ?1, stamp = max(stamp, ?2), logged = max(logged, ?1), closed = ?1,"
        " generation = generation + 1",
        (position, stamp),
    )
    connection.execute("UPDATE views SET complete = 0")
    connection.execute("UPDATE runs SET state = 'retired' WHERE kind = 'keys' AND state = 'live'")
    for appended in (*KEYS, BLOCKS):
        connection.execute(f"DELETE FROM {appended}")


def clear(connection: Connection) -> None:
    """Remove what no snapshot of now can see: retired runs, and the tail that runs have taken in."""
    for view, upto in connection.execute("SELECT name, tail_from FROM views").fetchall():
        for tail in reversed(TAIL):  # as rows are moved by appends meanwhile
            taken = f"SELECT rowid FROM {tail} WHERE view = ? AND position <= ? LIMIT ?"
            _repeat(connection, f"DELETE FROM {tail} WHERE rowid IN ({taken})", (view, upto, _ROWS))
    for run, kind in connection.execute("SELECT id, kind FROM runs WHERE state = 'retired'").fetchall():
        _drop(connection, run, "run" if kind == "events" else "keys")


def _drop(connection: Connection, run: int, prefix: str) -> None:
    """Empty a run's table in steps, for dropping a large one at once would hold the store for seconds; then drop it."""
    deleted = _ROWS
    while deleted:
        with connection.writing():
            if connection.execute("SELECT 1 FROM runs WHERE id = ?", (run,)).fetchone() is None:
                return  # another process cleared it
            rows = f"SELECT rowid FROM {prefix}_{run} LIMIT {_ROWS // 8}"
            deleted = connection.execute(f"DELETE FROM {prefix}_{run} WHERE rowid IN ({rows})").rowcount
            if not deleted:
                connection.execute(f"DROP TABLE {prefix}_{run}")
                connection.execute("DELETE FROM runs WHERE id = ?", (run,))
        time.sleep(_PAUSE_S)


def _repeat(connection: Connection, statement: str, values: tuple[str | int, ...]) -> None:
    deleted = _ROWS
    while deleted == _ROWS:
        with connection.writing():
            deleted = connection.execute(statement, values).rowcount
        time.sleep(_PAUSE_S)


def _run(connection: Connection, load: str, kind: str, name: str, *, reuse: bool, arrive: bool) -> int:
    """Give the load's run for a view or source, with its table."""
    with connection.writing():
        if _begun(connection, load) is not None:
            raise OperationError(f"Load {load!r} has been published: begin another to add to {name!r}.")
        found = connection.execute(
            "SELECT id FROM runs WHERE load = ? AND kind = ? AND name = ? AND arrive = ? AND state = 'staged'",
            (load, kind, name, arrive),
        ).fetchone()
        if found is not None and reuse:
            return int(found[0])
        run = connection.execute(
            "INSERT INTO runs (load, kind, name, state, arrive) VALUES (?, ?, ?, 'staged', ?)",
            (load, kind, name, arrive),
        ).lastrowid
        for statement in _TABLES[kind]:
            connection.execute(statement.format(run=run))
        return int(run or 0)


def _begun(connection: Connection, load: str) -> State | None:
    """What publishing a load gave, ``None`` if it is still open."""
    if connection.execute("SELECT 1 FROM loads WHERE id = ?", (load,)).fetchone() is None:
        raise OperationError(f"No load {load!r} has begun, or it was abandoned. Call begin_load first.")
    return published(connection, load)


def _collides(connection: Connection, load: str, position: int) -> bool:
    appended = appended_after(connection, position)
    staged = connection.execute(
        "SELECT id, name FROM runs WHERE load = ? AND kind = 'keys' AND state = 'staged'", (load,)
    )
    return any(
        len(in_run(connection, run, appended[source]).key_hash)
        for run, source in staged.fetchall()
        if source in appended
    )


def _retire_staged(connection: Connection, load: str) -> None:
    connection.execute("UPDATE runs SET state = 'retired' WHERE load = ? AND state = 'staged'", (load,))


def _stage(connection: Connection, statement: str, rows: Iterable[_Row]) -> None:
    """Insert rows, those of the next transaction being made meanwhile."""
    with closing(ahead(_chunks(rows))) as chunks:
        for chunk in chunks:
            with connection.writing():
                connection.sqlite.executemany(statement, chunk)
            time.sleep(_PAUSE_S)


def _chunks(rows: Iterable[_Row]) -> Iterator[list[_Row]]:
    chunk: list[_Row] = []
    size = 0
    for row in rows:
        chunk.append(row)
        size += len(row[2])
        if size >= _BYTES or len(chunk) >= _ROWS:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
