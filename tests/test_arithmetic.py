from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any

import numpy as np
import pytest

from featurestore.arithmetic import aligned, arithmetic, common_kind, constant, mathematics, operands
from featurestore.errors import ColumnError
from featurestore.values import Values, from_list

MOMENT = datetime(2024, 2, 29, tzinfo=UTC)


class Level(Enum):
    HIGH = 3


@pytest.mark.parametrize(
    ("value", "kind", "item"),
    [
        *((True, "bool", True), (7, "int", 7), (0.5, "float", 0.5), ("a", "str", "a"), (MOMENT, "datetime", MOMENT)),
        *((np.float32(0.5), "float", 0.5), (np.int8(7), "int", 7), (np.datetime64("2024-02-29"), "datetime", MOMENT)),
        *((Level.HIGH, "int", 3), (-0.0, "float", 0.0), (float("nan"), "float", None), (float("inf"), "float", None)),
        (None, "float", None),
    ],
)
def test_a_constant_is_one_value_many_times(value: Any, kind: str, item: object) -> None:
    made = constant(value, 2)
    assert (made.kind, made.to_list()) == (kind, [item, item])


@pytest.mark.parametrize(("value", "message"), [(2**63, "does not fit int64"), ([1], "is no bool"), (1j, "is no bool")])
def test_what_is_no_constant_is_refused(value: object, message: str) -> None:
    with pytest.raises(ColumnError, match=message):
        constant(value, 1)


def test_operands_have_the_length_of_the_values_among_them() -> None:
    assert [len(one) for one in operands(2, from_list("int", [1, 2, 3]))] == [3, 3]
    with pytest.raises(ColumnError, match="An array cannot be combined"):
        operands(from_list("int", [1]), np.ones(1))


def test_numbers_meet_in_the_wider_kind() -> None:
    assert [common_kind("bool", "int"), common_kind("int", "float"), common_kind("str", "str")] == [
        "int",
        "float",
        "str",
    ]
    with pytest.raises(ColumnError, match="datetime and int do not go together"):
        common_kind("datetime", "int")


def test_text_meets_in_one_set_of_categories() -> None:
    one, other = aligned(from_list("str", ["b", "a"]), from_list("str", ["c", "b"]), "str")
    assert one.categories is other.categories
    assert (one.to_list(), other.to_list()) == (["b", "a"], ["c", "b"])


def test_an_integer_result_may_be_null_whatever_the_rows() -> None:
    whole = Values("int", np.array([1, 2]))
    assert [arithmetic(sign, whole, 1).valid is None for sign in ("+", "-", "*", "//", "%", "**", "/")] == [False] * 7


def test_numpy_s_functions_take_any_number() -> None:
    assert mathematics(np.hypot)(from_list("int", [3, None]), 4).to_list() == [5.0, None]
    with pytest.raises(ColumnError, match=r"np\.sqrt works on numbers; here is str"):
        mathematics(np.sqrt)(from_list("str", ["a"]))


@pytest.mark.parametrize(("sign", "left", "right"), [("*", MOMENT, 2), ("+", MOMENT, 2), ("-", 2, MOMENT)])
def test_instants_are_subtracted_alone(sign: str, left: object, right: object) -> None:
    given = [from_list("datetime", [one]) if one == MOMENT else one for one in (left, right)]
    with pytest.raises(ColumnError, match="between datetimes: subtract two for seconds"):
        arithmetic(sign, *given)


def test_durations_of_numpy_move_instants_too() -> None:
    moved = arithmetic("+", np.timedelta64(1, "D"), from_list("datetime", [MOMENT]))
    assert moved.to_list() == [MOMENT + timedelta(days=1)]
