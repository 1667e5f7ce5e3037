"""When a label can be told: its window has closed, and what happened in it has had time to arrive (S15)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from featurestore import times
from featurestore.definition import Label, Source
from featurestore.events import IntArray
from featurestore.log import EventLog
from featurestore.values import Values
from featurestore.view import KNOWN_AT, POSITION

BoolArray = np.ndarray[Any, np.dtype[np.bool_]]
_NEVER = np.iinfo(np.int64).min


def mature_rows(labels: Sequence[Label], as_of: IntArray, log: EventLog, position: int | IntArray) -> list[BoolArray]:
    """For each label, whether it is mature in each row.

    It is where ``T + offset + horizon + delay`` lies at or before the newest known_at that its source has at the
    position: one for all rows, or one per row, which is then what that row's label sees too.
    """
    newest = {source.name: _newest(source, log, position) for source in {label.view.source for label in labels}}
    return [as_of + label.reach + label.view.source.delay <= newest[label.view.source.name] for label in labels]


def hidden(values: Values, mature: BoolArray) -> Values:
    """Label values with null where they are not mature."""
    return Values(values.kind, np.where(mature, values.data, 0), values.mask & mature, values.categories)


def mark_of(label: str) -> str:
    """Name of the column that says whether a label is mature, in a training set that keeps rows where it is not."""
    return f"{label}__mature"


def described(
    labels: Sequence[Label],
    fingerprints: Mapping[str, str],
    mature: Sequence[BoolArray],
    made: Mapping[str, Values],
    *,
    kept: bool,
) -> list[dict[str, Any]]:
    """Manifest entries of labels; ``mature`` is of the rows asked for, ``made`` of those that are in the table."""
    return [
        {
            "name": label.name,
            "fingerprint": fingerprints[label.name],
            "type": label.kind,
            "nullable": label.nullable or kept,
            "source": label.view.source.name,
            "entity": label.view.entity.name,
            "horizon": times.format_duration(label.horizon),
            "offset": times.format_duration(label.offset) if label.offset else None,
            "mature": int(np.count_nonzero(known)),
            "immature": int(np.count_nonzero(~known)),
            "nulls": int(np.count_nonzero(~made[label.name].mask)),
            "mark": mark_of(label.name) if kept else None,
        }
        for label, known in zip(labels, mature, strict=True)
    ]


def _newest(source: Source, log: EventLog, position: int | IntArray) -> int | IntArray:
    """Newest known_at of a source's events at a position, microseconds UTC."""
    highest = position if isinstance(position, int) else int(position.max(initial=0))
    table = log.read(source.name, columns=[KNOWN_AT, POSITION], position=highest, schema=source.fields.arrow())
    known_at = table.column(KNOWN_AT).cast("int64").to_numpy()
    if isinstance(position, int):
        return int(known_at.max(initial=_NEVER))
    published = table.column(POSITION).to_numpy()
    order = np.argsort(published, kind="stable")
    so_far = np.maximum.accumulate(np.concatenate([[_NEVER], known_at[order]]))
    return np.asarray(so_far[np.searchsorted(published[order], position, side="right")])
