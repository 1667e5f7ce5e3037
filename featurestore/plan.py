"""What a feature service needs, resolved: windows of views, row features after them, columns of the spine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from featurestore.definition import (
    AS_OF,
    Feature,
    FeatureService,
    Label,
    Listed,
    RoleFeature,
    RowFeature,
    SourceBy,
    WindowFeature,
    located,
)
from featurestore.errors import DefinitionError, RequestError, UnknownName, suggest
from featurestore.values import Kind


@dataclass(frozen=True, eq=False)
class Keyed:
    """A view asked for the entity whose key stands in these columns of the spine, in the entity's key order.

    A plan has one object of each, so that they are told apart at a glance.
    """

    view: SourceBy
    columns: tuple[str, ...]


@dataclass(frozen=True)
class WindowStep:
    """Run a window feature; ``outputs`` names its value for each of its windows."""

    feature: WindowFeature
    keyed: Keyed
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class RowStep:
    """Run a row feature on ``inputs``: names of earlier outputs, spine columns, or ``as_of``."""

    feature: RowFeature
    inputs: tuple[str, ...]
    output: str


@dataclass(frozen=True)
class LabelStep:
    """Run a label."""

    label: Label
    keyed: Keyed


@dataclass(frozen=True)
class SpineColumn:
    """A column that the spine, or a lookup's row, must have."""

    name: str
    kind: Kind
    nullable: bool
    role: str  # "key" or "request"


@dataclass(frozen=True)
class ServicePlan:
    """A feature service, resolved: steps in an order in which every input is made before it is used.

    ``outputs`` names the features in declared order, then labels: those of a training set, never of a lookup.
    """

    service: FeatureService
    steps: tuple[WindowStep | RowStep, ...]
    columns: tuple[SpineColumn, ...]
    outputs: tuple[str, ...]
    kinds: Mapping[str, tuple[Kind, bool]]
    labels: tuple[LabelStep, ...] = ()

    @cached_property
    def keyed(self) -> tuple[Keyed, ...]:
        """The views it reads, each once."""
        return tuple(dict.fromkeys(step.keyed for step in (*self.steps, *self.labels) if not isinstance(step, RowStep)))

    @cached_property
    def views(self) -> tuple[SourceBy, ...]:
        """The views it reads, each once, whatever role they are asked for."""
        return tuple({keyed.view.name: keyed.view for keyed in self.keyed}.values())

    @cached_property
    def names(self) -> frozenset[str]:
        """Columns that the spine, or a lookup's row, must have."""
        return frozenset(column.name for column in self.columns)

    @cached_property
    def keys(self) -> tuple[SpineColumn, ...]:
        """Those of them that are entity keys."""
        return tuple(column for column in self.columns if column.role == "key")

    def reach(self, view: SourceBy) -> int | None:
        """How far back from T features read the view, microseconds; ``None`` for the whole history."""
        reaches = [
            None if window is None else window + step.feature.offset
            for step in self.steps
            if isinstance(step, WindowStep) and step.keyed.view.name == view.name
            for window in step.feature.windows
        ]
        return None if None in reaches else max((one for one in reaches if one is not None), default=0)


def compile_service(service: FeatureService, outputs: Mapping[str, Listed], labels: Sequence[str] = ()) -> ServicePlan:
    """Resolve a service against all declared outputs (name to the feature that gives it).

    ``labels`` are names that no feature may need: the message for one of them says why.

    Raises
    ------
    DefinitionError
        If a parameter names nothing, names clash, features depend on each other in a circle, or one key column has two
        types.
    """
    return _Compiler(service, outputs, labels).plan()


def with_labels(plan: ServicePlan, labels: Sequence[Label]) -> ServicePlan:
    """Return a service's plan with labels after its features; the spine then has their entities' keys too.

    Raises
    ------
    RequestError
        If one is asked for twice, or a key column has one type for a feature and another for a label.
    """
    columns = {column.name: column for column in plan.columns}
    for number, label in enumerate(labels):
        if label in labels[:number]:
            raise RequestError(f"labels= has {label.name!r} twice.")
        for key, kind in zip(label.view.entity.key, label.view.key_kinds, strict=True):
            known = columns.setdefault(key, SpineColumn(key, kind, nullable=True, role="key"))
            if known.kind != kind:
                raise RequestError(
                    f"Feature service {plan.service.name!r} needs {key!r} as {known.kind}, and label {label.name!r} as "
                    f"{kind}."
                )
    known_keyed = {(one.view.name, one.columns): one for one in plan.keyed}
    steps = tuple(LabelStep(label, _one_of(known_keyed, label.view, label.view.entity.key)) for label in labels)
    return replace(
        plan,
        columns=tuple(columns.values()),
        labels=steps,
        outputs=(*plan.outputs, *(label.name for label in labels)),
        kinds={**plan.kinds, **{label.name: (label.kind, label.nullable) for label in labels}},
    )


def _one_of(known: dict[tuple[str, tuple[str, ...]], Keyed], view: SourceBy, columns: tuple[str, ...]) -> Keyed:
    """Return the view asked by these columns, the object that is known if there is one."""
    return known.setdefault((view.name, columns), Keyed(view, columns))


class _Compiler:
    def __init__(self, service: FeatureService, outputs: Mapping[str, Listed], labels: Sequence[str]) -> None:
        self.service = service
        self.labels = labels
        self.outputs = dict(outputs) | {output: one for one in service.features for output in one.outputs}
        self.request = () if service.fields is None else service.fields.fields
        self.steps: dict[str, WindowStep | RowStep] = {}
        self.columns: dict[str, SpineColumn] = {}
        self.kinds: dict[str, tuple[Kind, bool]] = {}
        self.pending: list[str] = []
        self.keyed: dict[tuple[str, tuple[str, ...]], Keyed] = {}

    def plan(self) -> ServicePlan:
        for one in self.request:
            self.columns[one.name] = SpineColumn(one.name, one.kind, one.masked, "request")
        names = self.service.outputs
        folded = [name.casefold() for name in names]  # a training set's table does not tell upper from lower case
        twice = sorted({name for name in names if folded.count(name.casefold()) > 1})
        if twice:
            raise self._wrong(f"lists {', '.join(twice)} twice")
        for listed in self.service.features:
            self._add(listed)
        clash = sorted((set(self.columns) & {*self.kinds, AS_OF}) | ({AS_OF} & set(self.kinds)))
        if clash:
            raise self._wrong(f"has {', '.join(clash)} both as a feature and as a request field, entity key or as_of")
        return ServicePlan(
            self.service, tuple(dict.fromkeys(self.steps.values())), tuple(self.columns.values()), names, self.kinds
        )

    def _add(self, listed: Listed) -> None:
        feature, role = (listed.feature, listed) if isinstance(listed, RoleFeature) else (listed, None)
        if listed.outputs[0] in self.steps:
            return
        if isinstance(feature, WindowFeature):
            self._add_window(feature, role)
        elif isinstance(feature, RowFeature):
            self._add_row(feature, role)

    def _add_window(self, feature: WindowFeature, role: RoleFeature | None) -> None:
        view = feature.view
        names = tuple(self._spine_column(key, view, role) for key in view.entity.key)
        for name, kind in zip(names, view.key_kinds, strict=True):
            self._key(name, kind, f"{view.name} of feature {feature.name!r}")
        outputs = feature.outputs if role is None else role.outputs
        step = WindowStep(feature, _one_of(self.keyed, view, names), outputs)
        for output in outputs:
            self.steps[output] = step
            self.kinds[output] = (feature.kind, feature.nullable)

    def _add_row(self, feature: RowFeature, role: RoleFeature | None) -> None:
        output = feature.name if role is None else role.outputs[0]
        if output in self.pending:
            raise self._wrong(f"has features that need each other: {' -> '.join([*self.pending, output])}")
        self.pending.append(output)
        inputs = tuple(self._input(feature, name, role) for name in feature.parameters)
        self.pending.pop()
        self.steps[output] = RowStep(feature, inputs, output)
        self.kinds[output] = (feature.kind, feature.nullable)

    def _input(self, feature: RowFeature, name: str, role: RoleFeature | None) -> str:
        """Spine column or output that a parameter stands for, made ready."""
        if name == AS_OF:
            return name
        request = {one.name for one in self.request}
        known = self.outputs.get(name)
        if known is not None and name in request:
            raise self._wrong(f"feature {feature.name!r} needs {name!r}, which is both a feature and a request field")
        if known is not None:
            return self._feature_input(known, name, role)
        if name in request:
            return name
        keys = self._entity_keys()
        if name in keys:
            spine = self._spine_column(name, keys[name][0], role)
            self._key(spine, keys[name][1], f"feature {feature.name!r}")
            return spine
        if name in self.labels:
            raise DefinitionError(
                f"{located(feature.function)}: feature {feature.name!r} of service {self.service.name!r} needs "
                f"{name!r}, which is a label: it looks forward, so no feature can use it."
            )
        hint = suggest(name, [*self.outputs, *request, *keys, AS_OF])
        raise UnknownName(
            f"{located(feature.function)}: feature {feature.name!r} of service {self.service.name!r} needs {name!r}, "
            f"which is no feature, request field, entity key or as_of.{hint}"
        )

    def _feature_input(self, known: Listed, name: str, role: RoleFeature | None) -> str:
        if role is not None and isinstance(known, Feature):
            known, name = replace(role, feature=known), f"{role.prefix}__{name}"
        self._add(known)
        return name

    def _entity_keys(self) -> dict[str, tuple[SourceBy, Kind]]:
        """Key columns of the entities of all features; one that several entities have is that of the shortest key."""
        keys: dict[str, tuple[SourceBy, Kind]] = {}
        for listed in self.outputs.values():
            role = listed if isinstance(listed, RoleFeature) else None
            feature = listed.feature if isinstance(listed, RoleFeature) else listed
            if not isinstance(feature, WindowFeature):
                continue
            view = feature.view
            for key, kind in zip(view.entity.key, view.key_kinds, strict=True):
                for name in {key, self._spine_column(key, view, role)}:
                    if name not in keys or len(view.entity.key) < len(keys[name][0].entity.key):
                        keys[name] = (view, kind)
        return keys

    def _spine_column(self, key: str, view: SourceBy, role: RoleFeature | None) -> str:
        if role is None:
            return key
        if isinstance(role.columns, str):
            if len(view.entity.key) > 1:
                raise self._wrong(
                    f"asks {role.feature.name!r} on({role.columns!r}), but entity {view.entity.name!r} has the key "
                    f"{', '.join(view.entity.key)}: give a column for each"
                )
            return role.columns
        if key not in role.columns:
            raise self._wrong(
                f"asks {role.feature.name!r} on({dict(role.columns)!r}), which lacks {key!r} of the key of entity "
                f"{view.entity.name!r}"
            )
        return role.columns[key]

    def _key(self, name: str, kind: Kind, where: str) -> None:
        known = self.columns.get(name)
        if known is not None and known.kind != kind:
            raise self._wrong(f"needs {name!r} as {known.kind} and, for {where}, as {kind}")
        if known is None:
            self.columns[name] = SpineColumn(name, kind, nullable=True, role="key")

    def _wrong(self, what: str) -> DefinitionError:
        return DefinitionError(f"Feature service {self.service.name!r} {what}.")


def outputs_of(features: Sequence[Listed]) -> dict[str, Listed]:
    """Every output's name and the feature that gives it."""
    return {output: one for one in features for output in one.outputs}
