"""The command line of the benchmarks: make the data, measure, print a table, keep the figures."""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks import (
    data,
    feast,
    growth,
    lookups,
    materialize,
    memory,
    one_row,
    over_http,
    proof,
    report,
    stages,
    startup,
    training_sets,
)
from benchmarks.data import Size
from benchmarks.report import Section
from benchmarks.training_sets import RIVALS

QUICK, FULL = Size(1_000_000, 100_000, 10_000), Size(10_000_000, 1_000_000, 100_000)

MANY_ENTITIES = 10_000_000
AT_ONCE = 100_000_000
PAYMENTS = 200_000  # where a request is split into its parts


def main() -> None:
    """Run what the command line asks for."""
    given = parser().parse_args()
    if given.what == "page":
        report.write_page(given.out)
        return
    with tempfile.TemporaryDirectory(prefix="featurestore-benchmarks-") as temporary:
        folder = Path(given.folder or temporary).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        for name, measure in BENCHMARKS.items():
            if given.what == name or (given.what == "all" and (name != "feast" or given.feast)):
                section = measure(folder, size_of(given), given)
                report.show(section)
                report.keep(given.out, section)


def parser() -> argparse.ArgumentParser:
    """What may be asked."""
    made = argparse.ArgumentParser(prog="python tests/benchmarks", description="Measure this and other tools in turn.")
    made.add_argument("what", choices=[*BENCHMARKS, "all", "page"], help="page: write the figures into README.md")
    made.add_argument("--feast", action="store_true", help="all: Feast too, installed into an environment of its own")
    made.add_argument("--full", action="store_true", help=f"{FULL}, instead of {QUICK}")
    made.add_argument("--events", type=int, help="how many")
    made.add_argument("--rows", type=int, help="rows of the spine")
    made.add_argument("--entities", type=int, help="how many")
    made.add_argument("--rounds", type=int, default=3, help="runs of each, in turn (default 3)")
    made.add_argument("--requests", type=int, default=10_000, help="lookups in one process (default 10000)")
    made.add_argument("--seconds", type=float, default=5, help="of asking over HTTP (default 5)")
    made.add_argument("--workers", default="1,2", help="http: of the servers (default %(default)s)")
    made.add_argument("--clients", default="1,16", help="http: at once (default %(default)s)")
    made.add_argument("--rivals", default=",".join(RIVALS), help="which of them, with commas (default: all)")
    made.add_argument("--axes", default=",".join(growth.AXES), help="growth: of what (default %(default)s)")
    made.add_argument("--steps", help="growth: times the size (default 0.1,1; with --full up to 100 M events)")
    made.add_argument(
        "--at-once", type=int, help=f"materialize: events of the largest load (default none; with --full {AT_ONCE:,})"
    )
    made.add_argument("--patience", type=float, default=900, help="seconds that one run may take (default 900)")
    made.add_argument(
        "--folder", type=Path, help="keep the made data there and use it again (default: a temporary one)"
    )
    made.add_argument(
        "--out", type=Path, default=report.RESULTS, help="file of results (default: the one beside the page)"
    )
    return made


def size_of(given: argparse.Namespace) -> Size:
    """Size that was asked for."""
    usual = FULL if given.full else QUICK
    return Size(given.events or usual.events, given.rows or usual.rows, given.entities or usual.entities)


def _numbers(text: str) -> list[int]:
    return [int(one) for one in text.split(",")]


def _training_set(folder: Path, size: Size, given: argparse.Namespace) -> Section:
    return training_sets.training_set(folder, size, given.rivals.split(","), given.rounds, given.patience)


def _verify(folder: Path, size: Size, given: argparse.Namespace) -> Section:
    return proof.proof(folder, size, given.rounds, given.patience)


def _hot_key(folder: Path, size: Size, given: argparse.Namespace) -> Section:
    return training_sets.hot_key(folder, size, given.rounds, given.patience)


def _memory(folder: Path, size: Size, given: argparse.Namespace) -> Section:
    return memory.memory(folder, size, given.rounds, given.patience, larger=given.full)


def _stages(folder: Path, size: Size, given: argparse.Namespace) -> Section:
    return stages.stages(folder, size, given.rounds, given.patience)


def _lookup(folder: Path, size: Size, given: argparse.Namespace) -> Section:
    return lookups.lookup(folder, size.entities, given.requests, given.rounds, given.patience)


def _http(folder: Path, size: Size, given: argparse.Namespace) -> Section:
    cases = over_http.cases(_numbers(given.workers), _numbers(given.clients))
    return over_http.lookups(folder, size.entities, cases, given.seconds, given.rounds, given.patience)


def _one_row(folder: Path, size: Size, given: argparse.Namespace) -> Section:
    return one_row.one_row(folder, min(size.events, PAYMENTS), max(given.requests // 5, 100))


def _feast(folder: Path, size: Size, given: argparse.Namespace) -> Section:
    return feast.feast(folder, size, given.requests, given.seconds, given.rounds, given.patience)


def _materialize(folder: Path, size: Size, given: argparse.Namespace) -> Section:
    events = given.at_once if given.at_once is not None else AT_ONCE if given.full else 0
    largest = Size(events, 0, max(events // 100, 1)) if events else None
    return materialize.loads(folder, size, largest, given.patience)


def _startup(folder: Path, size: Size, given: argparse.Namespace) -> Section:
    many = [data.recent(MANY_ENTITIES, each=1)] if given.full else []
    return startup.start(folder, [data.recent(size.entities), *many], given.rounds)


def _growth(folder: Path, size: Size, given: argparse.Namespace) -> Section:
    told = given.steps or (None if given.full else "0.1,1")
    steps = None if told is None else [float(one) for one in told.split(",")]
    rivals = given.rivals.split(",")
    return growth.growth(folder, size, given.axes.split(","), steps, rivals, given.rounds, given.patience)


BENCHMARKS: dict[str, Callable[[Path, Size, argparse.Namespace], Section]] = {
    "training-set": _training_set,
    "verify": _verify,
    "hot-key": _hot_key,
    "stages": _stages,
    "memory": _memory,
    "lookup": _lookup,
    "http": _http,
    "one-row": _one_row,
    "materialize": _materialize,
    "startup": _startup,
    "growth": _growth,
    "feast": _feast,
}
