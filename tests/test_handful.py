"""A few rows as Python scalars against the same rows as a table: same verdicts, same hashes, same stored bytes."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel, Field
from strategies import BIG, FLOATS, NOTES, UNITS

from featurestore import Entity, Source
from featurestore.errors import InvalidRows
from featurestore.handful import Handful, read
from featurestore.ingest import _Rows
from featurestore.known import entry_table
from featurestore.online import Piece
from featurestore.validation import check_rows
from featurestore.values import FEW

Row = dict[str, Any]
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
INSTANTS = (NOON, NOON + timedelta(microseconds=1), NOON.replace(tzinfo=None), "2026-01-31T14:00:00+02:00")
STAMPS = (0, 1_769_860_800_000_000, 1_769_860_800_000_001, 1 << 60)  # noon, and around it


class Event(BaseModel):
    """Every kind, with nulls and without."""

    id: str | None = None
    customer: str
    shop: int | None = None
    event_time: datetime
    amount: float = Field(ge=-10)
    price: float | None = None
    big: int = 0
    flag: bool
    maybe: bool | None = None
    note: str | None = "none"
    seen: datetime | None = None
    filed: datetime = NOON


customer = Entity("customer", key="customer")
shop = Entity("shop", key="shop")
pair = Entity("pair", key=("shop", "customer"))
day = Entity("day", key="filed")
PLAIN = Source("plain", schema=Event, event_time="event_time")
KEYED = Source("keyed", schema=Event, event_time="event_time", key="id", known_at="seen")
NUMBERED = Source("numbered", schema=Event, event_time="event_time", key="shop", known_at="filed")

some = st.sampled_from
ROWS = st.lists(
    st.fixed_dictionaries(
        {"customer": some(NOTES), "event_time": some(INSTANTS), "amount": some(FLOATS), "flag": st.booleans()},
        optional={
            "id": some((None, "a", "b", "a\0b", "", "日本")),
            "shop": some((None, 1, 2.0, *UNITS)),
            "price": some((None, 1, *FLOATS)),
            "big": some(BIG),
            "maybe": some((None, True, False, 1)),
            "note": some((None, *NOTES)),
            "seen": some((None, *INSTANTS)),
            "filed": some(INSTANTS),
        },
    ),
    min_size=1,
    max_size=8,
)
KEPT = st.lists(st.booleans(), min_size=8, max_size=8)
BARE: Row = {"customer": "c", "event_time": NOON, "amount": 1.5, "flag": True}


def packed(rows: Handful | _Rows, stamp: int, kept: list[bool]) -> tuple[Any, Mapping[str, list[Piece]]]:
    views = [rows.source.by(entity) for entity in (customer, shop, pair, day)]
    payload, pieces = rows.pack(views, stamp, np.flatnonzero(kept[: rows.rows]))
    return entry_table(payload, 7), {view: sorted(pieces[view]) for view in pieces}


@given(some((PLAIN, KEYED, NUMBERED)), ROWS, some(STAMPS), KEPT)
@example(KEYED, [BARE | {"id": str(number), "note": "n" * number} for number in range(FEW)], 0, [True] * FEW)
def test_a_handful_gives_what_a_table_of_the_same_rows_gives(
    source: Source, rows: list[Row], stamp: int, kept: list[bool]
) -> None:
    few = read(rows, source)
    if few is None:
        with pytest.raises(InvalidRows):
            check_rows(rows, source.fields)
        return
    many = _Rows(source, check_rows(rows, source.fields))
    assert few.table().equals(many.table())
    keys, same = few.keys(), many.keys()
    assert (keys is None) == (same is None)
    if keys is not None and same is not None:
        assert keys.key_hash.tolist() == same.key_hash.tolist()
        assert keys.payload_hash.tolist() == same.payload_hash.tolist()
        assert keys.has_key.tolist() == same.has_key.tolist()
    if any(kept[: few.rows]):
        payload, pieces = packed(few, stamp, kept)
        expected_payload, expected_pieces = packed(many, stamp, kept)
        assert payload.equals(expected_payload)
        assert pieces == expected_pieces


@pytest.mark.parametrize(
    "rows", [[], [BARE] * (FEW + 1), Event(**BARE), "rows", [BARE | {"who": 1}], [BARE, {}], [BARE | {"flag": "yes"}]]
)
def test_what_is_no_handful_is_left_to_the_closer_look(rows: Any) -> None:
    assert read(rows, PLAIN) is None
