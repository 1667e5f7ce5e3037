"""A column inside a feature: element by element until it is reduced, one value per row after.

Its operators are in :mod:`featurestore.operand`, its functions of one value at a time in :mod:`featurestore.elements`,
what describes a distribution or a trend in :mod:`featurestore.statistics`.
"""

import enum
import math
import operator
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from featurestore import extremes, fold, grouping
from featurestore.arithmetic import NUMBERS
from featurestore.errors import ColumnError, IntegerOverflow
from featurestore.events import IntArray
from featurestore.operand import Ranges, row_count
from featurestore.schema import kind_of
from featurestore.spans import covered
from featurestore.statistics import Statistics
from featurestore.values import Kind, Values, from_list


class Column(Statistics):
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
        return self._reduced("min", extremes.minimum)

    def max(self) -> "Column":
        """Largest value; null on an empty window."""
        return self._reduced("max", extremes.maximum)

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

    def mode(self) -> "Column":
        """Most frequent value, the smallest of those that tie; null on an empty window.

        Nulls are not counted. Works on every kind: strings tie by code point, false comes before true.

        Examples
        --------
        >>> from featurestore.testing import window
        >>> window(merchant=["shop", None, "bar", None, None, "shop", "bar"]).merchant.mode().item()
        'bar'
        """
        return self._reduced("mode", grouping.most_frequent)

    def first(self, n: int | None = None, *, skip_null: bool = False) -> "Column":
        """Value of the first event (S5), null included; with ``n`` the column of the first ``n`` events.

        With ``skip_null`` only values that are not null are looked at: the first of them, or the first ``n``. A window
        of fewer events gives those it has; an empty one null or, with ``n``, no event.

        Examples
        --------
        >>> from featurestore.testing import window
        >>> amount = window(amount=[None, 1.0, 5.0, 9.0]).amount
        >>> amount.first(2).mean().item(), amount.first(2, skip_null=True).mean().item()
        (1.0, 3.0)
        """
        return self.nth(0, skip_null=skip_null) if n is None else self._some("first", n, skip_null=skip_null)

    def last(self, n: int | None = None, *, skip_null: bool = False) -> "Column":
        """Value of the last event (S5), null included; with ``n`` the column of the last ``n`` events.

        With ``skip_null`` only values that are not null are looked at: the last of them, or the last ``n``. A window of
        fewer events gives those it has; an empty one null or, with ``n``, no event.

        Examples
        --------
        >>> from featurestore.testing import window
        >>> amount = window(amount=[1.0, 5.0, None]).amount
        >>> amount.last().item() is None, amount.last(skip_null=True).item(), amount.last(2).sum().item()
        (True, 5.0, 5.0)
        """
        return self.nth(-1, skip_null=skip_null) if n is None else self._some("last", n, skip_null=skip_null)

    def nth(self, n: int, *, skip_null: bool = False) -> "Column":
        """Value of event ``n`` from 0, negative from the end; null where there are fewer."""
        if skip_null:
            return self._reduced("nth", lambda spans: fold.pick(spans.values, spans.lo, spans.hi, operator.index(n)))
        ranges = self._events("nth")
        return self._row(fold.pick(self.values, ranges.lo, ranges.hi, operator.index(n)))

    def value_counts(self) -> "Column":
        """How often each value comes: a map from the value's text to its count; empty on an empty window.

        Nulls are not counted. Keys are in order of code point: strings as they are, ``true`` and ``false``, numbers as
        Python writes them, datetimes as ISO 8601. It is ``group_by`` of the column's own values; see
        :meth:`Window.group_by` for what else the counts are good for.

        Examples
        --------
        >>> from featurestore.testing import window
        >>> tx = window(merchant=["shop", None, "bar", "shop"])
        >>> tx.merchant.value_counts().item()
        {'bar': 1, 'shop': 2}
        >>> (tx.merchant.value_counts() / tx.count()).max().item()
        0.5
        """
        ranges = groups_of(self, "value_counts")[1]
        return Column(Values("int", ranges.hi - ranges.lo), ranges.groups, self.tally)

    def diff(self) -> "Column":
        """Change from the event before (S5): a column of all events of the window but its first.

        Numbers in their own unit, datetimes in seconds; null where either of the two is. An event before the window is
        no predecessor. ``.gaps()`` of a window is this of its event times.

        Raises
        ------
        ColumnError
            If the column is text.

        Examples
        --------
        >>> from featurestore.testing import window
        >>> balance = window(balance=[10.0, 12.0, 7.0]).balance
        >>> balance.diff().max().item(), balance.diff().min().item(), balance.diff().count().item()
        (2.0, -5.0, 2)
        """
        ranges = self._events("diff").followers()
        index = np.arange(len(self.values))
        follows = covered(ranges.lo, ranges.hi, len(index))
        before = Column(self.values.take(np.where(follows, index - 1, index)), ranges, self.tally)
        return Column(self.values, ranges, self.tally) - before

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

    def _some(self, what: str, n: int, *, skip_null: bool) -> "Column":
        """Events at one end of each window; the values of ``skip_null`` are ranged anew, without those between."""
        ranges, many = self._events(what), row_count(n, what)
        values, made = self.values, self.made
        if skip_null:
            spans = self._spans(what)
            values, made = spans.values, self.made.setdefault("made of those there", {})
            ranges = replace(ranges.but(spans.lo, spans.hi, times=lambda: self._times(what)), keys=None)
        return Column(values, ranges.oldest(many) if what == "first" else ranges.newest(many), self.tally, made)


def groups_of(column: Column, what: str) -> tuple[IntArray, Ranges]:
    """Return the events that have a value here in order of it, and the ranges of each row's groups over them."""
    ranges = column.ranges
    if ranges is None:
        raise ColumnError(f".{what}() splits events into groups: this column already has one value per row.")
    if ranges.groups is not None:
        raise ColumnError(f".{what}() of a grouped window: it is split by one column; group by another one apart.")
    names = grouping.as_text(column.values)
    if "by name" not in column.made:
        column.made["by name"] = grouping.arranged(names.data.astype(np.int64), names.valid)
    arrangement = column.made["by name"]
    found = grouping.grouped(arrangement, ranges.lo, ranges.hi)
    keys = Values("str", found.code.astype(np.int32), None, names.categories)
    of_rows = replace(ranges.but(found.first, found.last, times=_timeless), keys=keys)
    looks = ranges.looks.at(np.repeat(np.arange(len(ranges.lo)), found.last - found.first))
    split = ranges.but(found.lo, found.hi, times=lambda: ranges.times()[arrangement.order])
    return arrangement.order, replace(split, looks=looks, keys=None, groups=of_rows)


def _timeless() -> IntArray:
    raise ColumnError(
        "This goes by event time, and a group's value has none: use it on the events, such as "
        'tx.group_by("merchant").amount.slope().'
    )


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
