"""Versions on the shelf: hostile archives take no memory, killed saves leave nothing, processes save at once."""

import fcntl
import hashlib
import multiprocessing
import os
import random
import signal
import time
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from risk import SERVICE, filled, pipeline, rewrite
from served import write_project
from shop import Clock
from test_predict_http import trained

from featurestore import FeatureStore
from featurestore.errors import RequestError, StoreDamaged
from featurestore.models import ModelVersion

FEATURES = ["payments_made", "units_doubled"]
Open = Callable[..., FeatureStore]
Context = multiprocessing.get_context("spawn")


@pytest.fixture
def saved(open_store: Open, clock: Clock) -> ModelVersion:
    store = open_store([SERVICE])
    return store.train("risk", filled(store, clock), pipeline(), label="fraud", cv=False)


def bomb(size: int) -> bytes:
    """A small file that unpacks to so many zeros."""
    packing = zlib.compressobj(1)
    parts = [packing.compress(bytes(1 << 20)) for _ in range(size >> 20)]
    return b"".join([*parts, packing.flush()])


def memory_to_refuse(open_store: Open, words: str) -> int:
    """Most bytes that were taken while the model was refused."""
    with open_store([SERVICE]) as store:
        tracemalloc.start()
        try:
            with pytest.raises(StoreDamaged, match=words):
                store.saved_models.verify("risk")
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()


def test_a_bomb_is_refused_by_its_digest_before_it_is_unpacked(open_store: Open, saved: ModelVersion) -> None:
    (saved.path / "pipeline.joblib").write_bytes(bomb(256 << 20))
    assert memory_to_refuse(open_store, "do not match the manifest's digest") < 32 << 20


def test_a_bomb_with_its_digest_unpacks_no_further_than_recorded(open_store: Open, saved: ModelVersion) -> None:
    content = bomb(256 << 20)
    (saved.path / "pipeline.joblib").write_bytes(content)
    told = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    rewrite(saved, {"file": {**saved.manifest["file"], **told}})
    assert memory_to_refuse(open_store, "does not unpack to the") < 32 << 20


def test_a_file_that_has_grown_is_not_read_to_its_end(open_store: Open, saved: ModelVersion) -> None:
    os.truncate(saved.path / "pipeline.joblib", 1 << 30)  # sparse: it takes no room
    assert memory_to_refuse(open_store, "do not match the manifest's digest") < 32 << 20
    os.truncate(saved.path / "manifest.json", 1 << 30)
    assert memory_to_refuse(open_store, r"manifest\.json is damaged: it is longer than") < 32 << 20


def test_an_archive_cut_short_with_its_digest_is_damage(open_store: Open, saved: ModelVersion) -> None:
    path = saved.path / "pipeline.joblib"
    for content in (path.read_bytes()[:-20], b"no archive"):
        path.write_bytes(content)
        told = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
        rewrite(saved, {"file": {**saved.manifest["file"], **told}})
        with pytest.raises(StoreDamaged, match="unpack"), open_store([SERVICE]) as store:
            store.saved_models.verify("risk")


def test_what_killed_saves_have_left_goes_with_the_next_but_not_a_save_at_work(
    open_store: Open, saved: ModelVersion
) -> None:
    store, folder = open_store([SERVICE]), saved.path.parent
    estimator, training = store.saved_models.load("risk").estimator, store.load_training_set("history")
    left = folder / ".incoming-0123456789abcdef"
    left.mkdir()
    (left / "pipeline.joblib").write_bytes(b"half")
    alias = folder / ".aliases.json-0123456789abcdef"
    alias.write_bytes(b"half")
    with (folder / "saving.lock").open() as other:
        fcntl.flock(other, fcntl.LOCK_SH)  # as one who saves
        assert store.save_model("risk", estimator, training, label="fraud").version == "v2"
        assert left.exists()
    assert store.save_model("risk", estimator, training, label="fraud").version == "v3"
    assert not left.exists()
    assert not alias.exists()
    assert [one.version for one in store.models()] == ["v1", "v2", "v3"]


def _save(project: Path, versions: list[str | None]) -> None:
    with FeatureStore.open(project) as store:
        estimator = store.saved_models.load("risk@v1").estimator
        for version in versions:
            try:
                store.save_model("risk", estimator, "train", label="fraud", features=FEATURES, version=version)
            except RequestError as error:
                if "never change" not in str(error):
                    raise


def test_processes_that_save_at_once_each_have_their_version(tmp_path: Path) -> None:
    project = write_project(tmp_path)
    trained(project).close()
    asked: list[str | None] = [None, "same", None, "other", None]
    workers = [Context.Process(target=_save, args=(project, asked)) for _ in range(2)]
    for one in workers:
        one.start()
    for one in workers:
        one.join()
    assert [one.exitcode for one in workers] == [0, 0]
    with FeatureStore.open(project) as store:
        names = {one.version for one in store.models()}
        assert names == {"same", "other", *(f"v{number}" for number in range(1, 8))}
        for name in names:
            assert store.saved_models.verify(f"risk@{name}").version == name
        assert not list((store.home / "models" / "risk").glob(".*"))


@pytest.mark.slow
def test_killed_saves_leave_whole_versions_alone(tmp_path: Path) -> None:
    project, dice = write_project(tmp_path), random.Random(3)
    trained(project).close()
    folder = project / "store" / "models" / "risk"
    for _ in range(5):
        there = len(list(folder.iterdir()))
        worker = Context.Process(target=_save, args=(project, [None] * 1000))
        worker.start()
        while len(list(folder.iterdir())) == there and worker.is_alive():
            time.sleep(0.01)  # another process is at work
        time.sleep(dice.uniform(0.0, 0.3))  # the random moment, not a synchronisation
        os.kill(worker.pid or 0, signal.SIGKILL)
        worker.join()
        with FeatureStore.open(project) as store:
            assert all(store.saved_models.verify(one.reference).version for one in store.models())
    _save(project, [None])
    assert not list(folder.glob(".*"))
