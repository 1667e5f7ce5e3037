"""Rows against a source's schema: types, nulls and the model's own rules, a column at a time.

What pydantic states of one value (``ge``, ``pattern``, a ``Literal``) is checked on whole columns. A model that holds
more than that (validators, strictness, settings of its own) is handed to pydantic itself, in batches, and its values
are taken. Both ways accept the same rows, but for what is decided here: NaN is null and fits every float field,
infinity fits none (S7); a column of text holds no numbers or instants, unless the file has only text (``from_text``);
a bool is no number; a number in a column is no instant, since its unit is not known; and nothing is rounded to fit, or
lies outside int64 or the years 1 to 9999.
"""

import enum
import functools
import math
import re
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import AllowInfNan, BaseModel, Strict, TypeAdapter, ValidationError, WrapValidator, create_model
from pydantic import Field as PydanticField
from pydantic.fields import FieldInfo

from featurestore import times
from featurestore.errors import DefinitionError, InvalidRows, SourceUnreadable, suggest
from featurestore.schema import Field, Schema, schema_of
from featurestore.values import ARROW_TYPES, KINDS, Kind

IntArray = np.ndarray[Any, np.dtype[np.int64]]
Row = Mapping[str, Any] | BaseModel
ROWS = "rows"
_CHUNK = 10_000
_SHOWN = 5
_TYPES: dict[Kind, type] = {kind: python for python, kind in KINDS.items()}
_MISFITS = (pa.ArrowException, TypeError, ValueError, OverflowError)


@dataclass(frozen=True, slots=True)
class BadRow:
    """A value that its column does not allow.

    ``row`` counts the data rows of ``file`` from 1; ``column`` is empty for a rule over the whole row.
    """

    file: str
    row: int
    column: str
    rule: str
    value: Any

    def __str__(self) -> str:
        found = f"{self.column} = {self.value!r} is against {self.rule!r}" if self.column else self.rule
        return f"{self.file} row {self.row}: {found}"


@dataclass(frozen=True, slots=True, eq=False)
class Checked:
    """Valid rows, and what is wrong with the others.

    ``table`` holds exactly the schema's columns, typed, -0.0 as 0.0, and NaN as null where the field may be null.
    Where it may not, NaN stays, for readers to take as null (S7): so a column without nulls has none, and a second
    check passes. ``rows``, int64 of shape ``(table.num_rows,)``, has the numbers from 1 that its rows had; ``bad`` one
    entry per value and rule, in row order.
    """

    table: pa.Table
    rows: IntArray
    bad: list[BadRow]


def check(table: pa.Table, schema: Schema, *, origin: str, from_text: bool = False) -> Checked:
    """Typed valid rows of a table, and its bad rows.

    Parameters
    ----------
    table
        Columns of any Arrow type that holds the schema's kinds without loss; others are ignored. Naive timestamps are
        UTC (S1), nanoseconds are cut to microseconds.
    schema
        What the columns must be.
    origin
        Name of the file, query or frame, for messages.
    from_text
        Text is all that the file has (CSV): numbers, ``true`` and ``false``, and ISO 8601 instants are parsed.

    Raises
    ------
    SourceUnreadable
        If a required column is missing, or there twice.
    DefinitionError
        If a validator of the model fails otherwise than by refusing a value.
    """
    plan = _plan(schema.model)
    columns: dict[str, pa.Array] = {}
    bad: list[BadRow] = []
    for field in _present(table, schema, origin):
        whole = _whole(table.column(field.name))
        if field.name in plan.raw or (field.name in plan.strict and not from_text):
            columns[field.name] = whole
            continue
        columns[field.name], found = _typed(whole, field, origin, from_text=from_text)
        bad += found
        for rule in plan.rules[field.name] if plan.plain else ():
            bad += _bad_rows(origin, field.name, rule.name, rule.broken(columns[field.name]), whole)
    if not plan.plain:
        sound = np.flatnonzero(~_hit(bad, table.num_rows))
        columns, found = _by_pydantic(_batches(columns, sound), schema, origin, table.num_rows)
        bad += found
    return _checked(columns, bad, schema, origin, table.num_rows)


def check_rows(rows: Any, schema: Schema) -> pa.Table:
    """Typed table of rows that a caller hands over: all of them, or none.

    Parameters
    ----------
    rows
        One dict, a list of dicts or instances of the model, a pandas or polars frame, or an Arrow table. Dicts go
        through pydantic, but a bool or text is no number, and a field that the schema does not have is an error;
        frames go through :func:`check`.
    schema
        What the rows must be.

    Raises
    ------
    InvalidRows
        If any row is against the schema; ``args[1]`` names all of them.
    SourceUnreadable
        If a frame lacks a required column, or ``rows`` is none of these.
    """
    if _is_frame(rows):
        checked = check(to_arrow(rows, ROWS, schema.names), schema, origin=ROWS)
    else:
        checked = _check_dicts(_listed(rows), schema)
    if checked.bad:
        remedy = "Nothing was accepted: correct them and send all again."
        raise invalid_rows(checked.bad, schema.model.__name__, remedy=remedy)
    return checked.table


def invalid_rows(bad: Sequence[BadRow], source_name: str, *, remedy: str | None = None) -> InvalidRows:
    """Return the error for bad rows: the first five in words, all of them in ``args[1]``."""
    count = len({(one.file, one.row) for one in bad})
    lines = [f"{count} {'row is' if count == 1 else 'rows are'} against the schema of {source_name!r}:"]
    lines += [f"  {one}" for one in bad[:_SHOWN]]
    if len(bad) > _SHOWN:
        lines.append(f"  … and {len(bad) - _SHOWN} more")
    lines.append(remedy or "Correct them, or set them aside with Source(..., on_invalid='quarantine').")
    return InvalidRows("\n".join(lines), tuple(bad))


def to_arrow(frame: Any, origin: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Arrow table of a pandas or polars frame, or of anything with ``__arrow_c_stream__``; the frame stays as it is.

    NaN in a NumPy float column of pandas stays NaN, any other missing value is null, the index is left out.
    ``columns`` names those to take, where they are there; all by default.

    Raises
    ------
    SourceUnreadable
        If it is no frame, or a column mixes types.
    """
    if type(frame).__module__.partition(".")[0] == "pandas" and hasattr(frame, "columns"):
        return _from_pandas(frame, origin, columns)
    if not hasattr(frame, "__arrow_c_stream__"):
        hint = " Call .collect() first." if hasattr(frame, "collect") else ""
        kind = type(frame).__name__
        raise SourceUnreadable(f"{origin}: {kind} is no pandas or polars frame and no Arrow table.{hint}")
    table = frame if isinstance(frame, pa.Table) else pa.table(frame)
    return table.select([n for n, name in enumerate(table.column_names) if columns is None or name in columns])


def _from_pandas(frame: Any, origin: str, columns: Sequence[str] | None) -> pa.Table:
    arrays, names = [], []
    for place, label in enumerate(frame.columns):
        if columns is not None and str(label) not in columns:
            continue
        series = frame.iloc[:, place]
        floats = isinstance(series.dtype, np.dtype) and series.dtype.kind == "f"
        try:
            arrays.append(pa.array(series.to_numpy() if floats else series, from_pandas=not floats))
        except _MISFITS as error:
            what = f"{origin}: column {str(label)!r} has no one type: {error}."
            raise SourceUnreadable(f"{what} Give all its values one type.") from error
        names.append(str(label))
    return pa.table(arrays, names)


def _is_frame(rows: Any) -> bool:
    return not isinstance(rows, (Mapping, BaseModel)) and (
        hasattr(rows, "__arrow_c_stream__") or hasattr(rows, "columns")
    )


def _listed(rows: Any) -> list[Any]:
    if isinstance(rows, (Mapping, BaseModel)):
        return [rows]
    if isinstance(rows, Iterable) and not isinstance(rows, (str, bytes)):
        return list(rows)
    what = f"{type(rows).__name__} is no rows"
    raise SourceUnreadable(f"{what}: give a dict, a list of dicts, a pandas or polars frame or an Arrow table.")


def _check_dicts(rows: list[Any], schema: Schema) -> Checked:
    bad: list[BadRow] = []
    ready: list[Row] = []
    for number, row in enumerate(rows, 1):
        one, found = _prepared(row, schema, number)
        ready.append(one)
        bad += found
    sound = np.flatnonzero(~_hit(bad, len(rows)))
    chunks = [sound[start : start + _CHUNK] for start in range(0, len(sound), _CHUNK)]
    batches = ((chunk, [ready[place] for place in chunk]) for chunk in chunks)
    columns, found = _by_pydantic(batches, schema, ROWS, len(rows))
    return _checked(columns, bad + found, schema, ROWS, len(rows))


def _prepared(row: Any, schema: Schema, number: int) -> tuple[Row, list[BadRow]]:
    """Return a row as pydantic is to see it, and what is wrong that pydantic would let pass."""
    plan = _plan(schema.model)
    if isinstance(row, schema.model) and not plan.plain:
        return row, []  # its validators have run: a second time could change it again
    if isinstance(row, BaseModel):
        row = {name: getattr(row, name) for name in type(row).model_fields}
    if not isinstance(row, Mapping):
        return {}, [BadRow(ROWS, number, "", f"{row!r} is no dict and no {schema.model.__name__}", row)]
    ready: dict[str, Any] = {}
    bad = []
    for name, given in row.items():
        if name not in schema:
            unknown = f"no such field.{suggest(str(name), schema.names)}"
            bad.append(BadRow(ROWS, number, str(name), unknown, given))
            continue
        kind = schema[name].kind
        value = given.item() if isinstance(given, np.generic) else given
        if kind in ("int", "float") and isinstance(value, (bool, str, bytes)) and name not in plan.raw:
            bad.append(BadRow(ROWS, number, name, kind, given))
        missing = kind != "float" and isinstance(value, (float, datetime)) and value != value  # noqa: PLR0124 NaN, NaT
        ready[name] = None if missing else value
    return ready, bad


def _present(table: pa.Table, schema: Schema, origin: str) -> list[Field]:
    """Fields that the table has a column for; the others must have a default."""
    names = table.column_names
    for field in schema.fields:
        if names.count(field.name) > 1:
            raise SourceUnreadable(f"{origin} has several columns named {field.name!r}: rename all but one.")
        if field.required and field.name not in names:
            missing = f"{origin} has no column {field.name!r}, which {schema.model.__name__} requires."
            remedy = " Rename it there, or give the field a default."
            raise SourceUnreadable(f"{missing}{suggest(field.name, names)}{remedy}")
    return [field for field in schema.fields if field.name in names]


def _checked(columns: Mapping[str, pa.Array], bad: list[BadRow], schema: Schema, origin: str, count: int) -> Checked:
    arrays = []
    for field in schema.fields:
        column = columns.get(field.name)
        if column is None:
            column = pa.repeat(_array([field.default], field.kind)[0][0], count)
        if field.kind == "float":
            floats = column.to_numpy(zero_copy_only=False)
            if np.isinf(floats).any():
                bad += _bad_rows(origin, field.name, "finite", pc.is_inf(column), column)
            column = pa.array(floats + 0.0, from_pandas=field.nullable)  # adding zero makes -0.0 plain
        arrays.append(column)
    table = pa.Table.from_arrays(arrays, schema=schema.arrow())
    kept = ~_hit(bad, count)
    bad.sort(key=lambda one: one.row)
    return Checked(table if kept.all() else table.filter(pa.array(kept)), np.flatnonzero(kept) + 1, bad)


def _hit(bad: Iterable[BadRow], count: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    hit = np.zeros(count, np.bool_)
    rows = [one.row - 1 for one in bad]
    if rows:
        hit[rows] = True
    return hit


def _bad_rows(origin: str, column: str, rule: str, broken: pa.Array, values: pa.Array) -> list[BadRow]:
    """One per row where ``broken`` is true (null is not)."""
    if not pc.any(broken).as_py():
        return []
    rows = np.flatnonzero(broken.fill_null(False).to_numpy(zero_copy_only=False))
    found = _python(values.take(pa.array(rows)))
    return [BadRow(origin, row + 1, column, rule, value) for row, value in zip(rows.tolist(), found, strict=True)]


def _python(column: pa.Array) -> list[Any]:
    if column.type == ARROW_TYPES["datetime"]:  # many times faster than Arrow's own way through a time zone
        counts = column.cast(pa.int64()).to_pylist()
        return [None if count is None else times.EPOCH + timedelta(microseconds=count) for count in counts]
    try:
        return list(column.to_pylist())
    except (OverflowError, ValueError):  # an instant that Python has no datetime for
        return list(column.cast(pa.int64()).to_pylist())


# --- Columns of another Arrow type to a kind, without loss ---


def _whole(column: pa.ChunkedArray) -> pa.Array:
    whole = column.combine_chunks()
    if isinstance(whole.type, pa.BaseExtensionType):
        whole = whole.storage
    return whole.dictionary_decode() if pa.types.is_dictionary(whole.type) else whole


def _typed(whole: pa.Array, field: Field, origin: str, *, from_text: bool) -> tuple[pa.Array, list[BadRow]]:
    """Array of the field's kind, null where a value does not fit, which is a bad row; a float may still be NaN."""
    kind = field.kind
    known = whole
    if kind != "float" and pa.types.is_floating(whole.type):
        known = pc.if_else(pc.is_nan(whole), None, whole)
    family = _family(known.type)
    rule: str = kind
    if family in _CASTS[kind]:
        typed = _CASTS[kind][family](known)
    elif kind != "str" and (family == "decimal" or (family == "str" and from_text)):
        typed = _parsed(known.cast(pa.string()), kind)
    else:
        typed = pa.nulls(len(known), ARROW_TYPES[kind])
        rule = f"{kind}, not {whole.type}"
    bad = _bad_rows(origin, field.name, rule, pc.and_(pc.is_null(typed), pc.is_valid(known)), known)
    if not field.nullable:
        bad += _bad_rows(origin, field.name, "not null", pc.is_null(known), known)
    return typed, bad


def _family(kind: pa.DataType) -> str:
    return next((name for name, is_one in _FAMILIES if is_one(kind)), str(kind))


_FAMILIES: tuple[tuple[str, Callable[[pa.DataType], bool]], ...] = (
    ("bool", pa.types.is_boolean),
    ("int", pa.types.is_integer),
    ("float", pa.types.is_floating),
    ("decimal", pa.types.is_decimal),
    ("str", pa.types.is_string),
    ("str", pa.types.is_large_string),
    ("str", pa.types.is_string_view),
    ("datetime", pa.types.is_timestamp),
    ("datetime", pa.types.is_date),
)


def _to_bool(numbers: pa.Array) -> pa.Array:
    return pc.if_else(pc.equal(numbers, 1), True, pc.if_else(pc.equal(numbers, 0), False, None))


def _int_from_int(numbers: pa.Array) -> pa.Array:
    if numbers.type == pa.uint64():
        numbers = pc.if_else(pc.less_equal(numbers, pa.scalar(2**63 - 1, pa.uint64())), numbers, None)
    return numbers.cast(pa.int64())


def _int_from_float(numbers: pa.Array) -> pa.Array:
    numbers = numbers.cast(pa.float64())
    inside = pc.and_(pc.greater_equal(numbers, -(2.0**63)), pc.less(numbers, 2.0**63))
    whole = pc.if_else(pc.and_(inside, pc.equal(pc.floor(numbers), numbers)), numbers, None)
    return whole.cast(pa.int64(), safe=False)


def _float_from_int(numbers: pa.Array) -> pa.Array:
    floats = numbers.cast(pa.float64(), safe=False)
    if numbers.type.bit_width < 64:  # noqa: PLR2004 a double holds any of them
        return floats
    inside = pc.less(floats, 2.0**64 if numbers.type == pa.uint64() else 2.0**63)
    back = pc.if_else(inside, floats, 0.0).cast(numbers.type, safe=False)
    return pc.if_else(pc.and_(inside, pc.equal(back, numbers)), floats, None)


def _moments(stamps: pa.Array) -> pa.Array:
    """Timestamps of any unit, or dates at midnight, to microseconds UTC; null outside the years 1 to 9999."""
    if pa.types.is_date(stamps.type):
        stamps = stamps.cast(pa.timestamp("s"))
    counts = stamps.cast(pa.int64())
    unit = stamps.type.unit
    per_second = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}[unit]
    if unit == "ns":  # int64 nanoseconds end in 2262
        floored = pa.array(counts.fill_null(0).to_numpy() // 1_000)
        return pc.if_else(pc.is_valid(counts), floored, None).cast(ARROW_TYPES["datetime"])
    low, high = (bound * per_second // 1_000_000 for bound in (_FIRST, _LAST))
    counts = pc.if_else(pc.and_(pc.greater_equal(counts, low), pc.less_equal(counts, high)), counts, None)
    return pc.multiply(counts, 1_000_000 // per_second).cast(ARROW_TYPES["datetime"])


_FIRST, _LAST = times.to_micros(datetime.min), times.to_micros(datetime.max)  # noqa: DTZ901 naive is UTC (S1)
_CASTS: dict[Kind, dict[str, Callable[[pa.Array], pa.Array]]] = {
    "bool": {"bool": lambda column: column, "int": _to_bool, "float": _to_bool},
    "int": {"int": _int_from_int, "float": _int_from_float},
    "float": {"float": lambda column: column.cast(pa.float64()), "int": _float_from_int},
    "str": {"str": lambda column: column.cast(pa.string())},
    "datetime": {"datetime": _moments},
}
_TEXTS: dict[Kind, str] = {
    "bool": r"^(?i:true|t|yes|y|on|1|false|f|no|n|off|0)$",
    "int": r"^[+-]?[0-9]+(\.0*)?$",
    "float": r"^(?i:[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?|nan|[+-]?inf(inity)?)$",
    "datetime": (
        r"^[0-9]{4}-[0-9]{2}-[0-9]{2}"
        r"([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?(Z|[+-][0-9]{2}(:?[0-9]{2})?)?)?$"
    ),
}


def _parsed(texts: pa.Array, kind: Kind) -> pa.Array:
    """Values of texts, null where a text is none."""
    texts = pc.utf8_trim_whitespace(texts)
    if kind == "datetime":
        texts = pc.ascii_upper(texts)
    texts = pc.if_else(pc.match_substring_regex(texts, _TEXTS[kind]), texts, None)
    try:
        return _PARSERS[kind](texts)
    except pa.ArrowInvalid:  # one text among many is out of range, or names no day: find which
        return _array([_parsed_one(text, kind) for text in texts.to_pylist()], kind)[0]


def _parsed_one(text: str | None, kind: Kind) -> float | datetime | None:
    try:
        if text is None or kind == "float":
            return None if text is None else float(text)
        if kind == "datetime":
            return times.to_datetime(times.to_micros(text))
        number = int(text.partition(".")[0])
    except ValueError:
        return None
    return number if -(2**63) <= number < 2**63 else None


def _bools(texts: pa.Array) -> pa.Array:
    return pc.match_substring_regex(texts, "^(?i:true|t|yes|y|on|1)$")


def _ints(texts: pa.Array) -> pa.Array:
    return pc.replace_substring_regex(texts, r"^\+|\..*", "").cast(pa.int64())


def _floats(texts: pa.Array) -> pa.Array:
    return pc.replace_substring_regex(texts, r"^\+", "").cast(pa.float64())


def _instants(texts: pa.Array) -> pa.Array:
    texts = pc.replace_substring_regex(texts, r"(\.[0-9]{6})[0-9]+", r"\1")
    zoned = pc.match_substring_regex(texts, r"(Z|[T ].*[+-][0-9:]+)$")
    naive = _moments(pc.if_else(zoned, None, texts).cast(pa.timestamp("us")))
    aware = _moments(pc.if_else(zoned, texts, None).cast(pa.timestamp("us", "UTC")))
    return pc.coalesce(naive, aware)


_PARSERS = {"bool": _bools, "int": _ints, "float": _floats, "datetime": _instants}


def _array(items: Sequence[Any], kind: Kind) -> tuple[pa.Array, list[int]]:
    """Arrow array of Python scalars, and the places of those that are not of the kind (null there)."""
    items = [item.value if isinstance(item, enum.Enum) else item for item in items]
    try:
        return pa.array(items, ARROW_TYPES[kind]), []
    except _MISFITS:
        held = [_holds(item, kind) for item in items]
        kept = [item if fits else None for item, fits in zip(items, held, strict=True)]
        return pa.array(kept, ARROW_TYPES[kind]), [place for place, fits in enumerate(held) if not fits]


def _holds(item: Any, kind: Kind) -> bool:
    try:
        pa.array([item], ARROW_TYPES[kind])
    except _MISFITS:
        return False
    return True


# --- What a model says of its values, as rules over columns ---


@dataclass(frozen=True, slots=True)
class _Rule:
    name: str
    broken: Callable[[pa.Array], pa.Array]


@dataclass(frozen=True, slots=True)
class _Plan:
    """How a model is checked: by ``rules`` if ``plain``, else by pydantic, which sees ``raw`` fields uncast.

    ``strict`` fields it sees uncast too, unless a file has only text.
    """

    plain: bool
    rules: Mapping[str, Sequence[_Rule]]
    raw: frozenset[str]
    strict: frozenset[str]


_PLAIN_SETTINGS = {
    *("title", "extra", "frozen", "from_attributes", "use_enum_values", "hide_input_in_errors", "json_schema_extra"),
    *("populate_by_name", "validate_by_name", "validate_assignment", "protected_namespaces"),
    *("use_attribute_docstrings",),
}
_VALIDATORS = ("validators", "field_validators", "root_validators", "model_validators")


@functools.lru_cache(maxsize=256)
def _plan(model: type[BaseModel]) -> _Plan:
    fields = model.model_fields
    rules = {name: _rules(info.annotation, info.metadata) for name, info in fields.items()}
    all_strict = model.model_config.get("strict")
    strict = {name for name, info in fields.items() if all_strict or _is_strict(info.annotation, info.metadata)}
    raw = _seen_by_validators(model) | {name for name, found in rules.items() if found is None}
    special = (
        raw
        or strict
        or set(model.model_config) - _PLAIN_SETTINGS
        or any(getattr(model.__pydantic_decorators__, each) for each in _VALIDATORS)
        or model.__pydantic_post_init__
        or any("__get_pydantic_core_schema__" in vars(each) for each in model.__mro__[: model.__mro__.index(BaseModel)])
    )
    return _Plan(not special, {name: found or [] for name, found in rules.items()}, frozenset(raw), frozenset(strict))


def _seen_by_validators(model: type[BaseModel]) -> set[str]:
    """Fields whose values a validator sees before pydantic has typed them."""
    every = set(model.model_fields)
    decorators = model.__pydantic_decorators__
    before_row = any(one.info.mode != "after" for one in decorators.model_validators.values())
    if model.__pydantic_custom_init__ or before_row or decorators.validators or decorators.root_validators:
        return every
    before = [one.info for one in decorators.field_validators.values() if one.info.mode != "after"]
    seen = {name for info in before for name in info.fields}
    return every if "*" in seen else seen


def _is_strict(annotation: Any, metadata: Iterable[Any]) -> bool:
    if any(isinstance(one, Strict) and one.strict for one in _flat(metadata)):
        return True
    if hasattr(annotation, "__metadata__"):
        return _is_strict(get_args(annotation)[0], annotation.__metadata__)
    return _is_union(annotation) and any(_is_strict(arm, ()) for arm in get_args(annotation))


def _is_union(annotation: Any) -> bool:
    return get_origin(annotation) in (Union, types.UnionType)


def _flat(metadata: Iterable[Any]) -> Iterator[Any]:
    for one in metadata:
        if isinstance(one, FieldInfo):
            yield from _flat(one.metadata)
        elif isinstance(one, annotated_types.GroupedMetadata):
            yield from _flat(one)
        else:
            yield one


def _rules(annotation: Any, metadata: Sequence[Any]) -> list[_Rule] | None:
    """Rules of one field, or ``None`` if pydantic has to see it."""
    if _is_union(annotation):
        return _rules(next(arm for arm in get_args(annotation) if arm is not types.NoneType), metadata)
    if hasattr(annotation, "__metadata__"):
        return _rules(get_args(annotation)[0], [*annotation.__metadata__, *metadata])
    rules: list[_Rule] = []
    if get_origin(annotation) is Literal:
        rules.append(_one_of([choice for choice in get_args(annotation) if choice is not None]))
    elif isinstance(annotation, enum.EnumType):
        if any("_missing_" in vars(each) for each in annotation.__mro__ if each is not enum.Enum):
            return None
        members: list[enum.Enum] = list(annotation)
        rules.append(_one_of([member.value for member in members]))
    elif annotation not in KINDS:
        return None
    for one in _flat(metadata):
        found = _rule(one, KINDS.get(annotation))
        if found is None:
            return None
        rules += found
    return rules


def _rule(constraint: Any, kind: Kind | None) -> list[_Rule] | None:
    """Rules of one piece of metadata; ``None`` if its meaning is pydantic's alone."""
    facts = {name: fact for name, fact in getattr(constraint, "__dict__", {}).items() if fact is not None}
    found: _Rule | None = None
    if isinstance(constraint, (Strict, AllowInfNan)) or set(facts) == {"allow_inf_nan"}:
        return []  # strict columns go to pydantic; what NaN and infinity are is said by S7
    if type(constraint) in _BOUNDS:
        name, broken = _BOUNDS[type(constraint)]
        found = _bound(name, getattr(constraint, name), kind, broken)
    elif isinstance(constraint, annotated_types.MultipleOf):
        found = _multiple(constraint.multiple_of, kind)
    elif kind == "str" and isinstance(constraint, annotated_types.MinLen):
        found = _length("min_length", constraint.min_length, pc.less)
    elif kind == "str" and isinstance(constraint, annotated_types.MaxLen):
        found = _length("max_length", constraint.max_length, pc.greater)
    elif kind == "str" and set(facts) == {"pattern"} and isinstance(facts["pattern"], str):
        found = _pattern(facts["pattern"])
    return None if found is None else [found]


_BOUNDS: dict[type, tuple[str, Callable[[Any, Any], Any]]] = {
    annotated_types.Ge: ("ge", pc.less),
    annotated_types.Gt: ("gt", pc.less_equal),
    annotated_types.Le: ("le", pc.greater),
    annotated_types.Lt: ("lt", pc.greater_equal),
}


def _bound(name: str, bound: Any, kind: Kind | None, broken: Callable[[Any, Any], Any]) -> _Rule | None:
    """Compare with a number or datetime of the column's own kind."""
    whole = kind == "float" and type(bound) is int and abs(bound) <= 2**53
    if kind not in ("int", "float", "datetime") or not (whole or type(bound) is _TYPES[kind]):
        return None
    if kind == "int" and not -(2**63) <= bound < 2**63:
        return None
    limit = pa.scalar(float(bound) if whole else bound, ARROW_TYPES[kind])
    return _Rule(f"{name}={bound}", lambda column: broken(column, limit))


def _length(name: str, length: int, broken: Callable[[Any, Any], Any]) -> _Rule:
    return _Rule(f"{name}={length}", lambda texts: broken(pc.utf8_length(texts), length))


def _multiple(step: Any, kind: Kind | None) -> _Rule | None:
    if kind not in ("int", "float") or type(step) is not _TYPES[kind]:
        return None
    divisor: Any = step

    def broken(numbers: pa.Array) -> pa.Array:
        if kind == "float":  # how near is near enough is pydantic's to say
            return _refused(pc.if_else(pc.is_finite(numbers), numbers, None), float, PydanticField(multiple_of=divisor))
        values = numbers.fill_null(0).to_numpy(zero_copy_only=False)
        return pc.and_(pc.is_valid(numbers), pa.array(values % divisor != 0))

    return _Rule(f"multiple_of={step}", broken)


def _one_of(choices: list[Any]) -> _Rule:
    allowed = pa.array(choices, ARROW_TYPES[KINDS[type(choices[0])]])

    def broken(column: pa.Array) -> pa.Array:
        return pc.and_(pc.is_valid(column), pc.invert(pc.is_in(column, allowed)))

    return _Rule(f"one of {', '.join(map(repr, choices))}", broken)


# What Arrow's and pydantic's engines agree on for ASCII text; outside it each has classes and syntax of its own.
_SHARED = re.compile(
    r"(?:[\w ^$.*+?|():@,;/=<>!#%&'\"~-]|\\[dw]|\\[-.^$*+?|()\[\]{}\\/]|\{\d+(?:,\d*)?\}"
    r"|\[\^?(?:[\w .,:;@/+*?!#%=<>|(){}$'\"-]|\\[dw.\\/+-])+\])*",
    re.ASCII,
)


def _pattern(pattern: str) -> _Rule:
    shared = bool(_SHARED.fullmatch(pattern)) and not any(pair in pattern for pair in ("--", "&&", "~~"))

    def broken(texts: pa.Array) -> pa.Array:
        if not shared or not pc.all(pc.string_is_ascii(texts), min_count=0).as_py():
            return _refused(texts, str, PydanticField(pattern=pattern))
        try:
            return pc.invert(pc.match_substring_regex(texts, pattern))
        except pa.ArrowInvalid:  # longer than that engine takes
            return _refused(texts, str, PydanticField(pattern=pattern))

    return _Rule(f"pattern={pattern!r}", broken)


def _refused(column: pa.Array, kind: type, rule: Any) -> pa.Array:
    """Ask pydantic, once for each different value."""
    different = column.drop_null().unique().to_pylist()
    wrong: list[Any] = []
    try:
        TypeAdapter(list[Annotated[kind, rule]]).validate_python(different)  # type: ignore[valid-type]
    except ValidationError as error:
        wrong = [problem["input"] for problem in error.errors(include_url=False)]
    return pc.is_in(column, pa.array(wrong, column.type))


# --- Models that only pydantic understands ---


def _batches(columns: Mapping[str, pa.Array], rows: IntArray) -> Iterator[tuple[IntArray, list[Row]]]:
    for start in range(0, len(rows), _CHUNK):
        chunk = rows[start : start + _CHUNK]
        lists = [_python(column.take(pa.array(chunk))) for column in columns.values()]
        yield chunk, [dict(zip(columns, values, strict=True)) for values in zip(*lists, strict=True)]


def _by_pydantic(
    batches: Iterable[tuple[IntArray, list[Row]]], schema: Schema, origin: str, count: int
) -> tuple[dict[str, pa.Array], list[BadRow]]:
    """Columns of ``count`` rows as pydantic gives them, null where a row is bad or in no batch, and the bad rows."""
    values: dict[str, list[Any]] = {name: [None] * count for name in schema.names}
    bad: list[BadRow] = []
    for places, rows in batches:
        models, problems = _validated(rows, schema.model)
        numbers = places.tolist()
        for name, column in values.items():
            for place, model in models.items():
                column[numbers[place]] = getattr(model, name)
        bad += [_bad_row(problem, origin, numbers[place] + 1, schema) for place, problem in problems]
    columns = {}
    for field in schema.fields:
        columns[field.name], lost = _array(values[field.name], field.kind)
        bad += [BadRow(origin, place + 1, field.name, field.kind, values[field.name][place]) for place in lost]
    return columns, bad


def _validated(rows: list[Row], model: type[BaseModel]) -> tuple[dict[int, BaseModel], list[tuple[int, Any]]]:
    """Models of the valid rows, by place, and the problems of the others."""
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
                one, left = _again(rows[place], those, model)
                valid |= {} if one is None else {place: one}
                problems += [(place, problem) for problem in left]
        except (TypeError, AttributeError, LookupError, ArithmeticError) as error:
            what = f"A validator of {model.__name__} fails: {type(error).__name__}: {error}."
            raise DefinitionError(f"{what} Raise ValueError for a value that it refuses.") from error
        else:
            return valid | dict(zip(good, found, strict=True)), problems
    return valid, problems


def _again(row: Row, problems: list[Any], model: type[BaseModel]) -> tuple[BaseModel | None, list[Any]]:
    """Look once more at a row that pydantic refuses for a NaN, without that rule (S7)."""
    if not any(_is_nan(problem["input"]) for problem in problems):
        return None, problems
    try:
        return _tolerant(model).model_validate(row), []
    except ValidationError as error:
        return None, list(error.errors(include_url=False))


@functools.lru_cache(maxsize=256)
def _adapter(model: type[BaseModel]) -> TypeAdapter[list[BaseModel]]:
    return TypeAdapter(list[model])  # type: ignore[valid-type]


@functools.lru_cache(maxsize=256)
def _tolerant(model: type[BaseModel]) -> type[BaseModel]:
    """Return the model with float fields that let NaN pass whatever their constraints are."""
    fields: dict[str, Any] = {}
    for field in schema_of(model).fields:
        if field.kind == "float":
            info = copy(model.model_fields[field.name])
            info.metadata = [*info.metadata, WrapValidator(_nan_or)]
            fields[field.name] = (info.annotation, info)
    return create_model(model.__name__, __base__=model, **fields)


def _nan_or(value: Any, validate: Callable[[Any], Any]) -> Any:
    return value if _is_nan(value) else validate(value)


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


_LIMITS = {
    "greater_than_equal": "ge",
    "greater_than": "gt",
    "less_than_equal": "le",
    "less_than": "lt",
    "multiple_of": "multiple_of",
    "string_too_short": "min_length",
    "string_too_long": "max_length",
}


def _bad_row(problem: Any, origin: str, row: int, schema: Schema) -> BadRow:
    """Say a problem of pydantic's in the words that :func:`check` has for the same rule."""
    column = str(problem["loc"][0]) if problem["loc"] else ""
    code, context, value = problem["type"], problem.get("ctx", {}), problem["input"]
    if code in _LIMITS:
        rule = f"{_LIMITS[code]}={context[_LIMITS[code]]}"
    elif code == "string_pattern_mismatch":
        rule = f"pattern={context['pattern']!r}"
    elif code == "missing":
        rule, value = "required", None
    elif code == "value_error":
        rule = str(context["error"])
    elif value is None and column in schema and not schema[column].nullable:
        rule = "not null"
    elif column in schema and code.partition("_")[0] in ("bool", "int", "float", "string", "datetime"):
        rule = schema[column].kind
    else:
        rule = problem["msg"]
    return BadRow(origin, row, column, rule, value)
