"""Which events of a source are known under which key (S6), wherever they are: journal, log, or between the two."""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from featurestore.definition import Source
from featurestore.deliveries import has_key, key_hashes, mark, payload_hashes
from featurestore.errors import ConflictingRows
from featurestore.events import IntArray
from featurestore.log import EventLog, Origin
from featurestore.online import KnownKeys, OnlineStore
from featurestore.online.keys import joined
from featurestore.view import POSITION


def keyed(source: Source, online: OnlineStore) -> bool:
    """Whether the online store's keys of a source are of its key column: not after ``key=`` has changed.

    True too for a source without a key of which no keys are kept.
    """
    if source.key is None:
        return not online.key_runs(source.name)
    return len(online.seen(source.name, mark(source.key)).key_hash) > 0


def known_keys(source: Source, log: EventLog, online: OnlineStore, *, rebuild: bool) -> Callable[[IntArray], KnownKeys]:
    """What gives the keys, sorted by key hash, that a load is compared with: at least those of some hashes.

    A rebuild loads all but ingested events anew.
    """
    if not rebuild and keyed(source, online):
        return functools.partial(online.seen, source.name)
    origin: Origin | None = "ingest" if rebuild else None
    tables = [*journalled(source, log, online), logged(source, log, origin)]  # in this order: a takeover moves events
    known = joined([keys_of(source, _conformed(source, table)) for table in tables])
    return lambda _: known


def keys_of(source: Source, table: pa.Table) -> KnownKeys:
    """Keys of a table's rows, in their order, without those that are null."""
    rows = has_key(source, table)
    return KnownKeys(key_hashes(source, table)[rows], payload_hashes(source, table)[rows])


def keys_again(source: Source, log: EventLog, *, rebuild: bool) -> KnownKeys:
    """Keys of what is in the log, with the mark of their column; of a rebuild those of ingested events.

    Raises
    ------
    ConflictingRows
        If a key repeats among events that were loaded when another column was the key, or none.
    """
    ingested = keys_of(source, logged(source, log, "ingest"))
    parts = [KnownKeys(mark(str(source.key)), np.zeros(1, np.int64)), ingested]
    if not rebuild:
        loaded = keys_of(source, logged(source, log, "bulk"))
        known = np.concatenate([loaded.key_hash, np.unique(ingested.key_hash)])
        repeats = len(known) - len(np.unique(known))
        if repeats:
            raise ConflictingRows(
                f"Source {source.name!r} has key={source.key!r} now, and {repeats} of its events repeat the key of "
                "another: they were loaded when that was not the key. Start again with rebuild."
            )
        parts.append(loaded)
    return joined(parts)


def known_events(
    source: Source, keys: Sequence[Any], log: EventLog, online: OnlineStore, *, rebuild: bool = False
) -> dict[Any, dict[str, Any]]:
    """Events under these keys, by key; a rebuild finds only ingested ones."""
    found: dict[Any, dict[str, Any]] = {}
    wanted = pa.array(list(dict.fromkeys(keys)), source.fields.arrow().field(str(source.key)).type)
    for table in _everywhere(source, log, online, rebuild=rebuild):
        if len(found) == len(wanted):
            break
        whole = _conformed(source, table)
        for event in whole.filter(pc.is_in(whole.column(source.key), value_set=wanted)).to_pylist():
            found.setdefault(event[source.key], event)
    return found


def journalled(source: Source, log: EventLog, online: OnlineStore) -> list[pa.Table]:
    """Rows of a source that were ingested and are not in the log."""
    entries = online.journal(log.taken_over)
    return [entry_table(entry.payload, entry.position) for entry in entries if entry.source == source.name]


def logged(source: Source, log: EventLog, origin: Origin | None = None) -> pa.Table:
    """Rows of a source in the log."""
    return log.read(source.name, columns=list(source.fields.names), schema=source.fields.arrow(), origin=origin)


def entry_table(payload: bytes, position: int) -> pa.Table:
    """Rows of a journal entry, with their position."""
    with pa.ipc.open_stream(payload) as reader:
        table = reader.read_all()
    return table.append_column(POSITION, pa.array(np.full(table.num_rows, position, np.int64)))


def _everywhere(source: Source, log: EventLog, online: OnlineStore, *, rebuild: bool) -> Iterator[pa.Table]:
    """Where events are, each place before the one that they move on to: so none is missed on its way."""
    yield from journalled(source, log, online)
    if not rebuild:
        names, schema = list(source.fields.names), source.fields.arrow()
        for load in log.unfinished():
            if load.state == "prepared" and online.published(load.id) is not None:
                yield log.read_prepared(load.id, source.name, schema=schema, columns=names)
    yield logged(source, log, "ingest" if rebuild else None)


def _conformed(source: Source, table: pa.Table) -> pa.Table:
    """Columns of the present schema; null those that the rows came without."""
    return pa.table(
        [
            table.column(field.name).cast(field.type)
            if field.name in table.column_names
            else pa.nulls(table.num_rows, field.type)
            for field in source.fields.arrow()
        ],
        schema=source.fields.arrow(),
    )
