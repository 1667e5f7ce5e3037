"""Rows against a source's schema: types, nulls and the model's own rules, a column at a time.

What pydantic states of one value (``ge``, ``pattern``, a ``Literal``) is checked on whole columns. A model that holds
more than that (validators, strictness, settings of its own) is handed to pydantic itself, in batches, and its values
are taken. Both ways accept the same rows, but for what is decided here: NaN is null, and infinity fits no field (S7);
what may carry a value is the table of :mod:`featurestore.carriers`, unless a file has only text (``from_text``).
"""

import operator
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel

from featurestore import carriers, casting, refusals, rowwise, rules
from featurestore.errors import SourceUnreadable, row_number, suggest
from featurestore.frames import is_frame, to_arrow
from featurestore.refusals import NOT_NULL, BadRow, invalid_rows
from featurestore.rowwise import ROWS, Row
from featurestore.rules import Rule
from featurestore.schema import Field, Schema
from featurestore.values import FEW

__all__ = ["BadRow", "Checked", "check", "check_rows", "invalid_rows", "to_arrow"]

IntArray = np.ndarray[Any, np.dtype[np.int64]]
_CHUNK = 10_000


@dataclass(frozen=True, slots=True, eq=False)
class Checked:
    """Valid rows, and what is wrong with the others.

    ``table`` holds exactly the schema's columns, typed, -0.0 as 0.0, and NaN as null; texts may be codes.
    ``rows``, int64 of shape ``(table.num_rows,)``, has the numbers from 1 that its rows had; ``bad`` one entry per
    value and rule, in row order.
    """

    table: pa.Table
    rows: IntArray
    bad: list[BadRow]


def check(
    table: pa.Table, schema: Schema, *, origin: str, from_text: bool = False, codes: Collection[str] = ()
) -> Checked:
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
    codes
        Columns whose texts may stay codes, ``dictionary<int32, string>``, where they come as such.

    Raises
    ------
    SourceUnreadable
        If a required column is missing, or there twice.
    DefinitionError
        If a field of the model has an alias, or a validator fails otherwise than by refusing a value.
    """
    plan = rules.plan_of(schema.model)
    columns: dict[str, pa.Array] = {}
    bad: list[BadRow] = []
    for field in _present(table, schema, origin):
        whole = casting.whole(table.column(field.name), codes=plan.plain and field.name in codes)
        if field.name in plan.raw or (field.name in plan.strict and not from_text):
            columns[field.name] = casting.without_nan(whole)
            continue
        columns[field.name], found = _typed(whole, field, origin, from_text=from_text)
        bad += found
        for rule in plan.rules[field.name] if plan.plain else ():
            bad += _bad_rows(origin, field.name, rule.name, _broken(rule, columns[field.name]), whole)
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
        through pydantic, or many of a plain model through its rules; a bool or text is no number, and a field that
        the schema does not have is an error. Frames go through :func:`check`.
    schema
        What the rows must be.

    Raises
    ------
    InvalidRows
        If any row is against the schema; ``args[1]`` names all of them.
    SourceUnreadable
        If a frame lacks a required column, or ``rows`` is none of these.
    """
    if is_frame(rows):
        checked = check(to_arrow(rows, ROWS, schema.names), schema, origin=ROWS)
    else:
        listed = _listed(rows)
        table = by_rules(listed, schema) if len(listed) > FEW else None
        if table is not None:
            return table
        checked = _check_dicts(listed, schema)
    if checked.bad:
        remedy = "Nothing was accepted: correct them and send all again."
        raise invalid_rows(checked.bad, schema.model.__name__, remedy=remedy)
    return checked.table


def by_rules(rows: Sequence[Any], schema: Schema) -> pa.Table | None:
    """Typed table of dicts by the rules of a plain model, a column at a time; ``None`` if any needs a closer look."""
    plan = rules.plan_of(schema.model)
    names = frozenset(schema.names)
    if not plan.plain or not all(type(row) is dict and row.keys() <= names for row in rows):
        return None
    columns = {}
    for field in schema.fields:
        column = _plain_column(rows, field, plan.python_types[field.name])
        if column is None or any(pc.any(rule.broken(column)).as_py() for rule in plan.rules[field.name]):
            return None
        columns[field.name] = column
    checked = _checked(columns, [], schema, ROWS, len(rows))
    return None if checked.bad else checked.table


def _plain_column(rows: Sequence[dict[str, Any]], field: Field, own: type) -> pa.Array | None:
    """Values of a field, each of the kind; ``None`` if there is one that is not."""
    try:
        items = (
            [row[field.name] for row in rows]
            if field.required
            else [row.get(field.name, field.default) for row in rows]
        )
    except KeyError:
        return None
    found = set(map(type, items)) - {type(None)}
    if field.kind == "datetime" and found == {str}:
        return _instants(items, field)
    if not found <= {own}:
        read = [carriers.read(item, field.kind) for item in items]
        if not all(fits for _, fits in read):
            return None
        items = [item for item, _ in read]
    column, lost = casting.from_python(items, field.kind)
    return None if lost or (column.null_count and not field.nullable) else column


def _instants(items: list[Any], field: Field) -> pa.Array | None:
    """Instants of texts, as of a column of texts; ``None`` if one is none, or null where it may not be."""
    texts, lost = casting.from_python(items, "str")
    cast = casting.cast(texts, field.kind)
    if lost or pc.any(cast.misfits).as_py() or (texts.null_count and not field.nullable):
        return None
    return cast.typed


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
    for place, row in enumerate(rows):
        one, found = rowwise.prepared(row, schema, row_number(place))
        ready.append(one)
        bad += found
    sound = np.flatnonzero(~_hit(bad, len(rows)))
    chunks = [sound[start : start + _CHUNK] for start in range(0, len(sound), _CHUNK)]
    batches = ((chunk, [ready[place] for place in chunk]) for chunk in chunks)
    columns, found = _by_pydantic(batches, schema, ROWS, len(rows))
    return _checked(columns, bad + found, schema, ROWS, len(rows))


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


def _typed(whole: pa.Array, field: Field, origin: str, *, from_text: bool) -> tuple[pa.Array, list[BadRow]]:
    """Array of the field's kind, null where a value does not fit, which is a bad row."""
    cast = casting.cast(whole, field.kind, from_text=from_text)
    bad = _bad_rows(origin, field.name, field.kind, cast.misfits, whole)
    if not field.nullable:
        bad += _bad_rows(origin, field.name, NOT_NULL, pc.is_null(cast.known), whole)
    return cast.typed, bad


def _broken(rule: Rule, column: pa.Array) -> pa.Array:
    """Where a column breaks a rule; of codes each text is looked at once."""
    if pa.types.is_dictionary(column.type):
        return rule.broken(column.dictionary).take(column.indices)
    return rule.broken(column)


def _checked(columns: Mapping[str, pa.Array], bad: list[BadRow], schema: Schema, origin: str, count: int) -> Checked:
    arrays = []
    for field in schema.fields:
        column = columns.get(field.name)
        if column is None:
            column = pa.repeat(casting.from_python([field.default], field.kind)[0][0], count)
        if field.kind == "float":
            floats = column.to_numpy(zero_copy_only=False)
            if np.isinf(floats).any():
                bad += _bad_rows(origin, field.name, "finite", pc.is_inf(column), column)
            if not field.nullable:  # a validator may make one
                bad += _bad_rows(origin, field.name, NOT_NULL, pc.is_nan(column), column)
            column = pa.array(floats + 0.0, from_pandas=True)  # adding zero makes -0.0 plain
        arrays.append(column)
    table = pa.Table.from_arrays(arrays, names=schema.names)
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
    found = casting.to_python(values.take(pa.array(rows)))
    numbers = [row_number(row) for row in rows.tolist()]
    return [BadRow(origin, row, column, rule, value) for row, value in zip(numbers, found, strict=True)]


def _batches(columns: Mapping[str, pa.Array], rows: IntArray) -> Iterator[tuple[IntArray, list[Row]]]:
    for start in range(0, len(rows), _CHUNK):
        chunk = rows[start : start + _CHUNK]
        lists = [casting.to_python(column.take(pa.array(chunk))) for column in columns.values()]
        yield chunk, [dict(zip(columns, values, strict=True)) for values in zip(*lists, strict=True)]


def _by_pydantic(
    batches: Iterable[tuple[IntArray, list[Row]]], schema: Schema, origin: str, count: int
) -> tuple[dict[str, pa.Array], list[BadRow]]:
    """Columns of ``count`` rows as pydantic gives them, null where a row is bad or in no batch, and the bad rows."""
    values: dict[str, list[Any]] = {name: [None] * count for name in schema.names}
    bad: list[BadRow] = []
    for places, rows in batches:
        models, problems = rowwise.validated(rows, schema.model)
        numbers = places.tolist()
        rows_of_models = [numbers[place] for place in models]
        for name, column in values.items():
            read = operator.attrgetter(name)
            for row, value in zip(rows_of_models, map(read, models.values()), strict=True):
                column[row] = value
        bad += [refusals.from_pydantic(one, origin, row_number(numbers[place]), schema) for place, one in problems]
    columns = {}
    for field in schema.fields:
        columns[field.name], lost = casting.from_python(values[field.name], field.kind)
        found = values[field.name]
        bad += [BadRow(origin, row_number(place), field.name, field.kind, found[place]) for place in lost]
    return columns, bad
