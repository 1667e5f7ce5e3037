"""What appends add to the SQLite store lies in small tables first, and is moved into large ones when it is much.

SQLite writes whole pages. A thousand rows of as many entities change nearly a thousand pages of a large index, and a
few hundred of a small one. Moved many at a time in the order of the large index, several of them share a page.
"""

from collections.abc import Iterator

import numpy as np

from featurestore.online.connection import Connection
from featurestore.online.keys import pairs_of

TAIL = ("tail", "fresh_tail")
KEYS = ("keys", "fresh_key_rows")
"""The large table and the small one."""
BLOCKS = "fresh_key_blocks"
"""Keys of appends of many rows: of each one blob, which is a few pages. They are moved into ``KEYS`` too.

The numbers of rows in ``KEYS`` and here go on from one to the other: a block has as many as it has keys.
"""

_MOST = 1 << 15  # rows of a small table: its index has some 300 pages
_NONE = (1 << 63) - 1
_PAIR = 16  # bytes of a key's and a payload's hash
_MOVE_TAIL = "INSERT INTO tail SELECT * FROM fresh_tail ORDER BY view, key, position"
_MOVE_KEYS = (
    "INSERT INTO keys (rowid, source, key_hash, payload_hash, position)"
    " SELECT rowid, source, key_hash, payload_hash, position FROM fresh_key_rows ORDER BY source, key_hash"
)
_MOVE_BLOCKS = "INSERT INTO keys (rowid, source, key_hash, payload_hash, position) VALUES (?, ?, ?, ?, ?)"
_Row = tuple[int, str, int, int, int]


def settle(connection: Connection, *, all_of_them: bool = False) -> None:
    """Within a transaction that writes: move rows of the small tables that have become large, or of all of them."""
    if all_of_them or span(connection, TAIL[1]) > _MOST:
        connection.execute(_MOVE_TAIL)
        connection.execute(f"DELETE FROM {TAIL[1]}")
    if all_of_them or next_key(connection) - _first_key(connection) > _MOST:
        connection.execute(_MOVE_KEYS)
        connection.sqlite.executemany(_MOVE_BLOCKS, _rows_of_blocks(connection))
        for fresh in (KEYS[1], BLOCKS):
            connection.execute(f"DELETE FROM {fresh}")


def span(connection: Connection, table: str) -> int:
    """Least number of rows that a table's row numbers leave room for, about as many as it has."""
    last, first = (f"coalesce((SELECT {which}(rowid) FROM {table}), 0)" for which in ("max", "min"))
    return int(connection.execute(f"SELECT {last} - {first}").fetchone()[0])


def next_key(connection: Connection) -> int:
    """Number of the next row of keys: they are in the order of positions."""
    newest = [f"coalesce((SELECT max(rowid) FROM {table}), 0)" for table in KEYS]
    newest.append(
        f"coalesce((SELECT first_row + length(pairs) / {_PAIR} - 1 FROM {BLOCKS} ORDER BY first_row DESC LIMIT 1), 0)"
    )
    return 1 + int(connection.execute(f"SELECT max({', '.join(newest)})").fetchone()[0])


def _first_key(connection: Connection) -> int:
    """Number of the oldest of the keys that are not in the large table."""
    oldest = (f"coalesce((SELECT min(rowid) FROM {table}), {_NONE})" for table in (KEYS[1], BLOCKS))
    return int(connection.execute(f"SELECT min({', '.join(oldest)})").fetchone()[0])


def _rows_of_blocks(connection: Connection) -> Iterator[_Row]:
    """All blocks' rows in the order of the large table's index."""
    found = connection.execute(f"SELECT first_row, source, position, pairs FROM {BLOCKS}").fetchall()
    for source in sorted({source for _, source, _, _ in found}):
        own = [(first, position, pairs_of(pairs)) for first, of, position, pairs in found if of == source]
        row = np.concatenate([first + np.arange(len(keys.key_hash)) for first, _, keys in own])
        at = np.repeat([position for _, position, _ in own], [len(keys.key_hash) for *_, keys in own])
        key = np.concatenate([keys.key_hash for *_, keys in own])
        payload = np.concatenate([keys.payload_hash for *_, keys in own])
        place = np.argsort(key)
        rows, keys, payloads, positions = (one[place].tolist() for one in (row, key, payload, at))
        yield from zip(rows, [source] * len(rows), keys, payloads, positions, strict=True)
