"""Lookups over HTTP beside a route that answers a constant: few and many clients, workers, and events coming in."""

import concurrent.futures
import http.client
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

from benchmarks import data, ours, processes
from benchmarks.processes import Failure, Task
from benchmarks.report import Section, duration, ratio

PATH = "/features/plain"
MAIN = "import sys; from featurestore.cli import main; sys.exit(main())"
EVENTS_A_SECOND = 1_000
WARMING_S = {1: 1.0, 2: 6.0}  # before it counts: the second process starts when the first already answers
UP_S, DOWN_S = 120.0, 30.0


@dataclass(frozen=True)
class Case:
    """A server, how many processes it has, how many ask it, and whether events come in meanwhile."""

    server: str
    workers: int
    clients: int
    ingest: int = 0

    def __str__(self) -> str:
        words = {"constant": "FastAPI: a constant", "ours": "**featurestore**"}
        name = words[self.server] + (f", {self.ingest:,} events/s coming in" if self.ingest else "")
        return (
            f"{name}; {self.workers} worker{'s' * (self.workers > 1)}, {self.clients} client{'s' * (self.clients > 1)}"
        )


def cases(workers: Sequence[int], clients: Sequence[int]) -> list[Case]:
    """Each number of workers with each number of clients, both servers; and with one worker, while events come in."""
    plain = [Case(server, some, many) for some, many, server in product(workers, clients, ("constant", "ours"))]
    return [*plain, *(Case("ours", workers[0], many, EVENTS_A_SECOND) for many in clients)]


def lookups(
    folder: Path, entities: int, asked: Sequence[Case], seconds: float, rounds: int, patience_s: float
) -> Section:
    """Every case in turn, each with a server of its own."""
    made = data.made(folder, data.recent(entities))
    ours.loaded(made, "plain")
    found: dict[Case, list[dict[str, Any]]] = {case: [] for case in asked}
    for number, case in product(range(rounds), asked):
        told = _case(made, case, entities, seconds, patience_s)
        found[case].append(told)
        processes.say(f"{number + 1}/{rounds} {case}: {told['rps']:,.0f}/s, p50 {told['p50'] * 1e3:.3g} ms")
    middle = {
        case: {of: median(run[of] for run in runs) for of in ("rps", "p50", "p99")} for case, runs in found.items()
    }
    return Section(
        "http",
        f"{entities:,} entities with a hundred events each, 20 features as above; {seconds:g} s a run, median of "
        f"{rounds}. The clients share the machine with the server. Beside one client alone, work of the lowest "
        "priority keeps the processors awake: otherwise what it takes to wake them, from run to run as long as the "
        "whole constant answer or nothing, would be measured too.",
        ("", "requests/s", "p50", "p99", "constant = 1 (p50)"),
        [(str(case), f"{one['rps']:,.0f}", *_times(one), _against(middle, case)) for case, one in middle.items()],
        {"found": {str(case): runs for case, runs in found.items()}},
        _incoming([run["per_second"] for runs in found.values() for run in runs if "per_second" in run]),
    )


def _incoming(taken: Sequence[float]) -> str:
    return f"Of {EVENTS_A_SECOND:,} events a second asked for, {min(taken):,.0f} or more came in." if taken else ""


def _times(one: dict[str, float]) -> tuple[str, str]:
    return duration(one["p50"]), duration(one["p99"])


def _against(middle: dict[Case, dict[str, float]], case: Case) -> str:
    yardstick = middle[Case("constant", case.workers, case.clients)]
    return ratio(middle[case]["p50"], yardstick["p50"])


def _case(made: Path, case: Case, entities: int, seconds: float, patience_s: float) -> dict[str, Any]:
    """What the clients saw of one server. One alone leaves the processors nothing to do half of the time."""
    kept = processes.awake() if case.clients == 1 else nullcontext()
    with kept, _serving(made, case) as url, concurrent.futures.ThreadPoolExecutor() as pool:
        asked = {"url": url, "path": PATH, "entities": entities, "clients": case.clients, "seconds": seconds}
        asked["warming"] = warming = WARMING_S[case.workers]
        sent = {"url": url, "per_second": case.ingest, "entities": entities, "seconds": seconds + warming}
        tasks = [Task("load:asking", asked)] + ([Task("load:ingesting", sent)] if case.ingest else [])
        told = list(pool.map(lambda task: processes.run(task, patience_s), tasks))
    failed = [one.reason for one in told if isinstance(one, Failure)]
    if failed:
        raise RuntimeError(f"{case}: {failed[0]}")
    found: dict[str, Any] = {
        name: value for one in told if not isinstance(one, Failure) for name, value in one.found.items()
    }
    if found["failed"] or found.get("refused"):
        raise RuntimeError(f"{case}: {found['failed']} requests failed, {found.get('refused', 0)} were refused.")
    return found


@contextmanager
def _serving(made: Path, case: Case) -> Iterator[str]:
    """A server's address while it runs. What is ingested stays, so that it goes to a copy of the store."""
    if case.server == "constant":
        words = _constant(made, case.workers)
    else:
        words = serving(ours.copied(made, "plain") if case.ingest else ours.project(made, "plain"), case.workers)
    with started(words) as url:
        yield url


def serving(project: Path, workers: int) -> list[str]:
    """The command of our server, on a free port."""
    words = ["serve", "--project", str(project), "--port", "0", "--quiet", "--workers", str(workers)]
    return [sys.executable, "-c", MAIN, *words, "--deadline", "30"]


def _constant(made: Path, workers: int) -> list[str]:
    """The command that serves our own answer to the first entity."""
    answer = made / "answer.json"
    if not answer.exists():
        from featurestore.server import answers

        with ours.opened(made, "plain") as store:
            answer.write_bytes(answers.dumps(answers.vector(store.lookup("plain", {"customer_id": "c0"}))))
    return [sys.executable, "-m", "benchmarks.constant", str(answer), str(workers)]


@contextmanager
def started(words: Sequence[str], folder: Path | None = None) -> Iterator[str]:
    """Start a server that tells its address, wait until it answers, and stop it in the end."""
    process = subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=processes.environment(),
        cwd=folder,
    )
    try:
        assert process.stdout is not None
        url = next((word for line in process.stdout for word in line.split() if word.startswith("http://")), "")
        _wait(url)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(DOWN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(url: str) -> None:
    """Until the server answers; the constant has no such route, but says so."""
    deadline = time.monotonic() + UP_S
    while url:
        client = http.client.HTTPConnection(urlsplit(url).netloc, timeout=UP_S)
        try:
            client.request("GET", "/health/ready")
            if client.getresponse().status in {200, 404}:
                return
        except OSError as error:
            if time.monotonic() > deadline:
                raise RuntimeError(f"The server at {url} did not come up.") from error
        finally:
            client.close()
        time.sleep(0.05)
    raise RuntimeError("The server ended before it told its address.")
