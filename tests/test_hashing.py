import struct
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore.hashing import ascending, row_hashes
from featurestore.values import Kind, from_list

MASK = 2**64 - 1
SEED = 0x9E3779B97F4A7C15
NAMES = ("text", "number", "share", "open")

Row = tuple[str | None, int | None, float | None, bool | None]
rows = st.lists(
    st.tuples(
        st.none() | st.text(max_size=20),
        st.none() | st.integers(-(2**63), 2**63 - 1),
        st.none() | st.floats(allow_nan=False, allow_infinity=False).map(lambda one: one + 0.0),
        st.none() | st.booleans(),
    ),
    min_size=1,
    max_size=5,
)


def mix(state: int) -> int:
    """The finalizer of MurmurHash3, on Python integers."""
    state = ((state ^ (state >> 33)) * 0xFF51AFD7ED558CCD) & MASK
    state = ((state ^ (state >> 33)) * 0xC4CEB9FE1A85EC53) & MASK
    return state ^ (state >> 33)


def word(value: Any) -> int:
    if isinstance(value, float):
        return int.from_bytes(struct.pack("<d", value), "little")
    if not isinstance(value, str):
        return int(value) & MASK
    data = value.encode()
    state = mix((len(data) + SEED) & MASK)
    for start in range(0, len(data), 8):
        state = mix(state ^ int.from_bytes(data[start : start + 8], "little"))
    return state


def row_hash(row: Row) -> int:
    state = SEED
    for name, value in sorted(zip(NAMES, row, strict=True)):
        if value is not None:
            state = mix(((state ^ word(value)) + word(name)) & MASK)
    return state - 2**64 if state >= 2**63 else state


def hashes(items: list[Row]) -> list[int]:
    kinds: tuple[Kind, ...] = ("str", "int", "float", "bool")
    made = row_hashes(
        {
            name: from_list(kind, [row[n] for row in items])
            for n, (name, kind) in enumerate(zip(NAMES, kinds, strict=True))
        }
    )
    return [int(one) for one in made]


@settings(deadline=None)
@given(rows)
def test_a_hash_is_what_its_definition_says(items: list[Row]) -> None:
    assert hashes(items) == [row_hash(row) for row in items]


@given(st.lists(st.none() | st.text(max_size=20), min_size=2, max_size=6))
def test_texts_of_an_arrow_array_have_the_hashes_of_values(texts: list[str | None]) -> None:
    expected = row_hashes({"text": from_list("str", texts)}).tolist()
    array = pa.array(texts, pa.string())
    assert row_hashes({"text": array}).tolist() == row_hashes({"text": array.dictionary_encode()}).tolist() == expected
    assert row_hashes({"text": array[1:]}).tolist() == expected[1:]


def test_a_null_is_not_an_empty_text_nor_a_zero() -> None:
    made = hashes([("a", None, None, None), (None, None, None, None), ("", None, None, None), ("", 0, 0.0, False)])
    assert len(set(made)) == 4
    assert len(set(hashes([(None, None, None, None), (None, 0x6E756C6C, None, None)]))) == 2  # the text "null"


def test_the_name_of_a_column_counts_and_its_place_does_not() -> None:
    one, two = from_list("int", [1]), from_list("int", [2])
    assert row_hashes({"a": one, "b": two}) == row_hashes({"b": two, "a": one})
    assert row_hashes({"a": one, "b": two}) != row_hashes({"a": two, "b": one})


def test_a_column_that_is_null_leaves_the_hash_as_it_was() -> None:
    id_, note = from_list("int", [7]), from_list("str", [None])
    assert row_hashes({"id": id_, "note": note}) == row_hashes({"id": id_})
    assert row_hashes({"id": id_, "note": from_list("str", ["late"])}) != row_hashes({"id": id_})


alike = st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3) | st.integers(0, 3).map(lambda low: (5 << 40) + low)


@given(st.lists(alike, max_size=40))
def test_hashes_that_differ_in_their_lowest_bits_alone_are_sorted_too(hashes: list[int]) -> None:
    given = np.array(hashes, np.int64)
    assert ascending(given).tolist() == np.argsort(given, kind="stable").tolist()
