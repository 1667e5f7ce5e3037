"""What a pydantic model says of its columns: name, kind, whether null is allowed. Nothing is declared twice."""

import enum
import types
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Union, get_args, get_origin

import pyarrow as pa
from pydantic import BaseModel

from featurestore.errors import DefinitionError
from featurestore.values import ARROW_TYPES, KINDS, Kind


@dataclass(frozen=True, slots=True)
class Field:
    """One column. ``default`` fills a column that a row or file lacks; ``required`` columns must be there."""

    name: str
    kind: Kind
    nullable: bool
    required: bool = True
    default: Any = None

    @property
    def masked(self) -> bool:
        """Whether its arrays carry a validity mask: a float may be null, for NaN is (S7)."""
        return self.nullable or self.kind == "float"


@dataclass(frozen=True, slots=True)
class Schema:
    """The columns of a model, in its order, and the model itself."""

    model: type[BaseModel]
    fields: tuple[Field, ...]

    def __getitem__(self, name: str) -> Field:
        """Return the field of that name; a KeyError if there is none."""
        for field in self.fields:
            if field.name == name:
                return field
        raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        return any(field.name == name for field in self.fields)

    @property
    def names(self) -> tuple[str, ...]:
        """Column names in schema order."""
        return tuple(field.name for field in self.fields)

    def arrow(self) -> pa.Schema:
        """Arrow types of the columns."""
        return pa.schema([pa.field(field.name, ARROW_TYPES[field.kind]) for field in self.fields])


def schema_of(model: type[BaseModel]) -> Schema:
    """Columns of a pydantic model.

    Raises
    ------
    DefinitionError
        If it is no model, or a field's type is none of bool, int, float, str, datetime, Literal, Enum, or one of them
        with ``None``.
    """
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        raise DefinitionError(
            f"schema={model!r} is not a pydantic model: declare a class that inherits pydantic.BaseModel."
        )
    fields = []
    for name, info in model.model_fields.items():
        kind, nullable = _kind(info.annotation, f"{model.__name__}.{name}")
        # a factory may read a clock: it is left to pydantic, for rows that are ingested (S14)
        required = info.is_required() or info.default_factory is not None
        default = None if required else info.get_default()
        default = default.value if isinstance(default, enum.Enum) else default
        fields.append(Field(name, kind, nullable, required, default))
    return Schema(model, tuple(fields))


def kind_of(annotation: Any) -> tuple[Kind, bool] | None:
    """Kind and nullability of a type annotation, or ``None`` if it is not one of the closed set."""
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        arms = get_args(annotation)
        rest = [arm for arm in arms if arm is not types.NoneType]
        found = kind_of(rest[0]) if len(rest) == 1 else None
        return None if found is None else (found[0], found[1] or len(rest) < len(arms))
    if origin is Literal:
        kinds = {KINDS.get(type(choice)) for choice in get_args(annotation) if choice is not None}
        kind = kinds.pop() if len(kinds) == 1 else None
        return None if kind is None else (kind, None in get_args(annotation))
    if hasattr(annotation, "__metadata__"):  # Annotated[...] inside a union
        return kind_of(get_args(annotation)[0])
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        kinds = {KINDS.get(type(member.value)) for member in annotation}
        kind = kinds.pop() if len(kinds) == 1 else None
        return None if kind is None else (kind, False)
    kind = KINDS.get(annotation)
    if kind is None and isinstance(annotation, type) and issubclass(annotation, datetime):
        kind = "datetime"
    return None if kind is None else (kind, False)


def _kind(annotation: Any, where: str) -> tuple[Kind, bool]:
    found = kind_of(annotation)
    if found is None:
        raise DefinitionError(
            f"{where} has type {annotation!r}, which is no column type. Use bool, int, float, str, datetime, Literal "
            "or Enum, each with `| None` where null is allowed (decimals: cents as int, or float; dates: datetime at "
            "midnight UTC)."
        )
    return found
