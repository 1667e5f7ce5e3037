"""Which columns of a table made elsewhere were computed with a leak: told by computing them again, read otherwise.

Each reading is the service's own features over altered rules, events or instants, through the one path: events at T
seen, delays ignored, the window that lies ahead, all there is whenever it happened, the state of the newest event,
instants in another time zone, ties the other way round. A column that agrees with one of them in more rows than with
the correct reading leaks.
"""

import copy
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from featurestore import casting, spine, times
from featurestore.definition import FeatureService, SourceBy, WindowFeature
from featurestore.engine import local
from featurestore.errors import DefinitionError, RequestError, suggest
from featurestore.evaluate import Spine
from featurestore.events import Events, IntArray
from featurestore.log import EventLog
from featurestore.plan import RowStep, ServicePlan, WindowStep, compile_service
from featurestore.registry import Registry
from featurestore.values import ARROW_TYPES, MAPS, Kind, Values, from_arrow
from featurestore.view import KNOWN_AT

ROWS = 5_000
CORRECT = "as declared"
_HOUR = 3_600_000_000
_ZONES = sorted((hours for hours in range(-12, 15) if hours), key=abs)  # of those that agree alike, the nearest
_EVER = 10**17  # microseconds: longer than any history
_DAWN = times.to_micros("0001-01-01")
_NEAR, _NEAR_SINGLE = 1e-9, 1e-6  # relative: sums in pandas round otherwise, and float32 has seven digits
_LIKE = 0.5  # share of rows below which a reading explains nothing
Verdict = Literal["right", "leaks", "differs"]
Steps = tuple[WindowStep | RowStep, ...]


@dataclass(frozen=True)
class Column:
    """How a column of the table agrees with each reading of a feature: shares of rows, 0 to 1.

    ``right`` agrees with the declared reading in every row; one that ``leaks`` with ``reading`` in more rows than with
    that; what ``differs`` agrees with none of them.
    """

    column: str
    feature: str
    verdict: Verdict
    reading: str | None
    shares: Mapping[str, float]


@dataclass(frozen=True)
class Leaks:
    """What was found in ``rows`` rows of a table: its columns in the service's order, then what it lacks."""

    service: str
    rows: int
    columns: tuple[Column, ...]
    lacking: tuple[str, ...]

    @property
    def leaking(self) -> tuple[Column, ...]:
        """Columns that leak."""
        return tuple(one for one in self.columns if one.verdict == "leaks")


@dataclass(frozen=True, eq=False)
class _Reading:
    """How features are read: ``steps`` of the plan, instants and events, each as declared or altered."""

    name: str
    steps: Callable[[Steps], Steps] = lambda steps: steps
    as_of: Callable[[IntArray, int], IntArray] = lambda as_of, newest: as_of  # noqa: ARG005 - the other takes it
    known_at: Callable[[IntArray, IntArray], IntArray] = lambda event_time, known_at: known_at  # noqa: ARG005 - as above
    arranged: Callable[[Events], Events] = lambda events: events


def find(
    service: FeatureService,
    registry: Registry,
    table: pa.Table,
    log: EventLog,
    *,
    time: str,
    columns: Mapping[str, str] | None = None,
    rows: int = ROWS,
) -> Leaks:
    """Compare a table's columns with the service's features, read correctly and in every leaky way.

    Parameters
    ----------
    service
        Its outputs are looked for in the table, by name or as ``columns`` maps them (feature to column).
    registry
        All declarations.
    table
        Entity keys, instants in ``time``, the request fields that the features need, and columns of features.
    log
        Events as they are now.
    rows
        Rows that are compared at most, drawn by chance (always the same).

    Raises
    ------
    RequestError
        If the table has none of the features, or lacks a key, a request field or the time.
    """
    named = {output: (columns or {}).get(output, output) for output in service.outputs}
    _check_mapped(columns or {}, named, table)
    there = {output: column for output, column in named.items() if column in table.column_names}
    if not there:
        raise RequestError(
            f"The table has no column named like a feature of {service.name!r}. It has: "
            f"{', '.join(table.column_names)}. Say which is which with columns={{feature: column}}."
        )
    plan = _plan(service, registry, list(there))
    drawn = np.sort(np.random.default_rng(len(table)).permutation(len(table))[:rows])
    some = table.take(drawn)
    keys = some.select([one.name for one in plan.columns if one.name in some.column_names])
    asked = spine.from_table(plan, keys, spine.instants(some.column(time), time))
    events = {view.source.name: local.read(view.source, log, None) for view in plan.views}
    events = {name: _of_asked(one, name, plan, asked) for name, one in events.items()}
    given = {output: _given(some.column(column), plan.kinds[output][0]) for output, column in there.items()}
    shares: dict[str, dict[str, float]] = {output: {} for output in there}
    for reading in _readings(plan):
        open_ = [output for output in there if shares[output].get(CORRECT, 0.0) < 1]
        for output, values in _read(reading, plan, asked, events).items() if open_ else ():
            if output in open_:
                shares[output][reading.name] = _share(given[output], values)
    found = tuple(_column(there[output], output, one) for output, one in shares.items())
    return Leaks(service.name, len(some), found, tuple(output for output in named if output not in there))


def _check_mapped(columns: Mapping[str, str], named: Mapping[str, str], table: pa.Table) -> None:
    for output, column in columns.items():
        if output not in named:
            raise RequestError(f"columns= names {output!r}, which is no feature.{suggest(output, named)}")
        if column not in table.column_names:
            raise RequestError(f"The table has no column {column!r}.{suggest(column, table.column_names)}")


def _plan(service: FeatureService, registry: Registry, wanted: Sequence[str]) -> ServicePlan:
    """Plan of the wanted outputs alone; without the request fields where they can do without."""
    listed = [one for one in service.features if set(one.outputs) & set(wanted)]
    try:
        lean = FeatureService(service.name, features=listed)
        plan = compile_service(lean, registry.outputs)
    except DefinitionError:  # one of them needs a request field
        lean = FeatureService(service.name, features=listed, request=service.request)
        plan = compile_service(lean, registry.outputs)
    return replace(plan, outputs=tuple(wanted))


def _read(reading: _Reading, plan: ServicePlan, asked: Spine, events: Mapping[str, pa.Table]) -> Mapping[str, Values]:
    sources = {view.source.name: view.source for view in plan.views}
    altered, newest = {}, 0
    for name, table in events.items():
        known = from_arrow(table.column(KNOWN_AT), "datetime", nullable=False).data
        happened = from_arrow(table.column(sources[name].event_time), "datetime", nullable=False).data
        stamps = pa.array(reading.known_at(happened, known)).cast(ARROW_TYPES["datetime"])
        altered[name] = table.set_column(table.column_names.index(KNOWN_AT), KNOWN_AT, stamps)
        newest = max(newest, int(happened.max(initial=0)))
    at = Spine(np.asarray(reading.as_of(asked.as_of, newest), np.int64), asked.columns)
    return local.over(replace(plan, steps=reading.steps(plan.steps)), at, altered, arranged=reading.arranged)


# --- Readings ---


def _readings(plan: ServicePlan) -> Iterator[_Reading]:
    """The declared one, then the leaky ones, the plainest first: of those that agree alike the first is told."""
    sources = [view.source for view in plan.views]
    yield _Reading(CORRECT)
    if any(one.delay or one.known_at for one in sources):
        yield _Reading("delay ignored", known_at=_at_once)
    if not all(one.inclusive for one in sources):
        yield _Reading("events at T included", steps=_each(_inclusive))
        yield _Reading("events at T included, delay ignored", steps=_each(_inclusive), known_at=_at_once)
    yield _Reading("window after T", steps=_each(_ahead), known_at=_always)
    yield _Reading("all events, whenever they happened", steps=_each(_whenever), known_at=_always)
    yield _Reading("as of the newest event", as_of=_newest, known_at=_always)
    for hours in _ZONES:
        yield _Reading(f"time zone off by {hours:+d} h", as_of=functools.partial(_off, hours=hours))
    yield _Reading("ties in the reverse order", arranged=_ties_reversed)


def _newest(as_of: IntArray, newest: int) -> IntArray:
    return np.full(len(as_of), newest + 1)


def _off(as_of: IntArray, _: int, *, hours: int) -> IntArray:
    return as_of + hours * _HOUR


def _at_once(event_time: IntArray, _: IntArray) -> IntArray:
    return event_time


def _always(event_time: IntArray, _: IntArray) -> IntArray:
    return np.full(len(event_time), _DAWN, np.int64)


def _each(change: Callable[[WindowFeature, int | None], WindowFeature]) -> Callable[[Steps], Steps]:
    """Change window features, each window of a family by itself."""

    def changed(steps: Steps) -> Steps:
        made: list[WindowStep | RowStep] = []
        for step in steps:
            if isinstance(step, RowStep):
                made.append(step)
                continue
            for window, output in zip(step.feature.windows, step.outputs, strict=True):
                one = copy.copy(step.feature)
                one.windows = (window,)
                made.append(replace(step, feature=change(one, window), outputs=(output,)))
        return tuple(made)

    return changed


def _inclusive(feature: WindowFeature, _: int | None) -> WindowFeature:
    source = copy.copy(feature.view.source)
    object.__setattr__(source, "inclusive", True)  # as its own __init__ does
    feature.view = SourceBy(source, feature.view.entity)
    return feature


def _ahead(feature: WindowFeature, window: int | None) -> WindowFeature:
    """``[T, T + window)``, or all that comes after T."""
    feature.windows, feature.offset = (window or _EVER,), -(window or _EVER)
    return feature


def _whenever(feature: WindowFeature, _: int | None) -> WindowFeature:
    feature.windows, feature.offset = (None,), -_EVER
    return feature


def _ties_reversed(events: Events) -> Events:
    """Turn each run of events of one entity at one instant round."""
    entity = np.repeat(np.arange(len(events.starts) - 1), np.diff(events.starts))
    new = np.concatenate([[True], (np.diff(events.event_time) != 0) | (np.diff(entity) != 0)])[: len(entity)]
    place = np.lexsort((-np.arange(len(entity)), np.cumsum(new)))
    columns = {name: values.take(place) for name, values in events.columns.items()}
    return replace(events, event_time=events.event_time[place], known_at=events.known_at[place], columns=columns)


# --- Comparing ---


def _of_asked(table: pa.Table, source: str, plan: ServicePlan, asked: Spine) -> pa.Table:
    """Events of the entities that the rows ask for: the others are read once, and not again for each reading."""
    kept = np.zeros(len(table), np.bool_)
    for keyed in plan.keyed:
        if keyed.view.source.name == source:
            alike = np.ones(len(table), np.bool_)
            for own, name in zip(keyed.view.key_columns, keyed.columns, strict=True):
                there = casting.whole(table.column(own))
                wanted = asked.columns[name].to_arrow().unique().drop_null().cast(there.type)
                alike &= pc.is_in(there, value_set=wanted).to_numpy(zero_copy_only=False)
            kept |= alike
    return table if kept.all() else table.filter(pa.array(kept))


def _given(column: pa.ChunkedArray, kind: Kind) -> tuple[Values, float] | None:
    """Values of the table's own column and how near is equal; ``None`` where it is of another kind."""
    if kind in MAPS.values():
        return _given_maps(casting.whole(column), kind)
    near = _NEAR_SINGLE if column.type in (pa.float32(), pa.float16()) else _NEAR
    cast = casting.cast(casting.whole(column), kind)
    return None if len(cast.known.filter(cast.misfits)) else (from_arrow(cast.typed, kind), near)


def _given_maps(column: pa.Array, kind: Kind) -> tuple[Values, float] | None:
    """Maps, or pandas' dicts, of which Arrow makes structs: there a key without value is no other than no key."""
    try:
        rows = column.to_pylist(**({"maps_as_pydicts": "strict"} if pa.types.is_map(column.type) else {}))
        typed = pa.array([list((row or {}).items()) for row in rows], ARROW_TYPES[kind])
    except (pa.ArrowException, AttributeError, TypeError, ValueError):
        return None
    return from_arrow(typed, kind), _NEAR


def _same_map(one: Mapping[str, Any], other: Mapping[str, Any], near: float) -> bool:
    one, other = ({key: value for key, value in each.items() if value is not None} for each in (one, other))
    return one.keys() == other.keys() and all(
        math.isclose(value, other[key], rel_tol=near, abs_tol=near) if isinstance(value, float) else value == other[key]
        for key, value in one.items()
    )


def _share(given: tuple[Values, float] | None, values: Values) -> float:
    """Share of rows in which the table's value is the reading's; null is null."""
    if given is None or not len(values):
        return 0.0
    own, near = given
    if values.entries is not None:
        same = np.array([_same_map(a, b, near) for a, b in zip(own.to_list(), values.to_list(), strict=True)], np.bool_)
    elif values.kind == "str":
        same = np.array([a == b for a, b in zip(own.to_list(), values.to_list(), strict=True)], np.bool_)
    elif values.kind == "float":
        same = np.abs(own.data - values.data) <= near * np.maximum(1.0, np.abs(values.data))
    else:
        same = own.data == values.data
    return float(np.mean(np.where(own.mask & values.mask, same, own.mask == values.mask)))


def _column(column: str, output: str, shares: Mapping[str, float]) -> Column:
    correct = shares[CORRECT]
    best = max(shares, key=lambda name: shares[name])  # the first of equals
    leaks = shares[best] > correct and shares[best] >= _LIKE
    verdict: Verdict = "right" if correct == 1 else "leaks" if leaks else "differs"
    return Column(column, output, verdict, best if leaks else None, shares)
