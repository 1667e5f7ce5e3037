"""What one value is made of: the window's edges, the events that count, those that do not and why, the operands.

The value comes from ``evaluate`` and which events count from ``visibility``, as in every lookup: here it is only told.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Literal

import numpy as np

from featurestore import times
from featurestore.definition import AS_OF, Source, WindowFeature
from featurestore.errors import UnknownService, suggest
from featurestore.evaluate import evaluate
from featurestore.events import Events, IntArray
from featurestore.lookup import Found, Prepared, find
from featurestore.online import OnlineStore
from featurestore.plan import RowStep, ServicePlan, WindowStep
from featurestore.values import Kind, Values
from featurestore.visibility import Viewpoint, windows_of

AROUND = 5  # events shown that do not count, for each reason: those nearest to the window
_NUMBER = "number"

Why = Literal["before", "at_end", "after", "known_later"]
WORDS: Mapping[Why, str] = {
    "before": "before the window",
    "at_end": "at the window's end, which is open",
    "after": "after the window",
    "known_later": "in the window, but not known yet",
}


@dataclass(frozen=True)
class Event:
    """An event of the entity. ``why`` says why it does not count; ``None``: it counts.

    ``columns`` holds the source's key, if it has one, and what the function read.
    """

    event_time: datetime
    known_at: datetime
    columns: Mapping[str, Any]
    why: Why | None


@dataclass(frozen=True)
class Look:
    """What a window feature looked at.

    Parameters
    ----------
    source, entity
        Their names.
    key
        The entity's key: value by column of the row. A null key matches nothing.
    begin, end
        The window's edges, UTC: ``begin`` is in it, ``end`` only where ``end_closed``. ``begin`` is ``None`` for the
        whole history.
    window, offset
        As they are declared, such as ``30d``.
    read
        Columns of the source that the function read.
    count
        Events that count.
    outside
        How many do not, by reason. What the online store has dropped is not among them.
    events
        Those that count and those nearest to them that do not, in order of time.
    """

    source: str
    entity: str
    key: Mapping[str, Any]
    begin: datetime | None
    end: datetime
    end_closed: bool
    window: str | None
    offset: str | None
    read: tuple[str, ...]
    count: int
    outside: Mapping[Why, int]
    events: tuple[Event, ...]


@dataclass(frozen=True)
class Step:
    """One value on the way: a window feature's, with its look, or a row feature's, with its operands."""

    name: str
    value: Any
    kind: Kind
    feature: str
    look: Look | None = None
    operands: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Explanation:
    """One value of a lookup, explained: ``steps`` has it first, then what it is made of, each once.

    ``as_of``, ``position`` and ``fingerprint`` are those of the lookup's vector.
    """

    service: str
    feature: str
    as_of: datetime
    position: int
    fingerprint: str
    steps: tuple[Step, ...]

    @property
    def value(self) -> Any:
        """The value, null as ``None``."""
        return self.steps[0].value

    def to_dict(self) -> dict[str, Any]:
        """All of it as dicts and lists of Python scalars; instants are datetimes."""
        told = asdict(self)
        return {"service": told.pop("service"), "feature": told.pop("feature"), "value": self.value, **told}


def explain(
    service: Prepared,
    feature: str,
    row: Mapping[str, Any],
    online: OnlineStore,
    *,
    now: int,
    as_of: int | None,
    untouched: Callable[[Source], bool],
    limit: int | None = None,
) -> Explanation:
    """Explain one value of a row; see :func:`featurestore.lookup.find` for the parameters.

    ``limit`` cuts the events that count to the newest of each window.

    Raises
    ------
    UnknownService
        If no step of the service has that name.
    """
    found = find(service, [row], online, now=now, as_of=as_of, untouched=untouched, whole=True)
    return explain_found(service.plan, service.fingerprint, feature, found, limit=limit)


def explain_found(
    plan: ServicePlan, fingerprint: str, feature: str, found: Found, *, limit: int | None = None
) -> Explanation:
    """Explain one value of the one row that was found, in the online store or in the log."""
    steps = list(_needed(plan, feature))
    names = tuple(name for name, _ in steps)
    made = evaluate(replace(plan, outputs=names), found.spine, found.events, found.entities)
    known = {**found.spine.columns, AS_OF: Values("datetime", found.spine.as_of), **made}
    values = {name: one.to_list()[0] for name, one in known.items()}
    told = tuple(
        Step(name, values[name], made[name].kind, step.feature.name, _look(step, name, found, values, limit))
        if isinstance(step, WindowStep)
        else Step(
            name,
            values[name],
            made[name].kind,
            step.feature.name,
            operands=dict(zip(step.feature.parameters, (values[one] for one in step.inputs), strict=True)),
        )
        for name, step in steps
    )
    at = times.to_datetime(int(found.spine.as_of[0]))
    return Explanation(plan.service.name, feature, at, found.position, fingerprint, told)


def _needed(plan: ServicePlan, feature: str) -> Iterator[tuple[str, WindowStep | RowStep]]:
    """Yield the step that gives a value, then those that it needs, each once, nearest first."""
    steps = {name: one for one in plan.steps for name in (one.outputs if isinstance(one, WindowStep) else [one.output])}
    if feature not in steps:
        raise UnknownService(
            f"Feature service {plan.service.name!r} has no value {feature!r}.{suggest(feature, steps)}"
        )
    waiting = [feature]
    for name in waiting:  # grows while it is read
        step = steps[name]
        yield name, step
        inputs = step.inputs if isinstance(step, RowStep) else ()
        waiting += [one for one in dict.fromkeys(inputs) if one in steps and one not in waiting]


def _look(step: WindowStep, output: str, found: Found, values: Mapping[str, Any], limit: int | None) -> Look:
    feature, view = step.feature, step.keyed.view
    window = feature.windows[step.outputs.index(output)]
    events = found.events[view.name]
    end = int(found.spine.as_of[0]) - feature.offset
    numbers = _numbers(feature, window, events, found.entities[step.keyed], found.spine.as_of)
    read = tuple(name for name in view.source.fields.names if name in feature.columns)
    return Look(
        source=view.source.name,
        entity=view.entity.name,
        key={column: values[column] for column in step.keyed.columns},
        begin=None if window is None else times.to_datetime(max(end - window, times.EARLIEST)),
        end=times.to_datetime(end),
        end_closed=view.source.inclusive,
        window=None if window is None else times.format_duration(window),
        offset=times.format_duration(feature.offset) if feature.offset else None,
        read=read,
        count=len(numbers[None]),
        outside={why: len(numbers[why]) for why in WORDS if len(numbers[why])},
        events=_events(view.source, read, events, _shown(numbers, limit)),
    )


def _numbers(
    feature: WindowFeature, window: int | None, events: Events, entity: IntArray, as_of: IntArray
) -> dict[Why | None, IntArray]:
    """Numbers of the entity's events, by why they do not count; under ``None`` those that do."""
    numbered = replace(events, columns={_NUMBER: Values("int", np.arange(len(events)))})
    all_known = replace(numbered, known_at=np.full(len(events), times.EARLIEST))
    seen, in_time = (
        windows_of(
            Viewpoint(one),
            entity,
            as_of,
            windows=[window],
            offset=feature.offset,
            inclusive=feature.view.source.inclusive,
        )[_NUMBER]
        for one in (numbered, all_known)
    )
    counted = seen.values.data[int(seen.ranges.lo[0]) : int(seen.ranges.hi[0])]
    lo, hi = int(in_time.ranges.lo[0]), int(in_time.ranges.hi[0])
    (owner,) = entity.tolist()
    first, last = (lo, hi) if owner < 0 else events.starts[owner : owner + 2].tolist()
    past = np.arange(hi, last)
    at_end = events.event_time[past] == int(as_of[0]) - feature.offset
    return {
        None: counted,
        "before": np.arange(first, lo),
        "at_end": past[at_end],
        "after": past[~at_end],
        "known_later": np.setdiff1d(np.arange(lo, hi), counted),
    }


def _shown(numbers: Mapping[Why | None, IntArray], limit: int | None) -> list[tuple[int, Why | None]]:
    """The newest events that count, and for each reason those nearest to the window; in order."""
    counted = numbers[None] if limit is None else numbers[None][max(len(numbers[None]) - limit, 0) :]
    shown: dict[Why | None, IntArray] = {
        None: counted,
        "before": numbers["before"][-AROUND:],
        "known_later": numbers["known_later"][-AROUND:],
        "at_end": numbers["at_end"][:AROUND],
        "after": numbers["after"][:AROUND],
    }
    return sorted((number, why) for why, some in shown.items() for number in some.tolist())


def _events(
    source: Source, read: Sequence[str], events: Events, shown: Sequence[tuple[int, Why | None]]
) -> tuple[Event, ...]:
    place = np.array([number for number, _ in shown], np.int64)
    key = [source.key] if source.key is not None and source.key not in read else []
    names = [name for name in (*key, *read) if name != source.event_time]
    columns = [events.columns[name].take(place).to_list() for name in names]
    rows = zip(*columns, strict=True) if columns else iter([()] * len(shown))
    happened, known = (
        [times.to_datetime(one) for one in stamps[place].tolist()] for stamps in (events.event_time, events.known_at)
    )
    return tuple(
        Event(at, since, dict(zip(names, row, strict=True)), why)
        for at, since, row, (_, why) in zip(happened, known, rows, shown, strict=True)
    )
