"""Arrow columns to kinds: what the libraries hand over beside plain arrays."""

from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from pydantic import create_model

from featurestore.casting import cast, from_python, whole
from featurestore.schema import schema_of
from featurestore.validation import check_rows


@pytest.mark.parametrize(
    "series",
    [
        pl.Series("x", ["b", "a"]),
        pl.Series("x", ["b", "a"], pl.Categorical),
        pl.Series("x", ["b", "a"], pl.Enum(["a", "b"])),
    ],
)
def test_polars_texts_of_every_kind_are_strings(series: pl.Series) -> None:
    schema = schema_of(create_model("One", x=(str, ...)))
    assert check_rows(series.to_frame(), schema)["x"].to_pylist() == ["b", "a"]


def test_a_view_inside_a_dictionary_is_plain_text() -> None:
    texts = pa.array(["a"], pa.string_view())
    nested = pa.DictionaryArray.from_arrays(pa.array([0, None], pa.int8()), texts)
    assert whole(nested).equals(pa.array(["a", None]))
    assert whole(pa.chunked_array([texts, texts])).equals(pa.array(["a", "a"]))


@pytest.mark.parametrize("kind", [pa.uint64(), pa.int8(), pa.float32(), pa.float64()])
def test_zero_and_one_of_any_number_are_booleans(kind: pa.DataType) -> None:
    assert cast(pa.array([0, 1, 2], kind), "bool").typed.to_pylist() == [False, True, None]


def test_a_number_past_int64_is_no_boolean() -> None:
    found = cast(pa.array([2**63, 1], pa.uint64()), "bool")
    assert found.misfits.to_pylist() == [True, False]


@pytest.mark.parametrize(
    ("kind", "items", "lost"),
    [("int", [1, 2**63, None], [1]), ("str", ["a", "\ud800"], [1]), ("float", [0.5, "x"], [1])],
)
def test_python_values_that_are_not_of_the_kind_are_told_by_place(kind: Any, items: list[Any], lost: list[int]) -> None:
    array, places = from_python(items, kind)
    assert places == lost
    assert array.is_valid().to_pylist()[0]
