"""Models: trained, saved, promoted, asked."""

from collections.abc import Mapping, Sequence
from typing import Any

from featurestore.models import ModelVersion, Prediction
from featurestore.store.features import Features
from featurestore.training import TrainingSet


class Learning(Features):
    """Models: trained, saved, promoted, asked."""

    def train(
        self,
        model: str,
        training_set: TrainingSet | str,
        estimator: Any,
        *,
        label: str | None = None,
        cv: Any = None,
        features: Sequence[str] | None = None,
        threshold: float | None = None,
        version: str | None = None,
    ) -> ModelVersion:
        """Cross-validate a scikit-learn estimator in order of time, fit it on all rows, and save it.

        The estimator is cloned; best it is a ``Pipeline``, so that what prepares features is saved with the model.

        Parameters
        ----------
        model
            Name of the model; its first version becomes its champion.
        training_set
            Training set or its name.
        label
            What is to be learned: a declared label or a column of the spine. By default the one declared label that the
            training set was built with.
        cv
            ``None`` for five folds in order of time, a number of such folds, ``False`` for none, or a splitter, such as
            ``training_set.cv(gap="1d")``.
        features
            Features to learn from, in order; by default all of the service.
        threshold
            Probability of the second class from which a prediction's ``decision`` is true.
        version
            Name of the version; by default the next of ``v1``, ``v2``, ...

        Raises
        ------
        RequestError
            If the training set, the label, the folds or the estimator do not fit, or the version is there already.
        MissingExtra
            Without scikit-learn.
        """
        return self.saved_models.train(
            model,
            self._training_set(training_set),
            estimator,
            label=label,
            cv=cv,
            features=features,
            threshold=threshold,
            version=version,
            at=self.now(),
        )

    def save_model(
        self,
        model: str,
        estimator: Any,
        training_set: TrainingSet | str,
        *,
        label: str | None = None,
        features: Sequence[str] | None = None,
        threshold: float | None = None,
        version: str | None = None,
    ) -> ModelVersion:
        """Save an estimator that was fitted on a training set's features; as :meth:`train`, without its scores."""
        return self.saved_models.save(
            model,
            estimator,
            self._training_set(training_set),
            label=label,
            features=features,
            threshold=threshold,
            version=version,
            at=self.now(),
        )

    def predict(self, model: str, row: Mapping[str, Any], as_of: Any = None) -> Prediction:
        """Look one row up and say what a model makes of it.

        ``model`` is ``name`` (its champion), ``name@alias`` or ``name@version``.

        Raises
        ------
        UnknownService
            If there is no such model.
        OperationError
            If the version is damaged, or was trained with other libraries or on features that have changed (S12).
        """
        return self.predict_many(model, [row], as_of=as_of)[0]

    def predict_many(self, model: str, rows: Any, as_of: Any = None) -> list[Prediction]:
        """One prediction per row, in order, from one call of the estimator; see :meth:`lookup_many`.

        A linear model's probability may differ in its last bit from :meth:`predict` of that row alone.
        """
        served = self.saved_models.load(model)
        return served.predict(self.lookup_many(served.service, rows, as_of=as_of))

    def models(self) -> list[ModelVersion]:
        """All versions of all models, by name, oldest version first."""
        return self.saved_models.all()

    def promote(self, model: str, version: str, alias: str = "champion", *, force: bool = False) -> ModelVersion:
        """Point an alias of a model at a version. One that overfits is refused without ``force``."""
        return self.saved_models.promote(model, version, alias, force=force, at=self.now())

    def rollback(self, model: str, alias: str = "champion") -> ModelVersion:
        """Point an alias of a model back at the version before."""
        return self.saved_models.rollback(model, alias, at=self.now())

    def _training_set(self, given: TrainingSet | str) -> TrainingSet:
        return self.load_training_set(given) if isinstance(given, str) else given
