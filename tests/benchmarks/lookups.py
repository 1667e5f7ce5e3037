"""Lookups within one process: twenty window features of an entity with a hundred events, now."""

import math
import random
import sqlite3
import statistics
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import data, ours, processes
from benchmarks.processes import Measured, Task
from benchmarks.report import Section, duration, ratio
from benchmarks.rivals import DAYS, FUNCTIONS, Found, Timed, named

BATCHES = (100, 1_000)
WARMING = 200
WORDS = {
    "sqlite": "SQLite: read an entity's events as one blob (yardstick)",
    "hand": "Python by hand: those bytes, these values, nothing checked",
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
    tasks = {"sqlite": Task("lookups:sqlite", given), "hand": Task("lookups:by_hand", given)}
    tasks["lookup"] = Task("lookups:one_by_one", given)
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
    blob = bytes(data.PER_ENTITY * 16)
    read = _table(Path(folder) / "blobs.sqlite", ((f"c{number}", blob) for number in range(entities)))
    return lambda: clocked(read, drawn(entities, requests))


def by_hand(folder: str, entities: int, requests: int) -> Timed:
    """The least that Python takes: those bytes, and the same values of them, for this one service, unchecked."""
    read, now = _table(Path(folder) / "events.sqlite", _packed(folder)), time.time_ns() // 1_000
    names = [named(function, days) for function in FUNCTIONS for days in DAYS]

    def values(name: str, at: int) -> dict[str, Any]:
        ((blob,),) = read(name)
        half = len(blob) // 2
        times = np.frombuffer(blob, np.int64, half // 8).tolist()
        amounts = np.frombuffer(blob, np.float64, half // 8, half).tolist()
        stop = bisect_left(times, at)
        parts = [amounts[bisect_left(times, at - days * data.DAY, 0, stop) : stop] for days in DAYS]
        counts, sums = [len(part) for part in parts], [math.fsum(part) for part in parts]
        means = [one / count if count else None for one, count in zip(sums, counts, strict=True)]
        ends = ([end(part) if part else None for part in parts] for end in (min, max))
        return dict(zip(names, chain(counts, sums, means, *ends), strict=True))

    with ours.opened(folder, "plain") as store:
        for name in drawn(entities, WARMING):
            assert values(name, now) == store.lookup("plain", {"customer_id": name}, as_of=now).to_dict()
    return lambda: clocked(lambda name: values(name, now), drawn(entities, requests))


def _packed(folder: str) -> Iterator[tuple[str, bytes]]:
    """Each entity's times and amounts, in order of time."""
    table = pq.read_table(Path(folder) / "events", columns=["customer_id", "event_time", "amount"])
    table = table.sort_by([("customer_id", "ascending"), ("event_time", "ascending")])
    names = table.column("customer_id").to_pylist()
    times = table.column("event_time").cast(pa.timestamp("us")).cast(pa.int64()).to_numpy()
    amounts = table.column("amount").to_numpy()
    start = 0
    for name, own in groupby(names):
        stop = start + sum(1 for _ in own)
        yield name, times[start:stop].tobytes() + amounts[start:stop].tobytes()
        start = stop


def _table(path: Path, blobs: Iterable[tuple[str, bytes]]) -> Callable[[str], Any]:
    """A new SQLite table of bytes by key; gives what reads them."""
    path.unlink(missing_ok=True)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA mmap_size = 2147418112")
    connection.execute("CREATE TABLE blobs (key TEXT NOT NULL, blob BLOB NOT NULL)")
    connection.execute("BEGIN")
    connection.executemany("INSERT INTO blobs VALUES (?, ?)", blobs)
    connection.execute("CREATE INDEX by_key ON blobs (key)")
    connection.execute("COMMIT")
    return lambda name: connection.execute("SELECT blob FROM blobs WHERE key = ?", (name,)).fetchall()


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
