"""Frames as Arrow tables."""

import polars as pl
import pyarrow as pa
import pytest

from featurestore.errors import SourceUnreadable
from featurestore.frames import from_dicts, is_frame, to_arrow


@pytest.mark.parametrize("rows", [[], ["b", "a", None]])
def test_a_categorical_of_polars_can_be_decoded(rows: list[str | None]) -> None:
    frame = pl.DataFrame({"n": [1] * len(rows), "x": pl.Series(rows, dtype=pl.Categorical)})
    table = to_arrow(frame, "the frame", ["x"])
    assert table.column_names == ["x"]
    assert pa.types.is_dictionary(table["x"].type)
    assert table["x"].cast(pa.string()).to_pylist() == rows


def test_dicts_become_a_column_for_each_name() -> None:
    assert from_dicts([{"a": 1}, {"b": "x"}], "rows").to_pylist() == [{"a": 1, "b": None}, {"a": None, "b": "x"}]


def test_a_column_of_dicts_that_mixes_types_is_named() -> None:
    with pytest.raises(SourceUnreadable, match=r"rows: column 'a' has no one type: .* Give all its values one type"):
        from_dicts([{"a": 1}, {"a": "x"}], "rows")


def test_dicts_are_no_frame() -> None:
    assert [is_frame(one) for one in ({"columns": 1}, [{"a": 1}], pa.table({"a": [1]}))] == [False, False, True]
