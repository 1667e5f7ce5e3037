"""Appends of several threads in one transaction: each has its own outcome, and all are durable before any is told."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest

from featurestore.errors import ConflictingRows, StoreBusy
from featurestore.online import Batch
from featurestore.online.connection import Connection
from featurestore.online.sqlite import SQLiteStore

Packed = tuple[bytes, dict[str, Any]]
THREADS = 5


def batch(pack: Callable[[], Packed] = lambda: (b"payload", {})) -> Batch:
    return Batch(1, 7, lambda stamp, kept: pack())  # noqa: ARG005 - named for who reads the signature


def refuse() -> Packed:
    raise ConflictingRows("another payload")


def at_once(store: SQLiteStore, batches: list[Batch]) -> list["Future[Any]"]:
    """Append the batches while a first append is held up, so that they make one group, in their order."""
    begun, go_on = Event(), Event()

    def hold() -> Packed:
        begun.set()
        assert go_on.wait(60)
        return b"first", {}

    with ThreadPoolExecutor(THREADS) as pool:
        pool.submit(store.append, "s", batch(hold))
        assert begun.wait(60)
        futures = []
        for number, one in enumerate(batches, 1):
            futures.append(pool.submit(store.append, "s", one))
            while len(store._commits._waiting) < number:
                pass
        go_on.set()
    return futures


@pytest.fixture
def store(tmp_path: Path) -> SQLiteStore:
    return SQLiteStore(tmp_path / "online.sqlite")


def test_a_wrong_append_fails_alone(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[str] = []
    real = Connection.writing

    def writing(connection: Connection) -> AbstractContextManager[None]:
        begun.append("one")
        return real(connection)

    monkeypatch.setattr(Connection, "writing", writing)
    first, wrong, second, third = at_once(store, [batch(), batch(refuse), batch(), batch()])
    assert isinstance(wrong.exception(), ConflictingRows)
    assert [one.result().position for one in (first, second, third)] == [2, 3, 4]
    assert [entry.position for entry in store.journal(0)] == [1, 2, 3, 4]
    assert len(begun) == 3  # to make the file, the first, and all others


def test_where_the_transaction_fails_so_do_all_in_it(store: SQLiteStore) -> None:
    def end() -> Packed:
        store._connections.get().execute("ROLLBACK")  # as SQLite does by itself where the disk is full
        raise ConflictingRows("what was done is undone")

    futures = at_once(store, [batch(), batch(end), batch()])
    assert [type(one.exception()) for one in futures] == [type(futures[0].exception())] * 3
    assert futures[0].exception() is not None
    assert [entry.position for entry in store.journal(0)] == [1]
    assert store.append("s", batch()).position == 2


def test_one_who_cannot_begin_says_so(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featurestore.online.connection.BUSY_S", 0.05)
    other = SQLiteStore(store.path)
    with other._connections.get().writing(), pytest.raises(StoreBusy):
        store.append("s", batch())
    assert store.append("s", batch()).kept.tolist() == np.arange(1).tolist()
