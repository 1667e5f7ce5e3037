"""What happens when the online store or the log is lost, or comes back from an older backup."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from shop import Clock, write

from featurestore import FeatureStore
from featurestore.errors import NotMaterialized, StoreDamaged

Open = Callable[..., FeatureStore]
ROW = {"customer": "c1", "amount": 1.0}


def ingest(store: FeatureStore, clock: Clock, key: str) -> int:
    at = clock.now
    clock.advance(minutes=1)
    return store.ingest("payments", {"id": key, "customer": "c1", "event_time": at, "amount": 1.0}).position


def numbers(store: FeatureStore, clock: Clock) -> tuple[int, int]:
    """Events of c1 online and in a training set, at one instant."""
    at = clock.advance(minutes=1)
    made = store.training_set("shop", [{**ROW, "event_time": at}], time="event_time")
    return store.lookup("shop", ROW)["number"], made.to_arrow().column("number")[0].as_py()


def begun(tmp_path: Path, store: FeatureStore, clock: Clock) -> None:
    """Two events in the log, the second taken over from the journal."""
    write(tmp_path / "data/a.csv", "p1,c1,2026-05-15T10:00:00,1")
    store.materialize()
    ingest(store, clock, "p2")
    store.materialize()
    store.close()


def test_a_lost_online_store_goes_on_from_the_logs_position(tmp_path: Path, open_store: Open, clock: Clock) -> None:
    store = open_store()
    begun(tmp_path, store, clock)
    for file in (tmp_path / "home").glob("online.sqlite*"):
        file.unlink()
    with pytest.raises(NotMaterialized, match="featurestore materialize"):
        store.lookup("shop", ROW)
    with pytest.raises(NotMaterialized, match="featurestore materialize"):
        ingest(store, clock, "p3")
    assert store.materialize().position == 2
    assert ingest(store, clock, "p3") == 3
    assert store.ingest("payments", {**ROW, "id": "p1", "event_time": "2026-05-15T10:00:00"}).duplicates == 1
    assert numbers(store, clock) == (3, 3)


def test_an_online_store_of_an_older_backup_is_filled_again(tmp_path: Path, open_store: Open, clock: Clock) -> None:
    store = open_store()
    write(tmp_path / "data/a.csv", "p1,c1,2026-05-15T10:00:00,1")
    store.materialize()
    store.close()
    shutil.copy(tmp_path / "home/online.sqlite", tmp_path / "backup")
    write(tmp_path / "data/b.csv", "p2,c1,2026-05-16T10:00:00,1")
    store.materialize()
    store.close()
    shutil.copy(tmp_path / "backup", tmp_path / "home/online.sqlite")
    with pytest.raises(NotMaterialized, match="lacks events"):
        store.lookup("shop", ROW)
    assert dict(store.materialize().filled) == {"payments_by_customer": "events were added without it"}
    assert numbers(store, clock) == (2, 2)


def test_a_log_of_an_older_backup_is_refused(tmp_path: Path, open_store: Open, clock: Clock) -> None:
    store = open_store()
    begun(tmp_path, store, clock)
    shutil.copytree(tmp_path / "home/log", tmp_path / "backup")
    store = open_store()
    ingest(store, clock, "p3")
    store.materialize()
    store.close()
    shutil.rmtree(tmp_path / "home/log")
    shutil.copytree(tmp_path / "backup", tmp_path / "home/log")
    with pytest.raises(StoreDamaged, match=r"ends at position 2.*up to 3.*Restore both from one backup"):
        open_store().materialize()
