"""Rows without a key against what the log has: which are new, which have changed in place, which were there before."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from featurestore.definition import Source
from featurestore.deliveries import payload_hashes
from featurestore.errors import ConflictingRows, SchemaChanged
from featurestore.events import IntArray
from featurestore.log import EventLog
from featurestore.values import from_arrow
from featurestore.view import KNOWN_AT

_SHOWN = 3


def new_of_part(
    source: Source, part: str, here: IntArray, rows_of: Callable[[IntArray], pa.Table], log: EventLog
) -> IntArray:
    """Numbers of the rows of a part that it has more often than the log.

    Parameters
    ----------
    here
        Hashes of their payloads.
    rows_of
        Gives some of them, by their numbers.

    Raises
    ------
    ConflictingRows
        If a row has gone where another of the same instant has come that mostly equals it.
    """
    known = log.read(
        source.name, columns=list(source.fields.names), schema=source.fields.arrow(), origin="bulk", part=part
    )
    there = payload_hashes(source, known)
    new, gone = _beyond(here, there), _beyond(there, here)
    if len(new) and len(gone):
        _check_unchanged(source, part, known.take(gone), rows_of(new))
    return new


def as_loaded_before(source: Source, hashes: IntArray, known_at: IntArray, log: EventLog) -> tuple[IntArray, int]:
    """Stamps of rows that a rebuild loads anew: what a bulk load observed stays observed (S2).

    Parameters
    ----------
    hashes
        Of their payloads.
    known_at
        What each row has if the log does not hold it, microseconds UTC.

    Returns
    -------
    tuple
        The stamps, and how many of them are the log's. Of several equal rows the k-th known keeps the k-th stamp.
    """
    names = [*source.fields.names, KNOWN_AT]
    try:
        old = log.read(source.name, columns=names, schema=source.fields.arrow(), origin="bulk", undamaged=True)
    except SchemaChanged:
        return known_at, 0  # no row is what it was
    before = from_arrow(old.column(KNOWN_AT), "datetime", nullable=False).data
    known = payload_hashes(source, old)
    place, other = np.lexsort((known_at, hashes)), np.lexsort((before, known))
    ordered, held = hashes[place], known[other]
    first = np.searchsorted(held, ordered)
    twin = first + _occurrence(ordered)
    hit = twin < np.searchsorted(held, ordered, side="right")
    stamps = known_at.copy()
    stamps[place[hit]] = before[other[twin[hit]]]
    return stamps, int(hit.sum())


def _beyond(hashes: IntArray, known: IntArray) -> IntArray:
    """Rows whose hash occurs more often in ``hashes`` than in ``known``: the later ones of each."""
    place = np.argsort(hashes, kind="stable")
    ordered = hashes[place]
    known = np.sort(known)
    times = np.searchsorted(known, ordered, side="right") - np.searchsorted(known, ordered)
    return np.sort(place[_occurrence(ordered) >= times])


def _occurrence(ordered: IntArray) -> IntArray:
    """How many equal ones stand before each."""
    return np.asarray(np.arange(len(ordered)) - np.searchsorted(ordered, ordered), np.int64)


def _check_unchanged(source: Source, part: str, gone: pa.Table, new: pa.Table) -> None:
    """Refuse a row that has gone where another of the same instant and neighbours has come: it was changed in place."""
    similar = [
        (old, now)
        for old, now in _pairs_of_one_instant(source, gone, new)
        if sum(old[name] == now[name] for name in source.fields.names) * 2 >= len(source.fields.names)
    ]
    if similar:
        lines = [
            "  "
            + ", ".join(
                f"{name} was {old[name]!r} and is {now[name]!r}"
                for name in source.fields.names
                if old[name] != now[name]
            )
            + f" at {now[source.event_time].isoformat()}"
            for old, now in similar[:_SHOWN]
        ]
        head = f"{len(similar)} rows of source {source.name!r} in {part} have changed since they were loaded"
        hint = "add a correction as a new row, declare key= to tell rows apart, or start again with rebuild"
        raise ConflictingRows("\n".join([f"{head}; nothing was loaded:", *lines, f"Events are immutable: {hint}."]))


def _pairs_of_one_instant(source: Source, gone: pa.Table, new: pa.Table) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    by_time: dict[Any, list[dict[str, Any]]] = {}
    for row in gone.to_pylist():
        by_time.setdefault(row[source.event_time], []).append(row)
    return [(old, row) for row in new.to_pylist() for old in by_time.get(row[source.event_time], ())]
