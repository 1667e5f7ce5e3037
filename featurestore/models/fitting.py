"""From a training set to a fitted estimator: its rows in order of time, its features and its label."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from featurestore import spine
from featurestore.errors import RequestError, suggest
from featurestore.models import artifact, parts, scores
from featurestore.models.manifest import Fitted, columns_of
from featurestore.models.matrix import Input, matrix, needs_frame, of_table
from featurestore.models.scores import Rows, Task
from featurestore.training import TrainingSet


def features_of(training: TrainingSet, features: Sequence[str] | None, label: str) -> tuple[Input, ...]:
    """Features asked for, by default all of the training set's; never another column of its spine.

    Raises
    ------
    RequestError
        If one is no feature of it, or the label is one.
    """
    known = training.manifest["features"]
    chosen = list(known if features is None else features)
    wrong = [name for name in chosen if name not in known]
    if wrong:
        raise RequestError(f"Training set {training.name!r} has no feature {wrong[0]!r}.{suggest(wrong[0], known)}")
    if not chosen or len(set(chosen)) < len(chosen):
        raise RequestError(f"features={chosen!r}: give one or more, each once.")
    if label in known:
        raise RequestError(
            f"The label {label!r} is a feature of the training set: a label is declared, or a column of the spine."
        )
    return columns_of(training, chosen)


def label_of(training: TrainingSet, label: str | None) -> str:
    """Label asked for, or the one that the training set was built with.

    Raises
    ------
    RequestError
        If none is asked for, and it was built with none or several.
    """
    declared = [one["name"] for one in training.labels]
    if label is None and len(declared) != 1:
        there = f"several: {', '.join(declared)}" if declared else "no declared label"
        raise RequestError(f"Training set {training.name!r} has {there}. Say which column is to be learned: label=...")
    return declared[0] if label is None else label


def task_of(estimator: Any) -> Task:
    """What an estimator does.

    Raises
    ------
    RequestError
        If it is neither a classifier that gives probabilities nor a regressor.
    """
    from sklearn.base import is_classifier, is_regressor

    if not hasattr(estimator, "__sklearn_tags__"):
        raise RequestError(f"{estimator!r} is no scikit-learn estimator: give an instance of one, best a Pipeline.")
    if is_regressor(estimator):
        return "regression"
    if is_classifier(estimator) and hasattr(estimator, "predict_proba"):
        return "classification"
    raise RequestError(
        f"{type(estimator).__name__} is neither a regressor nor a classifier with predict_proba. Give one, best a "
        "Pipeline that ends in one; CalibratedClassifierCV gives probabilities to a classifier without."
    )


def rows_of(training: TrainingSet, inputs: Sequence[Input], label: str, task: Task, *, frame: bool) -> Rows:
    """Rows of a training set in order of its time column; rows of one instant keep the spine's order.

    Rows whose declared label is not mature are left out.

    Raises
    ------
    RequestError
        If there are none, the label is no column or has a null, or a classifier's has one class.
    """
    table = training.to_arrow()
    if label not in table.column_names:
        raise RequestError(f"Training set {training.name!r} has no column {label!r}.{suggest(label, _own(training))}")
    declared = next((one for one in training.labels if one["name"] == label), None)
    if declared is not None and declared["mark"]:
        table = table.filter(table.column(declared["mark"]))
    if not len(table):
        raise RequestError(f"Training set {training.name!r} has no rows{' whose label is mature' * bool(declared)}.")
    labels = _labels(table.column(label), label)
    if task == "classification" and len(np.unique(labels)) < 2:  # noqa: PLR2004 - a classifier tells two
        raise RequestError(f"The label {label!r} is {labels[0]!r} in every row: there is nothing to learn.")
    if task == "regression" and labels.dtype == object:
        raise RequestError(f"The label {label!r} is text: a regressor needs numbers.")
    at = spine.instants(table.column(training.manifest["time"]), training.manifest["time"])
    rows = Rows(matrix(inputs, of_table(inputs, table), frame=frame), labels, at, training.reach(label))
    return rows.take(np.argsort(at, kind="stable"))


def fitted(
    estimator: Any, training: TrainingSet, inputs: tuple[Input, ...], label: str, task: Task, *, frame: bool
) -> Fitted:
    """Check and pickle a fitted estimator.

    Raises
    ------
    RequestError
        If it was not fitted on that many features, or cannot be saved.
    """
    parts.check_importable(estimator)
    count = getattr(estimator, "n_features_in_", None)
    if count is None or (task == "classification" and not hasattr(estimator, "classes_")):
        raise RequestError(f"{type(estimator).__name__} is not fitted: fit it, or let store.train do it.")
    if count != len(inputs):
        raise RequestError(
            f"The estimator was fitted on {count} features, and {len(inputs)} are given: "
            f"{', '.join(one.name for one in inputs)}. What prepares features belongs in a Pipeline with it."
        )
    return Fitted(estimator, artifact.dump(estimator), task, inputs, frame, training, label)


def takes_frame(estimator: Any, inputs: Sequence[Input]) -> bool:
    """Whether it is given a frame: it wants names, or not all features are numbers."""
    return needs_frame(inputs) or parts.wants_names(estimator)


def names_of(estimator: Any) -> list[str] | None:
    """Names that it was fitted on, if on a frame."""
    found = getattr(estimator, "feature_names_in_", None)
    return None if found is None else [str(name) for name in found]


def fit(estimator: Any, rows: Rows) -> Any:
    """Fit a clone on all rows."""
    return scores.fit(estimator, rows)


def _labels(column: pa.ChunkedArray, label: str) -> np.ndarray[Any, Any]:
    whole = column.combine_chunks()
    if pa.types.is_dictionary(whole.type):
        whole = whole.cast(whole.type.value_type)
    kind, empty = whole.type, whole.null_count
    if pa.types.is_floating(kind):
        empty = int(np.count_nonzero(~np.isfinite(whole.to_numpy(zero_copy_only=False))))
    if empty:
        raise RequestError(f"The label {label!r} is null in {empty} rows: leave them out of the spine.")
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind):
        return np.asarray(whole.to_numpy(zero_copy_only=False))
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return np.asarray(whole.cast(pa.float64()).to_numpy(zero_copy_only=False))
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return np.array(whole.to_pylist(), object)
    raise RequestError(f"The label {label!r} is {kind}: give booleans, numbers or strings.")


def _own(training: TrainingSet) -> list[str]:
    return [name for name in training.to_arrow().column_names if name not in training.manifest["features"]]
