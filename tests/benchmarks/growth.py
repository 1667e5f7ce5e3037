"""How the time of a training set grows with events, rows, entities, features and windows: one of them at a time."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks import processes
from benchmarks.data import DAYS as DATA_DAYS
from benchmarks.data import Size
from benchmarks.processes import Task
from benchmarks.report import Section, duration, ratio
from benchmarks.rivals import FUNCTIONS

_TWO = 2
AXES = ("events", "rows", "entities", "features", "window")
FEATURES = (1, 5, 20, 50, 100, 200)
LARGEST = {
    "events": (1_000_000, 10_000_000, 100_000_000),
    "rows": (10_000, 100_000, 1_000_000, 10_000_000),
    "entities": (1_000, 10_000, 100_000, 1_000_000, 10_000_000),
}
ALONE = Size(10_000_000, 1_000_000, 1)
TOOLS = {"asof": "DuckDB as-of", "polars_packed": "Polars packed", "ours": "featurestore"}


@dataclass(frozen=True)
class Point:
    """One value of one axis, and who is run there."""

    axis: str
    value: int
    size: Size
    tasks: Callable[[str], dict[str, Task]]


def growth(
    folder: Path,
    size: Size,
    axes: Sequence[str],
    steps: Sequence[float] | None,
    rivals: Sequence[str],
    rounds: int,
    patience_s: float,
) -> Section:
    """Every point in turn; at each, ours, the yardstick, and where it computes the same, the fastest rival.

    What would take longer than the patience, by what it took at the point before, is left out, and said.
    """
    points: list[dict[str, Any]] = []
    rows, left_out = [], []
    for point in _points(size, axes, steps):
        words = f"{point.axis} {point.value:,}"
        before = [one for one in points if one["axis"] == point.axis]
        prepared = _prepared(folder, point, before, patience_s)
        tasks = point.tasks(str(prepared["folder"])) if prepared["failure"] is None else {}
        tasks = {name: task for name, task in tasks.items() if name in rivals or name in ("asof", "ours")}
        late = [name for name in tasks if _expected(before, name, point.value) > patience_s]
        measured = processes.in_turn({name: one for name, one in tasks.items() if name not in late}, rounds, patience_s)
        took = {name: one.seconds for name, one in measured.items()}
        left_out += [f"{words}: {prepared['failure']}"] if prepared["failure"] else []
        left_out += [f"{words}: {TOOLS[name]}, more than {patience_s:,g} s to expect" for name in late]
        left_out += [f"{words}: {TOOLS[name]}, {one.failure}" for name, one in measured.items() if one.failure]
        points.append(
            {
                "axis": point.axis,
                "value": point.value,
                "seconds": took,
                "prepared": {"made": prepared["made"], "loaded": prepared["loaded"]},
                "runs": {name: one.document() for name, one in measured.items()},
            }
        )
        rss_mb = measured["ours"].rss_mb if "ours" in measured else None
        rows.append(
            (
                words,
                *(duration(took.get(name)) for name in TOOLS),
                ratio(took.get("ours"), took.get("asof")),
                f"{rss_mb:,.0f}" if rss_mb else "",
            )
        )
    alone = _alone(size, steps)
    return Section(
        "growth",
        f"One thing changed at a time, the others as in: {size}, 20 features; windows of so many events on average, 5 "
        f"features, where one entity has all of {alone.events:,} events and {alone.rows:,} rows ask. Median of "
        f"{rounds} runs.",
        ("", *TOOLS.values(), "as-of = 1", "memory, MB"),
        rows,
        {"points": points, "tools": TOOLS},
        f"Left out: {'; '.join(left_out)}." if left_out else "",
    )


def _prepared(folder: Path, point: Point, before: Sequence[dict[str, Any]], patience_s: float) -> dict[str, Any]:
    """Folder of the data, made and loaded if it is not; how long each took, or why it was not done."""
    processes.say(f"{point.axis} {point.value:,}")
    told: dict[str, Any] = {"folder": folder / point.size.name, "made": 0.0, "loaded": 0.0, "failure": None}
    given = {"folder": str(folder), "size": vars(point.size)}
    tasks = {
        "made": Task("data:making", given),
        "loaded": Task("ours:loading", {"folder": str(told["folder"]), "service": "plain"}),
    }
    for name, task in tasks.items():
        if before and not before[-1]["prepared"][name]:
            return told | {"failure": f"not {name}, as fewer were not"}
        done = processes.run(task, patience_s)
        if isinstance(done, processes.Failure):
            return told | {"failure": f"not {name}: {done.reason}"}
        told[name] = done.seconds
        processes.say(f"{name} in {done.seconds:.1f} s")
    return told


def _expected(before: Sequence[dict[str, Any]], name: str, value: int) -> float:
    """Seconds that a tool takes at a value if they grow as from one point to the next; 0 if nobody knows.

    Infinite where it was left out, or failed, at the point before.
    """
    if before and not before[-1]["seconds"].get(name):
        return math.inf
    if len(before) < _TWO:
        return 0.0
    (first, one), (second, two) = ((point["value"], point["seconds"][name]) for point in before[-_TWO:])
    return float(two * (two / one) ** (math.log(value / second) / math.log(second / first)))


def _points(size: Size, axes: Sequence[str], steps: Sequence[float] | None) -> Iterator[Point]:
    for axis in axes:
        if axis == "features":
            yield from (Point(axis, count, size, _of_features(count)) for count in FEATURES)
        elif axis == "window":
            alone = _alone(size, steps)
            every_s = DATA_DAYS * 24 * 3600 / alone.events
            for events in (10**power for power in range(1, len(str(alone.events // 10)))):
                yield Point(axis, events, alone, _grown(FUNCTIONS, (f"{max(1, round(events * every_s))}s",)))
        else:
            own = getattr(size, axis)
            for value in LARGEST[axis] if steps is None else [max(1, round(own * step)) for step in steps]:
                yield Point(axis, value, replace(size, **{axis: value}), _twenty)


def _alone(size: Size, steps: Sequence[float] | None) -> Size:
    """Of the windows: of one entity."""
    return ALONE if steps is None else replace(size, entities=1)


def _twenty(folder: str) -> dict[str, Task]:
    given = {"folder": folder}
    return {
        "asof": Task("rivals:asof", given),
        "polars_packed": Task("rivals:polars_packed", given),
        "ours": Task("ours:training_set", given | {"service": "plain"}),
    }


def _of_features(count: int) -> Callable[[str], dict[str, Task]]:
    """So many features: as many functions as there are, over windows that get longer up to 90 days."""
    functions = FUNCTIONS[: min(count, len(FUNCTIONS))]
    windows = count // len(functions)
    return _grown(functions, tuple(f"{round(90 * 24 * (number + 1) / windows)}h" for number in range(windows)))


def _grown(functions: Sequence[str], windows: Sequence[str]) -> Callable[[str], dict[str, Task]]:
    def tasks(folder: str) -> dict[str, Task]:
        given: dict[str, Any] = {"folder": folder, "functions": list(functions), "windows": list(windows)}
        return {"asof": Task("rivals:asof", {"folder": folder}), "ours": Task("ours:grown", given)}

    return tasks
