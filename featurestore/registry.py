"""The registry: a checked set of declarations. It exists only when all of them are right together."""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from featurestore import times
from featurestore.collect import Collected, Declared, collect
from featurestore.definition import (
    AS_OF,
    Entity,
    Feature,
    FeatureService,
    Listed,
    RoleFeature,
    RowFeature,
    Source,
    SourceBy,
    WindowFeature,
)
from featurestore.errors import DefinitionError, DefinitionProblems, UnknownName, UnknownService, suggest
from featurestore.fingerprint import (
    combined,
    fingerprint_entity,
    fingerprint_outputs,
    fingerprint_service,
    fingerprint_source,
    source_text,
    used_text,
)
from featurestore.plan import compile_service
from featurestore.schema import Schema

_Named = TypeVar("_Named", Entity, Source, Feature, FeatureService)
_Problems = Iterator[tuple[Declared | None, str]]


@dataclass(frozen=True)
class Fact:
    """What is worth knowing of one declaration, as plain text and JSON: no code object, nothing to run.

    ``kind`` is ``entity``, ``source``, ``feature`` or ``service``. ``file`` is relative to the project where it lies in
    it. ``code`` is the declaration as written, with the helpers and constants that a feature uses. ``inputs`` names the
    declarations that it is made of.
    """

    kind: str
    name: str
    fingerprint: str
    file: str
    line: int
    code: str
    parameters: Mapping[str, Any]
    inputs: tuple[str, ...]
    description: str


@dataclass(frozen=True)
class Lineage:
    """Names of all declarations that one is made of (``upstream``) and that are made of it (``downstream``), sorted."""

    upstream: tuple[str, ...]
    downstream: tuple[str, ...]


@dataclass(frozen=True)
class Registry:
    """Declarations by name. Make it with :meth:`of`.

    ``features`` is keyed by the feature's name, ``outputs`` by the names of the values that features give: a family, or
    a feature in a role, has others than its own. ``fingerprints`` holds one for each output and for each service (S11).
    """

    entities: Mapping[str, Entity]
    sources: Mapping[str, Source]
    features: Mapping[str, Feature]
    services: Mapping[str, FeatureService]
    outputs: Mapping[str, Listed]
    fingerprints: Mapping[str, str]
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
        prints = _Fingerprints(outputs)
        problems = [(collected.place(one) if one else None, text) for one, text in _check(collected, outputs, prints)]
        if problems or collected.problems:
            problems.sort(key=lambda problem: (problem[0].file, problem[0].line) if problem[0] else ("", 0))
            texts = (text if place is None or place.file in text else f"{place}: {text}" for place, text in problems)
            raise DefinitionProblems(tuple(dict.fromkeys([*collected.problems, *texts])))
        services = _by_name(collected.services)
        fingerprints = {name: prints.of(name) for name in outputs}
        fingerprints |= {name: fingerprint_service(service, fingerprints) for name, service in services.items()}
        return cls(
            _by_name(collected.entities),
            _by_name(collected.sources),
            _by_name(collected.features),
            services,
            outputs,
            fingerprints,
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
        return _plain(listed)

    def facts(self) -> list[Fact]:
        """Facts of all entities, sources, features and services, in this order."""
        return list(self._facts)

    @functools.cached_property
    def _facts(self) -> tuple[Fact, ...]:
        makers: list[tuple[str, Mapping[str, Any], Callable[[Any], _Told]]] = [
            ("entity", self.entities, _tell_entity),
            ("source", self.sources, _tell_source),
            ("feature", self.features, functools.partial(_tell_feature, self)),
            ("service", self.services, functools.partial(_tell_service, self)),
        ]
        return tuple(self._fact(kind, one, tell(one)) for kind, named, tell in makers for one in named.values())

    def lineage(self, name: str) -> Lineage:
        """Everything upstream and downstream of a declaration, or of the feature that gives an output of that name.

        Raises
        ------
        UnknownService
            If nothing has that name.
        """
        inputs: dict[str, set[str]] = {}
        for fact in self._facts:
            inputs.setdefault(fact.name, set()).update(set(fact.inputs) - {fact.name})
        if name not in inputs and name in self.outputs:
            name = _plain(self.outputs[name]).name
        if name not in inputs:
            raise UnknownService(f"Nothing is named {name!r}.{suggest(name, [*inputs, *self.outputs])}")
        users = {one: {user for user, used in inputs.items() if one in used} for one in inputs}
        return Lineage(_reach(name, inputs), _reach(name, users))

    def _fact(self, kind: str, declared: Any, told: "_Told") -> Fact:
        place = self._collected.place(declared)
        path = Path(place.file)
        inside = self._root is not None and path.is_relative_to(self._root.resolve())
        file = path.relative_to(self._root.resolve()).as_posix() if inside and self._root is not None else place.file
        code = told.code if kind == "feature" else "\n".join(text for text in (place.code, told.code) if text)
        return Fact(
            kind,
            declared.name,
            told.fingerprint,
            file,
            place.line,
            code,
            told.parameters,
            told.inputs,
            told.description,
        )


@dataclass(frozen=True)
class _Told:
    """What a declaration itself tells of its fact."""

    fingerprint: str
    code: str
    parameters: Mapping[str, Any]
    inputs: tuple[str, ...]
    description: str


class _Fingerprints:
    """Fingerprints of outputs; those of a row feature need its inputs' first."""

    def __init__(self, outputs: Mapping[str, Listed]) -> None:
        self._outputs = outputs
        self._known: dict[str, str] = {}
        self._pending: list[str] = []

    def of(self, output: str) -> str:
        if output in self._known:
            return self._known[output]
        if output in self._pending:
            circle = [*self._pending[self._pending.index(output) :], output]
            raise DefinitionError(f"features need each other in a circle: {' -> '.join(circle)}.")
        self._pending.append(output)
        try:
            listed = self._outputs[output]
            self._known |= fingerprint_outputs(listed, self.inputs(listed))
        finally:
            self._pending.pop()
        return self._known[output]

    def inputs(self, listed: Listed) -> dict[str, str]:
        """Fingerprints of a row feature's parameters that are outputs. A role is the feature's own, not its inputs'."""
        return {name: self.of(name) for name in _needs(_plain(listed), self._outputs)}


def _check(collected: Collected, outputs: Mapping[str, Listed], prints: _Fingerprints) -> _Problems:
    groups: list[tuple[str, Sequence[Any]]] = [
        ("entity", collected.entities),
        ("source", collected.sources),
        ("feature", collected.features),
        ("feature service", collected.services),
    ]
    for what, named in groups:
        yield from _check_names(what, named, collected)
    yield from _check_views(collected)
    yield from _check_outputs(collected)
    for name, listed in outputs.items():
        try:
            prints.of(name)
        except DefinitionError as error:
            yield listed, f"feature {name!r}: {error}"
    for service in collected.services:
        try:
            compile_service(service, outputs)
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
    for one in collected.features:
        if not isinstance(one, WindowFeature):
            continue
        known = first.setdefault(one.view.name, one.view)
        (source, entity), theirs = ((view.source.name, view.entity.name) for view in (one.view, known))
        if (source, entity) != theirs:
            called = f"source {source!r} by entity {entity!r} is called {one.view.name!r}"
            yield one, f"{called}, as is source {theirs[0]!r} by entity {theirs[1]!r}: rename one of them."


def _check_outputs(collected: Collected) -> _Problems:
    keys = {key: f"a key of entity {one.name!r}" for one in collected.entities for key in one.key}
    taken = keys | {one.name: "a feature service" for one in collected.services} | {AS_OF: "the row's own time"}
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


def _same(one: Listed, other: Listed) -> bool:
    """Whether a second meeting is no news: the same feature in the same role, or a name already reported."""
    if isinstance(one, RoleFeature) and isinstance(other, RoleFeature):
        return _same(one.feature, other.feature) and one.columns == other.columns
    return one is other or (isinstance(one, Feature) and isinstance(other, Feature) and one.name == other.name)


def _title(listed: Listed) -> str:
    return f"{_plain(listed).name!r} on {listed.prefix!r}" if isinstance(listed, RoleFeature) else repr(listed.name)


def _plain(listed: Listed) -> Feature:
    return listed.feature if isinstance(listed, RoleFeature) else listed


def _needs(feature: Feature, outputs: Mapping[str, Listed]) -> list[str]:
    return [name for name in feature.parameters if name in outputs] if isinstance(feature, RowFeature) else []


def _by_name(named: Iterable[_Named]) -> dict[str, _Named]:
    return {one.name: one for one in named}


def _find(what: str, name: str, named: Mapping[str, _Named]) -> _Named:
    if name not in named:
        raise UnknownService(f"No {what} named {name!r}.{suggest(name, named)}")
    return named[name]


def _reach(name: str, edges: Mapping[str, set[str]]) -> tuple[str, ...]:
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        waiting += [one for one in edges.get(waiting.pop(), ()) if one not in seen and not seen.add(one)]  # type: ignore[func-returns-value]
    return tuple(sorted(seen - {name}))


def _columns(schema: Schema) -> dict[str, str]:
    return {one.name: f"{one.kind} | null" if one.nullable else one.kind for one in schema.fields}


def _tell_entity(entity: Entity) -> _Told:
    return _Told(fingerprint_entity(entity), "", {"key": list(entity.key)}, (), "")


def _tell_source(source: Source) -> _Told:
    parameters = {
        "columns": _columns(source.fields),
        "event_time": source.event_time,
        "known_at": source.known_at,
        "delay": times.format_duration(source.delay) if source.delay else None,
        "key": source.key,
        "keys": dict(source.keys) or None,
        "inclusive": source.inclusive or None,
        "on_invalid": source.on_invalid,
        "path": source.path,
        "query": source.query,
    }
    said = {name: value for name, value in parameters.items() if value is not None}
    text = source_text(source.schema)
    return _Told(fingerprint_source(source), text, said, (), vars(source.schema).get("__doc__") or "")


def _tell_feature(registry: Registry, feature: Feature) -> _Told:
    needs = _needs(feature, registry.outputs)
    fingerprint = combined({name: registry.fingerprints[name] for name in feature.outputs})
    code = "\n".join(text for text in (source_text(feature.function), used_text(feature.function)) if text)
    parameters: dict[str, Any] = {"outputs": list(feature.outputs)}
    inputs: Iterable[str] = (_plain(registry.outputs[name]).name for name in needs)
    if isinstance(feature, WindowFeature):
        spans = [None if window is None else times.format_duration(window) for window in feature.windows]
        offset = times.format_duration(feature.offset) if feature.offset else None
        names = {"source": feature.view.source.name, "entity": feature.view.entity.name}
        parameters |= {"of": "window", **names, "windows": spans, "offset": offset}
        inputs = names.values()
    if isinstance(feature, RowFeature):
        parameters |= {"of": "row", "parameters": list(feature.parameters), "arrays": feature.on_arrays}
    if isinstance(feature, (WindowFeature, RowFeature)):
        parameters |= {"type": feature.kind, "nullable": feature.nullable}
    return _Told(fingerprint, code, parameters, tuple(dict.fromkeys(inputs)), feature.description)


def _tell_service(registry: Registry, service: FeatureService) -> _Told:
    request = None if service.fields is None else _columns(service.fields)
    text = "" if service.request is None else source_text(service.request)
    inputs = dict.fromkeys(_plain(listed).name for listed in service.features)
    parameters = {"outputs": list(service.outputs), "request": request}
    return _Told(registry.fingerprints[service.name], text, parameters, tuple(inputs), "")
