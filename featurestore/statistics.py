"""What describes the distribution or the trend of a window's values: reductions of a column beside the plain ones.

Each gives one value per row (of a grouped window one per group), skips nulls, and is a function of exact sums, of
values in order, or of a correctly rounded sum of terms (S13): the same bytes for one row and for a million.
"""

from collections.abc import Callable
from typing import Self

import numpy as np

from featurestore import moments, quantiles, terms
from featurestore.arithmetic import NUMBERS
from featurestore.elements import Elements
from featurestore.errors import ColumnError
from featurestore.events import IntArray
from featurestore.operand import Ranges
from featurestore.spans import Spans, spans_of
from featurestore.times import Duration, duration
from featurestore.values import Kind, Values


class Statistics(Elements):
    """Nullable values that can be reduced to one figure per row."""

    _found: Spans | None = None

    def median(self) -> Self:
        """Middle of the sorted values, of an even number the midpoint of the two in the middle, rounded once.

        Returns
        -------
        Column
            Floats, in the column's unit; null without values. Nulls are skipped.

        Examples
        --------
        >>> from featurestore import testing
        >>> testing.window(amount=[10.0, None, 1.0, 4.0, 2.0]).amount.median().item()
        3.0
        """
        return self._reduced("median", quantiles.median, *NUMBERS)

    def quantile(self, q: float) -> Self:
        """Value at place ``q * (n - 1)`` of the sorted values, counted from 0; between two of them on a straight line.

        That is ``np.quantile(values, q)``, its default method ``linear``; ``quantile(0.5)`` is :meth:`median`.

        Parameters
        ----------
        q
            From 0, the smallest value, to 1, the largest.

        Returns
        -------
        Column
            Floats, in the column's unit; null without values. Nulls are skipped.

        Raises
        ------
        ColumnError
            If ``q`` is not a number from 0 to 1.

        Examples
        --------
        >>> from featurestore import testing
        >>> testing.window(amount=[10.0, 20.0, 30.0, 40.0]).amount.quantile(0.9).item()
        37.0
        """
        if isinstance(q, bool) or not isinstance(q, (int, float)) or not 0 <= q <= 1:
            raise ColumnError(f".quantile({q!r}): give one number from 0 to 1, such as 0.9.")
        return self._reduced("quantile", lambda spans: quantiles.quantile(spans, float(q)), *NUMBERS)

    def skew(self) -> Self:
        """Skewness, bias-corrected as in pandas: ``n sqrt(n-1) / (n-2) * sum(d^3) / sum(d^2)^1.5``, d from the mean.

        Of exact sums: the square root of a correctly rounded quotient.

        Returns
        -------
        Column
            Floats without unit; null with fewer than 3 values and where all are equal (pandas: 0). Nulls are skipped.

        Examples
        --------
        >>> from featurestore import testing
        >>> testing.window(amount=[1.0, 2.0, 6.0]).amount.skew().item()
        1.457862967321305
        """
        return self._reduced("skew", moments.skewness, *NUMBERS)

    def kurtosis(self) -> Self:
        """Excess kurtosis, bias-corrected as in pandas: 0 is what a normal distribution tends to.

        ``n (n+1) (n-1) / ((n-2) (n-3)) * sum(d^4) / sum(d^2)^2 - 3 (n-1)^2 / ((n-2) (n-3))``, d from the mean; exact,
        then correctly rounded.

        Returns
        -------
        Column
            Floats without unit; null with fewer than 4 values and where all are equal (pandas: 0). Nulls are skipped.

        Examples
        --------
        >>> from featurestore import testing
        >>> testing.window(amount=[1.0, 2.0, 3.0, 4.0]).amount.kurtosis().item()
        -1.2
        """
        return self._reduced("kurtosis", moments.kurtosis, *NUMBERS)

    def entropy(self) -> Self:
        """Shannon entropy of how often each value occurs, in bits: ``sum(p * log2(1 / p))``, p its share.

        Computed as ``sum(c * (log2(n) - log2(c))) / n`` of the counts, the sum correctly rounded.

        Returns
        -------
        Column
            Floats, bits; 0 where one value alone occurs, null without values. Nulls are skipped.

        Examples
        --------
        >>> from featurestore import testing
        >>> testing.window(merchant=["online", "shop", "online", "shop", None]).merchant.entropy().item()
        1.0
        """
        return self._reduced("entropy", terms.entropy)

    def slope(self, per: Duration = "1d") -> Self:
        """Slope of the least-squares line of the values against event time.

        ``(n sum(t v) - sum(t) sum(v)) / (n sum(t^2) - sum(t)^2)``, t the event time in units of ``per``; exact, then
        correctly rounded.

        Parameters
        ----------
        per
            The duration that the change is given for.

        Returns
        -------
        Column
            Floats, the column's unit per ``per``; null with fewer than two values, or all of one instant. Nulls are
            skipped.

        Raises
        ------
        ColumnError
            If ``per`` is no duration above zero.

        Examples
        --------
        >>> from featurestore import testing
        >>> tx = testing.window(event_time=["2026-01-01", "2026-01-02", "2026-01-05"], load=[1.0, 3.0, 9.0])
        >>> tx.load.slope(per="1d").item()
        2.0
        """
        unit, times = positive("slope", "per", per), self._times("slope")
        return self._reduced("slope", lambda spans: moments.slope(spans, times, unit), *NUMBERS)

    def decayed_sum(self, half_life: Duration) -> Self:
        """Sum in which a value weighs half after each half-life: ``sum(value * 2**-(age / half_life))``.

        The age is the time from the event to T (in a label: from T to the event). The sum of the terms is correctly
        rounded.

        Parameters
        ----------
        half_life
            Such as ``"7d"``.

        Returns
        -------
        Column
            Floats, in the column's unit; 0 on an empty window. Nulls are skipped.

        Raises
        ------
        ColumnError
            If ``half_life`` is no duration above zero.

        Examples
        --------
        >>> from featurestore import testing
        >>> tx = testing.window(as_of="2026-01-15", event_time=["2026-01-01", "2026-01-08"], amount=[100.0, 10.0])
        >>> tx.amount.decayed_sum(half_life="7d").item()
        30.0
        """
        unit, times = positive("decayed_sum", "half_life", half_life), self._times("decayed_sum")
        as_of = self._events("decayed_sum").looks.as_of
        return self._reduced("decayed_sum", lambda spans: terms.decayed(spans, times, as_of, unit), *NUMBERS)

    def _events(self, what: str) -> Ranges:
        if self.ranges is None:
            raise ColumnError(f".{what}() has nothing to reduce: this column already has one value per row.")
        return self.ranges

    def _spans(self, what: str) -> Spans:
        """Return the values without nulls, and the ranges over them."""
        ranges = self._events(what)
        if self._found is None:  # not kept in `made`, which it refers to: so all goes when the column does
            self._found = spans_of(self.values, ranges.lo, ranges.hi, self.made, ranges.looks.windows)
        return self._found

    def _times(self, what: str) -> IntArray:
        """Return the event times of the values that are not null."""
        times = Values("datetime", self._events(what).times(), self.values.valid)
        return spans_of(times, np.zeros(0, np.int64), np.zeros(0, np.int64), {}).values.data

    def _reduced(self, what: str, reduction: Callable[[Spans], Values], *kinds: Kind) -> Self:
        if kinds and self.values.kind not in kinds:
            raise ColumnError(f".{what}() works on {', '.join(kinds)} columns; this one is {self.values.kind}.")
        return type(self)(reduction(self._spans(what)), None if self.ranges is None else self.ranges.groups, self.tally)

    def _row(self, values: Values) -> Self:
        """Values of the rows or, where they are split, of their groups."""
        return type(self)(values, None if self.ranges is None else self.ranges.groups, self.tally)


def positive(what: str, name: str, given: Duration) -> int:
    """Microseconds of a duration above zero that a reduction is asked with.

    Raises
    ------
    ColumnError
        If it is none.
    """
    try:
        found = duration(given)
    except ValueError as error:
        raise ColumnError(f".{what}({name}={given!r}): {error}") from error
    if found == 0:
        raise ColumnError(f".{what}({name}={given!r}): give a duration above zero, such as '1d'.")
    return found
