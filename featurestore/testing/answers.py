"""What a service's features are worth for one row, one window and one call at a time.

Which events a window holds is told by the plain loops of :mod:`featurestore.testing.oracle`. The user's function is
then called for that window alone, so that nothing is shared between rows, windows or callers: neither ``evaluate`` nor
how it finds, orders and batches events is used. What a fold such as ``mean`` gives for one window is the product's own.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np

from featurestore import times
from featurestore.definition import AS_OF, RowFeature, Source
from featurestore.plan import Keyed, RowStep, ServicePlan, WindowStep
from featurestore.testing.oracle import Event, Rules, hidden, is_of, ordered, plain
from featurestore.testing.windows import of_events

_NOT_A_TIME = np.iinfo(np.int64).min


@dataclass(frozen=True)
class Look:
    """One window of one row: ``entity`` maps the source's columns to the key, times and lengths are microseconds."""

    source: Source
    rules: Rules
    entity: Mapping[str, Any]
    as_of: int
    position: int
    window: int | None
    offset: int

    def why_not(self, event: Event) -> str | None:
        """Why an event of the entity does not count, in words; ``None`` if it does."""
        return hidden(
            event, self.rules, as_of=self.as_of, position=self.position, window=self.window, offset=self.offset
        )


@dataclass(frozen=True)
class Made:
    """A value and what it is made of: ``inputs`` of a row feature, or a ``look`` and its ``events`` in S5 order.

    ``others`` are events of the same entity that do not count.
    """

    value: Any
    look: Look | None = None
    events: Sequence[Event] = ()
    others: Sequence[Event] = ()
    inputs: Mapping[str, Any] = field(default_factory=dict)


def rules_of(source: Source) -> Rules:
    """Return what the oracle needs to know of a source."""
    columns = tuple(source.fields.names)
    return Rules(columns, source.event_time, source.known_at, source.delay, source.key, source.inclusive)


def answered(
    plan: ServicePlan, logs: Mapping[str, Sequence[Event]], row: Mapping[str, Any], as_of: int, position: int
) -> dict[str, Made]:
    """Value of each output of a plan's steps, inputs first.

    Parameters
    ----------
    plan
        The service.
    logs
        Events by source, as :func:`featurestore.testing.oracle.delivered` gives them.
    row
        Keys and request fields; null is ``None``, datetimes are aware.
    as_of, position
        Microseconds UTC, and how many deliveries are seen.
    """
    known: dict[str, Any] = {**row, AS_OF: times.to_datetime(as_of)}
    made: dict[str, Made] = {}
    for step in plan.steps:
        if isinstance(step, RowStep):
            inputs = {name: known[name] for name in step.inputs}
            made[step.output] = Made(_row_value(plan, step, inputs), inputs=inputs)
        else:
            made |= _window_values(step, logs, row, as_of, position)
        known |= {name: one.value for name, one in made.items()}
    return made


def micros(value: Any) -> Any:
    """Return a datetime as microseconds UTC, anything else as it is."""
    return times.to_micros(value) if isinstance(value, datetime) else value


def _window_values(
    step: WindowStep, logs: Mapping[str, Sequence[Event]], row: Mapping[str, Any], as_of: int, position: int
) -> dict[str, Made]:
    source, entity = step.keyed.view.source, _entity(step.keyed, row)
    rules, offset = rules_of(source), step.feature.offset
    own = ordered([event for event in logs[source.name] if is_of(event, entity)], rules)
    values = {}
    for output, window in zip(step.outputs, step.feature.windows, strict=True):
        look = Look(source, rules, entity, as_of, position, window, offset)
        events = [event for event in own if look.why_not(event) is None]
        alone = of_events(source, events, as_of=as_of, end=as_of - offset, length=window)
        (value,) = alone.result(step.feature.function(alone)).to_list()
        values[output] = Made(value, look, events, [event for event in own if event not in events])
    return values


def _entity(keyed: Keyed, row: Mapping[str, Any]) -> dict[str, Any]:
    """Key by the source's own columns, as the log has it."""
    return {column: micros(row[name]) for column, name in zip(keyed.view.key_columns, keyed.columns, strict=True)}


# Row features (S8)


def _row_value(plan: ServicePlan, step: RowStep, inputs: Mapping[str, Any]) -> Any:
    kinds = {AS_OF: ("datetime", False), **{one.name: (one.kind, one.nullable) for one in plan.columns}, **plan.kinds}
    function = step.feature.function
    if step.feature.on_arrays:
        (found,) = np.asarray(function(*(_array(one, *kinds[name]) for name, one in inputs.items())))
    else:
        found = function(*(_scalar(one, kinds[name][0]) for name, one in inputs.items()))
    return _cleaned(found, step.feature)


def _scalar(value: Any, kind: str) -> Any:
    """A missing float is nan, any other missing value None; in a map too."""
    if kind == "float":
        return math.nan if value is None else value
    if kind == "map[float]":
        return {key: math.nan if one is None else one for key, one in value.items()}
    return value


def _array(value: Any, kind: str, nullable: bool) -> np.ndarray[Any, Any]:  # noqa: FBT001 - unpacked from a pair
    """Array of length 1."""
    if kind == "datetime":
        return np.array([_NOT_A_TIME if value is None else micros(value)], np.int64).view("datetime64[us]")
    if kind == "float" or (kind in ("int", "bool") and not nullable):
        return np.array([_scalar(value, kind)])
    made = np.empty(1, object)
    made[0] = _scalar(value, kind)
    return made


def _cleaned(value: Any, feature: RowFeature) -> Any:
    """Python scalar of the feature's kind; NaN and infinity are null (S7)."""
    if isinstance(value, np.datetime64):
        return None if np.isnat(value) else times.to_datetime(times.to_micros(value))
    value = value.item() if isinstance(value, np.generic) else value
    return plain(float(value) if feature.kind == "float" and value is not None else value)
