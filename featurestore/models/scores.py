"""Cross-validation in the order of time, and what the gap between training and test says.

A fold is trained on rows that lie strictly before all rows it is tested on, and whose labels had ended by then: see
:mod:`featurestore.splits`.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from featurestore import times
from featurestore.errors import RequestError
from featurestore.models.matrix import FloatArray
from featurestore.splits import FOLDS, TimeSplit

Task = Literal["classification", "regression"]
_Indices = np.ndarray[Any, np.dtype[np.int64]]
NOTABLE, OVERFITTING = 0.10, 0.15  # train minus test: up to 0.10 is normal, above 0.15 it is refused as a champion
_GAP_OF: Mapping[Task, str] = {"classification": "f1", "regression": "r2"}


@dataclass(frozen=True, eq=False)
class Rows:
    """What is learned from: ``inputs`` array or frame, ``labels`` and ``at`` (microseconds UTC), in order of time.

    ``reach`` is how far after its instant a row's label looks, microseconds.
    """

    inputs: Any
    labels: np.ndarray[Any, Any]
    at: _Indices
    reach: int = 0

    def take(self, index: _Indices) -> "Rows":
        """Rows at an index."""
        inputs = self.inputs.iloc[index] if hasattr(self.inputs, "iloc") else self.inputs[index]
        return Rows(inputs, self.labels[index], self.at[index], self.reach)


def cross_validate(estimator: Any, rows: Rows, task: Task, cv: Any) -> dict[str, Any] | None:
    """Scores of each fold, their means and standard deviations; ``None`` with ``cv=False``.

    Parameters
    ----------
    estimator
        Is cloned for each fold.
    cv
        ``None`` for five folds in order of time, a number of such folds, ``False`` for none, a splitter of the training
        set's own, or one of scikit-learn, which is used as it is, shuffled or not.

    Raises
    ------
    RequestError
        If the rows do not suffice for the folds, or the estimator cannot be fitted.
    """
    if cv is False:
        return None
    classes = np.unique(rows.labels) if task == "classification" else None
    folds = [_fold(estimator, rows, train, test, classes) for train, test in _splits(rows, cv)]
    scored = [fold for fold in folds if "skipped" not in fold]
    if not scored:
        raise RequestError(
            f"No fold can be scored: {folds[0]['skipped']}. Give fewer folds (cv=2), more rows, or cv=False."
        )
    return {
        "splitter": "order of time" if cv is None or isinstance(cv, (int, TimeSplit)) else str(cv),
        "folds": folds,
        **{side: _summary([fold[side] for fold in scored]) for side in ("train", "test")},
    }


def overfit(metrics: Mapping[str, Any] | None, task: Task) -> dict[str, Any] | None:
    """Gap between training and test, and what it says: normal, notable, overfitting, or identical."""
    if metrics is None:
        return None
    score = _GAP_OF[task]
    train, test = (metrics[side][score]["mean"] for side in ("train", "test"))
    if train is None or test is None:
        return None
    gap = train - test
    verdict = "overfitting" if gap > OVERFITTING else "notable" if gap > NOTABLE else "normal"
    folds = [fold for fold in metrics["folds"] if "skipped" not in fold]
    if all(fold["train"] == fold["test"] for fold in folds):
        verdict = "identical"  # no model is that good: rows stand on both sides, or a feature is the label
    return {"score": score, "train": train, "test": test, "gap": gap, "verdict": verdict}


def fit(estimator: Any, rows: Rows) -> Any:
    """Fit a clone.

    Raises
    ------
    RequestError
        If scikit-learn refuses.
    """
    from sklearn.base import clone

    try:
        return clone(estimator).fit(rows.inputs, rows.labels)
    except (ValueError, TypeError) as error:
        raise RequestError(f"The estimator cannot be fitted on these rows: {error}") from error


def _splits(rows: Rows, cv: Any) -> list[tuple[_Indices, _Indices]]:
    if cv is None or isinstance(cv, int):
        return TimeSplit(rows.at, FOLDS if cv is None else cv, rows.reach).folds()
    if isinstance(cv, TimeSplit):
        return cv.over(rows.at).folds()
    try:
        return [(np.asarray(train), np.asarray(test)) for train, test in cv.split(rows.inputs, rows.labels)]
    except (ValueError, AttributeError) as error:
        raise RequestError(f"cv={cv!r} cannot split {len(rows.labels)} rows: {error}") from error


def _fold(estimator: Any, rows: Rows, train: _Indices, test: _Indices, classes: Any) -> dict[str, Any]:
    past, now = rows.take(train), rows.take(test)
    fold: dict[str, Any] = {"train_rows": len(train), "test_rows": len(test)}
    if not len(train):
        return {**fold, "skipped": "no row, with what its label looks at, lies before the rows to be tested on"}
    fold |= {"train_until": times.isoformat(int(past.at.max())), "test_from": times.isoformat(int(now.at.min()))}
    if classes is not None and len(np.unique(past.labels)) < 2:  # noqa: PLR2004 - a classifier tells two classes
        return {**fold, "skipped": "the rows to be trained on have one class only"}
    fitted = fit(estimator, past)
    return {**fold, "train": _scores(fitted, past, classes), "test": _scores(fitted, now, classes)}


def _scores(fitted: Any, rows: Rows, classes: Any) -> dict[str, float | None]:
    from sklearn import metrics

    if classes is None:
        found = fitted.predict(rows.inputs)
        return {
            "r2": float(metrics.r2_score(rows.labels, found)) if len(rows.labels) > 1 else None,
            "mae": float(metrics.mean_absolute_error(rows.labels, found)),
            "rmse": float(metrics.root_mean_squared_error(rows.labels, found)),
        }
    probabilities = _aligned(fitted, rows.inputs, classes)
    found = classes[probabilities.argmax(axis=1)]
    two = len(classes) == 2  # noqa: PLR2004 - binary
    how: dict[str, Any] = {"labels": classes, "zero_division": 0, "average": "binary" if two else "macro"}
    if two:
        how["pos_label"] = classes[1]
    both = two and len(np.unique(rows.labels)) == 2  # noqa: PLR2004 - as above
    return {
        "accuracy": float(metrics.accuracy_score(rows.labels, found)),
        "precision": float(metrics.precision_score(rows.labels, found, **how)),
        "recall": float(metrics.recall_score(rows.labels, found, **how)),
        "f1": float(metrics.f1_score(rows.labels, found, **how)),
        "log_loss": float(metrics.log_loss(rows.labels, probabilities, labels=classes)),
        "roc_auc": float(metrics.roc_auc_score(rows.labels == classes[1], probabilities[:, 1])) if both else None,
    }


def _aligned(fitted: Any, inputs: Any, classes: Any) -> FloatArray:
    """Probabilities in the order of all classes: a fold may not have met every one."""
    found = fitted.predict_proba(inputs)
    if len(fitted.classes_) == len(classes):
        return np.asarray(found, np.float64)
    made = np.zeros((len(found), len(classes)), np.float64)
    made[:, np.searchsorted(classes, fitted.classes_)] = found
    return made


def _summary(folds: Sequence[Mapping[str, float | None]]) -> dict[str, dict[str, float | None]]:
    """Mean and population standard deviation of each score over the folds that have it."""
    summary: dict[str, dict[str, float | None]] = {}
    for score in folds[0]:
        found = [value for fold in folds if (value := fold[score]) is not None]
        mean = statistics.fmean(found) if found else None
        summary[score] = {"mean": mean, "std": statistics.pstdev(found) if found else None}
    return summary
