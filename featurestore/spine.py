"""From a spine's table or a lookup's rows to typed columns: key types and request fields are checked alike in both (S9)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from featurestore import times, validation, values
from featurestore.errors import InvalidRequest, InvalidRows, KeyTypeMismatch, RequestError, SpineError, suggest
from featurestore.evaluate import Spine
from featurestore.plan import ServicePlan, SpineColumn
from featurestore.values import Kind, Values

IntArray = np.ndarray[Any, np.dtype[np.int64]]
_DESCRIBED: Mapping[Kind, str] = {
    "str": "strings",
    "int": "integers",
    "float": "numbers",
    "bool": "booleans",
    "datetime": "datetimes",
}


def from_table(plan: ServicePlan, table: pa.Table, as_of: IntArray) -> Spine:
    """Spine of a table's rows.

    Raises
    ------
    SpineError
        If it lacks a column of the plan, or has one named like a feature.
    KeyTypeMismatch
        If a key column has another type than its source declares.
    InvalidRequest
        If a row's request fields are against the request schema.
    """
    taken = sorted(set(table.column_names) & set(plan.outputs))
    if taken:
        raise SpineError(
            f"The spine has columns named like features of {plan.service.name!r}: {', '.join(taken)}. Rename or drop them."
        )
    columns = {}
    for column in plan.columns:
        if column.role == "key":
            if column.name not in table.column_names:
                raise SpineError(
                    f"The spine lacks the key column {column.name!r} of {plan.service.name!r}.{suggest(column.name, table.column_names)}"
                )
            columns[column.name] = _key_array(column, table.column(column.name))
    if plan.service.fields is not None:
        columns |= _request_table(plan, table)
    return Spine(as_of, columns)


def from_rows(plan: ServicePlan, rows: Sequence[Mapping[str, Any]], as_of: IntArray) -> Spine:
    """Spine of a lookup's rows: flat mappings of keys and request fields. Raises like :func:`from_table`."""
    names = [column.name for column in plan.columns]
    for number, row in enumerate(rows):
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
    columns = {
        column.name: _key_list(column, [row[column.name] for row in rows])
        for column in plan.columns
        if column.role == "key"
    }
    if plan.service.fields is not None:
        columns |= _request_rows(plan, rows)
    return Spine(as_of, columns)


def instants(column: pa.ChunkedArray | pa.Array, name: str) -> IntArray:
    """Microseconds UTC of a spine's time column; naive is UTC.

    Raises
    ------
    SpineError
        If it is not of times, or has a null.
    """
    if column.null_count:
        raise SpineError(
            f"The spine's time column {name!r} has {column.null_count} nulls: every row is asked as of an instant."
        )
    kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        unit = kind.unit if pa.types.is_timestamp(kind) else "us"
        stamps = column if unit != "ns" else pc.floor_temporal(column, unit="microsecond")
        zone = kind.tz if pa.types.is_timestamp(kind) else None
        return np.asarray(pc.cast(pc.cast(stamps, pa.timestamp("us", zone)), pa.int64()).to_numpy(), np.int64)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        try:
            return np.array([times.to_micros(text) for text in column.to_pylist()], np.int64)
        except RequestError as error:
            raise SpineError(f"The spine's time column {name!r}: {error}") from error
    raise SpineError(
        f"The spine's time column {name!r} is {kind}: give timestamps (naive is UTC), dates or ISO 8601 strings."
    )


def _key_array(column: SpineColumn, array: pa.ChunkedArray) -> Values:
    kind = array.type
    if pa.types.is_dictionary(kind):
        array = array.cast(kind.value_type)
        kind = array.type
    if pa.types.is_null(kind):
        return values.from_list(column.kind, [None] * len(array))
    fits = {
        "str": pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind),
        "int": pa.types.is_integer(kind) or pa.types.is_floating(kind),
        "float": pa.types.is_floating(kind) or pa.types.is_integer(kind),
        "bool": pa.types.is_boolean(kind),
        "datetime": pa.types.is_timestamp(kind) or pa.types.is_date(kind),
    }[column.kind]
    if fits and column.kind == "int" and pa.types.is_floating(kind):
        array = pc.if_else(pc.is_nan(array), pa.scalar(None, kind), array)
        fits = bool(pc.all(pc.equal(pc.floor(array), array)).as_py() in (True, None))
    if not fits:
        raise _mismatch(
            column, f"{kind}{'' if pa.types.is_string(kind) or len(array) == 0 else f' such as {array[0].as_py()!r}'}"
        )
    try:
        return values.from_arrow(array, column.kind)
    except pa.ArrowInvalid as error:
        raise _mismatch(column, f"{kind} that does not fit ({error})") from error


def _key_list(column: SpineColumn, items: Sequence[Any]) -> Values:
    plain = [one.item() if isinstance(one, np.generic) and not isinstance(one, np.datetime64) else one for one in items]
    return values.from_list(column.kind, [_key(column, one) for one in plain])


def _key(column: SpineColumn, one: Any) -> Any:
    """One key as its declared kind."""
    if one is None or one is _pandas_na() or (isinstance(one, float) and one != one):  # noqa: PLR0124 - NaN is null
        return None
    if column.kind == "str" and isinstance(one, str):
        return one
    if column.kind == "bool" and isinstance(one, bool):
        return one
    if (
        column.kind == "int"
        and not isinstance(one, bool)
        and (isinstance(one, int) or (isinstance(one, float) and one.is_integer()))
    ):
        if -(2**63) <= one < 2**63:
            return int(one)
    elif column.kind == "float" and isinstance(one, (int, float)) and not isinstance(one, bool):
        return float(one)
    elif column.kind == "datetime" and not isinstance(one, (int, float)):
        return times.to_micros(one)
    raise _mismatch(column, f"{one!r}, a {type(one).__name__}")


def _mismatch(column: SpineColumn, found: str) -> KeyTypeMismatch:
    return KeyTypeMismatch(
        f"Key {column.name!r} is declared {column.kind}, so give {_DESCRIBED[column.kind]}; here is {found}."
    )


def _pandas_na() -> Any:
    """Return pandas' missing value if pandas is loaded: a key can only be that if it is."""
    import sys

    pandas = sys.modules.get("pandas")
    return object() if pandas is None else pandas.NA


def _request_table(plan: ServicePlan, table: pa.Table) -> dict[str, Values]:
    schema = plan.service.fields
    assert schema is not None  # noqa: S101 - the caller has looked
    names = [name for name in schema.names if name in table.column_names]
    lacking = [one.name for one in schema.fields if one.required and one.name not in names]
    if lacking:
        raise SpineError(
            f"The spine lacks the request fields {', '.join(lacking)} of {plan.service.name!r}: a training row holds what the caller knew."
        )
    checked = validation.check(table.select(names), schema, origin="spine")
    if checked.bad:
        raise InvalidRequest(str(validation.invalid_rows(checked.bad, "the spine")), checked.bad)
    return {
        one.name: values.from_arrow(checked.table.column(one.name), one.kind, nullable=one.nullable)
        for one in schema.fields
    }


def _request_rows(plan: ServicePlan, rows: Sequence[Mapping[str, Any]]) -> dict[str, Values]:
    schema = plan.service.fields
    assert schema is not None  # noqa: S101 - the caller has looked
    asked = [{name: row[name] for name in schema.names if name in row} for row in rows]
    try:
        table = validation.check_rows(asked, schema)
    except InvalidRows as error:
        raise InvalidRequest(str(error), *error.args[1:]) from error
    return {
        one.name: values.from_arrow(table.column(one.name), one.kind, nullable=one.nullable) for one in schema.fields
    }
