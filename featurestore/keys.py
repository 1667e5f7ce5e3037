"""Entity keys: codes that say which rows and events share one, and the text under which the online store keeps it.

A key with a null in any of its columns matches nothing (S7).
"""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from featurestore.values import Values, concatenate

IntArray = np.ndarray[Any, np.dtype[np.int64]]
BoolArray = np.ndarray[Any, np.dtype[np.bool_]]
_SPARSE = 4  # a table of so many places for each number takes less time than to sort them


def codes_of(spine: Sequence[Values], events: Sequence[Values]) -> tuple[IntArray, IntArray, int]:
    """Entity code of each spine row and of each event, and how many entities there are; one array per key column.

    Entities are those of the spine, numbered in key order; -1 stands for a null key, and for an event of no such
    entity.
    """
    rows = len(spine[0])
    whole, known = _combined([concatenate(pair) for pair in zip(spine, events, strict=True)])
    codes, count = _numbered(whole, known, rows)
    return codes[:rows], codes[rows:], count


def own_codes(columns: Sequence[Values]) -> tuple[IntArray, int]:
    """Entity code of each row among the rows' own entities, in key order, -1 for a null key; how many there are."""
    whole, known = _combined(columns)
    return _numbered(whole, known, len(whole))


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
    if spine.kind == "str":
        of_name = _among(spine, events, distinct)
        rows = of_name[spine.data] if len(of_name) else np.full(len(spine.data), -1)
    else:
        place = np.minimum(np.searchsorted(distinct, spine.data), len(distinct) - 1)
        rows = np.where(distinct[place] == spine.data, place, -1)
    return np.where(spine.mask, rows, -1), starts.astype(np.int64)


def _among(spine: Values, events: Values, distinct: np.ndarray[Any, Any]) -> IntArray:
    """Place among the events' ``distinct`` codes of each text that the spine may have, -1 of others."""
    empty = np.zeros(0, object)
    names, held = (empty if one.categories is None else one.categories for one in (spine, events))
    place = np.full(len(held), -1)
    place[distinct] = np.arange(len(distinct))
    code = np.minimum(np.searchsorted(held, names), len(held) - 1)
    return np.where(held[code] == names, place[code], -1)


def texts_of(columns: Sequence[Values]) -> list[str | None]:
    """Text of each row's key, ``None`` for a null one; different keys of one view have different texts."""
    lists = [_scalars(column) for column in columns]
    if len(lists) == 1:
        return [None if one is None else str(one) for one in lists[0]]
    rows = zip(*lists, strict=True)
    return [None if None in row else json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in rows]


def _combined(columns: Sequence[Values]) -> tuple[IntArray, BoolArray]:
    """One number from 0 for each row's key, ascending with it, and whether no column of it is null."""
    whole = np.zeros(len(columns[0]), np.int64)
    known = np.ones(len(whole), np.bool_)
    for column in columns:
        known &= column.mask
        distinct = column.data.astype(np.int64) if column.kind == "str" else _dense(column.data.astype(np.int64))
        whole = whole * (int(distinct.max(initial=0)) + 1) + distinct
        if len(columns) > 1:  # keeps the product of several columns' sizes within int64
            whole = _dense(whole)
    return whole, known


def _dense(numbers: IntArray) -> IntArray:
    """Rank of each number among the distinct ones."""
    low, high = (int(numbers.min()), int(numbers.max())) if len(numbers) else (0, 0)
    if high - low > _SPARSE * len(numbers):
        return np.unique(numbers, return_inverse=True)[1].astype(np.int64)
    there = np.zeros(high - low + 1, np.bool_)
    there[numbers - low] = True
    return np.asarray((np.cumsum(there) - 1)[numbers - low])


def _numbered(whole: IntArray, known: BoolArray, rows: int) -> tuple[IntArray, int]:
    """Number the known keys of the first ``rows``; -1 for all others."""
    there = np.zeros(int(whole.max(initial=0)) + 1, np.bool_)
    there[whole[:rows][known[:rows]]] = True
    number = np.where(there, np.cumsum(there) - 1, -1)
    return np.where(known, number[whole], -1), int(there.sum())


def _scalars(column: Values) -> list[Any]:
    if column.kind == "datetime":
        plain = column.data.tolist()
        return [one if known else None for one, known in zip(plain, column.mask.tolist(), strict=True)]
    return column.to_list()
