"""What appends add to the SQLite store lies in small tables first, and is moved into large ones when it is much.

SQLite writes whole pages. A thousand rows of as many entities change nearly a thousand pages of a large index, and a
few hundred of a small one. Moved many at a time in the order of the large index, several of them share a page.
"""

from featurestore.online.connection import Connection

TAIL = ("tail", "fresh_tail")
KEYS = ("keys", "fresh_keys")
"""The large table and the small one. The numbers of rows in ``KEYS`` go on from one to the other."""

_MOST = 1 << 15  # rows of a small table: its index has some 300 pages
_MOVE = {
    TAIL: "INSERT INTO tail SELECT * FROM fresh_tail ORDER BY view, key, position",
    KEYS: (
        "INSERT INTO keys (rowid, source, key_hash, payload_hash, position)"
        " SELECT rowid, source, key_hash, payload_hash, position FROM fresh_keys ORDER BY source, key_hash"
    ),
}


def settle(connection: Connection, *, all_of_them: bool = False) -> None:
    """Within a transaction that writes: move rows of the small tables that have become large, or of both."""
    for tables, statement in _MOVE.items():
        fresh = tables[1]
        if all_of_them or span(connection, fresh) > _MOST:
            connection.execute(statement)
            connection.execute(f"DELETE FROM {fresh}")


def span(connection: Connection, table: str) -> int:
    """Least number of rows that a table's row numbers leave room for, about as many as it has."""
    last, first = (f"coalesce((SELECT {which}(rowid) FROM {table}), 0)" for which in ("max", "min"))
    return int(connection.execute(f"SELECT {last} - {first}").fetchone()[0])


def next_key(connection: Connection) -> int:
    """Number of the next row of ``KEYS``: they are in the order of positions."""
    newest = (f"coalesce((SELECT max(rowid) FROM {table}), 0)" for table in KEYS)
    return 1 + int(connection.execute(f"SELECT max({', '.join(newest)})").fetchone()[0])
