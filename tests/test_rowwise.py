"""Rows as dicts: what is missing, what is refused, and the short way that a lookup takes."""

import enum
import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import BaseModel, Field, field_validator

from featurestore.carriers import is_missing
from featurestore.errors import InvalidRows
from featurestore.rowwise import values_of
from featurestore.schema import schema_of
from featurestore.validation import check_rows
from featurestore.values import from_arrow

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Row(BaseModel):
    amount: float = Field(ge=0)
    items: int | None = None
    note: str | None = None
    at: datetime | None = None
    color: Color = Color.RED


def refused(row: dict[str, Any]) -> list[tuple[str, str]]:
    with pytest.raises(InvalidRows) as caught:
        check_rows(row, schema_of(Row))
    return [(one.column, one.rule) for one in caught.value.args[1]]


@pytest.mark.parametrize("value", [None, math.nan, np.float32("nan"), pd.NA, pd.NaT, np.datetime64("NaT")])
def test_every_librarys_missing_value_is_missing(value: Any) -> None:
    assert is_missing(value)


@pytest.mark.parametrize("value", [0, 0.0, "", False, NOON, np.datetime64("2026-01-31")])
def test_what_is_merely_empty_is_not_missing(value: Any) -> None:
    assert not is_missing(value)


@pytest.mark.parametrize("missing", [math.nan, np.float32("nan"), pd.NA, pd.NaT])
def test_missing_values_are_null_in_dicts(missing: Any) -> None:
    table = check_rows({"amount": 1.0, "items": missing, "note": missing, "at": missing}, schema_of(Row))
    assert table.to_pylist() == [{"amount": 1.0, "items": None, "note": None, "at": None, "color": "red"}]


@pytest.mark.parametrize(
    "instant",
    [
        np.datetime64("2026-01-31T12:00:00"),
        np.datetime64("2026-01-31T12:00:00.000000001"),
        pd.Timestamp("2026-01-31T14:00+02:00"),
        "2026-01-31T12:00:00Z",
    ],
)
def test_instants_of_every_library_are_utc(instant: Any) -> None:
    assert check_rows({"amount": 1.0, "at": instant}, schema_of(Row))["at"].to_pylist() == [NOON]


@pytest.mark.parametrize("number", [2**53 + 1, -(2**53) - 1, 10**400])
def test_an_integer_that_a_double_would_round_is_no_float(number: int) -> None:
    assert ("amount", "float") in refused({"amount": number})


def test_a_large_integer_that_a_double_holds_is_a_float() -> None:
    assert check_rows({"amount": 2**60}, schema_of(Row))["amount"].to_pylist() == [2.0**60]


@pytest.mark.parametrize(
    "instant",
    [
        datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=2))),
        datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-2))),
    ],
)
def test_an_instant_outside_the_calendar_in_utc_is_refused(instant: datetime) -> None:
    assert refused({"amount": 1.0, "at": instant}) == [("at", "datetime")]


ROWS: list[dict[str, Any]] = [
    {"amount": 1.5, "items": 2, "note": "a", "at": NOON, "color": "blue"},
    {"amount": 1, "items": 2.0, "note": None, "at": "2026-01-31T12:00:00Z"},
    {"amount": -0.0, "note": "\u200b", "at": datetime(2026, 1, 31), "color": Color.BLUE},  # noqa: DTZ001 naive is UTC
]


@pytest.mark.parametrize("rows", [[], ROWS, *([row] for row in ROWS)])
def test_the_short_way_gives_the_values_of_the_table(rows: list[dict[str, Any]]) -> None:
    columns, table = values_of(rows, schema_of(Row)), check_rows(rows, schema_of(Row))
    assert columns is not None
    for field in schema_of(Row).fields:
        wide = from_arrow(table[field.name], field.kind, nullable=field.nullable)
        assert columns[field.name].data.tobytes() == wide.data.tobytes()
        assert columns[field.name].to_list() == wide.to_list()
        assert (columns[field.name].valid is None) == (wide.valid is None)


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"amount": "1"},
        {"amount": True},
        {"amount": -1.0},
        {"amount": math.inf},
        {"amount": math.nan},
        {"amount": 2**53 + 1},
        {"amount": 1.0, "items": 2**63},
        {"amount": 1.0, "at": datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=2)))},
    ],
)
def test_the_short_way_leaves_a_bad_row_to_the_closer_look(row: dict[str, Any]) -> None:
    assert values_of([row], schema_of(Row)) is None
    assert refused(row)


def test_the_short_way_passes_over_names_that_are_no_fields() -> None:
    columns = values_of([{"amount": 1.0, "who": "a"}], schema_of(Row))
    assert columns is not None
    assert list(columns) == ["amount", "items", "note", "at", "color"]


def test_a_validators_value_is_taken_unless_it_is_of_another_kind() -> None:
    class Odd(BaseModel):
        amount: float

        @field_validator("amount")
        @classmethod
        def odd(cls, value: float) -> Any:
            return value * 2 if value < 10 else math.inf

    doubled = values_of([{"amount": 2.0}], schema_of(Odd))
    assert doubled is not None
    assert doubled["amount"].to_list() == [4.0]
    assert values_of([{"amount": 11.0}], schema_of(Odd)) is None
