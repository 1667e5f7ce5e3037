"""Where the time of one row goes: a lookup and a prediction, asked over HTTP and split into their parts.

    python tests/benchmarks/one_row.py [--events N] [--requests N] [--json]

The parts are the product's own functions, timed inside this process as the server calls them; `between` is what lies
between them (checking keys, making vectors). The whole is timed by a client of the real server on one connection, in
turn with the parts, and `HTTP` is what is left: the protocol, the event loop, a prediction's thread, the client. `load`
says how many processes wanted a processor meanwhile: others make all of it slower.
"""

import argparse
import functools
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow.parquet as pq

from featurestore import FeatureStore, lookup, scaffold
from featurestore.demo import payments
from featurestore.demo.client import ServerProcess
from featurestore.models.serving import Served
from featurestore.online.sqlite import SQLiteStore
from featurestore.plan import compile_service
from featurestore.server import answers, body, shapes
from featurestore.unpacking import Unpacker

PATHS = {"lookup": "/features/fraud", "prediction": "/predict/fraud"}
CLOCKED: Sequence[tuple[str, Any, str]] = (
    ("read", SQLiteStore, "read"),
    ("evaluate", Unpacker, "events"),
    ("evaluate", lookup, "evaluate"),
    ("model", Served, "predict"),
)
PARTS = ("parse", "read", "evaluate", "model", "answer", "between", "HTTP", "whole")
WARMING = 200  # requests that do not count
Row = dict[str, Any]
Times = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--events", type=int, default=200_000, help="payments in the store")
    parser.add_argument("--requests", type=int, default=2_000, help="of each kind")
    parser.add_argument("--json", action="store_true", help="a document instead of a table")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        told = measure(Path(folder) / "project", given.events, given.requests)
    sys.stdout.write(json.dumps(told, indent=2) + "\n" if given.json else table(told))


def measure(folder: Path, events: int, requests: int) -> Row:
    """Microseconds by kind of request and part, median and 99th percentile."""
    made = scaffold.create(folder, events=events).data
    labels = pq.read_table(made.labels)
    with FeatureStore.open(folder) as store:
        store.materialize()
        train(store, payments.newest(labels).slice(0, 10_000))
        drawn = random.Random(1)
        rows = [payments.asked(row) for row in drawn.choices(labels.slice(len(labels) // 2).to_pylist(), k=requests)]
        features = len(store.registry.service("fraud").outputs)
        server = ServerProcess(folder, "--quiet", "--deadline", "30")
        try:
            server.start()
            taken = {kind: both(store, server, kind, rows) for kind in PATHS}
        finally:
            server.stop()
    about = {"features": features, "events": events, "requests": requests, "load": round(os.getloadavg()[0], 1)}
    return about | {"microseconds": {kind: summed(taken[kind]) for kind in PATHS}}


def train(store: FeatureStore, labels: Any) -> None:
    """The model of the demo."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    trees = HistGradientBoostingClassifier(
        max_iter=40, max_leaf_nodes=6, min_samples_leaf=100, l2_regularization=10.0, random_state=0
    )
    with threadpool_limits(1):
        store.train("fraud", store.training_set("fraud", labels), trees, label="is_fraud", cv=False)


def both(store: FeatureStore, server: ServerProcess, kind: str, rows: Sequence[Row]) -> list[Times]:
    """Seconds of each part for each row, in this process and over HTTP in turn: others disturb both alike."""
    shape = shapes.request_of(compile_service(store.registry.services["fraud"], store.registry.outputs))
    found = []
    warming = rows[:WARMING]
    spent: Times = {}
    with clocked(spent):
        for row in [*warming, *rows]:
            inside = within(store, shape, kind, row, spent)
            begun = time.perf_counter()
            server.post(PATHS[kind], row)
            whole = time.perf_counter() - begun
            found.append({**inside, "whole": whole, "HTTP": whole - inside["inside"]})
    return found[len(warming) :]


def within(store: FeatureStore, shape: shapes.Shape, kind: str, asked: Row, spent: Times) -> Times:
    """Seconds of each part of one request, as the server's handlers go; ``inside`` is all of them together."""
    text = json.dumps(asked).encode()
    spent.update(dict.fromkeys(("read", "evaluate", "model"), 0.0))
    begun = time.perf_counter()
    row = shape.row(body.parse(text))
    parsed = time.perf_counter()
    if kind == "prediction":
        told: Any = store.predict("fraud", row).to_dict
    else:
        told = functools.partial(answers.vector, store.lookup("fraud", row))
    made = time.perf_counter()
    answers.dumps(told())
    ended = time.perf_counter()
    between = made - parsed - sum(spent.values())
    return {**spent, "parse": parsed - begun, "answer": ended - made, "between": between, "inside": ended - begun}


@contextmanager
def clocked(spent: Times) -> Iterator[None]:
    """Add up, under their names, the seconds of what a lookup and a prediction call within."""

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*given: Any, **named: Any) -> Any:
            begun = time.perf_counter()
            made = function(*given, **named)
            spent[name] += time.perf_counter() - begun
            return made

        return run

    with ExitStack() as stack:
        for name, owner, function in CLOCKED:
            stack.enter_context(mock.patch.object(owner, function, timed(name, getattr(owner, function))))
        yield


def summed(taken: Sequence[Times]) -> Row:
    """Median and 99th percentile of each part, microseconds."""
    columns = {name: [one[name] for one in taken] for name in taken[0]}
    return {name: {"p50": percentile(took, 50), "p99": percentile(took, 99)} for name, took in columns.items()}


def percentile(seconds: Sequence[float], share: int) -> float:
    return round(statistics.quantiles(seconds, n=100, method="inclusive")[share - 1] * 1e6, 1)


def table(told: Mapping[str, Any]) -> str:
    """A line for each part."""
    lines = [f"{told['features']} features, {told['events']:,} events, {told['requests']:,} requests of each kind"]
    lines += [f"load {told['load']}; microseconds, median (99th percentile)", ""]
    lines.append(f"{'':10}" + "".join(f"{kind:>22}" for kind in PATHS))
    for part in PARTS:
        cells = [told["microseconds"][kind][part] for kind in PATHS]
        lines.append(f"{part:10}" + "".join(f"{shown(cell):>22}" for cell in cells))
    return "\n".join(lines) + "\n"


def shown(cell: Mapping[str, float]) -> str:
    return f"{cell['p50']:,.0f} ({cell['p99']:,.0f})"


if __name__ == "__main__":
    main()
