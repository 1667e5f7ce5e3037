"""Erasing an entity's events everywhere, and keeping it out of later loads (S16).

First the entity is noted, so that nothing of it is taken in any more. Then the log's segments are written anew without
its events, and the online store is filled from the log in place of what it had: in the views of other entities too, for
a customer's payment is an event of a shop. What was cut short is finished by forgetting again.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from featurestore import carriers, filling, keys
from featurestore.definition import Entity, Source
from featurestore.errors import RequestError
from featurestore.filling import Wanted
from featurestore.forgotten import Forgotten
from featurestore.log import EventLog
from featurestore.online import OnlineStore
from featurestore.spill import room_at
from featurestore.training import TrainingSet
from featurestore.values import Kind, Values, from_list


@dataclass(frozen=True)
class Erased:
    """What ``forget`` did.

    Parameters
    ----------
    events
        Events erased by source.
    training_sets, models
        Names of those that contain the entity: they stay, and are yours to delete.
    served
        Rows of the served log that were asked with its key: they go with that log's retention.
    """

    events: Mapping[str, int]
    training_sets: tuple[str, ...]
    models: tuple[str, ...]
    served: int


def key_of(entity: Entity, key: Any) -> dict[str, Any]:
    """Key value by key column.

    Raises
    ------
    RequestError
        If it has not one value for each column, or one is null.
    """
    names = entity.key
    if isinstance(key, Mapping):
        values = [key.get(name) for name in names] if set(key) == set(names) else []
    else:
        values = list(key) if len(names) > 1 and isinstance(key, (tuple, list)) else [key]
    if len(values) != len(names) or None in values:
        raise RequestError(f"Key {key!r} is none of entity {entity.name!r}: give a value for {', '.join(names)}.")
    return dict(zip(names, values, strict=True))


def columns_of(key: Mapping[str, Any], kinds: Mapping[str, Kind]) -> list[Values]:
    """Type a key as the sources do.

    Raises
    ------
    RequestError
        If a value is of another type than theirs.
    """
    columns = []
    for name, kind in kinds.items():
        typed, fits = carriers.read(key[name], kind)
        if not fits:
            raise RequestError(f"Key {name}: {carriers.misfit(key[name], kind)}.")
        columns.append(from_list(kind, [typed]))
    return columns


def contains(training: TrainingSet, key: Mapping[str, Any]) -> bool:
    """Whether a training set's spine asks for an entity, in the columns that its key has by name."""
    table = training.to_arrow()
    if any(name not in table.column_names for name in key):
        return False
    rows = table.select(list(key)).to_pylist()
    return any(all(row[name] == value for name, value in key.items()) for row in rows)


def text_of(columns: Sequence[Values]) -> str:
    """Text of one key."""
    (text,) = keys.texts_of(columns)
    return str(text)


def erase(
    sources: Sequence[Source],
    wanted: Sequence[Wanted],
    log: EventLog,
    online: OnlineStore,
    forgotten: Forgotten,
    *,
    at: int,
    memory: int,
) -> dict[str, int]:
    """Take forgotten entities' events out of log and online store; gives how many by source.

    The caller holds the log's lock, and has taken ingested events over. ``memory`` is what this may take, bytes.
    """
    counts: dict[str, int] = {}
    for source in sources:
        without = _without(source, forgotten)
        counts[source.name] = log.erase(source.name, without, at=at)
    views = [one for one in wanted if one.view.source.name in counts]
    if views:
        _fill(views, log, online, at, memory)
    log.collect_garbage(at=at, at_once=True)
    online.scrub()
    return counts


def _without(source: Source, forgotten: Forgotten) -> Callable[[pa.Table], pa.Table]:
    return lambda table: forgotten.without(source, table)[0]


def _fill(views: Sequence[Wanted], log: EventLog, online: OnlineStore, at: int, memory: int) -> None:
    """Fill views from the log, in place of all that they held."""
    load = log.begin("compaction", at=at)
    try:
        online.begin_load(load.id)
        states, replaced = {}, list[int]()
        with room_at(log.folder / "spill", memory) as room:
            for one in views:
                states[one.view.name], old = filling.fill(
                    one, (), load.id, log, online, whole=True, bulk=True, arrive=False, room=room
                )
                replaced += old
        online.publish_load(load.id, views=states, replaces=replaced, tail_upto=log.taken_over, advances=False)
    finally:
        online.abandon(load.id)
        load.discard()
