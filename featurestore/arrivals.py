"""What a source has that the log has not: new files, new keys, new rows; checked, typed, stamped with ``known_at``."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from featurestore import reading, validation, values
from featurestore.definition import OnInvalid, Source
from featurestore.errors import ConflictingRows
from featurestore.events import IntArray
from featurestore.hashing import row_hashes
from featurestore.log import EventLog
from featurestore.online import OnlineStore
from featurestore.validation import BadRow
from featurestore.values import Values
from featurestore.view import KNOWN_AT

PART = "__part"
_SHOWN = 3


@dataclass(frozen=True, eq=False)
class Arrived:
    """New events of a source: its columns, ``__known_at`` and ``__part``; the hashes are of its rows (S6)."""

    source: Source
    table: pa.Table
    history: bool
    parts: tuple[tuple[reading.Part, str, int], ...] = ()
    bad: tuple[BadRow, ...] = ()
    vanished: tuple[str, ...] = ()
    duplicates: int = 0
    key_hash: IntArray | None = field(default=None, repr=False)
    payload_hash: IntArray | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Terms:
    """How a load goes: relative paths start at ``root``, arrivals are stamped ``stamp`` (microseconds UTC)."""

    root: Path
    stamp: int
    history: bool = False
    on_invalid: OnInvalid | None = None
    rebuild: bool = False


def arrived(source: Source, log: EventLog, online: OnlineStore, terms: Terms) -> Arrived:
    """Rows of a source that are not in the log.

    Found by file for paths, by key where there is one, by multiset difference otherwise. A file that has vanished is
    named in the result and its events stay.

    Raises
    ------
    InvalidRows
        If rows are against the schema and are not to be quarantined.
    ConflictingRows
        If a known key comes with another payload, or a row without a key has changed in place.
    SourceUnreadable
        If a file or query cannot be read.
    """
    known = {} if terms.rebuild else log.parts(source.name)
    there = reading.parts(source, terms.root)
    history = terms.history or terms.rebuild or not log.loaded(source.name)
    parts, tables, bad = [], [], []
    for part in there:
        record = known.get(part.name)
        if record is not None and part.mtime_ns and (record.size, record.mtime_ns) == (part.size, part.mtime_ns):
            continue
        digest = reading.digest(part)
        if record is not None and digest and digest == record.digest:
            continue
        checked = validation.check(
            reading.read(source, part, terms.root), source.fields, origin=part.name, from_text=part.kind == "csv"
        )
        bad += checked.bad
        parts.append((part, digest, checked.table.num_rows))
        tables.append(
            checked.table.append_column(
                PART, pa.array([part.name] * checked.table.num_rows, pa.string()).dictionary_encode()
            )
        )
    if bad and (terms.on_invalid or source.on_invalid) == "stop":
        raise validation.invalid_rows(bad, source.name)
    empty = source.fields.arrow().empty_table().append_column(PART, pa.array([], pa.string()).dictionary_encode())
    table = pa.concat_tables([empty, *tables]).unify_dictionaries()
    vanished = tuple(sorted(set(known) - {part.name for part in there}))
    found = Arrived(source, table, history, tuple(parts), tuple(bad), vanished)
    found = _new_by_key(found, log, online, terms) if source.key else _new_by_difference(found, log, terms)
    return replace(found, table=_stamped(found.table, source, None if history else terms.stamp))


def known_at(source: Source, table: pa.Table, stamp: int | None) -> IntArray:
    """When each event is known (S2): declared or after the delay in history, with a ``stamp`` not before that."""
    event_time = _values(source, table, source.event_time).data
    declared = event_time + source.delay if stamp is None else np.full(len(event_time), stamp, np.int64)
    if source.known_at is not None:
        column = _values(source, table, source.known_at)
        own = column.data if stamp is None else np.maximum(column.data, stamp)
        declared = np.where(column.mask, own, declared)
    return np.asarray(declared, np.int64)


def payload_columns(source: Source, table: pa.Table) -> list[Values]:
    """Columns that two deliveries of one event agree in: all but the declared known_at."""
    return [_values(source, table, name) for name in source.fields.names if name != source.known_at]


def _stamped(table: pa.Table, source: Source, stamp: int | None) -> pa.Table:
    times = pa.array(known_at(source, table, stamp)).cast(pa.timestamp("us", tz="UTC"))
    return table.append_column(KNOWN_AT, times)


def _new_by_key(found: Arrived, log: EventLog, online: OnlineStore, terms: Terms) -> Arrived:
    """Rows under keys that are not known; null keys are not deduplicated (S6)."""
    source, table = found.source, found.table
    assert source.key is not None  # noqa: S101 - the caller has looked
    key = _values(source, table, source.key)
    key_hash, payload_hash = row_hashes([key]), row_hashes(payload_columns(source, table))
    keep = np.ones(len(key), np.bool_)
    conflicts = _repeats(key, known_at(source, table, None), payload_hash, keep)
    known_keys, known_payloads = _known(source, log, online, key_hash[key.mask], terms)
    first = np.searchsorted(known_keys, key_hash)
    last = np.searchsorted(known_keys, key_hash, side="right")
    for row in np.flatnonzero((last > first) & key.mask & keep).tolist():
        if payload_hash[row] in known_payloads[first[row] : last[row]]:
            keep[row] = False
        else:
            conflicts.append((row, -1))
    conflicts = [
        one for one in conflicts if one[1] >= 0 or logged(source, log, key.take(np.array([one[0]])).to_list()[0])
    ]
    bad = found.bad
    if conflicts:
        wrong = [_conflict(source, table, log, row, other) for row, other in sorted(conflicts)[:1000]]
        if (terms.on_invalid or source.on_invalid) == "stop":
            raise _refused(source, wrong, len(conflicts))
        bad = (*bad, *wrong)
        keep[[row for row, _ in conflicts]] = False
    rows = np.flatnonzero(keep)
    duplicates = len(keep) - len(rows) - len(conflicts)
    return replace(
        found,
        table=table.take(rows),
        bad=bad,
        duplicates=duplicates,
        key_hash=key_hash[rows],
        payload_hash=payload_hash[rows],
    )


def _repeats(key: Values, known: IntArray, payload_hash: IntArray, keep: np.ndarray[Any, Any]) -> list[tuple[int, int]]:
    """Drop from ``keep`` what repeats another row of the load; give (row, first row) where the payload differs.

    Of several copies the one that was known first is the first, in whatever order the files hold them (S5).
    """
    place = np.lexsort((known, key.data))
    place = place[key.mask[place]]
    if not len(place):
        return []
    head = np.concatenate([[True], np.diff(key.data[place]) != 0])
    first = place[head][np.cumsum(head) - 1]
    repeated = ~head
    differs = repeated & (payload_hash[place] != payload_hash[first])
    keep[place[repeated & ~differs]] = False
    return list(zip(place[differs].tolist(), first[differs].tolist(), strict=True))


def _known(
    source: Source, log: EventLog, online: OnlineStore, hashes: IntArray, terms: Terms
) -> tuple[IntArray, IntArray]:
    """Key and payload hashes that are known, sorted by key hash."""
    if not terms.rebuild:
        seen = online.seen(source.name, hashes)
        return seen.key_hash, seen.payload_hash
    kept = log.read(source.name, columns=list(source.fields.names), schema=source.fields.arrow(), origin="ingest")
    assert source.key is not None  # noqa: S101 - the caller has looked
    key_hash, payload_hash = row_hashes([_values(source, kept, source.key)]), row_hashes(payload_columns(source, kept))
    place = np.argsort(key_hash, kind="stable")
    return key_hash[place], payload_hash[place]


def logged(source: Source, log: EventLog, key: Any) -> dict[str, Any] | None:
    """Return the logged event of that key, if there is one."""
    assert source.key is not None  # noqa: S101 - the caller has looked
    table = log.read(source.name, columns=list(source.fields.names), schema=source.fields.arrow())
    hits = table.filter(pc.equal(table.column(source.key), pa.scalar(key, table.schema.field(source.key).type)))
    return hits.slice(0, 1).to_pylist()[0] if hits.num_rows else None


def _conflict(source: Source, table: pa.Table, log: EventLog, row: int, other: int) -> BadRow:
    """Say what differs between a row and the one that is known under its key."""
    assert source.key is not None  # noqa: S101 - the caller has looked
    new = table.slice(row, 1).to_pylist()[0]
    old = table.slice(other, 1).to_pylist()[0] if other >= 0 else (logged(source, log, new[source.key]) or {})
    return difference(source, old, new)


def difference(source: Source, old: dict[str, Any], new: dict[str, Any]) -> BadRow:
    """Say which columns of two events under one key differ."""
    names = [name for name in source.fields.names if name != source.known_at and old.get(name) != new.get(name)]
    text = ", ".join(f"{name} was {old.get(name)!r} and is {new.get(name)!r}" for name in names)
    return BadRow(
        str(new.get(PART) or "ingest"),
        0,
        str(source.key),
        f"key {new[str(source.key)]!r} is known with another payload",
        text,
    )


def _refused(source: Source, wrong: Sequence[BadRow], count: int) -> ConflictingRows:
    lines = [f"  {one.file}: {one.rule}: {one.value}" for one in wrong[:_SHOWN]]
    more = [f"  … and {count - _SHOWN} more"] if count > _SHOWN else []
    return ConflictingRows(
        "\n".join(
            [
                (
                    f"{count} rows of source {source.name!r} come under a key that is known with another payload; "
                    "nothing was loaded:"
                ),
                *lines,
                *more,
                (
                    "Send a correction under a new key, set such rows aside with on_invalid='quarantine', or start "
                    "again with rebuild."
                ),
            ]
        ),
        tuple(wrong),
    )


def _new_by_difference(found: Arrived, log: EventLog, terms: Terms) -> Arrived:
    """Rows that occur more often than the log has them, part by part."""
    source, table = found.source, found.table
    if terms.rebuild or not log.loaded(source.name):
        return found
    kept = []
    for part, _, _ in found.parts:
        of_part = found.table.filter(pc.equal(found.table.column(PART).cast(pa.string()), part.name))
        known = log.read(
            source.name, columns=list(source.fields.names), schema=source.fields.arrow(), origin="bulk", part=part.name
        )
        new = _beyond(row_hashes(payload_columns(source, of_part)), row_hashes(payload_columns(source, known)))
        gone = _beyond(row_hashes(payload_columns(source, known)), row_hashes(payload_columns(source, of_part)))
        _check_unchanged(source, part.name, known.take(gone), of_part.take(new))
        kept.append(of_part.take(new))
    fresh = pa.concat_tables([table.slice(0, 0), *kept])
    return replace(found, table=fresh, duplicates=table.num_rows - fresh.num_rows)


def _beyond(hashes: IntArray, known: IntArray) -> IntArray:
    """Rows whose hash occurs more often in ``hashes`` than in ``known``: the later ones of each."""
    place = np.argsort(hashes, kind="stable")
    ordered = hashes[place]
    occurrence = np.arange(len(place)) - np.searchsorted(ordered, ordered)
    known = np.sort(known)
    times = np.searchsorted(known, ordered, side="right") - np.searchsorted(known, ordered)
    return np.sort(place[occurrence >= times])


def _check_unchanged(source: Source, part: str, gone: pa.Table, new: pa.Table) -> None:
    """Refuse a row that has gone where another of the same instant and neighbours has come: it was changed in place."""
    if not gone.num_rows or not new.num_rows:
        return
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


def _values(source: Source, table: pa.Table, name: str) -> Values:
    one = source.fields[name]
    return values.from_arrow(table.column(name), one.kind, nullable=one.nullable)
