"""Events that arrive one by one: durable and visible when ``ingest`` returns, taken over into the log later."""

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from featurestore import validation, values
from featurestore.arrivals import difference, known_at, logged, payload_columns
from featurestore.definition import Source, SourceBy
from featurestore.errors import ConflictingRows
from featurestore.events import IntArray
from featurestore.hashing import row_hashes
from featurestore.log import EventLog
from featurestore.online import Batch, Keys, OnlineStore, ViewState
from featurestore.values import ARROW_TYPES
from featurestore.view import KNOWN_AT, POSITION, pieces_of


@dataclass(frozen=True)
class Ingested:
    """What ``ingest`` did: rows accepted, rows known already, the position that holds them, their arrival stamp.

    ``known_at`` is in microseconds UTC.
    """

    rows: int
    duplicates: int
    position: int
    known_at: int


def ingest(
    source: Source, views: Sequence[SourceBy], rows: Any, log: EventLog, online: OnlineStore, now: int
) -> Ingested:
    """Append rows to a source: all of them durably, or none.

    Raises
    ------
    InvalidRows
        If a row is against the schema; it names all of them.
    ConflictingRows
        If a known key comes with another payload (S6).
    """
    _open_views(source, views, log, online)
    table = validation.check_rows(rows, source.fields)
    if not table.num_rows:
        state = online.state()
        return Ingested(0, 0, state.position, state.stamp)
    batch = Batch(
        table.num_rows, now, _packer(source, views, table), _keys(source, table), _confirm(source, table, log, online)
    )
    receipt = online.append(source.name, batch)
    return Ingested(len(receipt.kept), receipt.duplicates, receipt.position, receipt.known_at)


def untouched(source: Source, log: EventLog, online: OnlineStore) -> bool:
    """Whether a source has no event at all."""
    return log.rows(source.name) == 0 and all(entry.source != source.name for entry in online.journal(log.taken_over))


def _open_views(source: Source, views: Sequence[SourceBy], log: EventLog, online: OnlineStore) -> None:
    """Note that a source's views are complete, before its first event; later only a load can fill a new view."""
    known = online.views()
    new = [view.name for view in views if view.name not in known]
    if new and untouched(source, log, online):
        load = uuid.uuid4().hex
        online.begin_load(load)
        states = {name: ViewState(columns=source.fields.names) for name in new}
        online.publish_load(load, views=states, advances=False)


def take_over(sources: Sequence[Source], log: EventLog, online: OnlineStore, at: int) -> int:
    """Put what was ingested since the last time into segments; gives how many events.

    The caller holds the log's lock.
    """
    entries = list(online.journal(log.taken_over))
    if not entries:
        return 0
    load = log.begin("takeover", at=at, history=False)
    rows = 0
    try:
        known = {source.name: source for source in sources}
        for name in dict.fromkeys(entry.source for entry in entries):
            tables = [_entry_table(entry.payload, entry.position) for entry in entries if entry.source == name]
            table = pa.concat_tables(tables, promote_options="default")
            event_time = known[name].event_time if name in known else None
            load.add(name, table, origin="ingest", event_time=event_time)
            rows += table.num_rows
        load.publish(entries[-1].position)
    except BaseException:
        if load.state != "published":
            load.discard()
        raise
    online.trim_journal(entries[-1].position)
    return rows


def _packer(
    source: Source, views: Sequence[SourceBy], table: pa.Table
) -> Callable[[int, IntArray], tuple[bytes, Mapping[str, Any]]]:
    def pack(stamp: int, kept: IntArray) -> tuple[bytes, Mapping[str, Any]]:
        chosen = table if len(kept) == table.num_rows else table.take(kept)
        stamped = pa.array(known_at(source, chosen, stamp)).cast(ARROW_TYPES["datetime"])
        chosen = chosen.append_column(KNOWN_AT, stamped)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, chosen.schema) as writer:
            writer.write_table(chosen)
        return sink.getvalue().to_pybytes(), {view.name: list(pieces_of(view, chosen)) for view in views}

    return pack


def _keys(source: Source, table: pa.Table) -> Keys | None:
    if source.key is None:
        return None
    one = source.fields[source.key]
    key = values.from_arrow(table.column(source.key), one.kind, nullable=one.nullable)
    return Keys(row_hashes([key]), row_hashes(payload_columns(source, table)), np.array(key.mask))


def _confirm(source: Source, table: pa.Table, log: EventLog, online: OnlineStore) -> Callable[[IntArray], None]:
    """Raise for rows whose key is known with another payload; return where only hashes are equal."""

    def confirm(rows: IntArray) -> None:
        wrong = []
        for row in rows.tolist():
            new = table.slice(row, 1).to_pylist()[0]
            old = _known_event(source, table, row, new[str(source.key)], log, online)
            if old is not None:
                wrong.append(difference(source, old, new))
        if wrong:
            lines = [f"  {one.rule}: {one.value}" for one in wrong[:3]]
            raise ConflictingRows(
                "\n".join(
                    [f"{len(wrong)} rows for {source.name!r} come under a known key; nothing was accepted:", *lines]
                ),
                tuple(wrong),
            )

    return confirm


def _known_event(
    source: Source, table: pa.Table, row: int, key: Any, log: EventLog, online: OnlineStore
) -> dict[str, Any] | None:
    """Return the event with that key: earlier in the batch, in the journal, or in the log."""
    tables = [
        table.slice(0, row),
        *(
            _entry_table(entry.payload, entry.position)
            for entry in online.journal(log.taken_over)
            if entry.source == source.name
        ),
    ]
    for one in tables:
        for event in one.to_pylist():
            if event[str(source.key)] == key:
                return dict(event)
    return logged(source, log, key)


def _entry_table(payload: bytes, position: int) -> pa.Table:
    with pa.ipc.open_stream(payload) as reader:
        table = reader.read_all()
    return table.append_column(POSITION, pa.array(np.full(table.num_rows, position, np.int64)))
