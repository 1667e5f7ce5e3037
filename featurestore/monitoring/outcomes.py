"""What came of predictions: one outcome for each prediction that was served, known by its request id.

Outcomes lie in one SQLite file and are durable when they are answered for. Sent again, the same outcome changes
nothing; another one under a known request id is refused. Which prediction an outcome belongs to is told when they are
read: it may come before the prediction can be read from the served log, or after it has been thrown away.
"""

import contextlib
import json
import math
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from featurestore import times
from featurestore.errors import (
    ConflictingRows,
    InvalidRows,
    NewerFormat,
    OperationError,
    RequestError,
    StoreBusy,
    StoreDamaged,
)
from featurestore.monitoring.served import SCHEMA
from featurestore.refusals import BadRow

FORMAT = 1
_FIELDS = ("request_id", "row", "outcome", "event_time")
_SHOWN = 5
_WAIT_S = 5.0
_LONGEST = 64  # characters of a request id
_TABLE = """
CREATE TABLE outcomes (model TEXT NOT NULL, request_id TEXT NOT NULL, row INTEGER NOT NULL, outcome TEXT NOT NULL,
    event_time INTEGER, received_at INTEGER NOT NULL, sender TEXT, PRIMARY KEY (model, request_id, row)) WITHOUT ROWID
"""


@dataclass(frozen=True, slots=True)
class Taken:
    """What was done with outcomes that were sent: so many were new, so many known already."""

    rows: int
    duplicates: int


class Outcomes:
    """Outcomes of all models of a store, in one file; made when the first one comes, its owner's alone."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(
        self,
        model: str,
        classes: Sequence[Any] | None,
        given: Sequence[Mapping[str, Any]],
        *,
        now: int,
        sender: str | None = None,
    ) -> Taken:
        """Take outcomes of a model, all of them or none; durable when this returns.

        Parameters
        ----------
        model
            Name of the model.
        classes
            What an outcome may be; ``None`` for a regression, whose outcomes are numbers.
        given
            ``request_id``, ``outcome``, and if need be ``row`` (place in a batch, from 0) and ``event_time``, the
            instant when it turned out.
        now
            Microseconds UTC.
        sender
            Who says so.

        Raises
        ------
        InvalidRows
            If one is no outcome of such a model; it names all of them.
        ConflictingRows
            If a prediction has another outcome already; it names their request ids.
        """
        rows = _checked(model, classes, given, now)
        with self._open() as connection:
            connection.execute("BEGIN IMMEDIATE")
            conflicts, before = [], connection.total_changes
            for request_id, row, outcome, event_time in rows:
                values = (model, request_id, row, outcome, event_time, now, sender)
                connection.execute("INSERT INTO outcomes VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", values)
                known = "SELECT outcome FROM outcomes WHERE model = ? AND request_id = ? AND row = ?"
                if connection.execute(known, (model, request_id, row)).fetchone() != (outcome,):
                    conflicts.append(request_id)
            if conflicts:
                connection.execute("ROLLBACK")
                raise _conflict(model, conflicts)
            added = connection.total_changes - before
            connection.execute("COMMIT")
        return Taken(added, len(rows) - added)

    def table(self, model: str, predictions: pa.Table) -> pa.Table:
        """Return each outcome of a model with its prediction, in the order in which they came.

        ``predictions`` has the columns of the served log, in order of time; of several with one request id the newest
        counts. What is said of a prediction is null where none of them is an outcome's.
        """
        rows = self._rows(model)
        keys = zip(predictions["request_id"].to_pylist(), predictions["row"].to_pylist(), strict=True)
        places = {key: place for place, key in enumerate(keys)}
        index = pa.array([places.get((row[0], row[1])) for row in rows], pa.int64())
        found = predictions.select([name for name in SCHEMA.names if name not in ("request_id", "row", "model")])
        made = found.take(index)
        for name, values in (("label", _labels), ("probabilities", _probabilities)):
            said = [None if text is None else json.loads(text) for text in made[name].to_pylist()]
            made = made.set_column(made.column_names.index(name), name, values(said))
        instant = pa.timestamp("us", tz="UTC")
        own = pa.table(
            {
                "request_id": pa.array([row[0] for row in rows], pa.string()),
                "row": pa.array([row[1] for row in rows], pa.int64()),
                "outcome": _labels([json.loads(row[2]) for row in rows]),
                "event_time": pa.array([row[3] for row in rows], pa.int64()).cast(instant),
                "received_at": pa.array([row[4] for row in rows], pa.int64()).cast(instant),
            }
        )
        for name in made.column_names:
            own = own.append_column(name, made[name])
        return own

    def _rows(self, model: str) -> list[tuple[str, int, str, int | None, int]]:
        if not self.path.exists():
            return []
        with self._open() as connection:
            return connection.execute(
                "SELECT request_id, row, outcome, event_time, received_at FROM outcomes WHERE model = ? "
                "ORDER BY received_at, request_id, row",
                (model,),
            ).fetchall()

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """One connection for one piece of work; SQLite's own errors become ours here."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
            with contextlib.closing(sqlite3.connect(self.path, timeout=_WAIT_S, isolation_level=None)) as connection:
                _prepare(connection, self.path)
                yield connection
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
                raise StoreBusy(f"{self.path} is held by another process. Try again when it is done.") from error
            raise OperationError(f"{self.path} cannot be used: {error}. Look at the folder and the disk.") from error
        except sqlite3.DatabaseError as error:
            raise StoreDamaged(f"{self.path} is damaged: {error}. Restore it from a backup.") from error
        except OSError as error:
            raise OperationError(f"{self.path} cannot be opened: {error}. Look at the folder and the disk.") from error


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > FORMAT:
        raise NewerFormat(f"{path} has format {version}; this version reads up to {FORMAT}: upgrade.")
    if not version:
        connection.execute("BEGIN IMMEDIATE")
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'outcomes'").fetchone():
            connection.execute(_TABLE)
            connection.execute(f"PRAGMA user_version = {FORMAT}")
        connection.execute("COMMIT")


def _checked(
    model: str, classes: Sequence[Any] | None, given: Sequence[Mapping[str, Any]], now: int
) -> list[tuple[str, int, str, int | None]]:
    bad: list[BadRow] = []
    rows = []
    for number, one in enumerate(given, 1):
        row, wrong = _row(one, classes, now)
        bad += [BadRow("outcomes", number, column, rule, one.get(column)) for column, rule in wrong]
        rows.append(row)
    if bad:
        words = "\n".join(f"  {one}" for one in bad[:_SHOWN])
        raise InvalidRows(f"{len(bad)} problems in the outcomes of {model!r}, nothing was taken:\n{words}", tuple(bad))
    return rows


def _row(
    one: Mapping[str, Any], classes: Sequence[Any] | None, now: int
) -> tuple[tuple[str, int, str, int | None], list[tuple[str, str]]]:
    """One outcome as it is stored, and which of its fields break which rule."""
    wrong = [(name[:_LONGEST], "no such field") for name in one if name not in _FIELDS]
    request_id, row, event_time = one.get("request_id"), one.get("row", 0), one.get("event_time")
    if not isinstance(request_id, str) or not 0 < len(request_id) <= _LONGEST:
        wrong.append(("request_id", "str"))
    if type(row) is not int or not 0 <= row < 2**31:
        wrong.append(("row", "int"))
    outcome = _outcome(one.get("outcome"), classes)
    if outcome is None:
        allowed = "float" if classes is None else "one of " + ", ".join(json.dumps(known) for known in classes)
        wrong.append(("outcome", allowed))
    at = None
    if event_time is not None:
        try:
            at = times.to_micros(event_time)
        except RequestError:
            wrong.append(("event_time", "datetime"))
        else:
            wrong += [("event_time", "not in the future")] if at > now else []
    return (str(request_id), row, outcome or "", at), wrong


def _outcome(given: Any, classes: Sequence[Any] | None) -> str | None:
    """JSON of an outcome, a number of a class as that class's own; ``None`` if it is none."""
    number = isinstance(given, (int, float)) and not isinstance(given, bool)
    if classes is None:
        return json.dumps(float(given)) if number and math.isfinite(given) else None
    for one in classes:
        same = type(one) is type(given) or (number and isinstance(one, (int, float)) and not isinstance(one, bool))
        if same and one == given:
            return json.dumps(one)
    return None


def _conflict(model: str, request_ids: Sequence[str]) -> ConflictingRows:
    shown = ", ".join(repr(one) for one in request_ids[:_SHOWN])
    more = f" and {len(request_ids) - _SHOWN} more" if len(request_ids) > _SHOWN else ""
    return ConflictingRows(
        f"Predictions of {model!r} have another outcome already: {shown}{more}. Nothing was taken. An outcome is final."
    )


def _labels(values: Sequence[Any]) -> pa.Array:
    """Values of one type; as JSON text where versions of the model had classes of several."""
    kinds = {type(one) for one in values if one is not None}
    if len(kinds) > 1:
        return pa.array([None if one is None else json.dumps(one) for one in values], pa.string())
    return pa.array(values)


def _probabilities(values: Sequence[Mapping[str, float] | None]) -> pa.Array:
    pairs = [None if one is None else list(one.items()) for one in values]
    return pa.array(pairs, pa.map_(pa.string(), pa.float64()))
