from datetime import UTC, datetime
from enum import Enum, IntEnum, StrEnum
from typing import Annotated, Any, Literal, Optional

import pyarrow as pa
import pytest
from pydantic import BaseModel, Field

from featurestore.errors import DefinitionError
from featurestore.schema import kind_of, schema_of

START = datetime(2024, 1, 1, tzinfo=UTC)


class Colour(Enum):
    RED = "red"


class Size(IntEnum):
    SMALL = 1


class Word(StrEnum):
    YES = "yes"


class Mixed(Enum):
    ONE = 1
    TWO = "two"


class Sale(BaseModel):
    id: str
    at: datetime
    price: float = Field(ge=0)
    pieces: int | None = None
    colour: Colour = Colour.RED
    first: bool = False


@pytest.mark.parametrize(
    ("annotation", "found"),
    [
        *(
            (bool, ("bool", False)),
            (int, ("int", False)),
            (float | None, ("float", True)),
            (datetime, ("datetime", False)),
        ),
        (Optional[str], ("str", True)),  # noqa: UP045 - what older code has
        *((Literal["a", "b"], ("str", False)), (Literal[1, 2] | None, ("int", True)), (Literal[1, "a"], None)),
        *((Colour, ("str", False)), (Size, ("int", False)), (Word | None, ("str", True)), (Mixed, None)),
        (Annotated[int, Field(ge=0)] | None, ("int", True)),
        *((list[int], None), (int | str, None), (dict, None), (None, None), (Any, None)),
    ],
)
def test_the_types_of_columns_are_a_closed_set(annotation: Any, found: object) -> None:
    assert kind_of(annotation) == found


def test_a_model_says_what_its_columns_are() -> None:
    fields = schema_of(Sale).fields
    assert [(one.name, one.kind, one.nullable, one.required, one.default) for one in fields] == [
        ("id", "str", False, True, None),
        ("at", "datetime", False, True, None),
        ("price", "float", False, True, None),
        ("pieces", "int", True, False, None),
        ("colour", "str", False, False, "red"),
        ("first", "bool", False, False, False),
    ]


def test_a_float_carries_a_mask_though_null_is_not_allowed() -> None:
    assert [one.name for one in schema_of(Sale).fields if one.masked] == ["price", "pieces"]


def test_a_column_is_found_by_name() -> None:
    schema = schema_of(Sale)
    assert (schema["price"].kind, "price" in schema, "prize" in schema) == ("float", True, False)
    with pytest.raises(KeyError, match="prize"):
        schema["prize"]


def test_the_columns_have_arrow_types() -> None:
    assert schema_of(Sale).arrow().field("at").type == pa.timestamp("us", tz="UTC")
    assert schema_of(Sale).arrow().names == list(schema_of(Sale).names)


def test_a_type_that_is_no_column_type_is_named_with_its_field() -> None:
    class Wrong(BaseModel):
        tags: list[str]

    with pytest.raises(DefinitionError, match=r"Wrong\.tags has type list\[str\], which is no column type"):
        schema_of(Wrong)


def test_a_schema_is_a_pydantic_model() -> None:
    with pytest.raises(DefinitionError, match="is not a pydantic model"):
        schema_of(dict)  # type: ignore[arg-type]
