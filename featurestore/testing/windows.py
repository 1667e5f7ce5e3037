"""A window of given events, to test a definition without a store."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from pydantic import BaseModel

from featurestore import times
from featurestore.definition import Source
from featurestore.errors import RequestError, suggest
from featurestore.events import IntArray, order
from featurestore.operand import Looks, Ranges, Tally
from featurestore.schema import Field, kind_of, schema_of
from featurestore.testing.oracle import KNOWN_AT, Event
from featurestore.values import Values, from_list
from featurestore.window import Frame, Window

AS_OF = datetime(2026, 1, 1, tzinfo=UTC)
_SECOND = 1_000_000


def window(
    schema: type[BaseModel] | None = None,
    *,
    as_of: Any = None,
    event_time: Sequence[Any] | None = None,
    known_at: Sequence[Any] | None = None,
    window: times.Duration | None = None,
    **columns: Sequence[Any],
) -> Window:
    """One window that holds exactly the given events, as a feature's function gets it: nothing is cut off.

    Parameters
    ----------
    schema
        pydantic model of one event: types the columns and adds those that are not given, from their defaults or as
        nulls. Without it a column has the type of its values, and can hold null where a ``None`` is given, or a float.
    as_of
        T; by default one second after the last event, or 2026-01-01 UTC.
    event_time
        One instant per event (naive is UTC); by default one event a second, up to T. Events are put in S5 order.
    known_at
        One instant per event; by default the event times.
    window
        Its length, for :meth:`~featurestore.window.Window.rate`; by default the whole history.
    **columns
        One value per event, ``None`` for null. ``event_time`` and ``known_at`` are also columns of the schema, if it
        has such.

    Raises
    ------
    RequestError
        If columns differ in length, are not in the schema, or hold values of no or several types.

    Examples
    --------
    >>> tx = window(amount=[10.0, None, 30.0], merchant=["online", "shop", "online"])
    >>> tx.amount.sum().item(), tx[tx.merchant == "online"].count().item()
    (40.0, 2)
    >>> window(amount=[]).amount.mean().item() is None
    True
    """
    given: dict[str, Sequence[Any]] = {name: list(column) for name, column in columns.items()}
    rows = _rows(
        given | {name: one for name, one in (("event_time", event_time), ("known_at", known_at)) if one is not None}
    )
    happened, end = _instants(event_time, as_of, rows)
    known = happened if known_at is None else np.array([times.to_micros(one) for one in known_at], np.int64)
    if schema is None:
        made = {name: _untyped(name, column) for name, column in given.items()}
    else:
        for name, stamps in (("event_time", happened), ("known_at", known)):
            if name in schema.model_fields:
                given.setdefault(name, stamps.tolist())
        made = _typed(schema, given, rows)
    place = order(np.zeros(rows, np.int64), happened, known, list(made.values()))
    if place is not None:
        happened, known, made = happened[place], known[place], {name: one.take(place) for name, one in made.items()}
    length = None if window is None else times.duration(window)
    return _one_row(Frame(made, happened, known), Tally(of_test=True), as_of=end, end=end, length=length)


def of_events(source: Source, events: Sequence[Event], *, as_of: int, end: int, length: int | None) -> Window:
    """Window of one row that holds these events of a source as they lie: they are not ordered, nothing is cut off.

    ``as_of``, the window's ``end`` and its ``length`` (``None``: the whole history) are microseconds.
    """
    made = {
        field.name: from_list(field.kind, [one[field.name] for one in events], nullable=field.masked)
        for field in source.fields.fields
    }
    happened, known = (np.array([one[name] for one in events], np.int64) for name in (source.event_time, KNOWN_AT))
    return _one_row(Frame(made, happened, known), Tally(), as_of=as_of, end=end, length=length)


def _one_row(frame: Frame, tally: Tally, *, as_of: int, end: int, length: int | None) -> Window:
    begin = np.full(1, 0 if length is None else end - length)
    looks = Looks.of(np.full(1, as_of), begin, np.full(1, end), np.full(1, length is None))
    events = np.full(1, len(frame.times))
    return Window(frame, Ranges(np.zeros(1, np.int64), events, tally, looks, lambda: frame.times))


def _rows(columns: Mapping[str, Sequence[Any]]) -> int:
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise RequestError(f"Columns of one window have one value per event; here are {lengths}.")
    return next(iter(lengths.values()), 0)


def _instants(event_time: Sequence[Any] | None, as_of: Any, rows: int) -> tuple[IntArray, int]:
    """Event times and T, microseconds UTC."""
    if event_time is None:
        end = times.to_micros(AS_OF if as_of is None else as_of)
        return end - _SECOND * np.arange(rows, 0, -1, dtype=np.int64), end
    happened = np.array([times.to_micros(one) for one in event_time], np.int64)
    if as_of is not None:
        return happened, times.to_micros(as_of)
    return happened, int(happened.max()) + _SECOND if rows else times.to_micros(AS_OF)


def _untyped(name: str, column: Sequence[Any]) -> Values:
    """Values in the type of the first one, float if there is none; integers beside floats are floats."""
    found = {kind_of(type(one)) for one in column if one is not None}
    kinds = {one[0] if one else None for one in found} or {"float"}
    kind = "float" if kinds == {"int", "float"} else kinds.pop() if len(kinds) == 1 else None
    if kind is None:
        raise RequestError(
            f"{name}={column!r}: give values of one type: bool, int, float, str or datetime, None for null."
        )
    return from_list(kind, column, nullable=None in column)


def _typed(schema: type[BaseModel], given: Mapping[str, Sequence[Any]], rows: int) -> dict[str, Values]:
    fields = schema_of(schema)
    unknown = [name for name in given if name not in fields]
    if unknown:
        raise RequestError(f"{schema.__name__} has no column {unknown[0]!r}.{suggest(unknown[0], fields.names)}")
    return {field.name: _column(field, given.get(field.name, [field.default] * rows)) for field in fields.fields}


def _column(field: Field, column: Sequence[Any]) -> Values:
    """A column that is not given may be null in a test, also where the schema does not allow it."""
    return from_list(field.kind, column, nullable=field.masked or None in column)
