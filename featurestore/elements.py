"""What a column of events or of rows knows by name, element by element: nulls, choices, text and calendar."""

import math
from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from featurestore import elementwise
from featurestore.errors import ColumnError
from featurestore.operand import Operand, together
from featurestore.values import Values


class Elements(Operand):
    """Operand with functions of one value at a time; null gives null unless they say otherwise."""

    def is_null(self) -> Self:
        """Return true where there is no value."""
        return self._with(elementwise.is_null(self.values))

    def fill_null(self, value: Any) -> Self:
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
        ranges, given = together(~self.is_null(), self, value)
        filled = elementwise.where(*given)
        if not isinstance(value, Operand) or value.values.valid is None:
            filled = Values(filled.kind, filled.data, None, filled.categories)
        return type(self)(filled, ranges, self.tally)

    def is_in(self, choices: Sequence[Any]) -> Self:
        """Return true where the value is one of ``choices``; null where there is none."""
        if isinstance(choices, (str, Operand)):
            raise ColumnError(f".is_in({choices!r}): give a list of values, such as .is_in([{choices!r}]).")
        found = self._with(Values("bool", np.zeros(len(self.values), np.bool_), self.values.valid))
        for choice in choices:
            found = found | (self == choice)
        return found

    def abs(self) -> Self:
        """Magnitude."""
        return self._combined(np.absolute, self)

    def lower(self) -> Self:
        """Lower case."""
        return self._with(elementwise.text(self.values, "lower", str.lower))

    def upper(self) -> Self:
        """Upper case."""
        return self._with(elementwise.text(self.values, "upper", str.upper))

    def strip(self) -> Self:
        """Without white space at both ends."""
        return self._with(elementwise.text(self.values, "strip", str.strip))

    def length(self) -> Self:
        """Count the code points of each text."""
        return self._with(elementwise.text(self.values, "length", len))

    def startswith(self, prefix: str) -> Self:
        """Whether the text starts with ``prefix``."""
        return self._with(elementwise.text(self.values, "startswith", lambda text: text.startswith(prefix)))

    def endswith(self, suffix: str) -> Self:
        """Whether the text ends with ``suffix``."""
        return self._with(elementwise.text(self.values, "endswith", lambda text: text.endswith(suffix)))

    def contains(self, part: str) -> Self:
        """Whether the text holds ``part``."""
        return self._with(elementwise.text(self.values, "contains", lambda text: part in text))

    @property
    def minute(self) -> Self:
        """Minute of the hour, UTC, 0 to 59."""
        return self._with(elementwise.calendar(self.values, "minute"))

    @property
    def hour(self) -> Self:
        """Hour of the day, UTC, 0 to 23."""
        return self._with(elementwise.calendar(self.values, "hour"))

    @property
    def weekday(self) -> Self:
        """Day of the week, UTC, Monday is 0."""
        return self._with(elementwise.calendar(self.values, "weekday"))

    @property
    def is_weekend(self) -> Self:
        """Whether it is Saturday or Sunday, UTC.

        Examples
        --------
        >>> from featurestore.testing import window
        >>> tx = window(event_time=["2026-01-02T23:59", "2026-01-03T00:00"])  # a Friday, a Saturday
        >>> tx.event_time.is_weekend.first().item(), tx.event_time.is_weekend.last().item()
        (False, True)
        """
        return self.weekday >= 5  # noqa: PLR2004 - Saturday

    @property
    def date(self) -> Self:
        """Midnight at which the day began, UTC: a datetime, so that ``.date.nunique()`` counts days.

        Examples
        --------
        >>> from featurestore.testing import window
        >>> tx = window(event_time=["2026-01-02T10:00", "2026-01-02T23:59", "2026-01-03T00:00"])
        >>> tx.event_time.date.nunique().item()
        2
        """
        return self._with(elementwise.midnight(self.values))

    @property
    def day(self) -> Self:
        """Day of the month, UTC, from 1."""
        return self._with(elementwise.calendar(self.values, "day"))

    @property
    def month(self) -> Self:
        """Month, UTC, 1 to 12."""
        return self._with(elementwise.calendar(self.values, "month"))

    @property
    def quarter(self) -> Self:
        """Quarter of the year, UTC, 1 to 4."""
        return self._with(elementwise.calendar(self.values, "quarter"))

    @property
    def year(self) -> Self:
        """Year, UTC."""
        return self._with(elementwise.calendar(self.values, "year"))
