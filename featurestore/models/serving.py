"""A model version, loaded and checked, and what it says of rows of features."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import numpy as np

from featurestore.errors import OperationError, RequestError
from featurestore.lookup import Vector
from featurestore.models import artifact, environment
from featurestore.models.matrix import FloatArray, Input, matrix, of_rows
from featurestore.models.parts import on_one_thread, openmp, without_openmp
from featurestore.models.shelf import PIPELINE, ModelVersion


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model says of one row.

    ``probabilities`` are by class name (``str`` of the class, a boolean in small letters), ``label`` the likeliest
    class; a regression has ``value`` and no label. ``decision`` says whether the second class's probability reaches the
    model's threshold, ``None`` without one. ``as_of``, ``position`` and ``fingerprint`` are the lookup's (S10);
    ``features`` what the model was given, null as ``None``.
    """

    model: str
    version: str
    label: Any
    probabilities: Mapping[str, float] | None
    value: float | None
    decision: bool | None
    fingerprint: str
    as_of: datetime
    position: int
    features: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """All of it by name."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Served:
    """A version whose bytes, libraries and golden rows have been checked."""

    version: ModelVersion
    estimator: Any
    inputs: tuple[Input, ...]
    frame: bool

    @property
    def service(self) -> str:
        """Feature service that its rows are looked up in."""
        return str(self.version.manifest["service"]["name"])

    def predict(self, vectors: Sequence[Vector]) -> list[Prediction]:
        """One prediction per vector, in order, from one call of the estimator.

        The features are the same bytes in a batch as alone. What an estimator makes of them may not be: a product of
        matrices rounds the last bit otherwise for many rows than for one (linear models; trees do not).

        Raises
        ------
        RequestError
            If the estimator refuses the rows: one of plain linear algebra takes no null.
        OperationError
            If it gives a number that is none.
        """
        if not vectors:
            return []
        manifest = self.version.manifest
        found = predicted(self.estimator, self.inputs, vectors, frame=self.frame, model=self.version.reference)
        if not np.isfinite(found).all():
            raise OperationError(
                f"Model {self.version.reference} gives nan or infinity for these rows: do not serve it."
            )
        classes, threshold = manifest["label"]["classes"], manifest["threshold"]
        answers = [_answer(row, classes, threshold) for row in found.tolist()]
        return [
            Prediction(
                self.version.name,
                self.version.version,
                *answer,
                vector.fingerprint,
                vector.as_of,
                vector.position,
                {one.name: vector[one.name] for one in self.inputs},
            )
            for answer, vector in zip(answers, vectors, strict=True)
        ]


def load(version: ModelVersion, content: bytes) -> Served:
    """Load a version: libraries, then digest, then unpickle, then its golden rows.

    Raises
    ------
    OperationError
        If it was trained with other libraries, or answers its golden rows with other bits.
    StoreDamaged
        If the bytes are not the ones that were saved.
    """
    manifest = version.manifest
    artifact.require()
    environment.check(manifest["environment"], version.reference)
    estimator = artifact.load(content, manifest["file"], version.path / PIPELINE)
    openmp.cache_clear()
    rows, expected = manifest["golden"]["rows"], np.array(manifest["golden"]["expected"], np.float64)
    served = Served(version, on_one_thread(estimator), inputs_of(manifest), manifest["input"] == "frame")
    _replay(served, [dict(zip(version.features, row, strict=True)) for row in rows], expected)
    return served


def inputs_of(manifest: Mapping[str, Any]) -> tuple[Input, ...]:
    """Features of a manifest as inputs."""
    return tuple(Input(one["name"], one["kind"], one["nullable"]) for one in manifest["features"])


def predicted(
    estimator: Any, inputs: Sequence[Input], rows: Sequence[Mapping[str, Any]], *, frame: bool, model: str
) -> FloatArray:
    """Probabilities, shape ``(rows, classes)``, or values, shape ``(rows, 1)``; see :meth:`Served.predict`."""
    given = matrix(inputs, of_rows(inputs, rows), frame=frame)
    try:
        with without_openmp():
            found = estimator.predict_proba(given) if hasattr(estimator, "classes_") else estimator.predict(given)
    except (ValueError, TypeError) as error:
        empty = [one.name for one in inputs if any(row[one.name] is None for row in rows)]
        nulls = f" Null here: {', '.join(empty)}. Train a pipeline that begins with an imputer." if empty else ""
        raise RequestError(f"Model {model} refuses the row: {error}.{nulls}") from error
    return np.asarray(found, np.float64).reshape(len(rows), -1)


def _answer(row: list[float], classes: list[Any] | None, threshold: float | None) -> tuple[Any, Any, Any, Any]:
    """Label, probabilities, value and decision."""
    if classes is None:
        return None, None, row[0], None
    named = dict(zip(map(class_name, classes), row, strict=True))
    decision = None if threshold is None else row[1] >= threshold
    return classes[row.index(max(row))], named, None, decision


def class_name(label: Any) -> str:
    """Name of a class in answers."""
    return str(label).lower() if isinstance(label, bool) else str(label)


def _replay(served: Served, rows: Sequence[Mapping[str, Any]], expected: FloatArray) -> None:
    """Ask for each golden row alone, as a lookup does, and compare bit for bit."""
    model, manifest = served.version.reference, served.version.manifest
    for number, row in enumerate(rows):
        found = predicted(served.estimator, served.inputs, [row], frame=served.frame, model=model)[0]
        if found.tobytes() != expected[number].tobytes():
            off = math.inf if found.shape != expected[number].shape else float(np.abs(found - expected[number]).max())
            raise OperationError(
                f"Model {model} answers golden row {number + 1} of {len(rows)} otherwise than when it was saved (by up "
                f"to {off:g}), so it is not served. It was trained on {manifest['environment']['platform']}, with "
                "libraries of the same versions: a processor with other instructions may round otherwise. Train a new "
                "version here."
            )
