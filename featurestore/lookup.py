"""One entity, now: a training set of one row, over the events that the online store holds."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np

from featurestore import keys, spine, times
from featurestore.definition import Source, SourceBy
from featurestore.errors import AsOfError, InvalidRequest, NotMaterialized
from featurestore.evaluate import Spine, evaluate
from featurestore.events import Events, IntArray
from featurestore.hot import Part
from featurestore.kept import HotEntities
from featurestore.made import Made
from featurestore.online import OnlineStore, ViewState
from featurestore.online.signature import difference, fits, signature_of
from featurestore.plan import Keyed, ServicePlan
from featurestore.unpacking import Unpacker
from featurestore.values import scalars
from featurestore.view import tie_columns

_ONE = np.zeros(1, np.int64)
"""Index of a row's entity where there is one row."""


@dataclass(frozen=True, slots=True)
class Vector(Mapping[str, Any]):
    """Feature values of one row by name, null as ``None``, and what they were computed for (S10).

    ``as_of`` is the instant T in UTC, ``position`` what of the log was seen, ``fingerprint`` the feature service's.
    """

    features: Mapping[str, Any]
    as_of: datetime
    position: int
    fingerprint: str

    def __getitem__(self, name: str) -> Any:
        """Value of a feature."""
        return self.features[name]

    def __iter__(self) -> Iterator[str]:
        """Feature names in declared order."""
        return iter(self.features)

    def __len__(self) -> int:
        """Features."""
        return len(self.features)

    def to_dict(self) -> dict[str, Any]:
        """Feature values by name, in declared order."""
        return dict(self.features)


@dataclass(frozen=True, eq=False)
class Prepared:
    """A service ready to be looked up."""

    plan: ServicePlan
    fingerprint: str
    unpackers: Mapping[str, Unpacker]
    signatures: Mapping[str, str]
    reaches: Mapping[str, int | None]
    hot: HotEntities


def prepare(plan: ServicePlan, fingerprint: str) -> Prepared:
    """Do once what all lookups of a service share."""
    unpackers = {view.name: Unpacker(view.source.fields, tie_columns(view.source)) for view in plan.views}
    signatures = {view.name: signature_of(view) for view in plan.views}
    reaches = {view.name: plan.reach(view) for view in plan.views}
    return Prepared(plan, fingerprint, unpackers, signatures, reaches, HotEntities(plan))


@dataclass(eq=False)
class Found:
    """Rows, and what one read of the online store found for them: all that :func:`evaluate` is given.

    Of a view whose entity is hot there are no events.
    """

    spine: Spine
    events: Mapping[str, Events]
    entities: Mapping[Keyed, IntArray]
    position: int
    hot: Mapping[str, Sequence[Part]] = field(default_factory=dict)

    def row(self, number: int) -> "Found":
        """Return one of the rows alone; the events are those of all."""
        one = slice(number, number + 1)
        columns = {name: values.take(one) for name, values in self.spine.columns.items()}
        entities = {keyed: index[one] for keyed, index in self.entities.items()}
        return Found(Spine(self.spine.as_of[one], columns), self.events, entities, self.position)


def lookup_many(
    service: Prepared,
    rows: Sequence[Mapping[str, Any]],
    online: OnlineStore,
    *,
    now: int,
    as_of: Sequence[int] | int | None,
    untouched: Callable[[Source], bool],
) -> list[Vector]:
    """One vector per row, in order; see :func:`find` for the parameters, and for what it raises."""
    if not rows:
        return []
    alone = len(rows) == 1
    found = _find_plainly(service, rows[0], online, now=now, as_of=as_of, untouched=untouched) if alone else None
    if found is None:
        found = find(service, rows, online, now=now, as_of=as_of, untouched=untouched, alone=alone)
    made = evaluate(service.plan, found.spine, found.events, found.entities, hot=found.hot)
    return _vectors(service, made, found.spine.as_of, found.position)


def _find_plainly(
    service: Prepared,
    row: Mapping[str, Any],
    online: OnlineStore,
    *,
    now: int,
    as_of: Sequence[int] | int | None,
    untouched: Callable[[Source], bool],
) -> Found | None:
    """Find the events of a row that is no more than a key; ``None`` where anything else is not as plain.

    :func:`find` then looks closer.
    """
    key = spine.plain_key(service.plan, row) if len(service.plan.keyed) == 1 else None
    if key is None or not (as_of is None or isinstance(as_of, int)):
        return None
    ((view, unpacker),) = service.unpackers.items()
    reach = service.reaches[view]
    wants = {view: (key,)}
    since = {view: None if reach is None else (now if as_of is None else as_of) - reach}
    if service.hot.of(wants, since):
        return None
    snapshot = online.read(wants, since)
    newest = _newest(now, snapshot.stamp)
    asked = newest if as_of is None else as_of
    if asked > newest:
        return None
    _check_retained(service, asked, snapshot.views, untouched)
    events = unpacker.events(snapshot.blobs[view])
    if service.hot.may_keep(events):
        return None
    (column,), (keyed,) = service.plan.columns, service.plan.keyed
    typed = Spine(np.array([asked]), {column.name: scalars(column.kind, [row[column.name]])})
    return Found(typed, {view: events}, {keyed: _ONE}, snapshot.position)


def find(
    service: Prepared,
    rows: Sequence[Mapping[str, Any]],
    online: OnlineStore,
    *,
    now: int,
    as_of: Sequence[int] | int | None,
    untouched: Callable[[Source], bool],
    whole: bool = False,
    alone: bool = False,
) -> Found:
    """Read what one or more rows see. ``as_of`` (microseconds UTC) for all, one per row, or ``None`` for now.

    ``untouched`` tells whether a source has no event at all. With ``whole``, events are read that lie before every
    window too. A row that is ``alone`` may find a hot entity.

    Raises
    ------
    AsOfError
        If ``as_of`` is in the future, or older than what the online store retains.
    InvalidRequest, KeyTypeMismatch
        If a row's keys or request fields are wrong.
    NotMaterialized
        If the online store has not been filled for this service, or was for other declarations, or lacks events.
    """
    given = now if as_of is None else as_of
    asked = np.array([given] * len(rows) if isinstance(given, int) else given, np.int64)
    typed = spine.from_rows(service.plan, rows, asked)
    wants: dict[str, dict[str, int]] = {view: {} for view in service.unpackers}
    entities: dict[Keyed, IntArray] = {}
    for keyed in service.plan.keyed:
        places = wants[keyed.view.name]
        entities[keyed] = _indices(keys.texts_of([typed.columns[name] for name in keyed.columns]), places)
    oldest = given if isinstance(given, int) else int(asked.min())
    since = {view: None if whole or reach is None else oldest - reach for view, reach in service.reaches.items()}
    kept = service.hot.of(wants, since) if alone else {}
    since |= {view: one.since for view, one in kept.items()}
    try:
        held = {view: one.generation for view, one in kept.items()}
        snapshot = online.read({view: list(places) for view, places in wants.items()}, since, held)
    except UnicodeEncodeError as error:
        raise InvalidRequest(f"Key {error.object!r} is no valid text: it has a lone surrogate.") from error
    asked = _instants(asked, now, snapshot.stamp, as_of)
    _check_retained(service, int(asked[0]) if len(asked) == 1 else int(asked.min()), snapshot.views, untouched)
    hot, events = {}, {}
    for view, unpacker in service.unpackers.items():
        if view not in kept or view not in snapshot.later:
            events[view] = unpacker.events(snapshot.blobs[view])
            continue
        parts = kept[view].with_later(snapshot.blobs[view], unpacker.events)
        if parts is None:
            return find(service, rows, online, now=now, as_of=as_of, untouched=untouched, alone=False)
        hot[view] = parts
    if alone:
        service.hot.learn(online, wants, events, since, service.unpackers, snapshot.generation)
    return Found(Spine(asked, typed.columns), events, entities, snapshot.position, hot)


def _newest(now: int, stamp: int) -> int:
    """T of a row that asks now: what was acknowledged lies before it, also where machines' clocks disagree (S10)."""
    return max(now, stamp + 1)


def _instants(asked: IntArray, now: int, stamp: int, as_of: Sequence[int] | int | None) -> IntArray:
    """T of each row."""
    newest = _newest(now, stamp)
    if as_of is None:
        return np.full(len(asked), newest, np.int64) if len(asked) > 1 else np.array([newest])
    latest = as_of if isinstance(as_of, int) else int(asked.max())
    if latest > newest:
        raise AsOfError(f"as_of {times.isoformat(latest)} is in the future: it is {times.isoformat(newest)}.")
    return asked


def _check_retained(
    service: Prepared, oldest: int, states: Mapping[str, ViewState], untouched: Callable[[Source], bool]
) -> None:
    """Refuse what the online store would answer wrong."""
    for view in service.plan.views:
        state = states.get(view.name)
        if state is None:
            if not view.source.fed_by_ingest or not untouched(view.source):
                raise _not_filled(view, "has not been filled")
            continue
        signature, reach = service.signatures[view.name], service.reaches[view.name]
        if not fits(state.signature, signature):
            raise _not_filled(view, f"was filled as declared otherwise ({difference(state.signature, signature)})")
        if not state.complete:
            raise _not_filled(view, "lacks events that were added without it")
        horizon = state.horizon
        if horizon is not None and (reach is None or oldest - reach < horizon):
            asked = "the whole history" if reach is None else f"events since {times.isoformat(oldest - reach)}"
            raise AsOfError(
                f"as_of {times.isoformat(oldest)} needs {asked} of {view.name}; the online store retains them since "
                f"{times.isoformat(horizon)}. Raise `retain` and materialize, or build a training set."
            )


def _not_filled(view: SourceBy, what: str) -> NotMaterialized:
    return NotMaterialized(
        f"The online store's view of {view.source.name!r} by {view.entity.name!r} {what}: "
        "run `featurestore materialize` (store.materialize())."
    )


def _indices(texts: Sequence[str | None], places: dict[str, int]) -> IntArray:
    """Number each row's entity, -1 for none; ``places`` numbers the keys in the order they are met."""
    return np.array([-1 if text is None else places.setdefault(text, len(places)) for text in texts], np.int64)


def _vectors(service: Prepared, made: Made, asked: IntArray, position: int) -> list[Vector]:
    rows: Sequence[Mapping[str, Any]] = made.rows() if len(made) else [{}] * len(asked)
    instants = asked.tolist()
    if len(rows) == 1:
        return [Vector(rows[0], times.to_datetime(instants[0]), position, service.fingerprint)]
    moments = {at: times.to_datetime(at) for at in set(instants)}
    return [Vector(row, moments[at], position, service.fingerprint) for row, at in zip(rows, instants, strict=True)]
