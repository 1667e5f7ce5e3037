"""Copy a store's home while it is in use: consistent, and checked before it counts as a backup.

What refers to something is copied before what it refers to: models name training sets, training sets name positions of
the log. The log and the online store come last, under the lock that loads take, so that no load lies between the two.
Servers go on answering and taking events; loads and training sets wait, for as long as it takes to copy what has
changed since this began. The backup is a folder named after its instant (UTC); one that was cut short ends in
``.partial``.
"""

import argparse
import contextlib
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb

from featurestore import FeatureStore, times
from featurestore.log import EventLog

LAST = ("log", "online.sqlite")
BESIDE = ("-wal", "-shm", ".tmp", ".wal", ".lock", "lock")  # of an open file, of one not finished, of whoever holds it
WAIT_S = 600.0


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("project", type=Path, help="folder of the project")
    parser.add_argument("backups", type=Path, help="folder that the backup's own folder is made in")
    parser.add_argument("--keep", type=int, default=0, help="delete all but so many of the newest; 0 keeps all")
    given = parser.parse_args()
    made = back_up(given.project, given.backups)
    print(made)
    if given.keep:
        for old in sorted(given.backups.glob("????????T??????Z"))[: -given.keep]:
            shutil.rmtree(old)


def back_up(project: Path, backups: Path) -> Path:
    """Make a backup of a project's store; gives its folder."""
    with FeatureStore.open(project) as store:
        target = backups / f"{times.to_datetime(times.system_clock()):%Y%m%dT%H%M%SZ}"
        begun = target.with_name(f"{target.name}.partial")
        begun.mkdir(parents=True, mode=0o700)
        parts = sorted(path.name for path in store.home.iterdir() if path.name not in LAST)
        for name in ["models", *(one for one in parts if one != "models")]:
            copy(store.home / name, begun / name)
        copy(store.home / "log" / "segments", begun / "log" / "segments")  # most of them, before anybody has to wait
        with store.log.lock(what="back up", timeout_s=WAIT_S):
            for name in LAST:
                copy(store.home / name, begun / name)
    EventLog(begun).verify()
    os.sync()
    begun.rename(target)
    return target


def copy(path: Path, to: Path) -> None:
    """Copy a file as its kind wants it, or a folder; what is gone by now counts no more."""
    if path.name.startswith(".incoming") or path.name.endswith(BESIDE):
        return
    with contextlib.suppress(FileNotFoundError):
        if path.is_dir():
            to.mkdir(exist_ok=True, mode=0o700, parents=True)
            # aliases.json first: it names versions, and they are not deleted
            for one in sorted(path.iterdir(), key=lambda one: (one.is_dir(), one.name)):
                copy(one, to / one.name)
        elif path.suffix == ".sqlite":
            copy_sqlite(path, to)
        elif path.suffix == ".duckdb":
            with unwritten(path):
                shutil.copy2(path, to)
        elif not (to.exists() and path.stat().st_size == to.stat().st_size):
            shutil.copy2(path, to)


def copy_sqlite(path: Path, to: Path) -> None:
    """Copy as of one moment, with what lies in its write-ahead log; writers do not wait."""
    with contextlib.closing(sqlite3.connect(path)) as source, contextlib.closing(sqlite3.connect(to)) as target:
        source.backup(target)


@contextlib.contextmanager
def unwritten(path: Path) -> Iterator[None]:
    """Hold a DuckDB file open for reading: meanwhile nobody can write it."""
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            held = duckdb.connect(str(path), read_only=True)
            break
        except duckdb.IOException:
            if time.monotonic() > deadline or not path.exists():
                raise
            time.sleep(0.05)
    with contextlib.closing(held):
        yield


if __name__ == "__main__":
    main()
