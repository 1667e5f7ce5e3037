"""What a source has that the log has not: new files, new keys, new rows; checked, typed, stamped with ``known_at``."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from featurestore import reading, validation
from featurestore.conflicts import conflict, refusal
from featurestore.definition import OnInvalid, Source
from featurestore.deliveries import column, has_key, key_column, key_hashes, payload_hashes
from featurestore.difference import as_loaded_before, new_of_part
from featurestore.events import IntArray
from featurestore.forgotten import Forgotten
from featurestore.known import known_events, known_keys
from featurestore.log import PART, EventLog, PartRecord
from featurestore.online import KnownKeys, OnlineStore
from featurestore.online.keys import NO_KEYS
from featurestore.validation import BadRow
from featurestore.view import KNOWN_AT, coded

BoolArray = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True, eq=False)
class Arrived:
    """New events of a source: its columns, ``__known_at`` and ``__part``; the keys of its rows (S6).

    ``as_before`` of a rebuild's rows were in the log, and keep their known_at. ``forgotten`` rows were left out.
    """

    source: Source
    table: pa.Table
    history: bool
    parts: tuple[tuple[reading.Part, str, int], ...] = ()
    bad: tuple[BadRow, ...] = ()
    vanished: tuple[str, ...] = ()
    duplicates: int = 0
    as_before: int = 0
    forgotten: int = 0
    keys: KnownKeys = field(default=NO_KEYS, repr=False)


@dataclass(frozen=True)
class Terms:
    """How a load goes: relative paths start at ``root``; it begins at ``stamp`` (microseconds UTC).

    What it brings as an arrival is known when it is published: then ``now`` is read, and never gives less.
    """

    root: Path
    stamp: int
    now: Callable[[], int]
    forgotten: Forgotten
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
    found = _read(source, there, known, terms)
    if found.bad and (terms.on_invalid or source.on_invalid) == "stop":
        raise validation.invalid_rows(list(found.bad), source.name)
    table, left_out = terms.forgotten.without(source, found.table)
    vanished = tuple(sorted(set(known) - {part.name for part in there}))
    history = terms.history or terms.rebuild or not log.loaded(source.name)
    found = replace(found, table=table, forgotten=left_out, history=history, vanished=vanished)
    found = _new_by_key(found, log, online, terms) if source.key else _new_by_difference(found, log, terms)
    return _stamped(found, log, terms)


def known_at(source: Source, table: pa.Table, stamp: int | None) -> IntArray:
    """When each event is known (S2): declared or after the delay in history, with a ``stamp`` not before that."""
    event_time = column(source, table, source.event_time).data
    declared = event_time + source.delay if stamp is None else np.full(len(event_time), stamp, np.int64)
    if source.known_at is not None:
        said = column(source, table, source.known_at)
        own = said.data if stamp is None else np.maximum(said.data, stamp)
        declared = np.where(said.mask, own, declared)
    return np.asarray(declared, np.int64)


def _read(source: Source, there: Sequence[reading.Part], known: Mapping[str, PartRecord], terms: Terms) -> Arrived:
    """Checked rows of the parts that are not as they were loaded."""
    parts, bad = [], []
    tables = [coded(source, source.fields.arrow().empty_table()).append_column(PART, _part_names("", 0))]
    for part in there:
        record = known.get(part.name)
        if record is not None and part.mtime_ns and (record.size, record.mtime_ns) == (part.size, part.mtime_ns):
            continue
        digest = reading.digest(part)
        if record is not None and digest and digest == record.digest:
            continue
        raw = reading.read(source, part, terms.root)
        checked = validation.check(raw, source.fields, origin=part.name, from_text=part.kind == "csv")
        bad += checked.bad
        parts.append((part, digest, checked.table.num_rows))
        rows = coded(source, checked.table)
        tables.append(rows.append_column(PART, _part_names(part.name, rows.num_rows)))
    table = pa.concat_tables(tables).unify_dictionaries()
    return Arrived(source, table, history=False, parts=tuple(parts), bad=tuple(bad))


def _part_names(name: str, rows: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(np.zeros(rows, np.int32), pa.array([name]))


def _stamped(found: Arrived, log: EventLog, terms: Terms) -> Arrived:
    """Append ``__known_at``. A rebuild does not make history of what was observed, unless it is told to."""
    stamps = known_at(found.source, found.table, None if found.history else terms.stamp)
    as_before = 0
    if terms.rebuild and not terms.history:
        stamps, as_before = as_loaded_before(found.source, found.table, stamps, log)
    times = pa.array(stamps).cast(pa.timestamp("us", tz="UTC"))
    return replace(found, table=found.table.append_column(KNOWN_AT, times), as_before=as_before)


def _new_by_key(found: Arrived, log: EventLog, online: OnlineStore, terms: Terms) -> Arrived:
    """Rows under keys that are not known; null keys are not deduplicated (S6)."""
    source, table = found.source, found.table
    key_hash, payload_hash, keyed = key_hashes(source, table), payload_hashes(source, table), has_key(source, table)
    keep = np.ones(table.num_rows, np.bool_)
    place = np.argsort(key_hash) if keyed.all() else np.flatnonzero(keyed)[np.argsort(key_hash[keyed])]
    wrong = _repeats(source, table, payload_hash, place[_repeating(key_hash[place])], keep)
    known = known_keys(source, key_hash[place], log, online, rebuild=terms.rebuild)
    suspect = _drop_known(place[keep[place]], key_hash, payload_hash, known, keep)
    wrong |= _known_otherwise(source, table, suspect, log, online, rebuild=terms.rebuild)
    bad = found.bad
    if wrong:
        refused = [conflict(source, wrong[row], table.slice(row, 1).to_pylist()[0]) for row in sorted(wrong)]
        if (terms.on_invalid or source.on_invalid) == "stop":
            raise refusal(source, refused)
        bad = (*bad, *refused)
        keep[list(wrong)] = False
    kept = table if keep.all() else table.take(np.flatnonzero(keep))
    duplicates = table.num_rows - kept.num_rows - len(wrong)
    own = place[keep[place]]
    return replace(found, table=kept, bad=bad, duplicates=duplicates, keys=KnownKeys(key_hash[own], payload_hash[own]))


def _repeating(ordered: IntArray) -> BoolArray:
    """Which of ascending numbers are there more than once."""
    repeating = np.zeros(len(ordered), np.bool_)
    same = ordered[1:] == ordered[:-1]
    repeating[1:] |= same
    repeating[:-1] |= same
    return repeating


def _known_otherwise(
    source: Source, table: pa.Table, suspect: IntArray, log: EventLog, online: OnlineStore, *, rebuild: bool
) -> dict[int, dict[str, Any]]:
    """Events that are known under the keys of suspect rows, by row; a row of which only the hash is known has none."""
    if not len(suspect):
        return {}
    keys = dict(zip(suspect.tolist(), key_column(source, table.take(suspect)).to_list(), strict=True))
    events = known_events(source, list(keys.values()), log, online, rebuild=rebuild)
    return {row: events[key] for row, key in keys.items() if key in events}


def _drop_known(
    rows: IntArray, key_hash: IntArray, payload_hash: IntArray, known: KnownKeys, keep: BoolArray
) -> IntArray:
    """Drop from ``keep`` what is known with the same payload; give the rows that are known with another.

    ``rows`` are in the order of their key hashes.
    """
    if not len(known.key_hash):
        return rows[:0]
    first = np.searchsorted(known.key_hash, key_hash[rows])
    last = np.searchsorted(known.key_hash, key_hash[rows], side="right")
    there = last > first
    rows, first, last = rows[there], first[there], last[there]
    same = np.zeros(len(rows), np.bool_)
    for beyond in range(int((last - first).max(initial=0))):  # as many payloads as one hash is known with: one, mostly
        same |= known.payload_hash[np.minimum(first + beyond, last - 1)] == payload_hash[rows]
    keep[rows[same]] = False
    return rows[~same]


def _repeats(
    source: Source, table: pa.Table, payload_hash: IntArray, rows: IntArray, keep: BoolArray
) -> dict[int, dict[str, Any]]:
    """Drop from ``keep`` what repeats another row of the load; give the first event of those that differ from it.

    ``rows`` are all whose key hash is there more than once. Of several copies the one that was known first is the
    first, in whatever order the files hold them (S5).
    """
    if not len(rows):
        return {}
    rows = np.sort(rows)
    some = table.take(rows)
    key, payload = key_column(source, some).data, payload_hash[rows]
    place = np.lexsort((known_at(source, some, None), key))
    head = np.concatenate([[True], np.diff(key[place]) != 0])
    first = place[head][np.cumsum(head) - 1]
    differs = ~head & (payload[place] != payload[first])
    keep[rows[place[~head & ~differs]]] = False
    pairs = zip(rows[place[differs]].tolist(), first[differs].tolist(), strict=True)
    return {row: some.slice(original, 1).to_pylist()[0] for row, original in pairs}


def _new_by_difference(found: Arrived, log: EventLog, terms: Terms) -> Arrived:
    """Rows that occur more often than the log has them, part by part."""
    if terms.rebuild or not log.loaded(found.source.name):
        return found
    kept = [found.table.slice(0, 0)]
    for part, _, _ in found.parts:
        of_part = found.table.filter(pc.equal(found.table.column(PART).cast(pa.string()), part.name))
        kept.append(new_of_part(found.source, part.name, of_part, log))
    fresh = pa.concat_tables(kept)
    return replace(found, table=fresh, duplicates=found.table.num_rows - fresh.num_rows)
