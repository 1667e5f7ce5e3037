"""Several processes at once: readers, writers of single events, a loader."""

import subprocess
import sys
from pathlib import Path

import pytest
from shop import PAYMENTS, write

from featurestore import FeatureStore

WORKERS = Path(__file__).with_name("workers.py")


def start(what: str, folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, str(WORKERS), what, str(folder), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def last_line(child: "subprocess.Popen[str]") -> list[float]:
    out, err = child.communicate(timeout=300)
    assert child.returncode == 0, err
    return [float(word) for word in out.splitlines()[-1].split()]


def check(folder: Path, seconds: float, ingests: int, loads: int) -> tuple[float, float]:
    """Longest wait in milliseconds of a lookup, and of an ingest with the lookup after it."""
    (folder / "data").mkdir()
    write(folder / "data/first.csv", "p1,other,2026-05-15T10:00:00,5")
    with FeatureStore(PAYMENTS, home=folder / "home", root=folder) as store:
        store.materialize()
    readers = [start("look_up", folder, str(seconds)) for _ in range(2)]
    writer = start("ingest_and_look", folder, "0", str(ingests))
    loader = start("loads", folder, "0", str(loads))
    waits = [last_line(child)[0] for child in readers]
    wait_of_writer = last_line(writer)[0]
    assert last_line(loader) == [loads - 1]
    with FeatureStore(PAYMENTS, home=folder / "home", root=folder) as store:
        store.materialize()
        assert store.log.rows("payments") == 1 + ingests + 40 * loads
        assert store.lookup("shop", {"customer": "solo0", "amount": 1.0})["number"] == ingests
        assert len(store.training_sets()) == loads
    return max(waits), wait_of_writer


def test_lookups_ingests_and_loads_at_once(tmp_path: Path) -> None:
    check(tmp_path, seconds=4, ingests=60, loads=4)


@pytest.mark.slow
def test_lookups_ingests_and_loads_at_once_for_longer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    waits = check(tmp_path, seconds=40, ingests=1000, loads=40)
    with capsys.disabled():
        sys.stdout.write(f"\nlongest lookup {waits[0]:.0f} ms, longest ingest and lookup {waits[1]:.0f} ms\n")
