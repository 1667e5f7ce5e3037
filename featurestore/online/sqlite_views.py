"""Which views the SQLite store holds, what they were packed for, and whether events have come without them.

A view that misses an event must not be read. So whatever brings events says in the same transaction which views have
them, and marks the others of their source incomplete. A change of any view's state raises the generation: readers then
learn all states anew.
"""

import json
from collections.abc import Collection, Mapping

from featurestore.online import ViewState
from featurestore.online.connection import Connection
from featurestore.online.signature import mixes


def states(connection: Connection) -> dict[str, ViewState]:
    """Every view's state, its published runs in the order of their numbers."""
    runs: dict[str, list[int]] = {}
    for run, view in connection.execute(
        "SELECT id, name FROM runs WHERE kind = 'events' AND state = 'live' ORDER BY id"
    ).fetchall():
        runs.setdefault(view, []).append(run)
    found = connection.execute("SELECT name, horizon, source, signature, complete, tail_from FROM views").fetchall()
    return {
        name: ViewState(horizon, source, signature, bool(complete), tuple(runs.get(name, ())), tail_from)
        for name, horizon, source, signature, complete, tail_from in found
    }


def touched(connection: Connection, source: str) -> bool:
    """Whether an event of the source was ever appended or loaded."""
    return connection.execute("SELECT 1 FROM sources WHERE name = ?", (source,)).fetchone() is not None


def note_events(connection: Connection, source: str, covers: Mapping[str, str]) -> None:
    """Within the transaction that appends: mark the source touched, and views without its events incomplete."""
    connection.execute("INSERT OR IGNORE INTO sources VALUES (?)", (source,))
    held = connection.execute("SELECT name, signature FROM views WHERE source = ? AND complete", (source,)).fetchall()
    missed = [(name,) for name, signature in held if not _covered(name, signature, covers)]
    if missed:
        connection.sqlite.executemany("UPDATE views SET complete = 0 WHERE name = ?", missed)
        connection.execute("UPDATE state SET generation = generation + 1")


def open_untouched(connection: Connection, views: Mapping[str, ViewState]) -> None:
    """Within a transaction: record the views, empty and complete, of sources that have no event at all."""
    new = {name: state for name, state in views.items() if not touched(connection, state.source)}
    if new:
        _record(connection, new, 0)
        connection.execute("UPDATE state SET generation = generation + 1")


def publish(connection: Connection, views: Mapping[str, ViewState], sources: Collection[str], tail_upto: int) -> None:
    """Within the transaction that publishes a load: record what it fills, mark incomplete what it leaves behind."""
    for source in sources:
        connection.execute("INSERT OR IGNORE INTO sources VALUES (?)", (source,))
        connection.execute("UPDATE views SET complete = 0 WHERE source = ?", (source,))
    _record(connection, views, tail_upto)
    later = "SELECT source, covers FROM journal WHERE position > ?"
    for source, text in connection.execute(later, (tail_upto,)).fetchall():
        covers = json.loads(text)
        missed = [
            (name,)
            for name, state in views.items()
            if state.source == source and not _covered(name, state.signature, covers)
        ]
        connection.sqlite.executemany("UPDATE views SET complete = 0 WHERE name = ?", missed)


def _covered(name: str, signature: str, covers: Mapping[str, str]) -> bool:
    appended = covers.get(name)
    return appended is not None and mixes(signature, appended)


def _record(connection: Connection, views: Mapping[str, ViewState], tail_upto: int) -> None:
    connection.sqlite.executemany(
        "INSERT INTO views VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET "
        "horizon = excluded.horizon, source = excluded.source, signature = excluded.signature, "
        "complete = excluded.complete, tail_from = max(tail_from, excluded.tail_from)",
        [
            (name, state.horizon, state.source, state.signature, state.complete, tail_upto)
            for name, state in views.items()
        ],
    )
