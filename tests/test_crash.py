"""Killed at a random moment: what was acknowledged is there once, and the next command works."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from shop import PAYMENTS, write

from featurestore import FeatureStore

WORKERS = Path(__file__).with_name("workers.py")


def acknowledged_before_kill(what: str, folder: Path, start: int, seconds: float) -> list[int]:
    """Numbers that a worker printed before it was killed, ``seconds`` after it was ready."""
    command = [sys.executable, str(WORKERS), what, str(folder), str(start), "100000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        time.sleep(seconds)  # the random moment, not a synchronisation
        child.send_signal(signal.SIGKILL)
        lines = child.stdout.read().splitlines()
    assert child.returncode == -signal.SIGKILL
    return [int(line) for line in lines if line.isdigit()]


def logged_ids(store: FeatureStore) -> list[str]:
    return [str(one) for one in store.log.read("payments", columns=["id"])["id"].to_pylist()]


def online_count(folder: Path) -> int:
    with FeatureStore(PAYMENTS, home=folder / "home", root=folder) as store:
        vectors = store.lookup_many("shop", [{"customer": f"c{one}", "amount": 1.0} for one in range(7)])
    return sum(vector["number"] for vector in vectors)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    write(tmp_path / "data/first.csv", "p1,other,2026-05-15T10:00:00,5")
    with FeatureStore(PAYMENTS, home=tmp_path / "home", root=tmp_path) as store:
        store.materialize()
    return tmp_path


def check_kept(folder: Path, promised: set[str], seed: int) -> None:
    with FeatureStore(PAYMENTS, home=folder / "home", root=folder) as store:
        store.materialize()
        ids = logged_ids(store)
    assert len(ids) == len(set(ids)), f"doubled (seed {seed})"
    assert promised <= set(ids), f"lost (seed {seed})"
    assert online_count(folder) == len(ids) - 1


def check_ingest(folder: Path, kills: int, seed: int) -> None:
    dice, start = random.Random(seed), 0
    promised: set[str] = set()
    for _ in range(kills):
        done = acknowledged_before_kill("ingest", folder, start, dice.uniform(0.0, 0.25))
        promised |= {f"i{number}" for number in range(start, max(done, default=start - 1) + 1)}
        with FeatureStore(PAYMENTS, home=folder / "home", root=folder) as store:
            if dice.random() < 0.5:  # half of them meet another kill before they are taken over
                store.materialize()
        start = max(done, default=start) + 30
    check_kept(folder, promised, seed)


def check_ingest_together(folder: Path, kills: int, seed: int) -> None:
    dice, promised = random.Random(seed), set[str]()
    for kill in range(kills):
        done = acknowledged_before_kill("ingest_together", folder, kill * 100_000, dice.uniform(0.0, 0.25))
        promised |= {f"i{number}" for number in done}
    check_kept(folder, promised, seed)


def check_materialize(folder: Path, kills: int, seed: int) -> None:
    dice, start = random.Random(seed), 0
    promised: set[str] = set()
    for _ in range(kills):
        done = acknowledged_before_kill("materialize", folder, start, dice.uniform(0.0, 0.4))
        promised |= {f"f{number}-{row}" for number in done for row in range(40)}
        start = max(done, default=start) + 5
        with FeatureStore(PAYMENTS, home=folder / "home", root=folder) as store:
            ids = logged_ids(store)
            assert len(ids) == len(set(ids)), f"doubled after kill (seed {seed})"
            assert promised <= set(ids), f"lost after kill (seed {seed})"
    with FeatureStore(PAYMENTS, home=folder / "home", root=folder) as store:
        store.materialize()
        store.log.verify()
        there = {path.stem for path in (folder / "data").glob("part*.csv")}
        assert len(logged_ids(store)) == 40 * len(there) + 1


def test_a_kill_during_ingest_loses_and_doubles_nothing(folder: Path) -> None:
    check_ingest(folder, kills=3, seed=1)


def test_a_kill_while_threads_ingest_together_loses_and_doubles_nothing(folder: Path) -> None:
    check_ingest_together(folder, kills=3, seed=1)


def test_a_kill_during_materialize_loses_and_doubles_nothing(folder: Path) -> None:
    check_materialize(folder, kills=3, seed=1)


@pytest.mark.slow
def test_fifty_kills_during_ingest(folder: Path) -> None:
    check_ingest(folder, kills=50, seed=2)


@pytest.mark.slow
def test_fifty_kills_while_threads_ingest_together(folder: Path) -> None:
    check_ingest_together(folder, kills=50, seed=2)


@pytest.mark.slow
def test_fifty_kills_during_materialize(folder: Path) -> None:
    check_materialize(folder, kills=50, seed=2)
