"""What is SQLite's own: crashes, several processes and threads, forks, damaged and foreign files."""

import multiprocessing
import os
import random
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from online_workers import VIEW, append_forever, append_some, batch, joining, load_forever

from featurestore.errors import NewerFormat, OperationError, StoreBusy, StoreDamaged
from featurestore.online import ViewState, connection, sqlite_fresh, sqlite_keys, sqlite_loads
from featurestore.online.sqlite import SQLiteStore

FULL = ViewState()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "online" / "store.sqlite"


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    """Start processes quickly: they fork from one that has imported the store."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["featurestore.online.sqlite"])
    return context


def events(store: SQLiteStore, entity: str = "c1") -> list[str]:
    return sorted(blob.decode() for blob, _ in store.read({VIEW: [entity]}, {}).blobs[VIEW][0])


def kill_after(context: ForkServerContext, acknowledgements: int, target: Any, *args: Any) -> list[int]:
    """Run a worker, kill it when it has acknowledged so often, give all that it acknowledged."""
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=target, args=(*args, sender))
    process.start()
    sender.close()
    acknowledged = [receiver.recv() for _ in range(acknowledgements)]
    process.kill()
    try:
        while True:
            acknowledged.append(receiver.recv())
    except EOFError:
        pass
    process.join()
    process.close()
    receiver.close()
    return acknowledged


def test_no_acknowledged_event_is_lost_or_doubled_when_an_appender_is_killed(
    path: Path, processes: ForkServerContext
) -> None:
    moments = random.Random(1)
    expected: list[str] = []
    for run in range(10):
        name = f"w{run}"
        acknowledged = kill_after(processes, moments.randrange(1, 30), append_forever, path, name)
        store = SQLiteStore(path)
        found = [event for event in events(store) if event.startswith(f"{name}:")]
        assert {f"{name}:{number}" for number in acknowledged} <= set(found)
        assert len(found) - len(acknowledged) in (0, 1)  # the last one may be durable and not yet acknowledged
        expected += found
        assert events(store) == sorted(expected)
        assert store.state().position == len(expected) == len(list(store.journal(0)))
        store.close()


def test_a_load_killed_at_any_moment_is_published_whole_or_not_at_all(path: Path, processes: ForkServerContext) -> None:
    moments = random.Random(2)
    for run in range(10):
        target = path.with_name(f"{run}.sqlite")
        kill_after(processes, moments.randrange(1, 36), load_forever, target)
        store = SQLiteStore(target)
        view = store.views().get(VIEW, FULL)
        assert {len(events(store, f"c{entity}")) for entity in range(50)} == {len(view.runs)}
        assert len({tuple(events(store, f"c{entity}")) for entity in range(50)}) == 1
        store.begin_load("after")
        store.write_run("after", VIEW, [("c1", 1, b"after")])
        store.publish_load("after", views={VIEW: FULL}, replaces=view.runs)
        assert events(store) == ["after"]
        store.close()


def test_threads_and_processes_append_at_once_and_every_position_is_whole(
    path: Path, processes: ForkServerContext
) -> None:
    store = SQLiteStore(path)
    workers = [processes.Process(target=append_some, args=(path, f"p{number}", 25)) for number in range(2)]
    for worker in workers:
        worker.start()

    def append(name: str) -> list[int]:
        return [store.append("payments", batch(f"{name}:{number}")).position for number in range(25)]

    with ThreadPoolExecutor(4) as pool:
        appended = list(pool.map(append, ["t0", "t1", "t2", "t3"]))
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert all(positions == sorted(positions) for positions in appended)
    assert store.state().position == 150
    names = [f"{kind}{worker}" for kind, count in (("t", 4), ("p", 2)) for worker in range(count)]
    assert events(store) == sorted(f"{name}:{number}" for name in names for number in range(25))
    store.close()


def test_threads_that_make_the_file_at_once_all_get_the_same_store(tmp_path: Path) -> None:
    together = threading.Barrier(6)

    def append(path: Path) -> int:
        store = SQLiteStore(path)
        together.wait()
        position = store.append("payments", batch("x")).position
        store.close()
        return position

    with ThreadPoolExecutor(6) as pool:
        for number in range(20):
            path = tmp_path / str(number) / "store.sqlite"
            assert sorted(pool.map(append, [path] * 6)) == [1, 2, 3, 4, 5, 6]


def test_a_snapshot_holds_as_many_events_as_its_position_says(path: Path, processes: ForkServerContext) -> None:
    store = SQLiteStore(path)
    worker = processes.Process(target=append_some, args=(path, "p0", 60))
    worker.start()
    while worker.is_alive():
        snapshot = store.read({VIEW: ["c1"]}, {})
        assert len(snapshot.blobs[VIEW][0]) == snapshot.position
    worker.join()
    assert store.state().position == 60
    store.close()


def test_a_reader_never_sees_an_event_twice_or_misses_it_while_loads_take_the_tail_in(path: Path) -> None:
    store = SQLiteStore(path)
    done = threading.Event()
    seen: set[int] = set()

    def watch() -> None:
        while not done.is_set():
            seen.add(len(events(store)))

    store.append("payments", batch("a"))
    watcher = threading.Thread(target=watch)
    watcher.start()
    for number in range(20):
        store.begin_load(str(number))
        store.write_run(str(number), VIEW, [("c1", 1, b"a")])
        runs = store.views().get(VIEW, FULL).runs
        store.publish_load(str(number), views={VIEW: FULL}, replaces=runs, tail_upto=1, advances=False)
    done.set()
    watcher.join()
    assert seen == {1}
    store.close()


def test_a_publish_killed_before_it_cleared_the_tail_shows_no_event_twice(path: Path) -> None:
    store = SQLiteStore(path)
    store.append("payments", batch("a"))
    store.begin_load("first")
    store.write_run("first", VIEW, [("c1", 1, b"a")])
    killed = connection.Connection(path)
    sqlite_loads.publish(
        killed,
        "first",
        views={VIEW: FULL},
        sources=(),
        replaces=(),
        tail_upto=1,
        advances=False,
        stamp=None,
        expect_position=None,
    )
    assert killed.execute("SELECT count(*) FROM fresh_tail").fetchone() == (1,)
    assert events(store) == ["a"]
    store.begin_load("next")
    assert killed.execute("SELECT count(*) FROM fresh_tail").fetchone() == (0,)
    killed.close()
    store.close()


def test_two_opened_stores_see_each_other(path: Path) -> None:
    store, other = SQLiteStore(path), SQLiteStore(path)
    store.append("payments", batch("a"))
    assert events(other) == ["a"]
    other.begin_load("first")
    other.write_run("first", VIEW, [("c1", 1, b"b")])
    other.publish_load("first", views={VIEW: FULL}, tail_upto=1)
    assert events(store) == ["b"]
    other.close()
    store.close()


def test_a_replaced_run_gives_its_table_back(path: Path) -> None:
    store = SQLiteStore(path)
    for name in ("first", "second"):
        store.begin_load(name)
        store.write_run(name, VIEW, [(f"c{entity}", 1, b"x") for entity in range(1500)])
        runs = store.views().get(VIEW, FULL).runs
        store.publish_load(name, views={VIEW: FULL}, replaces=runs)
    file = sqlite3.connect(path)
    assert file.execute("SELECT name FROM sqlite_master WHERE name LIKE 'run_%' AND type = 'table'").fetchall() == [
        ("runs",),
        ("run_2",),
    ]
    file.close()
    store.close()


def test_deleted_bytes_are_nowhere_in_the_file(path: Path) -> None:
    store = SQLiteStore(path)
    store.begin_load("first")
    store.write_run("first", VIEW, [("c1", 1, b"a secret" * 2000), ("c2", 1, b"kept")])
    store.publish_load("first", views={VIEW: FULL})
    store.delete(VIEW, ["c1"])
    assert all(b"a secret" not in file.read_bytes() for file in path.parent.iterdir())
    assert events(store, "c2") == ["kept"]
    store.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform does not fork")
def test_a_forked_process_opens_its_own_connection(path: Path, processes: ForkServerContext) -> None:
    forking = processes.Process(target=_append_here_and_in_a_fork, args=(path,))
    forking.start()
    forking.join()
    assert forking.exitcode == 0
    store = SQLiteStore(path)
    assert events(store) == ["child", "parent", "parent again"]
    store.close()


def _append_here_and_in_a_fork(path: Path) -> None:
    store = SQLiteStore(path)
    store.append("payments", batch("parent"))
    child = os.fork()
    if not child:
        store.append("payments", batch("child"))
        os._exit(0)
    os.waitpid(child, 0)
    store.append("payments", batch("parent again"))


def test_a_store_that_another_writer_holds_is_busy(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "BUSY_S", 0.01)
    store = SQLiteStore(path)
    store.append("payments", batch("a"))
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreBusy, match="stayed locked by another writer"):
        store.append("payments", batch("b"))
    assert events(store) == ["a"]
    holder.execute("ROLLBACK")
    holder.close()
    assert store.append("payments", batch("b")).position == 2
    store.close()


def test_rows_that_an_append_moves_while_a_load_clears_are_cleared_too(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, other = SQLiteStore(path), SQLiteStore(path)
    for text in "abc":
        store.append("payments", batch(text))
    clear_some = sqlite_loads._repeat

    def moved_after(*given: Any) -> None:
        clear_some(*given)
        with monkeypatch.context() as patch:
            patch.setattr(sqlite_fresh, "_MOST", 1)
            other.append("payments", batch("later", entity="c2"))

    monkeypatch.setattr(sqlite_loads, "_repeat", moved_after)
    store.begin_load("first")
    store.publish_load("first", views={VIEW: FULL}, tail_upto=store.close_tail())
    monkeypatch.undo()
    file = sqlite3.connect(path)
    for table in ("tail", "fresh_tail"):
        assert file.execute(f"SELECT count(*) FROM {table} WHERE key = 'c1'").fetchone() == (0,)
    file.close()
    store.close()
    other.close()


def test_a_file_of_a_later_version_is_refused_in_words(path: Path) -> None:
    SQLiteStore(path).state()
    file = sqlite3.connect(path)
    file.execute("PRAGMA user_version = 5")
    file.close()
    with pytest.raises(NewerFormat, match="has format 5; this version reads up to 4"):
        SQLiteStore(path).state()


def test_a_file_of_the_first_version_is_brought_up(path: Path) -> None:
    store = SQLiteStore(path)
    for number in range(30, 70):
        store.append("payments", batch(str(number), keys=[(number, 1)]))
    store.close()
    file = sqlite3.connect(path)
    for name, fresh in sqlite_fresh.TAIL, sqlite_fresh.KEYS:
        file.execute(f"INSERT INTO {name} SELECT * FROM {fresh}")
        file.execute(f"DROP TABLE {fresh}")
    file.execute("DROP TABLE fresh_key_blocks")
    file.execute("ALTER TABLE state DROP COLUMN closed")
    file.execute("ALTER TABLE runs DROP COLUMN keys")
    file.execute("PRAGMA user_version = 1")
    file.commit()
    file.close()
    store = SQLiteStore(path)
    assert store.append("payments", batch("70", "69", keys=[(70, 1), (69, 1)], merge=joining)).duplicates == 1
    assert len(events(store)) == 2
    assert "+".join(events(store)).split("+") == [str(number) for number in range(30, 71)]
    assert store.close_tail() == 41
    store.close()


def test_a_file_of_the_third_version_is_brought_up_and_a_process_of_that_version_appends_no_more(path: Path) -> None:
    store = SQLiteStore(path)
    store.append("payments", batch("a", keys=[(1, 11)]))
    store.close()
    file = sqlite3.connect(path)
    file.execute("DROP TABLE fresh_key_blocks")
    file.execute("ALTER TABLE fresh_key_rows RENAME TO fresh_keys")
    file.execute("PRAGMA user_version = 3")
    store = SQLiteStore(path)
    many = batch(*["x"] * 300, keys=[(number + 1, 11) for number in range(300)])
    assert store.append("payments", many).duplicates == 1
    assert store.append("payments", batch("z", keys=[(277, 11)])).duplicates == 1
    with pytest.raises(sqlite3.OperationalError, match="no such table: fresh_keys"):
        file.execute("INSERT INTO fresh_keys VALUES ('payments', 277, 11, 3)")
    file.close()
    store.close()


def test_more_keys_than_a_small_table_holds_come_at_once_and_are_known_after_a_scrub(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SQLiteStore(path)
    many = [(number, 11) for number in range(300)]
    store.append("payments", batch(*["x"] * 300, keys=many))
    store.scrub()
    monkeypatch.setattr(sqlite_fresh, "_MOST", 100)
    store.append("payments", batch(*["x"] * 300, keys=[(-1 - number, 11) for number, _ in many]))
    assert store.append("payments", batch(*["x"] * 300, keys=many)).duplicates == 300
    file = sqlite3.connect(path)
    held = [file.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("keys", "fresh_key_blocks")]
    assert held == [600, 0]
    file.close()
    store.close()


@pytest.mark.parametrize("seed", range(20))
def test_keys_are_known_however_many_came_at_once_and_wherever_they_lie(
    path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(sqlite_keys, "_ROW_BY_ROW", 3)
    monkeypatch.setattr(sqlite_fresh, "_MOST", 25)
    drawn = random.Random(seed)
    store = SQLiteStore(path)
    known: dict[str, dict[int, int]] = {"payments": {}, "refunds": {}}  # of each source: key hash, and its position
    for _ in range(60):
        source = drawn.choice(list(known))
        asked = drawn.sample(range(-200, 200), drawn.choice([1, 2, 3, 4, 9, 30]))
        receipt = store.append(source, batch(*["x"] * len(asked), keys=[(key, 7) for key in asked]))
        new = [row for row, key in enumerate(asked) if key not in known[source]]
        assert receipt.kept.tolist() == new
        known[source] |= {asked[row]: receipt.position for row in new}
        position = drawn.randrange(store.state().position + 1)
        with sqlite3.connect(path) as file:
            after = sqlite_keys.appended_after(file, position)  # type: ignore[arg-type]
        file.close()
        for name, keys in known.items():
            later = sorted(key for key, at in keys.items() if at > position)
            assert after.get(name, np.zeros(0, np.int64)).tolist() == later
            found = store.seen(name, np.arange(-200, 200))
            assert found.key_hash.tolist() == sorted(keys)
            assert set(found.payload_hash.tolist()) <= {7}
    store.close()


def test_a_file_of_something_else_is_left_alone(path: Path) -> None:
    path.parent.mkdir()
    file = sqlite3.connect(path)
    file.execute("CREATE TABLE notes (text)")
    file.close()
    with pytest.raises(StoreDamaged, match="is an SQLite file of something else"):
        SQLiteStore(path).state()


def test_a_file_that_is_no_database_is_damage(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"not a database, but long enough to have a header" * 20)
    with pytest.raises(StoreDamaged, match="rebuild it from the event log"):
        SQLiteStore(path).state()


def test_a_closed_store_says_so(path: Path) -> None:
    store = SQLiteStore(path)
    store.append("payments", batch("a"))
    store.close()
    with pytest.raises(OperationError, match="has been closed"):
        store.state()


@pytest.mark.parametrize(
    "odd", ["", 'a"b', "a\\b", "[1]", "\t", "schön", "고객", "\U0001f600", "a\0b", "a\0", "\x7f", "é" * 500]
)
def test_many_keys_are_read_as_each_alone(path: Path, odd: str) -> None:
    store = SQLiteStore(path)
    keys = [*(f"c{number}" for number in range(8)), odd, "nobody", odd]
    store.begin_load("first")
    store.write_run("first", VIEW, [(key, 5, f"{key} of the run".encode()) for key in keys[:9]])
    store.publish_load("first", views={VIEW: FULL})
    for key in (odd, "c3"):
        store.append("payments", batch(f"{key} of the tail", entity=key, now=7))
    for since in (None, 6, 8):
        together = store.read({VIEW: keys}, {VIEW: since}).blobs[VIEW]
        alone = [store.read({VIEW: [key]}, {VIEW: since}).blobs[VIEW][0] for key in keys]
        assert together == alone
        told = {f"{key} of the {part}".encode() for key in (odd,) for part in ("run", "tail")}
        assert {blob for blob, _ in together[8]} == {one for one in told if (since or 0) <= (5 if b"run" in one else 7)}
    store.close()


def test_many_keys_with_half_a_surrogate_are_refused_by_name(path: Path) -> None:
    store = SQLiteStore(path)
    with pytest.raises(UnicodeEncodeError) as caught:
        store.read({VIEW: [*"abcdefgh", "x\ud800"]}, {})
    assert caught.value.object == "x\ud800"
    store.close()
