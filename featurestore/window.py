"""The batch of windows that a feature's function gets: sorted events, and per row the range of them that it sees."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from featurestore.arithmetic import constant
from featurestore.column import Column, groups_of
from featurestore.errors import ColumnError, FeatureStoreError, suggest
from featurestore.events import IntArray
from featurestore.fold import finite, lengths
from featurestore.operand import Looks, Ranges, Tally, row_count, rows_of
from featurestore.schema import Schema
from featurestore.statistics import positive
from featurestore.times import Duration
from featurestore.values import DTYPES, Values


@dataclass(eq=False)
class Frame:
    """Events that windows look into, and what their plain columns' folds share."""

    columns: Mapping[str, Values]
    event_time: IntArray
    known_at: IntArray
    index: IntArray | None = None
    read: set[str] = field(default_factory=set)
    made: dict[str, dict[str, Any]] = field(default_factory=dict)

    def column(self, name: str) -> Values:
        """Return the values of a column, at ``index`` if there is one."""
        values = self.columns[name]
        self.read.add(name)
        return values if self.index is None else values.take(self.index)

    def at(self, index: IntArray) -> "Frame":
        """Return the events at ``index`` of this frame."""
        chosen = index if self.index is None else self.index[index]
        return Frame(self.columns, self.event_time, self.known_at, chosen, self.read)

    @property
    def times(self) -> IntArray:
        """Event times, microseconds UTC."""
        return self.event_time if self.index is None else self.event_time[self.index]


class Window:
    """Many windows at once: ``tx.amount`` is a column of events, its reductions give one value per row.

    ``tx[mask]`` keeps the events where a boolean column is true. ``tx["count"]`` reaches a column whose name is taken.
    """

    def __init__(self, frame: Frame, ranges: Ranges) -> None:
        self._frame = frame
        self._ranges = ranges
        self._columns: dict[str, Column] = {}  # one object each: its folds share what they make

    def __getattr__(self, name: str) -> Column:
        """Return a column of the events."""
        if name.startswith("_"):  # Python's own probing; no field of a schema begins so
            raise AttributeError(name)
        return self._column(name)

    def __getitem__(self, chosen: Any) -> Any:
        """Column of that name, or the window of the events where a boolean column is true."""
        if isinstance(chosen, str):
            return self._column(chosen)
        if not isinstance(chosen, Column):
            raise ColumnError(f"tx[{chosen!r}]: give a column's name, or a boolean column such as tx[tx.amount > 10].")
        if chosen.ranges is not self._ranges:
            raise ColumnError(
                "This mask is of another window, or has one value per row: make it from this window's own columns."
            )
        if chosen.values.kind != "bool":
            raise ColumnError(f"tx[mask] needs a boolean column; this one is {chosen.values.kind}.")
        kept = chosen.values.data & chosen.values.mask
        before = np.concatenate([[0], np.cumsum(kept)])
        frame = self._frame.at(np.flatnonzero(kept))
        lo, hi = before[self._ranges.lo], before[self._ranges.hi]
        return Window(frame, self._ranges.but(lo, hi, times=lambda: frame.times))

    def __repr__(self) -> str:
        return f"<Window of {', '.join(self._frame.columns)}>"

    def __bool__(self) -> bool:
        raise ColumnError("A window is neither true nor false: it holds many windows. Use .count() > 0.")

    def __len__(self) -> int:
        raise ColumnError("A window has no length: it holds many windows. Use .count().")

    def __iter__(self) -> Any:
        raise ColumnError(
            "A window cannot be iterated. Reduce its columns, or use tx.column.apply(function, returns=...)."
        )

    @property
    def as_of(self) -> Column:
        """The instant T of each row, UTC."""
        return Column(Values("datetime", self._ranges.looks.as_of), self._ranges.groups, self._ranges.tally)

    @property
    def event_time(self) -> Column:
        """When each event happened, UTC."""
        return self._times("event_time", self._frame.event_time)

    @property
    def known_at(self) -> Column:
        """When each event could first be known, UTC (S2)."""
        return self._times("known_at", self._frame.known_at)

    @property
    def not_finite(self) -> int:
        """How many NaN or infinities its columns have computed, and made null (S7)."""
        return self._ranges.tally.not_finite

    @property
    def columns_read(self) -> frozenset[str]:
        """Columns that the function has asked for."""
        return frozenset(self._frame.read)

    def count(self) -> Column:
        """Count the events; 0 on an empty window."""
        ranges = self._ranges
        return Column(lengths(ranges.lo, ranges.hi), ranges.groups, ranges.tally)

    def first(self, n: int) -> "Window":
        """Return the window of each row's first ``n`` events (S5); of all where there are fewer.

        Examples
        --------
        >>> from featurestore.testing import window
        >>> window(amount=[1.0, 2.0, 9.0]).first(2).amount.sum().item()
        3.0
        """
        return Window(self._frame, self._ranges.oldest(row_count(n, "first")))

    def last(self, n: int) -> "Window":
        """Return the window of each row's last ``n`` events (S5); of all where there are fewer.

        ``tx[mask].last(n)`` are the last of those that the mask keeps. For the others way round, ``recent =
        tx.last(n)``, then ``recent[recent.amount > 10]``.

        Examples
        --------
        >>> from featurestore.testing import window
        >>> tx = window(amount=[1.0, 2.0, 9.0])
        >>> tx.last(2).amount.mean().item(), tx[tx.amount < 5].last(1).amount.sum().item()
        (5.5, 2.0)
        """
        return Window(self._frame, self._ranges.newest(row_count(n, "last")))

    def gaps(self) -> Column:
        """Seconds from one event of the window to the next: a column of all its events but the first (S5).

        Each is ``event_time`` less that of the event before, 0 where they tie. It is reduced like any other column:
        ``.mean()``, ``.min()``, ``.std()``, ``(tx.gaps() > 1800).sum()``; null (count and sum: 0) below two events.

        Examples
        --------
        >>> from featurestore.testing import window
        >>> tx = window(event_time=["2026-01-01T10:00", "2026-01-01T10:01", "2026-01-01T10:04"])
        >>> tx.gaps().mean().item(), tx.gaps().max().item(), tx.gaps().count().item()
        (120.0, 180.0, 2)
        """
        return self.event_time.diff()

    def rate(self, per: Duration = "1h") -> Column:
        """Events per duration: the count divided by how many times ``per`` goes into the window.

        Over the whole history: into the time from the first event to T. Filtering keeps the window's length.

        Parameters
        ----------
        per
            The duration that is counted by, such as ``"1h"``.

        Returns
        -------
        Column
            Floats, one per row; 0 on an empty window, null over a whole history without events, or of no length.

        Raises
        ------
        ColumnError
            If ``per`` is no duration above zero.

        Examples
        --------
        >>> from featurestore import testing
        >>> testing.window(window="1d", amount=[5.0, 7.0, 9.0]).rate(per="8h").item()
        1.0
        """
        looks, unit = self._ranges.looks, positive("rate", "per", per)
        first = self.event_time.first().values
        length = looks.end - np.where(looks.whole, first.data, looks.begin)
        known = ~looks.whole | first.mask
        counts = self._ranges.hi - self._ranges.lo
        with np.errstate(all="ignore"):
            rates = counts / (length / unit)
        return Column(finite(rates, known), self._ranges.groups, self._ranges.tally)

    def group_by(self, key: str | Column) -> "Window":
        """Split each row's window by the values of a column: reductions then give one value per group.

        Returned from a feature that is a map per row, from the group's text to its value: a dict in a vector and in
        pandas, an object in JSON, a MAP in DuckDB, empty on an empty window. Keys are texts in order of code point (see
        :meth:`Column.value_counts`). Events whose key is null are in no group. A group's value may be null.

        Values per group are a column too: they take part in arithmetic with each other and with values per row, and can
        be reduced again, to one value per row.

        Parameters
        ----------
        key
            Name of a column, or a column of this window's events such as ``tx.event_time.weekday``.

        Examples
        --------
        >>> from featurestore.testing import window
        >>> tx = window(amount=[1.0, 2.0, 4.0, 8.0], merchant=["shop", "bar", "shop", None])
        >>> by_merchant = tx.group_by("merchant")
        >>> by_merchant.amount.sum().item(), by_merchant.count().item()
        ({'bar': 2.0, 'shop': 5.0}, {'bar': 1, 'shop': 2})
        >>> (by_merchant.amount.sum() / tx.amount.sum()).max().item()  # share of the merchant with the most
        0.3333333333333333
        """
        column = self._column(key) if isinstance(key, str) else key
        if not isinstance(column, Column) or column.ranges is not self._ranges:
            raise ColumnError(
                f"group_by({key!r}): give a column's name, or a column of this window's events such as tx.merchant."
            )
        order, ranges = groups_of(column, "group_by")
        return Window(self._frame.at(order), ranges)

    def since_last(self) -> Column:
        """Seconds from the last event to T; null on an empty window."""
        return self.as_of - self.event_time.last()

    def since_first(self) -> Column:
        """Seconds from the first event to T; null on an empty window."""
        return self.as_of - self.event_time.first()

    def result(self, returned: Any) -> Values:
        """Values of what a feature's function returned: one per row.

        Raises
        ------
        ColumnError
            If it is not one value per row.
        """
        rows = self._ranges.looks.rows
        if type(returned) is Column and returned.ranges is None and len(returned.values) == rows:
            return returned.values
        if returned is None:
            raise ColumnError("it returns None: is its `return` missing? For a feature without value return math.nan.")
        if isinstance(returned, Column):
            if returned.ranges is not None and returned.ranges.keys is None:
                raise ColumnError("it returns a column of events: reduce it to one value per row, such as .mean().")
            made = rows_of(returned)
            if len(made) == rows:
                return made
        if isinstance(returned, Window):
            raise ColumnError("it returns a window: reduce it to one value per row, for example with .count().")
        try:
            return constant(returned, rows)
        except FeatureStoreError as error:
            raise ColumnError(f"it returns {returned!r}: return a reduction such as tx.amount.mean().") from error

    def _column(self, name: str) -> Column:
        found = self._columns.get(name)
        if found is None:
            frame = self._frame
            try:
                values = frame.column(name)
            except KeyError:
                raise ColumnError(f"No column named {name!r}.{suggest(name, frame.columns)}") from None
            found = Column(values, self._ranges, self._ranges.tally, frame.made.setdefault(name, {}))
            self._columns[name] = found
        return found

    def _times(self, name: str, times: IntArray) -> Column:
        index, made = self._frame.index, self._frame.made.setdefault(f".{name}", {})
        values = Values("datetime", times if index is None else times[index])
        return Column(values, self._ranges, self._ranges.tally, made)


def empty_window(schema: Schema, event_time: str) -> Window:
    """Return a window with no events and no rows, to find out what a function gives."""
    none = np.zeros(0, np.int64)
    columns = {
        one.name: Values(
            one.kind,
            np.zeros(0, DTYPES[one.kind]),
            np.zeros(0, np.bool_) if one.masked else None,
            np.zeros(0, object) if one.kind == "str" else None,
        )
        for one in schema.fields
    }
    frame = Frame(columns, none, none)
    frame.read.add(event_time)
    looks = Looks.of(none, none, none, np.zeros(0, np.bool_))
    return Window(frame, Ranges(none, none, Tally(), looks, lambda: none))
