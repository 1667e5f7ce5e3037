"""Rows that come as dicts or instances of a model: what pydantic says of each, and what is not left to it.

Which types may carry a value is the table of :mod:`featurestore.carriers`, and NaN is null (S7). All callers go
through :func:`prepared` and the one adapter of the model, so one row of a lookup and a batch of a file are refused for
the same.
"""

import enum
import functools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
from pydantic import BaseModel, TypeAdapter, ValidationError

from featurestore import carriers, rules
from featurestore.errors import DefinitionError, suggest
from featurestore.refusals import NOT_NULL, BadRow
from featurestore.schema import Field, Schema
from featurestore.values import Kind, Values, from_list

Row = Mapping[str, Any] | BaseModel
ROWS = "rows"
_EXACT = 2**53
_SURROGATE = re.compile("[\ud800-\udfff]")  # no UTF-8 holds one
_ODD = (TypeError, AttributeError, LookupError, ArithmeticError)  # a validator's own failures, which pydantic lets out


def prepared(row: Any, schema: Schema, number: int) -> tuple[Row, list[BadRow]]:
    """Return a row as pydantic is to see it, and what is wrong that pydantic would let pass.

    ``number`` is the row's own, from 1.
    """
    plan = rules.plan_of(schema.model)
    if isinstance(row, BaseModel):
        if isinstance(row, schema.model) and not plan.plain:
            return row, []  # its validators have run: a second time could change it again
        row = {name: getattr(row, name) for name in type(row).model_fields}
    if not isinstance(row, Mapping):
        return {}, [BadRow(ROWS, number, "", f"{row!r} is no dict and no {schema.model.__name__}", row)]
    ready: dict[str, Any] = {}
    bad = []
    for name, given in row.items():
        own = plan.python_types.get(name)
        if own is None:
            unknown = f"no such field.{suggest(str(name), schema.names)}"
            bad.append(BadRow(ROWS, number, str(name), unknown, given))
        elif type(given) is own and given == given:  # noqa: PLR0124 most are, and no NaN: there is nothing to say
            ready[name] = given
        else:
            ready[name], fits = _fitted(given, name, plan)
            if not fits:
                bad.append(BadRow(ROWS, number, name, plan.kinds[name], given))
            elif ready[name] is None and given is not None and not schema[name].nullable and name not in plan.raw:
                bad.append(BadRow(ROWS, number, name, NOT_NULL, given))
    return ready, bad


def validated(rows: Sequence[Row], model: type[BaseModel]) -> tuple[dict[int, BaseModel], list[tuple[int, Any]]]:
    """Models of the valid rows, by place from 0, and the problems of the others as pydantic tells them.

    Raises
    ------
    DefinitionError
        If a validator fails otherwise than by refusing a value.
    """
    good = list(range(len(rows)))
    valid: dict[int, BaseModel] = {}
    problems: list[tuple[int, Any]] = []
    while good:
        try:
            found = _adapter(model).validate_python([rows[place] for place in good])
        except ValidationError as error:
            wrong: dict[int, list[Any]] = {}
            for problem in error.errors(include_url=False):
                wrong.setdefault(good[int(problem["loc"][0])], []).append({**problem, "loc": problem["loc"][1:]})
            good = [place for place in good if place not in wrong]
            for place, those in wrong.items():
                problems += [(place, problem) for problem in those]
        except _ODD as error:
            what = f"A validator of {model.__name__} fails: {type(error).__name__}: {error}."
            raise DefinitionError(f"{what} Raise ValueError for a value that it refuses.") from error
        else:
            return valid | dict(zip(good, found, strict=True)), problems
    return valid, problems


def values_of(rows: Sequence[Mapping[str, Any]], schema: Schema) -> dict[str, Values] | None:
    """Column of each field, straight from dicts; ``None`` if any row needs the closer look that a table of them gets.

    The short way of a lookup: no Arrow table is made, nothing is worded, names that are no fields are passed over.
    Where it gives columns, they are those that the table of the same rows would give.
    """
    plan = rules.plan_of(schema.model)
    ready = []
    for row in rows:
        one: dict[str, Any] = {}
        for name, own in plan.python_types.items():
            if name in row:
                given = row[name]
                if type(given) is not own or given != given:  # noqa: PLR0124 NaN
                    given, fits = _fitted(given, name, plan)
                    if not fits:
                        return None
                one[name] = given
        ready.append(one)
    try:
        models = _adapter(schema.model).validate_python(ready)
    except (ValidationError, *_ODD):
        return None
    columns = {}
    for field in schema.fields:
        items = _sound([getattr(model, field.name) for model in models], field)
        if items is None:
            return None
        columns[field.name] = from_list(field.kind, items, nullable=field.masked)
    return columns


def _fitted(given: Any, name: str, plan: rules.Plan) -> tuple[Any, bool]:
    """Return a field's value as pydantic is to see it, and whether it may: pydantic would let more pass."""
    if name in plan.raw:
        return _plain(given), True
    value, fits = carriers.read(given, plan.kinds[name])
    return (_plain(given) if name in plan.strict else value), fits


def _plain(given: Any) -> Any:
    """Return a value in Python's type, a missing one as ``None``, else as it came."""
    if carriers.is_missing(given):
        return None
    if isinstance(given, np.datetime64):
        return carriers.read(given, "datetime")[0] or given
    return carriers.scalar(given)


@functools.lru_cache(maxsize=256)
def _adapter(model: type[BaseModel]) -> TypeAdapter[list[BaseModel]]:
    return TypeAdapter(list[model])  # type: ignore[valid-type]


def _sound(items: list[Any], field: Field) -> list[Any] | None:
    """Return the items, enums as their values, if each is surely what the field holds."""
    is_sound = _SOUND[field.kind]
    for place, item in enumerate(items):
        if item is None or is_sound(item):
            continue
        if not isinstance(item, enum.Enum) or not is_sound(item.value):
            return None
        items[place] = item.value
    return items


def _is_sound_float(item: Any) -> bool:
    return (type(item) is float and math.isfinite(item)) or (type(item) is int and -_EXACT <= item <= _EXACT)


def _is_sound_int(item: Any) -> bool:
    return type(item) is int and -(2**63) <= item < 2**63


def _is_sound_str(item: Any) -> bool:
    if type(item) is not str:
        return False
    return item.isascii() or not _SURROGATE.search(item)


def _is_sound_datetime(item: Any) -> bool:
    """Whether it surely lies in the years 1 to 9999 in UTC too."""
    return type(item) is datetime and _YEARS[0] <= item.year <= _YEARS[1]


_YEARS = (datetime.min.year + 1, datetime.max.year - 1)  # noqa: DTZ901 years only
_SOUND: dict[Kind, Callable[[Any], bool]] = {
    "bool": lambda item: type(item) is bool,
    "int": _is_sound_int,
    "float": _is_sound_float,
    "str": _is_sound_str,
    "datetime": _is_sound_datetime,
}
