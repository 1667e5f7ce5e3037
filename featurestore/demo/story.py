"""The whole loop on one machine, told as a story: declare, build, train, serve, predict, and compare the bytes.

Everything is real: a project in a folder, its store, a saved model, and a server process that is asked over HTTP.
"""

import importlib.util
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from featurestore import scaffold
from featurestore.cli.terminal import Table, counted
from featurestore.demo import payments, proof
from featurestore.demo.client import ServerProcess
from featurestore.errors import MissingExtra
from featurestore.store import FeatureStore
from featurestore.training import TrainingSet

COMPARED = 1_000
_EXTRAS = {"ml": ("sklearn", "joblib"), "serve": ("fastapi", "uvicorn", "orjson", "jinja2", "prometheus_client")}
_KEPT = 3  # decimal places of seconds in the document


@dataclass(frozen=True)
class Chapter:
    """What was done: words and tables for a person, figures for a program, and how long it took."""

    title: str
    blocks: Sequence[str | Table]
    figures: Mapping[str, Any]
    seconds: float = 0.0


@dataclass
class Demo:
    """One run in a new or empty folder. Leaving the ``with`` stops the server, whatever has happened.

    Parameters
    ----------
    folder
        Becomes the project, and is left to play with.
    events
        Payments to simulate.
    seed
        Of the simulation.
    """

    folder: Path
    events: int = 200_000
    seed: int = 7
    told: list[Chapter] = field(default_factory=list)

    def __enter__(self) -> Self:
        """Refuse before any work is done: a library that is missing, a folder that is not empty."""
        check_extras()
        scaffold.check_free(self.folder)
        self.begun = time.perf_counter()
        self.store: FeatureStore
        self.training: TrainingSet
        self.server = ServerProcess(self.folder)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.server.stop()
        if "store" in vars(self):
            self.store.close()

    def steps(self) -> Sequence[tuple[str, Callable[[], Chapter]]]:
        """What is being done, in words, and the function that does it; to be called in this order."""
        told: Sequence[tuple[str, Callable[[], Chapter]]] = (
            (f"simulating {self.events:,} card payments", self._simulate),
            ("checking and applying the definitions", self._declare),
            ("loading the payments into the store", self._materialize),
            ("building a training set", self._build),
            ("training a model", self._train),
            ("starting a server", self._serve),
            (f"comparing {COMPARED:,} training rows with the server's answers", self._compare),
            ("ingesting payments", self._ingest),
            ("stopping the server", self._stop),
        )
        return [(doing, self._timed(act)) for doing, act in told]

    def document(self) -> dict[str, Any]:
        """Everything that was told, for a program."""
        chapters = [{"title": one.title, "seconds": round(one.seconds, _KEPT), **one.figures} for one in self.told]
        return {"folder": str(self.folder), "seconds": round(self.seconds, _KEPT), "chapters": chapters}

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.perf_counter() - self.begun

    def _timed(self, act: Callable[[], Chapter]) -> Callable[[], Chapter]:
        def run() -> Chapter:
            begun = time.perf_counter()
            done = act()
            self.told.append(Chapter(done.title, done.blocks, done.figures, time.perf_counter() - begun))
            return self.told[-1]

        return run

    def _simulate(self) -> Chapter:
        data = scaffold.create(self.folder, events=self.events, seed=self.seed).data
        root = self.folder.resolve()
        self.store = FeatureStore(root / "definitions", root / ".featurestore", root=root)
        said = (
            f"{data.payments:,} payments of {data.customers:,} customers at {data.merchants:,} merchants over "
            f"{(data.end - data.start).days} days: {data.late:,} arrived late, {data.doubled:,} twice, "
            f"{data.tied:,} in the same second as another; {data.fraudulent:,} are fraud."
        )
        names = ("payments", "customers", "merchants", "late", "doubled", "tied", "fraudulent")
        return Chapter("Simulate", [said], {name: getattr(data, name) for name in names})

    def _declare(self) -> Chapter:
        registry = self.store.registry
        number = self.store.apply()
        said = (
            f"definitions/payments.py: {counted(len(registry.entities), 'entity', 'entities')}, "
            f"{counted(len(registry.sources), 'source')}, {len(registry.outputs)} features; applied as number {number}."
        )
        return Chapter("Declare", [said], {"features": len(registry.outputs), "applied": number})

    def _materialize(self) -> Chapter:
        done = self.store.materialize()
        said = (
            f"{done.rows:,} events into the log and {len(done.filled)} online views; "
            f"{done.sources[0].duplicates:,} second deliveries count once. Position {done.position}."
        )
        figures = {"rows": done.rows, "duplicates": done.sources[0].duplicates, "position": done.position}
        return Chapter("Materialize", [said], figures)

    def _build(self) -> Chapter:
        spine = payments.newest(self._labels())
        self.training = made = self.store.training_set("fraud", spine, name="fraud_30d")
        rows, features = len(made), len(made.manifest["features"])
        said = (
            f"{rows:,} payments of the last {payments.TRAINING_SPAN.days} days, each with {features} features as of "
            f"its own instant: {rows * features:,} values, saved as table {made.name}."
        )
        return Chapter("Build", [said], {"rows": rows, "features": features, "name": made.name})

    def _train(self) -> Chapter:
        from sklearn.ensemble import HistGradientBoostingClassifier
        from sklearn.pipeline import make_pipeline
        from threadpoolctl import threadpool_limits

        # Small trees over many rows: what one customer did is not worth a leaf.
        trees = HistGradientBoostingClassifier(
            max_iter=40, max_leaf_nodes=6, min_samples_leaf=100, l2_regularization=10.0, random_state=0
        )
        with threadpool_limits(1):  # it is small: on a busy machine its threads wait for each other
            version = self.store.train("fraud", self.training, make_pipeline(trees), label="is_fraud", threshold=0.5)
        scores = {name: one["mean"] for name, one in (version.metrics or {})["test"].items()}
        said = (
            f"Model {version.reference} is saved. Cross-validated in the order of time: ROC AUC "
            f"{_rounded(scores['roc_auc'])}, precision {_rounded(scores['precision'])}, recall "
            f"{_rounded(scores['recall'])}."
        )
        return Chapter("Train", [said], {"model": version.reference, "scores": scores})

    def _serve(self) -> Chapter:
        self.server.start()
        self.row = payments.unusual(self._labels())
        found, guess = self._asked_now()
        asked = ", ".join(f"{name}={value}" for name, value in self.row.items())
        said = (
            f"{self.server.url} answers. POST /features/fraud for {asked}: {len(found['features'])} features. "
            f"POST /predict/fraud: {_chance(guess)} fraud."
        )
        return Chapter("Serve", [said], {"url": self.server.url, "asked": self.row, "probability": _fraud(guess)})

    def _compare(self) -> Chapter:
        rng = np.random.default_rng(self.seed)
        rows = len(self.training)
        chosen = self.training.to_arrow().take(pa.array(rng.choice(rows, min(COMPARED, rows), replace=False)))
        took, different = [], 0
        for row in chosen.to_pylist():
            begun = time.perf_counter()
            answer = self.server.post("/features/fraud", payments.asked(row), as_of=row["event_time"])
            took.append(time.perf_counter() - begun)
            different += not proof.same(row, self.training.manifest, answer)
        proof.must_be_none(different, len(took))
        values = len(took) * len(self.training.manifest["features"])
        median_ms = statistics.median(took) * 1000
        said = (
            f"{len(took):,} training rows asked for again over HTTP, as of the same instant and position: "
            f"{different} of {values:,} values differ, to the byte. Median answer {median_ms:.1f} ms."
        )
        figures = {"rows": len(took), "values": values, "different": different, "median_ms": round(median_ms, _KEPT)}
        return Chapter("Same bytes", [said], figures)

    def _ingest(self) -> Chapter:
        before, guess = self._asked_now()
        trials = payments.trials(self._labels(), self.row["customer_id"])
        done = self.server.post("/events/transactions", {"rows": trials})
        after, new_guess = self._asked_now()
        different = self._differs(after)
        proof.must_be_none(different, 1)
        old, new = before["features"], after["features"]
        moved = [(name, _shown(old[name]), _shown(new[name])) for name in new if old[name] != new[name]]
        said = (
            f"POST /events/transactions: {done['rows']} payments of {trials[0]['customer_id']} below 2 USD within "
            f"{payments.TRIALS} minutes, as one who tries a stolen card out. The next answer, at position "
            f"{after['position']}:"
        )
        close = (
            f"The payment that was {_chance(guess)} fraud is now {_chance(new_guess)}. As a training row of that "
            "instant and position it is the same bytes."
        )
        figures = {
            "rows": done["rows"],
            "position": after["position"],
            "moved": {name: [old[name], new[name]] for name, _, _ in moved},
            "probability": [_fraud(guess), _fraud(new_guess)],
            "different": int(different),
        }
        return Chapter("Ingest", [said, Table(("feature", "before", "after"), moved), close], figures)

    def _stop(self) -> Chapter:
        self.server.stop()
        return Chapter("Stop", [f"The server has stopped; its log is {self.server.log}."], {})

    def _labels(self) -> pa.Table:
        return pq.read_table(self.folder / "data" / "labels.parquet")

    def _asked_now(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Features and prediction of the payment that is asked for."""
        return self.server.post("/features/fraud", self.row), self.server.post("/predict/fraud", self.row)

    def _differs(self, answer: Mapping[str, Any]) -> bool:
        """Whether a training set of one row, as of the answer's instant and position, has other bytes."""
        spine = [{**self.row, "event_time": datetime.fromisoformat(answer["as_of"])}]
        one = self.store.training_set("fraud", spine, name="fraud_one_row", position=answer["position"])
        return not proof.same(one.to_arrow().to_pylist()[0], one.manifest, answer)


def check_extras() -> None:
    """Refuse an installation that lacks what the demo shows.

    Raises
    ------
    MissingExtra
        If a library of the extras ``ml`` or ``serve`` is not installed; it names them.
    """
    missing = {
        extra: [name for name in names if importlib.util.find_spec(name) is None] for extra, names in _EXTRAS.items()
    }
    extras = [extra for extra, names in missing.items() if names]
    if extras:
        names = ", ".join(name for extra in extras for name in missing[extra])
        raise MissingExtra(
            f"The demo trains and serves a model; not installed: {names}. "
            f"Install with: pip install 'featurestore[{','.join(extras)}]'"
        )


def _fraud(prediction: Mapping[str, Any]) -> float:
    return float(prediction["probabilities"]["true"])


def _chance(prediction: Mapping[str, Any]) -> str:
    return f"{_fraud(prediction):.1%}"


def _rounded(score: float | None) -> str:
    return "unknown" if score is None else f"{score:.3f}"


def _shown(value: Any) -> Any:
    return round(value, 2) if isinstance(value, float) else value
