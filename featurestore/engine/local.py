"""Run ``evaluate`` on this machine: read the events of the spine's entities from the log, order them, evaluate."""

from collections.abc import Callable, Mapping

import pyarrow as pa

from featurestore.definition import Source
from featurestore.engine.buckets import in_buckets
from featurestore.evaluate import Spine
from featurestore.events import Events, IntArray
from featurestore.log import EventLog
from featurestore.plan import Keyed, ServicePlan
from featurestore.values import Values
from featurestore.view import KNOWN_AT, POSITION, events_of


class LocalEngine:
    """The default engine."""

    def run(
        self, plan: ServicePlan, spine: Spine, log: EventLog, position: int, not_finite: dict[str, int]
    ) -> Mapping[str, Values]:
        """Features of each row, seeing the log up to ``position`` (or up to the spine's own position per row)."""
        sources = {view.source.name: view.source for view in plan.views}
        each = spine.position is not None
        tables = {name: read(one, log, position, with_position=each) for name, one in sources.items()}
        return over(plan, spine, tables, not_finite)


def over(
    plan: ServicePlan,
    spine: Spine,
    tables: Mapping[str, pa.Table],
    not_finite: dict[str, int] | None = None,
    *,
    arranged: Callable[[Events], Events] = lambda events: events,
) -> Mapping[str, Values]:
    """Features of each row, seeing the events in these tables: by source, with ``__known_at``, in any order.

    ``arranged`` may put them in another order than S5's, or change when they were known, to see what that would change.
    """
    counts = {} if not_finite is None else not_finite
    return in_buckets(plan, spine, *gather(plan, spine, tables, arranged), counts)


def gather(
    plan: ServicePlan,
    spine: Spine,
    tables: Mapping[str, pa.Table],
    arranged: Callable[[Events], Events] = lambda events: events,
) -> tuple[dict[str, Events], dict[Keyed, IntArray]]:
    """Sorted events of the spine's entities by view, and the index of each row's entity in them by role."""
    events: dict[str, Events] = {}
    entities: dict[Keyed, IntArray] = {}
    for view in plan.views:
        roles = [keyed for keyed in plan.keyed if keyed.view.name == view.name]
        asked = [_key_columns(spine, keyed) for keyed in roles]
        found, codes = events_of(view, tables[view.source.name], asked)
        events[view.name] = arranged(found)
        entities |= dict(zip(roles, codes, strict=True))
    return events, entities


def read(source: Source, log: EventLog, position: int | None, *, with_position: bool = False) -> pa.Table:
    """Events of a source up to a position, with ``__known_at``."""
    columns = [*source.fields.names, KNOWN_AT, *([POSITION] if with_position else [])]
    return log.read(source.name, columns=columns, position=position, schema=source.fields.arrow(), encode_strings=True)


def _key_columns(spine: Spine, keyed: Keyed) -> list[Values]:
    return [spine.columns[name] for name in keyed.columns]
