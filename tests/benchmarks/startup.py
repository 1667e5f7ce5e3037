"""How long until something can be done: imports, the command line, a server that is ready."""

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from statistics import median

from benchmarks import data, ours, over_http, processes
from benchmarks.data import Size
from benchmarks.report import Section, duration, ratio

COMMANDS = {
    "Python alone (yardstick)": ["-c", "pass"],
    "`import pandas`, for scale": ["-c", "import pandas"],
    "`import featurestore`": ["-c", "import featurestore"],
    "`from featurestore import FeatureStore`": ["-c", "from featurestore import FeatureStore"],
    "`featurestore --help`": ["-c", over_http.MAIN, "--help"],
}


def start(folder: Path, sizes: Sequence[Size], rounds: int) -> Section:
    """Everything in turn, after one run of each that compiles and warms; servers of stores of these sizes."""
    asked: dict[str, Callable[[], float]] = {name: _command(words) for name, words in COMMANDS.items()}
    for size, workers in product(sizes, (1, 2)):
        made = data.made(folder, size)
        ours.loaded(made, "plain")
        name = f"`featurestore serve` ready, {size.entities:,} entities, {workers} worker{'s' * (workers > 1)}"
        asked[name] = _server(made, workers)
    taken: dict[str, list[float]] = {name: [] for name in asked}
    for _ in range(rounds + 1):
        for name, run in asked.items():
            taken[name].append(run())
    middle = {name: median(one[1:]) for name, one in taken.items()}
    yardstick = next(iter(middle.values()))
    return Section(
        "startup",
        f"Whole processes, from start to end; a server until it says that it is ready. Median of {rounds} runs.",
        ("", "time", "Python = 1"),
        [(name, duration(one), ratio(one, yardstick)) for name, one in middle.items()],
        {"runs": {name: one[1:] for name, one in taken.items()}},
    )


def _command(words: list[str]) -> Callable[[], float]:
    def run() -> float:
        begun = time.perf_counter()
        subprocess.run([sys.executable, *words], check=True, capture_output=True, env=processes.environment())
        return time.perf_counter() - begun

    return run


def _server(made: Path, workers: int) -> Callable[[], float]:
    project = ours.project(made, "plain")

    def run() -> float:
        begun = time.perf_counter()
        with over_http.started(over_http.serving(project, workers)):
            return time.perf_counter() - begun

    return run
