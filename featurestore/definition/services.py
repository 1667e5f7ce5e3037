"""Feature services: the features of one model, and the roles that entities play in a row."""

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from featurestore.definition.entities import check_name
from featurestore.definition.features import Feature
from featurestore.definition.labels import Label
from featurestore.errors import DefinitionError
from featurestore.schema import Schema, schema_of


@dataclass(frozen=True, eq=False)
class RoleFeature:
    """A feature asked for an entity that plays a role: its key is read from another spine column."""

    feature: Feature
    columns: Mapping[str, str] | str

    @property
    def prefix(self) -> str:
        """Role prefix of the outputs' names."""
        return self.columns if isinstance(self.columns, str) else "_".join(self.columns.values())

    @property
    def outputs(self) -> tuple[str, ...]:
        """``home_team__form``."""
        return tuple(f"{self.prefix}__{output}" for output in self.feature.outputs)


Listed = Feature | RoleFeature


@dataclass(frozen=True, eq=False)
class FeatureService:
    """The features of one model, in order, and what the caller knows at request time.

    Parameters
    ----------
    name
        Name of the service.
    features
        Features, families, :func:`on` roles and :func:`aggregations`, nested lists allowed.
    request
        pydantic model of the fields that the caller passes with the entity keys.
    """

    name: str
    features: tuple[Listed, ...]
    request: type[BaseModel] | None
    fields: Schema | None = field(repr=False)

    def __init__(self, name: str, *, features: Sequence[Any], request: type[BaseModel] | None = None) -> None:
        check_name(name, "feature service")
        put = functools.partial(object.__setattr__, self)
        put("name", name)
        put("features", tuple(flatten(features, name)))
        put("request", request)
        put("fields", None if request is None else schema_of(request))
        if not self.features:
            raise DefinitionError(f"Feature service {name!r} lists no feature.")

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the vector's values, in declared order."""
        return tuple(output for listed in self.features for output in listed.outputs)


def on(columns: str | Mapping[str, str], *features: Any) -> tuple[RoleFeature, ...]:
    """Ask features for an entity in a role: ``on("home_team", form)`` reads its key from that column of the spine.

    A composite key takes a mapping from the entity's key column to the spine's: ``on({"team": "home_team", "opponent":
    "away_team"}, head_to_head)``. Names become ``home_team__form`` and ``home_team_away_team__head_to_head``.
    """
    listed = list(flatten(features, f"on({columns!r})"))
    if not listed:
        raise DefinitionError(f"on({columns!r}) lists no feature.")
    if any(isinstance(one, RoleFeature) for one in listed):
        raise DefinitionError(f"on({columns!r}) holds a feature that already plays a role: roles do not nest.")
    role = columns if isinstance(columns, str) else dict(columns)
    return tuple(RoleFeature(one, role) for one in listed if isinstance(one, Feature))


def flatten(features: Sequence[Any], where: str) -> Iterator[Listed]:
    """Features of nested lists, in order."""
    if isinstance(features, (str, Mapping)) or not isinstance(features, Sequence):
        raise DefinitionError(f"{where}: features= takes a list of features, not {features!r}.")
    for one in features:
        if isinstance(one, (Feature, RoleFeature)):
            yield one
        elif isinstance(one, (list, tuple)):
            yield from flatten(one, where)
        elif isinstance(one, Label):
            raise DefinitionError(
                f"{where}: {one.name!r} is a label, which looks forward: it is no feature. Ask for it with "
                f"training_set(..., labels=[{one.name!r}])."
            )
        else:
            raise DefinitionError(f"{where}: {one!r} is no feature. Decorate the function with @feature.")
