"""The tail in the SQLite store: blobs of appends, merged where one entity has many, apart where a load takes them over.

A load that takes appends over drops the tail up to their positions. So the tail is closed before a load reads the
journal, and blobs from both sides of the newest such boundary are never merged. Those before it can be: each later load
drops all of them.
"""

import json
from collections.abc import Sequence

from featurestore.online import Merge, Piece
from featurestore.online.connection import Connection

MOST = 16
"""So many small blobs of an entity stay as they are."""

_TAKEN = "coalesce((SELECT tail_from FROM views WHERE name = ?1), 0)"
_BUSY = (
    "SELECT asked.value FROM json_each(?2) AS asked WHERE"
    f" (SELECT count(*) FROM tail WHERE view = ?1 AND key = asked.value AND position > {_TAKEN}) > {MOST}"
)
_SMALL = 1 << 15  # bytes; a larger blob is as good as one of a load


def add(connection: Connection, view: str, pieces: Sequence[Piece], position: int, merge: Merge | None) -> None:
    """Within the transaction that appends: put pieces into a view's tail; merge those of entities that have many."""
    rows = [(view, key, position, last_time, blob) for key, last_time, blob in pieces]
    connection.sqlite.executemany("INSERT INTO tail VALUES (?, ?, ?, ?, ?)", rows)
    if merge is None:
        return
    busy = connection.execute(_BUSY, (view, json.dumps([key for key, _, _ in pieces]))).fetchall()
    if not busy:
        return
    closed, taken = connection.execute(f"SELECT closed, {_TAKEN} FROM state", (view,)).fetchone()
    sides = ((taken, closed), (closed, position))
    many = [blobs for (key,) in busy for side in sides if len(blobs := _small(connection, view, key, side)) > MOST]
    if not many:
        return
    packed = merge(view, [[blob for *_, blob in blobs] for blobs in many])
    for blobs, new in zip(many, packed, strict=True):
        if new is not None:
            key, position = blobs[0][1], max(at for _, _, at, _ in blobs)
            connection.sqlite.executemany("DELETE FROM tail WHERE rowid = ?", [(rowid,) for rowid, *_ in blobs])
            rows = [(view, key, position, last_time, blob) for last_time, blob in new]
            connection.sqlite.executemany("INSERT INTO tail VALUES (?, ?, ?, ?, ?)", rows)


def close(connection: Connection) -> int:
    """Within a transaction: keep what has been appended apart from what will be; gives the newest position."""
    connection.execute("UPDATE state SET closed = position")
    return int(connection.execute("SELECT position FROM state").fetchone()[0])


def _small(connection: Connection, view: str, key: str, side: tuple[int, int]) -> list[tuple[int, str, int, bytes]]:
    """Number, key, position and blob of an entity's small rows after one position and up to another."""
    return connection.execute(
        "SELECT rowid, key, position, blob FROM tail"
        " WHERE view = ? AND key = ? AND position > ? AND position <= ? AND length(blob) < ?",
        (view, key, *side, _SMALL),
    ).fetchall()
