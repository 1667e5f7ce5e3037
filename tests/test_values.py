import math
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore.values import ARROW_TYPES, Kind, Values, concatenate, from_arrow, from_list, nulls, recode

MOMENT = datetime(1872, 11, 30, 15, tzinfo=UTC)
SAMPLES: dict[Kind, list[Any]] = {
    "bool": [True, None, False],
    "int": [2**63 - 1, None, -(2**53) - 1],
    "float": [0.1, None, -1e300],
    "str": ["b", None, "", "ä", "a"],
    "datetime": [MOMENT, None],
}


@pytest.mark.parametrize("kind", SAMPLES)
def test_values_come_back_as_they_went_in(kind: Kind) -> None:
    values = from_list(kind, SAMPLES[kind])
    assert values.to_list() == SAMPLES[kind]
    assert values.to_arrow().type == ARROW_TYPES[kind]
    assert values.to_arrow().to_pylist() == SAMPLES[kind]
    assert from_arrow(values.to_arrow(), kind).to_list() == SAMPLES[kind]


MAPS: dict[Kind, list[dict[str, Any]]] = {
    "map[bool]": [{"a": True, "b": None}, {}],
    "map[int]": [{}, {"": 2**53 + 1}, {"ä": -1, "日": 0}],
    "map[float]": [{"a": 0.1}, {"a": None, "b": -1e300}],
    "map[str]": [{"a": "x", "b": "a"}, {"b": None}],
    "map[datetime]": [{"2026": MOMENT}],
}


@pytest.mark.parametrize("kind", MAPS)
def test_maps_come_back_as_they_went_in(kind: Kind) -> None:
    values = from_list(kind, MAPS[kind])
    array = values.to_arrow()
    assert (values.kind, values.valid, array.type) == (kind, None, ARROW_TYPES[kind])
    assert array.to_pylist(maps_as_pydicts="strict") == values.to_list() == MAPS[kind]
    assert from_arrow(array, kind).to_list() == MAPS[kind]
    assert from_arrow(array[1:], kind).to_list() == MAPS[kind][1:]
    assert from_list(kind, []).to_arrow().type == ARROW_TYPES[kind]


@pytest.mark.parametrize("kind", MAPS)
def test_maps_are_taken_and_joined_row_by_row(kind: Kind) -> None:
    values, rows = from_list(kind, MAPS[kind]), MAPS[kind]
    backwards = values.take(np.arange(len(rows))[::-1])
    assert backwards.to_list() == rows[::-1]
    assert concatenate([backwards, values.take(slice(0, 1)), nothing(kind)]).to_list() == [*rows[::-1], rows[0]]
    assert backwards.to_arrow().equals(from_list(kind, rows[::-1]).to_arrow())


def nothing(kind: Kind) -> Values:
    return from_list(kind, [])


@pytest.mark.parametrize("kind", SAMPLES)
def test_under_a_null_lies_zero(kind: Kind) -> None:
    for values in (from_list(kind, SAMPLES[kind]), from_arrow(from_list(kind, SAMPLES[kind]).to_arrow(), kind)):
        assert values.data[1] == 0
        assert values.data.flags.c_contiguous


@pytest.mark.parametrize("kind", SAMPLES)
def test_a_type_without_nulls_has_no_mask_whatever_the_rows(kind: Kind) -> None:
    array = pa.array(SAMPLES[kind], ARROW_TYPES[kind]).drop_null()
    assert (from_arrow(array, kind, nullable=False).valid is None) == (kind != "float")
    assert from_arrow(array, kind).valid is not None
    assert from_list(kind, []).valid is not None


def test_nan_is_null_and_minus_zero_is_zero() -> None:
    for values in (
        from_list("float", [math.nan, -0.0]),
        from_arrow(pa.array([math.nan, -0.0]), "float", nullable=False),
    ):
        assert values.to_list() == [None, 0.0]
        assert math.copysign(1.0, values.data[1]) == 1.0


def test_loading_leaves_the_arrow_array_as_it_was() -> None:
    array = pa.array([math.nan, -0.0, 1.0])
    from_arrow(array, "float")
    assert [repr(one) for one in array.to_pylist()] == ["nan", "-0.0", "1.0"]


@settings(deadline=None)
@given(st.lists(st.none() | st.text(max_size=3)))
def test_categories_are_sorted_by_code_point_and_different(texts: list[str | None]) -> None:
    for values in (from_list("str", texts), from_arrow(pa.array(texts, pa.string()), "str")):
        assert values.categories is not None
        assert values.categories.tolist() == sorted({one for one in texts if one is not None})
        assert values.to_list() == texts


def test_a_dictionary_of_arrow_may_hold_what_no_row_uses() -> None:
    array = pa.DictionaryArray.from_arrays(pa.array([1, None, 0]), pa.array(["b", "a", "unused"]))
    assert from_arrow(array, "str").to_list() == ["a", None, "b"]
    assert from_arrow(pa.chunked_array([array, array.slice(2)]), "str").to_list() == ["a", None, "b", "b"]


@pytest.mark.parametrize("type_", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())])
def test_text_of_every_arrow_type_is_text(type_: pa.DataType) -> None:
    assert from_arrow(pa.array(["b", None, "a"]).cast(type_), "str").to_list() == ["b", None, "a"]


def test_narrow_numbers_keep_their_values() -> None:
    assert from_arrow(pa.array([0.1], pa.float32()), "float").to_list() == [float(np.float32(0.1))]
    assert from_arrow(pa.array([7], pa.uint8()), "int").to_list() == [7]
    assert from_arrow(pa.array([1], pa.timestamp("s")), "datetime").data.tolist() == [1_000_000]


def test_slices_of_arrow_arrays_start_where_they_start() -> None:
    assert from_arrow(pa.array([1, None, 3]).slice(1), "int").to_list() == [None, 3]
    assert from_arrow(pa.array(["x", "b", None]).slice(1), "str").to_list() == ["b", None]


def test_text_of_several_parts_shares_one_set_of_categories() -> None:
    whole = concatenate([from_list("str", ["b", None]), from_list("str", ["a", "b"], nullable=False), nulls("str", 1)])
    assert whole.to_list() == ["b", None, "a", "b", None]
    assert whole.categories is not None
    assert whole.categories.tolist() == ["a", "b"]


def test_parts_without_nulls_make_a_whole_without() -> None:
    part = Values("int", np.array([1]))
    assert concatenate([part, part]).valid is None
    assert concatenate([part, from_list("int", [None])]).to_list() == [1, None]


def test_text_is_recoded_to_wider_categories() -> None:
    wider = np.array(["a", "b", "c"], object)
    assert recode(from_list("str", ["c", "a"]), wider).tolist() == [2, 0]


def test_rows_are_taken_by_index_or_slice() -> None:
    values = from_list("str", ["a", None, "c"])
    assert values.take(np.array([2, 0, 0])).to_list() == ["c", "a", "a"]
    assert values.take(slice(1, None)).to_list() == [None, "c"]
    assert values.take(slice(None, None, -1)).data.flags.c_contiguous
