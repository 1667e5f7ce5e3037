"""What is written down of a model version: how it was made, and what its loading is checked by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from featurestore import times
from featurestore.errors import RequestError
from featurestore.fingerprint import plain
from featurestore.models import artifact, environment, pinning
from featurestore.models.matrix import Input, of_table
from featurestore.models.parts import on_one_thread
from featurestore.models.scores import Task
from featurestore.models.serving import predicted
from featurestore.registry import Registry
from featurestore.training import TrainingSet

GOLDEN_ROWS = 20
_NOWHERE = Path("the new version")  # it has no place before it is saved


@dataclass(frozen=True, eq=False)
class Fitted:
    """A fitted estimator and what it was fitted on: ``content`` is the bytes of it that are saved."""

    estimator: Any
    content: bytes
    task: Task
    inputs: tuple[Input, ...]
    frame: bool
    training: TrainingSet
    label: str


def describe(
    fitted: Fitted,
    registry: Registry,
    *,
    model: str,
    metrics: Mapping[str, Any] | None,
    overfit: Mapping[str, Any] | None,
    threshold: float | None,
    commit: str | None,
    created_at: int,
) -> dict[str, Any]:
    """Manifest of a version but for its name and version.

    Raises
    ------
    RequestError
        If the estimator gives nan or infinity for a row that it was trained on.
    """
    training, service = fitted.training.manifest, fitted.training.manifest["service"]
    pinned = pinning.pin(registry, service, [one.name for one in fitted.inputs])
    return {
        "created_at": times.isoformat(created_at),
        "file": artifact.sizes(fitted.content),
        "environment": environment.environment(fitted.estimator),
        "git": {
            "commit": commit and commit.removesuffix("+changes"),
            "dirty": bool(commit) and "+changes" in str(commit),
        },
        "training_set": {
            name: training[name]
            for name in ("name", "content_hash", "spine_hash", "rows", "time_range", "position", "fingerprint", "part")
            if name in training
        },
        "service": {"name": service, "fingerprint": pinned["fingerprint"], "request": pinned["request"]},
        "task": fitted.task,
        "input": "frame" if fitted.frame else "array",
        "features": [
            {
                "name": one.name,
                "kind": one.kind,
                "nullable": one.nullable,
                "fingerprint": pinned["features"][one.name],
                "feature": plain(registry.outputs[one.name]).name,
            }
            for one in fitted.inputs
        ],
        "label": {"column": fitted.label, "classes": _classes(fitted)},
        "estimator": _estimator(fitted.estimator),
        "metrics": metrics,
        "overfit": overfit,
        "threshold": _threshold(threshold, fitted),
        "golden": _golden(fitted, model),
        "facts": pinned["facts"],
    }


def pinned_of(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What :func:`featurestore.models.pinning.check` compares."""
    return {
        "features": {one["name"]: one["fingerprint"] for one in manifest["features"]},
        "request": manifest["service"]["request"],
        "facts": manifest["facts"],
    }


def _classes(fitted: Fitted) -> list[Any] | None:
    return None if fitted.task == "regression" else list(fitted.estimator.classes_.tolist())


def _threshold(threshold: float | None, fitted: Fitted) -> float | None:
    if threshold is None:
        return None
    if fitted.task == "regression" or len(fitted.estimator.classes_) != 2:  # noqa: PLR2004 - binary
        raise RequestError("A threshold decides between two classes: this model has no two.")
    if not 0.0 <= threshold <= 1.0:
        raise RequestError(f"threshold={threshold!r} is no probability: give one from 0 to 1.")
    return float(threshold)


def _estimator(estimator: Any) -> dict[str, Any]:
    """Class, steps and parameters, as text."""
    steps = [[name, type(step).__name__] for name, step in getattr(estimator, "steps", ())]
    parameters = {name: _plain(value) for name, value in estimator.get_params(deep=True).items()}
    return {"class": type(estimator).__name__, "steps": steps, "parameters": parameters}


def _plain(value: Any) -> Any:
    simple = value is None or isinstance(value, (bool, int, str)) or (isinstance(value, float) and np.isfinite(value))
    return value if simple else str(value)


def _golden(fitted: Fitted, model: str) -> dict[str, Any]:
    """Rows spread over the training set, and what the saved bytes say of each alone."""
    table = fitted.training.to_arrow()
    chosen = np.unique(np.linspace(0, len(table) - 1, GOLDEN_ROWS).astype(np.int64))
    columns = [one.to_list() for one in of_table(fitted.inputs, table.take(chosen))]
    rows = [[_stored(value) for value in row] for row in zip(*columns, strict=True)]
    copy = on_one_thread(artifact.load(fitted.content, artifact.sizes(fitted.content), _NOWHERE))
    names = [one.name for one in fitted.inputs]
    expected = [
        predicted(copy, fitted.inputs, [dict(zip(names, row, strict=True))], frame=fitted.frame, model=model)[0]
        for row in rows
    ]
    if not np.isfinite(expected).all():
        raise RequestError(f"Model {model} gives nan or infinity for a row that it was trained on: it is not saved.")
    return {"rows": rows, "expected": [one.tolist() for one in expected]}


def _stored(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _stored(one) for key, one in value.items()}
    return times.isoformat(times.to_micros(value)) if isinstance(value, datetime) else value


def columns_of(training: TrainingSet, features: Sequence[str]) -> tuple[Input, ...]:
    """Features of a training set as inputs, in the order asked for."""
    kinds = {one["name"]: one for one in training.manifest["feature_types"]}
    return tuple(Input(name, kinds[name]["type"], kinds[name]["nullable"]) for name in features)
