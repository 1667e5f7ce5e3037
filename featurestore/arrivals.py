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
from featurestore.deliveries import column, key_column, key_hashes, payload_hashes
from featurestore.difference import as_loaded_before, new_of_part
from featurestore.events import IntArray
from featurestore.forgotten import Forgotten
from featurestore.known import known_events, known_keys
from featurestore.log import PART, EventLog, PartRecord
from featurestore.online import KnownKeys, OnlineStore
from featurestore.online.keys import NO_KEYS
from featurestore.validation import BadRow
from featurestore.values import Values
from featurestore.view import KNOWN_AT

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
    tables = [source.fields.arrow().empty_table().append_column(PART, _part_names("", 0))]
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
        tables.append(checked.table.append_column(PART, _part_names(part.name, checked.table.num_rows)))
    table = pa.concat_tables(tables).unify_dictionaries()
    return Arrived(source, table, history=False, parts=tuple(parts), bad=tuple(bad))


def _part_names(name: str, rows: int) -> pa.Array:
    return pa.array([name] * rows, pa.string()).dictionary_encode()


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
    key, key_hash, payload_hash = key_column(source, table), key_hashes(source, table), payload_hashes(source, table)
    keep = np.ones(len(key), np.bool_)
    conflicts = _repeats(key, known_at(source, table, None), payload_hash, keep)
    known = known_keys(source, key_hash[key.mask], log, online, rebuild=terms.rebuild)
    suspect = _drop_known(key.mask & keep, key_hash, payload_hash, known, keep)
    keys = dict(zip(suspect, key.take(np.array(suspect, np.int64)).to_list(), strict=True))
    events = known_events(source, list(keys.values()), log, online, rebuild=terms.rebuild) if suspect else {}
    wrong = {row: table.slice(first, 1).to_pylist()[0] for row, first in conflicts}
    wrong |= {row: events[keys[row]] for row in suspect if keys[row] in events}  # otherwise only hashes are equal
    bad = found.bad
    if wrong:
        refused = [conflict(source, wrong[row], table.slice(row, 1).to_pylist()[0]) for row in sorted(wrong)]
        if (terms.on_invalid or source.on_invalid) == "stop":
            raise refusal(source, refused)
        bad = (*bad, *refused)
        keep[list(wrong)] = False
    rows = np.flatnonzero(keep)
    duplicates = len(keep) - len(rows) - len(wrong)
    own = keep & key.mask
    keys_kept = KnownKeys(key_hash[own], payload_hash[own])
    return replace(found, table=table.take(rows), bad=bad, duplicates=duplicates, keys=keys_kept)


def _drop_known(
    rows: BoolArray, key_hash: IntArray, payload_hash: IntArray, known: KnownKeys, keep: BoolArray
) -> list[int]:
    """Drop from ``keep`` what is known with the same payload; give the rows that are known with another."""
    first = np.searchsorted(known.key_hash, key_hash)
    last = np.searchsorted(known.key_hash, key_hash, side="right")
    suspect = []
    for row in np.flatnonzero(rows & (last > first)).tolist():
        if payload_hash[row] in known.payload_hash[first[row] : last[row]]:
            keep[row] = False
        else:
            suspect.append(row)
    return suspect


def _repeats(key: Values, known: IntArray, payload_hash: IntArray, keep: BoolArray) -> list[tuple[int, int]]:
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
