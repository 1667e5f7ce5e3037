"""Made-up rows of a schema."""

import enum
from datetime import datetime
from typing import Annotated, Literal, Self

import pytest
from pydantic import BaseModel, Field, model_validator

from featurestore.schema import schema_of
from featurestore.specimens import distinct, specimens


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Row(BaseModel):
    id: str
    at: datetime
    share: float = Field(ge=0, lt=1)
    degrees: float | None = Field(gt=-40, le=60)
    units: Annotated[int, Field(ge=3, le=4)]
    tens: int = Field(multiple_of=10, gt=100)
    flag: bool | None
    kind: Literal["online", "till"]
    colour: Colour
    code: str = Field(min_length=3, max_length=3)
    digits: str = Field(pattern=r"^\d{4}$")


def test_rows_keep_to_the_rules_of_their_schema() -> None:
    table = specimens(schema_of(Row), 200, seed=1)
    assert table.num_rows == 200
    for row in table.to_pylist():
        Row.model_validate(row)


def test_rows_reach_bounds_repeat_and_have_nulls() -> None:
    rows = specimens(schema_of(Row), 200, seed=1).to_pylist()
    assert {row["units"] for row in rows} == {3, 4}
    assert {row["share"] for row in rows} >= {0.0}
    assert {row["degrees"] for row in rows} >= {60.0, None}
    assert {row["colour"] for row in rows} == {"red", "blue"}
    assert {row["flag"] for row in rows} == {True, False, None}
    assert len({row["kind"] for row in rows}) == 2


def test_the_same_seed_gives_the_same_rows() -> None:
    first, again, other = (specimens(schema_of(Row), 20, seed=seed) for seed in (1, 1, 2))
    assert first.equals(again)
    assert not first.equals(other)


class Ordered(BaseModel):
    low: int
    high: int

    @model_validator(mode="after")
    def ascend(self) -> Self:
        if self.low > self.high:
            raise ValueError("low above high")
        return self


class Narrow(BaseModel):
    iban: str = Field(pattern=r"^[A-Z]{2}\d{2}-[A-Z]{4}$")


def test_rows_that_the_models_own_validators_refuse_are_left_out() -> None:
    table = specimens(schema_of(Ordered), 50, seed=1)
    assert table.num_rows == 50
    assert all(row["low"] <= row["high"] for row in table.to_pylist())


def test_what_cannot_be_guessed_gives_no_rows() -> None:
    assert specimens(schema_of(Narrow), 10, seed=1).num_rows == 0


@pytest.mark.parametrize("name", ["id", "at", "code", "tens", "share"])
def test_keys_are_different_or_none(name: str) -> None:
    keys = distinct(schema_of(Row), name, 30)
    assert keys is None or len(set(keys)) == 30
    assert (keys is None) == (name in ("code", "tens", "share"))
