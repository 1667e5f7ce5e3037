"""Where the time of one row goes: a lookup and a prediction, asked over HTTP and split into their parts.

The parts are the product's own functions, timed inside this process as the server calls them; what lies between them
is checking keys and making vectors. The whole is timed by a client of the real server on one connection, in turn with
the parts, and what is left is HTTP: the protocol, the event loop, a prediction's thread, the client.
"""

import functools
import json
import random
import shutil
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow.parquet as pq

from benchmarks.report import Section, duration
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
PARTS = {
    "parse": "parse and check the body",
    "read": "read the events (SQLite)",
    "evaluate": "unpack and evaluate",
    "model": "the model",
    "answer": "write the answer",
    "between": "keys, vectors, what lies between",
    "HTTP": "HTTP, event loop, client",
    "whole": "**whole**",
}
WARMING = 200  # requests that do not count
Row = dict[str, Any]
Times = dict[str, float]


def one_row(folder: Path, events: int, requests: int) -> Section:
    """Each part of both kinds of request, in a project like the demo's with so many payments."""
    project = folder / f"project-{events}"
    shutil.rmtree(project, ignore_errors=True)
    made = scaffold.create(project, events=events).data
    labels = pq.read_table(made.labels)
    with FeatureStore.open(project) as store:
        store.materialize()
        train(store, payments.newest(labels).slice(0, 10_000))
        drawn = random.Random(1)
        rows = [payments.asked(row) for row in drawn.choices(labels.slice(len(labels) // 2).to_pylist(), k=requests)]
        features = len(store.registry.service("fraud").outputs)
        server = ServerProcess(project, "--quiet", "--deadline", "30")
        try:
            server.start()
            taken = {kind: both(store, server, kind, rows) for kind in PATHS}
        finally:
            server.stop()
    told = {kind: summed(taken[kind]) for kind in PATHS}
    return Section(
        "one-row",
        f"{features} features of a service such as `featurestore init` makes, {events:,} events, {requests:,} requests "
        "of each kind, one client.",
        ("", *(f"{kind}, {of}" for kind in PATHS for of in told[kind]["whole"])),
        [
            (words, *(duration(one) for kind in PATHS for one in told[kind][part].values()))
            for part, words in PARTS.items()
        ],
        {"seconds": told},
    )


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


def summed(taken: Sequence[Times]) -> dict[str, Times]:
    """Median and 99th percentile of each part, seconds."""
    columns = {name: [one[name] for one in taken] for name in taken[0]}
    return {name: {"p50": percentile(took, 50), "p99": percentile(took, 99)} for name, took in columns.items()}


def percentile(seconds: Sequence[float], share: int) -> float:
    return statistics.quantiles(seconds, n=100, method="inclusive")[share - 1]
