"""The event log of a store: every event of every source with its position, readable by many processes at once.

It finds and keeps events; it never computes a feature. Writers take :meth:`EventLog.lock`; readers take nothing: they
see what was published when they asked, and a file that a writer retired stays for a while for those who still read it.
"""

import contextlib
import json
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from featurestore.errors import NotMaterialized, StoreDamaged
from featurestore.log import scan, segments, upkeep
from featurestore.log.catalogue import Catalogue, PartRecord
from featurestore.log.groups import Group, Keys, groups_of
from featurestore.log.load import Kind, Load
from featurestore.log.lock import WriterLock
from featurestore.log.segments import POSITION, Origin, Segment
from featurestore.log.shelf import Shelf

COMPACT_ABOVE = 8
_ATTEMPTS = 3
Answer = TypeVar("Answer")


class EventLog:
    """The log in ``<home>/log``; made if it is not there.

    Raises
    ------
    NewerFormat
        If a later version of the product wrote it.
    StoreDamaged
        If its catalogue cannot be read.
    """

    def __init__(self, home: Path) -> None:
        self.folder = Path(home).resolve() / "log"
        (self.folder / "segments").mkdir(parents=True, exist_ok=True)
        self._lock = WriterLock(self.folder / "lock")
        self._catalogue = Catalogue(self.folder, self._lock)

    @property
    def position(self) -> int:
        """Newest published position, 0 if there is none (S10)."""
        return self._catalogue.value("SELECT max(position) FROM loads WHERE state = 'published'")

    @property
    def newest_stamp(self) -> int:
        """No arrival in the log was stamped later, microseconds UTC."""
        return self._catalogue.value(
            "SELECT max(at) FROM (SELECT at FROM loads WHERE state = 'published' UNION ALL SELECT stamp FROM segments)"
        )

    @property
    def taken_over(self) -> int:
        """Position up to which the online store's journal is in segments."""
        return self._catalogue.value("SELECT max(position) FROM loads WHERE state = 'published' AND kind = 'takeover'")

    def lock(self, *, what: str = "write", timeout_s: float = 10.0) -> contextlib.AbstractContextManager[None]:
        """Exclude every other writer, of this process or another; the same thread may enter it again.

        Raises
        ------
        StoreBusy
            If it is held for longer than ``timeout_s``: it names process, work and since when.
        """
        return self._lock.hold(what, timeout_s)

    def begin(self, kind: Kind, *, at: int, history: bool = False) -> Load:
        """Begin a load; ``at`` is now, microseconds UTC. Hold :meth:`lock` until it is published or discarded."""
        load = Load(
            self._catalogue, id=uuid.uuid4().hex, kind=kind, at=at, history=history, state="begun", resumed=False
        )
        with self._catalogue.writing() as connection:
            connection.execute(
                "INSERT INTO loads (id, kind, state, at, history) VALUES (?, ?, 'begun', ?, ?)",
                (load.id, kind, at, history),
            )
        return load

    def unfinished(self) -> list[Load]:
        """Give the loads begun or prepared, oldest first. Under :meth:`lock` they are those of killed processes.

        A prepared one can be published or discarded, a begun one only discarded.
        """
        with self._catalogue.reading() as connection:
            rows = connection.execute("SELECT * FROM loads WHERE state <> 'published' ORDER BY rowid").fetchall()
        return [
            Load(
                self._catalogue,
                id=row["id"],
                kind=row["kind"],
                at=row["at"],
                history=bool(row["history"]),
                state=row["state"],
                resumed=True,
            )
            for row in rows
        ]

    def loaded(self, source: str) -> bool:
        """Whether a bulk load of the source has been published: the first one is history (S2)."""
        return bool(self._newest("1", source, "bulk", "rebuild"))

    def oldest_position(self, source: str) -> int:
        """Position of the last rebuild, 0 without one: what was read at earlier positions is no more."""
        return self._newest("position", source, "rebuild", "rebuild")

    def rebuilt_at(self, source: str) -> int | None:
        """When the last rebuild of the source began, microseconds UTC."""
        return self._newest("at", source, "rebuild", "rebuild") or None

    def parts(self, source: str) -> dict[str, PartRecord]:
        """Source files that have been loaded, by name."""
        with self._catalogue.reading() as connection:
            rows = connection.execute(
                "SELECT name, size, mtime_ns, digest, rows FROM parts WHERE source = ?"
                " AND load IN (SELECT id FROM loads WHERE state = 'published') ORDER BY name",
                (source,),
            ).fetchall()
        return {row["name"]: PartRecord(*row) for row in rows}

    def quarantined(self, source: str, *, limit: int = -1) -> list[dict[str, Any]]:
        """Rows that broke a rule, as ``file, row, column, rule, value``, in the order they were found."""
        with self._catalogue.reading() as connection:
            rows = connection.execute(
                'SELECT file, row, "column", rule, value FROM quarantine WHERE source = ?'
                " AND load IN (SELECT id FROM loads WHERE state = 'published') ORDER BY rowid LIMIT ?",
                (source, limit),
            ).fetchall()
        return [{**dict(row), "value": json.loads(row["value"])} for row in rows]

    def quarantined_count(self, source: str) -> int:
        """Return how many rows :meth:`quarantined` gives."""
        return self._catalogue.value(
            "SELECT count(*) FROM quarantine JOIN loads ON loads.id = load WHERE source = ? AND state = 'published'",
            source,
        )

    def segments(self, source: str) -> list[Segment]:
        """Segments that count, in the order they were published."""
        return self._catalogue.published(source)

    def rows(self, source: str, position: int | None = None) -> int:
        """Events of the source up to ``position``, by default the newest."""
        found = self._visible(source, position, None, None)
        if position is None or all(scan.within(one, position) for one in found):
            return sum(one.rows for one in found)
        return len(self.read(source, columns=[POSITION], position=position))

    def read(
        self,
        source: str,
        *,
        schema: pa.Schema | None = None,
        columns: Sequence[str] | None = None,
        position: int | None = None,
        origin: Origin | None = None,
        part: str | None = None,
        encode_strings: bool = False,
        undamaged: bool = False,
        keys: Keys | None = None,
        shelf: Shelf | None = None,
    ) -> pa.Table:
        """Events published up to a position, segment after segment, each in its own order.

        Parameters
        ----------
        schema
            Types of the source's columns; those that older segments lack are null.
        columns
            Names, in the order wanted, ``__known_at``, ``__position`` and ``__part`` among them. By default the
            schema's columns (without one: the log's) and these three.
        position
            Rows of later positions are left out; by default none is.
        origin, part
            Only rows of bulk loads or of ``ingest``; only rows of one source file.
        encode_strings
            Give strings as ``dictionary<int32, string>`` where values repeat: three times as fast there.
        undamaged
            Leave out damaged files instead of raising.
        keys
            Only rows from the first of these keys to the last, and of them no more than lie near one, texts as codes
            of the keys; where segments are in order of the key, the rest of their files is not read.
        shelf
            Holds row groups that reads of other keys look at too.

        Raises
        ------
        NotMaterialized
            If ``position`` lies before the last rebuild, or a column is in neither log nor schema.
        StoreDamaged
            If a file is missing, has another size or a page fails its checksum.
        SchemaChanged
            If a column has another type than ``schema`` says.
        """

        def attempt() -> pa.Table:
            found = self._visible(source, position, origin, part)
            known = scan.common_schema(self.segments(source)) if schema is None else schema
            names = scan.every_column(known) if columns is None else list(columns)
            readable = [one for one in found if segments.verify(one)] if undamaged else found
            codes = scan.coded(readable) if encode_strings else frozenset[str]()
            codes |= frozenset[str]() if keys is None else {keys.column}
            tables = [scan.rows_of(one, names, known, position, part, codes, keys, shelf) for one in readable]
            types = [(name, scan.target_type(name, known, codes)) for name in names]
            return pa.concat_tables([pa.schema(types).empty_table(), *tables])

        return self._steady(attempt)

    def groups(self, source: str, keys: Keys, *, position: int | None = None) -> list[Group]:
        """Row groups that a read of these keys looks at."""

        def attempt() -> list[Group]:
            found = self._visible(source, position, None, None)
            return [group for one in found if scan.schema_of(one) for group in groups_of(one, keys)]

        return self._steady(attempt)

    def read_prepared(self, load_id: str, source: str, *, schema: pa.Schema, columns: Sequence[str]) -> pa.Table:
        """Events of a load that is prepared but not published yet: no other read gives them.

        Raises
        ------
        StoreDamaged
            If a file is missing or damaged.
        """
        tables = [scan.read(one, columns, schema=schema) for one in self._catalogue.prepared(load_id, source)]
        types = [(name, scan.target_type(name, schema)) for name in columns]
        return pa.concat_tables([pa.schema(types).empty_table(), *tables])

    def verify(self) -> int:
        """Check every published file against its checksum; gives how many there are.

        Raises
        ------
        StoreDamaged
            If any fails: it names them all and what restores them.
        """

        def attempt() -> int:
            found = self._catalogue.published()
            bad = [one for one in found if not segments.verify(one)]
            if bad:
                raise segments.damaged(bad, "checksum or size differs from what was written")
            return len(found)

        return self._steady(attempt)

    def compact(
        self, source: str, sort: upkeep.Sort, *, at: int, schema: pa.Schema | None = None, force: bool = False
    ) -> int:
        """Merge a source's segments, if there are more than eight or ``force``; gives how many were merged.

        Bulk and ingested rows stay apart, since a rebuild replaces the ones and keeps the others: so at most two sorted
        segments are left. Every row keeps its position and part.

        Parameters
        ----------
        sort
            ``[(column, "ascending"), ...]``; null comes first.
        schema
            Columns that rows get beside those in the log, so that ``sort`` can name them. No column is ever lost.
        """
        with self.lock(what=f"compact {source}"):
            found = self.segments(source)
            if len(found) <= COMPACT_ABOVE and not force:
                return 0
            groups = [[one for one in found if one.origin == origin] for origin in ("bulk", "ingest")]
            return sum(self._merge(group, sort, at, schema) for group in groups if len(group) > 1)

    def erase(self, source: str, without: Callable[[pa.Table], pa.Table], *, at: int) -> int:
        """Write segments anew with the rows that ``without`` leaves of them; gives how many rows that erased.

        Every other row keeps its position, part and known_at. The old files stay until garbage is collected.
        """
        with self.lock(what=f"erase from {source}"):
            load = self.begin("compaction", at=at)
            try:
                erased = upkeep.rewrite(load, self.segments(source), without)
                if erased:
                    load.publish(self.position)
                else:
                    load.discard()
            except BaseException:
                load.discard()
                raise
        return erased

    def collect_garbage(self, *, at: int, at_once: bool = False) -> int:
        """Delete files that count no more; gives how many.

        Retired segments go when another load has been published after the one that retired them and 60 s have passed
        by ``at``, or ``at_once``: who reads them then begins again. Files that no load owns (of killed or discarded
        loads) go at once.
        """
        with self.lock(what="collect garbage"):
            return upkeep.collect_garbage(self._catalogue, at, at_once=at_once)

    def _merge(self, old: Sequence[Segment], sort: upkeep.Sort, at: int, schema: pa.Schema | None) -> int:
        load = self.begin("compaction", at=at)
        try:
            upkeep.merge(self._catalogue, load, old, schema, sort)
            load.publish(self.position)
        except BaseException:
            load.discard()
            raise
        return len(old)

    def _newest(self, what: str, source: str, *kinds: Kind) -> int:
        """Greatest value over the published loads of two kinds that touched the source."""
        return self._catalogue.value(
            f"SELECT max({what}) FROM loads JOIN touched ON touched.load = loads.id"
            " WHERE state = 'published' AND source = ? AND kind IN (?, ?)",
            source,
            *kinds,
        )

    def _visible(self, source: str, position: int | None, origin: Origin | None, part: str | None) -> list[Segment]:
        """Segments that may hold rows asked for."""
        found = self.segments(source)
        oldest = self.oldest_position(source)  # after the segments: a rebuild in between is then noticed
        if position is not None and position < oldest:
            raise NotMaterialized(
                f"Source {source!r} was rebuilt at position {oldest}: what it was at position {position} is no more. "
                f"Ask for position {oldest} or later."
            )
        return [
            one
            for one in found
            if (position is None or one.first_position is None or one.first_position <= position)
            and origin in (None, one.origin)
            and (part is None or one.part in (None, part))
        ]

    def _steady(self, attempt: Callable[[], Answer]) -> Answer:
        """Ask again if another process retired and deleted files between the catalogue's answer and their reading."""
        for _ in range(_ATTEMPTS):
            before = self._catalogue.published()
            try:
                return attempt()
            except StoreDamaged:
                if before == self._catalogue.published():
                    raise
        return attempt()
