"""Looking up event keys in the SQLite store: the appended ones by an index, those of loads in sorted blocks."""

import json
from itertools import chain

import numpy as np

from featurestore.events import IntArray
from featurestore.online import KnownKeys
from featurestore.online.connection import Connection
from featurestore.online.keys import NO_KEYS, among, block, joined, match, pairs_of, signed
from featurestore.online.sqlite_fresh import BLOCKS, KEYS, next_key, span
from featurestore.values import FEW

_ROW_BY_ROW = 256  # keys of an append that are noted one by one, so that an index finds them; more are one block
_ASKED_AT_ONCE = 10_000
_BLOCKS_AT_ONCE = 100  # more than a processor's cache holds is slower
_PASSED = 8  # rows that a pass over the table reads in the time of one search


def known_keys(connection: Connection, source: str, key_hash: IntArray) -> KnownKeys:
    """Pairs stored for a source, appended or published, under any of these key hashes."""
    asked = signed(key_hash)
    if not (asked[1:] > asked[:-1]).all():
        asked = np.unique(asked)
    if not len(asked):
        return NO_KEYS
    runs = live_runs(connection, source)
    appended = [_appended(connection, table, source, asked) for table in KEYS]
    return joined([*appended, _in_blocks(connection, source, asked), *(in_run(connection, run, asked) for run in runs)])


def remember(connection: Connection, source: str, keys: KnownKeys, position: int) -> None:
    """Within the transaction that appends: note its keys, in the order of their hashes."""
    first = next_key(connection)
    if len(keys.key_hash) > _ROW_BY_ROW:
        row = (first, source, position, block(keys))
        connection.execute(f"INSERT INTO {BLOCKS} VALUES (?, ?, ?, ?)", row)
        return
    pairs = zip(keys.key_hash.tolist(), keys.payload_hash.tolist(), strict=True)
    connection.sqlite.executemany(
        f"INSERT INTO {KEYS[1]} (rowid, source, key_hash, payload_hash, position) VALUES (?, ?, ?, ?, ?)",
        [(row, source, key, payload, position) for row, (key, payload) in enumerate(pairs, first)],
    )


def live_runs(connection: Connection, source: str) -> dict[int, int]:
    """Numbers of a source's published runs of keys, and how many keys each has: 0 of one of an earlier format."""
    found = connection.execute(
        "SELECT id, keys FROM runs WHERE kind = 'keys' AND state = 'live' AND name = ? ORDER BY id", (source,)
    )
    return dict(found.fetchall())


def part_of_run(connection: Connection, run: int, after: int | None) -> KnownKeys | None:
    """Some keys of a run, in order, after those up to one; ``None`` behind the last."""
    behind = "TRUE" if after is None else "first > ?1"
    rows = connection.execute(
        f"SELECT pairs FROM keys_{run} WHERE {behind} ORDER BY first LIMIT {_BLOCKS_AT_ONCE}",
        () if after is None else (after,),
    ).fetchall()
    if not rows:
        return None
    halves = [(block[: len(block) // 2], block[len(block) // 2 :]) for (block,) in rows]
    key, payload = (np.frombuffer(b"".join(half), np.int64) for half in zip(*halves, strict=True))
    return KnownKeys(key, payload)


def in_run(connection: Connection, run: int, asked: IntArray) -> KnownKeys:
    """Pairs of one run under any of ``asked`` (sorted, unique): of the blocks that can hold them.

    Where many are asked for, those are all from the first to the last in turn.
    """
    if len(asked) > _ASKED_AT_ONCE:
        begin = f"coalesce((SELECT max(first) FROM keys_{run} WHERE first <= ?1), ?1)"
        blocks = connection.execute(
            f"SELECT pairs FROM keys_{run} WHERE first BETWEEN {begin} AND ?2 ORDER BY first",
            (int(asked[0]), int(asked[-1])),
        )
    else:
        holding = (
            f"SELECT DISTINCT (SELECT max(first) FROM keys_{run} WHERE first <= value) AS place FROM json_each(?)"
            " ORDER BY place"
        )
        blocks = connection.execute(
            f"SELECT pairs FROM ({holding}) CROSS JOIN keys_{run} ON first = place", (json.dumps(asked.tolist()),)
        )
    parts = []
    while some := blocks.fetchmany(_BLOCKS_AT_ONCE):
        parts.append(match([pairs for (pairs,) in some], asked))
    return joined(parts)


def appended_after(connection: Connection, position: int) -> dict[str, IntArray]:
    """Key hashes appended after a position, sorted, per source."""
    found: dict[str, list[int]] = {}
    blocks = connection.execute(f"SELECT source, pairs FROM {BLOCKS} WHERE position > ?", (position,))
    for source, pairs in blocks:
        found.setdefault(source, []).extend(pairs_of(pairs).key_hash.tolist())
    rows = chain.from_iterable(
        connection.execute(f"SELECT source, key_hash, position FROM {table} ORDER BY rowid DESC")
        for table in reversed(KEYS)
    )
    for source, key_hash, at in rows:
        if at <= position:  # rows are in the order of positions
            break
        found.setdefault(source, []).append(key_hash)
    return {source: np.unique(np.array(hashes, np.int64)) for source, hashes in found.items()}


def _in_blocks(connection: Connection, source: str, asked: IntArray) -> KnownKeys:
    blocks = connection.execute(f"SELECT pairs FROM {BLOCKS} WHERE source = ?", (source,)).fetchall()
    key = np.frombuffer(b"".join([pairs[: len(pairs) // 2] for (pairs,) in blocks]), np.int64)
    if len(asked) == 1 and not (key == asked).any():  # as of most events that come singly
        return NO_KEYS
    payload = np.frombuffer(b"".join([pairs[len(pairs) // 2 :] for (pairs,) in blocks]), np.int64)
    return among(key, payload, asked)


def _appended(connection: Connection, table: str, source: str, asked: IntArray) -> KnownKeys:
    if len(asked) > FEW and span(connection, table) < _PASSED * len(asked):
        every = connection.execute(f"SELECT key_hash, payload_hash FROM {table} WHERE source = ?", (source,))
        pairs = np.fromiter(chain.from_iterable(every), np.int64)
        return among(pairs[::2], pairs[1::2], asked)
    found: list[tuple[int, int]] = []
    for first in range(0, len(asked), _ASKED_AT_ONCE):
        found += connection.execute(
            f"SELECT k.key_hash, k.payload_hash FROM json_each(?) AS asked CROSS JOIN {table} AS k "
            "ON k.source = ? AND k.key_hash = asked.value",
            (json.dumps(asked[first : first + _ASKED_AT_ONCE].tolist()), source),
        ).fetchall()
    known = np.array(found, np.int64).reshape(-1, 2)
    return KnownKeys(known[:, 0], known[:, 1])
