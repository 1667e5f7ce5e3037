"""``Models``: what a store does with models, composed of the parts beside it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from featurestore.errors import RequestError
from featurestore.models import aliases, artifact, fitting, manifest, pinning, scores, serving, shelf
from featurestore.models.aliases import CHAMPION, Switch
from featurestore.models.manifest import Fitted
from featurestore.models.matrix import Input
from featurestore.models.serving import Served
from featurestore.models.shelf import ModelVersion, Shelf
from featurestore.provenance import git_commit
from featurestore.registry import Registry
from featurestore.training import TrainingSet

_KEPT = 16  # versions in memory at once


class Models:
    """Models of one store. A version is loaded once and kept; safe to use from several threads.

    Parameters
    ----------
    folder
        Where versions lie.
    registry
        Declarations as they are now: models are held against them (S12).
    root
        Folder of the project, whose commit is written down.
    """

    def __init__(self, folder: Path, registry: Registry, root: Path) -> None:
        self.shelf = Shelf(folder)
        self._registry = registry
        self._root = root
        self._loaded: dict[tuple[str, str], Served] = {}

    def train(
        self,
        model: str,
        training: TrainingSet,
        estimator: Any,
        *,
        label: str | None,
        cv: Any,
        features: Sequence[str] | None,
        threshold: float | None,
        version: str | None,
        at: int,
    ) -> ModelVersion:
        """Cross-validate and fit a clone of an estimator, and save it; ``at`` is now, microseconds UTC."""
        label = fitting.label_of(training, label)
        inputs = self._begin(model, training, label, features, version)
        task, frame = fitting.task_of(estimator), fitting.takes_frame(estimator, inputs)
        rows = fitting.rows_of(training, inputs, label, task, frame=frame)
        metrics = scores.cross_validate(estimator, rows, task, cv)
        fitted = fitting.fitted(fitting.fit(estimator, rows), training, inputs, label, task, frame=frame)
        return self._publish(model, fitted, metrics, threshold, version, at)

    def save(
        self,
        model: str,
        estimator: Any,
        training: TrainingSet,
        *,
        label: str | None,
        features: Sequence[str] | None,
        threshold: float | None,
        version: str | None,
        at: int,
    ) -> ModelVersion:
        """Save an estimator that was fitted elsewhere on a training set's features, in their order."""
        label, named = fitting.label_of(training, label), fitting.names_of(estimator)
        inputs = self._begin(model, training, label, features or named, version)
        if named and named != [one.name for one in inputs]:
            raise RequestError(f"The estimator was fitted on {', '.join(named)}: give features in this order.")
        task, frame = fitting.task_of(estimator), fitting.takes_frame(estimator, inputs)
        fitted = fitting.fitted(estimator, training, inputs, label, task, frame=frame)
        return self._publish(model, fitted, None, threshold, version, at)

    def all(self) -> list[ModelVersion]:
        """All versions of all models, by name, oldest version first."""
        return [self.shelf.read(name, version) for name in self.shelf.names() for version in self.shelf.versions(name)]

    def get(self, reference: str) -> ModelVersion:
        """Version that ``name`` (its champion), ``name@alias`` or ``name@version`` means; nothing is unpickled."""
        return self.shelf.read(*self.shelf.resolve(reference))

    def load(self, reference: str) -> Served:
        """Load that version, checked wholly the first time: see :func:`featurestore.models.serving.load`.

        Raises
        ------
        OperationError
            If it is damaged, was trained with other libraries, or on features that have changed since (S12).
        """
        key = self.shelf.resolve(reference)
        served = self._loaded.get(key)
        if served is None:
            served = self._load(self.shelf.read(*key))
            while len(self._loaded) >= _KEPT:
                self._loaded.pop(next(iter(self._loaded)), None)
            self._loaded[key] = served
        return served

    def verify(self, reference: str) -> ModelVersion:
        """Check a version anew, whatever is in memory."""
        return self._load(self.get(reference)).version

    def promote(self, model: str, version: str, alias: str, *, force: bool, at: int) -> ModelVersion:
        """Point an alias at a version, once that version has been checked.

        Raises
        ------
        RequestError
            If it overfits, without ``force``.
        """
        found = self.shelf.read(model, version)
        shelf.check_alias(alias, self.shelf.versions(model))
        overfit = found.manifest["overfit"]
        if overfit and overfit["verdict"] == "overfitting" and not force:
            raise RequestError(
                f"Model {found.reference} overfits: {overfit['score']} is {overfit['train']:.3f} in training and "
                f"{overfit['test']:.3f} in test, {overfit['gap']:.3f} apart ({scores.OVERFITTING} is the limit). "
                "Reduce its complexity, or say force=True (--force)."
            )
        self._load(found)
        self.shelf.aliases(model).promote(alias, version, at)
        return found

    def rollback(self, model: str, alias: str, *, at: int) -> ModelVersion:
        """Point an alias back at the version before, once that has been checked."""
        self.shelf.versions(model)
        known = self.shelf.aliases(model)
        version = aliases.before(known.history(), alias)
        if version is None:
            raise RequestError(
                f"Nothing to roll back to: {alias!r} of model {model!r} has pointed at one version or none."
            )
        found = self._load(self.shelf.read(model, version)).version
        known.rollback(alias, version, at)
        return found

    def aliases(self, model: str) -> Mapping[str, str]:
        """Version of each alias of a model."""
        return self.shelf.aliases(model).current()

    def history(self, model: str) -> Sequence[Switch]:
        """Every promotion and rollback of a model, oldest first."""
        return self.shelf.aliases(model).history()

    def _begin(
        self, model: str, training: TrainingSet, label: str, features: Sequence[str] | None, version: str | None
    ) -> tuple[Input, ...]:
        """Refuse what is refused anyway before the work, not after it."""
        artifact.require()
        shelf.check_names(model, version, self.shelf.aliases(model).current())
        if version is not None and model in self.shelf.names() and version in self.shelf.versions(model):
            raise shelf.taken(model, version)
        self._registry.service(training.manifest["service"])
        inputs = fitting.features_of(training, features, label)
        pinning.check_training_set(self._registry, training.manifest, [one.name for one in inputs], label)
        return inputs

    def _publish(
        self,
        model: str,
        fitted: Fitted,
        metrics: Mapping[str, Any] | None,
        threshold: float | None,
        version: str | None,
        at: int,
    ) -> ModelVersion:
        """Write the version; a model's first one is its champion."""
        described = manifest.describe(
            fitted,
            self._registry,
            model=model,
            metrics=metrics,
            overfit=scores.overfit(metrics, fitted.task),
            threshold=threshold,
            commit=git_commit(self._root),
            created_at=at,
        )
        made = self.shelf.publish(model, version, fitted.content, described)
        self.shelf.aliases(model).begin(CHAMPION, made.version, at)
        return made

    def _load(self, version: ModelVersion) -> Served:
        pinned, service = manifest.pinned_of(version.manifest), version.manifest["service"]["name"]
        pinning.check(self._registry, version.reference, service, pinned)
        return serving.load(version, self.shelf.content(version))
