import gc
import math
import operator
import weakref
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore.column import Column
from featurestore.errors import ColumnError, IntegerOverflow
from featurestore.operand import REDUCTIONS, Looks, Ranges, Tally, rows_of, where
from featurestore.testing import window
from featurestore.values import from_list
from featurestore.window import Frame, Window

NAN = math.nan
MIDNIGHT = datetime(2024, 2, 29, tzinfo=UTC)


class Shop(Enum):
    ONLINE = "online"


def column(*items: Any) -> Column:
    made = window(x=list(items)).x
    assert isinstance(made, Column)
    return made


def items(made: Any) -> list[Any]:
    assert isinstance(made, Column)
    return made.values.to_list()


# Reduced


def test_a_reduction_gives_one_value_per_row() -> None:
    x = column(3.0, None, 1.0, 2.0)
    assert [getattr(x, name)().item() for name in ("count", "sum", "mean", "min", "max", "var", "std", "nunique")] == [
        *(3, 6.0, 2.0, 1.0, 3.0, 1.0, 1.0, 3)
    ]


def test_an_empty_window_gives_zeros_and_nulls() -> None:
    x = column()
    assert [x.count().item(), x.sum().item(), x.nunique().item()] == [0, 0.0, 0]
    assert [x.mean().item(), x.min().item(), x.var().item(), x.first().item(), x.nth(0).item()] == [None] * 5


def test_first_and_last_give_nulls_unless_they_are_skipped() -> None:
    x = column(None, 1, 2, None)
    assert [x.first().item(), x.last().item(), x.nth(1).item(), x.nth(-2).item()] == [None, None, 1, 2]
    assert [x.first(skip_null=True).item(), x.last(skip_null=True).item(), x.nth(2, skip_null=True).item()] == [
        1,
        2,
        None,
    ]


def test_any_and_all_need_booleans() -> None:
    assert [column(True, None, False).any().item(), column(True, None).all().item()] == [True, True]
    with pytest.raises(ColumnError, match=r"\.any\(\) works on bool columns; this one is int"):
        column(1).any()


def test_numbers_alone_are_summed() -> None:
    with pytest.raises(ColumnError, match=r"\.sum\(\) works on bool, int, float columns; this one is str"):
        column("a").sum()


def test_what_is_reduced_has_nothing_to_reduce() -> None:
    with pytest.raises(ColumnError, match="already has one value per row"):
        column(1.0).sum().mean()


def test_any_function_of_the_values_can_be_applied() -> None:
    assert column(1, None, 5).apply(lambda values: float(values[-1] - values[0]), returns=float).item() == 4.0
    assert column().apply(lambda values: values[0], returns=float).item() is None
    assert column("b", None, "a").apply("".join, returns=str).item() == "ba"


def test_an_applied_function_gives_what_it_says() -> None:
    with pytest.raises(ColumnError, match=r"apply\(returns=int\) gave 1.5, which is float"):
        column(1).apply(lambda _: 1.5, returns=int)
    with pytest.raises(ColumnError, match="say bool, int, float, str or datetime"):
        column(1).apply(lambda _: [1], returns=list)
    with pytest.raises(IntegerOverflow, match="past int64"):
        column(1).apply(lambda _: 2**63, returns=int)


@pytest.mark.parametrize("result", [NAN, math.inf, np.float64(-math.inf), 2**2000, None])
def test_a_result_that_is_no_number_is_null(result: object) -> None:
    assert column(1).apply(lambda _: result, returns=float).item() is None


# Element by element


def test_null_with_anything_is_null() -> None:
    x = column(1, None, 3)
    assert items(x + 1) == [2, None, 4]
    assert items(2.0 * x) == [2.0, None, 6.0]
    assert items(x > 1) == [False, None, True]
    assert items(-x) == [-1, None, -3]


def test_a_computed_nan_or_infinity_is_null_and_counted() -> None:
    x = column(0.0, 1.0, -4.0, None)
    assert items(1 / x) == [None, 1.0, -0.25, None]
    assert items(np.sqrt(x)) == [0.0, 1.0, None, None]
    assert items(x * 1e308 * 10) == [0.0, None, None, None]
    assert x.tally.not_finite == 4


def test_minus_zero_is_zero() -> None:
    assert [math.copysign(1.0, one) for one in items(column(-0.0, 0.0) * -1.0)] == [1.0, 1.0]


INT64 = st.sampled_from(
    [0, 1, -1, 2, 3, -7, 2**31, 2**32 + 1, 2**62, 2**63 - 1, -(2**63), -(2**62), 3037000500, 2**53 + 1]
)


@settings(deadline=None)
@given(st.lists(st.tuples(INT64, INT64), min_size=1, max_size=20), st.sampled_from("+-*"))
def test_integers_are_exact_or_null(pairs: list[tuple[int, int]], sign: str) -> None:
    tx = window(a=[left for left, _ in pairs], b=[right for _, right in pairs])
    compute: Callable[[Any, Any], Any] = {"+": operator.add, "-": operator.sub, "*": operator.mul}[sign]
    exact = [compute(left, right) for left, right in pairs]
    assert sorted(map(repr, items(compute(tx.a, tx.b)))) == sorted(
        repr(one if -(2**63) <= one < 2**63 else None) for one in exact
    )


def test_integer_division_and_powers_are_exact_or_null() -> None:
    x = column(7, -7, -(2**63), 0)
    assert items(x // -2) == [-4, 3, 2**62, 0]
    assert items(x % 3) == [1, 2, (-(2**63)) % 3, 0]
    assert items(1 // x) == [0, -1, -1, None]
    assert items(x // -1) == [-7, 7, None, 0]
    assert items(x**2) == [49, 49, None, 0]
    assert items(column(2, 3, -2) ** 63) == [None, None, -(2**63)]
    assert items(column(2) ** -1) == [0.5]


def test_division_is_of_floats() -> None:
    assert items(column(1, 3, None) / 2) == [0.5, 1.5, None]


@pytest.mark.parametrize(
    ("left", "right", "conjunction", "disjunction"),
    [
        *((True, True, True, True), (True, False, False, True), (True, None, None, True)),
        *((False, False, False, False), (False, None, False, None), (None, None, None, None)),
    ],
)
def test_logic_has_three_values(
    *, left: bool | None, right: bool | None, conjunction: bool | None, disjunction: bool | None
) -> None:
    one, other = ([1.0 if side is None else float(side)] for side in (left, right))
    tx = window(a=[None if left is None else one[0]], b=[None if right is None else other[0]])
    a, b = tx.a > 0.5, tx.b > 0.5
    assert items(a & b) == items(b & a) == [conjunction]
    assert items(a | b) == items(b | a) == [disjunction]
    assert items(~a) == [None if left is None else not left]


def test_a_choice_by_a_null_is_null() -> None:
    tx = window(x=[1, 2, None], y=[10, None, 30])
    assert items(np.where(tx.x > 1, tx.x, tx.y)) == [10, 2, None]
    assert items(where(tx.y.is_null(), None, tx.y)) == [10, None, 30]
    assert items(np.where(tx.x > 1, "big", "small")) == ["small", "big", None]


def test_nulls_are_found_and_filled() -> None:
    x = column(1, None)
    assert items(x.is_null()) == [False, True]
    assert items(x.fill_null(0)) == [1, 0]
    assert x.fill_null(0).values.valid is None
    with pytest.raises(ColumnError, match="puts a null for a null"):
        x.fill_null(NAN)


def test_choices_are_values_of_a_list() -> None:
    assert items(column("a", "b", None).is_in(["a", "c"])) == [True, False, None]
    assert items(column(1).is_in([])) == [False]
    with pytest.raises(ColumnError, match="give a list"):
        column("a").is_in("abc")


def test_text_is_compared_by_code_point() -> None:
    x = column("a", "b", None, "ä")
    assert items(x == "b") == [False, True, None, False]
    assert items(x != "zz") == [True, True, None, True]
    assert items(x < "aa") == [True, False, None, False]
    assert items(x >= "b") == [False, True, None, True]
    assert items(np.less("aa", x)) == [False, True, None, True]


@settings(deadline=None)
@given(st.lists(st.text("ab", max_size=2), min_size=1, max_size=5), st.text("abc", max_size=2))
def test_text_beside_a_literal_is_as_text_beside_a_column(texts: list[str], literal: str) -> None:
    tx = window(x=texts, same=[literal] * len(texts))
    for made, expected in (
        (tx.x < literal, tx.x < tx.same),
        (tx.x <= literal, tx.x <= tx.same),
        (tx.x == literal, tx.x == tx.same),
    ):
        assert items(made) == items(expected)
    assert sorted(items(tx.x > literal)) == sorted(text > literal for text in texts)


def test_an_enum_stands_for_its_value() -> None:
    assert items(column("online", "shop") == Shop.ONLINE) == [True, False]


def test_text_has_its_own_functions() -> None:
    x = column("Online", None, "ß")
    assert items(x.lower()) == ["online", None, "ß"]
    assert items(x.upper()) == ["ONLINE", None, "SS"]
    assert items(x.endswith("ne")) == [True, None, False]
    assert items(column(" a\t", None, "\u00a0").strip()) == ["a", None, ""]
    assert items(x.length()) == [6, None, 1]
    assert items(x.startswith("On")) == [True, None, False]
    assert items(x.contains("li")) == [True, None, False]


def test_instants_have_calendar_parts() -> None:
    x = column(MIDNIGHT, None, MIDNIGHT - timedelta(microseconds=1), datetime(1872, 11, 30, 15, tzinfo=UTC))
    assert items(x.hour) == [0, None, 23, 15]
    assert items(x.weekday) == [3, None, 2, 5]
    assert [items(x.day), items(x.month), items(x.year)] == [
        [29, None, 28, 30],
        [2, None, 2, 11],
        [2024, None, 2024, 1872],
    ]
    assert [items(x.minute), items(x.quarter)] == [[0, None, 59, 0], [1, None, 1, 4]]
    assert items(x.is_weekend) == [False, None, False, True]
    day_before = MIDNIGHT - timedelta(days=1)
    assert items(x.date) == [MIDNIGHT, None, day_before, datetime(1872, 11, 30, tzinfo=UTC)]


def test_instants_subtract_to_seconds_and_move_by_durations() -> None:
    x = column(MIDNIGHT, None)
    assert items(x - datetime(2024, 2, 28)) == [86400.0, None]  # noqa: DTZ001 - naive is UTC
    assert items(MIDNIGHT - x) == [0.0, None]
    assert items(x + timedelta(days=1)) == [datetime(2024, 3, 1, tzinfo=UTC), None]
    assert items(x - timedelta(microseconds=1) < "2024-02-29") == [True, None]


@pytest.mark.parametrize("by", [timedelta(days=3_000_000), timedelta.max, timedelta.min])
def test_an_instant_outside_the_calendar_is_null(by: timedelta) -> None:
    assert items(column(MIDNIGHT) + by) == [None]


def test_functions_of_numpy_keep_to_the_rules() -> None:
    x = column(4.0, None, -1.0)
    assert items(np.log10(column(100))) == [2.0]
    assert items(np.minimum(x, 0)) == [0.0, None, -1.0]
    assert items(np.maximum(0, x)) == [4.0, None, 0.0]
    assert items(np.sign(x)) == [1, None, -1]
    assert items(abs(x)) == items(np.abs(x)) == [4.0, None, 1.0]
    assert items(np.isnan(x)) == [False, True, False]
    assert items(np.square(column(-3))) == [9]


# Whether a value can be null is a matter of types and operations


EXPRESSIONS: dict[str, Any] = {
    "count": lambda tx: tx.n.count(),
    "sum": lambda tx: tx.n.sum(),
    "float sum": lambda tx: tx.f.sum(),
    "mean": lambda tx: tx.n.mean(),
    "last": lambda tx: tx.n.last(),
    "compared": lambda tx: tx.n.count() > 1,
    "added": lambda tx: tx.n.count() + 1,
    "divided": lambda tx: tx.n.count() / 2,
    "chosen": lambda tx: np.where(tx.n.count() > 1, 1, 0),
    "filled": lambda tx: tx.f.mean().fill_null(0.0),
    "filtered": lambda tx: tx[(tx.n > 1) & (tx.f < 2)].count(),
    "text": lambda tx: tx.s.last().length(),
    "moment": lambda tx: tx.as_of.hour,
    "shifted": lambda tx: tx.as_of - timedelta(days=1),
}


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_nullability_does_not_depend_on_the_rows(name: str) -> None:
    empty = window(n=[1], f=[1.0], s=["a"])
    full = window(n=[1, 2, 2**62, -5], f=[None, NAN, 1e308, -0.0], s=["", "b", "c", "d"])
    one, other = EXPRESSIONS[name](empty).values, EXPRESSIONS[name](full).values
    assert (one.kind, one.valid is None) == (other.kind, other.valid is None)


# What a column is not


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.mean, r"np\.mean would cross windows\. Use the column's own reduction \.mean\(\)"),
        (np.nansum, r"\.sum\(\)"),
        (np.amax, r"\.max\(\)"),
        (np.unique, r"\.nunique\(\)"),
        (np.cumsum, r"Use a reduction of the column \(count, sum, mean"),
        (np.add.reduce, r"np\.add\.reduce would cross windows\. Use the column's own reduction \.sum\(\)"),
        (lambda x: np.gcd(x, x), r"np\.gcd does not work on a column"),
        (np.asarray, "is no array"),
        (list, "cannot be iterated"),
        (len, r"no length.*\.count\(\)"),
        (bool, "neither true nor false"),
        (float, "no number"),
        (lambda x: x[0], r"no index.*\.nth\(n\)"),
        (lambda x: x == None, r"Use \.is_null\(\)"),  # noqa: E711 - what a user might write
        (lambda x: x + "a", "works on numbers"),
        (lambda x: x == "a", "do not go together"),
        (lambda x: x * [1, 2], "An array cannot be combined"),
        (lambda x: x & x, "joins boolean columns"),
        (lambda x: x + x.sum(), "one per row"),
        (lambda x: x > 2**63, "does not fit int64"),
        (lambda x: x + timedelta(1), "no unit of time"),
        (lambda x: x.hour, r"\.hour works on datetime columns"),
        (lambda x: np.exp(x, where=True), "without keywords"),
        (lambda x: x.last(0), r"\.last\(0\): give how many events, an integer from 1"),
        (lambda x: x.first(1.5), r"\.first\(1\.5\): give how many events"),
        (lambda x: x.last(True), r"\.last\(True\): give how many events"),
        (lambda x: x.sum().last(2), r"\.last\(\) has nothing to reduce"),
        (lambda x: x.sum().diff(), r"\.diff\(\) has nothing to reduce"),
        (lambda x: where(x == 1, "a", "b").diff(), "works on numbers"),
    ],
)
def test_what_a_column_cannot_do_says_what_to_do(wrong: Any, message: str) -> None:
    with pytest.raises((ColumnError, TypeError), match=message):
        wrong(column(1, 2))


def test_columns_of_different_windows_do_not_mix() -> None:
    tx = window(x=[1, 2])
    with pytest.raises(ColumnError, match="different windows"):
        tx[tx.x > 1].x + tx.x


def test_the_last_n_are_counted_with_their_nulls_or_without_them() -> None:
    x = column(1.0, 2.0, None, 8.0, None)
    assert [x.last(3).sum(), x.last(3).count(), x.last(9).count()] == [8.0, 1, 3]
    assert [x.last(2, skip_null=True).sum(), x.first(2, skip_null=True).mean()] == [10.0, 1.5]
    assert x.last(4, skip_null=True).first(1, skip_null=True).sum() == 1.0
    assert column().last(2).mean().item() is None


def test_columns_of_the_same_last_n_belong_together() -> None:
    tx = window(a=[1, 2, 3], b=[4, 5, 6])
    assert (tx.a.last(2) * tx.b.last(2)).sum() == 28
    assert tx.last(2)[tx.last(2).a > 2].b.sum() == 6
    with pytest.raises(ColumnError, match="different windows"):
        tx.a.last(2) * tx.b.last(1)


def test_a_change_is_of_two_values_that_are_there() -> None:
    x = column(5, None, 7, 4)
    assert [x.diff().count(), x.diff().sum()] == [1, -3]
    assert column(9).diff().count() == 0
    assert column(MIDNIGHT, MIDNIGHT + timedelta(minutes=1)).diff().max() == 60.0


def test_the_first_event_of_a_window_has_no_change_though_one_lies_before_it() -> None:
    tx = windows([1.0, 10.0, 100.0], [(0, 3), (1, 3), (2, 3), (3, 3)])
    assert items(tx.x.diff().sum()) == [99.0, 90.0, 0.0, 0.0]
    assert items(tx.gaps().mean()) == [1.0, 1.0, None, None]


def test_a_change_across_windows_is_not_counted_as_lost() -> None:
    tx = windows([1e308, 1e308, -1e308, -1e308], [(0, 2), (2, 4)])
    assert items(tx.x.diff().max()) == [0.0, 0.0]
    assert tx.not_finite == 0


def test_a_group_looks_from_its_own_row_s_instant() -> None:
    at = np.array([4, 5, 6]) * 1_000_000
    tx = windows([1.0, 2.0, 1.0], [(0, 3), (2, 2), (1, 3)], at)
    decayed = rows_of(tx.group_by("x").x.decayed_sum(half_life="1s"))
    assert decayed.to_list() == [{"1.0": 1 / 16 + 1 / 4, "2.0": 2 / 8}, {}, {"1.0": 1 / 16, "2.0": 2 / 32}]
    counts = rows_of(tx.x.value_counts())
    assert counts.to_list() == [{"1.0": 2, "2.0": 1}, {}, {"1.0": 1, "2.0": 1}]


def windows(values: list[float], ranges: list[tuple[int, int]], at: Any = None) -> Window:
    """Several windows over the same events, a second apart."""
    stamps = np.arange(len(values)) * 1_000_000
    lo, hi = (np.array([pair[side] for pair in ranges]) for side in (0, 1))
    frame = Frame({"x": from_list("float", values)}, stamps, stamps)
    at = np.full(len(ranges), 10**9) if at is None else at
    looks = Looks.of(at, np.zeros_like(at), at, np.ones(len(at), np.bool_))
    return Window(frame, Ranges(lo, hi, Tally(), looks, lambda: stamps))


def test_item_reads_one_row_alone() -> None:
    with pytest.raises(ColumnError, match="one per event"):
        column(1).item()
    assert column(MIDNIGHT).last().item() == MIDNIGHT


def test_a_column_shows_its_values() -> None:
    assert repr(column(1, None)) == "<Column of int per event: 1, None>"
    assert repr(column(*range(11)).sum()) == "<Column of int per row: 55>"
    assert repr(column(*range(11))).endswith("9, …>")


def test_every_reduction_that_is_named_is_there() -> None:
    assert [name for name in REDUCTIONS if not callable(getattr(Column, name, None))] == []


def test_the_only_value_of_a_test_window_compares_and_converts() -> None:
    x = window(x=[1, 2, 4]).x
    assert x.max() == 4
    assert not x.max() == 5  # noqa: SIM201
    assert (float(x.mean()), int(x.sum())) == (7 / 3, 7)


def test_what_a_window_has_made_goes_with_it() -> None:
    """No cycle keeps it until the collector comes: of a million rows it is much."""
    gc.collect()
    gc.disable()
    try:
        tx = window(amount=[1.0, 2.0, 4.0])
        made = weakref.ref(tx.amount.values.data)
        assert tx[tx.amount > 1].amount.sum().item() + tx.amount.max().item() == 10
        del tx
        assert made() is None
    finally:
        gc.enable()
