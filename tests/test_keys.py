from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore.keys import codes_of, grouped, own_codes, texts_of
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


@settings(deadline=None)
@given(st.sampled_from(["int", "str"]), st.data())
def test_events_in_order_of_their_key_are_grouped_without_sorting(kind: Kind, data: st.DataObject) -> None:
    keys: Any = st.integers(-3, 3) if kind == "int" else st.text("ab", max_size=2)
    events = sorted(data.draw(st.lists(keys, min_size=1, max_size=8)))
    spine = data.draw(st.lists(st.none() | keys, max_size=5))
    found = grouped(from_list(kind, spine), from_list(kind, events, nullable=False))
    assert found is not None
    place, starts = found
    assert starts.tolist() == [*sorted(events.index(one) for one in set(events)), len(events)]
    distinct = sorted(set(events))
    assert place.tolist() == [distinct.index(one) if one in distinct else -1 for one in spine]


@pytest.mark.parametrize("events", [[2, 1], [None, 1], []])
def test_events_in_another_order_or_with_null_keys_are_not_grouped(events: list[int | None]) -> None:
    assert grouped(from_list("int", [1]), from_list("int", events)) is None


@settings(deadline=None)
@given(pairs)
def test_rows_by_themselves_have_the_codes_of_a_spine_of_them(rows: Pairs) -> None:
    codes, entities = own_codes(columns(rows))
    asked, _, count = codes_of(columns(rows), columns([]))
    assert (codes.tolist(), entities) == (asked.tolist(), count)


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
