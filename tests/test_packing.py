from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from featurestore.errors import NewerFormat, SchemaChanged, StoreDamaged
from featurestore.events import Events
from featurestore.layout import Stored
from featurestore.packing import BLOCK, pack, pack_many
from featurestore.schema import Schema, schema_of
from featurestore.unpacking import Unpacker
from featurestore.unpacking import events_of as events_of_stored
from featurestore.values import from_list


class Payment(BaseModel):
    customer_id: str
    event_time: datetime
    amount: float
    count: int
    online: bool | None = None
    merchant: str | None = None


class OldPayment(BaseModel):
    customer_id: str
    event_time: datetime
    amount: float
    count: int


PAYMENT = schema_of(Payment)
OLD = schema_of(OldPayment)
TIES = ("customer_id", "amount", "count", "online", "merchant")
Row = tuple[Any, ...]
A = ("a", 10, 1.5, 2**60, True, "shop")
B = ("a", 20, None, -1, None, None)
C = ("a", 20, 2.0, 0, False, "älter")


def packable(entities: Sequence[Sequence[Row]], schema: Schema = PAYMENT) -> Events:
    rows = [row for entity in entities for row in entity]
    columns = {
        field.name: from_list(
            field.kind, [row[place] for row in rows], nullable=field.nullable or field.kind == "float"
        )
        for place, field in enumerate(schema.fields)
    }
    times = np.array([row[1] for row in rows], np.int64)
    starts = np.cumsum([0, *(len(entity) for entity in entities)])
    return Events(starts, times, times + 5, columns)


def rows_of(events: Events) -> list[Row]:
    columns = [
        values.data.tolist() if name == "event_time" else values.to_list() for name, values in events.columns.items()
    ]
    return list(zip(*columns, strict=True))


def events_of(entities: Sequence[Sequence[bytes]], schema: Schema, ties: Sequence[str]) -> Events:
    return events_of_stored([[(blob, None) for blob in blobs] for blobs in entities], schema, ties)


def blob_of(*rows: Row, schema: Schema = PAYMENT) -> bytes:
    return pack(packable([rows], schema), schema)


def test_a_blob_gives_back_every_kind_of_column_and_its_nulls() -> None:
    events = events_of([[blob_of(A, B, C)]], PAYMENT, TIES)
    assert rows_of(events) == [A, B, C]
    assert events.event_time.tolist() == [10, 20, 20]
    assert events.known_at.tolist() == [15, 25, 25]
    assert events.columns["count"].valid is None
    assert events.columns["merchant"].valid is not None


def test_blobs_of_one_entity_are_put_in_the_order_of_s5_null_first() -> None:
    events = events_of([[blob_of(C), blob_of(A), blob_of(B)]], PAYMENT, TIES)
    assert rows_of(events) == [A, B, C]
    assert events.known_at.tolist() == [15, 25, 25]


def test_entities_keep_the_order_in_which_they_were_asked() -> None:
    events = events_of([[blob_of(C)], [], [blob_of(A), blob_of(B)]], PAYMENT, TIES)
    assert events.starts.tolist() == [0, 1, 1, 3]
    assert rows_of(events) == [C, A, B]


def test_a_never_seen_entity_has_no_events() -> None:
    events = events_of([[]], PAYMENT, TIES)
    assert events.starts.tolist() == [0, 0]
    assert rows_of(events) == []
    assert len(events_of([], PAYMENT, TIES)) == 0


def test_an_entity_without_events_packs_to_a_blob_without_events() -> None:
    events = packable([[A], []])
    assert rows_of(events_of([[pack(events, PAYMENT, 1)]], PAYMENT, TIES)) == []


def test_packing_one_entity_of_many_equals_packing_it_alone() -> None:
    events = packable([[A, B], [], [C]])
    assert pack(events, PAYMENT, 0) == blob_of(A, B)
    assert list(pack_many(events, PAYMENT)) == [(0, 20, blob_of(A, B)), (2, 20, blob_of(C))]


def test_a_long_history_is_split_by_time() -> None:
    rows = [("a", time, 1.0, time, None, None) for time in range(BLOCK * 2 + 1)]
    pieces = list(pack_many(packable([rows, rows[:1]]), PAYMENT))
    assert [(entity, last) for entity, last, _ in pieces] == [(0, 1023), (0, 2047), (0, 2048), (1, 0)]
    events = events_of([[blob for entity, _, blob in pieces if entity == 0]], PAYMENT, TIES)
    assert rows_of(events) == rows


def test_columns_that_came_later_are_null_in_older_events() -> None:
    old = ("a", 10, 1.0, 1)
    for blobs in ([blob_of(old, schema=OLD)], [blob_of(C), blob_of(old, schema=OLD)]):
        events = events_of([blobs], PAYMENT, TIES)
        assert rows_of(events)[0] == (*old, None, None)
        assert rows_of(events)[1:] == [C][: len(blobs) - 1]


NAMES = st.lists(st.none() | st.sampled_from(["", "a", "b", "a\0b", "ä"]), min_size=1, max_size=4)


@given(st.lists(NAMES, min_size=1, max_size=3), st.sampled_from(["codes", "texts"]))
def test_texts_are_packed_with_codes_or_without_to_the_same_values(entities: list[list[Any]], how: str) -> None:
    rows = [[("a", place, 1.0, 0, None, name) for place, name in enumerate(names)] for names in entities]
    column = pa.chunked_array([[row[5] for row in own] for own in rows], pa.string())
    pieces = list(pack_many(packable(rows), PAYMENT, distinct={} if how == "codes" else {"merchant": column}))
    for entity, _, blob in pieces:
        assert rows_of(events_of([[blob]], PAYMENT, TIES)) == rows[entity]
    assert rows_of(events_of([[blob] for _, _, blob in pieces], PAYMENT, TIES)) == [row for own in rows for row in own]


def test_blobs_with_and_without_codes_make_one_history() -> None:
    column = pa.chunked_array([["shop"]])
    ((_, _, plain),) = pack_many(packable([[A]]), PAYMENT, distinct={"merchant": column})
    assert rows_of(events_of([[blob_of(C, B), plain]], PAYMENT, TIES)) == [A, B, C]


def test_a_column_of_another_type_is_refused() -> None:
    class Changed(OldPayment):
        count: str  # type: ignore[assignment]

    with pytest.raises(SchemaChanged, match="Column 'count' is declared str; events in the online store have int"):
        events_of([[blob_of(A)]], schema_of(Changed), ())


def test_a_new_column_that_may_not_be_null_is_refused() -> None:
    class Grown(OldPayment):
        channel: str

    with pytest.raises(SchemaChanged, match="Column 'channel' is new and may not be null"):
        events_of([[blob_of(A)]], schema_of(Grown), ())


def test_a_schema_in_another_order_puts_ties_in_its_own_order() -> None:
    class Reordered(BaseModel):
        count: int
        customer_id: str
        event_time: datetime
        amount: float

    first, second = ("a", 1, 1.0, 9), ("a", 1, 2.0, 3)
    blob = blob_of(first, second, schema=OLD)
    for entities in ([[blob]], [[blob], [blob]]):
        events = events_of(entities, schema_of(Reordered), ("count", "customer_id", "amount"))
        assert events.columns["count"].to_list() == [3, 9] * len(entities)


def test_data_under_a_null_is_zero_however_many_blobs_it_comes_from() -> None:
    null, tea = ("a", 30, None, 1, None, None), ("a", 40, 1.0, 1, None, "tea")
    for blobs in ([blob_of(A, null, tea)], [blob_of(A), blob_of(null, tea)]):
        columns = events_of([blobs], PAYMENT, TIES).columns
        assert columns["merchant"].to_list() == ["shop", None, "tea"]
        assert columns["merchant"].data.tolist() == [0, 0, 1]
        assert columns["amount"].data.tolist() == [1.5, 0.0, 1.0]


def test_a_blob_of_a_later_version_is_refused_in_words() -> None:
    with pytest.raises(NewerFormat, match=r"events in format 2; this version reads format 1"):
        events_of([[b"\2" + blob_of(A)[1:]]], PAYMENT, TIES)


class Ranked(BaseModel):
    customer_id: str
    event_time: datetime
    rank: int
    amount: float
    count: int


def test_blobs_laid_out_otherwise_are_read_together() -> None:
    ranked = blob_of(("a", 10, 1, 5.0, 7), ("a", 20, 2, 3.0, 8), schema=schema_of(Ranked))
    for entities in ([[ranked], [blob_of(("b", 30, 4.0, 9), schema=OLD)]], [[ranked], [ranked]]):
        found = rows_of(events_of(entities, OLD, TIES[:3]))
        assert found[:2] == [("a", 10, 5.0, 7), ("a", 20, 3.0, 8)]
        assert found[2:] in ([("b", 30, 4.0, 9)], found[:2])


def test_events_that_a_removed_column_had_put_in_order_are_ordered_anew() -> None:
    schema = schema_of(Ranked)
    blob = blob_of(("a", 10, 1, 5.0, 0), ("a", 10, 2, 3.0, 0), schema=schema)
    for entities in ([[blob]], [[], [blob]]):
        assert rows_of(events_of(entities, OLD, TIES[:3])) == [("a", 10, 3.0, 0), ("a", 10, 5.0, 0)]


def test_a_column_removed_from_the_end_had_ordered_nothing_that_is_still_seen() -> None:
    blob = blob_of(("a", 10, 3.0, 0, None, None), ("a", 10, 3.0, 0, True, "shop"), ("a", 10, 5.0, 0, None, None))
    events = events_of([[blob]], OLD, TIES[:3])
    assert rows_of(events) == [("a", 10, 3.0, 0), ("a", 10, 3.0, 0), ("a", 10, 5.0, 0)]


@pytest.mark.parametrize("length", [0, 7, 60, 100])
def test_a_blob_cut_short_is_damage(length: int) -> None:
    with pytest.raises(StoreDamaged, match="Rebuild the online store"):
        events_of([[blob_of(A)[:length]]], PAYMENT, TIES)


def test_a_name_may_hold_any_character() -> None:
    names = ["", "\0", "[", '"', "a\0b", "😀"]
    rows = [("a", time, 1.0, 1, None, name) for time, name in enumerate(names)]
    for blobs in ([blob_of(*rows)], [blob_of(row) for row in rows]):
        assert events_of([blobs], PAYMENT, TIES).columns["merchant"].to_list() == names


names = st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"]), max_size=3))
floats = st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False))
row = st.tuples(
    st.just("a"), st.integers(0, 3), floats, st.integers(-9, 9), st.sampled_from([None, True, False]), names
)


@given(st.lists(st.lists(row, max_size=5), max_size=4))
def test_however_events_are_split_into_blobs_they_read_the_same(entities: list[list[Row]]) -> None:
    reader = Unpacker(PAYMENT, TIES)
    one_by_one = reader.events([[(blob_of(one), None) for one in entity] for entity in entities])
    sorted_rows = [rows_of(reader.events([[(blob_of(one), None) for one in entity[::-1]]])) for entity in entities]
    packed: list[list[Stored]] = [[] for _ in entities]
    if any(entities):
        for entity, _, blob in pack_many(packable(sorted_rows), PAYMENT, block=2):
            packed[entity].append((blob, None))
    assert rows_of(reader.events(packed)) == rows_of(one_by_one) == [one for rows in sorted_rows for one in rows]


def test_events_of_a_stamped_blob_are_not_known_before_it_and_are_put_in_order_again() -> None:
    # B's and C's event_time is 20, and their known_at 25: with it lifted to 30 the columns decide, null first.
    early, late = blob_of(A, C), blob_of(B)
    events = events_of_stored([[(early, None), (late, None)]], PAYMENT, TIES)
    assert (rows_of(events), events.known_at.tolist()) == ([A, B, C], [15, 25, 25])
    events = events_of_stored([[(early, None), (late, 30)]], PAYMENT, TIES)
    assert (rows_of(events), events.known_at.tolist()) == ([A, C, B], [15, 25, 30])
    events = events_of_stored([[(early, 30)], [(late, 7)]], PAYMENT, TIES)
    assert (rows_of(events), events.known_at.tolist()) == ([A, C, B], [30, 30, 25])


def test_a_column_that_equals_known_at_keeps_its_values_under_a_stamp() -> None:
    class Told(BaseModel):
        event_time: datetime
        told_at: datetime

    schema = schema_of(Told)
    instants = {name: from_list("datetime", [at], nullable=False) for name, at in (("event_time", 5), ("told_at", 7))}
    blob = pack(Events(np.array([0, 1]), np.array([5]), np.array([7]), instants), schema)
    assert b"told_at:K" in blob
    events = events_of_stored([[(blob, 9)]], schema, ("told_at",))
    assert (events.known_at.tolist(), events.columns["told_at"].data.tolist()) == ([9], [7])
