"""What a source has that the log has not: new files, new keys, new rows; checked, typed, stamped with ``known_at``."""

import functools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from featurestore import reading, stamps, validation
from featurestore.ahead import ahead
from featurestore.conflicts import conflict, refusal
from featurestore.definition import OnInvalid, Source
from featurestore.deliveries import has_key, key_column, key_hashes, payload_hashes
from featurestore.difference import as_loaded_before, new_of_part
from featurestore.events import IntArray
from featurestore.forgotten import Forgotten
from featurestore.hashing import ascending
from featurestore.known import known_events, known_keys
from featurestore.log import PART, EventLog, PartRecord
from featurestore.online import KnownKeys, OnlineStore
from featurestore.spill import Room, Spill, ranges
from featurestore.validation import BadRow, Checked
from featurestore.view import KNOWN_AT, TableColumns, coded

BoolArray = np.ndarray[Any, np.dtype[np.bool_]]
_HASHED = ("row", "key", "payload")
_NONE = np.zeros((2, 0), np.int64)


@dataclass(frozen=True, eq=False)
class Arrived:
    """New events of a source, and the keys of its rows (S6).

    ``read`` holds all rows that were read, ``keep`` says which of them are new, ``stamps`` when those are known,
    microseconds UTC; without ``stamps`` their known_at is what :func:`known_at` gives for ``stamp``. ``as_before`` of
    a rebuild's rows were in the log, and keep their known_at. ``forgotten`` rows were left out. ``hashes`` holds row,
    key and payload of those that have a key, by key.
    """

    source: Source
    read: Spill
    history: bool
    rows: int = 0
    keep: BoolArray | None = None
    stamp: int | None = None
    stamps: IntArray | None = None
    parts: tuple[tuple[reading.Part, str, int], ...] = ()
    bad: tuple[BadRow, ...] = ()
    vanished: tuple[str, ...] = ()
    duplicates: int = 0
    as_before: int = 0
    forgotten: int = 0
    hashes: Spill | None = None

    def keys(self) -> Iterator[KnownKeys]:
        """Give the keys of the new events part by part, ascending."""
        for table in self.hashes or ():
            row, key, payload = _arrays(table)
            kept = slice(None) if self.keep is None else self.keep[row]
            if len(key[kept]):
                yield KnownKeys(key[kept], payload[kept])

    def tables(self) -> Iterator[pa.Table]:
        """Give the new events, for once: the source's columns, ``__part`` and ``__known_at``."""
        begin = 0
        for table in self.read.drain():
            stop = begin + table.num_rows
            stamps = None if self.stamps is None else self.stamps[begin:stop]
            if self.keep is not None and not self.keep[begin:stop].all():
                kept = self.keep[begin:stop]
                table = table.filter(pa.array(kept))  # noqa: PLW2901 what is left of it
                stamps = None if stamps is None else stamps[kept]
            begin = stop
            known = known_at(self.source, table, self.stamp) if stamps is None else stamps
            yield table.append_column(KNOWN_AT, pa.array(known).cast(pa.timestamp("us", tz="UTC")))


@dataclass(frozen=True)
class Terms:
    """How a load goes: relative paths start at ``root``; it begins at ``stamp`` (microseconds UTC).

    What it brings as an arrival is known when it is published: then ``now`` is read, and never gives less. It may take
    ``memory`` bytes. Not ``online``, it fills no view: those of sources with new events are incomplete from then on.
    """

    root: Path
    stamp: int
    now: Callable[[], int]
    forgotten: Forgotten
    memory: int
    history: bool = False
    on_invalid: OnInvalid | None = None
    rebuild: bool = False
    online: bool = True


@dataclass(eq=False)
class _Facts:
    """What is noted of the rows that are read: hashes of payloads, and when each would be known in history.

    ``hashes`` are for rows with a key: their number, and the hashes of key and payload.
    """

    hashes: Spill
    rows: int = 0
    payload_hash: list[IntArray] = field(default_factory=list)
    known_at: list[IntArray] = field(default_factory=list)
    spans: list[tuple[str, int, int]] = field(default_factory=list)
    """Name of each part, and where its rows begin and end."""


def arrived(source: Source, log: EventLog, online: OnlineStore, terms: Terms, room: Room) -> Arrived:
    """Rows of a source that are not in the log; ``room`` is for them.

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
    loaded = log.loaded(source.name)
    history = terms.history or terms.rebuild or not loaded
    found = Arrived(source, Spill(room), history, stamp=None if history else terms.stamp)
    noted = ["known_at"] if terms.rebuild and not terms.history else []
    if noted or (source.key is None and loaded):
        noted.append("payload_hash")
    facts = _Facts(Spill(room, share=4))
    found = _read(found, there, known, terms, facts, noted)
    if found.bad and (terms.on_invalid or source.on_invalid) == "stop":
        raise validation.invalid_rows(list(found.bad), source.name)
    found = replace(found, rows=found.read.rows, vanished=tuple(sorted(set(known) - {part.name for part in there})))
    payload_hash = _joined(facts.payload_hash)
    if source.key is not None:
        found = _new_by_key(found, facts.hashes, log, online, terms)
    elif loaded and not terms.rebuild:
        found = _new_by_difference(found, facts.spans, payload_hash, log)
    return _stamped_as_before(found, payload_hash, _joined(facts.known_at), log) if "known_at" in noted else found


def known_at(source: Source, table: pa.Table, stamp: int | None) -> IntArray:
    """When each event of a table is known: see :func:`featurestore.stamps.known_at`."""
    return stamps.known_at(source, TableColumns(source.fields, table, None), stamp)


def _read(
    found: Arrived,
    there: Sequence[reading.Part],
    known: Mapping[str, PartRecord],
    terms: Terms,
    facts: _Facts,
    noted: Collection[str],
) -> Arrived:
    """Checked rows of the parts that are not as they were loaded, without those of forgotten entities."""
    source, spill = found.source, found.read
    parts, bad, forgotten = [], list[BadRow](), 0
    for part in there:
        record = known.get(part.name)
        if record is not None and part.mtime_ns and (record.size, record.mtime_ns) == (part.size, part.mtime_ns):
            continue
        with ThreadPoolExecutor(1, "digest") as beside:
            digest = beside.submit(reading.digest, part)
            if record is not None and record.digest and digest.result() == record.digest:
                continue
            seen, valid, begin = 0, 0, spill.rows
            for rows, checked, table in ahead(_taken(source, part, terms, facts, noted, spill.room)):
                bad += [replace(one, row=one.row + seen) for one in checked.bad]
                spill.add(table)
                seen, valid = seen + rows, valid + checked.table.num_rows
                forgotten += checked.table.num_rows - table.num_rows
            facts.spans.append((part.name, begin, spill.rows))
            whole = digest.result()  # of a file that grew meanwhile it may be of rows that were not read
            parts.append((part, "" if reading.changed(part) else whole, valid))
    return replace(found, parts=tuple(parts), bad=tuple(bad), forgotten=forgotten)


def _taken(
    source: Source, part: reading.Part, terms: Terms, facts: _Facts, noted: Collection[str], room: Room
) -> Iterator[tuple[int, Checked, pa.Table]]:
    """How many rows were read, what the check found, and the rows that stay, of which the facts are noted."""
    for raw in ahead(reading.tables(source, part, terms.root, room.rows(len(source.fields.names)))):
        checked = validation.check(
            raw, source.fields, origin=part.name, from_text=part.kind == "csv", codes=source.repeating
        )
        table = coded(source, terms.forgotten.without(source, checked.table)[0])
        _note(facts, source, table, noted)
        yield raw.num_rows, checked, table.append_column(PART, _part_names(part.name, table.num_rows))


def _note(facts: _Facts, source: Source, table: pa.Table, noted: Collection[str]) -> None:
    first, facts.rows = facts.rows, facts.rows + table.num_rows
    if source.key is None and "payload_hash" not in noted:
        return
    payload = payload_hashes(source, table)
    if source.key is not None:
        columns = [np.arange(first, facts.rows), key_hashes(source, table), payload]
        facts.hashes.add(pa.table(columns, names=_HASHED).filter(pa.array(has_key(source, table))))
    if "payload_hash" in noted:
        facts.payload_hash.append(payload)
    if "known_at" in noted:
        facts.known_at.append(known_at(source, table, None))


def _joined(arrays: list[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    """One array of several, which are gone then."""
    whole = np.concatenate(arrays) if arrays else np.zeros(0, np.int64)
    arrays.clear()
    return whole


def _part_names(name: str, rows: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(np.zeros(rows, np.int32), pa.array([name]))


def _rows(spill: Spill, rows: IntArray) -> pa.Table:
    """Some rows of a spill, by their numbers, ascending."""
    begin, chosen = 0, []
    for table in spill if len(rows) else ():
        own = rows[np.searchsorted(rows, begin) : np.searchsorted(rows, begin + table.num_rows)] - begin
        if len(own):
            chosen.append(table.take(pa.array(own)))
        begin += table.num_rows
    return pa.concat_tables(chosen).unify_dictionaries().combine_chunks() if chosen else pa.table({})


def _stamped_as_before(found: Arrived, payload_hash: IntArray, known_at: IntArray, log: EventLog) -> Arrived:
    """Stamps of a rebuild's rows: it does not make history of what was observed."""
    kept = slice(None) if found.keep is None else found.keep
    stamps = known_at.copy()
    stamps[kept], as_before = as_loaded_before(found.source, payload_hash[kept], known_at[kept], log)
    return replace(found, stamps=stamps, as_before=as_before)


def _rows_from(spill: Spill, begin: int, rows: IntArray) -> pa.Table:
    return _rows(spill, rows + begin)


def _new_by_key(found: Arrived, hashes: Spill, log: EventLog, online: OnlineStore, terms: Terms) -> Arrived:
    """Rows under keys that are not known; null keys are not deduplicated (S6)."""
    source, ordered = found.source, Spill(hashes.room, share=4)
    keep = np.ones(found.rows, np.bool_)
    known = known_keys(source, log, online, rebuild=terms.rebuild)
    repeating, suspect = [_NONE], list[int]()
    for whole in ahead(map(_by_key, ranges(hashes, "key", "int"))):
        ordered.add(whole)
        row, key, payload = _arrays(whole)
        repeating.append(np.stack([row, payload])[:, _repeating(key)])
        suspect += _drop_known(row, key, payload, known(key), keep)
    hashes.close()
    rows, payloads = np.concatenate(repeating, axis=1)
    wrong = _repeats(source, found.read, rows, payloads, keep)
    left = [row for row in suspect if keep[row]]
    wrong |= _known_otherwise(source, found.read, np.array(left), log, online, rebuild=terms.rebuild)
    bad = found.bad
    if wrong:
        numbers = sorted(wrong)
        events = _rows(found.read, np.array(numbers)).to_pylist()
        refused = [conflict(source, wrong[row], event) for row, event in zip(numbers, events, strict=True)]
        if (terms.on_invalid or source.on_invalid) == "stop":
            raise refusal(source, refused)
        bad = (*bad, *refused)
        keep[numbers] = False
    kept = int(keep.sum())
    duplicates = found.rows - kept - len(wrong)
    return replace(found, keep=keep, rows=kept, bad=bad, duplicates=duplicates, hashes=ordered)


def _by_key(hashes: pa.Table) -> pa.Table:
    whole = hashes.combine_chunks()
    return whole.take(pa.array(ascending(whole.column("key").to_numpy())))


def _arrays(hashes: pa.Table) -> tuple[IntArray, IntArray, IntArray]:
    """Row, key and payload."""
    row, key, payload = (hashes.column(name).to_numpy() for name in _HASHED)
    return row, key, payload


def _repeating(ordered: IntArray) -> BoolArray:
    """Which of ascending numbers are there more than once."""
    repeating = np.zeros(len(ordered), np.bool_)
    same = ordered[1:] == ordered[:-1]
    repeating[1:] |= same
    repeating[:-1] |= same
    return repeating


def _known_otherwise(
    source: Source, read: Spill, suspect: IntArray, log: EventLog, online: OnlineStore, *, rebuild: bool
) -> dict[int, dict[str, Any]]:
    """Events that are known under the keys of suspect rows, by row; a row of which only the hash is known has none."""
    if not len(suspect):
        return {}
    suspect = np.sort(suspect)
    keys = dict(zip(suspect.tolist(), key_column(source, _rows(read, suspect)).to_list(), strict=True))
    events = known_events(source, list(keys.values()), log, online, rebuild=rebuild)
    return {row: events[key] for row, key in keys.items() if key in events}


def _drop_known(row: IntArray, key: IntArray, payload: IntArray, known: KnownKeys, keep: BoolArray) -> list[int]:
    """Drop from ``keep`` what is known with the same payload; give the rows that are known with another.

    Rows come with the hashes of their keys, ascending, and payloads.
    """
    first = np.searchsorted(known.key_hash, key)
    last = np.searchsorted(known.key_hash, key, side="right")
    there = last > first
    row, payload, first, last = row[there], payload[there], first[there], last[there]
    same = np.zeros(len(row), np.bool_)
    for beyond in range(int((last - first).max(initial=0))):  # as many payloads as one hash is known with: one, mostly
        same |= known.payload_hash[np.minimum(first + beyond, last - 1)] == payload
    keep[row[same]] = False
    return list(row[~same].tolist())


def _repeats(
    source: Source, read: Spill, rows: IntArray, payload: IntArray, keep: BoolArray
) -> dict[int, dict[str, Any]]:
    """Drop from ``keep`` what repeats another row of the load; give the first event of those that differ from it.

    ``rows`` are all whose key hash is there more than once, with the hashes of their payloads. Of several copies the
    one that was known first is the first, in whatever order the files hold them (S5).
    """
    if not len(rows):
        return {}
    place = np.argsort(rows)
    rows, payload = rows[place], payload[place]
    some = _rows(read, rows)
    key = key_column(source, some).data
    place = np.lexsort((known_at(source, some, None), key))
    head = np.concatenate([[True], np.diff(key[place]) != 0])
    first = place[head][np.cumsum(head) - 1]
    differs = ~head & (payload[place] != payload[first])
    keep[rows[place[~head & ~differs]]] = False
    pairs = zip(rows[place[differs]].tolist(), first[differs].tolist(), strict=True)
    return {row: some.slice(original, 1).to_pylist()[0] for row, original in pairs}


def _new_by_difference(
    found: Arrived, spans: Sequence[tuple[str, int, int]], payload_hash: IntArray, log: EventLog
) -> Arrived:
    """Rows that occur more often than the log has them, part by part."""
    keep = np.zeros(len(payload_hash), np.bool_)
    for part, begin, end in spans:
        rows_of = functools.partial(_rows_from, found.read, begin)
        keep[begin + new_of_part(found.source, part, payload_hash[begin:end], rows_of, log)] = True
    kept = int(keep.sum())
    return replace(found, keep=keep, rows=kept, duplicates=found.rows - kept)
