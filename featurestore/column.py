"""A column inside a feature: element by element until it is reduced, one value per row after.

The set of operations is closed. What would cross windows (``np.mean``, ``np.cumsum``, a number as index, iteration)
raises and names the reduction to use. A computed NaN or infinity is null (S7), and so is an integer past int64.
"""

import enum
import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

import numpy as np

from featurestore import elementwise, fold
from featurestore.arithmetic import NUMBERS
from featurestore.elementwise import UFUNCS
from featurestore.errors import ColumnError, IntegerOverflow, suggest
from featurestore.fold import Spans
from featurestore.schema import kind_of
from featurestore.values import Kind, Values, from_list

REDUCTIONS = (
    *("count", "sum", "mean", "min", "max", "var", "std"),
    *("nunique", "any", "all", "first", "last", "nth"),
)
_NUMPY_NAMES = {
    "average": "mean",
    "unique": "nunique",
    "add": "sum",
    "minimum": "min",
    "maximum": "max",
    "size": "count",
}
_SHOWN = 10


@dataclass(eq=False)
class Tally:
    """What columns of one window share: how many NaN and infinities they computed (S7), and whether a test made it."""

    not_finite: int = 0
    of_test: bool = False


@dataclass(eq=False)
class Ranges:
    """Which events each row sees: ``[lo, hi)`` of one window's events. Columns that share it belong together."""

    lo: np.ndarray[Any, np.dtype[np.int64]]
    hi: np.ndarray[Any, np.dtype[np.int64]]
    tally: Tally


@dataclass(eq=False)
class Column:
    """Nullable values: one per event (``ranges`` set) or, reduced, one per row.

    ``+ - * / // % **``, comparisons, ``& | ~`` and the NumPy functions of :data:`elementwise.UFUNCS` work element by
    element; null with anything is null, ``& |`` are Kleene. ``/`` divides as floats. ``tally`` counts computed values
    that became null.
    """

    values: Values
    ranges: Ranges | None
    tally: Tally
    made: dict[str, Any] = field(default_factory=dict)

    __array_priority__ = 1000

    # -- reductions: one value per row ------------------------------------------------------------------------------

    def count(self) -> "Column":
        """Count the values that are not null; 0 on an empty window."""
        return self._reduced("count", fold.count)

    def sum(self) -> "Column":
        """Exact sum, correctly rounded; 0 on an empty window. Of booleans: how many are true."""
        return self._reduced("sum", fold.total, *NUMBERS)

    def mean(self) -> "Column":
        """Sum divided by count; null on an empty window."""
        return self._reduced("mean", fold.mean, *NUMBERS)

    def min(self) -> "Column":
        """Smallest value; null on an empty window."""
        return self._reduced("min", fold.minimum)

    def max(self) -> "Column":
        """Largest value; null on an empty window."""
        return self._reduced("max", fold.maximum)

    def var(self, ddof: int = 1) -> "Column":
        """Variance with divisor ``n - ddof``, correctly rounded; null with ``ddof`` values or fewer."""
        return self._reduced("var", lambda spans: fold.variance(spans, ddof), *NUMBERS)

    def std(self, ddof: int = 1) -> "Column":
        """Square root of :meth:`var`."""
        return self._reduced("std", lambda spans: fold.deviation(spans, ddof), *NUMBERS)

    def nunique(self) -> "Column":
        """Count the different values; 0 on an empty window."""
        return self._reduced("nunique", fold.distinct)

    def any(self) -> "Column":
        """Whether any value is true; null on an empty window."""
        return self._reduced("any", fold.some, "bool")

    def all(self) -> "Column":
        """Whether all values are true; null on an empty window."""
        return self._reduced("all", fold.every, "bool")

    def first(self, *, skip_null: bool = False) -> "Column":
        """Value of the first event (S5), null included; with ``skip_null`` the first value that is not null."""
        return self.nth(0, skip_null=skip_null)

    def last(self, *, skip_null: bool = False) -> "Column":
        """Value of the last event (S5), null included; with ``skip_null`` the last value that is not null."""
        return self.nth(-1, skip_null=skip_null)

    def nth(self, n: int, *, skip_null: bool = False) -> "Column":
        """Value of event ``n`` from 0, negative from the end; null where there are fewer."""
        if skip_null:
            return self._reduced("nth", lambda spans: fold.pick(spans.values, spans.lo, spans.hi, operator.index(n)))
        ranges = self._events("nth")
        return self._row(fold.pick(self.values, ranges.lo, ranges.hi, operator.index(n)))

    def apply(self, function: Callable[[Any], Any], *, returns: Any) -> "Column":
        """Any Python function of one window's values, nulls skipped.

        It gets an array of numbers or booleans, of objects for text and datetimes. It must be pure (S14). ``returns``
        is the type it gives. An empty window gives null without a call. Slow: a call a row.

        Raises
        ------
        ColumnError
            If ``returns`` is no column type, or the function gives another one.
        IntegerOverflow
            If it gives an integer past int64.
        """
        found = kind_of(returns)
        if found is None:
            raise ColumnError(f"apply(returns={returns!r}): say bool, int, float, str or datetime.")
        return self._reduced("apply", lambda spans: _typed(fold.each(spans, function), found[0]))

    # -- element by element -----------------------------------------------------------------------------------------

    def is_null(self) -> "Column":
        """Return true where there is no value."""
        return self._with(elementwise.is_null(self.values))

    def fill_null(self, value: Any) -> "Column":
        """Put ``value`` where there is none: never null if ``value`` is a constant.

        Raises
        ------
        ColumnError
            If ``value`` is a null itself.
        """
        if value is None or (isinstance(value, float) and not math.isfinite(value)):
            raise ColumnError(
                f".fill_null({value!r}) puts a null for a null: give a value (NaN and infinity are null)."
            )
        filled = where(~self.is_null(), self, value)
        if isinstance(value, Column) and value.values.valid is not None:
            return filled
        return self._with(replace(filled.values, valid=None))

    def is_in(self, choices: Sequence[Any]) -> "Column":
        """Return true where the value is one of ``choices``; null where there is none."""
        if isinstance(choices, (str, Column)):
            raise ColumnError(f".is_in({choices!r}): give a list of values, such as .is_in([{choices!r}]).")
        found = self._with(Values("bool", np.zeros(len(self.values), np.bool_), self.values.valid))
        for choice in choices:
            found = found | (self == choice)
        return found

    def abs(self) -> "Column":
        """Magnitude."""
        return abs(self)

    def lower(self) -> "Column":
        """Lower case."""
        return self._with(elementwise.text(self.values, "lower", str.lower))

    def length(self) -> "Column":
        """Count the code points of each text."""
        return self._with(elementwise.text(self.values, "length", len))

    def startswith(self, prefix: str) -> "Column":
        """Whether the text starts with ``prefix``."""
        return self._with(elementwise.text(self.values, "startswith", lambda text: text.startswith(prefix)))

    def contains(self, part: str) -> "Column":
        """Whether the text holds ``part``."""
        return self._with(elementwise.text(self.values, "contains", lambda text: part in text))

    @property
    def hour(self) -> "Column":
        """Hour of the day, UTC, 0 to 23."""
        return self._with(elementwise.calendar(self.values, "hour"))

    @property
    def weekday(self) -> "Column":
        """Day of the week, UTC, Monday is 0."""
        return self._with(elementwise.calendar(self.values, "weekday"))

    @property
    def day(self) -> "Column":
        """Day of the month, UTC, from 1."""
        return self._with(elementwise.calendar(self.values, "day"))

    @property
    def month(self) -> "Column":
        """Month, UTC, 1 to 12."""
        return self._with(elementwise.calendar(self.values, "month"))

    @property
    def year(self) -> "Column":
        """Year, UTC."""
        return self._with(elementwise.calendar(self.values, "year"))

    def __add__(self, other: Any) -> "Column":
        return _combined(np.add, self, other)

    def __radd__(self, other: Any) -> "Column":
        return _combined(np.add, other, self)

    def __sub__(self, other: Any) -> "Column":
        return _combined(np.subtract, self, other)

    def __rsub__(self, other: Any) -> "Column":
        return _combined(np.subtract, other, self)

    def __mul__(self, other: Any) -> "Column":
        return _combined(np.multiply, self, other)

    def __rmul__(self, other: Any) -> "Column":
        return _combined(np.multiply, other, self)

    def __truediv__(self, other: Any) -> "Column":
        return _combined(np.divide, self, other)

    def __rtruediv__(self, other: Any) -> "Column":
        return _combined(np.divide, other, self)

    def __floordiv__(self, other: Any) -> "Column":
        return _combined(np.floor_divide, self, other)

    def __rfloordiv__(self, other: Any) -> "Column":
        return _combined(np.floor_divide, other, self)

    def __mod__(self, other: Any) -> "Column":
        return _combined(np.remainder, self, other)

    def __rmod__(self, other: Any) -> "Column":
        return _combined(np.remainder, other, self)

    def __pow__(self, other: Any) -> "Column":
        return _combined(np.power, self, other)

    def __rpow__(self, other: Any) -> "Column":
        return _combined(np.power, other, self)

    def __neg__(self) -> "Column":
        return _combined(np.negative, self)

    def __pos__(self) -> "Column":
        return self

    def __abs__(self) -> "Column":
        return _combined(np.absolute, self)

    def __eq__(self, other: object) -> "Column":  # type: ignore[override]
        return _combined(np.equal, self, other)

    def __ne__(self, other: object) -> "Column":  # type: ignore[override]
        return _combined(np.not_equal, self, other)

    def __lt__(self, other: Any) -> "Column":
        return _combined(np.less, self, other)

    def __le__(self, other: Any) -> "Column":
        return _combined(np.less_equal, self, other)

    def __gt__(self, other: Any) -> "Column":
        return _combined(np.greater, self, other)

    def __ge__(self, other: Any) -> "Column":
        return _combined(np.greater_equal, self, other)

    def __and__(self, other: Any) -> "Column":
        return _combined(np.bitwise_and, self, other)

    def __or__(self, other: Any) -> "Column":
        return _combined(np.bitwise_or, self, other)

    def __invert__(self) -> "Column":
        return _combined(np.invert, self)

    __rand__ = __and__
    __ror__ = __or__
    __hash__ = None  # type: ignore[assignment]

    # -- reading it in a test ---------------------------------------------------------------------------------------

    def item(self) -> Any:
        """Return the value of the only row: a Python scalar, ``None`` for null, datetimes aware in UTC.

        ``==`` between columns is element by element, so a test compares this: ``tx.amount.mean().item() == 2.0``.

        Raises
        ------
        ColumnError
            If there is a value per event, or not exactly one row.
        """
        if self.ranges is not None:
            raise ColumnError(".item() reads the value of one row; this column has one per event. Reduce it first.")
        if len(self.values) != 1:
            raise ColumnError(f".item() reads the value of one row; this column has {len(self.values)}.")
        return self.values.to_list()[0]

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self.values.take(slice(0, _SHOWN)).to_list()))
        more = ", …" if len(self.values) > _SHOWN else ""
        return f"<Column of {self.values.kind} per {'row' if self.ranges is None else 'event'}: {shown}{more}>"

    # -- NumPy, and what a column is not ----------------------------------------------------------------------------

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> "Column":
        if method != "__call__":
            raise ColumnError(f"np.{ufunc.__name__}.{method} would cross windows. {_instead(ufunc.__name__)}")
        if kwargs or ufunc not in UFUNCS:
            raise ColumnError(
                f"np.{ufunc.__name__} does not work on a column so. Columns know, without keywords: "
                f"{', '.join(sorted({one.__name__ for one in UFUNCS}))}. For more: .apply(function, returns=...)."
            )
        return _combined(ufunc, *inputs)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> "Column":
        if function is np.where and not kwargs and len(args) == 3:  # noqa: PLR2004 - condition, value, other value
            return where(*args)
        name = getattr(function, "__name__", str(function))
        raise ColumnError(f"np.{name} would cross windows. {_instead(name)}")

    def __array__(self, *_: Any, **__: Any) -> NoReturn:
        raise ColumnError("A column is no array: it holds many windows. Reduce it, or .apply(function, returns=...).")

    def __iter__(self) -> NoReturn:
        raise ColumnError(
            "A column cannot be iterated: it holds many windows. Reduce it, or use .apply(function, returns=...)."
        )

    def __len__(self) -> NoReturn:
        raise ColumnError("A column has no length: it holds many windows. Use .count().")

    def __getattr__(self, name: str) -> NoReturn:
        """Say what there is in place of what there is not."""
        if name.startswith("_"):
            raise AttributeError(name)
        known = [one for one in dir(type(self)) if not one.startswith("_")]
        raise ColumnError(f"A column has no .{name}.{suggest(name, known)} Or .apply(function, returns=...).")

    def __bool__(self) -> bool:
        """Truth of the only value in a window of :mod:`featurestore.testing`; a feature may not branch on a value."""
        if self._alone:
            return bool(self.item())
        raise ColumnError(
            "A column is neither true nor false: it holds many values. Use & | ~, np.where(...), .any() or .all()."
        )

    def __getitem__(self, index: Any) -> NoReturn:
        raise ColumnError("A column has no index. Filter the window, tx[mask], or use .first(), .last() or .nth(n).")

    def __float__(self) -> float:
        """Only value as a float; see :meth:`__bool__`."""
        if self._alone:
            return float(self.item())
        raise ColumnError(
            "A column is no number: it holds many rows. Keep to + - * / and NumPy functions, which work on all at once."
        )

    def __int__(self) -> int:
        """Only value as an integer; see :meth:`__bool__`."""
        return int(self.item() if self._alone else float(self))

    # -- within -----------------------------------------------------------------------------------------------------

    @property
    def _alone(self) -> bool:
        return self.tally.of_test and self.ranges is None and len(self.values) == 1

    def _events(self, what: str) -> Ranges:
        if self.ranges is None:
            raise ColumnError(f".{what}() has nothing to reduce: this column already has one value per row.")
        return self.ranges

    def _spans(self, what: str) -> Spans:
        """Return the values without nulls, and the ranges over them."""
        ranges = self._events(what)
        known, spans = self.made.get("spans", (None, None))
        if known is not ranges:  # what is made once is shared by columns of other ranges over the same events
            spans = fold.spans_of(self.values, ranges.lo, ranges.hi, self.made)
            self.made["spans"] = (ranges, spans)
        found: Spans = spans
        return found

    def _reduced(self, what: str, reduction: Callable[[Spans], Values], *kinds: Kind) -> "Column":
        if kinds and self.values.kind not in kinds:
            raise ColumnError(f".{what}() works on {', '.join(kinds)} columns; this one is {self.values.kind}.")
        return self._row(reduction(self._spans(what)))

    def _row(self, values: Values) -> "Column":
        return Column(values, None, self.tally)

    def _with(self, values: Values) -> "Column":
        return Column(values, self.ranges, self.tally)


def where(condition: Any, left: Any, right: Any) -> Column:
    """``left`` where the condition is true, ``right`` where it is false, null where it is null."""
    home, given = _together(condition, left, right)
    return Column(elementwise.where(*given), home.ranges, home.tally)


def _combined(ufunc: np.ufunc, *operands: Any) -> Column:
    """Element by element; values that were there and gave none (NaN, infinite, past int64) are counted (S7)."""
    home, given = _together(*operands)
    made = UFUNCS[ufunc](*given)
    if made.valid is not None and not made.valid.all():
        known = np.logical_and.reduce([one.mask for one in given if isinstance(one, Values)])
        lost = int(np.count_nonzero(known & ~made.valid))
        home.tally.not_finite += lost
    return Column(made, home.ranges, home.tally)


def _together(*operands: Any) -> tuple[Column, list[Any]]:
    """Return one of the columns, and all operands with the columns' values in their place."""
    columns = [one for one in operands if isinstance(one, Column)]
    home = columns[0]
    for column in columns[1:]:
        if (column.ranges is None) != (home.ranges is None):
            raise ColumnError(
                "One column has a value per event, the other one per row: an event lies in many windows, so they "
                "cannot be combined. Reduce first, or use .apply(function, returns=...)."
            )
        if column.ranges is not home.ranges:
            raise ColumnError(
                "These columns come from different windows (one is filtered): filter both the same way, or reduce "
                "first."
            )
    return home, [one.values if isinstance(one, Column) else one for one in operands]


def _instead(name: str) -> str:
    """Which reduction of a column does what a NumPy function would."""
    plain = name.removeprefix("nan").removeprefix("a") if name not in ("any", "all") else name
    reduction = _NUMPY_NAMES.get(name, plain)
    if reduction in REDUCTIONS:
        return f"Use the column's own reduction .{reduction}()."
    return f"Use a reduction of the column ({', '.join(REDUCTIONS)}) or .apply(function, returns=...)."


def _typed(results: list[Any], kind: Kind) -> Values:
    """What a Python function gave, in the type it says it gives; NaN and infinity are null."""
    return from_list(kind, [None if one is None else _as_kind(one, kind) for one in results])


def _as_kind(result: Any, kind: Kind) -> Any:
    plain = result.item() if isinstance(result, np.generic) and not isinstance(result, np.datetime64) else result
    plain = plain.value if isinstance(plain, enum.Enum) else plain
    found = kind_of(type(plain))
    if found is None and not isinstance(plain, np.datetime64):
        raise ColumnError(f"apply(returns={kind}) gave {result!r}, which is no bool, int, float, str or datetime.")
    gave = "datetime" if found is None else found[0]
    if gave != kind and (kind, gave) != ("float", "int"):
        raise ColumnError(f"apply(returns={kind}) gave {result!r}, which is {gave}.")
    if kind == "int" and not -(2**63) <= plain < 2**63:
        raise IntegerOverflow(f"apply(returns=int) gave {plain}, past int64. Return it as a float or as text.")
    if kind != "float":
        return plain
    try:
        return float(plain) if math.isfinite(plain) else None
    except OverflowError:
        return None
