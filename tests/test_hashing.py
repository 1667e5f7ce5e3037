import struct
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore.hashing import row_hashes
from featurestore.values import Kind, from_list

MASK = 2**64 - 1
SEED = 0x9E3779B97F4A7C15
NULL = 0x6E756C6C

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
    if value is None:
        return NULL
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
    for number, value in enumerate(row, start=1):
        state = mix(((state ^ word(value)) + number * SEED) & MASK)
    return state - 2**64 if state >= 2**63 else state


def hashes(items: list[Row]) -> list[int]:
    kinds: tuple[Kind, ...] = ("str", "int", "float", "bool")
    made = row_hashes([from_list(kind, [row[n] for row in items]) for n, kind in enumerate(kinds)])
    return [int(one) for one in made]


@settings(deadline=None)
@given(rows)
def test_a_hash_is_what_its_definition_says(items: list[Row]) -> None:
    assert hashes(items) == [row_hash(row) for row in items]


def test_nulls_and_the_place_of_a_column_count() -> None:
    made = hashes([("a", None, None, None), (None, None, None, None), ("", None, None, None), ("", 0, 0.0, False)])
    assert len(set(made)) == 4
    numbers = [from_list("int", [1, 2]), from_list("int", [2, 1])]
    assert len(set(row_hashes(numbers).tolist())) == 2
