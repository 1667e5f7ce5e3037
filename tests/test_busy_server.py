"""Two workers answer while others ingest, load, train and promote: nothing errs, what was acknowledged is seen next."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest
from served import Running, running, write_project

from featurestore import FeatureStore, scaffold

EVENTS, PARTS = 6_000, 3
PAUSE_S = 0.02  # of a client after each request: what is tested is that they mix, not how much they can ask
TRAIN = """
import sys
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits
from featurestore import FeatureStore
trees = HistGradientBoostingClassifier(max_iter=10, random_state=0)
with FeatureStore.open(sys.argv[1]) as store, threadpool_limits(1):
    training = store.training_set("fraud", sys.argv[1] + "/spine.parquet", name=sys.argv[2])
    print(store.train("risk", training, trees, label="is_fraud", cv=2).version)
"""


@dataclass
class Told:
    """What clients saw: how long each request took, in milliseconds by kind, and what was wrong."""

    took_ms: dict[str, list[float]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def ask(self, server: Running, path: str, document: Any) -> Any:
        """Ask on a connection of its own, which any worker may take; there is no answer but 200."""
        kind = path.split("/")[1] + ("/batch" if path.endswith("/batch") else "")
        time.sleep(PAUSE_S)
        begun = time.perf_counter()
        with httpx.Client(base_url=server.url, timeout=60, verify=False, trust_env=False) as client:  # noqa: S501 - no TLS
            answer = client.post(path, json=document)
        self.took_ms.setdefault(kind, []).append((time.perf_counter() - begun) * 1000)
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text}"
        return answer.json()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Payments in parts, of which the first is loaded, and a model of one version."""
    folder = tmp_path / "project"
    made = scaffold.create(folder, events=EVENTS).data
    rows = pq.read_table(list(made.files)).sort_by("received_at")
    for one in made.files:
        one.unlink()
    size = len(rows) // PARTS + 1
    for number in range(PARTS):
        pq.write_table(rows.slice(number * size, size), folder / f"part{number}.parquet")
    pq.write_table(pq.read_table(made.labels).slice(0, EVENTS // 3), folder / "spine.parquet")
    arrive(folder, 0)
    assert train(folder, "first") == "v1"
    return folder


def arrive(folder: Path, number: int) -> None:
    (folder / f"part{number}.parquet").rename(folder / "data" / "transactions" / f"part{number}.parquet")
    command(folder, "materialize")


def command(folder: Path, *words: str) -> None:
    program = str(Path(sys.executable).with_name("featurestore"))
    done = subprocess.run([program, *words, "--project", str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def train(folder: Path, name: str) -> str:
    done = subprocess.run([sys.executable, "-c", TRAIN, str(folder), name], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def asked(customer: str) -> dict[str, Any]:
    return {"customer_id": customer, "merchant": "m0001", "amount": 20.0, "channel": "online"}


@dataclass
class Versions:
    """Numbers of the newest version whose promotion has begun, and of the newest that was acknowledged."""

    begun: int = 1
    promoted: int = 1

    def promote(self, folder: Path, number: int) -> None:
        self.begun = number
        command(folder, "models", "promote", "risk", f"v{number}", "--force")
        self.promoted = number


def ingest(told: Told, server: Running, customer: str) -> int:
    """One payment at a time; the answer after each counts all of them. Gives how many there were."""
    number = 0
    while not told.over.is_set():
        number += 1
        event = {**asked(customer), "transaction_id": f"{customer}-{number}"}
        receipt = told.ask(server, "/events/transactions", {**event, "event_time": datetime.now(UTC).isoformat()})
        seen = told.ask(server, "/features/fraud", asked(customer))
        if seen["features"]["txn_count_1h"] != number or seen["position"] < receipt["position"]:
            told.wrong.append(f"{seen} lacks payment {number} of position {receipt['position']}")
    return number


def look(told: Told, server: Running) -> None:
    """Batches; positions never go back, whichever worker answers."""
    position = 0
    rows = [asked(f"c{number:05}") for number in range(40)]
    while not told.over.is_set():
        many = told.ask(server, "/features/fraud/batch", {"rows": rows})["rows"]
        if len(many) != len(rows) or many[0]["position"] < position:
            told.wrong.append(f"after position {position}: {many[0]['position']}, {len(many)} rows")
        position = many[0]["position"]


def predict(told: Told, server: Running, versions: Versions) -> None:
    """Once a promotion is acknowledged, no older version answers."""
    while not told.over.is_set():
        oldest = versions.promoted
        number = int(told.ask(server, "/predict/risk", asked("c00001"))["version"][1:])
        if not oldest <= number <= versions.begun:
            told.wrong.append(f"v{number} answers after v{oldest} was promoted")


@pytest.mark.slow
def test_nothing_errs_while_all_of_it_happens_at_once(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told, versions = Told(), Versions()
    with running(project, workers=2, deadline_s=30.0, log=False) as server, ThreadPoolExecutor(4) as clients:
        writers = [clients.submit(ingest, told, server, name) for name in ("busy0", "busy1")]
        readers = [clients.submit(look, told, server), clients.submit(predict, told, server, versions)]
        try:
            for number in range(1, PARTS):
                arrive(project, number)
                assert train(project, f"set{number}") == f"v{number + 1}"
                versions.promote(project, number + 1)
        finally:
            told.over.set()
        ingested = sum(one.result() for one in writers)
        assert [one.result() for one in readers] == [None, None]
        assert told.ask(server, "/predict/risk", asked("c00001"))["version"] == f"v{PARTS}"
    assert told.wrong == []
    with FeatureStore.open(project) as store:
        store.materialize()
        assert store.log.rows("transactions") == EVENTS + ingested
    with capsys.disabled():
        sys.stdout.write("\n" + "".join(lines(told)))


@pytest.mark.slow
def test_a_worker_that_gets_no_processor_for_a_while_is_not_ended(tmp_path: Path) -> None:
    with running(write_project(tmp_path), workers=2) as server:
        workers = [line["pid"] for line in server.log if line["event"] == "started"]
        os.kill(workers[0], signal.SIGSTOP)
        time.sleep(8)  # longer than the five seconds that the library underneath waits by default
        os.kill(workers[0], signal.SIGCONT)
        assert server.stop() == 0
    assert [line["pid"] for line in server.log if line["event"] == "started"] == workers
    assert {line["pid"] for line in server.log if line["event"] == "stopped"} == set(workers)


def lines(told: Told) -> Iterator[str]:
    for kind, took in sorted(told.took_ms.items()):
        middle = sorted(took)[len(took) // 2]
        yield f"{kind}: {len(took):,} requests, median {middle:.1f} ms, longest {max(took):.0f} ms\n"
