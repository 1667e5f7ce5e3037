"""Features out: training sets, spines, lookups, and what a value is made of."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import pyarrow as pa

from featurestore import (
    explain,
    leaks,
    lookup,
    reading,
    spines,
    times,
    training,
)
from featurestore.definition import Entity, FeatureService, Label, Source
from featurestore.engine.local import LocalEngine
from featurestore.errors import (
    RequestError,
    SpineError,
    row_number,
    suggest,
)
from featurestore.explain import Explanation
from featurestore.leaks import Leaks
from featurestore.lookup import Vector
from featurestore.plan import with_labels
from featurestore.store.home import Home, named
from featurestore.training import Immature, TrainingSet


class Features(Home):
    """Features out: training sets, spines, lookups, and what a value is made of."""

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
        service = named(service)
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
            engine=LocalEngine(self._memory, self.home),
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
        plan = self._plan(named(service))
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
        prepared = self._prepare(named(service))
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
        prepared = self._prepare(named(service))
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
