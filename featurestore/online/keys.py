"""Keys of events (S6): which rows of a batch are new, and sorted blocks of keys that a store looks up fast."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from featurestore.events import IntArray, settle
from featurestore.hashing import ascending
from featurestore.online import Keys, KnownKeys

BLOCK = 250
"""Keys of one block: as many as fill one page of SQLite's file."""
NO_KEYS = KnownKeys(np.zeros(0, np.int64), np.zeros(0, np.int64))


@dataclass(frozen=True, slots=True, eq=False)
class Sifted:
    """Rows to keep, ascending; those of them that are ``suspect``, their key hash being known with another payload."""

    kept: IntArray
    suspect: IntArray
    duplicates: int


def sift(rows: int, keys: Keys | None, known: KnownKeys) -> Sifted:
    """Drop rows whose key and payload are known, or come earlier among the rows; rows without a key all stay."""
    if keys is None:
        return Sifted(np.arange(rows), np.zeros(0, np.int64), 0)
    row = np.flatnonzero(keys.has_key)
    stored = len(known.key_hash)
    if not stored and len(row) <= 1:  # nothing to compare
        return Sifted(np.arange(rows), row[:0], 0)
    key = np.concatenate([known.key_hash, signed(keys.key_hash)[row]])
    payload = np.concatenate([known.payload_hash, signed(keys.payload_hash)[row]])
    place = np.lexsort(
        (np.arange(len(key)), payload, key)
    )  # what is stored comes first among equals, then the earlier row
    key, payload = key[place], payload[place]
    new_key = np.append(True, key[1:] != key[:-1])[: len(key)]
    new_pair = new_key | np.append(True, payload[1:] != payload[:-1])[: len(key)]
    group = np.cumsum(new_key) - 1
    first = np.full(int(new_key.sum()), len(key))
    np.minimum.at(first, group, place)
    fresh = place >= stored
    repeated = row[place[fresh & ~new_pair] - stored]
    suspect = row[place[fresh & new_pair & (place != first[group])] - stored]
    keep = np.ones(rows, np.bool_)
    keep[repeated] = False
    return Sifted(np.flatnonzero(keep), np.sort(suspect), len(repeated))


def signed(hashes: np.ndarray[Any, Any]) -> IntArray:
    """64-bit hashes as int64, the same bits: what SQLite stores and everything here sorts by."""
    return np.ascontiguousarray(hashes).view(np.int64)


def key_blocks(keys: KnownKeys) -> Iterator[tuple[int, int, bytes]]:
    """Sorted blocks (first hash, last hash, packed pairs); equal hashes share a block."""
    ordered = _in_order(signed(keys.key_hash), signed(keys.payload_hash))
    key, payload = ordered.key_hash, ordered.payload_hash
    cuts = np.unique(np.searchsorted(key, key[::BLOCK], side="left"))
    for low, high in pairwise([*cuts.tolist(), len(key)]):
        yield int(key[low]), int(key[high - 1]), block(KnownKeys(key[low:high], payload[low:high]))


def block(keys: KnownKeys) -> bytes:
    """Pack sorted keys: all key hashes, then all payload hashes."""
    return keys.key_hash.tobytes() + keys.payload_hash.tobytes()


def pairs_of(packed: bytes) -> KnownKeys:
    """Keys of a block."""
    both = np.frombuffer(packed, np.int64)
    return KnownKeys(both[: len(both) // 2], both[len(both) // 2 :])


def match(blocks: Sequence[bytes], asked: IntArray) -> KnownKeys:
    """Pairs of blocks, given in their order, whose key hash is among ``asked`` (sorted)."""
    key = np.frombuffer(b"".join([block[: len(block) // 2] for block in blocks]), np.int64)
    first, last = np.searchsorted(key, asked), np.searchsorted(key, asked, side="right")
    there = last > first
    if not there.any():  # as of most events: they are new
        return NO_KEYS
    payload = np.frombuffer(b"".join([block[len(block) // 2 :] for block in blocks]), np.int64)
    edges = np.zeros(len(key) + 1, np.int64)  # 1 where equal hashes begin, -1 behind their end
    edges[first[there]] += 1
    edges[last[there]] -= 1
    chosen = np.cumsum(edges[:-1]) > 0
    return KnownKeys(key[chosen], payload[chosen])


def among(key: IntArray, payload: IntArray, asked: IntArray) -> KnownKeys:
    """Pairs whose key hash is among ``asked`` (sorted, not empty)."""
    place = np.minimum(np.searchsorted(asked, key), len(asked) - 1)
    found = asked[place] == key
    return KnownKeys(key[found], payload[found])


def joined(parts: Sequence[KnownKeys]) -> KnownKeys:
    """All pairs of all parts, sorted by key hash."""
    filled = [part for part in parts if len(part.key_hash)] or [NO_KEYS]
    if len(filled) == 1:
        return _in_order(filled[0].key_hash, filled[0].payload_hash)
    key, payload = (np.concatenate([getattr(part, name) for part in filled]) for name in ("key_hash", "payload_hash"))
    return _in_order(key, payload)


def merged(streams: Iterable[Iterable[KnownKeys]]) -> Iterator[KnownKeys]:
    """All pairs of streams, each of which gives parts, filled and sorted, each part after those before it."""
    left = [iter(stream) for stream in streams]
    held = [next(stream, None) for stream in left]
    while some := [part for part in held if part is not None]:
        upto = min(int(part.key_hash[-1]) for part in some)
        taken = []
        for place, part in enumerate(held):
            if part is not None:
                cut = int(np.searchsorted(part.key_hash, upto, side="right"))
                taken.append(KnownKeys(part.key_hash[:cut], part.payload_hash[:cut]))
                rest = KnownKeys(part.key_hash[cut:], part.payload_hash[cut:])
                held[place] = rest if len(rest.key_hash) else next(left[place], None)
        yield joined(taken)


def worth_merging(runs: Mapping[int, int], new: int) -> list[int]:
    """Runs, of so many keys each, that so many new ones should be one with: none much larger than all the smaller.

    So there are few runs after many loads, and each key has been written few times. Those of unknown size, 0, stay.
    """
    found = []
    for run, keys in sorted(runs.items(), key=lambda one: one[1]):
        if 0 < keys <= 2 * new:
            found.append(run)
            new += keys
    return found


def _in_order(key: IntArray, payload: IntArray) -> KnownKeys:
    """Pairs sorted by key, then payload; hardly any two have one key."""
    if (key[1:] > key[:-1]).all():
        return KnownKeys(key, payload)
    place = ascending(key)
    key = key[place]
    tied = key[1:] == key[:-1]
    if tied.any():
        settle(place, tied, lambda rows: [payload[rows]])
    return KnownKeys(key, payload[place])
