"""Fingerprints (S11): a hash of what a declaration computes, not of how it is written or where data lies.

A function counts by its canonical syntax and by what it uses; a window feature by its function, its windows and its
source's rules; a row feature by its function and its inputs' fingerprints; a service by its outputs' fingerprints.
"""

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel

from featurestore.constraints import schema_text
from featurestore.definition import (
    Entity,
    Feature,
    FeatureService,
    Label,
    Listed,
    RoleFeature,
    RowFeature,
    Source,
    WindowFeature,
)
from featurestore.errors import DefinitionError
from featurestore.used import Content


def fingerprint_function(function: Callable[..., Any]) -> str:
    """SHA-256 (hex) of what a function computes.

    Raises
    ------
    DefinitionError
        If it uses a value whose content cannot be told, such as an open file or a connection.
    """
    content = Content()
    return content.digest(content.token(function))


def fingerprint_schema(model: type[BaseModel]) -> str:
    """SHA-256 (hex) of a pydantic model's columns: names, kinds, nullability, defaults, constraints and validators."""
    content = Content()
    return content.digest(schema_text(model, content.token))


def fingerprint_source(source: Source) -> str:
    """SHA-256 (hex) of a source's rules; its path, query or frame say where data lies, which is no rule."""
    content = Content()
    return content.digest(content.source(source))


def fingerprint_entity(entity: Entity) -> str:
    """SHA-256 (hex) of an entity's name and key."""
    content = Content()
    return content.digest("entity", content.token((entity.name, entity.key)))


def fingerprint_service(service: FeatureService, outputs: Mapping[str, str]) -> str:
    """SHA-256 (hex) of a service's outputs in order, given their fingerprints by name, and of its request schema."""
    request = "" if service.request is None else fingerprint_schema(service.request)
    return Content().digest("service", request, *(f"{name}={outputs[name]}" for name in service.outputs))


def fingerprint_outputs(listed: Listed, inputs: Mapping[str, str]) -> dict[str, str]:
    """Fingerprint of each output of a feature, in order; see :class:`Fingerprints`.

    Parameters
    ----------
    listed
        A feature, or a feature in a role.
    inputs
        Fingerprint of each parameter of a row feature that is a feature's output; the caller gives the others.
    """
    return _outputs(listed, inputs, _source_until)


def fingerprint_feature(listed: Listed, inputs: Mapping[str, str]) -> str:
    """Fingerprint of a whole feature: that of its only output, or of all outputs of a family with their names."""
    return combined(fingerprint_outputs(listed, inputs))


def fingerprint_label(label: Label) -> str:
    """SHA-256 (hex) of a label: its function, its source's rules, its horizon and offset."""
    content = Content()
    view = f"{label.view.name} {label.view.entity.key} {_source_until(label.view.source, _last_seen(label))}"
    return content.digest("label", content.token(label.function), view, f"{label.horizon} {label.offset}")


def combined(outputs: Mapping[str, str]) -> str:
    """Fingerprint of a whole feature, given those of its outputs by name."""
    if len(outputs) == 1:
        return next(iter(outputs.values()))
    return Content().digest("family", *(f"{name}={one}" for name, one in outputs.items()))


class Fingerprints:
    """Fingerprints of features' outputs; those of a row feature need its inputs' first.

    An output of a family depends on its own window alone: another window beside it changes nothing. Of its source's
    schema a window feature has only the columns up to the last one that it reads, or that the source's rules or the
    entity's key name: a column that the schema gains at the end changes no feature that does not read it.

    Parameters
    ----------
    outputs
        All declared outputs: name to the feature, or feature in a role, that gives it.
    """

    def __init__(self, outputs: Mapping[str, Listed]) -> None:
        self._outputs = outputs
        self._known: dict[str, str] = {}
        self._pending: list[str] = []
        self._sources: dict[tuple[Source, str], str] = {}

    def of(self, output: str) -> str:
        """SHA-256 (hex) of what an output computes.

        Raises
        ------
        DefinitionError
            If features need each other in a circle, or one uses a value whose content cannot be told.
        """
        if output in self._known:
            return self._known[output]
        if output in self._pending:
            circle = [*self._pending[self._pending.index(output) :], output]
            raise DefinitionError(f"features need each other in a circle: {' -> '.join(circle)}.")
        self._pending.append(output)
        try:
            listed = self._outputs[output]
            inputs = {name: self.of(name) for name in inputs_of(plain(listed), self._outputs)}
            self._known |= _outputs(listed, inputs, self._source)
        finally:
            self._pending.pop()
        return self._known[output]

    def _source(self, source: Source, until: str) -> str:
        """Fingerprint of a source up to a column, made once: hundreds of features read the same ones."""
        if (source, until) not in self._sources:
            self._sources[source, until] = _source_until(source, until)
        return self._sources[source, until]


def plain(listed: Listed) -> Feature:
    """Return the feature itself, whatever its role. A role is the feature's own, not its inputs'."""
    return listed.feature if isinstance(listed, RoleFeature) else listed


def inputs_of(feature: Feature, outputs: Mapping[str, Listed]) -> list[str]:
    """Names of the outputs that a row feature's parameters stand for."""
    return [name for name in feature.parameters if name in outputs] if isinstance(feature, RowFeature) else []


def _outputs(listed: Listed, inputs: Mapping[str, str], source: Callable[[Source, str], str]) -> dict[str, str]:
    content = Content()
    if isinstance(listed, RoleFeature):
        role = listed.columns if isinstance(listed.columns, str) else sorted(listed.columns.items())
        said = content.token(role)
        inner = _outputs(listed.feature, inputs, source).values()
        return {name: content.digest("role", said, one) for name, one in zip(listed.outputs, inner, strict=True)}
    body = content.token(listed.function)
    if isinstance(listed, RowFeature):
        given = [f"{name}={inputs.get(name, 'given')}" for name in listed.parameters]
        returns = f"{listed.kind} {listed.nullable} {listed.on_arrays}"
        return {listed.name: content.digest("row", body, returns, *given)}
    if not isinstance(listed, WindowFeature):
        raise DefinitionError(f"{listed!r} is neither a window feature nor a row feature, so it has no fingerprint.")
    view = f"{listed.view.name} {listed.view.entity.key} {source(listed.view.source, _last_seen(listed))}"
    pairs = zip(listed.outputs, listed.windows, strict=True)
    return {name: content.digest("window", body, view, f"{window} {listed.offset}") for name, window in pairs}


def _last_seen(feature: WindowFeature | Label) -> str:
    """Last column, in schema order, that a feature or label reads or that the rules for its events name."""
    source = feature.view.source
    ruling = {source.event_time, source.known_at, source.key, *feature.view.key_columns}
    return [name for name in source.fields.names if name in ruling | feature.columns][-1]


def _source_until(source: Source, until: str) -> str:
    content = Content()
    return content.digest(content.source(source, until=until))
