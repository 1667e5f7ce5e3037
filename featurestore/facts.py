"""Facts of declarations, as plain text and JSON: what lists, pages and applied registries show and compare."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from featurestore import times
from featurestore.collect import Place
from featurestore.definition import Entity, Feature, FeatureService, Label, Listed, RowFeature, Source, WindowFeature
from featurestore.fingerprint import (
    combined,
    fingerprint_entity,
    fingerprint_label,
    fingerprint_source,
    inputs_of,
    plain,
)
from featurestore.schema import Schema
from featurestore.used import used_text
from featurestore.written import source_text

Named = tuple[str, str]  # kind and name of a declaration


@dataclass(frozen=True)
class Fact:
    """What is worth knowing of one declaration: no code object, nothing to run.

    ``kind`` is ``entity``, ``source``, ``feature``, ``label`` or ``service``. ``file`` is relative to the project
    where it lies in it. ``code`` is the declaration as written, with the helpers and constants that a feature uses.
    ``inputs`` names the declarations that it is made of: source and entity of a window feature or label, the features
    of any other.
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

    @property
    def made_of(self) -> tuple[Named, ...]:
        """Kind and name of each input."""
        if self.inputs and (
            self.kind == "label" or self.parameters.get("of") == "window"
        ):  # a source and an entity may share a name
            return (("source", self.inputs[0]), ("entity", self.inputs[-1]))
        return tuple(("feature", name) for name in self.inputs)


@dataclass(frozen=True)
class Lineage:
    """Names of all declarations that one is made of (``upstream``) and that are made of it (``downstream``), sorted."""

    upstream: tuple[str, ...]
    downstream: tuple[str, ...]


def lineage(name: str, facts: Sequence[Fact]) -> Lineage:
    """Everything upstream and downstream of the declarations of a name; there may be one of each kind."""
    of_name = {(fact.kind, fact.name) for fact in facts if fact.name == name}
    inputs: dict[Named, set[Named]] = {(fact.kind, fact.name): set(fact.made_of) for fact in facts}
    users: dict[Named, set[Named]] = {}
    for user, used in inputs.items():
        for one in used:
            users.setdefault(one, set()).add(user)
    return Lineage(_reach(of_name, inputs), _reach(of_name, users))


def entity_fact(entity: Entity, place: Place) -> Fact:
    """Fact of an entity."""
    parameters = {"key": list(entity.key)}
    return Fact(
        "entity", entity.name, fingerprint_entity(entity), place.file, place.line, place.code, parameters, (), ""
    )


def source_fact(source: Source, place: Place) -> Fact:
    """Fact of a source, with the code of its schema."""
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
    return Fact(
        "source",
        source.name,
        fingerprint_source(source),
        place.file,
        place.line,
        _joined([place.code, source_text(source.schema)]),
        {name: value for name, value in parameters.items() if value is not None},
        (),
        vars(source.schema).get("__doc__") or "",
    )


def feature_fact(
    feature: Feature, place: Place, outputs: Mapping[str, Listed], fingerprints: Mapping[str, str]
) -> Fact:
    """Fact of a feature, given all outputs and their fingerprints; its code shows what it uses."""
    return Fact(
        "feature",
        feature.name,
        combined({name: fingerprints[name] for name in feature.outputs}),
        place.file,
        place.line,
        _joined([source_text(feature.function), used_text(feature.function)]),
        {"outputs": list(feature.outputs), **_feature_parameters(feature)},
        _feature_inputs(feature, outputs),
        feature.description,
    )


def label_fact(label: Label, place: Place) -> Fact:
    """Fact of a label; its code shows what it uses."""
    parameters = {
        "source": label.view.source.name,
        "entity": label.view.entity.name,
        "horizon": times.format_duration(label.horizon),
        "offset": times.format_duration(label.offset) if label.offset else None,
        "type": label.kind,
        "nullable": label.nullable,
    }
    return Fact(
        "label",
        label.name,
        fingerprint_label(label),
        place.file,
        place.line,
        _joined([source_text(label.function), used_text(label.function)]),
        parameters,
        (label.view.source.name, label.view.entity.name),
        label.description,
    )


def service_fact(service: FeatureService, place: Place, fingerprint: str) -> Fact:
    """Fact of a feature service, with the code of its request schema."""
    text = "" if service.request is None else source_text(service.request)
    request = None if service.fields is None else _columns(service.fields)
    return Fact(
        "service",
        service.name,
        fingerprint,
        place.file,
        place.line,
        _joined([place.code, text]),
        {"outputs": list(service.outputs), "request": request},
        tuple(dict.fromkeys(plain(listed).name for listed in service.features)),
        "",
    )


def _feature_parameters(feature: Feature) -> dict[str, Any]:
    if isinstance(feature, WindowFeature):
        return {
            "of": "window",
            "source": feature.view.source.name,
            "entity": feature.view.entity.name,
            "windows": [None if window is None else times.format_duration(window) for window in feature.windows],
            "offset": times.format_duration(feature.offset) if feature.offset else None,
            "type": feature.kind,
            "nullable": feature.nullable,
        }
    if isinstance(feature, RowFeature):
        names, arrays = list(feature.parameters), feature.on_arrays
        return {"of": "row", "parameters": names, "arrays": arrays, "type": feature.kind, "nullable": feature.nullable}
    return {}


def _feature_inputs(feature: Feature, outputs: Mapping[str, Listed]) -> tuple[str, ...]:
    names: Iterable[str] = (plain(outputs[name]).name for name in inputs_of(feature, outputs))
    if isinstance(feature, WindowFeature):
        names = (feature.view.source.name, feature.view.entity.name)
    return tuple(dict.fromkeys(names))


def _joined(texts: Iterable[str]) -> str:
    return "\n".join(text for text in texts if text)


def _columns(schema: Schema) -> dict[str, str]:
    return {one.name: f"{one.kind} | null" if one.nullable else one.kind for one in schema.fields}


def _reach(start: set[Named], edges: Mapping[Named, set[Named]]) -> tuple[str, ...]:
    seen: set[Named] = set()
    waiting = list(start)
    while waiting:
        new = edges.get(waiting.pop(), set()) - seen
        seen |= new
        waiting += new
    return tuple(sorted({name for _, name in seen - start}))
