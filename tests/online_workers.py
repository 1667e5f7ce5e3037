"""What the online tests run in other processes, to be killed or to compete, and the batches that all of them append."""

from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from featurestore.events import IntArray
from featurestore.online import Batch, Keys, Merge, Piece, ViewState
from featurestore.online.sqlite import SQLiteStore

VIEW = "payments_by_customer"


def batch(
    *events: str,
    entity: str = "c1",
    now: int = 100,
    keys: Sequence[tuple[int | None, int]] | None = None,
    covers: Mapping[str, str] | None = None,
    merge: Merge | None = None,
) -> Batch:
    """Rows whose blobs are their texts; ``keys`` are (key hash or null, payload hash)."""

    def packed(stamp: int, kept: IntArray) -> tuple[bytes, Mapping[str, Sequence[Piece]]]:
        texts = [events[row].encode() for row in kept.tolist()]
        return b",".join(texts), {VIEW: [(entity, stamp, text) for text in texts]}

    return Batch(
        rows=len(events),
        now=now,
        pack=packed,
        keys=None if keys is None else keyed(keys),
        covers=covers or {},
        merge=merge,
    )


def joining(view: str, entities: Sequence[Sequence[bytes]]) -> list[list[tuple[int, bytes]] | None]:
    """Merge blobs whose texts are plain: one text of all, in order."""
    assert view == VIEW
    return [None if b"!" in blobs else [(100, b"+".join(sorted(blobs)))] for blobs in entities]


def keyed(keys: Sequence[tuple[int | None, int]]) -> Keys:
    key_hash = np.array([key or 0 for key, _ in keys], np.int64)
    has_key = np.array([key is not None for key, _ in keys], np.bool_)
    return Keys(key_hash, np.array([payload for _, payload in keys], np.int64), has_key)


def append_forever(path: Path, name: str, acknowledge: Connection) -> None:
    """Append ``name:0``, ``name:1``, …; send each number once it is durable."""
    store = SQLiteStore(path)
    number = 0
    while True:
        store.append("payments", batch(f"{name}:{number}", keys=[(hash_of(name, number), number)]))
        acknowledge.send(number)
        number += 1


def append_some(path: Path, name: str, count: int) -> None:
    """Append ``name:0`` to ``name:count-1``."""
    store = SQLiteStore(path)
    for number in range(count):
        store.append("payments", batch(f"{name}:{number}"))
    store.close()


def load_forever(path: Path, acknowledge: Connection) -> None:
    """Publish loads that each replace the whole view; say when each is begun, staged, published."""
    store = SQLiteStore(path)
    number = 0
    while True:
        load = f"load-{number}"
        store.begin_load(load)
        acknowledge.send(number)
        store.write_run(load, VIEW, ((f"c{entity}", number, str(number).encode()) for entity in range(50)))
        acknowledge.send(number)
        held = store.views()
        replaced = held[VIEW].runs if held else ()
        store.publish_load(load, views={VIEW: ViewState()}, replaces=replaced)
        acknowledge.send(number)
        number += 1


def hash_of(name: str, number: int) -> int:
    return (ord(name[-1]) << 32) + number
