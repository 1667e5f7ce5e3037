"""What has been applied: facts of declarations in a SQLite file, what would change, and what has changed.

Only text is kept. Nothing here is ever run, imported or unpickled.
"""

import contextlib
import dataclasses
import difflib
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from featurestore.errors import NewerFormat, OperationError, StoreBusy, StoreDamaged
from featurestore.facts import Fact

FORMAT = 1
_WAIT_S = 10.0  # an apply takes milliseconds; who waits longer waits for a process that hangs
_TABLES = """
CREATE TABLE applied (number INTEGER PRIMARY KEY, at INTEGER NOT NULL, changes TEXT NOT NULL) STRICT;
CREATE TABLE facts (place INTEGER PRIMARY KEY, fact TEXT NOT NULL) STRICT;
"""

Action = Literal["added", "changed", "removed"]


@dataclass(frozen=True)
class Change:
    """One declaration that differs from what is applied.

    ``before`` and ``after`` are fingerprints. ``diff`` is a unified diff of the code and of the parameters, empty where
    neither differs; ``because`` names the inputs that changed, such as ``source transactions``; ``note`` says what must
    be done by hand before it takes effect, and is empty where that is nothing.
    """

    kind: str
    name: str
    action: Action
    before: str | None
    after: str | None
    diff: str
    because: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Applied:
    """One apply: its number, counted from 1, when it was (microseconds UTC), and what it changed."""

    number: int
    at: int
    changes: tuple[Change, ...]


class AppliedRegistry:
    """The applied declarations of one store. Safe to use from several threads and processes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def current(self) -> list[Fact]:
        """Facts as applied last; none before the first apply.

        Raises
        ------
        NewerFormat
            If a later version of the product wrote the file.
        StoreDamaged
            If it cannot be read.
        """
        if not self.path.exists():
            return []
        with self._open() as connection:
            return self._facts(connection)

    def plan(self, facts: Sequence[Fact]) -> list[Change]:
        """Return what applying these facts would change: in the facts' order, then what is removed."""
        return _changes(self.current(), facts)

    def apply(self, facts: Sequence[Fact], at: int) -> int:
        """Take these facts as applied, all or none.

        Parameters
        ----------
        facts
            Facts of a whole registry.
        at
            Now, microseconds UTC.

        Returns
        -------
        int
            Number of this apply; where nothing changed, that of the last one (0 if there is none). Words that changed
            alone, such as docstrings and file positions, are kept without a new number.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._open() as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("BEGIN IMMEDIATE")
            _create(connection)
            before = self._facts(connection)
            changes = _changes(before, facts)
            if before != list(facts):
                connection.execute("DELETE FROM facts")
                rows = [(place, _to_json(fact)) for place, fact in enumerate(facts)]
                connection.executemany("INSERT INTO facts VALUES (?, ?)", rows)
            if changes:
                told = json.dumps([dataclasses.asdict(change) for change in changes])
                connection.execute("INSERT INTO applied (at, changes) VALUES (?, ?)", (at, told))
            row = connection.execute("SELECT coalesce(max(number), 0) FROM applied").fetchone()
            connection.execute("COMMIT")
            return int(row[0])

    def history(self) -> list[Applied]:
        """Every apply that changed something, oldest first."""
        if not self.path.exists():
            return []
        with self._open() as connection:
            if not _version(connection):
                return []
            rows = connection.execute("SELECT number, at, changes FROM applied ORDER BY number").fetchall()
        return [Applied(number, at, tuple(_change(one) for one in json.loads(told))) for number, at, told in rows]

    def _facts(self, connection: sqlite3.Connection) -> list[Fact]:
        if not _version(connection):
            return []
        rows = connection.execute("SELECT fact FROM facts ORDER BY place").fetchall()
        try:
            return [_to_fact(text) for (text,) in rows]
        except (ValueError, TypeError, KeyError) as error:
            raise _damaged(self.path, error) from error

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """One connection for one piece of work; SQLite's own errors become ours here, and an open transaction ends."""
        try:
            with contextlib.closing(sqlite3.connect(self.path, timeout=_WAIT_S, isolation_level=None)) as connection:
                if (version := _version(connection)) > FORMAT:
                    raise NewerFormat(
                        f"{self.path} has format {version}; this version reads up to {FORMAT}. Upgrade featurestore."
                    )
                yield connection
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
                raise StoreBusy(f"{self.path} is held by another process. Try again when it is done.") from error
            raise OperationError(
                f"{self.path} cannot be used: {error}. Look at the folder, its rights and the disk."
            ) from error
        except sqlite3.DatabaseError as error:
            raise _damaged(self.path, error) from error


def _damaged(path: Path, error: Exception) -> StoreDamaged:
    return StoreDamaged(f"{path} is damaged: {error}. Restore it, or delete it and apply again.")


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _create(connection: sqlite3.Connection) -> None:
    if _version(connection):
        return
    for statement in _TABLES.split(";"):
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {FORMAT}")


def _to_json(fact: Fact) -> str:
    return json.dumps(dataclasses.asdict(fact))


def _to_fact(text: str) -> Fact:
    said = json.loads(text)
    return Fact(**{**said, "inputs": tuple(said["inputs"])})


def _change(said: Mapping[str, Any]) -> Change:
    return Change(**{**said, "because": tuple(said["because"])})


def _changes(before: Sequence[Fact], after: Sequence[Fact]) -> list[Change]:
    old = {(fact.kind, fact.name): fact for fact in before}
    new = {(fact.kind, fact.name): fact for fact in after}
    changed = {key for key in old.keys() | new.keys() if _print(old.get(key)) != _print(new.get(key))}
    order = [*new, *(key for key in old if key not in new)]
    return [_differ(old.get(key), new.get(key), changed) for key in order if key in changed]


def _differ(before: Fact | None, after: Fact | None, changed: set[tuple[str, str]]) -> Change:
    action: Action = "added" if before is None else "removed" if after is None else "changed"
    fact = before if after is None else after
    if fact is None:
        raise ValueError("a change is of something")
    diff = _diff(before, after)
    because = _changed_inputs(fact, changed) if action == "changed" else ()
    note = "" if before is None or after is None else _note(before, after)
    return Change(fact.kind, fact.name, action, _print(before), _print(after), diff, because, note)


def _note(before: Fact, after: Fact) -> str:
    """Say that events stay known when they were: a load stamps them, once (S2)."""
    changed = [name for name in ("delay", "known_at") if before.parameters.get(name) != after.parameters.get(name)]
    if after.kind != "source" or not changed:
        return ""
    said = " and ".join(f"{name}={after.parameters.get(name)!r}" for name in changed)
    return (
        f"{after.name}: {said} holds for what is loaded from now on; events in the store keep their known_at. To give "
        "them a new one: materialize --rebuild --history (which takes what arrived late for history too)."
    )


def _changed_inputs(fact: Fact, changed: set[tuple[str, str]]) -> tuple[str, ...]:
    return tuple(f"{kind} {name}" for kind, name in fact.made_of if (kind, name) in changed)


def _print(fact: Fact | None) -> str | None:
    return None if fact is None else fact.fingerprint


def _diff(before: Fact | None, after: Fact | None) -> str:
    fact = before or after
    name = "" if fact is None else f"{fact.kind} {fact.name}"
    pairs = [(_lines(before), _lines(after), name), (_settings(before), _settings(after), f"{name} parameters")]
    made = (difflib.unified_diff(old, new, title, title, n=2, lineterm="") for old, new, title in pairs)
    return "\n".join(line for lines in made for line in lines)


def _lines(fact: Fact | None) -> list[str]:
    return [] if fact is None else fact.code.splitlines()


def _settings(fact: Fact | None) -> list[str]:
    return [] if fact is None else json.dumps(fact.parameters, indent=1, sort_keys=True).splitlines()
