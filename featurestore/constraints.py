"""Canonical text of what a schema rules (S11): its columns, their constraints, its validators; words are no rules."""

import enum
import types
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from featurestore.schema import Field, schema_of

_MODEL_RULES = (
    "extra",
    "strict",
    "str_strip_whitespace",
    "str_to_lower",
    "str_to_upper",
    "str_min_length",
    "str_max_length",
)
_OF_FIELDS = ("validators", "field_validators")
_OF_MODEL = ("root_validators", "model_validators")
_EVERY = "*"  # a validator of all fields
_Token = Callable[[Any], str]


def schema_text(model: type[BaseModel], token: _Token, *, until: str | None = None) -> str:
    """Text of a pydantic model's columns and rules; its name, titles and descriptions are words.

    Parameters
    ----------
    model
        The schema.
    token
        Gives the canonical text of a value that a rule uses.
    until
        The last column that is looked at; later ones are left out. They only decide between events that are equal in
        all columns before (S5), which who looks at those alone cannot tell. By default, and where a validator of the
        whole model may carry a later column's value over, all columns are told.
    """
    columns = schema_of(model).fields
    if until is not None and not any(_validators(model, _OF_MODEL)):
        columns = columns[: [one.name for one in columns].index(until) + 1]
    names = {_EVERY, *(one.name for one in columns)}
    told = [_column_text(model, one, token) for one in columns]
    config = {name: model.model_config.get(name) for name in _MODEL_RULES if name in model.model_config}
    validators = [
        f"{group} {name} {about} {token(function)}"
        for group, name, about, function in _validators(model, (*_OF_FIELDS, *_OF_MODEL))
        if group in _OF_MODEL or names.intersection(about[0])
    ]
    return f"(schema {told} {token(config)} {validators})"


def _column_text(model: type[BaseModel], column: Field, token: _Token) -> str:
    info = model.model_fields[column.name]
    default = info.default_factory or column.default  # a factory by its content: what it gives may differ each time
    rules = [_rule(one, token) for one in info.metadata]
    annotation = _annotation(info.annotation, token)
    told = [column.kind, column.nullable, column.required, token(default), annotation]
    return f"{column.name} {told} {token(info.validation_alias)} {rules}"


def _annotation(annotation: Any, token: _Token) -> str:
    """Tell a column's type in so far as it rules: choices, members and rules inside ``Annotated``."""
    origin, arms = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return f"(any {sorted(_annotation(arm, token) for arm in arms)})"
    if origin is Literal:
        return f"(choice {sorted(token(arm) for arm in arms)})"
    if origin is Annotated:
        return f"(ruled {_annotation(arms[0], token)} {[_rule(arm, token) for arm in arms[1:]]})"
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return f"(choice {sorted(token(member.value) for member in annotation)})"
    return str(getattr(annotation, "__name__", annotation))


def _rule(rule: Any, token: _Token) -> str:
    """One constraint of a column, by its name and numbers: the classes behind it are pydantic's own affair."""
    if is_dataclass(rule) and not isinstance(rule, type):
        said = {one.name: getattr(rule, one.name) for one in fields(rule)}
        return f"{type(rule).__name__} {token(said)}"
    return token(vars(rule)) if hasattr(rule, "__dict__") and not callable(rule) else token(rule)


def _validators(model: type[BaseModel], groups: tuple[str, ...]) -> Iterator[tuple[str, str, tuple[Any, Any], Any]]:
    """Group, name, what it is about (fields and mode) and function of each validator."""
    for group in groups:
        for name, one in getattr(model.__pydantic_decorators__, group, {}).items():
            about = (getattr(one.info, "fields", ()), getattr(one.info, "mode", ""))
            yield group, name, about, getattr(one.func, "__func__", one.func)
