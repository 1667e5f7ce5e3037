"""Events that arrive one by one: durable and visible when ``ingest`` returns, taken over into the log later."""

import contextlib
import functools
import uuid
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from itertools import chain, takewhile
from typing import Any

import numpy as np
import pyarrow as pa

from featurestore import handful, merging, validation
from featurestore.arrivals import known_at
from featurestore.conflicts import conflict, refusal_of_batch
from featurestore.definition import Source, SourceBy
from featurestore.deliveries import has_key, key_hashes, mark, payload_hashes
from featurestore.errors import DataError, DefinitionError, NotMaterialized, row_number
from featurestore.events import IntArray
from featurestore.forgotten import Forgotten
from featurestore.handful import Handful
from featurestore.known import entry_table, keyed, known_events
from featurestore.log import EventLog
from featurestore.online import Batch, Keys, KnownKeys, OnlineStore, Piece, Receipt, ViewState
from featurestore.online.signature import signature_of
from featurestore.values import ARROW_TYPES
from featurestore.view import KNOWN_AT, pieces_of


@dataclass(frozen=True)
class Ingested:
    """What ``ingest`` did: rows accepted, rows known already, the position that holds them, their arrival stamp.

    ``known_at`` is in microseconds UTC. ``forgotten`` rows were left out: ``forget`` was called for their entities.
    """

    rows: int
    duplicates: int
    position: int
    known_at: int
    forgotten: int = 0


def ingest(
    source: Source,
    views: Sequence[SourceBy],
    requests: Sequence[Any],
    log: EventLog,
    online: OnlineStore,
    now: int,
    forgotten: Forgotten,
    opened: MutableMapping[str, int],
) -> list[Ingested | Exception]:
    """Append the rows of each request to a source: all of them durably, or none; what was done, or what is wrong.

    Several requests, of lists, are one append with one position and stamp. If rows of any are refused, or somebody has
    been forgotten, each is an append of its own, in order. ``opened`` notes of each source the store's generation in
    which its keys and views were found open.

    Returns
    -------
    list
        Of each request what was done, or

        - ``InvalidRows`` if a row is against the schema; it names all of them;
        - ``ConflictingRows`` if a known key comes with another payload (S6);
        - ``NotMaterialized`` if the source has events from before its ``key=`` was what it is.
    """
    append = functools.partial(_appended, source, views, log, online, now, forgotten, opened)
    if len(requests) > 1 and not forgotten.path.exists():
        with contextlib.suppress(DataError, DefinitionError):
            receipt, _ = append(list(chain.from_iterable(requests)))
            return _shared(receipt, [len(rows) for rows in requests])
    outcomes: list[Ingested | Exception] = []
    for rows in requests:
        try:
            receipt, left_out = append(rows)
        except Exception as error:  # noqa: BLE001 - whoever asked raises it
            outcomes.append(error)
        else:
            outcomes.append(
                Ingested(len(receipt.kept), receipt.duplicates, receipt.position, receipt.known_at, left_out)
            )
    return outcomes


def _shared(receipt: Receipt, sizes: Sequence[int]) -> list[Ingested | Exception]:
    """What one append did for each of the requests whose rows, so many, it was of."""
    ends = np.cumsum(sizes)
    kept = np.diff(np.searchsorted(receipt.kept, ends), prepend=0).tolist()
    return [
        Ingested(rows, size - rows, receipt.position, receipt.known_at) for rows, size in zip(kept, sizes, strict=True)
    ]


def _appended(
    source: Source,
    views: Sequence[SourceBy],
    log: EventLog,
    online: OnlineStore,
    now: int,
    forgotten: Forgotten,
    opened: MutableMapping[str, int],
    rows: Any,
) -> tuple[Receipt, int]:
    """Append rows; gives how many were left out, too."""
    signatures = {view.name: signature_of(view) for view in views}
    generation = online.generation()
    if opened.get(source.name) != generation:
        _open_keys(source, log, online)
        _open_views(source, signatures, log, online)
        opened[source.name] = generation
    arriving, left_out = _checked(source, rows, forgotten)
    if not arriving.rows:
        state = online.state()
        return Receipt(state.position, state.stamp, np.zeros(0, np.int64), 0), left_out
    batch = Batch(
        arriving.rows,
        now,
        functools.partial(arriving.pack, views),
        arriving.keys(),
        _confirm(source, arriving, log, online),
        signatures,
        functools.partial(_merged, {view.name: view for view in views}),
    )
    return online.append(source.name, batch), left_out


def _merged(
    views: Mapping[str, SourceBy], name: str, entities: Sequence[Sequence[bytes]]
) -> Sequence[Sequence[tuple[int, bytes]] | None]:
    return merging.merged(views[name], entities)


def untouched(source: Source, log: EventLog, online: OnlineStore) -> bool:
    """Whether a source has no event at all."""
    return not online.touched(source.name) and log.rows(source.name) == 0


def _open_views(source: Source, signatures: Mapping[str, str], log: EventLog, online: OnlineStore) -> None:
    """Note that a source's views are complete, before its first event; later only a load can fill a new view."""
    known = online.views()
    new = {
        name: ViewState(None, source.name, signature)
        for name, signature in signatures.items()
        if name not in known or known[name].signature != signature
    }
    if new and untouched(source, log, online):
        online.open_views(new)


def _open_keys(source: Source, log: EventLog, online: OnlineStore) -> None:
    """Note by which column a source's keys are, before its first event; later only a load can make other keys."""
    if keyed(source, online):
        return
    runs = online.key_runs(source.name)  # before it is asked whether there are events: a first load may be under way
    if untouched(source, log, online):
        load = uuid.uuid4().hex
        online.begin_load(load)
        if source.key is not None:
            online.write_keys(load, source.name, [KnownKeys(mark(source.key), np.zeros(1, np.int64))])
        online.publish_load(load, views={}, replaces=runs, advances=False)
    elif not keyed(source, online):  # another process may have noted it and added an event in between
        raise NotMaterialized(
            f"Source {source.name!r} has events from before it had key={source.key!r}, so a delivery cannot be "
            "compared with them. Run `featurestore materialize`, then send it again."
        )


def take_over(sources: Sequence[Source], log: EventLog, online: OnlineStore, at: int) -> int:
    """Put what was ingested since the last time into segments; gives how many events.

    The caller holds the log's lock.
    """
    newest = online.close_tail()
    entries = list(takewhile(lambda entry: entry.position <= newest, online.journal(log.taken_over)))
    if not entries:
        return 0
    load = log.begin("takeover", at=at, history=False)
    rows = 0
    try:
        known = {source.name: source for source in sources}
        for name in dict.fromkeys(entry.source for entry in entries):
            tables = [entry_table(entry.payload, entry.position) for entry in entries if entry.source == name]
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


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """Any number of valid rows, as a table; what it gives :class:`Handful` gives for a few."""

    source: Source
    checked: pa.Table

    @property
    def rows(self) -> int:
        return int(self.checked.num_rows)

    def table(self) -> pa.Table:
        return self.checked

    def keys(self) -> Keys | None:
        source, table = self.source, self.checked
        if source.key is None:
            return None
        return Keys(key_hashes(source, table), payload_hashes(source, table), has_key(source, table))

    def pack(
        self, views: Sequence[SourceBy], stamp: int, kept: IntArray
    ) -> tuple[bytes, Mapping[str, Sequence[Piece]]]:
        chosen = self.checked if len(kept) == self.rows else self.checked.take(kept)
        stamped = pa.array(known_at(self.source, chosen, stamp)).cast(ARROW_TYPES["datetime"])
        chosen = chosen.append_column(KNOWN_AT, stamped)
        return handful.streamed(chosen), {view.name: list(pieces_of(view, chosen)) for view in views}


def _checked(source: Source, rows: Any, forgotten: Forgotten) -> tuple[Handful | _Rows, int]:
    """Valid rows of entities that were not forgotten, and how many others there are."""
    few = handful.read(rows, source)
    if few is not None and not forgotten.path.exists():
        return few, 0
    table, left_out = forgotten.without(source, validation.check_rows(rows, source.fields))
    return _Rows(source, table), left_out


def _confirm(
    source: Source, arriving: Handful | _Rows, log: EventLog, online: OnlineStore
) -> Callable[[IntArray], None]:
    """Raise for rows whose key is known with another payload; return where only hashes are equal."""

    def confirm(rows: IntArray) -> None:
        batch = arriving.table().to_pylist()
        key = str(source.key)
        stored = known_events(source, [batch[row][key] for row in rows.tolist()], log, online)
        wrong = []
        for row in rows.tolist():
            earlier = (event for event in batch[:row] if event[key] == batch[row][key])
            old = next(earlier, None) or stored.get(batch[row][key])
            if old is not None:
                wrong.append(conflict(source, old, batch[row], row=row_number(row)))
        if wrong:
            raise refusal_of_batch(source, wrong)

    return confirm
