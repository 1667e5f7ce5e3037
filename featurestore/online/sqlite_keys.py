"""Looking up event keys in the SQLite store: the appended ones by an index, those of loads in sorted blocks."""

import json

import numpy as np

from featurestore.events import IntArray
from featurestore.online import KnownKeys
from featurestore.online.connection import Connection
from featurestore.online.keys import NO_KEYS, joined, match, signed

_ASKED_AT_ONCE = 10_000


def known_keys(connection: Connection, source: str, key_hash: IntArray) -> KnownKeys:
    """Pairs stored for a source, appended or published, under any of these key hashes."""
    asked = np.unique(signed(key_hash))
    if not len(asked):
        return NO_KEYS
    runs = live_runs(connection, source)
    return joined([_appended(connection, source, asked), *(in_run(connection, run, asked) for run in runs)])


def live_runs(connection: Connection, source: str) -> tuple[int, ...]:
    """Numbers of a source's published runs of keys."""
    found = connection.execute(
        "SELECT id FROM runs WHERE kind = 'keys' AND state = 'live' AND name = ? ORDER BY id", (source,)
    )
    return tuple(run for (run,) in found)


def in_run(connection: Connection, run: int, asked: IntArray) -> KnownKeys:
    """Pairs of one run under any of ``asked`` (sorted, unique): one step per block that can hold some."""
    found = []
    next_block = f"SELECT last, pairs FROM keys_{run} WHERE first <= ? AND last >= ? ORDER BY first DESC LIMIT 1"
    after = f"SELECT first FROM keys_{run} WHERE first > ? ORDER BY first LIMIT 1"
    place = 0
    while place < len(asked):
        low = int(asked[place])
        row = connection.execute(next_block, (low, low)).fetchone()
        if row is not None:
            stop = int(np.searchsorted(asked, row[0], side="right"))
            found.append(match(row[1], asked[place:stop]))
        else:  # between blocks: on to the first hash that the next block can hold
            beyond = connection.execute(after, (low,)).fetchone()
            stop = len(asked) if beyond is None else int(np.searchsorted(asked, beyond[0]))
        place = stop
    return joined(found)


def appended_after(connection: Connection, position: int) -> dict[str, IntArray]:
    """Key hashes appended after a position, sorted, per source."""
    found: dict[str, list[int]] = {}
    for source, key_hash, at in connection.execute("SELECT source, key_hash, position FROM keys ORDER BY rowid DESC"):
        if at <= position:  # rows are in the order of positions
            break
        found.setdefault(source, []).append(key_hash)
    return {source: np.unique(np.array(hashes, np.int64)) for source, hashes in found.items()}


def _appended(connection: Connection, source: str, asked: IntArray) -> KnownKeys:
    pairs: list[tuple[int, int]] = []
    for first in range(0, len(asked), _ASKED_AT_ONCE):
        pairs += connection.execute(
            "SELECT k.key_hash, k.payload_hash FROM json_each(?) AS asked CROSS JOIN keys AS k "
            "ON k.source = ? AND k.key_hash = asked.value",
            (json.dumps(asked[first : first + _ASKED_AT_ONCE].tolist()), source),
        ).fetchall()
    table = np.array(pairs, np.int64).reshape(-1, 2)
    return KnownKeys(table[:, 0], table[:, 1])
