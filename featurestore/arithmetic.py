"""Numbers and instants, element by element: ``+ - * / // % **`` and NumPy's mathematics on arrays of values.

Null with anything is null. A computed NaN or infinity is null (S7), and so are an integer past int64 and an instant
outside the years 1 to 9999. Whether a result can be null depends on the operation and the types, never on the rows at
hand.
"""

import enum
import math
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from featurestore import times
from featurestore.errors import ColumnError, RequestError
from featurestore.schema import kind_of
from featurestore.values import DTYPES, Kind, Values, concatenate, nulls

Array = np.ndarray[Any, Any]
NUMBERS: tuple[Kind, ...] = ("bool", "int", "float")
_INT64 = range(-(2**63), 2**63)
_SURELY_FITS = 2.0**62
_MAY_FIT = 2.0**64
_CALENDAR = 2 * (times.LATEST - times.EARLIEST)


def constant(value: Any, rows: int) -> Values:
    """``rows`` times one Python value, NumPy scalar or member of an Enum; ``None`` is a float's null.

    Raises
    ------
    ColumnError
        If it is no bool, int, float, str or datetime, or an integer past int64.
    """
    plain = _plain(value)
    if plain is None:
        return nulls("float", rows)
    found = kind_of(type(plain))
    if found is None:
        raise ColumnError(f"{value!r} is no bool, int, float, str or datetime.")
    kind = found[0]
    if kind == "float":
        finite = math.isfinite(plain)
        return Values(kind, np.full(rows, plain + 0.0 if finite else 0.0), np.full(rows, finite))
    if kind == "str":
        names = np.empty(1, object)
        names[0] = plain
        return Values(kind, np.zeros(rows, np.int32), None, names)
    if kind == "int" and plain not in _INT64:
        raise ColumnError(f"{plain} does not fit int64.")
    return Values(kind, np.full(rows, times.to_micros(plain) if kind == "datetime" else plain, DTYPES[kind]))


def operand(value: Any, rows: int) -> Values:
    """Values as they are, anything else as a constant."""
    if isinstance(value, Values):
        return value
    if isinstance(value, (np.ndarray, list, tuple)):
        raise ColumnError("An array cannot be combined with a column: rows and events are the window's own.")
    return constant(value, rows)


def operands(*given: Any) -> list[Values]:
    """All of one length: at least one is values already."""
    rows = next(len(one) for one in given if isinstance(one, Values))
    return [operand(one, rows) for one in given]


def common_kind(left: Kind, right: Kind) -> Kind:
    """Kind in which two kinds meet: numbers widen from bool to int to float."""
    if left == right:
        return left
    if left in NUMBERS and right in NUMBERS:
        return "float" if "float" in (left, right) else "int"
    raise ColumnError(f"{left} and {right} do not go together: one operand is {left}, the other {right}.")


def aligned(left: Values, right: Values, kind: Kind) -> tuple[Values, Values]:
    """Both in one kind, and strings in one set of categories."""
    if kind == "str":
        if left.categories is right.categories:
            return left, right
        both = concatenate([left, right])
        return both.take(slice(0, len(left))), both.take(slice(len(left), None))
    dtype = DTYPES[kind]
    return (
        Values(kind, left.data.astype(dtype, copy=False), left.valid),
        Values(kind, right.data.astype(dtype, copy=False), right.valid),
    )


def both_valid(*given: Values) -> Array | None:
    """Where all have a value; ``None`` where none of them has nulls."""
    masks = [one.valid for one in given if one.valid is not None]
    if len(masks) < 2:  # noqa: PLR2004 - nothing to join
        return masks[0] if masks else None
    return np.asarray(np.logical_and.reduce(masks))


def arithmetic(sign: str, left: Any, right: Any) -> Values:
    """Numbers by numbers; datetime minus datetime in seconds; datetime plus or minus a timedelta."""
    if _is_time(left) or _is_time(right):
        return _of_instants(sign, _plain(left), _plain(right))
    first, second = operands(left, right)
    if first.kind not in NUMBERS or second.kind not in NUMBERS:
        raise ColumnError(f"{sign} works on numbers; these are {first.kind} and {second.kind}.")
    whole_power = isinstance(right, int) and right >= 0  # of the expression, not of the rows at hand
    if sign == "/" or "float" in (first.kind, second.kind) or (sign == "**" and not whole_power):
        one, other = aligned(first, second, "float")
        with np.errstate(all="ignore"):
            data = _FLOAT[sign](one.data, other.data)
        return _finite(data, both_valid(one, other))
    one, other = aligned(first, second, "int")
    with np.errstate(all="ignore"):
        data, fits = _INTEGER[sign](one.data, other.data)
    valid = both_valid(one, other)
    valid = fits if valid is None else fits & valid
    return Values("int", np.where(valid, data, 0), valid)


def mathematics(ufunc: np.ufunc) -> Callable[..., Values]:
    """Return a NumPy function of floats as a function of values."""

    def applied(*given: Any) -> Values:
        arrays = operands(*given)
        if any(one.kind not in NUMBERS for one in arrays):
            kinds = " and ".join(one.kind for one in arrays)
            raise ColumnError(f"np.{ufunc.__name__} works on numbers; here is {kinds}.")
        with np.errstate(all="ignore"):
            data = ufunc(*(np.ascontiguousarray(one.data, np.float64) for one in arrays))
        return _finite(data, both_valid(*arrays))

    return applied


def instant(text: str) -> datetime:
    """Datetime of an ISO 8601 text in a definition."""
    try:
        return times.to_datetime(times.to_micros(text))
    except RequestError as error:
        raise ColumnError(str(error)) from error


def _plain(value: Any) -> Any:
    if isinstance(value, np.datetime64):
        return times.to_datetime(times.to_micros(value))
    if isinstance(value, np.timedelta64):
        return value.astype("timedelta64[us]").item()
    if isinstance(value, np.generic):
        return value.item()
    return value.value if isinstance(value, enum.Enum) else value


def _is_time(value: Any) -> bool:
    if isinstance(value, Values):
        return value.kind == "datetime"
    return isinstance(value, (datetime, timedelta, np.datetime64, np.timedelta64))


def _finite(data: Array, valid: Array | None) -> Values:
    """S7: no NaN, no infinity, no -0.0."""
    known = np.isfinite(data)
    if valid is not None:
        known &= valid
    return Values("float", np.where(known, data, 0.0) + 0.0, known)


def _of_instants(sign: str, left: Any, right: Any) -> Values:
    if isinstance(right, timedelta) and sign in "+-":
        return _shifted(left, right // times.MICROSECOND * (1 if sign == "+" else -1))
    if isinstance(left, timedelta) and sign == "+":
        return _shifted(right, left // times.MICROSECOND)
    left, right = (instant(one) if isinstance(one, str) else one for one in (left, right))
    if sign == "-" and not isinstance(left, timedelta):
        one, other = operands(left, right)
        if one.kind == other.kind == "datetime":
            return _finite((one.data - other.data) / 1e6, both_valid(one, other))
    raise ColumnError(f"{sign} between datetimes: subtract two for seconds, or add or subtract a timedelta.")


def _shifted(values: Any, micros: int) -> Values:
    if not isinstance(values, Values) or values.kind != "datetime":
        raise ColumnError("A timedelta is added to or subtracted from datetimes; numbers have no unit of time.")
    shift = max(-_CALENDAR, min(_CALENDAR, micros))  # past both ends of the calendar, within int64
    moved = values.data + shift
    valid = (moved >= times.EARLIEST) & (moved <= times.LATEST) & values.mask
    return Values("datetime", np.where(valid, moved, 0), valid)


def _add(left: Array, right: Array) -> tuple[Array, Array]:
    made = left + right
    return made, ((left ^ made) & (right ^ made)) >= 0  # wrapped where the sign differs from both


def _subtract(left: Array, right: Array) -> tuple[Array, Array]:
    made = left - right
    return made, ((left ^ right) & (left ^ made)) >= 0


def _multiply(left: Array, right: Array) -> tuple[Array, Array]:
    made = left * right
    rough = np.abs(left.astype(np.float64) * right.astype(np.float64))
    fits = rough < _SURELY_FITS
    unsure = np.flatnonzero(~fits & (rough < _MAY_FIT))  # dividing back gives the factor iff nothing wrapped
    product, one, other = made[unsure], left[unsure], right[unsure]
    wrapped = (one == _INT64.start) & (other == -1)
    fits[unsure] = (product // other == one) & (product % other == 0) & ~wrapped
    return made, fits


def _power(left: Array, right: Array) -> tuple[Array, Array]:
    made = np.power(left, right)
    rough = np.abs(np.power(left.astype(np.float64), right.astype(np.float64)))
    fits = rough < _SURELY_FITS
    for row in np.flatnonzero(~fits & (rough < _MAY_FIT)).tolist():
        fits[row] = int(left[row]) ** int(right[row]) in _INT64
    return made, fits


def _divided(left: Array, right: Array) -> tuple[Array, Array]:
    fits = (right != 0) & ~((left == _INT64.start) & (right == -1))
    return left // np.where(fits, right, 1), fits


def _modulo(left: Array, right: Array) -> tuple[Array, Array]:
    fits = right != 0
    return left % np.where(fits & (right != -1), right, 1), fits  # x % -1 is x % 1, which cannot overflow


_FLOAT: dict[str, Callable[[Array, Array], Array]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "//": np.floor_divide,
    "%": np.remainder,
    "**": np.power,
}
_INTEGER: dict[str, Callable[[Array, Array], tuple[Array, Array]]] = {
    "+": _add,
    "-": _subtract,
    "*": _multiply,
    "//": _divided,
    "%": _modulo,
    "**": _power,
}
