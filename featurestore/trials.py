"""What services are tried on: made-up events of their sources' schemas, and a sample of what has been loaded."""

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from featurestore import arrivals, times
from featurestore.definition import Source
from featurestore.engine import local
from featurestore.errors import DefinitionError
from featurestore.evaluate import Spine
from featurestore.fresh import Fresh
from featurestore.log import EventLog
from featurestore.metamorphic import Blame, Trial, elsewhere, tried
from featurestore.plan import ServicePlan
from featurestore.specimens import START, distinct, specimens
from featurestore.values import ARROW_TYPES, Kind, Values, from_arrow, from_list
from featurestore.view import KNOWN_AT

MADE, LOADED = "made-up events", "loaded events"
_EVENTS = 160
_ROWS = 48
_NULLS = 8  # rows of nulls beside them
_MOST = 20_000  # loaded events that a trial takes
_ALL = 400 * 86_400_000_000  # how far back made events lie where windows have no end
_STRANGERS: Mapping[Kind, Any] = {"bool": True, "int": -7, "float": -7.5, "str": "nobody", "datetime": START}
IntArray = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class Checked:
    """What a check asked: ``rows`` by ``services``, on loaded events too, in another process too.

    Of the services in ``unmade`` no events or requests could be made up.
    """

    services: int
    rows: int
    on_loaded: bool
    in_another_process: bool
    unmade: tuple[str, ...]


def made(plan: ServicePlan) -> Trial | None:
    """Trial on made-up events; ``None`` where a schema's rules are too narrow to make any."""
    tables = {view.source.name: _events(view.source, plan) for view in plan.views}
    return None if any(not len(one) for one in tables.values()) else _trial(plan, tables, MADE)


def loaded(plan: ServicePlan, log: EventLog) -> Trial | None:
    """Trial on the events of a few entities that are in the log; ``None`` if a source has none there."""
    if not plan.views or any(not log.rows(view.source.name) for view in plan.views):
        return None
    sources = {view.source.name: view.source for view in plan.views}
    tables = {name: _sample(local.read(one, log, None), one, plan) for name, one in sources.items()}
    return _trial(plan, tables, LOADED)


def _trial(plan: ServicePlan, tables: Mapping[str, pa.Table], origin: str) -> Trial | None:
    asked = _asked(plan, tables)
    return None if asked is None else Trial(plan, tables, asked, len(asked) - _NULLS, origin)


def check(
    plans: Iterable[ServicePlan], log: EventLog | None, definitions: Path | None, root: Path
) -> tuple[list[str], Checked]:
    """Problems of all services, and what was asked to find them.

    Parameters
    ----------
    plans
        The services.
    log
        Where loaded events are, if there are any.
    definitions
        Folder or file that another process can read them from; ``None`` leaves that way of asking out.
    root
        Folder of the project.
    """
    listed = list(plans)
    found = [(plan, [made(plan), *([loaded(plan, log)] if log is not None else [])]) for plan in listed]
    trials = [one for _, those in found for one in those if one is not None]
    unmade = tuple(plan.service.name for plan, those in found if those[0] is None)
    blame, problems = Blame(), []
    with contextlib.nullcontext() if definitions is None else Fresh(definitions, root, trials) as fresh:
        for trial in trials:
            tried(trial, blame)
        try:
            for trial, answers in zip(trials, fresh.answers() if fresh else (), strict=False):
                elsewhere(trial, answers, blame)
        except DefinitionError as error:
            problems.append(str(error))
    asked = Checked(len(listed), blame.asked, any(one.origin == LOADED for one in trials), fresh is not None, unmade)
    return [*blame.problems.values(), *problems], asked


# --- Events ---


def _events(source: Source, plan: ServicePlan) -> pa.Table:
    """Made-up events: ties, late ones, and some at the very edges of the windows."""
    views = [view for view in plan.views if view.source.name == source.name]
    reaches = [plan.reach(view) for view in views]
    reach = _ALL if None in reaches else max(one for one in reaches if one is not None)
    drawn = np.random.default_rng(reach % 2**32)
    edges = np.array([0, 1, reach, reach + 1, reach - 1])
    ages = np.concatenate([edges, np.exp(drawn.uniform(0, np.log(reach * 1.2 + 2), _EVENTS - len(edges)))])
    ages = np.where(drawn.random(_EVENTS) < 0.3, ages[drawn.integers(_EVENTS, size=_EVENTS)], ages)  # noqa: PLR2004
    given: dict[str, Sequence[Any]] = {
        source.event_time: [times.to_datetime(START - int(age)) for age in ages.astype(np.int64)]
    }
    if source.key is not None and source.key != source.event_time:
        keys = distinct(source.fields, source.key, _EVENTS)
        given |= {} if keys is None else {source.key: keys}
    table = specimens(source.fields, _EVENTS, _EVENTS, given)
    known = arrivals.known_at(source, table, None)
    late = np.where(drawn.random(len(table)) < 0.2, np.exp(drawn.uniform(0, np.log(reach + 2), len(table))), 0)  # noqa: PLR2004
    stamps = pa.array(known + late.astype(np.int64)).cast(ARROW_TYPES["datetime"])
    return table.append_column(KNOWN_AT, stamps)


def _sample(table: pa.Table, source: Source, plan: ServicePlan) -> pa.Table:
    """Events of the entities that some of them, drawn by chance, belong to."""
    drawn = np.random.default_rng(len(table))
    chosen = table.take(drawn.integers(len(table), size=min(_ROWS, len(table))))
    kept = np.zeros(len(table), np.bool_)
    for view in plan.views:
        if view.source.name == source.name:
            alike = np.ones(len(table), np.bool_)
            for column in view.key_columns:
                there, wanted = (_plain(one.column(column)) for one in (table, chosen))
                alike &= pc.is_in(there, value_set=wanted.unique()).to_numpy(zero_copy_only=False)
            kept |= alike
    rows = np.flatnonzero(kept)
    return table.take(rows if len(rows) <= _MOST else np.sort(drawn.choice(rows, _MOST, replace=False)))


def _plain(column: pa.ChunkedArray) -> pa.Array:
    whole = column.combine_chunks()
    return whole.dictionary_decode() if pa.types.is_dictionary(whole.type) else whole


# --- Rows ---


def _asked(plan: ServicePlan, tables: Mapping[str, pa.Table]) -> Spine | None:
    """Rows for entities that have events, for some that have none, and for null keys; then the rows of nulls."""
    drawn = np.random.default_rng(_ROWS)
    columns = _request(plan)
    if columns is None:
        return None
    columns |= _keys(plan, tables, drawn)
    moments = [from_arrow(one.column(KNOWN_AT), "datetime", nullable=False).data for one in tables.values()]
    moments += [
        from_arrow(tables[view.source.name].column(view.source.event_time), "datetime", nullable=False).data
        for view in plan.views
    ]
    some = np.concatenate(moments) if moments else np.array([START])
    newest = int(some.max())
    at = some[drawn.integers(len(some), size=_ROWS)] + drawn.integers(0, 2, size=_ROWS)
    at = np.where(drawn.random(_ROWS) < 0.4, newest + drawn.integers(0, 3_600_000_000, size=_ROWS), at)  # noqa: PLR2004
    at = np.concatenate([at, np.full(_NULLS, newest)]).astype(np.int64)
    return Spine(at, columns)


def _request(plan: ServicePlan) -> dict[str, Values] | None:
    fields = plan.service.fields
    if fields is None:
        return {}
    table = specimens(fields, _ROWS + _NULLS, _ROWS)
    if not len(table):
        return None
    rows = np.arange(_ROWS + _NULLS) % len(table)
    columns = {}
    for one in fields.fields:
        values = from_arrow(table.column(one.name), one.kind, nullable=one.nullable).take(rows)
        if values.valid is not None:
            valid = values.valid.copy()
            valid[_ROWS:] = False
            values = Values(one.kind, np.where(valid, values.data, values.data.dtype.type(0)), valid, values.categories)
        columns[one.name] = values
    return columns


def _keys(plan: ServicePlan, tables: Mapping[str, pa.Table], drawn: np.random.Generator) -> dict[str, Values]:
    """Key columns: mostly those of one event for all of a composite key, else strangers; some null."""
    kinds = {one.name: one.kind for one in plan.columns if one.role == "key"}
    items: dict[str, list[Any]] = {name: [_STRANGERS[kind]] * _ROWS for name, kind in kinds.items()}
    for keyed in sorted(plan.keyed, key=lambda one: len(one.columns)):
        table = tables[keyed.view.source.name]
        event = drawn.integers(len(table), size=_ROWS)
        for column, name in zip(keyed.view.key_columns, keyed.columns, strict=True):
            found = table.column(column).take(event).to_pylist()
            alone = (drawn.random(_ROWS) < 0.1).tolist()  # noqa: PLR2004 - some keys do not belong together
            items[name] = [old if keep else new for old, new, keep in zip(items[name], found, alone, strict=True)]
    absent = (drawn.random(_ROWS) < 0.05).tolist()  # noqa: PLR2004 - a row in twenty has no key
    for name, column_items in items.items():
        items[name] = [None if gone else one for one, gone in zip(column_items, absent, strict=True)]
    return {name: from_list(kind, [*items[name], *[None] * _NULLS]) for name, kind in kinds.items()}
