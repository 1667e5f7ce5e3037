"""Made-up rows of a schema, to try definitions on: within its constraints, with nulls, repeats and odd values.

The same schema gives the same rows on every run.
"""

import enum
import functools
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
from pydantic import TypeAdapter, ValidationError

from featurestore import times, validation
from featurestore.schema import Field, Schema
from featurestore.values import ARROW_TYPES, Kind

START = times.to_micros("2026-01-01")
_NULLS = 0.15
_SPARE = 4  # rows drawn for each that is wanted: validators of the model may refuse some
_POOLS: Mapping[Kind, Sequence[Any]] = {
    "bool": (True, False),
    "int": (0, 1, 2, 3, 7, 20, 100, -1, -5, 2026, 12_345),
    "float": (0.0, 0.1, 0.2, 0.3, 0.5, 1.0, 2.5, 9.99, 100.0, 1234.56, -0.75, -3.0, 1e6, 1e-9),
    "str": ("a", "b", "c", "online", "shop", "ab", "EUR", "USD", "0001", "", "Zoë", "a b", "x@example.org"),
    "datetime": tuple(times.to_datetime(START + hours * 3_600_000_000) for hours in (0, 1, 25, -30, -700)),
}


def specimens(schema: Schema, count: int, seed: int, given: Mapping[str, Sequence[Any]] | None = None) -> pa.Table:
    """Up to ``count`` valid rows, typed by the schema; fewer, or none, where its rules are too narrow to guess.

    Parameters
    ----------
    schema
        What the rows must be.
    count
        Rows wanted.
    seed
        Another seed gives other rows.
    given
        Columns that are made already, each with ``count`` values: the others are drawn beside them.
    """
    drawn = np.random.default_rng(seed)
    rows = count * _SPARE
    columns = {}
    for field in schema.fields:
        known = (given or {}).get(field.name)
        made = _drawn(schema, field, rows, drawn) if known is None else list(known) * _SPARE
        if made is None:
            return schema.arrow().empty_table()
        columns[field.name] = pa.array(made, ARROW_TYPES[field.kind], from_pandas=field.nullable)
    checked = validation.check(pa.table(columns), schema, origin="made rows")
    return checked.table.slice(0, count)


def distinct(schema: Schema, name: str, count: int) -> list[Any] | None:
    """Different values of a column, as a key has; ``None`` where none can be guessed."""
    field, adapter = schema[name], _adapter(schema, name)
    many: Iterator[Any] = iter(range(1, count + 1))
    if field.kind == "str":
        many = (form.format(number) for form in ("k{}", "{:08d}", "{:032x}") for number in range(1, count + 1))
    elif field.kind == "float":
        many = (number + 0.5 for number in range(count))
    elif field.kind == "datetime":
        many = (times.to_datetime(START) + timedelta(seconds=number) for number in range(count))
    found = [one for one in many if _fits(one, adapter)][:count]
    return found if len(found) == count else None


def pool_of(schema: Schema, name: str, also: Sequence[Any] = ()) -> list[Any]:
    """Different values that a column takes: of ``also``, of its choices and bounds, of what is common."""
    field, adapter = schema[name], _adapter(schema, name)
    return [one for one in dict.fromkeys([*also, *_candidates(field, adapter)]) if _fits(one, adapter)]


def pattern_of(schema: Schema, name: str) -> str | None:
    """Regular expression that a column's texts match, if its type has one."""
    return next((str(rule["pattern"]) for rule in _said(_adapter(schema, name)) if "pattern" in rule), None)


def fits(schema: Schema, name: str, value: Any) -> bool:
    """Whether a column takes a value."""
    return _fits(value, _adapter(schema, name))


def _drawn(schema: Schema, field: Field, rows: int, drawn: np.random.Generator) -> list[Any] | None:
    pool = pool_of(schema, field.name)
    if not pool:
        return [None] * rows if field.nullable else None
    made = [pool[place] for place in drawn.integers(len(pool), size=rows).tolist()]
    missing = (drawn.random(rows) < _NULLS) & field.nullable
    return [None if gone else one for one, gone in zip(made, missing.tolist(), strict=True)]


@functools.lru_cache(maxsize=1024)
def _adapter(schema: Schema, name: str) -> TypeAdapter[Any]:
    info = schema.model.model_fields[name]
    kind: Any = Annotated[info.annotation, *info.metadata] if info.metadata else info.annotation
    return TypeAdapter(kind)


def _fits(value: Any, adapter: TypeAdapter[Any]) -> bool:
    try:
        adapter.validate_python(value)
    except ValidationError:
        return False
    return True


def _candidates(field: Field, adapter: TypeAdapter[Any]) -> Iterator[Any]:
    """Values that may fit: choices, bounds and what lies between them, then what is common."""
    for rule in _said(adapter):
        for one in (*rule.get("enum", ()), *([rule["const"]] if "const" in rule else ())):
            yield one.value if isinstance(one, enum.Enum) else one
        low = rule.get("minimum", rule.get("exclusiveMinimum"))
        high = rule.get("maximum", rule.get("exclusiveMaximum"))
        step = rule.get("multipleOf", 1)
        if field.kind in ("int", "float"):
            ends = [low + step * n for n in (0, 1, 2, 5)] if low is not None else []
            ends += [high - step * n for n in (0, 1, 2, 5)] if high is not None else []
            ends += [low + (high - low) * part for part in (0.25, 0.5)] if low is not None and high is not None else []
            ends += [step * n for n in (1, 2, 5)]
            yield from (float(one) if field.kind == "float" else int(one) for one in ends)
        if field.kind == "str":
            shortest, longest = rule.get("minLength", 0), rule.get("maxLength", rule.get("minLength", 0))
            for length in {shortest, longest, min(shortest + 1, longest)}:
                yield from (letter * length for letter in "aBc07")
    yield from _POOLS[field.kind]


def _said(adapter: TypeAdapter[Any]) -> list[dict[str, Any]]:
    """What the type says of itself as JSON schema, each arm of a union by itself."""
    try:
        said = adapter.json_schema()
    except Exception:  # noqa: BLE001 - a type may have none: then common values are tried
        return []
    arms = [said, *said.get("anyOf", ()), *said.get("allOf", ()), *said.get("$defs", {}).values()]
    return [arm for arm in arms if isinstance(arm, dict)]
