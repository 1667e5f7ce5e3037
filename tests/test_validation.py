"""Rules over columns: what passes, what is named, and that pydantic would decide the same."""

import enum
import math
import pickle
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator, model_validator

from featurestore import rules
from featurestore.errors import DefinitionError, InvalidRows, SourceUnreadable
from featurestore.schema import schema_of
from featurestore.validation import BadRow, Checked, by_rules, check, check_rows, invalid_rows
from featurestore.values import CODES, FEW

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Payment(BaseModel):
    payment_id: str = Field(pattern=r"^p\d+$")
    event_time: datetime
    amount: float = Field(ge=0)
    items: int | None = None
    online: bool = False


class Ruled(BaseModel):
    text: Annotated[str, StringConstraints(pattern=r"^[a-c]+\d?$", max_length=3)] | None
    share: float | None = Field(gt=-1, le=2, multiple_of=0.25)
    count: int = Field(ge=-2, lt=5, multiple_of=2)
    kind: Literal["x", "y"]
    color: Color | None


class Doubled(BaseModel):
    amount: float = Field(ge=0, le=10)
    code: str = "none"

    @field_validator("amount")
    @classmethod
    def double(cls, value: float) -> float:
        if value == 3:
            raise ValueError("three is out")
        return value * 2


def payments(**columns: Any) -> pa.Table:
    count = len(next(iter(columns.values())))
    rest = {"payment_id": ["p1"] * count, "event_time": [NOON] * count, "amount": [1.0] * count}
    return pa.table(rest | columns)


def checked(table: pa.Table, **options: Any) -> Checked:
    return check(table, schema_of(Payment), origin="a.parquet", **options)


def column(kind: Any, values: pa.Array, *, from_text: bool = False) -> tuple[list[Any], list[tuple[int, Any]]]:
    """What a nullable column of one kind makes of an array: valid values, and (row, value) of bad ones."""
    model = type("One", (BaseModel,), {"__annotations__": {"x": kind | None}})
    got = check(pa.table({"x": values}), schema_of(model), origin="t", from_text=from_text)
    return got.table["x"].to_pylist(), [(one.row, one.value) for one in got.bad]


def test_valid_rows_come_out_typed_in_schema_order_with_defaults_and_without_other_columns() -> None:
    got = checked(payments(other=[1], amount=pa.array([2], pa.int32())))
    assert got.bad == []
    assert got.rows.tolist() == [1]
    assert got.table.schema == schema_of(Payment).arrow()
    row = {"payment_id": "p1", "event_time": NOON, "amount": 2.0, "items": None, "online": False}
    assert got.table.to_pylist() == [row]


def test_bad_rows_name_file_row_column_rule_and_value_and_the_others_stay() -> None:
    got = checked(payments(payment_id=["p1", "q2", "p3"], amount=[-3.0, 1.0, 2.0]))
    assert got.bad == [
        BadRow("a.parquet", 1, "amount", "ge=0", -3.0),
        BadRow("a.parquet", 2, "payment_id", r"pattern='^p\\d+$'", "q2"),
    ]
    assert got.rows.tolist() == [3]
    assert got.table["payment_id"].to_pylist() == ["p3"]


def test_null_in_a_column_that_has_none_is_bad_and_nan_is_null() -> None:
    got = checked(payments(payment_id=[None, "p2", "p3"], amount=[1.0, None, math.nan]))
    assert [(one.row, one.column, one.rule) for one in got.bad] == [
        (1, "payment_id", "not null"),
        (2, "amount", "not null"),
        (3, "amount", "not null"),
    ]
    assert str(got.bad[2]) == "a.parquet row 3: amount = nan is against 'not null'"


def test_codes_of_which_one_stands_for_null_are_null_there() -> None:
    texts = pa.DictionaryArray.from_arrays(pa.array([0, 1, None], pa.int32()), pa.array(["p1", None]))
    got = checked(payments(payment_id=texts), codes=["payment_id"])
    assert [(one.row, one.column, one.rule) for one in got.bad] == [(row, "payment_id", "not null") for row in (2, 3)]


def test_a_checked_table_passes_a_second_check() -> None:
    once = checked(payments(amount=[2.0, 1.0], items=[None, 2]))
    assert checked(once.table).bad == []


def test_infinity_is_refused_and_minus_zero_is_zero() -> None:
    got = checked(payments(amount=[math.inf, -0.0]))
    assert [(one.row, one.rule) for one in got.bad] == [(1, "finite")]
    assert math.copysign(1, got.table["amount"][0].as_py()) == 1


def test_missing_required_column_says_what_is_there() -> None:
    table = pa.table({"payment_id": ["p1"], "event_time": [NOON], "amont": [1.0]})
    with pytest.raises(SourceUnreadable, match=r"no column 'amount', which Payment requires\. Did you mean 'amont'\?"):
        checked(table)


def test_a_column_that_is_there_twice_is_refused() -> None:
    table = pa.table([["p1"], ["p2"]], ["payment_id", "payment_id"])
    with pytest.raises(SourceUnreadable, match="several columns named 'payment_id'"):
        checked(table)


@pytest.mark.parametrize(
    ("kind", "values", "good", "bad"),
    [
        (int, pa.array([1.0, 1.5, math.nan, 2.0**53 + 2]), [1, None, 2**53 + 2], [(2, 1.5)]),
        (int, pa.array([1, 2**63], pa.uint64()), [1], [(2, 2**63)]),
        (int, pa.array([Decimal("7.0"), Decimal("7.5")]), [7], [(2, Decimal("7.5"))]),
        (int, pa.array([True]), [], [(1, True)]),
        (int, pa.array(["1"]), [], [(1, "1")]),
        (float, pa.array([2**53, 2**53 + 1, 2**60, -(2**63)]), [2.0**53, 2.0**60, -(2.0**63)], [(2, 2**53 + 1)]),
        (float, pa.array([0.1], pa.float32()), [0.10000000149011612], []),
        (float, pa.array([Decimal("0.1"), None]), [0.1, None], []),
        (bool, pa.array([0, 1, 2]), [False, True], [(3, 2)]),
        (str, pa.array(["a", None]).dictionary_encode(), ["a", None], []),
        (str, pa.array([5]), [], [(1, 5)]),
        (datetime, pa.array([date(2026, 1, 31)]), [datetime(2026, 1, 31, tzinfo=UTC)], []),
        (datetime, pa.array([-1], pa.timestamp("ns")), [datetime(1969, 12, 31, 23, 59, 59, 999999, UTC)], []),
        (datetime, pa.array([2**62], pa.timestamp("s")), [], [(1, 2**62)]),
        (datetime, pa.array([7]), [], [(1, 7)]),
        (datetime, pa.nulls(1), [None], []),
    ],
)
def test_columns_of_another_type_are_cast_only_without_loss(
    kind: Any, values: pa.Array, good: list[Any], bad: list[Any]
) -> None:
    assert column(kind, values) == (good, bad)


@pytest.mark.parametrize(
    ("kind", "texts", "good", "bad"),
    [
        (int, ["12", " +3 ", "4.0", "1_0", "4.5", str(2**63)], [12, 3, 4], [(4, "1_0"), (5, "4.5"), (6, str(2**63))]),
        (float, ["+1.5", ".5", "1e3", "nan", "1,5", "one"], [1.5, 0.5, 1000.0, None], [(5, "1,5"), (6, "one")]),
        (bool, ["true", "F", "1", "maybe"], [True, False, True], [(4, "maybe")]),
        (str, ["007", None], ["007", None], []),
        (datetime, ["2026-02-30"], [], [(1, "2026-02-30")]),
        (datetime, ["20260131", "1769860800"], [], [(1, "20260131"), (2, "1769860800")]),
    ],
)
def test_text_of_a_csv_file_is_parsed(kind: Any, texts: list[Any], good: list[Any], bad: list[Any]) -> None:
    assert column(kind, pa.array(texts), from_text=True) == (good, bad)


def test_instants_in_text_are_utc_unless_they_say_otherwise() -> None:
    texts = [
        "2026-01-31",
        "2026-01-31T12:00",
        "2026-01-31 12:00:00.1234567",
        "2026-01-31T12:00:00Z",
        "2026-01-31T14:00+02",
    ]
    midnight, tick = datetime(2026, 1, 31, tzinfo=UTC), timedelta(microseconds=123456)
    assert column(datetime, pa.array(texts), from_text=True) == ([midnight, NOON, NOON + tick, NOON, NOON], [])


def test_one_impossible_text_does_not_spoil_its_neighbours() -> None:
    texts = ["2026-01-31T12:00:00.123456789Z", "2026-02-30", "2026-01-31t12:00:00+00:00"]
    tick = timedelta(microseconds=123456)
    assert column(datetime, pa.array(texts), from_text=True) == ([NOON + tick, NOON], [(2, "2026-02-30")])


def test_naive_timestamps_are_utc_and_aware_ones_are_converted() -> None:
    naive = pa.array([datetime(2026, 1, 31, 12)], pa.timestamp("ms"))  # noqa: DTZ001 the point
    aware = pa.array([datetime(2026, 1, 31, 14, tzinfo=timezone(timedelta(hours=2)))], pa.timestamp("us", "+02:00"))
    assert column(datetime, naive) == column(datetime, aware) == ([NOON], [])


def test_literals_and_enums_allow_their_members_and_store_their_values() -> None:
    table = pa.table(
        {
            "text": ["a"] * 3,
            "share": [0.25] * 3,
            "count": [2] * 3,
            "kind": ["x", "z", "y"],
            "color": ["red", "blue", "RED"],
        }
    )
    got = check(table, schema_of(Ruled), origin="t")
    assert got.table.select(["kind", "color"]).to_pylist() == [{"kind": "x", "color": "red"}]
    assert [(one.row, one.rule) for one in got.bad] == [(2, "one of 'x', 'y'"), (3, "one of 'red', 'blue'")]


TEXTS = st.text(alphabet="abcd1\n\u0661K\u212a", max_size=4)
SHARES = st.sampled_from([-1.0, -0.75, 0.0, 0.25, 0.3, 1e-12, 2.0, 2.25]) | st.floats(-3, 3)
RULED = st.fixed_dictionaries(
    {
        "text": TEXTS | st.none(),
        "share": SHARES | st.none(),
        "count": st.integers(-4, 6) | st.none(),
        "kind": st.sampled_from(["x", "y", "z", ""]) | st.none(),
        "color": st.sampled_from(["red", "blue", "green"]) | st.none(),
    }
)


@settings(max_examples=200, deadline=None)
@given(st.lists(RULED, min_size=1, max_size=8))
def test_rules_over_columns_accept_the_rows_that_pydantic_accepts(rows: list[dict[str, Any]]) -> None:
    assert rules.plan_of(Ruled).plain  # else pydantic would be compared with itself
    expected = [number for number, row in enumerate(rows, 1) if accepted(Ruled, row)]
    kinds = schema_of(Ruled).arrow()
    table = pa.table({name: pa.array([row[name] for row in rows], kinds.field(name).type) for name in kinds.names})
    got = check(table, schema_of(Ruled), origin="t")
    coded = table.set_column(0, "text", table["text"].dictionary_encode())
    again = check(coded, schema_of(Ruled), origin="t", codes=["text"])
    assert again.table["text"].type == CODES
    assert (again.bad, again.table.to_pylist()) == (got.bad, got.table.to_pylist())
    assert got.rows.tolist() == expected
    assert sorted({one.row for one in got.bad}) == [n for n in range(1, len(rows) + 1) if n not in expected]


class Plain(BaseModel):
    at: datetime
    text: Literal["a", "ä"] | None = None
    share: float = Field(ge=-1)
    ratio: float | None = None
    count: int = Field(default=2, multiple_of=2)
    sure: bool = False
    color: Color | None = Color.RED


PLAIN = st.fixed_dictionaries(
    {"at": st.sampled_from([NOON, NOON.replace(tzinfo=None), "2026-01-31", np.datetime64("2026-01-31"), None])},
    optional={
        "text": st.sampled_from(["a", "ä", "b", None, 1]),
        "share": st.sampled_from([1.5, -0.0, -2, 1, True, math.nan, math.inf, 2**53 + 1, Decimal("0.5"), None]),
        "ratio": st.sampled_from([1.5, 1, -0.0, math.nan, np.float32(0.5), None]),
        "count": st.sampled_from([2, 2.0, 3, 2**63, True, None, "2"]),
        "sure": st.sampled_from([True, 0, 2, None, "yes"]),
        "color": st.sampled_from([Color.BLUE, "blue", "green", None]),
        "other": st.just(1),
    },
)


@settings(max_examples=300, deadline=None)
@given(st.lists(PLAIN, min_size=1, max_size=3))
def test_rules_over_columns_of_dicts_give_the_table_that_pydantic_gives(rows: list[dict[str, Any]]) -> None:
    assert rules.plan_of(Plain).plain
    table = by_rules(rows, schema_of(Plain))
    if table is not None:
        assert check_rows(rows, schema_of(Plain)).equals(table)
        return
    with pytest.raises(InvalidRows):
        check_rows(rows, schema_of(Plain))


def test_many_dicts_are_checked_like_few() -> None:
    rows: list[dict[str, Any]] = [{"at": NOON, "share": number} for number in range(FEW + 1)]
    assert check_rows(rows, schema_of(Plain))["share"].to_pylist() == list(range(FEW + 1))
    rows[7]["share"] = -2
    with pytest.raises(InvalidRows) as caught:
        check_rows(rows, schema_of(Plain))
    assert [(one.row, one.column, one.value) for one in caught.value.args[1]] == [(8, "share", -2)]


def accepted(model: type[BaseModel], row: dict[str, Any]) -> bool:
    try:
        model.model_validate(row)
    except ValidationError:
        return False
    return True


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([r"\d", r"\w+$", r"^\s", r"(?i)k", r"^.b", r"[^a]$", r"[a-c&&b]", r"^$"]),
    st.lists(TEXTS, min_size=1),
)
def test_patterns_match_what_pydantic_matches(pattern: str, texts: list[str]) -> None:
    model = type("One", (BaseModel,), {"__annotations__": {"x": Annotated[str, Field(pattern=pattern)]}})
    got = check(pa.table({"x": texts}), schema_of(model), origin="t")
    assert got.table["x"].to_pylist() == [text for text in texts if accepted(model, {"x": text})]


def test_a_validator_runs_and_its_values_are_taken() -> None:
    table = pa.table({"amount": [1.0, 3.0, 11.0, None, 4.0], "code": ["a", "b", "c", "d", "e"]})
    got = check(table, schema_of(Doubled), origin="t")
    assert got.table.to_pylist() == [{"amount": 2.0, "code": "a"}, {"amount": 8.0, "code": "e"}]
    assert [(one.row, one.rule) for one in got.bad] == [(2, "three is out"), (3, "le=10.0"), (4, "not null")]
    assert got.rows.tolist() == [1, 5]


def test_a_validator_sees_nan_as_null() -> None:
    class Seen(BaseModel):
        amount: float | None = Field(ge=0)

        @field_validator("amount")
        @classmethod
        def no_nan(cls, value: float | None) -> float | None:
            return -1.0 if value is None else value

    rows = pa.table({"amount": [math.nan, 2.0]})
    for table in (check(rows, schema_of(Seen), origin="t").table, check_rows(rows.to_pylist(), schema_of(Seen))):
        assert table["amount"].to_pylist() == [-1.0, 2.0]


def test_a_validator_cannot_put_nan_where_null_may_not_be() -> None:
    class Lost(BaseModel):
        amount: float

        @field_validator("amount")
        @classmethod
        def lose(cls, value: float) -> float:
            return math.nan if value == 3 else value

    assert [str(one) for one in check(pa.table({"amount": [1.0, 3.0]}), schema_of(Lost), origin="t").bad] == [
        "t row 2: amount = nan is against 'not null'"
    ]
    with pytest.raises(InvalidRows, match="rows row 1: amount = nan is against 'not null'"):
        check_rows({"amount": 3.0}, schema_of(Lost))


def test_a_validator_before_the_type_sees_the_raw_value() -> None:
    class Cents(BaseModel):
        amount: float

        @field_validator("amount", mode="before")
        @classmethod
        def parse(cls, value: str) -> float:
            return float(value.replace(",", "."))

    got = check(pa.table({"amount": ["1,5"]}), schema_of(Cents), origin="t")
    assert got.table.to_pylist() == [{"amount": 1.5}]


def test_a_rule_over_the_whole_row_names_no_column() -> None:
    class Span(BaseModel):
        low: int
        high: int

        @model_validator(mode="after")
        def ordered(self) -> "Span":
            if self.low > self.high:
                raise ValueError("low lies above high")
            return self

    got = check(pa.table({"low": [1, 5], "high": [2, 2]}), schema_of(Span), origin="t")
    assert str(got.bad[0]) == "t row 2: low lies above high"


def test_a_validator_that_fails_by_itself_is_its_authors_error() -> None:
    class Broken(BaseModel):
        code: str

        @field_validator("code")
        @classmethod
        def shout(cls, value: str) -> str:
            return value.no_such_method()  # type: ignore[attr-defined, no-any-return]

    with pytest.raises(DefinitionError, match="A validator of Broken fails: AttributeError"):
        check(pa.table({"code": ["a"]}), schema_of(Broken), origin="t")


def test_a_strict_model_takes_only_its_own_types_but_a_csv_file_has_only_text() -> None:
    class Strictly(BaseModel):
        model_config = ConfigDict(strict=True)
        count: int

    assert check(pa.table({"count": [1.0]}), schema_of(Strictly), origin="t").bad[0].rule == "strict int"
    assert check(pa.table({"count": ["1"]}), schema_of(Strictly), origin="t", from_text=True).bad == []


def test_a_model_that_changes_text_is_left_to_pydantic() -> None:
    class Trimmed(BaseModel):
        model_config = ConfigDict(str_strip_whitespace=True)
        code: str = Field(min_length=1)

    got = check(pa.table({"code": [" a ", " "]}), schema_of(Trimmed), origin="t")
    assert got.table.to_pylist() == [{"code": "a"}]
    assert [(one.row, one.rule) for one in got.bad] == [(2, "min_length=1")]


def test_one_dict_a_list_instances_and_frames_give_the_same_table() -> None:
    row: dict[str, Any] = {"payment_id": "p1", "event_time": NOON, "amount": 1.0, "items": 2, "online": True}
    frames = [row, [row], [Payment(**row)], pd.DataFrame([row]), pl.DataFrame([row]), pa.Table.from_pylist([row])]
    tables = [check_rows(rows, schema_of(Payment)) for rows in frames]
    assert all(table.equals(tables[0]) for table in tables)
    assert tables[0].to_pylist() == [row]


def test_all_bad_dicts_are_reported_together_and_none_is_accepted() -> None:
    row: dict[str, Any] = {"payment_id": "p1", "event_time": "2026-01-31T12:00:00Z", "amount": 1}
    rows = [row, row | {"amount": "1"}, row | {"amount": True}, row | {"amout": 2}, row | {"items": 2**63}, {}]
    with pytest.raises(InvalidRows, match=r"5 rows are against the schema of 'Payment'") as caught:
        check_rows(rows, schema_of(Payment))
    found = [(one.row, one.column, one.rule) for one in caught.value.args[1]]
    assert found[:2] == [(2, "amount", "float"), (3, "amount", "float")]
    assert found[2] == (4, "amout", "no such field. Did you mean 'amount'?")
    assert found[3] == (5, "items", "int")
    assert found[4:] == [(6, name, "required") for name in ("payment_id", "event_time", "amount")]


def test_missing_values_of_frames_are_null_in_dicts_too() -> None:
    row = {"payment_id": "p1", "event_time": pd.Timestamp(NOON), "amount": 1.0, "items": math.nan}
    assert check_rows(row, schema_of(Payment))["items"].to_pylist() == [None]
    with pytest.raises(InvalidRows, match=r"rows row 1: amount = .*nan.* is against 'not null'"):
        check_rows(row | {"amount": np.float64("nan")}, schema_of(Payment))


def test_nat_is_no_instant() -> None:
    with pytest.raises(InvalidRows, match="event_time = NaT is against 'not null'"):
        check_rows({"payment_id": "p1", "event_time": pd.NaT, "amount": 1.0}, schema_of(Payment))


def test_no_rows_make_an_empty_table_of_the_schema() -> None:
    assert check_rows([], schema_of(Payment)).equals(schema_of(Payment).arrow().empty_table())


@pytest.mark.parametrize("rows", ["p1", 5, None])
def test_what_is_no_rows_is_said_to_be_none(rows: Any) -> None:
    with pytest.raises(SourceUnreadable, match="is no rows: give a dict"):
        check_rows(rows, schema_of(Payment))


def test_a_frame_is_not_changed_and_its_index_is_left_out() -> None:
    frame = pd.DataFrame(
        {"payment_id": ["p1", None], "event_time": [NOON, NOON], "amount": [1.0, math.nan]}, index=[7, 7]
    )
    before = frame.copy(deep=True)
    with pytest.raises(InvalidRows, match="rows row 2: payment_id = None"):
        check_rows(frame, schema_of(Payment))
    pd.testing.assert_frame_equal(frame, before)


def test_a_frame_column_that_mixes_types_is_named() -> None:
    frame = pd.DataFrame({"payment_id": ["p1", "p2"], "event_time": [NOON, NOON], "amount": [1.0, "x"]}, dtype=object)
    with pytest.raises(SourceUnreadable, match="column 'amount' has no one type"):
        check_rows(frame, schema_of(Payment))


def test_the_error_shows_five_rows_holds_all_and_survives_a_pickle() -> None:
    bad = [BadRow("a.csv", row, "amount", "ge=0", -row) for row in range(1, 8)]
    error = pickle.loads(pickle.dumps(invalid_rows(bad, "payments")))  # noqa: S301 our own bytes
    assert "7 rows are against the schema of 'payments'" in str(error)
    assert "a.csv row 5: amount = -5 is against 'ge=0'\n  … and 2 more" in str(error)
    assert "on_invalid='quarantine'" in str(error)
    assert error.args[1] == tuple(bad)
