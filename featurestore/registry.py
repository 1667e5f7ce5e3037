"""The registry: a checked set of declarations. It exists only when all of them are right together."""

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from featurestore import facts, purity
from featurestore.collect import Collected, Declared, Place, collect
from featurestore.definition import (
    AS_OF,
    Entity,
    Feature,
    FeatureService,
    Label,
    Listed,
    RoleFeature,
    Source,
    SourceBy,
    WindowFeature,
)
from featurestore.errors import DefinitionError, DefinitionProblems, RequestError, UnknownName, UnknownService, suggest
from featurestore.facts import Fact, Lineage
from featurestore.fingerprint import Fingerprints, fingerprint_label, fingerprint_service, plain
from featurestore.plan import compile_service

_Named = TypeVar("_Named", Entity, Source, Feature, Label, FeatureService)
_Problems = Iterator[tuple[Declared | None, str]]


@dataclass(frozen=True)
class Registry:
    """Declarations by name. Make it with :meth:`of`.

    ``features`` is keyed by the feature's name, ``outputs`` by the names of the values that features give: a family, or
    a feature in a role, has others than its own. ``fingerprints`` holds one for each output, ``service_fingerprints``
    one for each service (S11): a service may have the name of a feature. So does ``label_fingerprints`` for labels.
    """

    entities: Mapping[str, Entity]
    sources: Mapping[str, Source]
    features: Mapping[str, Feature]
    labels: Mapping[str, Label]
    services: Mapping[str, FeatureService]
    outputs: Mapping[str, Listed]
    fingerprints: Mapping[str, str]
    service_fingerprints: Mapping[str, str]
    label_fingerprints: Mapping[str, str]
    _collected: Collected = field(repr=False)
    _root: Path | None = field(repr=False)

    @classmethod
    def of(cls, definitions: Any, root: Path | None = None) -> "Registry":
        """Collect declarations and check them together; see :func:`featurestore.collect.collect` for what they may be.

        Raises
        ------
        DefinitionProblems
            If anything is wrong: all problems at once, each with file and line.
        """
        collected = collect(definitions, root=root)
        outputs = {name: one for one in collected.listed for name in one.outputs}
        prints = Fingerprints(outputs)
        problems = [(collected.place(one) if one else None, text) for one, text in _check(collected, outputs, prints)]
        if problems or collected.problems:
            problems.sort(key=lambda problem: (problem[0].file, problem[0].line) if problem[0] else ("", 0))
            texts = (text if place is None or place.file in text else f"{place}: {text}" for place, text in problems)
            raise DefinitionProblems(tuple(dict.fromkeys([*collected.problems, *texts])))
        services = _by_name(collected.services)
        fingerprints = {name: prints.of(name) for name in outputs}
        return cls(
            _by_name(collected.entities),
            _by_name(collected.sources),
            _by_name(collected.features),
            _by_name(collected.labels),
            services,
            outputs,
            fingerprints,
            {name: fingerprint_service(service, fingerprints) for name, service in services.items()},
            {label.name: fingerprint_label(label) for label in collected.labels},
            collected,
            root,
        )

    def service(self, name: str) -> FeatureService:
        """Return the feature service of that name, or raise UnknownService."""
        return _find("feature service", name, self.services)

    def source(self, name: str) -> Source:
        """Return the source of that name, or raise UnknownService."""
        return _find("source", name, self.sources)

    def feature(self, name: str) -> Feature:
        """Return the feature of that name or that gives an output of that name, or raise UnknownService."""
        listed = self.outputs.get(name)
        if name in self.features or listed is None:
            return _find("feature", name, self.features)
        return plain(listed)

    def entity(self, name: str) -> Entity:
        """Return the entity of that name, or raise UnknownService."""
        return _find("entity", name, self.entities)

    @property
    def views(self) -> tuple[SourceBy, ...]:
        """Views of all window features and labels, each once."""
        declared = (*self.features.values(), *self.labels.values())
        found = [one.view for one in declared if isinstance(one, (WindowFeature, Label))]
        return tuple({view.name: view for view in found}.values())

    def label(self, name: str) -> Label:
        """Return the label of that name, or raise UnknownService."""
        if name in self.outputs and name not in self.labels:
            raise RequestError(
                f"{name!r} is a feature, which looks back: a label is declared with @label(source, by=entity, "
                "horizon=...)."
            )
        return _find("label", name, self.labels)

    def facts(self) -> list[Fact]:
        """Facts of all entities, sources, features, labels and services, in this order."""
        return list(self._facts)

    @functools.cached_property
    def _facts(self) -> tuple[Fact, ...]:
        prints = self.service_fingerprints
        return (
            *(facts.entity_fact(one, self._place(one)) for one in self.entities.values()),
            *(facts.source_fact(one, self._place(one)) for one in self.sources.values()),
            *(
                facts.feature_fact(one, self._place(one), self.outputs, self.fingerprints)
                for one in self.features.values()
            ),
            *(facts.label_fact(one, self._place(one)) for one in self.labels.values()),
            *(facts.service_fact(one, self._place(one), prints[name]) for name, one in self.services.items()),
        )

    def lineage(self, name: str) -> Lineage:
        """Everything upstream and downstream of a declaration, or of the feature that gives an output of that name.

        Raises
        ------
        UnknownService
            If nothing has that name.
        """
        names = {fact.name for fact in self._facts}
        if name not in names and name in self.outputs:
            name = plain(self.outputs[name]).name
        if name not in names:
            raise UnknownService(f"Nothing is named {name!r}.{suggest(name, [*names, *self.outputs])}")
        return facts.lineage(name, self._facts)

    def _place(self, declared: Declared) -> Place:
        """Place of a declaration, relative to the project where it lies in it."""
        place = self._collected.place(declared)
        root, path = self._root and self._root.resolve(), Path(place.file)
        inside = root is not None and path.is_relative_to(root)
        return replace(place, file=path.relative_to(root).as_posix()) if root is not None and inside else place


def _check(collected: Collected, outputs: Mapping[str, Listed], prints: Fingerprints) -> _Problems:
    groups: list[tuple[str, Sequence[Any]]] = [
        ("entity", collected.entities),
        ("source", collected.sources),
        ("feature", collected.features),
        ("label", collected.labels),
        ("feature service", collected.services),
    ]
    for what, named in groups:
        yield from _check_names(what, named, collected)
    yield from _check_views(collected)
    yield from _check_outputs(collected)
    yield from _check_labels(collected, outputs)
    for name, listed in outputs.items():
        try:
            prints.of(name)
        except DefinitionError as error:
            yield listed, f"feature {name!r}: {error}"
    yield from purity.problems([*collected.features, *collected.labels])
    for service in collected.services:
        try:
            compile_service(service, outputs, [label.name for label in collected.labels])
        except DefinitionProblems as error:
            yield from ((service, problem) for problem in error.problems)
        except DefinitionError as error:
            if not (isinstance(error, UnknownName) and collected.problems):  # a file that failed may declare it
                yield service, str(error)


def _check_names(what: str, named: Sequence[Any], collected: Collected) -> _Problems:
    first: dict[str, Any] = {}
    for one in named:
        known = first.setdefault(one.name, one)
        if known is not one and known != one:  # two entities with one name and one key are one entity
            yield one, f"{what} {one.name!r} is declared at {collected.place(known)} too: rename one of them."


def _check_views(collected: Collected) -> _Problems:
    first: dict[str, SourceBy] = {}
    for one in (*collected.features, *collected.labels):
        if not isinstance(one, (WindowFeature, Label)):
            continue
        known = first.setdefault(one.view.name, one.view)
        (source, entity), theirs = ((view.source.name, view.entity.name) for view in (one.view, known))
        if (source, entity) != theirs:
            called = f"source {source!r} by entity {entity!r} is called {one.view.name!r}"
            yield one, f"{called}, as is source {theirs[0]!r} by entity {theirs[1]!r}: rename one of them."


def _check_outputs(collected: Collected) -> _Problems:
    keys = {key: f"a key of entity {one.name!r}" for one in collected.entities for key in one.key}
    taken = keys | {AS_OF: "the row's own time"}
    first: dict[str, Listed] = {}
    for listed in collected.listed:
        for output in listed.outputs:
            if output in taken:
                yield listed, f"feature output {output!r} has the name of {taken[output]}: rename the feature."
            known = first.setdefault(output, listed)
            if not _same(known, listed):
                where = collected.place(known)
                yield (
                    listed,
                    f"feature output {output!r} is given by {_title(known)} at {where} too: rename one of them.",
                )


def _check_labels(collected: Collected, outputs: Mapping[str, Listed]) -> _Problems:
    keys = {key: f"a key of entity {one.name!r}" for one in collected.entities for key in one.key}
    taken = keys | {AS_OF: "the row's own time"} | dict.fromkeys(outputs, "a feature's output")
    for label in collected.labels:
        if label.name in taken:
            yield label, f"label {label.name!r} has the name of {taken[label.name]}: rename one of them."
        try:
            fingerprint_label(label)
        except DefinitionError as error:
            yield label, f"label {label.name!r}: {error}"


def _same(one: Listed, other: Listed) -> bool:
    """Whether a second meeting is no news: the same feature in the same role, or a name already reported."""
    if isinstance(one, RoleFeature) and isinstance(other, RoleFeature):
        return _same(one.feature, other.feature) and one.columns == other.columns
    return one is other or (isinstance(one, Feature) and isinstance(other, Feature) and one.name == other.name)


def _title(listed: Listed) -> str:
    return f"{plain(listed).name!r} on {listed.prefix!r}" if isinstance(listed, RoleFeature) else repr(listed.name)


def _by_name(named: Iterable[_Named]) -> dict[str, _Named]:
    return {one.name: one for one in named}


def _find(what: str, name: str, named: Mapping[str, _Named]) -> _Named:
    if name not in named:
        raise UnknownService(f"No {what} named {name!r}.{suggest(name, named)}")
    return named[name]
