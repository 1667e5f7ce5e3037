"""Where the time of a training set goes: what its threads are seen to do, and what the parts take alone."""

import sys
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import FrameType

from benchmarks import data, ours, processes
from benchmarks.data import Size
from benchmarks.processes import Task
from benchmarks.report import Section, duration
from benchmarks.rivals import Found, Timed

EVERY_S = 0.002
FILES = {
    "rows of the spine: read, checked, keys": ("spine.py", "spines.py", "reading.py", "frames.py", "casting.py"),
    "events: read from Parquet": ("log/",),
    "events: arrays of Arrow": ("values.py",),
    "events: of which entity, in order": ("view.py", "keys.py", "events.py", "engine/portions.py", "engine/local.py"),
    "rows in order of entity and time": ("engine/buckets.py",),
    "first and last event of each window": ("visibility.py", "operand.py"),
    "exact sums": ("exact.py",),
    "least, greatest": ("extremes.py", "longranges.py"),
    "other folds": ("fold.py", "spans.py", "statistics.py", "column.py", "window.py"),
    "values into the spine's order": ("engine/results.py",),
    "hash of the content": ("contents.py",),
    "table written by DuckDB": ("training.py",),
}
OTHER = "all else"
FLOORS = {
    "reading": "pyarrow reads the same columns of the log's files",
    "writing": "DuckDB writes the same table to a file",
}


def stages(folder: Path, size: Size, rounds: int, patience_s: float) -> Section:
    """Threads' time by stage, of many entities and of one; then the floors."""
    sizes = {"many": size, "one": replace(size, entities=1)}
    tasks = {}
    for name, one in sizes.items():
        made = data.made(folder, one)
        ours.loaded(made, "plain")
        given = {"folder": str(made), "service": "plain"}
        tasks[f"seen_{name}"] = Task("stages:seen", given)
        tasks |= {f"{floor}_{name}": Task(f"stages:{floor}", given) for floor in FLOORS}
    measured = processes.in_turn(tasks, rounds, patience_s)
    found = [measured[f"seen_{name}"].runs[-1].found if measured[f"seen_{name}"].runs else {} for name in sizes]
    seen_in: list[dict[str, float]] = [one.get("stages", {}) for one in found]
    rows = [(stage, *(duration(one.get(stage, 0.0)) for one in seen_in)) for stage in (*FILES, OTHER)]
    rows.append(("all threads' time", *(duration(sum(one.values())) for one in seen_in)))
    rows.append(("processor's time", *(duration(one.get("cpu")) for one in found)))
    rows.append(("**from start to end**", *(duration(measured[f"seen_{name}"].seconds) for name in sizes)))
    for floor, words in FLOORS.items():
        rows.append((f"floor: {words}", *(duration(measured[f"{floor}_{name}"].seconds) for name in sizes)))
    return Section(
        "stages",
        f"{size.events:,} events, {size.rows:,} rows, 20 features as above: what each thread did, looked at every "
        f"{EVERY_S * 1000:g} ms. The floors take all threads.",
        ("", f"{size.entities:,} entities", "one entity"),
        rows,
        {"size": vars(size), "measured": {name: one.document() for name, one in measured.items()}, "found": found},
    )


def seen(folder: str, service: str) -> Timed:
    """A training set, and what its threads were seen to do."""
    made = ours.training_set(folder, service)

    def run() -> Found:
        counts: Counter[str] = Counter()
        done = threading.Event()
        watch = threading.Thread(target=_watch, args=(counts, done))
        begun, cpu = time.perf_counter(), time.process_time()
        watch.start()
        made()
        done.set()
        watch.join()
        each_s = (time.perf_counter() - begun) / max(counts.pop("looks"), 1)
        told = {stage: round(seen * each_s, 4) for stage, seen in counts.items()}
        return {"stages": told, "cpu": time.process_time() - cpu}

    return run


def reading(folder: str, service: str) -> Timed:
    """All rows of the columns that a training set reads, as codes where they repeat."""
    import pyarrow.parquet as pq

    ours.imported()
    files = sorted((ours.project(folder, service) / "store").rglob("*.parquet"))
    columns = ["customer_id", "event_time", "amount", "__known_at"]

    def run() -> Found:
        return {"rows": sum(len(pq.read_table(one, columns=columns, read_dictionary=columns[:1])) for one in files)}

    return run


def writing(folder: str, service: str) -> Timed:
    """A table such as a training set is."""
    import duckdb

    ours.imported()
    ours.training_set(folder, service)()
    kept = ours.project(folder, service) / "store" / "training_sets.duckdb"
    with duckdb.connect(str(kept), read_only=True) as connection:
        ((name,),) = connection.sql("select name from featurestore_manifests").fetchall()
        table = connection.table(name).to_arrow_table().combine_chunks()
    target = Path(folder) / "floor.duckdb"
    target.unlink(missing_ok=True)

    def run() -> Found:
        with duckdb.connect(str(target)) as connection:
            connection.register("made", table)
            connection.execute("create table written as select * from made")
        target.unlink()
        return {"rows": len(table)}

    return run


def _watch(counts: Counter[str], done: threading.Event) -> None:
    own = threading.get_ident()
    while not done.wait(EVERY_S):
        counts["looks"] += 1
        for thread, frame in sys._current_frames().items():
            stage = _stage(frame) if thread != own else None
            if stage is not None:
                counts[stage] += 1


def _stage(frame: FrameType | None) -> str | None:
    """Stage of the innermost of our files that a thread is in; ``None`` where it waits for work or for another."""
    if frame is None or frame.f_code.co_filename.endswith("threading.py"):
        return None
    if "concurrent/futures" in frame.f_code.co_filename:
        return None
    while frame is not None:
        _, inside, name = frame.f_code.co_filename.rpartition("/featurestore/")
        if inside:
            return next((stage for stage, files in FILES.items() if name.startswith(files)), OTHER)
        frame = frame.f_back
    return OTHER
