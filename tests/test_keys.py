from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore.keys import codes_of, texts_of
from featurestore.values import Kind, Values, from_list

Pairs = list[tuple[str | None, int | None]]
pairs = st.lists(
    st.tuples(st.sampled_from([None, "", "a", "b", "a,1"]), st.sampled_from([None, 0, 1, -1, 2**53 + 1])), max_size=6
)


def columns(rows: Pairs) -> list[Values]:
    return [from_list("str", [row[0] for row in rows]), from_list("int", [row[1] for row in rows])]


@settings(deadline=None)
@given(pairs, pairs)
def test_rows_and_events_of_one_key_share_a_code(spine: Pairs, events: Pairs) -> None:
    asked, there, entities = codes_of(columns(spine), columns(events))
    keys = sorted({row for row in spine if None not in row})
    assert entities == len(keys)
    assert asked.tolist() == [keys.index(row) if row in keys else -1 for row in spine]
    assert there.tolist() == [keys.index(row) if row in keys else -1 for row in events]


def test_a_null_key_matches_nothing() -> None:
    asked, there, entities = codes_of([from_list("int", [None, 0])], [from_list("int", [None, 0])])
    assert (asked.tolist(), there.tolist(), entities) == ([-1, 0], [-1, 0], 1)


@pytest.mark.parametrize(
    ("kind", "items", "texts"),
    [
        ("str", ["a", None, ""], ["a", None, ""]),
        ("int", [1, None, -(2**53) - 1], ["1", None, "-9007199254740993"]),
        ("bool", [True, None], ["True", None]),
        ("datetime", [datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC), None], ["1000000", None]),
    ],
)
def test_a_key_of_one_column_is_its_value_as_text(kind: Kind, items: list[Any], texts: list[str | None]) -> None:
    assert texts_of([from_list(kind, items)]) == texts


@settings(deadline=None)
@given(st.lists(st.tuples(st.text(max_size=3), st.integers(-5, 5)), unique=True, max_size=6))
def test_different_keys_of_several_columns_have_different_texts(rows: list[tuple[str, int]]) -> None:
    assert len(set(texts_of(columns(list(rows))))) == len(rows)


def test_a_null_in_one_column_makes_the_key_null() -> None:
    assert texts_of(columns([("a", None), (None, 1), ("ä", 1)])) == [None, None, '["ä",1]']
