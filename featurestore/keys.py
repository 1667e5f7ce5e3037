"""Entity keys: codes that say which rows and events share one, and the text under which the online store keeps it.

A key with a null in any of its columns matches nothing (S7).
"""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from featurestore.values import Values, concatenate

IntArray = np.ndarray[Any, np.dtype[np.int64]]


def codes_of(spine: Sequence[Values], events: Sequence[Values]) -> tuple[IntArray, IntArray, int]:
    """Entity code of each spine row and of each event, and how many entities there are; one array per key column.

    Entities are those of the spine, numbered in key order; -1 stands for a null key, and for an event of no such
    entity.
    """
    rows = len(spine[0])
    whole = np.zeros(rows + len(events[0]), np.int64)
    known = np.ones(len(whole), np.bool_)
    for asked, there in zip(spine, events, strict=True):
        column = concatenate([asked, there])
        known &= column.mask
        distinct = _compact(column)
        whole = whole * (int(distinct.max(initial=0)) + 1) + distinct
        if len(spine) > 1:  # keeps the product of several columns' sizes within int64
            whole = np.unique(whole, return_inverse=True)[1].astype(np.int64)
    asked_codes, there_codes = whole[:rows], whole[rows:]
    entities = np.unique(asked_codes[known[:rows]])
    return _place(entities, asked_codes, known[:rows]), _place(entities, there_codes, known[rows:]), len(entities)


def grouped(spine: Values, events: Values) -> tuple[IntArray, IntArray] | None:
    """Of events in order of a key of one column: each row's entity, and where entities begin and the last one ends.

    Entities are those of the events, numbered in key order; -1 stands for a row of none. ``None`` if events are in
    another order, or have null keys.
    """
    data = events.data
    if not len(data) or not events.mask.all() or (data[1:] < data[:-1]).any():
        return None
    starts = np.concatenate([[0], np.flatnonzero(data[1:] != data[:-1]) + 1, [len(data)]])
    distinct = data[starts[:-1]]
    asked, known = spine.data, spine.mask
    if spine.kind == "str":
        held = events.categories if events.categories is not None else np.zeros(0, object)
        names = spine.categories if spine.categories is not None else np.zeros(0, object)
        code = np.minimum(np.searchsorted(held, names), max(len(held) - 1, 0))
        there = held[code] == names if len(held) else np.zeros(len(names), np.bool_)
        known = known & there[asked] if len(names) else np.zeros(len(asked), np.bool_)
        asked = code[asked] if len(names) else asked
    place = np.minimum(np.searchsorted(distinct, asked), len(distinct) - 1)
    return np.where(known & (distinct[place] == asked), place, -1), starts.astype(np.int64)


def texts_of(columns: Sequence[Values]) -> list[str | None]:
    """Text of each row's key, ``None`` for a null one; different keys of one view have different texts."""
    lists = [_scalars(column) for column in columns]
    if len(lists) == 1:
        return [None if one is None else str(one) for one in lists[0]]
    rows = zip(*lists, strict=True)
    return [None if None in row else json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in rows]


def _compact(column: Values) -> IntArray:
    if column.kind == "str":
        return column.data.astype(np.int64)
    return np.unique(column.data, return_inverse=True)[1].astype(np.int64)


def _place(entities: IntArray, codes: IntArray, known: np.ndarray[Any, np.dtype[np.bool_]]) -> IntArray:
    if not len(entities):
        return np.full(len(codes), -1, np.int64)
    place = np.minimum(np.searchsorted(entities, codes), len(entities) - 1)
    return np.where(known & (entities[place] == codes), place, -1)


def _scalars(column: Values) -> list[Any]:
    if column.kind == "datetime":
        plain = column.data.tolist()
        return [one if known else None for one, known in zip(plain, column.mask.tolist(), strict=True)]
    return column.to_list()
