"""Frames and lists of dicts as Arrow tables; what is given stays as it is."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import BaseModel

from featurestore.errors import SourceUnreadable

_MISFITS = (pa.ArrowException, TypeError, ValueError, OverflowError)


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
    table = table.select([n for n, name in enumerate(table.column_names) if columns is None or name in columns])
    for place, column in enumerate(table.columns):
        if pa.types.is_dictionary(column.type) and column.type.value_type == pa.string_view():
            table = table.set_column(place, table.column_names[place], _without_views(column))
    return table


def from_dicts(rows: Sequence[Any], origin: str) -> pa.Table:
    """Arrow table of dicts: a column for each name that any of them has, null where a dict lacks it.

    Raises
    ------
    SourceUnreadable
        If one is no dict, or a column mixes types.
    """
    wrong = next((row for row in rows if not isinstance(row, Mapping)), None)
    if wrong is not None:
        raise SourceUnreadable(f"{origin} holds {wrong!r}: give a list of dicts, a frame, a path or SQL.")
    names = list(dict.fromkeys(name for row in rows for name in row))
    return pa.table([_one_type([row.get(name) for row in rows], name, origin) for name in names], names)


def is_frame(rows: Any) -> bool:
    """Whether rows come as columns: a frame or table, no dicts or models."""
    return not isinstance(rows, (Mapping, BaseModel)) and (
        hasattr(rows, "__arrow_c_stream__") or hasattr(rows, "columns")
    )


def _without_views(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a categorical column of polars over plain strings: Arrow can neither decode nor cast one over views."""
    kind = column.type
    chunks = [
        pa.DictionaryArray.from_arrays(one.indices, one.dictionary.cast(pa.string()), ordered=kind.ordered)
        for one in column.chunks
    ]
    return pa.chunked_array(chunks, pa.dictionary(kind.index_type, pa.string(), kind.ordered))


def _from_pandas(frame: Any, origin: str, columns: Sequence[str] | None) -> pa.Table:
    arrays, names = [], []
    for place, label in enumerate(frame.columns):
        if columns is not None and str(label) not in columns:
            continue
        series = frame.iloc[:, place]
        floats = isinstance(series.dtype, np.dtype) and series.dtype.kind == "f"
        arrays.append(_one_type(series.to_numpy() if floats else series, str(label), origin, from_pandas=not floats))
        names.append(str(label))
    return pa.table(arrays, names)


def _one_type(items: Any, name: str, origin: str, *, from_pandas: bool | None = None) -> pa.Array:
    try:
        return pa.array(items, from_pandas=from_pandas)
    except _MISFITS as error:
        what = f"{origin}: column {name!r} has no one type: {error}."
        raise SourceUnreadable(f"{what} Give all its values one type.") from error
