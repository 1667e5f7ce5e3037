"""What a store has open: declarations, log, online store, clock; and what its parts ask of these."""

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from featurestore import (
    ingest,
    lookup,
    materialize,
    times,
    training,
)
from featurestore.applied import AppliedRegistry
from featurestore.compatible import check_schema
from featurestore.definition import Entity, Feature, FeatureService, Label, Source, SourceBy
from featurestore.errors import (
    NotMaterialized,
    OperationError,
    RequestError,
    UnknownService,
    suggest,
)
from featurestore.forgotten import Forgotten
from featurestore.log import EventLog
from featurestore.lookup import Prepared
from featurestore.memory import usual
from featurestore.models import Models
from featurestore.monitoring.recorder import Keeping
from featurestore.monitoring.served_log import ServedLog
from featurestore.online.sqlite import SQLiteStore
from featurestore.plan import ServicePlan, compile_service
from featurestore.registry import Registry
from featurestore.training import TrainingSets
from featurestore.values import Kind

Progress = Callable[[str], None]


class Home:
    """What a store has open: declarations, log, online store, clock; and what its parts ask of these."""

    def __init__(
        self,
        definitions: Any,
        home: str | Path = ".featurestore",
        *,
        clock: times.Clock | None = None,
        root: str | Path = ".",
        retain: str | None = None,
        keeping: Keeping = Keeping(),  # noqa: B008 - frozen
        memory: int | None = None,
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
        self._opened: dict[str, int] = {}
        self._memory = usual() if memory is None else memory
        self._training_sets = TrainingSets(self.home / "training_sets.duckdb", memory=self._memory)

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

    @functools.cached_property
    def applied(self) -> AppliedRegistry:
        """What was applied, with its history."""
        return AppliedRegistry(self._folder() / "registry.sqlite")

    @functools.cached_property
    def saved_models(self) -> Models:
        """Saved models."""
        return Models(self.home / "models", self.registry, self.root)

    @functools.cached_property
    def served_log(self) -> ServedLog:
        """What servers have written down; its ``rows`` are for reading more than memory holds."""
        return ServedLog(self.home / "served")

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

    def close(self) -> None:
        """Close the store's files; it opens them again when used."""
        if "online" in self.__dict__:
            self.__dict__.pop("online").close()
        self._opened.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

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


def named(service: str | FeatureService) -> str:
    """Name of a feature service that is given itself, or by its name."""
    return service.name if isinstance(service, FeatureService) else service
