"""From a spine's table or a lookup's rows to typed columns: keys and request fields are checked alike in both (S9)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from featurestore import carriers, casting, refusals, rowwise, rules, validation, values
from featurestore.errors import InvalidRequest, InvalidRows, KeyTypeMismatch, SpineError, row_number, suggest
from featurestore.evaluate import Spine
from featurestore.plan import ServicePlan, SpineColumn
from featurestore.schema import Schema
from featurestore.values import Values

IntArray = np.ndarray[Any, np.dtype[np.int64]]
_REMEDY = "Nothing was computed: correct them and ask again."


def from_table(plan: ServicePlan, table: pa.Table, as_of: IntArray) -> Spine:
    """Spine of a table's rows.

    Raises
    ------
    SpineError
        If it lacks a column of the plan, has one twice, or has one named like a feature.
    KeyTypeMismatch
        If a key column has another type than its source declares.
    InvalidRequest
        If a row's request fields are against the request schema.
    """
    service, names = plan.service.name, table.column_names
    outputs = {output.casefold() for output in plan.outputs}
    taken = sorted(name for name in names if name.casefold() in outputs)
    if taken:
        made = "features, or labels," if plan.labels else "features"
        raise SpineError(
            f"The spine has columns named like {made} of {service!r}: {', '.join(taken)}. Rename or drop them."
        )
    folded = [name.casefold() for name in names]  # the table in DuckDB does not tell upper from lower case
    twice = sorted({name for name in names if folded.count(name.casefold()) > 1})
    if twice:
        raise SpineError(f"The spine has several columns named {', '.join(twice)}: rename all but one of each.")
    columns = {}
    for column in plan.columns:
        if column.role == "key":
            if column.name not in names:
                hint = suggest(column.name, names)
                raise SpineError(f"The spine lacks the key column {column.name!r} of {service!r}.{hint}")
            columns[column.name] = _key_array(column, casting.whole(table.column(column.name)))
    if plan.service.fields is not None:
        columns |= _request_table(plan.service.fields, service, table)
    return Spine(as_of, columns)


def from_rows(plan: ServicePlan, rows: Sequence[Mapping[str, Any]], as_of: IntArray) -> Spine:
    """Spine of a lookup's rows: flat mappings of keys and request fields.

    Raises
    ------
    KeyTypeMismatch
        If a key is of another type than its source declares.
    InvalidRequest
        If a row is no mapping, lacks a key, has a name that the service does not know while it lacks one that it does,
        or has request fields that are against the request schema.
    """
    names = plan.names
    for place, row in enumerate(rows):
        if (type(row) is not dict and not isinstance(row, Mapping)) or row.keys() != names:
            _check_names(plan, row, row_number(place))
    columns = {column.name: _key_list(column, [row[column.name] for row in rows]) for column in plan.keys}
    if plan.service.fields is not None:
        columns |= _request_rows(plan.service.fields, rows)
    return Spine(as_of, columns)


def plain_key(plan: ServicePlan, row: Mapping[str, Any]) -> str | None:
    """Text of a row's key where this is all that the row has, and of the very type that is declared.

    ``None`` of any other row, right or wrong: :func:`from_rows` looks closer.
    """
    if type(row) is not dict or len(row) != 1 or len(plan.columns) != 1:
        return None
    ((name, key),) = row.items()
    column = plan.columns[0]
    if name != column.name:
        return None
    if column.kind == "str":
        return key if type(key) is str and key.isprintable() else None
    return str(key) if type(key) is int and column.kind == "int" and -(2**63) <= key < 2**63 else None


def instants(column: pa.ChunkedArray | pa.Array, name: str) -> IntArray:
    """Microseconds UTC of a spine's time column; naive is UTC, nanoseconds are cut.

    Raises
    ------
    SpineError
        If it is not of times, has a null, or a time outside the years 1 to 9999.
    """
    array = casting.whole(column)
    cast = casting.cast(array, "datetime")
    empty, wrong = _first(pc.is_null(cast.known)), _first(cast.misfits)
    if empty is not None:
        raise SpineError(
            f"The spine's time column {name!r} has {cast.known.null_count} nulls, the first in row "
            f"{row_number(empty)}: every row is asked as of an instant."
        )
    if wrong is not None:
        found = carriers.misfit(casting.to_python(array[wrong : wrong + 1])[0], "datetime")
        raise SpineError(f"The spine's time column {name!r}, row {row_number(wrong)}: {found}.")
    return np.asarray(cast.typed.cast(pa.int64()).to_numpy(zero_copy_only=False), np.int64)


def _check_names(plan: ServicePlan, row: object, number: int) -> None:
    names = [column.name for column in plan.columns]
    if not isinstance(row, Mapping):
        raise InvalidRequest(f"Row {number} is {row!r}: give a mapping with {', '.join(names) or 'no fields'}.")
    missing = [column.name for column in plan.columns if column.role == "key" and column.name not in row]
    unknown = sorted(str(name) for name in row if name not in names)
    if missing:
        raise InvalidRequest(
            f"Row {number} lacks {', '.join(missing)}; {plan.service.name!r} needs {', '.join(names)}."
            + (f" It has {', '.join(unknown)}, which it does not know." if unknown else "")
        )
    if unknown and any(name not in row for name in names):  # with nothing missing, more is harmless
        absent = ", ".join(name for name in names if name not in row)
        raise InvalidRequest(
            f"Row {number} has {', '.join(unknown)}, which {plan.service.name!r} does not know, and lacks {absent}."
        )


# --- Keys ---


def _key_array(column: SpineColumn, array: pa.Array) -> Values:
    if pa.types.is_null(array.type):
        return values.from_list(column.kind, [None] * len(array))
    cast = casting.cast(array, column.kind)
    wrong = _first(cast.misfits)
    if wrong is not None:
        raise _mismatch(column, wrong, casting.to_python(array[wrong : wrong + 1])[0])
    return values.from_arrow(cast.typed, column.kind)


def _key_list(column: SpineColumn, items: Sequence[Any]) -> Values:
    own: Any = rules.PYTHON_TYPES[column.kind]
    is_int, typed = own is int, list(items)
    for place, one in enumerate(items):
        if type(one) is not own or one != one or (is_int and not -(2**63) <= one < 2**63):  # noqa: PLR0124 NaN
            typed[place], fits = carriers.read(one, column.kind)
            if not fits:
                raise _mismatch(column, place, one)
    return values.listed(column.kind, typed)


def _mismatch(column: SpineColumn, place: int, found: Any) -> KeyTypeMismatch:
    return KeyTypeMismatch(f"Row {row_number(place)}: key {column.name} = {carriers.misfit(found, column.kind)}.")


def _first(wrong: pa.Array) -> int | None:
    """Place of the first true, if there is one."""
    return pc.index(wrong, True).as_py() if pc.any(wrong).as_py() else None


# --- Request fields ---


def _request_table(schema: Schema, service: str, table: pa.Table) -> dict[str, Values]:
    lacking = [one.name for one in schema.fields if one.required and one.name not in table.column_names]
    if lacking:
        raise SpineError(
            f"The spine lacks the request fields {', '.join(lacking)} of {service!r}: a training row holds what the "
            "caller knew."
        )
    checked = validation.check(table, schema, origin="spine")
    if checked.bad:
        error = refusals.invalid_rows(checked.bad, schema.model.__name__, remedy=_REMEDY)
        raise InvalidRequest(str(error), tuple(checked.bad))
    return _typed(schema, checked.table)


def _request_rows(schema: Schema, rows: Sequence[Mapping[str, Any]]) -> dict[str, Values]:
    short = rowwise.values_of(rows, schema)
    if short is not None:
        return short
    asked = [{name: row[name] for name in schema.names if name in row} for row in rows]
    try:
        table = validation.check_rows(asked, schema)
    except InvalidRows as error:
        raise InvalidRequest(
            str(refusals.invalid_rows(error.args[1], schema.model.__name__, remedy=_REMEDY)), error.args[1]
        ) from error
    return _typed(schema, table)


def _typed(schema: Schema, table: pa.Table) -> dict[str, Values]:
    return {
        one.name: values.from_arrow(table.column(one.name), one.kind, nullable=one.nullable) for one in schema.fields
    }
