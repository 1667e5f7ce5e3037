"""Portions of a view's keys: so many that the events of one fit into the memory that there is."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from typing import Any

import numpy as np

from featurestore import values
from featurestore.definition import SourceBy
from featurestore.events import IntArray
from featurestore.log import EventLog, Group, Keys
from featurestore.values import Values

Array = np.ndarray[Any, Any]
AT_ONCE = 1 << 20
"""Events of a portion, and of a piece of a larger one, in arrays that memory is found for fast; but for a key's own."""
_HOT = 4
"""Portions of so many times as many events are mostly one key's, which one thread alone would be busy with for long."""
_REREAD = 2
"""Portions that read row groups so many times over are too small."""


@dataclass(frozen=True, eq=False)
class Portion:
    """Some keys, ``None`` for all events, and for each role the rows of the spine that ask for them.

    One that is ``apart`` is for one thread, others are for all of them.
    """

    keys: Keys | None
    rows: Sequence[IntArray]
    apart: bool = False

    def pieces(self, roles: Sequence[Values], events: int) -> list["Portion"]:
        """Cut it, of so many events; ``roles`` are as in :func:`portions_of`."""
        many = 1 if self.keys is None else min(-(-events // AT_ONCE), len(self.keys.asked))
        if self.keys is None or many == 1:
            return [self]
        own = [one.take(rows) for one, rows in zip(roles, self.rows, strict=True)]
        cut = _portions(self.keys.column, _evenly(self.keys.asked, many), own)
        return [Portion(one.keys, [rows[part] for rows, part in zip(self.rows, one.rows, strict=True)]) for one in cut]


@dataclass(frozen=True)
class Room:
    """Bytes for the events of all portions that are worked on at once, by so many ``threads``.

    An event takes ``each``: what is read of it, and what is made of that on the way.
    """

    memory: int
    threads: int
    each: int

    @property
    def events(self) -> int:
        """Most events of one of the portions that threads work on side by side."""
        return max(self.memory // self.each // self.threads, 1)

    @property
    def alone(self) -> int:
        """Most events of a portion that all threads work on."""
        return max(self.memory // self.each, 1)


def portions_of(view: SourceBy, roles: Sequence[Values], log: EventLog, position: int, room: Room) -> list[Portion]:
    """Cut the keys that rows ask for.

    ``roles`` are the spine's columns that stand for the first column of the view's key. Where segments are in order of
    the key, the events of a portion lie in a few row groups. Where they are not, each portion reads all: they are as
    few as memory allows.
    """
    column = view.key_columns[0]
    asked = _asked(values.concatenate(roles)) if view.source.fields[column].kind in ("int", "str") else None
    if asked is None or not len(asked):
        return [Portion(None, [np.arange(len(one)) for one in roles])]
    groups = log.groups(view.source.name, Keys(column, asked), position=position)
    total = sum(one.rows for one in groups)
    at_once = min(AT_ONCE, room.events)
    while at_once <= min(room.events, total):
        parts = _cut(asked, _between(groups, at_once))
        if _looked_at(groups, parts) <= _REREAD * total and _out_of_order(groups) <= at_once:
            found = zip(_portions(column, parts, roles), parts, strict=True)
            return [replace(one, apart=_looked_at(groups, [part]) <= _HOT * at_once) for one, part in found]
        at_once *= 2
    return _portions(column, _evenly(asked, -(-total // room.alone)), roles)


def _asked(keys: Values) -> Array:
    """Different keys, in order."""
    if keys.kind == "str":
        return np.zeros(0, object) if keys.categories is None else keys.categories
    return np.unique(keys.data[keys.mask])


def _between(groups: Sequence[Group], at_once: int) -> list[Any]:
    """Keys with which portions begin, so that row groups of so many rows begin in each."""
    begins, held = [], 0
    for group in sorted((one for one in groups if one.least is not None), key=lambda one: one.least):
        if held and held + group.rows > at_once:
            begins.append(group.least)
            held = 0
        held += group.rows
    return begins


def _cut(asked: Array, begins: Any) -> list[Array]:
    """Keys from each beginning to the next; no part is empty."""
    edges = np.unique([0, *(int(np.searchsorted(asked, one)) for one in begins), len(asked)]).tolist()
    return [asked[begin:end] for begin, end in pairwise(edges)]


def _evenly(asked: Array, many: int) -> list[Array]:
    """So many parts of the keys, as far as there are."""
    return _cut(asked, asked[np.linspace(0, len(asked), many + 1).astype(np.int64)[1:-1]])


def _looked_at(groups: Sequence[Group], parts: Sequence[Array]) -> int:
    """Rows of the row groups that the parts look at, all together."""
    return sum(group.rows for part in parts for group in groups if group.meets(part))


def _out_of_order(groups: Sequence[Group]) -> int:
    """Rows of segments that are not in order of the key: each portion may have to hold them all."""
    rows = 0
    for _, of_segment in groupby(groups, lambda one: one.path):
        own = list(of_segment)
        if any(one.least is None for one in own) or any(two.least < one.greatest for one, two in pairwise(own)):
            rows += sum(one.rows for one in own)
    return rows


def _portions(column: str, parts: Sequence[Array], roles: Sequence[Values]) -> list[Portion]:
    rows = [_rows_by_part(one, [part[0] for part in parts[1:]]) for one in roles]
    return [Portion(Keys(column, part), [one[number] for one in rows]) for number, part in enumerate(parts)]


def _rows_by_part(keys: Values, begins: Sequence[Any]) -> list[IntArray]:
    """Rows of each part; those of a null key are in one of them."""
    if not begins:
        return [np.arange(len(keys))]
    names = keys.categories if keys.kind == "str" else None
    edges = begins if names is None else [int(np.searchsorted(names, one)) for one in begins]
    part = np.searchsorted(np.asarray(edges), keys.data, side="right").astype(np.int32)
    order = np.argsort(part, kind="stable")
    cuts = np.searchsorted(part[order], np.arange(1, len(begins) + 1))
    return np.split(order, cuts)
