"""A load: events on their way into the log. Written at once, seen only when published, gone when discarded."""

import contextlib
import json
import shutil
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any, Literal, Unpack

import pyarrow as pa

from featurestore.errors import OperationError, SchemaChanged
from featurestore.log import segments
from featurestore.log.catalogue import Catalogue
from featurestore.log.segments import KNOWN_AT, PART, POSITION, SYSTEM, Facts, Origin, Segment

Kind = Literal["bulk", "takeover", "rebuild", "compaction"]
State = Literal["begun", "prepared", "published"]


class Load:
    """One load. ``begun`` while segments are added, ``prepared`` when the catalogue has them, then ``published``.

    Parameters
    ----------
    id
        Text that no other load has; segment files begin with it.
    at
        When it began, microseconds UTC.
    history
        Whether it was called with ``history=True`` (S2).
    """

    def __init__(
        self,
        catalogue: Catalogue,
        *,
        id: str,  # noqa: A002 - what it is called everywhere else
        kind: Kind,
        at: int,
        history: bool,
        state: State,
        resumed: bool,
    ) -> None:
        self.id = id
        self.kind = kind
        self.at = at
        self.history = history
        self.state = state
        self._catalogue = catalogue
        self._resumed = resumed
        self._segments: list[Segment] = []
        self._rows: dict[str, list[Sequence[object]]] = {"touched": [], "parts": [], "quarantine": [], "replaced": []}

    def __repr__(self) -> str:
        return f"<Load {self.id} {self.kind} {self.state}>"

    def add(
        self,
        source: str,
        table: pa.Table,
        *,
        origin: Origin,
        part: str | None = None,
        event_time: str | None = None,
        arrive: bool = False,
    ) -> None:
        """Write the rows of ``table`` as one segment, in their order; nothing is written for no rows.

        Parameters
        ----------
        table
            The source's columns, ``__known_at`` and, for a takeover or compaction, ``__position`` per row.
        part
            The source file that the rows came from. A table with a ``__part`` column says it per row.
        event_time
            Column whose least and greatest value the catalogue records.
        arrive
            No row is known before the stamp that :meth:`publish` is given (S2).

        Raises
        ------
        SchemaChanged
            If a system column is missing or has another type.
        """
        self._check_columns(source, table)
        whole = None if PART in table.column_names else part
        facts: Facts = {"source": source, "origin": origin, "part": whole, "event_time": event_time, "arrive": arrive}
        for _ in self.write_passing([table], **facts):
            pass

    def write_passing(self, tables: Iterable[pa.Table], **facts: Unpack[Facts]) -> Iterator[pa.Table]:
        """Write one segment as :meth:`write` does, or none where there are no rows; each table is given on meanwhile.

        It is written when the last one has been asked for.
        """
        self._expect("begun")
        self._touch(facts["source"])
        filled = (table for table in tables if len(table))
        first = next(filled, None)
        if first is not None:
            path = self._new_path(facts["source"])
            segment = yield from segments.write_passing(path, chain([first], filled), **facts)
            self._segments.append(segment)

    def write(self, tables: Iterable[pa.Table], **facts: Unpack[Facts]) -> Segment:
        """Write one segment of tables that need not fit into memory together."""
        self._expect("begun")
        self._touch(facts["source"])
        segment = segments.write(self._new_path(facts["source"]), tables, **facts)
        self._segments.append(segment)
        return segment

    def add_part(self, source: str, name: str, size: int, mtime_ns: int, digest: str, rows: int) -> None:
        """Remember a source file as loaded, in place of what was known of that name."""
        self._expect("begun")
        self._touch(source)
        self._rows["parts"].append((source, name, self.id, size, mtime_ns, digest, rows))

    def add_quarantined(self, source: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Remember rows that broke a rule: ``file, row, column, rule, value`` of each; values are kept as JSON."""
        self._expect("begun")
        self._touch(source)
        self._rows["quarantine"] += [
            (
                self.id,
                source,
                row["file"],
                row["row"],
                row["column"],
                row["rule"],
                json.dumps(row["value"], default=str),
            )
            for row in rows
        ]

    def replace(self, old: Iterable[Segment]) -> None:
        """Name segments that count no more once this load is published: their rows are in this load."""
        self._expect("begun")
        self._rows["replaced"] += [(self.id, segment.id) for segment in old]

    def prepare(self) -> None:
        """Put everything into the catalogue, not yet visible. Another process can publish it from here on.

        Raises
        ------
        OperationError
            If it was cut short by a kill before this: then it can only be discarded.
        """
        self._expect("begun")
        with self._catalogue.writing() as connection:
            self._move_on(connection, "begun", "UPDATE loads SET state = 'prepared' WHERE id = ? AND state = 'begun'")
            for table, rows in self._rows.items():
                if rows:
                    connection.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({_marks(rows[0])})", rows)
            for one in self._segments:
                row = {**asdict(one), "load": self.id, "state": "staged"}
                del row["path"]
                columns = ", ".join(row)
                connection.execute(f"INSERT INTO segments ({columns}) VALUES ({_marks(row)})", tuple(row.values()))
        self.state = "prepared"

    def publish(self, position: int, stamp: int | None = None) -> None:
        """Make it visible, whole, in one transaction; prepares it first if need be.

        Rows without a position of their own get ``position``, rows that arrive are known at ``stamp`` (microseconds
        UTC) or later. A rebuild retires all earlier bulk segments of its
        sources, and forgets their other parts and quarantined rows; a compaction retires the segments that it replaces;
        a takeover records that the journal up to ``position`` is in segments.

        Raises
        ------
        OperationError
            If it has been published or discarded, or a segment that it replaces has gone meanwhile.
        """
        if self.state == "begun":
            self.prepare()
        self._expect("prepared")
        with self._catalogue.writing() as connection:
            number = connection.execute("SELECT coalesce(max(number), 0) + 1 FROM loads").fetchone()[0]
            publish = (
                "UPDATE loads SET state = 'published', position = ?2, number = ?3 WHERE id = ?1 AND state = 'prepared'"
            )
            self._move_on(connection, "prepared", publish, position, number)
            if self.kind == "rebuild":
                self._retire_bulk(connection, number)
            self._retire_replaced(connection, number)
            connection.execute(
                "DELETE FROM parts WHERE load <> ?1"
                " AND (source, name) IN (SELECT source, name FROM parts WHERE load = ?1)"
                " AND load IN (SELECT id FROM loads WHERE state = 'published')",
                (self.id,),
            )
            connection.execute(
                "UPDATE segments SET first_position = ?2, last_position = ?2 WHERE load = ?1 AND NOT positioned",
                (self.id, position),
            )
            connection.execute(
                "UPDATE segments SET state = 'published', stamp = iif(arrive, ?2, NULL) WHERE load = ?1",
                (self.id, stamp),
            )
        self.state = "published"

    def discard(self) -> None:
        """Remove it, files and all. Discarding twice is fine; a published load stays.

        Raises
        ------
        OperationError
            If it has been published.
        """
        with self._catalogue.writing() as connection:
            found = connection.execute("SELECT state FROM loads WHERE id = ?", (self.id,)).fetchone()
            if found and found["state"] == "published":
                raise OperationError(f"Load {self.id} is published: it cannot be discarded.")
            for table in ("touched", "parts", "quarantine", "replaced", "segments"):
                connection.execute(f"DELETE FROM {table} WHERE load = ?", (self.id,))
            connection.execute("DELETE FROM loads WHERE id = ?", (self.id,))
        # After the rows: a kill in between leaves orphans, which are collected, not a prepared load without files.
        for path in (self._catalogue.folder / "segments").glob(f"*/{self.id}*"):
            remove(path)

    def _new_path(self, source: str) -> Path:
        return self._catalogue.segment_path(source, f"{self.id}-{len(self._segments)}")

    def _check_columns(self, source: str, table: pa.Table) -> None:
        need = [KNOWN_AT, POSITION] if self.kind in ("takeover", "compaction") else [KNOWN_AT]
        for name in (KNOWN_AT, POSITION, PART):
            there = table.schema.field(name).type if name in table.column_names else None
            if there != SYSTEM[name] and (there is not None or name in need):
                raise SchemaChanged(
                    f"A {self.kind} load of source {source!r} needs column {name} of type {SYSTEM[name]}, not "
                    f"{'nothing' if there is None else there}."
                )

    def _touch(self, source: str) -> None:
        row = (self.id, source)
        if row not in self._rows["touched"]:
            self._rows["touched"].append(row)

    def _expect(self, state: State) -> None:
        if self.state != state:
            raise OperationError(f"Load {self.id} is {self.state}, not {state}: begin another.")
        if state == "begun" and self._resumed:
            raise OperationError(f"Load {self.id} was cut short before it was prepared: discard it and load again.")

    def _move_on(self, connection: sqlite3.Connection, state: State, statement: str, *values: int) -> None:
        if connection.execute(statement, (self.id, *values)).rowcount != 1:
            raise OperationError(f"Load {self.id} is not {state} any more: another process discarded or published it.")

    def _retire_bulk(self, connection: sqlite3.Connection, number: int) -> None:
        connection.execute(
            "UPDATE segments SET state = 'retired', retired_at = ?2, retired_by = ?3 WHERE state = 'published'"
            " AND origin = 'bulk' AND source IN (SELECT source FROM touched WHERE load = ?1)",
            (self.id, self.at, number),
        )
        for table in ("parts", "quarantine"):
            connection.execute(
                f"DELETE FROM {table} WHERE load <> ?1 AND source IN (SELECT source FROM touched WHERE load = ?1)"
                " AND load IN (SELECT id FROM loads WHERE state = 'published')",
                (self.id,),
            )

    def _retire_replaced(self, connection: sqlite3.Connection, number: int) -> None:
        expected = connection.execute("SELECT count(*) FROM replaced WHERE load = ?", (self.id,)).fetchone()[0]
        retired = connection.execute(
            "UPDATE segments SET state = 'retired', retired_at = ?2, retired_by = ?3 WHERE state = 'published'"
            " AND id IN (SELECT segment FROM replaced WHERE load = ?1)",
            (self.id, self.at, number),
        ).rowcount
        if retired != expected:
            raise OperationError(
                f"Load {self.id} replaces segments that are gone: another process retired them. Discard it."
            )


def remove(path: Path) -> None:
    """Delete a file or folder that may be gone already."""
    with contextlib.suppress(FileNotFoundError):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _marks(row: Collection[object]) -> str:
    return ", ".join("?" * len(row))
