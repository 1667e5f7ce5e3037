"""Each measurement in a process of its own, in turn: what disturbs the machine disturbs all of them alike."""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1]
LONG_S = 60.0  # what takes longer is run once
SHORT_S = 10.0  # what takes longer is run once in a round


@dataclass(frozen=True)
class Task:
    """A function of a module here that prepares and gives what is to be timed, what it is called with, and by whom."""

    function: str
    given: Mapping[str, Any] = field(default_factory=dict)
    python: str = sys.executable


@dataclass(frozen=True)
class Run:
    """What one process has told: seconds of the timed part, the largest memory it had, and what the task found."""

    seconds: float
    rss_mb: float
    found: Mapping[str, Any]
    load: float


@dataclass(frozen=True)
class Failure:
    """A run that gave nothing, and why."""

    reason: str


@dataclass(frozen=True)
class Measured:
    """All runs of one task."""

    runs: Sequence[Run]
    failure: str | None = None

    @property
    def seconds(self) -> float | None:
        """Median; ``None`` if it failed."""
        return statistics.median(one.seconds for one in self.runs) if self.runs else None

    @property
    def rss_mb(self) -> float | None:
        """Median of the largest memory, megabytes."""
        return statistics.median(one.rss_mb for one in self.runs) if self.runs else None

    def document(self) -> dict[str, Any]:
        """For the file of results."""
        return {
            "seconds": self.seconds,
            "rss_mb": self.rss_mb,
            "runs": [round(one.seconds, 4) for one in self.runs],
            "load": [round(one.load, 1) for one in self.runs],
            "failure": self.failure,
        }


def in_turn(tasks: Mapping[str, Task], rounds: int, patience_s: float, passes: int = 1) -> dict[str, Measured]:
    """Run every task once, then every one again; one that fails, or takes over a minute, is not run again.

    With ``passes``, those that take seconds are run so many times in a round, in turn: a machine's pace changes.
    """
    runs: dict[str, list[Run]] = {name: [] for name in tasks}
    failures: dict[str, str] = {}
    for number, again in product(range(rounds), range(passes)):
        longest = SHORT_S if again else LONG_S
        for name, task in tasks.items():
            if name in failures or any(one.seconds > longest for one in runs[name]):
                continue
            told = run(task, patience_s)
            if isinstance(told, Failure):
                failures[name] = told.reason
            else:
                runs[name].append(told)
            say(f"{number + 1}/{rounds} {name}: {_outcome(told)}")
    return {name: Measured(runs[name], failures.get(name)) for name in tasks}


def run(task: Task, patience_s: float) -> Run | Failure:
    """Run a task once in a process of its own."""
    command = [task.python, "-m", "benchmarks.worker", task.function, json.dumps(dict(task.given))]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=environment(), timeout=patience_s
        )
    except subprocess.TimeoutExpired:
        return Failure(f"more than {patience_s:,g} s")
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        return Failure("out of memory" if done.returncode == -9 else lines[-1])
    told = json.loads(done.stdout.splitlines()[-1])
    return Run(told["seconds"], told["rss_mb"], told["found"], os.getloadavg()[0])


@contextmanager
def awake() -> Iterator[None]:
    """Keep every processor from falling asleep, by work of the lowest priority: a sleeping one takes long to wake."""
    if sys.platform != "linux":
        yield
        return
    idling = "import os; os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))\nwhile os.getppid() == {}: pass"
    running = [subprocess.Popen([sys.executable, "-c", idling.format(os.getpid())]) for _ in os.sched_getaffinity(0)]
    try:
        yield
    finally:
        for one in running:
            one.kill()
            one.wait()


def environment() -> dict[str, str]:
    """What processes that are started here find: this package, no settings of another project, compiled modules."""
    others = ("FEATURESTORE_", "PYTHONDONTWRITEBYTECODE")
    own = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    return own | {"PYTHONPATH": str(TESTS)}


def say(words: str) -> None:
    """Tell of progress, beside what is printed."""
    sys.stderr.write(f"{words}\n")
    sys.stderr.flush()


def _outcome(told: Run | Failure) -> str:
    return told.reason if isinstance(told, Failure) else f"{told.seconds:.3f} s, {told.rss_mb:,.0f} MB"
