"""What was served, computed again from the log as of each vector's instant and position, bit for bit."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from featurestore import spine, times
from featurestore.engine.local import LocalEngine
from featurestore.errors import FeatureStoreError
from featurestore.monitoring.served import ServedRow
from featurestore.verify import causes
from featurestore.verify.bits import same
from featurestore.verify.causes import Pinned, Present, Seen
from featurestore.verify.trained import vars_of
from featurestore.verify.verification import Cause, Difference, Verification, verification

ROWS = 20_000
"""Rows computed again at once."""
_GONE = "the service is not declared any more"
_REBUILT = "the log as it was is no more: a source was rebuilt since"
_NEWER = "the position is not in the log yet: materialize"


@dataclass
class _Found:
    """What has been found so far."""

    rows: int
    values: int
    skipped: Counter[str]
    features: Counter[str]
    differences: list[Difference]


def verify(rows: Iterable[ServedRow], present: Callable[[str], Present | None], subject: str) -> Verification:
    """Compute served rows again and compare every bit.

    ``present`` gives a service as it is now, ``None`` if there is none of that name any more.
    """
    began = time.perf_counter()
    found = _Found(0, 0, Counter(), Counter(), [])
    for name, some in _by_service(rows):
        now = present(name)
        if now is None:
            found.skipped[_GONE] += len(some)
        else:
            _verify_some(some, now, found)
    return verification(
        subject,
        rows=found.rows,
        values=found.values,
        skipped=found.skipped,
        features=found.features,
        differences=found.differences,
        seconds=time.perf_counter() - began,
    )


def _by_service(rows: Iterable[ServedRow]) -> Iterator[tuple[str, list[ServedRow]]]:
    """Rows of one service together, not too many at once."""
    held: dict[str, list[ServedRow]] = {}
    for row in rows:
        held.setdefault(row.service, []).append(row)
        if len(held[row.service]) == ROWS:
            yield row.service, held.pop(row.service)
    yield from held.items()


def _verify_some(rows: list[ServedRow], present: Present, found: _Found) -> None:
    sources = [view.source.name for view in present.service.plan.views]
    oldest = max((present.log.oldest_position(name) for name in sources), default=0)
    newest = present.log.position
    kept = [row for row in rows if oldest <= row.position <= newest]
    found.skipped[_REBUILT] += sum(row.position < oldest for row in rows)
    found.skipped[_NEWER] += sum(row.position > newest for row in rows)
    found.skipped += Counter()  # drops what is 0
    if not kept:
        return
    try:
        made = again(kept, present)
    except FeatureStoreError as error:  # inputs of another service definition
        made = None
        reason = str(error)
    for place, row in enumerate(kept):
        number = found.rows = found.rows + 1
        found.values += len(row.features)
        pinned = Pinned(
            row.origin.services[row.service].fingerprints, row.origin.libraries, times.to_micros(row.served_at)
        )
        now = {} if made is None else {name: column[place] for name, column in made.items()}
        differing = [name for name in row.features if name not in now or not same(row.features[name], now[name])]
        found.features.update(differing)
        if not differing:
            continue
        first = differing[0]
        changed = causes.of_definition(first, pinned, present)
        if made is None and not changed:
            changed = f"its inputs are not those of the service now: {reason}"
        cause, detail, seen = _why(changed, row, present, pinned, first)
        found.differences.append(
            Difference(
                number,
                row.inputs,
                row.as_of,
                row.position,
                first,
                row.features[first],
                now.get(first),
                cause,
                detail,
                **vars_of(seen),
            )
        )


def again(rows: Sequence[ServedRow], present: Present) -> Mapping[str, list[Any]]:
    """Features of served rows, computed from the log as of each row's instant and position."""
    plan = present.service.plan
    as_of = np.array([times.to_micros(row.as_of) for row in rows], np.int64)
    position = np.array([row.position for row in rows], np.int64)
    typed = replace(spine.from_rows(plan, [row.inputs for row in rows], as_of), position=position)
    made = LocalEngine().run(plan, typed, present.log, int(position.max()), {})
    return {name: column.to_list() for name, column in made.items()}


def _why(changed: str, row: ServedRow, present: Present, pinned: Pinned, feature: str) -> tuple[Cause, str, Seen]:
    """Compare with the online store as of the same instant: what it saw then was not written down."""
    if changed:
        return "changed definition", changed, Seen("")
    as_of = np.array([times.to_micros(row.as_of)], np.int64)
    try:
        online = causes.in_online_store(present, [row.inputs], as_of)
        logged = causes.in_log(present, [row.inputs], as_of, row.position)
        seen = causes.compared(present, feature, online, logged, 0)
    except FeatureStoreError:
        seen = Seen("")
    if seen.only_then or seen.only_now:
        return "something else", "the online store and the log hold other events", seen
    return (*causes.of_values(pinned, present), seen)
