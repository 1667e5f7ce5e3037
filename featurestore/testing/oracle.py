"""Which events a row sees, computed the slow and obvious way, straight from the S-rules (S2 to S6, S10, S15).

Plain Python alone: integers, lists, dictionaries; nothing of the product, which is held against it. An event is a
dictionary of its columns plus ``__known_at`` (effective, S2) and ``__position`` (S10); datetimes are integer
microseconds UTC (S1) and null is ``None``.
"""

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Value = bool | int | float | str | None
Event = Mapping[str, Any]
KNOWN_AT = "__known_at"
POSITION = "__position"


class Refused(ValueError):
    """A known key came with another payload (S6)."""


@dataclass(frozen=True)
class Rules:
    """What a source says of its events. ``columns`` are in schema order; ``delay`` is in microseconds."""

    columns: tuple[str, ...]
    event_time: str = "event_time"
    known_at: str | None = None
    delay: int = 0
    key: str | None = None
    inclusive: bool = False


@dataclass(frozen=True)
class Delivery:
    """Rows that reach the store together ``at`` an instant: one bulk load, or one call of ingest."""

    kind: str
    at: int
    rows: tuple[Event, ...]
    history: bool = False


# S2, S6, S7: from deliveries to the log


def delivered(deliveries: Sequence[Delivery], rules: Rules) -> list[Event]:
    """Events of the log, positions 1, 2, … by delivery.

    Raises
    ------
    Refused
        If a known key comes with another payload (S6).
    """
    log: list[Event] = []
    first: dict[Value, list[Value]] = {}
    in_service = False
    stamp: int | None = None
    for position, delivery in enumerate(deliveries, start=1):
        is_history = delivery.kind == "bulk" and (delivery.history or not in_service)
        in_service = in_service or delivery.kind == "bulk"
        arrival = delivery.at if stamp is None else max(stamp, delivery.at)  # arrival stamps never decrease (S10)
        kept = []
        for raw in _in_order(delivery, rules):
            row = {column: plain(raw.get(column)) for column in rules.columns}
            identity = None if rules.key is None else row[rules.key]
            payload = [row[column] for column in rules.columns if column != rules.known_at]
            if identity is None or first.setdefault(identity, payload) is payload:
                known = _known_at(row, rules, None if is_history else arrival)
                kept.append({**row, KNOWN_AT: known, POSITION: position})
            elif first[identity] != payload:
                raise Refused(f"{identity!r} is known with another payload")
        stamp = arrival if kept and not is_history else stamp
        log += kept
    return log


def plain(entry: Any) -> Value:
    """S7: NaN and infinity are null, -0.0 is 0.0."""
    if isinstance(entry, float):
        return entry + 0.0 if math.isfinite(entry) else None
    known: Value = entry
    return known


def _in_order(delivery: Delivery, rules: Rules) -> list[Event]:
    """Of copies in one bulk load the one known first is the first, in whatever order a file holds them (S5, S6)."""
    if delivery.kind != "bulk":
        return list(delivery.rows)
    return sorted(delivery.rows, key=lambda row: _known_at(row, rules, None))


def _known_at(row: Event, rules: Rules, arrival: int | None) -> int:
    """S2; ``arrival`` is None for history, which alone has a delay: later, arrival is observed."""
    declared: int | None = None if rules.known_at is None else row[rules.known_at]
    if arrival is None:
        happened: int = row[rules.event_time]
        return happened + rules.delay if declared is None else declared
    return arrival if declared is None else max(declared, arrival)


# S3, S4, S5, S10, S15: from the log to one window


def visible(
    events: Sequence[Event],
    rules: Rules,
    *,
    entity: Mapping[str, Value],
    as_of: int,
    position: int | None = None,
    window: int | None = None,
    offset: int = 0,
) -> list[Event]:
    """Events of one entity that count at ``as_of``, in S5 order. ``entity`` maps the source's columns to the key."""
    look = {"as_of": as_of, "position": position, "window": window, "offset": offset}
    chosen = [one for one in events if is_of(one, entity) and hidden(one, rules, **look) is None]
    return ordered(chosen, rules)


def is_of(event: Event, entity: Mapping[str, Value]) -> bool:
    """Whether an event is of an entity; null keys match nothing (S7)."""
    return all(part is not None and event[column] == part for column, part in entity.items())


def hidden(
    event: Event, rules: Rules, *, as_of: Any, position: Any = None, window: Any = None, offset: Any = 0
) -> str | None:
    """Why an event does not count at ``as_of``, in words; ``None`` if it does."""
    before: Callable[[Any, Any], bool] = operator.le if rules.inclusive else operator.lt
    happened, known = event[rules.event_time], event[KNOWN_AT]
    edge = "after T" if rules.inclusive else "at T or after it"
    if position is not None and event[POSITION] > position:
        return "delivered later"
    if not before(happened, as_of):
        return f"happened {edge}"
    if not before(known, as_of):
        return f"known {edge}"
    if not before(happened, as_of - offset):
        return "after the window"
    if window is not None and happened < as_of - offset - window:
        return "before the window"
    return None


def ahead(
    events: Sequence[Event],
    rules: Rules,
    *,
    entity: Mapping[str, Value],
    as_of: int,
    horizon: int,
    offset: int = 0,
    position: int | None = None,
) -> list[Event]:
    """Events that a label sees (S15): ``[T, T+h)``, or ``(T, T+h]`` if inclusive, whenever they became known.

    An offset moves both edges.
    """
    begin, end = as_of + offset, as_of + offset + horizon
    chosen = []
    for event in events:
        happened = event[rules.event_time]
        inside = begin < happened <= end if rules.inclusive else begin <= happened < end
        if position is not None and event[POSITION] > position:
            continue
        if inside and is_of(event, entity):
            chosen.append(event)
    return ordered(chosen, rules)


def mature(
    events: Sequence[Event], rules: Rules, *, as_of: int, horizon: int, offset: int = 0, position: int | None = None
) -> bool:
    """Whether a label's horizon has closed by the newest ``known_at`` of its source, at a position (S15)."""
    there = [event for event in events if position is None or event[POSITION] <= position]
    return any(as_of + offset + horizon + rules.delay <= event[KNOWN_AT] for event in there)


def ordered(events: Sequence[Event], rules: Rules) -> list[Event]:
    """By event_time, known_at, then the remaining columns in schema order, null first (S5)."""
    remaining = [column for column in rules.columns if column != rules.event_time]

    def rank(event: Event) -> list[Any]:
        rest = [(0, 0) if event[column] is None else (1, event[column]) for column in remaining]
        return [event[rules.event_time], event[KNOWN_AT], *rest]

    return sorted(events, key=rank)
