"""Why a row differs: what the two sides saw, and what has changed between them."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from featurestore import spine
from featurestore.engine import local
from featurestore.errors import FeatureStoreError
from featurestore.events import IntArray
from featurestore.explain import Event, Explanation, explain_found
from featurestore.log import EventLog
from featurestore.lookup import Found, Prepared, find
from featurestore.online import OnlineStore
from featurestore.verify.bits import in_bytes, same
from featurestore.verify.verification import Cause

MOST = 1000
"""Rows whose events are looked at; of more differing ones the cause stays open."""


@dataclass(frozen=True)
class Present:
    """A service as it is declared now, and the store as it is now.

    ``fingerprints`` are those of its features, ``libraries`` what values may depend on, ``erased`` tells whether events
    of its sources have been erased since an instant (microseconds UTC).
    """

    service: Prepared
    fingerprints: Mapping[str, str]
    libraries: Mapping[str, str]
    log: EventLog
    online: OnlineStore
    now: int
    untouched: Callable[[Any], bool]
    erased: Callable[[int], bool]


@dataclass(frozen=True)
class Pinned:
    """What values were computed by, and when: fingerprints of features, versions of libraries, microseconds UTC."""

    fingerprints: Mapping[str, str]
    libraries: Mapping[str, str]
    at: int


@dataclass(frozen=True)
class Seen:
    """The first step whose value differs between two sides, and what each saw in its window."""

    step: str
    shared: int = 0
    only_then: tuple[Event, ...] = ()
    only_now: tuple[Event, ...] = ()


def of_definition(feature: str, pinned: Pinned, present: Present) -> str:
    """Say how a feature's definition has changed since; empty if it has not."""
    if feature not in present.fingerprints:
        return f"{feature} is not a feature of {present.service.plan.service.name} any more"
    then, now = pinned.fingerprints.get(feature), present.fingerprints[feature]
    return (
        "" if then == now else f"fingerprint {str(then)[:12]} then, {now[:12]} now: `featurestore plan` shows the code"
    )


def of_libraries(pinned: Pinned, present: Present) -> str:
    """Say which libraries or platform have changed since; empty if none has."""
    changed = [
        f"{name} {then} then, {present.libraries[name]} now"
        for name, then in pinned.libraries.items()
        if present.libraries.get(name, then) != then
    ]
    return ", ".join(changed)


def in_log(present: Present, rows: Sequence[Mapping[str, Any]], as_of: IntArray, position: int | None) -> Found:
    """Read what rows see of the log up to a position, by default of all of it.

    Raises
    ------
    NotMaterialized
        If the log as it was then is no more.
    """
    plan, log = present.service.plan, present.log
    typed = spine.from_rows(plan, rows, as_of)
    sources = {view.source.name: view.source for view in plan.views}
    tables = {name: local.read(source, log, position) for name, source in sources.items()}
    return Found(typed, *local.gather(plan, typed, tables), log.position if position is None else position)


def in_online_store(present: Present, rows: Sequence[Mapping[str, Any]], as_of: IntArray) -> Found:
    """Read what rows see of the online store."""
    asked = as_of.tolist()
    return find(present.service, rows, present.online, now=present.now, as_of=asked, untouched=present.untouched)


def compared(present: Present, feature: str, then: Found, now: Found, row: int) -> Seen:
    """Find the first value on the way to a feature that differs between two sides, and its events."""
    plan, fingerprint = present.service.plan, present.service.fingerprint
    sides = [explain_found(plan, fingerprint, feature, one.row(row)) for one in (then, now)]
    first = _first_step(*sides)
    counted = [_counted(one, first) for one in sides]
    only_then, only_now = _without(counted[0], counted[1]), _without(counted[1], counted[0])
    return Seen(first, len(counted[0]) - len(only_then), only_then, only_now)


def of_events(
    present: Present, feature: str, position: int, seen: Seen, then: Found, row: int, today: Callable[[], Found]
) -> tuple[Cause, str]:
    """Say why two sides see other events of a row."""
    sources = sorted({view.source.name for view in present.service.plan.views})
    rebuilt = [name for name in sources if present.log.oldest_position(name) > position]
    if rebuilt:
        return "rebuilt", f"{', '.join(rebuilt)} was rebuilt after position {position}"
    arrived = compared(present, feature, then, today(), row)
    late = Counter(map(_text, arrived.only_now))
    if not seen.only_then and not Counter(map(_text, seen.only_now)) - late:
        return "late data", (
            f"{len(seen.only_now)} events were loaded after position {position} with a known_at before this row's as_of"
        )
    return "something else", "the online store and the log hold other events: `featurestore materialize --rebuild`"


def caused(
    present: Present, pinned: Pinned, cases: Sequence[tuple[Mapping[str, Any], int, str]], position: int
) -> list[tuple[Cause, str, Seen]]:
    """Explain rows of a training set that the online store answers otherwise.

    Parameters
    ----------
    cases
        Inputs, as_of and first differing feature of each row; the definition of none of these has changed.
    position
        The training set's.
    """
    rows, as_of = [one[0] for one in cases], np.array([one[1] for one in cases], np.int64)
    try:
        then, now = in_log(present, rows, as_of, position), in_online_store(present, rows, as_of)
    except FeatureStoreError as error:  # rebuilt, or not retained: it says so
        return [("rebuilt", str(error), Seen("")) for _ in cases]
    later: list[Found] = []

    def today() -> Found:
        if not later:
            later.append(in_log(present, rows, as_of, None))
        return later[0]

    found: list[tuple[Cause, str, Seen]] = []
    for number, (_, _, feature) in enumerate(cases):
        seen = compared(present, feature, then, now, number)
        if seen.only_then or seen.only_now:
            cause = of_events(present, feature, position, seen, then, number, today)
        else:
            cause = of_values(pinned, present)
        found.append((*cause, seen))
    return found


def of_values(pinned: Pinned, present: Present) -> tuple[Cause, str]:
    """Say why the same events, as far as there are any, give another value."""
    if present.erased(pinned.at):
        return "erased", "events of entities that were forgotten since are gone from both sides"
    libraries = of_libraries(pinned, present)
    if libraries:
        return "changed library", libraries
    return "something else", "the same events by the same code gave another value: is the function pure?"


def _first_step(then: Explanation, now: Explanation) -> str:
    """Name the first differing value, what is needed first; the feature's own if the way to it is the same."""
    values = {one.name: one.value for one in now.steps}
    differing = [one.name for one in reversed(then.steps) if not same(one.value, values[one.name])]
    return differing[0] if differing else then.feature


def _counted(told: Explanation, step: str) -> list[Event]:
    """Events that count for a step; of a row feature those of the window features that it needs."""
    looks = [one.look for one in told.steps if one.look is not None and step in (one.name, told.feature)]
    return [event for look in looks for event in look.events if event.why is None]


def _without(events: Sequence[Event], others: Sequence[Event]) -> tuple[Event, ...]:
    """Events that are not among the others, as often as there are more of them."""
    left = Counter(map(_text, others))
    kept = []
    for event in events:
        text = _text(event)
        left[text] -= 1
        if left[text] < 0:
            kept.append(event)
    return tuple(kept)


def _text(event: Event) -> bytes:
    return in_bytes({"event_time": event.event_time, "known_at": event.known_at, **event.columns})
