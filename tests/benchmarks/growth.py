"""How the time of a training set grows with events, rows, entities, features and windows: one of them at a time."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks import data, ours, processes
from benchmarks.data import Size
from benchmarks.processes import Task
from benchmarks.report import Section, duration, ratio
from benchmarks.rivals import DAYS, FUNCTIONS

AXES = ("events", "rows", "entities", "features", "window")
FEATURES = (1, 5, 20, 50, 100, 200)
TOOLS = {"asof": "DuckDB as-of", "polars_packed": "Polars packed", "ours": "featurestore"}


@dataclass(frozen=True)
class Point:
    """One value of one axis, and who is run there."""

    axis: str
    value: int
    size: Size
    tasks: Callable[[str], dict[str, Task]]


def growth(
    folder: Path, size: Size, axes: Sequence[str], steps: Sequence[float], rounds: int, patience_s: float
) -> Section:
    """Every point in turn; at each, ours, the yardstick, and where it computes the same, the fastest rival."""
    points, rows = [], []
    for point in _points(size, axes, steps):
        made = data.made(folder, point.size)
        ours.loaded(made, "plain")
        processes.say(f"{point.axis} {point.value:,}")
        measured = processes.in_turn(point.tasks(str(made)), rounds, patience_s)
        took = {name: one.seconds for name, one in measured.items()}
        points.append({"axis": point.axis, "value": point.value, "seconds": took, "runs": _documents(measured)})
        rows.append(
            (
                f"{point.axis} {_shown(point)}",
                *(duration(took.get(name)) for name in TOOLS),
                ratio(took["ours"], took["asof"]),
                f"{measured['ours'].rss_mb or 0:,.0f}",
            )
        )
    return Section(
        "growth",
        f"One thing changed at a time, the others as in: {size}, 20 features. Median of {rounds} runs.",
        ("", *TOOLS.values(), "as-of = 1", "memory, MB"),
        rows,
        {"points": points, "tools": TOOLS},
    )


def _points(size: Size, axes: Sequence[str], steps: Sequence[float]) -> Iterator[Point]:
    for axis in axes:
        if axis == "features":
            yield from (Point(axis, count, size, _of_features(count)) for count in FEATURES)
        elif axis == "window":
            yield from (Point(axis, days, size, _grown(FUNCTIONS, (f"{days}d",))) for days in DAYS)
        else:
            for step in steps:
                value = max(1, round(getattr(size, axis) * step))
                yield Point(axis, value, replace(size, **{axis: value}), _twenty)


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


def _documents(measured: dict[str, processes.Measured]) -> dict[str, Any]:
    return {name: one.document() for name, one in measured.items()}


def _shown(point: Point) -> str:
    return f"{point.value} days" if point.axis == "window" else f"{point.value:,}"
