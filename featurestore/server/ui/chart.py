"""Where a window's events lie on a picture: across by time, up by the first number that the feature read."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from featurestore.explain import WORDS, Event, Look
from featurestore.server.ui.drawing import instant, literal

HEIGHT = 150  # pixels; across, places are percent, so that the picture fits any width
_TOP, _BOTTOM, _NULL = 16, 120, 138
_LEFT, _RIGHT = 12.0, 88.0  # percent: the window's edges; beside them is room for what lies outside
_OUTER = 1.5


@dataclass(frozen=True)
class Mark:
    """One event: ``x`` in percent, ``y`` in pixels, ``shape`` is ``counts``, ``outside`` or ``unknown``."""

    x: float
    y: float
    shape: str
    words: str


@dataclass(frozen=True)
class Chart:
    """The picture of a window: its edges in percent, its events, and what it says in words."""

    left: float
    right: float
    marks: tuple[Mark, ...]
    column: str | None
    low: Any
    high: Any
    nulls: int

    @property
    def height(self) -> int:
        """Pixels."""
        return HEIGHT


def chart_of(look: Look) -> Chart | None:
    """Place the events that an explanation shows; ``None`` where there are none."""
    if not look.events:
        return None
    begin = look.begin or min([one.event_time for one in look.events if one.why is None], default=look.end)
    column = _number(look)
    values = [None if column is None else one.columns[column] for one in look.events]
    known = [one for one in values if one is not None]
    low, high = (min(known), max(known)) if known else (None, None)
    marks = tuple(
        Mark(_x(one.event_time, begin, look.end), _y(value, low, high, column), _shape(one), _words(one, column))
        for one, value in zip(look.events, values, strict=True)
    )
    return Chart(_LEFT, _RIGHT, marks, column, low, high, values.count(None) if column else 0)


def _number(look: Look) -> str | None:
    """First column read that holds numbers."""
    for name in look.read:
        found: Sequence[Any] = [one.columns[name] for one in look.events if one.columns.get(name) is not None]
        if found and isinstance(found[0], (int, float)) and not isinstance(found[0], bool):
            return name
    return None


def _x(at: datetime, begin: datetime, end: datetime) -> float:
    """Percent; what lies far outside stands at the picture's edge."""
    span = (end - begin).total_seconds() or 1.0
    place = _LEFT + (_RIGHT - _LEFT) * ((at - begin).total_seconds() / span)
    return round(min(max(place, _OUTER), 100 - _OUTER), 3)


def _y(value: Any, low: Any, high: Any, column: str | None) -> float:
    if column is None or low is None:
        return (_TOP + _BOTTOM) / 2
    if value is None:
        return _NULL
    return round(_BOTTOM - (_BOTTOM - _TOP) * ((value - low) / (high - low) if high > low else 0.5), 2)


def _shape(event: Event) -> str:
    return "counts" if event.why is None else "unknown" if event.why == "known_later" else "outside"


def _words(event: Event, column: str | None) -> str:
    value = "" if column is None else f", {column} {literal(event.columns[column])}"
    return f"{instant(event.event_time)} UTC{value}: {'counts' if event.why is None else WORDS[event.why]}"
