"""What `examples/deploy` says of backups and units holds: a backup made in full use is the store of one position."""

import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest
from served import running
from sklearn.linear_model import LogisticRegression

from featurestore import FeatureStore, scaffold

DEPLOY = Path(__file__).resolve().parent.parent / "examples" / "deploy"
EVENTS = 6_000
ASKED = {"merchant": "m0001", "amount": 20.0, "channel": "online"}
BACKUPS = 3


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Half of the payments are loaded, the others wait in ``later.parquet``; a training set and a model."""
    folder = tmp_path / "project"
    made = scaffold.create(folder, events=EVENTS).data
    rows = pq.read_table(list(made.files)).sort_by("received_at")
    for one in made.files:
        one.unlink()
    pq.write_table(rows.slice(0, len(rows) // 2), folder / "data" / "transactions" / "first.parquet")
    pq.write_table(rows.slice(len(rows) // 2), folder / "later.parquet")
    with FeatureStore.open(folder) as store:
        store.apply()
        store.materialize()
        training = store.training_set("fraud", pq.read_table(made.labels).slice(0, 1_000), name="before")
        store.save_model("visits", fitted(training), training, label="is_fraud", features=["visits"])
    return folder


def fitted(training: Any) -> LogisticRegression:
    frame = training.to_pandas()
    return LogisticRegression().fit(frame[["visits"]].astype("int64"), frame["is_fraud"])


def script(name: str, *words: str) -> str:
    done = subprocess.run([sys.executable, str(DEPLOY / name), *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


def ingesting(url: str, over: threading.Event) -> Iterator[int]:
    """One payment of customer ``mine`` after the other; gives the position of each once it is acknowledged."""
    number = 0
    with httpx.Client(base_url=url, timeout=60) as client:
        while not over.is_set():
            number += 1
            event = {**ASKED, "customer_id": "mine", "transaction_id": f"mine{number}"}
            answer = client.post("/events/transactions", json={**event, "event_time": datetime.now(UTC).isoformat()})
            assert answer.status_code == 200, answer.text
            yield answer.json()["position"]


def content(store: FeatureStore, as_of: datetime, position: int) -> str:
    """Hash of what a training set of many customers is, as of an instant and position."""
    customers = ["mine", "nobody", *(f"c{number:05}" for number in range(60))]
    spine = [{**ASKED, "customer_id": one, "event_time": as_of} for one in customers]
    made = store.training_set("fraud", spine, name="asked", position=position, replace=True)
    return str(made.manifest["content_hash"])


@pytest.mark.slow
def test_a_backup_made_in_full_use_restores_the_bytes_of_its_position(project: Path, tmp_path: Path) -> None:
    over, acknowledged = threading.Event(), [0]
    with running(project, deadline_s=30.0, log=False) as server, ThreadPoolExecutor(1) as client:
        writing = client.submit(lambda: acknowledged.extend(ingesting(server.url, over)))
        program = str(Path(sys.executable).with_name("featurestore"))
        (project / "later.parquet").rename(project / "data" / "transactions" / "later.parquet")
        made = []
        with subprocess.Popen([program, "materialize", "--project", str(project)], stderr=subprocess.DEVNULL) as load:
            try:
                for _ in range(BACKUPS):
                    before = acknowledged[-1]
                    made.append((before, Path(script("backup.py", str(project), str(tmp_path / "backups")))))
                assert load.wait(60) == 0
            finally:
                over.set()
        writing.result()
        as_of = datetime.now(UTC)
    assert len({backup for _, backup in made}) == BACKUPS
    with FeatureStore.open(project) as original:
        for number, (before, backup) in enumerate(made):
            elsewhere = restored(project, backup, tmp_path / f"elsewhere{number}")
            with FeatureStore.open(elsewhere) as store:
                position = store.online.state().position
                assert before <= position
                vector = store.lookup("fraud", {**ASKED, "customer_id": "mine"}, as_of=as_of)
                count = sum(1 for one in acknowledged[1:] if one <= position)
                assert (vector.position, vector["visits"]) == (position, count)
                assert content(store, as_of, position) == content(original, as_of, position)
                assert store.load_training_set("before").manifest == original.load_training_set("before").manifest
                row = {**ASKED, "customer_id": "c00001"}
                assert [one.manifest for one in store.models()] == [one.manifest for one in original.models()]
                assert store.predict("visits", row).label in {False, True}
                store.materialize()
                ingested = store.log.rows("transactions") - EVENTS
                assert ingested == count
                assert not store.plan()


def restored(project: Path, backup: Path, elsewhere: Path) -> Path:
    """The project of a clean checkout, and the backup as its home."""
    shutil.copytree(project, elsewhere, ignore=shutil.ignore_patterns(".featurestore"))
    shutil.copytree(backup, elsewhere / ".featurestore")
    return elsewhere


@pytest.mark.slow
def test_a_backup_that_was_cut_short_does_not_look_like_one(project: Path, tmp_path: Path) -> None:
    segment = next((project / ".featurestore" / "log" / "segments").glob("*/*.parquet"))
    whole = segment.read_bytes()
    segment.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    command = [sys.executable, str(DEPLOY / "backup.py"), str(project), str(tmp_path / "backups")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "checksum or size differs" in done.stderr
    assert [one.suffix for one in (tmp_path / "backups").iterdir()] == [".partial"]


@pytest.mark.slow
def test_old_backups_are_deleted_when_asked(project: Path, tmp_path: Path) -> None:
    backups = tmp_path / "backups"
    for old in ("20200101T000000Z", "20200102T000000Z", "notes"):
        (backups / old).mkdir(parents=True)
    newest = script("backup.py", str(project), str(backups), "--keep", "2")
    assert {one.name for one in backups.iterdir()} == {"20200102T000000Z", Path(newest).name, "notes"}


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_the_units_are_what_systemd_takes(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("")
    program.chmod(0o755)
    for unit in [*DEPLOY.glob("*.service"), *DEPLOY.glob("*.timer")]:
        said = unit.read_text().replace("/srv/featurestore/venv/bin/featurestore", str(program))
        (tmp_path / unit.name).write_text(said.replace("/srv/featurestore/venv/bin/python", str(program)))
    units = sorted(str(one) for one in tmp_path.glob("featurestore*"))
    assert len(units) == 3
    done = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
