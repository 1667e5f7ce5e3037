"""``FeatureStore``: composes the parts, computes nothing."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa

from featurestore import (
    arrivals,
    explain,
    filling,
    forget,
    ingest,
    leaks,
    lookup,
    materialize,
    reading,
    settings,
    spines,
    times,
    training,
    trials,
)
from featurestore.applied import AppliedRegistry, Change
from featurestore.compatible import check_schema
from featurestore.definition import Entity, Feature, FeatureService, Label, OnInvalid, Source, SourceBy
from featurestore.engine.local import LocalEngine
from featurestore.errors import (
    DefinitionProblems,
    NotMaterialized,
    OperationError,
    RequestError,
    SpineError,
    UnknownService,
    row_number,
    suggest,
)
from featurestore.explain import Explanation
from featurestore.forget import Erased
from featurestore.forgotten import Forgotten
from featurestore.ingest import Ingested
from featurestore.leaks import Leaks
from featurestore.log import EventLog
from featurestore.lookup import Prepared, Vector
from featurestore.materialize import Materialized
from featurestore.models import Models, ModelVersion, Prediction
from featurestore.monitoring.outcomes import Outcomes, Taken
from featurestore.monitoring.recorder import Keeping, Recorder
from featurestore.monitoring.served import ServiceOrigin
from featurestore.monitoring.served_log import Served, ServedLog, Wanted
from featurestore.online.sqlite import SQLiteStore
from featurestore.plan import ServicePlan, compile_service, with_labels
from featurestore.registry import Registry
from featurestore.training import Immature, TrainingSet, TrainingSets
from featurestore.trials import Checked
from featurestore.values import Kind
from featurestore.verify import Late, Verification, asking, late, trained
from featurestore.verify import served as verify_served
from featurestore.verify.causes import Present

Progress = Callable[[str], None]


class FeatureStore:
    """A feature store in one folder: declarations, event log, online store, training sets.

    Parameters
    ----------
    definitions
        Module, folder, file or list of declarations.
    home
        Folder of the store's own files; made if it is not there.
    clock
        Gives now, as a datetime (naive is UTC) or integer microseconds UTC; by default the machine's.
    root
        Where relative paths of sources start; by default the working directory.
    retain
        How far back a lookup's ``as_of`` may lie (``"7d"``); the online store drops what no such lookup needs. By
        default it keeps all.
    keeping
        How much a server keeps of what it serves.

    Raises
    ------
    DefinitionProblems
        If anything is wrong with the declarations: all problems at once.
    """

    def __init__(
        self,
        definitions: Any,
        home: str | Path = ".featurestore",
        *,
        clock: times.Clock | None = None,
        root: str | Path = ".",
        retain: str | None = None,
        keeping: Keeping = Keeping(),  # noqa: B008 - frozen
    ) -> None:
        self.root = Path(root).resolve()
        self.home = Path(home)
        self.registry = Registry.of(definitions, root=self.root)
        self._definitions = definitions
        self._clock = clock
        self._keeping = keeping
        self._retain = None if retain is None else times.duration(retain)
        self._plans = {
            name: compile_service(one, self.registry.outputs) for name, one in self.registry.services.items()
        }
        self._prepared: dict[str, Prepared] = {}
        self._training_sets = TrainingSets(self.home / "training_sets.duckdb")

    @classmethod
    def open(cls, root: str | Path = ".", *, clock: times.Clock | None = None) -> "FeatureStore":
        """Open a project folder's store, by ``[tool.featurestore]`` in its pyproject.toml and ``FEATURESTORE_*``."""
        folder = Path(root).resolve()
        found = settings.load(folder)
        retain = None if found["retain"] is None else times.format_duration(found["retain"])
        keeping = Keeping(found["served_sample"], found["served_retain"], found["served_max_mb"])
        return cls(found["definitions"], found["home"], clock=clock, root=folder, retain=retain, keeping=keeping)

    # -- definitions ------------------------------------------------------------------------------------------------

    def check(self, *, quick: bool = False) -> Checked:
        """Ask the features of every service for the same rows in many ways: all must give the same bits (S14).

        Whole, one by one, in another order, beside other rows, and, where the definitions are files, in another
        process; on made-up events of the sources' schemas, and on some of those that are loaded. A second or two per
        service; ``quick`` leaves it out: that the declarations are right together was checked when the store opened.

        Raises
        ------
        DefinitionProblems
            If a feature gives another value, or raises: it names the feature, how it was asked, the row, both values.
        """
        asked = () if quick else self._plans.values()
        files = self.root / self._definitions if isinstance(self._definitions, (str, Path)) else None
        log = self.log if self.home.is_dir() else None
        problems, checked = trials.check(asked, log, None if quick else files, self.root)
        if problems:
            raise DefinitionProblems(tuple(problems))
        return checked

    def plan(self) -> Sequence[Change]:
        """What has changed in the declarations since they were applied, feature by feature with the difference."""
        return self.applied.plan(self.registry.facts())

    def apply(self) -> int:
        """Record the declarations; gives the number of the recording."""
        return self.applied.apply(self.registry.facts(), at=self.now())

    @functools.cached_property
    def applied(self) -> AppliedRegistry:
        """What was applied, with its history."""
        return AppliedRegistry(self._folder() / "registry.sqlite")

    # -- data in ----------------------------------------------------------------------------------------------------

    def materialize(
        self,
        history: bool = False,  # noqa: FBT001, FBT002 - the signature that users have
        *,
        rebuild: bool = False,
        on_invalid: OnInvalid | None = None,
        progress: Progress = lambda text: None,  # noqa: ARG005 - named for who reads the signature
    ) -> Materialized:
        """Load new source rows into the event log and the online store. Repeatable; a kill leaves the old state.

        A source's first load is history, a later one arrives now (S2) unless ``history``. ``rebuild`` reads all
        sources anew and keeps what was ingested; rows that were there before keep their known_at, unless ``history``.
        ``on_invalid`` overrides the sources' own.

        Raises
        ------
        DataError
            If rows are invalid, conflict with the log or cannot be read; then nothing has changed.
        StoreBusy
            If another process is loading.
        """
        sources = tuple(self.registry.sources.values())
        with self._writing("materialize"):
            terms = arrivals.Terms(self.root, self._stamp(), self.now, self._forgotten, history, on_invalid, rebuild)
            wanted = filling.wanted(self._reaches(), terms.stamp, self._retain)
            return materialize.materialize(sources, wanted, self.log, self.online, terms, progress=progress)

    def ingest(self, source: str, rows: Any) -> Ingested:
        """Append events: validated by the schema, durable and visible when it returns; all of them, or none.

        ``rows`` is a dict, a list of dicts or model instances, or a frame.

        Raises
        ------
        InvalidRows
            If a row is against the schema; it names all of them.
        ConflictingRows
            If a known key comes with another payload (S6).
        """
        found = self.registry.source(source)
        views = [view for view, _ in self._reaches().values() if view.source.name == found.name]
        return ingest.ingest(found, views, rows, self.log, self.online, self.now(), self._forgotten)

    def forget(self, entity: Entity | str, key: Any) -> Erased:
        """Erase an entity's events everywhere, and keep it out of later loads and ingests (S16).

        Training sets and models that contain it are named and stay. The positions of other events stay as they are;
        ``verify`` calls what has become different since "erased". Forgetting again finishes what was cut short.

        Parameters
        ----------
        entity
            Entity, or its name.
        key
            Its key: one value, or for a composite key a tuple in the entity's order, or a dict.

        Raises
        ------
        RequestError
            If there is no such entity, or the key is none of it.
        StoreBusy
            If another process is loading.
        """
        found = self._entity(entity)
        given = forget.key_of(found, key)
        sources = self._holding(found)
        columns = forget.columns_of(given, self.key_kinds(found))
        with self._writing(f"forget one {found.name}"):
            at = self._stamp()
            self._forgotten.add(found, forget.text_of(columns), [one.name for one in sources], at=at)
            materialize.recover(self.log, self.online)
            ingest.take_over(tuple(self.registry.sources.values()), self.log, self.online, at)
            wanted = filling.wanted(self._reaches(), at, self._retain)
            events = forget.erase(sources, wanted, self.log, self.online, self._forgotten, at=at)
        sets = [name for name in self.training_sets() if forget.contains(self.load_training_set(name), given)]
        models = [f"{one.name}@{one.version}" for one in self.models() if one.manifest["training_set"]["name"] in sets]
        asked = sum(all(row.inputs.get(name) == one for name, one in given.items()) for row in self.served_log.rows())
        return Erased(events, tuple(sets), tuple(models), asked)

    # -- features out -----------------------------------------------------------------------------------------------

    def training_set(
        self,
        service: str | FeatureService,
        spine: Any,
        time: str = "event_time",
        name: str | None = None,
        labels: Sequence[Any] = (),
        position: int | Sequence[int] | None = None,
        *,
        immature: Immature = "drop",
        replace: bool = False,
    ) -> TrainingSet:
        """Features of each spine row as of its ``time`` column, in the spine's order (S9), then declared labels (S15).

        Parameters
        ----------
        service
            Name of the feature service.
        spine
            pandas, polars or Arrow frame, list of dicts, path of a Parquet or CSV file, or SQL: entity keys, request
            fields, labels.
        time
            Column of the instants, naive is UTC.
        name
            Table name in DuckDB; by default service and content hash.
        labels
            Declared labels or their names; a label may as well be a column of the spine.
        position
            Position of the log to see, or one per row; by default the newest. It is what labels see, too.
        immature
            Of rows where a label's window, with the source's delay, has not closed at the position: ``"drop"`` leaves
            them out and the manifest counts them; ``"keep"`` keeps them with a null label, and each label has a column
            ``<label>__mature`` that marks them.
        replace
            Write over another training set of that name.
        """
        if immature not in ("drop", "keep"):
            raise RequestError(f"immature={immature!r} is neither 'drop' nor 'keep'.")
        service = _name_of(service)
        asked_labels = [labels] if isinstance(labels, (str, Label)) else labels
        plan = with_labels(self._plan(service), [self._label(one) for one in asked_labels])
        texts = [column.name for column in plan.columns if column.kind == "str"]
        asked = reading.read_spine(spine, self.root, texts)
        if time not in asked.column_names:
            raise SpineError(f"The spine has no column {time!r} to be asked as of.{suggest(time, asked.column_names)}")
        self._take_over("training_set", [view.source for view in plan.views])
        return training.build(
            plan,
            asked,
            time=time,
            name=name,
            position=position,
            given=spine,
            log=self.log,
            engine=LocalEngine(),
            sets=self._training_sets_folder(),
            fingerprint=self.registry.service_fingerprints[service],
            fingerprints={one: self.registry.fingerprints[one] for one in plan.service.outputs},
            created_at=self.now(),
            root=self.root,
            replace=replace,
            label_fingerprints=self.registry.label_fingerprints,
            immature=immature,
        )

    def leaks(
        self,
        table: Any,
        service: str | FeatureService,
        time: str = "event_time",
        *,
        columns: Mapping[str, str] | None = None,
    ) -> Leaks:
        """Find columns of a table of features, made elsewhere, that were computed with a leak.

        Parameters
        ----------
        table
            pandas, polars or Arrow frame, list of dicts, path of a Parquet or CSV file, or SQL: entity keys, instants,
            the request fields that features need, and columns of features.
        service
            Feature service that declares what the columns should be.
        time
            Column of the instants, naive is UTC.
        columns
            The table's own column for a feature, where they differ: ``{"avg_amount_30d": "mean_amount"}``.

        Raises
        ------
        RequestError
            If the table has none of the features, or lacks what they are asked with.
        NotMaterialized
            If a source has not been loaded.
        """
        plan = self._plan(_name_of(service))
        asked = reading.read_spine(table, self.root)
        if time not in asked.column_names:
            raise SpineError(f"The table has no column {time!r} to be asked as of.{suggest(time, asked.column_names)}")
        self._take_over("leaks", [view.source for view in plan.views])
        return leaks.find(plan.service, self.registry, asked, self.log, time=time, columns=columns)

    def spine(
        self,
        of: Entity | Source | str,
        *,
        every: str | timedelta | None = None,
        start: Any = None,
        end: Any = None,
        position: int | None = None,
    ) -> pa.Table:
        """Spine from the log, for :meth:`training_set`: each entity at regular instants, or each event of a source.

        Parameters
        ----------
        of
            With ``every``, an entity or its name: its key and ``event_time`` at ``start, start + every, ...`` before
            ``end``, from when it is known, which is when any source of its features and labels has an event of it that
            is visible by then. Without, a source or its name: one row per event of ``start <= event_time < end``, with
            the keys of the entities declared by it, ``event_time`` and the source's other columns.
        every
            Duration between instants.
        start, end
            Naive is UTC. By default an entity's instants begin at the midnight before the first event and end with the
            newest known_at; a source gives all its events.
        position
            Position of the log to see; by default the newest.

        Returns
        -------
        pyarrow.Table
            In order of time, then of the key or of the event's other columns; times in UTC.

        Raises
        ------
        RequestError
            If there is no such entity or source, or a parameter does not fit.
        """
        begin, stop = (None if one is None else times.to_micros(one) for one in (start, end))
        name = of if isinstance(of, str) else of.name
        if every is None and isinstance(of, Entity):
            raise RequestError(f"A spine of entity {name!r} needs its instants: every='7d'.")
        if every is not None and isinstance(of, Source):
            raise RequestError(f"A spine of source {name!r} has a row per event: drop every=, or give an entity.")
        views = self.registry.views
        if every is None:
            source = self.registry.source(name)
            seen = self._seen("spine", [source], position)
            own = [view for view in views if view.source.name == source.name]
            return spines.of_source(source, own, self.log, seen, start=begin, end=stop)
        entity, span = self.registry.entity(name), _micros(every)
        own = [view for view in views if view.entity.name == entity.name]
        seen = self._seen("spine", [view.source for view in own], position)
        return spines.of_entity(entity, own, self.log, seen, every=span, start=begin, end=stop)

    def load_training_set(self, name: str) -> TrainingSet:
        """Read a training set back."""
        return self._training_sets.load(name)

    def training_sets(self) -> Mapping[str, Mapping[str, Any]]:
        """Manifests of all training sets by name."""
        return self._training_sets.list()

    def lookup(self, service: str | FeatureService, row: Mapping[str, Any], as_of: Any = None) -> Vector:
        """Features of one row of keys and request fields, now or ``as_of`` an instant.

        Raises
        ------
        InvalidRequest, KeyTypeMismatch
            If a key or request field is missing or wrong.
        AsOfError
            If ``as_of`` is in the future, or older than what the online store retains (S10).
        """
        return self.lookup_many(service, [row], as_of=as_of)[0]

    def lookup_many(self, service: str | FeatureService, rows: Any, as_of: Any = None) -> list[Vector]:
        """One vector per row, in order; ``as_of`` for all, or one per row."""
        prepared = self._prepare(_name_of(service))
        listed = rows if isinstance(rows, (list, tuple)) else reading.read_spine(rows, self.root).to_pylist()
        asked = _instants(as_of, len(listed))
        return lookup.lookup_many(prepared, listed, self.online, now=self.now(), as_of=asked, untouched=self._untouched)

    def explain(
        self,
        service: str | FeatureService,
        feature: str,
        row: Mapping[str, Any],
        as_of: Any = None,
        *,
        limit: int | None = None,
    ) -> Explanation:
        """Show what one value is made of: the window's edges, its events, those just outside, a row feature's operands.

        Parameters
        ----------
        service, row, as_of
            As for :meth:`lookup`, whose value it explains.
        feature
            Name of a value that the service gives, or that a feature of it needs.
        limit
            Show so many of a window's newest events, by default all.

        Raises
        ------
        UnknownService
            If the service has no such feature.
        InvalidRequest, KeyTypeMismatch, AsOfError
            As :meth:`lookup`.
        """
        prepared = self._prepare(_name_of(service))
        asked = None if as_of is None else times.to_micros(as_of)
        return explain.explain(
            prepared,
            feature,
            row,
            self.online,
            now=self.now(),
            as_of=asked,
            untouched=self._untouched,
            limit=limit,
        )

    # -- models -----------------------------------------------------------------------------------------------------

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

    # -- in service -------------------------------------------------------------------------------------------------

    def served(
        self,
        service: str | FeatureService | None = None,
        since: Any = None,
        until: Any = None,
        model: str | None = None,
        *,
        request_id: str | None = None,
        last: int | None = None,
    ) -> Served:
        """Vectors that servers have given, in order of time.

        Parameters
        ----------
        service, model, request_id
            Only of these; ``model`` is ``name`` or ``name@version``.
        since, until
            First instant, and the one after the last.
        last
            So many of the newest.
        """
        named = None if service is None else _name_of(service)
        begin, end = (None if one is None else times.to_micros(one) for one in (since, until))
        return self.served_log.read(Wanted(named, begin, end, model, request_id), last=last)

    @functools.cached_property
    def served_log(self) -> ServedLog:
        """What servers have written down; its ``rows`` are for reading more than memory holds."""
        return ServedLog(self.home / "served")

    def add_outcomes(self, model: str, outcomes: Sequence[Mapping[str, Any]], *, sender: str | None = None) -> Taken:
        """Take what came of a model's predictions: all of them or none, durable when it returns.

        Parameters
        ----------
        model
            Name of the model, whichever version predicted.
        outcomes
            ``request_id`` and ``outcome`` (one of the champion's classes, or a number); if need be ``row``, the place
            in a batch, and ``event_time``, when it turned out.
        sender
            Who says so.

        Raises
        ------
        InvalidRows
            If one is no such outcome.
        ConflictingRows
            If a prediction has another outcome already. The same again is fine.
        """
        if "@" in model:
            raise RequestError(f"Outcomes are of a model, not of a version: give {model.partition('@')[0]!r}.")
        classes = self.saved_models.get(model).manifest["label"]["classes"]
        return self._outcomes.add(model, classes, outcomes, now=self.now(), sender=sender)

    def outcomes(self, model: str) -> pa.Table:
        """Outcomes of a model, each with its prediction, in the order in which they came.

        Columns ``request_id``, ``row``, ``outcome``, ``event_time``, ``received_at``, then what the served log has of
        the prediction, null where it has none (sampled out, or thrown away since).
        """
        self.saved_models.shelf.versions(model)
        return self._outcomes.table(model, self.served(model=model).to_arrow())

    @functools.cached_property
    def _outcomes(self) -> Outcomes:
        return Outcomes(self.home / "outcomes.sqlite")

    def recorder(self, **told: Any) -> Recorder:
        """Begin to write down what this process serves; for servers, who call its ``record`` and ``close``."""
        services = {name: self._origin(name, plan) for name, plan in self._plans.items()}
        return Recorder(self.served_log.folder, self._keeping, training.environment(), services, clock=self.now, **told)

    def _origin(self, service: str, plan: ServicePlan) -> ServiceOrigin:
        inputs = {column.name: column.kind for column in plan.columns}
        kinds = {name: plan.kinds[name][0] for name in plan.outputs}
        prints = {name: self.registry.fingerprints[name] for name in plan.outputs}
        return ServiceOrigin(self.registry.service_fingerprints[service], inputs, kinds, prints)

    # -- proof ------------------------------------------------------------------------------------------------------

    def verify_training_set(
        self, name: str, *, sample: int | None = None, seed: int = 0, url: str | None = None, key: str | None = None
    ) -> Verification:
        """Serve a training set's rows again through the online path, and compare every bit.

        Parameters
        ----------
        name
            Of the training set.
        sample
            So many rows, drawn by ``seed``; by default all.
        url, key
            Ask a server there with this API key, rather than this store.

        Raises
        ------
        UnknownService
            If there is no such training set, or its service is not declared any more.
        RequestError, OperationError
            If the training set has a position per row, or the server refuses or does not answer.
        """
        training = self.load_training_set(name)
        service = training.manifest["service"]
        present = self._present(service)
        ask = asking.here(present.service, self.lookup_many)
        if url is not None:
            ask = asking.over_http(url, service, key=key)
        return trained.verify(training, present, ask, sample=sample, seed=seed)

    def verify_served(
        self, service: str | FeatureService | None = None, since: Any = None, until: Any = None
    ) -> Verification:
        """Compute again from the log what servers have answered, and compare every bit.

        Each vector as of its own instant and position; ``since`` is the first instant, ``until`` one after the last.
        """
        return verify_served.verify(
            self.served_log.rows(_wanted(service, since, until)), self._present_if, _in_words("served", since, until)
        )

    def verify_late(
        self,
        name: str | None = None,
        *,
        service: str | FeatureService | None = None,
        since: Any = None,
        until: Any = None,
    ) -> Late:
        """Compare values that rows had with what they are by all that is known today.

        The rows are those of the training set ``name``; without one, those that servers answered for a service.

        Raises
        ------
        RequestError
            If it is not clear which service's rows are meant.
        """
        if name is not None:
            training = self.load_training_set(name)
            present = self._present(training.manifest["service"])
            table = training.to_arrow()
            rows, as_of = trained.asked(present.service.plan, table, training.manifest["time"])
            return late.late(
                f"training set {name}", present, rows, as_of, trained.features_of(table, training.manifest)
            )
        chosen = service or (next(iter(self._plans)) if len(self._plans) == 1 else None)
        if chosen is None:
            raise RequestError(f"Say whose rows: a training set, or a service of {', '.join(self._plans)}.")
        found = list(self.served_log.rows(_wanted(chosen, since, until)))
        present = self._present(_name_of(chosen))
        then = {feature: [row.features.get(feature) for row in found] for feature in present.service.plan.outputs}
        at = np.array([times.to_micros(row.as_of) for row in found], np.int64)
        return late.late(_in_words("served", since, until), present, [row.inputs for row in found], at, then)

    def _present(self, service: str) -> Present:
        plan = self._plan(service)
        self._take_over("verify", [view.source for view in plan.views])
        return Present(
            self._prepare(service),
            {name: self.registry.fingerprints[name] for name in plan.outputs},
            training.environment(),
            self.log,
            self.online,
            self.now(),
            self._untouched,
            lambda at: self._forgotten.erased_since({view.source.name for view in plan.views}, at),
        )

    def _present_if(self, service: str) -> Present | None:
        return self._present(service) if service in self._plans else None

    # -- within -----------------------------------------------------------------------------------------------------

    def now(self) -> int:
        """Microseconds UTC of the store's clock."""
        return times.now(self._clock)

    @functools.cached_property
    def log(self) -> EventLog:
        """The event log."""
        return EventLog(self._folder())

    @functools.cached_property
    def online(self) -> SQLiteStore:
        """The online store."""
        position, stamp = self.log.position, self.log.newest_stamp
        online = SQLiteStore(self._folder() / "online.sqlite")
        if online.state().position < position:  # it was lost, or is of an older backup
            online.resume(position, stamp)
        return online

    def key_kinds(self, entity: Entity | str) -> dict[str, Kind]:
        """Kind of each key column of an entity, as its sources declare it.

        Raises
        ------
        RequestError
            If there is no such entity, or no source has events of it.
        """
        found = self._entity(entity)
        sources = self._holding(found)
        if not sources:
            raise RequestError(f"No source has events of entity {found.name!r}.")
        return {name: sources[0].fields[sources[0].column_of(name)].kind for name in found.key}

    def _holding(self, entity: Entity) -> list[Source]:
        """Sources that have events of an entity."""
        sources = self.registry.sources.values()
        return [one for one in sources if all(one.column_of(name) in one.fields for name in entity.key)]

    @functools.cached_property
    def _forgotten(self) -> Forgotten:
        return Forgotten(self._folder() / "forgotten.sqlite")

    def _entity(self, given: Entity | str) -> Entity:
        known = self.registry.entities
        name = given.name if isinstance(given, Entity) else given
        if name not in known:
            raise RequestError(f"No entity named {name!r}.{suggest(name, known)}")
        return known[name]

    @functools.cached_property
    def saved_models(self) -> Models:
        """Saved models."""
        return Models(self.home / "models", self.registry, self.root)

    def close(self) -> None:
        """Close the store's files; it opens them again when used."""
        if "online" in self.__dict__:
            self.__dict__.pop("online").close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _folder(self) -> Path:
        try:
            self.home.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OperationError(
                f"The store's home {self.home} cannot be made: {error.strerror}. Free that path, or name another "
                "folder: home in [tool.featurestore], or FEATURESTORE_HOME."
            ) from error
        return self.home

    def _training_sets_folder(self) -> TrainingSets:
        self._folder()
        return self._training_sets

    def _training_set(self, given: TrainingSet | str) -> TrainingSet:
        return self.load_training_set(given) if isinstance(given, str) else given

    def _stamp(self) -> int:
        """Now, but never before an arrival that was acknowledged (S10)."""
        return max(self.now(), self.online.state().stamp)

    @contextmanager
    def _writing(self, what: str) -> Iterator[None]:
        with self.log.lock(what=what, timeout_s=60.0):
            yield

    def _untouched(self, source: Source) -> bool:
        return ingest.untouched(source, self.log, self.online)

    def _plan(self, service: str) -> ServicePlan:
        if service not in self._plans:
            raise UnknownService(f"No feature service named {service!r}.{suggest(service, self._plans)}")
        return self._plans[service]

    def _take_over(self, what: str, sources: Sequence[Source]) -> None:
        """Move what was ingested into the log, which then must hold what the sources are to have."""
        with self._writing(what):
            materialize.recover(self.log, self.online)
            ingest.take_over(tuple(self.registry.sources.values()), self.log, self.online, self._stamp())
        for source in sources:
            check_schema(source, self.log)
            if not source.fed_by_ingest and not self.log.loaded(source.name) and not self.log.rows(source.name):
                raise NotMaterialized(f"Source {source.name!r} has not been loaded: `featurestore materialize`.")

    def _seen(self, what: str, sources: Sequence[Source], position: int | None) -> int:
        """Position asked for, by default the newest, with all that was acknowledged in the log."""
        self._take_over(what, sources)
        return training.position_of(position, self.log.position)

    def _label(self, given: Any) -> Label:
        if not isinstance(given, (str, Label, Feature)):
            raise RequestError(f"labels= has {given!r}: give labels declared with @label, or their names.")
        return self.registry.label(given if isinstance(given, str) else given.name)

    def _prepare(self, service: str) -> Prepared:
        if service not in self._prepared:
            plan = self._plan(service)
            self._prepared[service] = lookup.prepare(plan, self.registry.service_fingerprints[service])
        return self._prepared[service]

    def _reaches(self) -> dict[str, tuple[SourceBy, list[int | None]]]:
        """Views that lookups of any service read, and how far back each does."""
        reaches: dict[str, tuple[SourceBy, list[int | None]]] = {}
        for plan in self._plans.values():
            for view in plan.views:
                reaches.setdefault(view.name, (view, []))[1].append(plan.reach(view))
        return reaches


def _name_of(service: str | FeatureService) -> str:
    return service.name if isinstance(service, FeatureService) else service


def _micros(every: str | timedelta) -> int:
    try:
        return times.duration(every)
    except ValueError as error:
        raise RequestError(f"every: {error}") from error


def _instants(as_of: Any, rows: int) -> Sequence[int] | int | None:
    """Microseconds of one instant or of a column of them."""
    if as_of is None:
        return None
    if isinstance(as_of, (str, int)) or not hasattr(as_of, "__len__"):
        return times.to_micros(as_of)
    if len(as_of) != rows:
        raise RequestError(f"as_of has {len(as_of)} instants for {rows} rows: give one for all, or one per row.")
    asked = []
    for place, one in enumerate(as_of):
        try:
            asked.append(times.to_micros(one))
        except RequestError as error:
            raise RequestError(f"as_of of row {row_number(place)}: {error}") from error
    return asked


def _wanted(service: str | FeatureService | None, since: Any, until: Any) -> Wanted:
    begin, end = (None if one is None else times.to_micros(one) for one in (since, until))
    return Wanted(None if service is None else _name_of(service), begin, end)


def _in_words(what: str, since: Any, until: Any) -> str:
    edges = [
        f"{word} {times.isoformat(times.to_micros(one))}"
        for word, one in (("since", since), ("until", until))
        if one is not None
    ]
    return " ".join([what, *edges])
