"""Lookups within one process: twenty window features of an entity with a hundred events, now."""

import random
import sqlite3
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import data, ours, processes
from benchmarks.processes import Measured, Task
from benchmarks.report import Section, duration, ratio
from benchmarks.rivals import Found, Timed

BATCHES = (100, 1_000)
WARMING = 200
WORDS = {
    "sqlite": "SQLite: read an entity's events as one blob (yardstick)",
    "lookup": "**featurestore: `lookup`**",
    "same": "featurestore: `lookup` of one entity, over and over",
    "read": "its parts: read the online store",
    "unpack": "its parts: unpack the events",
    "fold": "its parts: fold the windows",
    "batch_100": "featurestore: `lookup_many` of 100",
    "batch_1000": "featurestore: `lookup_many` of 1,000",
    "hot_1": "featurestore: `lookup` of an entity that has all events alone",
}


def lookup(folder: Path, entities: int, requests: int, rounds: int, patience_s: float) -> Section:
    """Ours beside the bare read of bytes."""
    made = data.made(folder, data.recent(entities))
    ours.loaded(made, "plain")
    given = {"folder": str(made), "entities": entities, "requests": requests}
    tasks = {"sqlite": Task("lookups:sqlite", given), "lookup": Task("lookups:one_by_one", given)}
    tasks["same"] = Task("lookups:one_by_one", given | {"entities": 1})
    tasks |= {part: Task("lookups:part_of_one", given | {"part": part}) for part in ("read", "unpack", "fold")}
    for rows in BATCHES:
        tasks[f"batch_{rows}"] = Task("lookups:in_batches", given | {"rows": rows})
    hot = data.made(folder, data.recent(1, each=entities * data.PER_ENTITY))
    ours.loaded(hot, "plain")
    tasks["hot_1"] = Task("lookups:one_by_one", {"folder": str(hot), "entities": 1, "requests": requests // 10})
    measured = processes.in_turn(tasks, rounds, patience_s)
    found = {name: {of: _median(one, of) for of in ("p50", "p99")} for name, one in measured.items()}
    yardstick = found["sqlite"]["p50"]
    rows_of = {name: int(name.partition("_")[2] or 1) for name in found}
    return Section(
        "lookup",
        f"{entities:,} entities with a hundred events each in half a year, 20 features as above, {requests:,} lookups "
        f"of random entities in one process; then one entity with {entities * data.PER_ENTITY:,} events. Median of "
        f"{rounds} runs.",
        ("", "p50", "p99", "a row (p50)", "read = 1"),
        [
            (
                WORDS[name],
                duration(one["p50"]),
                duration(one["p99"]),
                duration(one["p50"] and one["p50"] / rows_of[name]),
                ratio(one["p50"] and one["p50"] / rows_of[name], yardstick),
            )
            for name, one in found.items()
        ],
        {"found": found, "measured": {name: one.document() for name, one in measured.items()}},
    )


def one_by_one(folder: str, entities: int, requests: int) -> Timed:
    """Lookups of one row."""
    store = ours.opened(folder, "plain")
    rows = [{"customer_id": name} for name in drawn(entities, requests)]
    return lambda: clocked(lambda row: store.lookup("plain", row), rows)


def part_of_one(folder: str, entities: int, requests: int, part: str) -> Timed:
    """One part of a lookup of one row, with what the parts before it gave."""
    from featurestore.evaluate import Spine, evaluate
    from featurestore.plan import compile_service
    from featurestore.unpacking import Unpacker
    from featurestore.view import tie_columns

    store = ours.opened(folder, "plain")
    plan = compile_service(store.registry.services["plain"], store.registry.outputs)
    (keyed,), now, index = plan.keyed, store.now(), np.zeros(1, np.int64)
    view, reach = keyed.view, plan.reach(keyed.view)
    assert reach is not None
    unpacker = Unpacker(view.source.fields, tie_columns(view.source))
    spine = Spine(np.array([now]), {})

    def read(name: str) -> Any:
        return store.online.read({view.name: (name,)}, {view.name: now - reach}).blobs[view.name]

    names = drawn(entities, requests)
    if part == "read":
        return lambda: clocked(read, names)
    blobs = [read(name) for name in names]
    if part == "unpack":
        return lambda: clocked(unpacker.events, blobs)
    events = [{view.name: unpacker.events(one)} for one in blobs]
    return lambda: clocked(lambda one: evaluate(plan, spine, one, {keyed: index}).rows(), events)


def in_batches(folder: str, entities: int, requests: int, rows: int) -> Timed:
    """Lookups of many rows, as many requests as give the same number of rows, but twenty at the least."""
    store = ours.opened(folder, "plain")
    batches = [
        [{"customer_id": name} for name in drawn(entities, rows, seed)] for seed in range(max(20, requests // rows))
    ]
    return lambda: clocked(lambda batch: store.lookup_many("plain", batch), batches)


def sqlite(folder: str, entities: int, requests: int) -> Timed:
    """The least that a lookup in SQLite can cost: find a key, read the bytes of a hundred times and amounts."""
    path = Path(folder) / "blobs.sqlite"
    path.unlink(missing_ok=True)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA mmap_size = 2147418112")
    connection.execute("CREATE TABLE blobs (key TEXT NOT NULL, blob BLOB NOT NULL)")
    connection.execute("BEGIN")
    blobs = ((f"c{number}", bytes(data.PER_ENTITY * 16)) for number in range(entities))
    connection.executemany("INSERT INTO blobs VALUES (?, ?)", blobs)
    connection.execute("CREATE INDEX by_key ON blobs (key)")
    connection.execute("COMMIT")

    def read(name: str) -> Any:
        return connection.execute("SELECT blob FROM blobs WHERE key = ?", (name,)).fetchall()

    return lambda: clocked(read, drawn(entities, requests))


def drawn(entities: int, count: int, seed: int = 1) -> list[str]:
    """Keys of random entities."""
    return [f"c{number}" for number in random.Random(seed).choices(range(entities), k=count)]


def clocked(ask: Callable[[Any], Any], asked: Sequence[Any]) -> Found:
    """Seconds of each, median and 99th percentile, after some that do not count."""
    for one in asked[: min(WARMING, len(asked) // 10)]:
        ask(one)
    taken = []
    for one in asked:
        begun = time.perf_counter()
        ask(one)
        taken.append(time.perf_counter() - begun)
    return percentiles(taken)


def percentiles(taken: Sequence[float]) -> Found:
    """Median and 99th percentile, seconds."""
    cuts = statistics.quantiles(taken, n=100, method="inclusive")
    return {"p50": cuts[49], "p99": cuts[98]}


def _median(measured: Measured, of: str) -> float | None:
    return statistics.median(run.found[of] for run in measured.runs) if measured.runs else None
