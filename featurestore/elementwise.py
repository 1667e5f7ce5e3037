"""Comparison, logic, choice, text and calendar, element by element; and :data:`UFUNCS`, all of it by NumPy function.

Comparing with null gives null; ``&`` and ``|`` are Kleene (S7). Text works on the categories and is spread over the
codes.
"""

from bisect import bisect_left
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from featurestore.arithmetic import aligned, arithmetic, both_valid, common_kind, instant, mathematics, operands
from featurestore.errors import ColumnError
from featurestore.values import DTYPES, Kind, Values, from_list, nulls

Array = np.ndarray[Any, Any]
_DAY = 86_400_000_000
_HOUR = 3_600_000_000
_MINUTE = 60_000_000


def compare(test: np.ufunc, left: Any, right: Any) -> Values:
    """``== != < <= > >=`` of values or constants; strings by code point, text beside datetimes is ISO 8601."""
    if left is None or right is None:
        raise ColumnError("Comparing with None gives null everywhere. Use .is_null().")
    left, right = (_instant_beside(one, other) for one, other in ((left, right), (right, left)))
    if isinstance(right, str) and _is_text(left):
        codes, code = _around(left, right)
        return _made("bool", test(codes, code), left.valid)
    if isinstance(left, str) and _is_text(right):
        codes, code = _around(right, left)
        return _made("bool", test(code, codes), right.valid)
    first, second = operands(left, right)
    one, other = aligned(first, second, common_kind(first.kind, second.kind))
    if {first.kind, second.kind} == {"int", "float"}:
        side = _side(first.data, second.data) if first.kind == "int" else -_side(second.data, first.data)
        return _made("bool", test(side, 0), both_valid(one, other))
    return _made("bool", test(one.data, other.data), both_valid(one, other))


def _side(whole: Array, real: Array) -> Array:
    """Sign of integers less floats, exactly: past 2**53 an integer that rounds to the float may be its neighbour."""
    rounded = whole.astype(np.float64)
    side = np.sign(rounded - real)
    near = np.flatnonzero((rounded == real) & (np.abs(real) >= 2.0**53))
    if len(near):
        top = real[near] >= 2.0**63
        exact = np.where(top, 0.0, real[near]).astype(np.int64)
        side[near] = np.where(top, -1, np.sign(whole[near] - exact))
    return side


def both(left: Any, right: Any) -> Values:
    """``&`` of three-valued logic: false & null is false, true & null is null."""
    first, second = _booleans("&", left, right)
    false = (first.mask & ~first.data) | (second.mask & ~second.data)
    return _three_valued(first, second, first.data & second.data, false)


def either(left: Any, right: Any) -> Values:
    """``|`` of three-valued logic: true | null is true, false | null is null."""
    first, second = _booleans("|", left, right)
    true = (first.mask & first.data) | (second.mask & second.data)
    return _three_valued(first, second, true, true)


def inverted(values: Values) -> Values:
    """``~`` of booleans; null stays null."""
    if values.kind != "bool":
        raise ColumnError(f"~ works on bool columns; this one is {values.kind}.")
    return _made("bool", ~values.data, values.valid)


def where(condition: Any, left: Any, right: Any) -> Values:
    """``left`` where the condition is true, ``right`` where it is false, null where it is null."""
    if not isinstance(condition, Values) or condition.kind != "bool":
        raise ColumnError("np.where on columns needs a boolean column as its condition.")
    _, first, second = operands(condition, left, right)
    if left is None or right is None:  # a null takes the other's kind
        kind = second.kind if left is None else first.kind
        first, second = (
            nulls(kind, len(one)) if side is None else one for one, side in ((first, left), (second, right))
        )
    one, other = aligned(first, second, common_kind(first.kind, second.kind))
    chosen = condition.data
    valid = None
    if not (condition.valid is None and one.valid is None and other.valid is None):
        valid = np.where(chosen, one.mask, other.mask) & condition.mask
    made = _made(one.kind, np.where(chosen, one.data, other.data), valid)
    return Values(made.kind, made.data, made.valid, one.categories)


def is_null(values: Values) -> Values:
    """Where there is no value; itself never null."""
    return Values("bool", ~values.mask)


def magnitude(values: Values) -> Values:
    """``abs``; an integer's is null where it does not fit int64."""
    return where(compare(np.less, values, 0), arithmetic("-", 0, values), values)


def sign(values: Values) -> Values:
    """-1, 0 or 1."""
    return where(compare(np.greater, values, 0), 1, where(compare(np.less, values, 0), -1, 0))


def text(values: Values, what: str, function: Callable[[str], Any]) -> Values:
    """``function`` of each text: computed once per category, then spread over the codes."""
    if values.kind != "str":
        raise ColumnError(f".{what} works on str columns; this one is {values.kind}.")
    kind: Kind = {str: "str", int: "int", bool: "bool"}[type(function(""))]  # type: ignore[assignment]
    names = [] if values.categories is None else values.categories.tolist()
    made = from_list(kind, [function(name) for name in names], nullable=False)
    data = made.data[values.data] if names else np.zeros(len(values), made.data.dtype)
    spread = _made(kind, data, values.valid)
    return Values(kind, spread.data, spread.valid, made.categories)


def calendar(values: Values, part: str) -> Values:
    """Minute, hour, weekday (Monday is 0), day, month, quarter or year, UTC."""
    if values.kind != "datetime":
        raise ColumnError(f".{part} works on datetime columns; this one is {values.kind}.")
    return _made("int", _CALENDAR[part](values.data), values.valid)


def midnight(values: Values) -> Values:
    """When the day began, UTC."""
    if values.kind != "datetime":
        raise ColumnError(f".date works on datetime columns; this one is {values.kind}.")
    return _made("datetime", values.data - values.data % _DAY, values.valid)


def _made(kind: Kind, data: Array, valid: Array | None) -> Values:
    """Values with zero under each null."""
    typed = np.ascontiguousarray(data, DTYPES[kind])
    return Values(kind, typed if valid is None else np.where(valid, typed, np.zeros(1, typed.dtype)), valid)


def _instant_beside(value: Any, other: Any) -> Any:
    beside_instants = isinstance(value, str) and isinstance(other, Values) and other.kind == "datetime"
    return instant(value) if beside_instants else value


def _is_text(value: Any) -> bool:
    return isinstance(value, Values) and value.kind == "str"


def _around(values: Values, literal: str) -> tuple[Array, int]:
    """Twice the codes, and the number that compares with them as the text does: odd between two categories."""
    names: list[str] = [] if values.categories is None else values.categories.tolist()
    place = bisect_left(names, literal)
    there = place < len(names) and names[place] == literal
    return values.data.astype(np.int64) * 2, 2 * place if there else 2 * place - 1


def _booleans(symbol: str, left: Any, right: Any) -> tuple[Values, Values]:
    first, second = operands(left, right)
    if first.kind != "bool" or second.kind != "bool":
        raise ColumnError(
            f"{symbol} joins boolean columns, such as (tx.a > 1) {symbol} (tx.b == 'x'); these are {first.kind} and "
            f"{second.kind}."
        )
    return first, second


def _three_valued(first: Values, second: Values, data: Array, decided: Array) -> Values:
    valid = None if first.valid is None and second.valid is None else (first.mask & second.mask) | decided
    return _made("bool", data, valid)


def _day_of_month(micros: Array) -> Array:
    days = _as_dates(micros, "D")
    return np.asarray((days - _as_dates(micros, "M").astype("datetime64[D]")).astype(np.int64) + 1)


def _as_dates(micros: Array, unit: str) -> Array:
    return np.asarray(micros.view("datetime64[us]").astype("datetime64[D]").astype(f"datetime64[{unit}]"))


_CALENDAR: dict[str, Callable[[Array], Array]] = {
    "minute": lambda micros: micros % _HOUR // _MINUTE,
    "hour": lambda micros: micros % _DAY // _HOUR,
    "weekday": lambda micros: (micros // _DAY + 3) % 7,
    "day": _day_of_month,
    "month": lambda micros: _as_dates(micros, "M").astype(np.int64) % 12 + 1,
    "quarter": lambda micros: _as_dates(micros, "M").astype(np.int64) % 12 // 3 + 1,
    "year": lambda micros: _as_dates(micros, "Y").astype(np.int64) + 1970,
}

UFUNCS: dict[np.ufunc, Callable[..., Values]] = {
    **{
        one: mathematics(one)
        for one in (
            *(np.sqrt, np.cbrt, np.exp, np.exp2, np.expm1, np.log, np.log2, np.log10, np.log1p, np.hypot),
            *(np.sin, np.cos, np.tan, np.arcsin, np.arccos, np.arctan, np.arctan2, np.sinh, np.cosh, np.tanh),
            *(np.floor, np.ceil, np.trunc, np.rint, np.deg2rad, np.rad2deg),
        )
    },
    **{
        one: partial(compare, one)
        for one in (np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal)
    },
    np.add: partial(arithmetic, "+"),
    np.subtract: partial(arithmetic, "-"),
    np.multiply: partial(arithmetic, "*"),
    np.divide: partial(arithmetic, "/"),
    np.floor_divide: partial(arithmetic, "//"),
    np.remainder: partial(arithmetic, "%"),
    np.power: partial(arithmetic, "**"),
    np.minimum: lambda left, right: where(compare(np.less_equal, left, right), left, right),
    np.maximum: lambda left, right: where(compare(np.greater_equal, left, right), left, right),
    np.absolute: magnitude,
    np.negative: lambda values: arithmetic("-", 0, values),
    np.square: lambda values: arithmetic("*", values, values),
    np.sign: sign,
    np.isnan: is_null,
    np.logical_and: both,
    np.logical_or: either,
    np.logical_not: inverted,
    np.bitwise_and: both,
    np.bitwise_or: either,
    np.invert: inverted,
}
"""What NumPy functions do to columns; those that are not here would cross windows or have no null."""
