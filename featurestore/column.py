"""A column inside a feature: element by element until it is reduced, one value per row after.

Its operators are in :mod:`featurestore.operand`, its functions of one value at a time in :mod:`featurestore.elements`.
"""

import enum
import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from featurestore import fold
from featurestore.arithmetic import NUMBERS
from featurestore.elements import Elements
from featurestore.errors import ColumnError, IntegerOverflow
from featurestore.fold import Spans
from featurestore.operand import Ranges
from featurestore.schema import kind_of
from featurestore.values import Kind, Values, from_list


class Column(Elements):
    """Nullable values, one per event, whose reductions give one per row."""

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
