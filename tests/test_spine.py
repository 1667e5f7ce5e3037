"""Spines and lookups' rows: key types, request fields and times are checked alike, and give the same values."""

import enum
import math
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any, Literal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, create_model

from featurestore import Entity, FeatureService, Source, carriers, feature, spine
from featurestore.column import Column
from featurestore.errors import FeatureStoreError, InvalidRequest, KeyTypeMismatch, SpineError
from featurestore.frames import to_arrow
from featurestore.plan import ServicePlan, compile_service, outputs_of
from featurestore.refusals import BadRow
from featurestore.values import Values
from featurestore.window import Window

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
NAIVE = datetime(2026, 1, 31, 12)  # noqa: DTZ001 the point
MICROS = 1_769_860_800_000_000


class Channel(enum.Enum):
    WEB = "web"
    SHOP = "shop"


class Request(BaseModel):
    amount: float = Field(ge=0, le=1e6)
    items: int | None = None
    note: str | None = Field(None, max_length=3)
    online: bool = False
    at: datetime | None = None
    channel: Channel | None = None
    size: Literal["s", "l"] = "s"


def plan(kind: Any = str, request: type[BaseModel] | None = None) -> ServicePlan:
    """A service of one feature, whose entity's key ``who`` is of a kind."""
    model = create_model("Event", who=(kind | None, ...), event_time=(datetime, ...))
    events = Source("events", schema=model, event_time="event_time")

    @feature(events, by=Entity("person", key="who"))
    def number(tx: Window) -> Column:
        return tx.count()

    service = FeatureService("people", features=[number], request=request)
    return compile_service(service, outputs_of(service.features))


def from_table(asked: ServicePlan, table: pa.Table) -> dict[str, Values]:
    return dict(spine.from_table(asked, table, np.zeros(table.num_rows, np.int64)).columns)


def from_rows(asked: ServicePlan, rows: Sequence[Any]) -> dict[str, Values]:
    return dict(spine.from_rows(asked, rows, np.zeros(len(rows), np.int64)).columns)


def keys(kind: Any, array: pa.Array) -> list[Any]:
    return from_table(plan(kind), pa.table({"who": array}))["who"].to_list()


def row_keys(kind: Any, *items: Any) -> list[Any]:
    return from_rows(plan(kind), [{"who": item} for item in items])["who"].to_list()


@pytest.mark.parametrize(
    ("kind", "array", "known"),
    [
        (int, pa.array([1.0, None, math.nan]), [1, None, None]),
        (int, pa.array([7], pa.uint8()), [7]),
        (int, pa.array([2**62 + 1]), [2**62 + 1]),
        (float, pa.array([1, None]), [1.0, None]),
        (float, pa.array([0.5], pa.float32()), [0.5]),
        (str, pa.array(["a", None]).dictionary_encode(), ["a", None]),
        (str, pa.array(["a"], pa.large_string()), ["a"]),
        (str, pa.array(["a"], pa.string_view()), ["a"]),
        (bool, pa.array([True, None]), [True, None]),
        (datetime, pa.array([NAIVE], pa.timestamp("s")), [NOON]),
        (datetime, pa.array([1_001], pa.timestamp("ns")), [datetime(1970, 1, 1, 0, 0, 0, 1, UTC)]),
        (datetime, pa.array([date(2026, 1, 31)]), [datetime(2026, 1, 31, tzinfo=UTC)]),
        (int, pa.nulls(2), [None, None]),
    ],
)
def test_key_columns_become_their_declared_kind(kind: Any, array: pa.Array, known: list[Any]) -> None:
    assert keys(kind, array) == known


@pytest.mark.parametrize(
    ("kind", "array", "words"),
    [
        (int, pa.array(["1"]), r"Row 1: key who = '1' \(str\) is no int: give a 64-bit integer"),
        (int, pa.array([1.0, 1.5]), r"Row 2: key who = 1.5 \(float\)"),
        (int, pa.array([math.inf]), "Row 1: key who = inf"),
        (int, pa.array([None, 2**63], pa.uint64()), f"Row 2: key who = {2**63}"),
        (datetime, pa.array([2**62], pa.timestamp("s")), "Row 1: key who = .* in the years 1 to 9999"),
    ],
)
def test_a_key_column_of_another_type_is_an_error(kind: Any, array: pa.Array, words: str) -> None:
    with pytest.raises(KeyTypeMismatch, match=words):
        keys(kind, array)


@pytest.mark.parametrize(
    ("kind", "item", "known"),
    [
        (int, 1.0, 1),
        (int, np.int64(3), 3),
        (int, np.float64(3), 3),
        (float, 2, 2.0),
        (float, np.float32(0.5), 0.5),
        (str, np.str_("a"), "a"),
        (bool, np.bool_(True), True),
        (datetime, NAIVE, NOON),
        (datetime, date(2026, 1, 31), datetime(2026, 1, 31, tzinfo=UTC)),
        (datetime, "2026-01-31T12:00:00Z", NOON),
        (datetime, np.datetime64("2026-01-31T12:00:00.000000001"), NOON),
        (int, None, None),
        (int, math.nan, None),
        (int, np.float32("nan"), None),
        (str, pd.NA, None),
        (datetime, pd.NaT, None),
        (datetime, np.datetime64("NaT"), None),
    ],
)
def test_keys_in_rows_become_their_declared_kind(kind: Any, item: Any, known: Any) -> None:
    assert row_keys(kind, item) == [known]


@pytest.mark.parametrize(
    ("kind", "item", "words"),
    [
        (int, "1", r"Row 1: key who = '1' \(str\) is no int: give a 64-bit integer"),
        (int, math.inf, r"key who = inf \(float\)"),
        (float, 10**400, "key who = 1000"),
        (float, False, r"key who = False \(bool\) is no float: give a number"),
    ],
)
def test_a_key_of_another_type_in_a_row_is_an_error(kind: Any, item: Any, words: str) -> None:
    with pytest.raises(KeyTypeMismatch, match=words):
        row_keys(kind, item)


def test_a_missing_key_is_named_in_spines_and_rows() -> None:
    with pytest.raises(SpineError, match=r"lacks the key column 'who' of 'people'\. Did you mean 'whom'\?"):
        from_table(plan(), pa.table({"whom": ["a"]}))
    with pytest.raises(InvalidRequest, match="Row 1 lacks who; 'people' needs who"):
        from_rows(plan(), [{"whom": "a"}])


def test_a_missing_request_field_is_named_in_spines_and_rows() -> None:
    asked = plan(request=Request)
    with pytest.raises(SpineError, match="lacks the request fields amount of 'people'"):
        from_table(asked, pa.table({"who": ["a"]}))
    with pytest.raises(InvalidRequest, match="amount = None is against 'required'"):
        from_rows(asked, [{"who": "a"}])


def test_an_unknown_name_is_harmless_unless_something_is_missing() -> None:
    class One(BaseModel):
        amount: float = 0.0

    asked = plan(request=One)
    assert from_rows(asked, [{"who": "a", "amount": 1.0, "more": 1}])["amount"].to_list() == [1.0]
    with pytest.raises(InvalidRequest, match="Row 1 has amuont, which 'people' does not know, and lacks amount"):
        from_rows(asked, [{"who": "a", "amuont": 1.0}])


def test_what_is_no_mapping_is_no_row() -> None:
    with pytest.raises(InvalidRequest, match="Row 2 is 'a': give a mapping with who"):
        from_rows(plan(), [{"who": "a"}, "a"])


@pytest.mark.parametrize("amount", [-1.0, 2e6, math.inf, None])
def test_the_request_schema_refuses_the_same_in_spines_and_rows(amount: float | None) -> None:
    asked, found = plan(request=Request), []
    table = pa.table({"who": ["a", "b"], "amount": pa.array([1.0, amount])})
    for call, given_rows in ((from_table, table), (from_rows, table.to_pylist())):
        with pytest.raises(InvalidRequest, match="Nothing was computed: correct them and ask again") as caught:
            call(asked, given_rows)
        assert isinstance(caught.value.args[1], tuple)
        assert "quarantine" not in str(caught.value)
        found.append({(one.row, one.column) for one in caught.value.args[1]})
    assert found == [{(2, "amount")}] * 2


def test_request_fields_that_are_absent_have_their_defaults_in_every_row() -> None:
    class Optional(BaseModel):
        amount: float = None  # type: ignore[assignment]
        size: Literal["s", "l"] = "s"
        channel: Channel = Channel.SHOP

    asked, table = plan(request=Optional), pa.table({"who": ["a", "b"]})
    for columns in (from_table(asked, table), from_rows(asked, table.to_pylist())):
        assert columns["amount"].to_list() == [None, None]
        assert columns["size"].to_list() == ["s", "s"]
        assert columns["channel"].to_list() == ["shop", "shop"]


def test_a_spine_column_named_like_a_feature_is_an_error() -> None:
    with pytest.raises(SpineError, match="columns named like features of 'people': number"):
        from_table(plan(), pa.table({"who": ["a"], "number": [1]}))


def test_a_column_that_the_spine_has_twice_is_an_error() -> None:
    with pytest.raises(SpineError, match="several columns named who: rename all but one"):
        from_table(plan(), pa.table([["a"], ["b"]], ["who", "who"]))


@pytest.mark.parametrize(
    "column",
    [
        pa.array([NAIVE], pa.timestamp("ms")),
        pa.array([datetime(2026, 1, 31, 14, tzinfo=timezone(timedelta(hours=2)))], pa.timestamp("us", "+02:00")),
        pa.array([MICROS * 1000 + 999], pa.timestamp("ns")),
        pa.array(["2026-01-31T12:00:00Z"]),
        pa.array(["2026-01-31T14:00:00+02:00"], pa.string_view()),
        pa.array(["2026-01-31 12:00"]).dictionary_encode(),
        pa.chunked_array([[NOON], []], pa.timestamp("us", "UTC")),
    ],
)
def test_times_of_every_kind_are_microseconds_utc(column: pa.Array) -> None:
    assert spine.instants(column, "t").tolist() == [MICROS]


def test_dates_are_midnight_utc() -> None:
    assert spine.instants(pa.array([date(2026, 1, 31)]), "t").tolist() == [MICROS - 12 * 3_600_000_000]


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (pa.array([NOON, None], pa.timestamp("us", "UTC")), "'t' has 1 nulls, the first in row 2: every row is asked"),
        (pa.nulls(2), "'t' has 2 nulls"),
        (
            pa.array(["2026-01-31", "noon"]),
            r"'t', row 2: 'noon' \(str\) is no datetime: give a datetime, a date, or ISO",
        ),
        (pa.array([MICROS]), r"'t', row 1: .* \(int\) is no datetime"),
        (pa.array([2**62], pa.timestamp("s")), "'t', row 1: .* in the years 1 to 9999"),
    ],
)
def test_what_is_no_time_is_said_to_be_none(column: pa.Array, words: str) -> None:
    with pytest.raises(SpineError, match=words):
        spine.instants(column, "t")


def test_a_spine_without_rows_is_typed() -> None:
    asked = plan(int, Request)
    for table in (to_arrow(pd.DataFrame({"who": [], "amount": [], "t": []}), "s"), pa.table({"who": [], "amount": []})):
        columns = from_table(asked, table)
        assert {name: (one.kind, len(one)) for name, one in columns.items()}["amount"] == ("float", 0)
    assert from_rows(asked, [])["who"].to_list() == []
    assert spine.instants(pa.array([], pa.null()), "t").tolist() == []


def test_pandas_nullable_types_are_read_as_values_and_nulls() -> None:
    frame = pd.DataFrame(
        {
            "who": pd.array([1, None], "Int64"),
            "amount": pd.array([1.5, 2.0], "Float64"),
            "items": pd.array([None, 3], "Int32"),
            "note": pd.array(["a", None], "string"),
            "online": pd.array([True, False], "boolean"),
        }
    )
    columns = from_table(plan(int, Request), to_arrow(frame, "spine"))
    assert [columns[name].to_list() for name in ("who", "items", "note")] == [[1, None], [None, 3], ["a", None]]
    again = from_rows(plan(int, Request), frame.to_dict("records"))
    assert {name: one.to_list() for name, one in again.items()} == {
        name: one.to_list() for name, one in columns.items()
    }


def test_polars_strings_and_categoricals_are_strings() -> None:
    frame = pl.DataFrame(
        {
            "who": pl.Series(["b", "a", None], dtype=pl.Categorical),
            "amount": [1.0] * 3,
            "size": pl.Series(["s", "l", "s"], dtype=pl.Enum(["l", "s"])),
            "t": ["2026-01-31T12:00:00Z"] * 3,
        }
    )
    table = to_arrow(frame, "spine")
    columns = from_table(plan(str, Request), table)
    assert columns["who"].to_list() == ["b", "a", None]
    assert columns["size"].to_list() == ["s", "l", "s"]
    assert spine.instants(table["t"], "t").tolist() == [MICROS] * 3


# --- One row through a lookup and through a training set is the same row ---

INTS = [0, 1, -1, 2**53, 2**53 + 1, 2**60, 2**63 - 1, -(2**63)]
FLOATS = [0.0, -0.0, 1.0, 2.5, -3.0, 1e6, 1e6 + 1, 2.0**53, 2.0**63, 1e300, 5e-324, math.nan, math.inf, -math.inf]
TEXTS = ["", "a", "1", "true", "é", "web", "shop", "s", "l", "long", "\u200b", "nul\0"]
INSTANTS = [NOON, datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999999, UTC)]
CARRIERS: list[tuple[pa.DataType, list[Any]]] = [
    (pa.int64(), INTS),
    (pa.uint64(), [0, 1, 2**63 - 1, 2**63, 2**64 - 1]),
    (pa.float64(), FLOATS),
    (pa.float32(), [0.5, 1.0, math.nan, math.inf, 0.10000000149011612]),
    (pa.bool_(), [True, False]),
    (pa.string(), TEXTS),
    (pa.timestamp("us", "UTC"), INSTANTS),
    (pa.timestamp("us"), [NAIVE]),
    (pa.date32(), [date(2026, 1, 31)]),
]


FITTING: dict[Any, list[tuple[pa.DataType, list[Any]]]] = {
    str: [(pa.string(), TEXTS)],
    int: [(pa.int64(), INTS), (pa.uint64(), [0, 7]), (pa.float64(), [0.0, -0.0, 3.0, math.nan])],
    float: [(pa.float64(), [0.0, -0.0, 2.5, 5e-324, 1e300, math.nan, math.inf]), (pa.int64(), [0, 1, 2**53])],
    bool: [(pa.bool_(), [True, False])],
    datetime: [(pa.timestamp("us", "UTC"), INSTANTS), (pa.timestamp("us"), [NAIVE]), (pa.date32(), [NOON.date()])],
    Channel: [(pa.string(), ["web", "shop"])],
    Literal["s", "l"]: [(pa.string(), ["s", "l"])],
}


def carried(draw: st.DrawFn, rows: int, kind: Any) -> tuple[pa.DataType, list[Any]]:
    """A column that mostly fits the kind, and sometimes is any."""
    carriers = CARRIERS if draw(st.integers(0, 4)) == 0 else FITTING[kind]
    carrier, items = draw(st.sampled_from(carriers))
    return carrier, draw(st.lists(st.sampled_from([*items, None]), min_size=rows, max_size=rows))


@st.composite
def requests(draw: st.DrawFn) -> tuple[ServicePlan, pa.Table, list[dict[str, Any]]]:
    """A service, a table that asks it, and the same rows as dicts."""
    rows = draw(st.integers(1, 3))
    kind, nullable = draw(st.sampled_from(list(FITTING))), draw(st.booleans())
    rule = Field(ge=-1) if kind in (float, int) and draw(st.booleans()) else Field()
    carrier, items = carried(draw, rows, kind)
    key = draw(st.sampled_from([str, int, float, bool, datetime]))
    key_carrier, key_items = carried(draw, rows, key)
    if all(carriers.is_missing(item) for item in key_items):  # a column has a type without values too
        key_carrier = pa.null()
    annotation: Any = kind | None if nullable else kind
    model = create_model("Made", x=(annotation, rule))
    known = [None if carriers.is_missing(item) else item for item in key_items]
    table = pa.table({"who": pa.array(known, key_carrier), "x": pa.array(items, carrier)})
    return plan(key, model), table, [{"who": k, "x": x} for k, x in zip(key_items, items, strict=True)]


def outcome(call: Any, asked: ServicePlan, rows: Any) -> Any:
    """Bytes of all columns, or the class of the error and which rows it names."""
    try:
        columns = call(asked, rows)
    except FeatureStoreError as error:
        bad = error.args[1] if len(error.args) > 1 else ()
        return type(error), sorted({one.row for one in bad if isinstance(one, BadRow)})
    return {
        name: (
            one.kind,
            one.data.dtype,
            one.data.tobytes(),
            None if one.valid is None else one.valid.tobytes(),
            None if one.categories is None else one.categories.tolist(),
        )
        for name, one in columns.items()
    }


@settings(max_examples=400, deadline=None)
@given(requests())
def test_a_row_gives_the_same_values_through_a_lookup_and_through_a_training_set(
    made: tuple[ServicePlan, pa.Table, list[dict[str, Any]]],
) -> None:
    asked, table, rows = made
    assert outcome(from_rows, asked, rows) == outcome(from_table, asked, table)
