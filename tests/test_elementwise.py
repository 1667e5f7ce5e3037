import numpy as np
import pytest

from featurestore.elementwise import UFUNCS, both, calendar, compare, either, is_null, text, where
from featurestore.errors import ColumnError
from featurestore.values import Values, from_list

PLAIN = Values("int", np.array([1, 2]))
HOLED = from_list("int", [None, 2])


def test_no_mask_is_made_where_no_operand_has_one() -> None:
    yes = compare(np.greater, PLAIN, 1)
    assert [one.valid for one in (yes, both(yes, yes), either(yes, True), where(yes, 1, 0), is_null(HOLED))] == [
        None
    ] * 5


def test_a_mask_is_made_where_one_has_one_though_nothing_is_null() -> None:
    full = from_list("int", [1, 2])
    assert all(
        one.valid is not None for one in (compare(np.greater, full, 1), where(compare(np.less, PLAIN, 2), full, 0))
    )


def test_zero_lies_under_each_null() -> None:
    texts = from_list("str", [None, "b"])
    moments = from_list("datetime", [None, 1])
    made = [compare(np.not_equal, HOLED, 2), text(texts, "length", lambda one: len(one) + 1), calendar(moments, "year")]
    assert [one.data[0] for one in made] == [0, 0, 0]


def test_a_null_takes_the_kind_of_the_other_choice() -> None:
    chosen = where(compare(np.equal, PLAIN, 1), None, from_list("str", ["a", "b"]))
    assert (chosen.kind, chosen.to_list()) == ("str", [None, "b"])


def test_text_without_categories_is_all_null() -> None:
    nothing = Values("str", np.zeros(2, np.int32), np.zeros(2, np.bool_))
    assert compare(np.equal, nothing, "a").to_list() == [None, None]
    assert text(nothing, "lower", str.lower).to_list() == [None, None]


def test_a_condition_is_boolean() -> None:
    with pytest.raises(ColumnError, match="needs a boolean column"):
        where(PLAIN, 1, 0)


def test_every_function_of_numpy_is_called_by_its_own_name() -> None:
    assert {one.__name__ for one in UFUNCS} >= {"add", "equal", "log1p", "where"} - {"where"}
    assert UFUNCS[np.not_equal](PLAIN, 1).to_list() == [False, True]
    assert UFUNCS[np.floor](PLAIN).to_list() == [1.0, 2.0]
