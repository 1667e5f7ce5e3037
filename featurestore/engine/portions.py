"""Portions of a view's keys: so many that the events of one fit into the memory that there is."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from featurestore import values
from featurestore.definition import SourceBy
from featurestore.events import IntArray
from featurestore.log import EventLog, Group, Keys, Shelf, keys_of
from featurestore.values import Values

Array = np.ndarray[Any, Any]
AT_ONCE = 1 << 20
"""Events of a portion, and of a piece of a larger one, in arrays that memory is found for fast; but for a key's own."""
_HOT = 4
"""Portions of so many times as many events are mostly one key's, which one thread alone would be busy with for long."""
_LOOKS = 8
"""Portions that look at row groups so many times over are too small."""


@dataclass(frozen=True, eq=False)
class Portion:
    """Some keys, ``None`` for all events, and for each role the rows of the spine that ask for them.

    One that is ``apart`` is for one thread, others are for all of them. The ``shelf`` holds row groups for all.
    """

    keys: Keys | None
    rows: Sequence[IntArray]
    apart: bool = False
    shelf: Shelf | None = None

    def pieces(self, roles: Sequence[Values], events: int) -> list["Portion"]:
        """Cut it, of so many events; ``roles`` are as in :func:`portions_of`."""
        many = 1 if self.keys is None else min(-(-events // AT_ONCE), len(self.keys.asked))
        if self.keys is None or many <= 1:
            return [self]
        own = [one.take(rows) for one, rows in zip(roles, self.rows, strict=True)]
        keys = self.keys.alone
        cut = _portions(keys, np.linspace(0, len(keys.asked), many + 1).astype(np.int64).tolist(), own)
        return [replace(one, rows=[rows[part] for rows, part in zip(self.rows, one.rows, strict=True)]) for one in cut]


@dataclass(frozen=True)
class Room:
    """Bytes for the events of all portions that are worked on at once, by so many ``threads``.

    An event takes ``read``, and with what is made of that on the way ``each``.
    """

    memory: int
    threads: int
    read: int
    each: int

    @property
    def events(self) -> int:
        """Most events of one of the portions that threads work on side by side."""
        return max(self.memory // self.each // self.threads, 1)

    @property
    def held(self) -> int:
        """Most events of the row groups that one of these looks at."""
        return self.memory // self.read // self.threads

    @property
    def alone(self) -> int:
        """Most events of a portion that all threads work on."""
        return max(self.memory // self.each, 1)


def portions_of(view: SourceBy, roles: Sequence[Values], log: EventLog, position: int, room: Room) -> list[Portion]:
    """Cut the keys that rows ask for.

    ``roles`` are the spine's columns that stand for the first column of the view's key. Where segments are in order of
    the key, the events of a portion lie in a few row groups, which are held while others look at them too. Where they
    are not, each portion reads all: they are as few as memory allows.
    """
    column = view.key_columns[0]
    asked = _asked(values.concatenate(roles)) if view.source.fields[column].kind in ("int", "str") else None
    if asked is None or not len(asked):
        return [Portion(None, [np.arange(len(one)) for one in roles])]
    keys = keys_of(column, asked)
    groups = log.groups(view.source.name, keys, position=position)
    upto, total = _events_upto(groups, asked), sum(one.rows for one in groups)
    at_once = min(AT_ONCE, room.events)
    while at_once <= min(room.events, total):
        edges = _edges(upto, at_once)
        looked_at = _looked_at(groups, asked, edges)
        if max(looked_at) <= room.held and sum(looked_at) <= _LOOKS * total:
            shelf, events = Shelf(_looks(groups, asked, edges)), np.diff(np.append(0, upto)[edges])
            return [
                replace(one, apart=bool(own <= _HOT * at_once), shelf=shelf)
                for one, own in zip(_portions(keys, edges, roles), events, strict=True)
            ]
        at_once *= 2
    return _portions(keys, _edges(upto, room.alone), roles)


def _asked(keys: Values) -> Array:
    """Different keys, in order."""
    if keys.kind == "str":
        return np.zeros(0, object) if keys.categories is None else keys.categories
    return np.unique(keys.data[keys.mask])


def _events_upto(groups: Sequence[Group], asked: Array) -> Array:
    """Events of the keys up to each, as if a row group had as many of each key between its least and its greatest."""
    change = np.zeros(len(asked) + 1)
    for group in groups:
        place = group.among(asked)
        share = group.rows / (place.stop - place.start)
        change[place.start] += share
        change[place.stop] -= share
    return np.asarray(np.cumsum(np.cumsum(change[:-1])))


def _edges(upto: Array, at_once: int) -> list[int]:
    """Where keys are cut, so that as many events lie between; no part is without a key."""
    cuts = np.searchsorted(upto, np.arange(at_once, upto[-1], at_once)) + 1
    edges: list[int] = np.unique(np.concatenate([[0], cuts[cuts < len(upto)], [len(upto)]])).tolist()
    return edges


def _parts_of(group: Group, asked: Array, edges: Sequence[int]) -> range:
    """Numbers of the parts that look at a row group."""
    place = group.among(asked)
    first, last = np.searchsorted(edges, [place.start, place.stop - 1], side="right").tolist()
    return range(first - 1, last)


def _looked_at(groups: Sequence[Group], asked: Array, edges: Sequence[int]) -> list[int]:
    """Rows of the row groups that each part looks at."""
    rows = [0] * (len(edges) - 1)
    for group in groups:
        for part in _parts_of(group, asked, edges):
            rows[part] += group.rows
    return rows


def _looks(groups: Sequence[Group], asked: Array, edges: Sequence[int]) -> Counter[Any]:
    """How many parts look at each row group."""
    return Counter({group.place: len(_parts_of(group, asked, edges)) for group in groups})


def _portions(keys: Keys, edges: Sequence[int], roles: Sequence[Values]) -> list[Portion]:
    rows = [_rows_by_part(one, keys.every[edges[1:-1]]) for one in roles]
    cut = [replace(keys, part=slice(begin, end)) for begin, end in pairwise(edges)]
    return [Portion(part, [one[number] for one in rows]) for number, part in enumerate(cut)]


def _rows_by_part(keys: Values, begins: Array) -> list[IntArray]:
    """Rows of each part; those of a null key are in one of them."""
    if not len(begins):
        return [np.arange(len(keys))]
    narrow = np.min_scalar_type(len(begins))  # such numbers are sorted ten times as fast
    if keys.kind == "str":
        names = np.zeros(0, object) if keys.categories is None else keys.categories
        codes = np.arange(len(names) + 1)  # a null has the first, though there be no name
        part = np.searchsorted(np.searchsorted(names, begins), codes, side="right").astype(narrow)[keys.data]
    else:
        part = np.searchsorted(begins, keys.data, side="right").astype(narrow)
    order = np.argsort(part, kind="stable")
    return np.split(order, np.cumsum(np.bincount(part, minlength=len(begins) + 1))[:-1])
