"""What memory training sets take, and what time where a setting or the system gives them less."""

import resource
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import data, ours, processes
from benchmarks.data import Size
from benchmarks.processes import Measured, Task
from benchmarks.report import Section, duration, ratio
from benchmarks.rivals import Timed

GB = 1_000_000_000
TIMES_LARGER = 10
COLUMNS = ("customer_id", "event_time", "amount")
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "usual": ("no setting", {}),
    "2 GB": ("`memory = 2 GB`", {"memory": 2 * GB}),
    "0.5 GB": ("`memory = 0.5 GB`", {"memory": GB // 2}),
    "hard": ("`memory = 2 GB`, and the system gives no more", {"memory": 2 * GB, "most": 2 * GB}),
}


def memory(folder: Path, size: Size, rounds: int, patience_s: float, *, larger: bool) -> Section:
    """Of one size with one limit after another; with ``larger``, of one ten times as large in 8 GB, too."""
    sizes = dict.fromkeys(CASES, size)
    words = {name: told for name, (told, _) in CASES.items()}
    tasks = _tasks(data.made(folder, size), {name: given for name, (_, given) in CASES.items()})
    if larger:
        sizes["larger"] = replace(
            size,
            events=size.events * TIMES_LARGER,
            rows=size.rows * TIMES_LARGER,
            entities=size.entities * TIMES_LARGER,
        )
        words["larger"] = f"{sizes['larger']}, `memory = 8 GB`"
        tasks |= _tasks(data.made(folder, sizes["larger"]), {"larger": {"memory": 8 * GB}})
    measured = processes.in_turn(tasks, rounds, patience_s)
    columns = {name: _of_columns(data.made(folder, one)) for name, one in sizes.items()}
    return Section(
        "memory",
        f"{size}, 20 features; median of {rounds} runs. A row's time is compared with that of the first line, the most "
        "memory that the process had with the columns: their bytes in Arrow.",
        ("", "time", "of a row", "memory, MB", "columns, MB", "columns = 1"),
        [_row(words[name], one, sizes[name], measured["usual"], size, columns[name]) for name, one in measured.items()],
        {
            "size": vars(size),
            "measured": {name: one.document() for name, one in measured.items()},
            "columns_mb": columns,
        },
    )


def limited(folder: str, service: str, memory: int | None = None, most: int | None = None) -> Timed:
    """A training set with a setting, in a process that the system gives at most so many bytes of data."""
    if most is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    return ours.training_set(folder, service, memory=memory)


def _tasks(folder: Path, cases: Mapping[str, Mapping[str, Any]]) -> dict[str, Task]:
    ours.loaded(folder, "plain")
    given = {"folder": str(folder), "service": "plain"}
    return {name: Task("memory:limited", {**given, **case}) for name, case in cases.items()}


def _of_columns(folder: Path) -> float:
    """Megabytes of what is needed: key, event_time, known_at and amount of each event, and the spine's columns."""
    import pyarrow.parquet as pq

    needed: int = 0
    for file in sorted((folder / "events").glob("*.parquet")):
        for batch in pq.ParquetFile(file).iter_batches(columns=list(COLUMNS)):
            needed += batch.nbytes + batch.column("event_time").nbytes  # known_at is as large
    needed += sum(batch.nbytes for batch in pq.ParquetFile(folder / "spine.parquet").iter_batches())
    return needed / 1e6


def _row(words: str, one: Measured, size: Size, usual: Measured, of: Size, columns_mb: float) -> tuple[str, ...]:
    if one.seconds is None or one.rss_mb is None:
        return words, one.failure or "", "", "", f"{columns_mb:,.0f}", ""
    by_row = ratio(one.seconds / size.rows, None if usual.seconds is None else usual.seconds / of.rows)
    return (
        words,
        duration(one.seconds),
        by_row,
        f"{one.rss_mb:,.0f}",
        f"{columns_mb:,.0f}",
        ratio(one.rss_mb, columns_mb),
    )
