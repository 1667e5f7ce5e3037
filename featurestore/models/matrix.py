"""Features as an estimator takes them: the one way for the rows of a training set and for a row that is served.

Where all features are numbers or booleans that is a float64 array of shape ``(rows, features)``, null as nan (integers
beyond 2^53 lose digits, in both). Else, or where an estimator picks columns by name, it is a pandas frame: numbers and
booleans float64, strings object with nan for null, datetimes ``datetime64[us, UTC]`` with NaT, maps dicts with nan for
null.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from featurestore.arithmetic import NUMBERS
from featurestore.values import Kind, Values, from_arrow, from_list

FloatArray = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class Input:
    """One feature that an estimator takes."""

    name: str
    kind: Kind
    nullable: bool


def of_table(inputs: Sequence[Input], table: pa.Table) -> list[Values]:
    """Columns of a training set."""
    return [from_arrow(table.column(one.name), one.kind) for one in inputs]


def of_rows(inputs: Sequence[Input], rows: Sequence[Mapping[str, Any]]) -> list[Values]:
    """Columns of vectors."""
    return [from_list(one.kind, [row[one.name] for row in rows]) for one in inputs]


def needs_frame(inputs: Sequence[Input]) -> bool:
    """Whether there is a feature that is neither number nor boolean."""
    return any(one.kind not in NUMBERS for one in inputs)


def matrix(inputs: Sequence[Input], columns: Sequence[Values], *, frame: bool) -> Any:
    """Array or frame, shape ``(rows, features)``, of one column of each input."""
    if not frame:
        made = np.empty((len(columns[0]), len(inputs)), np.float64)
        for place, column in enumerate(columns):
            made[:, place] = _numbers(column)
        return made
    import pandas as pd

    return pd.DataFrame({one.name: _series(column) for one, column in zip(inputs, columns, strict=True)})


def _series(column: Values) -> Any:
    import pandas as pd

    if column.kind == "str":
        texts = np.empty(len(column), object)
        texts[:] = [np.nan if text is None else text for text in column.to_list()]
        return pd.Series(texts, dtype=object)
    if column.entries is not None:
        rows = [{key: np.nan if one is None else one for key, one in row.items()} for row in column.to_list()]
        return pd.Series(rows, dtype=object)
    if column.kind == "datetime":
        moments = np.where(column.mask, column.data.view("datetime64[us]"), np.datetime64("NaT", "us"))
        return pd.Series(moments).dt.tz_localize("UTC")
    return pd.Series(_numbers(column))


def _numbers(column: Values) -> FloatArray:
    numbers = column.data.astype(np.float64)
    if column.valid is not None:
        numbers[~column.valid] = np.nan
    return numbers
