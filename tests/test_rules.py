"""Which models are checked by columns, and which names they may have."""

import pytest
from pydantic import AliasGenerator, BaseModel, ConfigDict, Field, field_validator

from featurestore.errors import DefinitionError
from featurestore.rules import plan_of


def test_a_model_of_plain_constraints_is_checked_by_columns() -> None:
    class Plain(BaseModel):
        amount: float = Field(ge=0)
        code: str | None = Field(None, pattern="^a")

    plan = plan_of(Plain)
    assert plan.plain
    assert {name: [rule.name for rule in rules] for name, rules in plan.rules.items()} == {
        "amount": ["ge=0"],
        "code": ["pattern='^a'"],
    }
    assert plan.kinds == {"amount": "float", "code": "str"}


def test_a_model_with_a_validator_is_left_to_pydantic() -> None:
    class Checked(BaseModel):
        amount: float

        @field_validator("amount")
        @classmethod
        def same(cls, value: float) -> float:
            return value

    assert not plan_of(Checked).plain


def test_a_field_with_an_alias_is_refused_by_name() -> None:
    class Aliased(BaseModel):
        amount: float = Field(alias="amt")

    class Validated(BaseModel):
        amount: float = Field(validation_alias="amt")

    for model in (Aliased, Validated):
        with pytest.raises(DefinitionError, match=rf"{model.__name__}\.amount has the alias 'amt'.* drop the alias"):
            plan_of(model)


def test_a_generated_alias_is_refused_too() -> None:
    class Generated(BaseModel):
        model_config = ConfigDict(alias_generator=AliasGenerator(validation_alias=str.upper))
        amount: float

    with pytest.raises(DefinitionError, match=r"Generated\.amount has the alias 'AMOUNT'"):
        plan_of(Generated)


def test_a_name_for_output_alone_changes_nothing() -> None:
    class Shown(BaseModel):
        amount: float = Field(serialization_alias="Amount")

    assert plan_of(Shown).kinds == {"amount": "float"}
