"""How fast events get in: loads into log and online store, small loads into large stores, and ingest.

    python tests/benchmarks/materialize.py [--events N] [--entities N] [--new N] [--requests N] [--json]

Each step is a process of its own, so that its peak memory is its own. The yardsticks beside ours, in the same run:
DuckDB reads the same Parquet file, sorts it by entity and time and writes it again; SQLite appends one row and syncs
it. `CPU` is of all threads of the process (of HTTP: the client's); unlike the clock's seconds it hardly depends on what
else runs. `load` says how many processes wanted a processor meanwhile: others make all of it slower.
"""

import argparse
import functools
import http
import http.client
import json
import multiprocessing
import os
import re
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import duckdb
import pyarrow as pa

from featurestore import FeatureStore
from featurestore.demo.client import ServerProcess

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # this folder's own names shall shadow nobody's

from benchmarks import data, processes, worker
from benchmarks.processes import Failure, Task
from benchmarks.report import Section
from benchmarks.rivals import Timed

BATCH = 1_000
MEMORY = "8GB"
CLIENTS = {BATCH: 4, 1: 16}
"""Who post at once, by the events of a request."""
DEFINITIONS = Path(__file__).with_name("definitions") / "keyed.py"
END = data.START + data.DAYS * data.DAY
STAGES = dict.fromkeys(("writing", "filling"), "log and online store") | {
    "reading": "read and checked",
    "tidying": "tidied up",
}
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--events", type=int, default=1_000_000, help="in the first load")
    parser.add_argument("--entities", type=int, default=100_000)
    parser.add_argument("--new", type=int, default=100_000, help="events of the load after it")
    parser.add_argument("--requests", type=int, default=1_000, help="ingests of one event; of batches a tenth")
    parser.add_argument("--json", action="store_true", help="a document instead of a table")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        told = measure(Path(folder) / "project", given.events, given.entities, given.new, given.requests)
    sys.stdout.write(json.dumps(told, indent=2) + "\n" if given.json else table(told))


def measure(folder: Path, events: int, entities: int, new: int, requests: int) -> Row:
    """A row for each step: events, seconds, events a second, peak memory in MB."""
    project(folder)
    data.write_keyed(folder / "data" / "1.parquet", data.Size(events, 0, entities), first=0, days=data.DAYS)
    steps = {"DuckDB: read, sort, write": apart(yardstick, folder, events)}
    steps["materialize"] = apart(load, folder)
    later = data.Size(new, 0, entities, start=END)
    data.write_keyed(folder / "data" / "2.parquet", later, first=events, days=1)
    steps["materialize what is new"] = apart(load, folder)
    steps["materialize nothing new"] = apart(load, folder)
    first, count = events + new, max(requests // 10, 1)  # of keys, and each step takes one batch more to warm up
    steps["SQLite: append, sync"] = apart(appended, folder, requests)
    steps["ingest by 1000"] = apart(ingested, folder, first, BATCH, count)
    steps["ingest singly"] = apart(ingested, folder, first + BATCH * (count + 1), 1, requests)
    first += BATCH * (count + 1) + requests + 1
    steps["HTTP ingest by 1000"] = apart(posted, folder, first, BATCH, count)
    steps["HTTP ingest singly"] = apart(posted, folder, first + BATCH * (count + 1), 1, requests)
    first += BATCH * (count + 1) + requests + 1
    steps[f"HTTP ingest by 1000, {CLIENTS[BATCH]} clients"] = apart(posted_at_once, folder, first, BATCH, count)
    first += BATCH * (count + 1)
    steps[f"HTTP ingest singly, {CLIENTS[1]} clients"] = apart(posted_at_once, folder, first, 1, requests)
    steps["materialize what was ingested"] = apart(load, folder)
    return {"events": events, "entities": entities, "load": round(os.getloadavg()[0], 1), "steps": steps}


def project(folder: Path, **settings: str) -> None:
    """An empty one, whose data will lie in ``data``."""
    (folder / "data").mkdir(parents=True)
    lines = [f'{name} = "{value}"' for name, value in {"definitions": DEFINITIONS, **settings}.items()]
    (folder / "pyproject.toml").write_text("\n".join(["[tool.featurestore]", *lines, ""]))


def many(folder: str, size: Mapping[str, Any]) -> Timed:
    """Load very many events at once under a bound of memory; they are made first, and kept for the next time."""
    made = Path(folder) / f"keyed-{data.Size(**size).name}.parquet"
    if not made.exists():
        data.write_keyed(made.with_suffix(".partial"), data.Size(**size), first=0, days=data.DAYS)
        made.with_suffix(".partial").rename(made)
    own = Path(folder) / "many"
    shutil.rmtree(own, ignore_errors=True)
    project(own, memory=MEMORY)
    (own / "data" / "1.parquet").symlink_to(made)

    def run() -> Row:
        begun = time.process_time()
        told = load(own)
        shutil.rmtree(own)
        return told | {"cpu_s": round(time.process_time() - begun, 2), "peak_mb": peak_mb()}

    return run


def loads(folder: Path, size: data.Size, largest: data.Size | None, patience_s: float) -> Section:
    """The steps as a table of the page; with the load of ``largest`` size, unless it takes longer than the patience."""
    after = []
    with tempfile.TemporaryDirectory(dir=folder) as own:
        told = measure(Path(own) / "project", size.events, size.entities, new=size.events // 100, requests=1_000)
    stages = told["steps"]["materialize"]["stages"].items()
    after.append(f"Stages of the first load, seconds: {', '.join(f'{stage} {taken:.1f}' for stage, taken in stages)}.")
    if largest is not None:
        name = f"materialize {largest.events:,} at once, of {largest.entities:,} entities, memory = {MEMORY}"
        done = processes.run(Task("materialize:many", {"folder": str(folder), "size": vars(largest)}), patience_s)
        if isinstance(done, Failure):
            after.append(f"Left out: {name}: {done.reason}.")
        else:
            told["steps"][name] = done.found
    return Section(
        "materialize",
        f"{size.events:,} events of {size.entities:,} entities, each with a key of its own; the processor's time is of "
        "all threads, of HTTP the client's.",
        ("", "events", "seconds", "events/s", "CPU, s", "p50", "p99", "memory, MB"),
        [
            (
                name if name.startswith(("DuckDB", "SQLite")) else f"**{name}**",
                f"{step['events']:,}",
                f"{step['seconds']:.2f}",
                f"{step['events_per_s']:,}",
                f"{step['cpu_s']:.1f}",
                *(f"{step[key]:.3g} ms" if key in step else "" for key in ("p50_ms", "p99_ms")),
                f"{step['peak_mb']:,}",
            )
            for name, step in told["steps"].items()
        ],
        told,
        " ".join(after),
    )


def apart(step: Callable[..., Row], *given: Any) -> Row:
    """Take a step in a process of its own, and note the most memory that it held."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(peaked, step, *given).result()


def peaked(step: Callable[..., Row], *given: Any) -> Row:
    worker.touch()
    begun = time.process_time()
    told = step(*given)
    return told | {"cpu_s": round(time.process_time() - begun, 2), "peak_mb": peak_mb()}


def peak_mb() -> int:
    """Most memory that this process held; Linux's own figure, for the other one is inherited from the parent."""
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text(encoding="utf-8"))
    return round(int(found[1]) / 1024) if found else 0


def yardstick(folder: Path, events: int) -> Row:
    duckdb.sql("SET enable_progress_bar = false")
    begun = time.perf_counter()
    duckdb.sql(
        f"COPY (FROM '{folder}/data/1.parquet' ORDER BY customer_id, event_time) TO '{folder}/sorted.parquet'"
        " (FORMAT parquet)"
    )
    return timed(events, time.perf_counter() - begun)


def load(folder: Path) -> Row:
    """Materialize, and how long each stage of it took."""
    marks: list[tuple[str, float]] = []
    with FeatureStore.open(folder) as store:
        begun = time.perf_counter()
        done = store.materialize(progress=lambda text: marks.append((text.split()[0], time.perf_counter())))
        ended = time.perf_counter()
    stages: dict[str, float] = {}
    for (word, at), (_, until) in zip(marks, [*marks[1:], ("", ended)], strict=True):
        stages[STAGES[word]] = round(stages.get(STAGES[word], 0) + until - at, 3)
    return timed(done.rows + done.taken_over, ended - begun) | {"stages": stages}


def appended(folder: Path, requests: int) -> Row:
    with sqlite3.connect(folder / "bare.sqlite", isolation_level=None) as connection:
        for statement in ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL", "CREATE TABLE rows (row TEXT)"):
            connection.execute(statement)
        row = json.dumps(batches(0, 1, 1)[0], default=str)
        return each(lambda _: connection.execute("INSERT INTO rows VALUES (?)", (row,)), 1, requests)


def ingested(folder: Path, first: int, size: int, requests: int) -> Row:
    asked = batches(first, size, requests)
    with FeatureStore.open(folder) as store:
        store.ingest("payments", asked[0])
        return each(lambda number: store.ingest("payments", asked[number]), size, requests)


def posted(folder: Path, first: int, size: int, requests: int) -> Row:
    asked = as_json(batches(first, size, requests))
    server = ServerProcess(folder, "--quiet", "--deadline", "30")
    try:
        server.start()
        server.post("/events/payments", {"rows": asked[0]})
        return each(lambda number: server.post("/events/payments", {"rows": asked[number]}), size, requests)
    finally:
        server.stop()


def posted_at_once(folder: Path, first: int, size: int, requests: int) -> Row:
    """Events of several clients, each with a connection of its own."""
    asked, clients = as_json(batches(first, size, requests)), CLIENTS[size]
    server = ServerProcess(folder, "--quiet", "--deadline", "30")
    try:
        server.start()
        server.post("/events/payments", {"rows": asked[0]})
        with ThreadPoolExecutor(clients) as pool:
            begun = time.perf_counter()
            shares = [asked[1 + number :: clients] for number in range(clients)]
            taken = [one for share in pool.map(functools.partial(client, server.url), shares) for one in share]
            seconds = time.perf_counter() - begun
    finally:
        server.stop()
    return spread(size, taken, seconds)


def client(url: str, asked: list[list[Row]]) -> list[float]:
    """Post batches one after the other; gives the seconds that each took."""
    connection, taken = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30), []
    for rows in asked:
        begun = time.perf_counter()
        connection.request("POST", "/events/payments", json.dumps({"rows": rows}), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        if answer.status != http.HTTPStatus.OK:
            raise RuntimeError(answer.read().decode())
        answer.read()
        taken.append(time.perf_counter() - begun)
    connection.close()
    return taken


def as_json(asked: list[list[Row]]) -> list[list[Row]]:
    return [[row | {"event_time": row["event_time"].isoformat()} for row in batch] for batch in asked]


def batches(first: int, size: int, requests: int) -> list[list[Row]]:
    """Payments of the day after the loads, as dicts; the first batch warms up and does not count."""
    wanted = data.Size(size * (requests + 1), 0, 100_000, start=END + data.DAY)
    drawn = pa.concat_tables(data.keyed(wanted, first=first, days=1))
    return [drawn.slice(start, size).to_pylist() for start in range(0, size * (requests + 1), size)]


def each(call: Callable[[int], object], size: int, requests: int) -> Row:
    taken = []
    for number in range(1, requests + 1):
        begun = time.perf_counter()
        call(number)
        taken.append(time.perf_counter() - begun)
    return spread(size, taken, sum(taken))


def spread(size: int, taken: list[float], seconds: float) -> Row:
    """How long requests of so many events took, one by one and all of them."""
    middle, worst = statistics.median(taken), sorted(taken)[int(0.99 * len(taken))]
    return timed(size * len(taken), seconds) | {"p50_ms": round(middle * 1e3, 2), "p99_ms": round(worst * 1e3, 2)}


def timed(events: int, seconds: float) -> Row:
    return {"events": events, "seconds": round(seconds, 3), "events_per_s": round(events / seconds)}


def table(told: Mapping[str, Any]) -> str:
    """A line for each step, and below a load's line one for each of its stages."""
    lines = [f"{told['events']:,} events of {told['entities']:,} entities; load {told['load']}", ""]
    lines.append(
        f"{'':32}{'events':>12}{'seconds':>10}{'events/s':>12}{'CPU':>8}{'p50 ms':>9}{'p99 ms':>9}{'peak MB':>9}"
    )
    for name, step in told["steps"].items():
        cells = f"{step['events']:>12,}{step['seconds']:>10.2f}{step['events_per_s']:>12,}{step['cpu_s']:>8.1f}"
        waits = "".join(f"{step[key]:>9.2f}" if key in step else " " * 9 for key in ("p50_ms", "p99_ms"))
        lines.append(f"{name:32}{cells}{waits}{step['peak_mb']:>9,}")
        lines += [f"  {stage:30}{'':12}{seconds:>10.2f}" for stage, seconds in step.get("stages", {}).items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
