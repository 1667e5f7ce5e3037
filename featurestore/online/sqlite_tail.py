"""The tail in the SQLite store: blobs of appends, merged where one entity has many, apart where a load takes them over.

A load that takes appends over drops the tail up to their positions. So the tail is closed before a load reads the
journal, and blobs from both sides of the newest such boundary are never merged. Those before it can be: each later load
drops all of them.
"""

import json
from collections.abc import Sequence

from featurestore.online import Merge, Piece
from featurestore.online.connection import Connection
from featurestore.online.sqlite_fresh import TAIL

MOST = 32
"""So many small blobs of an entity stay as they are."""
_FEW = 64
_SHARE = 8  # of many entities of an append one in so many is looked at, others each time
_GOLDEN = 0x9E3779B97F4A7C15  # its multiples spread evenly over 64 bits, whatever the steps of what is multiplied

_TAKEN = "coalesce((SELECT tail_from FROM views WHERE name = ?1), 0)"
_MANY = " + ".join(
    f"(SELECT count(*) FROM {table} WHERE view = ?1 AND key = asked.value AND position > {_TAKEN})" for table in TAIL
)
_BUSY = f"SELECT asked.value FROM json_each(?2) AS asked WHERE {_MANY} > {MOST}"
_SMALL = 1 << 13  # bytes; a larger blob is as good as one of a load
_SMALL_ROWS = " UNION ALL ".join(
    f"SELECT '{table}', rowid, key, position, blob FROM {table}"
    " WHERE view = ?1 AND key = ?2 AND position > ?3 AND position <= ?4 AND length(blob) < ?5"
    for table in TAIL
)


def add(connection: Connection, view: str, pieces: Sequence[Piece], position: int, merge: Merge | None) -> None:
    """Within the transaction that appends: put pieces into a view's tail; merge those of entities that have many."""
    _insert(connection, [(view, key, position, last_time, blob) for key, last_time, blob in pieces])
    if merge is None:
        return
    asked = list(dict.fromkeys(key for key, _, _ in pieces))  # of many events an entity has several pieces
    if len(asked) > _FEW:
        asked = asked[(position * _GOLDEN % (1 << 64)) * _SHARE >> 64 :: _SHARE]
    busy = connection.execute(_BUSY, (view, json.dumps(asked))).fetchall()
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
            _, _, key, _, _ = blobs[0]
            newest = max(at for *_, at, _ in blobs)
            for table in TAIL:
                old = [(rowid,) for of, rowid, *_ in blobs if of == table]
                connection.sqlite.executemany(f"DELETE FROM {table} WHERE rowid = ?", old)
            _insert(connection, [(view, key, newest, last_time, blob) for last_time, blob in new])


def close(connection: Connection) -> int:
    """Within a transaction: keep what has been appended apart from what will be; gives the newest position."""
    connection.execute("UPDATE state SET closed = position")
    return int(connection.execute("SELECT position FROM state").fetchone()[0])


def _insert(connection: Connection, rows: Sequence[tuple[str, str, int, int, bytes]]) -> None:
    connection.sqlite.executemany("INSERT INTO fresh_tail VALUES (?, ?, ?, ?, ?)", rows)


def _small(
    connection: Connection, view: str, key: str, side: tuple[int, int]
) -> list[tuple[str, int, str, int, bytes]]:
    """Table, number, key, position and blob of an entity's small rows after one position and up to another."""
    return connection.execute(_SMALL_ROWS, (view, key, *side, _SMALL)).fetchall()
