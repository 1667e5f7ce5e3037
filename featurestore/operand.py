"""What a column is and what it is combined with: nullable values, their operators, and NumPy's functions of them.

The set of operations is closed. What would cross windows (``np.mean``, ``np.cumsum``, a number as index, iteration)
raises and names the reduction to use. A computed NaN or infinity is null (S7), and so is an integer past int64.
"""

import operator
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn, Self

import numpy as np

from featurestore import elementwise
from featurestore.elementwise import UFUNCS
from featurestore.errors import ColumnError, suggest
from featurestore.events import IntArray
from featurestore.spans import expand
from featurestore.values import Values, mapped

REDUCTIONS = (
    *("count", "sum", "mean", "min", "max", "var", "std"),
    *("median", "quantile", "skew", "kurtosis", "entropy", "slope", "decayed_sum"),
    *("nunique", "mode", "value_counts", "any", "all", "first", "last", "nth"),
)
_NUMPY_NAMES = {
    "average": "mean",
    "unique": "nunique",
    "add": "sum",
    "minimum": "min",
    "maximum": "max",
    "size": "count",
    "percentile": "quantile",
    "polyfit": "slope",
}
_SHOWN = 10
Flags = np.ndarray[Any, np.dtype[np.bool_]]
LookArrays = tuple[IntArray, IntArray, IntArray, Flags]


@dataclass(eq=False)
class Tally:
    """What columns of one window share: how many NaN and infinities they computed (S7), and whether a test made it."""

    not_finite: int = 0
    of_test: bool = False


class Looks:
    """When each row looks: T, and the edges of its window; microseconds UTC, shape ``(rows,)``.

    ``whole`` where the window is the whole history; ``begin`` is 0 there. The four arrays are made when asked for: most
    features never do. ``windows`` is how many lie one after another for the same rows.
    """

    __slots__ = ("_made", "_make", "rows", "windows")

    def __init__(self, rows: int, make: Callable[[], LookArrays], windows: int = 1) -> None:
        self.rows = rows
        self.windows = windows
        self._make = make
        self._made: LookArrays | None = None

    @classmethod
    def of(cls, as_of: IntArray, begin: IntArray, end: IntArray, whole: Flags) -> "Looks":
        """Looks whose arrays are at hand."""
        return cls(len(as_of), lambda: (as_of, begin, end, whole))

    @property
    def as_of(self) -> IntArray:
        """T."""
        return self._arrays()[0]

    @property
    def begin(self) -> IntArray:
        """Where the window begins; 0 for the whole history."""
        return self._arrays()[1]

    @property
    def end(self) -> IntArray:
        """Where the window ends."""
        return self._arrays()[2]

    @property
    def whole(self) -> Flags:
        """Whether it is the whole history."""
        return self._arrays()[3]

    def at(self, rows: IntArray) -> "Looks":
        """Those of the rows at an index, such as each group's row."""
        return Looks.of(self.as_of[rows], self.begin[rows], self.end[rows], self.whole[rows])

    def _arrays(self) -> LookArrays:
        if self._made is None:
            self._made = self._make()
        return self._made


@dataclass(eq=False)
class Ranges:
    """Which events each row sees: ``[lo, hi)`` of one window's events. Columns that share it belong together.

    ``times`` gives the event times of the window's events.

    Where rows are split into groups, each group has a range and a look, and ``groups`` are those of the rows over the
    values that its reductions give; there, ``keys`` are the groups' names.
    """

    lo: IntArray
    hi: IntArray
    tally: Tally
    looks: Looks
    times: Callable[[], IntArray]
    keys: Values | None = None
    groups: "Ranges | None" = None
    cut: dict[tuple[int, int], "Ranges"] = field(default_factory=dict)

    def but(self, lo: IntArray, hi: IntArray, times: Callable[[], IntArray] | None = None) -> "Ranges":
        """Other ranges over the same events or, after a filter, over those that are left, with their own times."""
        return replace(self, lo=lo, hi=hi, times=times or self.times, cut={})

    def spread(self, values: Values) -> Values:
        """Give each group the value of its row."""
        rows = np.zeros(len(values if self.keys is None else self.keys), np.int64)
        rows[expand(self.lo, self.hi)] = np.repeat(np.arange(len(self.lo)), self.hi - self.lo)
        return values.take(rows)

    def oldest(self, n: int) -> "Ranges":
        """First ``n`` events of each range; the same object each time, so that columns of it belong together."""
        return self._once(n, 0, lambda: (self.lo, np.minimum(self.lo + n, self.hi)))

    def newest(self, n: int) -> "Ranges":
        """Last ``n`` events of each range."""
        return self._once(0, n, lambda: (np.maximum(self.hi - n, self.lo), self.hi))

    def followers(self) -> "Ranges":
        """Events that have one before them in the range: all but its first."""
        return self._once(0, 0, lambda: (np.minimum(self.lo + 1, self.hi), self.hi))

    def _once(self, first: int, last: int, edges: Callable[[], tuple[IntArray, IntArray]]) -> "Ranges":
        if (first, last) not in self.cut:
            self.cut[first, last] = self.but(*edges())
        return self.cut[first, last]


@dataclass(eq=False)
class Operand:
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

    def __add__(self, other: Any) -> Self:
        return self._combined(np.add, self, other)

    def __radd__(self, other: Any) -> Self:
        return self._combined(np.add, other, self)

    def __sub__(self, other: Any) -> Self:
        return self._combined(np.subtract, self, other)

    def __rsub__(self, other: Any) -> Self:
        return self._combined(np.subtract, other, self)

    def __mul__(self, other: Any) -> Self:
        return self._combined(np.multiply, self, other)

    def __rmul__(self, other: Any) -> Self:
        return self._combined(np.multiply, other, self)

    def __truediv__(self, other: Any) -> Self:
        return self._combined(np.divide, self, other)

    def __rtruediv__(self, other: Any) -> Self:
        return self._combined(np.divide, other, self)

    def __floordiv__(self, other: Any) -> Self:
        return self._combined(np.floor_divide, self, other)

    def __rfloordiv__(self, other: Any) -> Self:
        return self._combined(np.floor_divide, other, self)

    def __mod__(self, other: Any) -> Self:
        return self._combined(np.remainder, self, other)

    def __rmod__(self, other: Any) -> Self:
        return self._combined(np.remainder, other, self)

    def __pow__(self, other: Any) -> Self:
        return self._combined(np.power, self, other)

    def __rpow__(self, other: Any) -> Self:
        return self._combined(np.power, other, self)

    def __neg__(self) -> Self:
        return self._combined(np.negative, self)

    def __pos__(self) -> Self:
        return self

    def __abs__(self) -> Self:
        return self._combined(np.absolute, self)

    def __eq__(self, other: object) -> Self:  # type: ignore[override]
        return self._combined(np.equal, self, other)

    def __ne__(self, other: object) -> Self:  # type: ignore[override]
        return self._combined(np.not_equal, self, other)

    def __lt__(self, other: Any) -> Self:
        return self._combined(np.less, self, other)

    def __le__(self, other: Any) -> Self:
        return self._combined(np.less_equal, self, other)

    def __gt__(self, other: Any) -> Self:
        return self._combined(np.greater, self, other)

    def __ge__(self, other: Any) -> Self:
        return self._combined(np.greater_equal, self, other)

    def __and__(self, other: Any) -> Self:
        return self._combined(np.bitwise_and, self, other)

    def __or__(self, other: Any) -> Self:
        return self._combined(np.bitwise_or, self, other)

    def __rand__(self, other: Any) -> Self:
        return self._combined(np.bitwise_and, other, self)

    def __ror__(self, other: Any) -> Self:
        return self._combined(np.bitwise_or, other, self)

    def __invert__(self) -> Self:
        return self._combined(np.invert, self)

    __hash__ = None  # type: ignore[assignment]

    # -- reading it in a test ---------------------------------------------------------------------------------------

    def item(self) -> Any:
        """Return the value of the only row: a Python scalar, ``None`` for null, datetimes aware in UTC, a map's dict.

        ``==`` between columns is element by element, so a test compares this: ``tx.amount.mean().item() == 2.0``.

        Raises
        ------
        ColumnError
            If there is a value per event, or not exactly one row.
        """
        if self.ranges is not None and self.ranges.keys is None:
            raise ColumnError(".item() reads the value of one row; this column has one per event. Reduce it first.")
        rows = rows_of(self)
        if len(rows) != 1:
            raise ColumnError(f".item() reads the value of one row; this column has {len(rows)}.")
        return rows.to_list()[0]

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self.values.take(slice(0, _SHOWN)).to_list()))
        more = ", …" if len(self.values) > _SHOWN else ""
        per = "row" if self.ranges is None else "event" if self.ranges.keys is None else "group"
        return f"<Column of {self.values.kind} per {per}: {shown}{more}>"

    # -- NumPy, and what a column is not ----------------------------------------------------------------------------

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Self:
        if method != "__call__":
            raise ColumnError(f"np.{ufunc.__name__}.{method} would cross windows. {_instead(ufunc.__name__)}")
        if kwargs or ufunc not in UFUNCS:
            raise ColumnError(
                f"np.{ufunc.__name__} does not work on a column so. Columns know, without keywords: "
                f"{', '.join(sorted({one.__name__ for one in UFUNCS}))}. For more: .apply(function, returns=...)."
            )
        return self._combined(ufunc, *inputs)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> "Operand":
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

    def _with(self, values: Values) -> Self:
        return type(self)(values, self.ranges, self.tally)

    def _combined(self, ufunc: np.ufunc, *operands: Any) -> Self:
        """Element by element; values that were there and gave none (NaN, infinite, past int64) are counted (S7)."""
        ranges, given = together(*operands)
        made = UFUNCS[ufunc](*given)
        if made.valid is not None and not made.valid.all():
            known = np.logical_and.reduce([one.mask for one in given if isinstance(one, Values)])
            self.tally.not_finite += int(np.count_nonzero(known & ~made.valid))
        return type(self)(made, ranges, self.tally)


def rows_of(column: Operand) -> Values:
    """Return what a reduced column is as a feature: a value per row; a map per row where there is one per group."""
    ranges = column.ranges
    if ranges is None or ranges.keys is None:
        return column.values
    return mapped(np.stack([ranges.lo, ranges.hi], axis=1), ranges.keys, column.values)


def where(condition: Any, left: Any, right: Any) -> Operand:
    """``left`` where the condition is true, ``right`` where it is false, null where it is null."""
    home = next(one for one in (condition, left, right) if isinstance(one, Operand))
    ranges, given = together(condition, left, right)
    return type(home)(elementwise.where(*given), ranges, home.tally)


def together(*operands: Any) -> tuple[Ranges | None, list[Any]]:
    """Return the ranges of the columns, and all operands with the columns' values in their place.

    Beside values per group, a value per row stands for each of the row's groups.
    """
    ranges = None
    for one in operands:
        if isinstance(one, Operand) and one.ranges is not None:
            ranges = one.ranges
            break
    return ranges, [_values_in(ranges, one) if isinstance(one, Operand) else one for one in operands]


def _values_in(ranges: Ranges | None, column: Operand) -> Values:
    if column.ranges is ranges:
        return column.values
    if column.ranges is not None:
        raise ColumnError(
            "These columns come from different windows (one is filtered, or grouped): filter or group both at once, "
            "such as tx = tx[mask], or reduce first."
        )
    if ranges is None or ranges.keys is None:
        raise ColumnError(
            "One column has a value per event, the other one per row: an event lies in many windows, so they "
            "cannot be combined. Reduce first, or use .apply(function, returns=...)."
        )
    return ranges.spread(column.values)


def row_count(n: Any, what: str) -> int:
    """Return how many events ``.last(n)`` or ``.first(n)`` asks for."""
    if isinstance(n, (bool, np.bool_)) or not hasattr(type(n), "__index__") or operator.index(n) < 1:
        raise ColumnError(f".{what}({n!r}): give how many events, an integer from 1.")
    return operator.index(n)


def _instead(name: str) -> str:
    """Which reduction of a column does what a NumPy function would."""
    plain = name.removeprefix("nan").removeprefix("a") if name not in ("any", "all") else name
    reduction = _NUMPY_NAMES.get(name, plain)
    if reduction in REDUCTIONS:
        return f"Use the column's own reduction .{reduction}()."
    return f"Use a reduction of the column ({', '.join(REDUCTIONS)}) or .apply(function, returns=...)."
