"""Who was forgotten (S16): a keyed hash of each entity's key, so that later loads leave it out without naming it."""

import contextlib
import hashlib
import hmac
import json
import secrets
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from featurestore import keys
from featurestore.definition import Entity, Source, SourceBy
from featurestore.deliveries import column
from featurestore.errors import DefinitionError
from featurestore.values import Values

BoolArray = np.ndarray[Any, np.dtype[np.bool_]]
_BUSY_S = 10.0
_TABLES = """
CREATE TABLE secret (secret BLOB NOT NULL);
CREATE TABLE entities (key TEXT NOT NULL, hash BLOB NOT NULL, PRIMARY KEY (key, hash));
CREATE TABLE erasures (at INTEGER NOT NULL, source TEXT NOT NULL);
"""


class Forgotten:
    """The SQLite file ``forgotten.sqlite`` of a store; not there until somebody is forgotten.

    The secret of the hashes lies in it: whoever has the file can tell whether a key that they know was forgotten.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, entity: Entity, text: str, sources: Collection[str], *, at: int) -> None:
        """Note an entity by the text of its key, and the sources that lose its events; durable when it returns."""
        with self._connected() as connection:
            key = json.dumps(entity.key)
            hashed = _hash(self._secret(connection), key, text)
            connection.execute("INSERT OR IGNORE INTO entities VALUES (?, ?)", (key, hashed))
            connection.executemany("INSERT INTO erasures VALUES (?, ?)", [(at, source) for source in sources])

    def erased_since(self, sources: Collection[str], at: int) -> bool:
        """Whether any of these sources has lost events at or after an instant (microseconds UTC)."""
        if not self.path.exists():
            return False
        with self._connected() as connection:
            found = connection.execute("SELECT DISTINCT source FROM erasures WHERE at >= ?", (at,)).fetchall()
        return any(source in sources for (source,) in found)

    def without(self, source: Source, table: pa.Table) -> tuple[pa.Table, int]:
        """Rows of a source without those of forgotten entities, and how many these were."""
        if not self.path.exists() or not table.num_rows:
            return table, 0
        with self._connected() as connection:
            secret = self._secret(connection)
            found: dict[str, set[bytes]] = {}
            for key, hashed in connection.execute("SELECT key, hash FROM entities"):
                found.setdefault(key, set()).add(hashed)
        drop = np.zeros(table.num_rows, np.bool_)
        for key, hashes in found.items():
            view = _view(source, json.loads(key))
            if view is not None:
                drop |= _among(secret, key, hashes, [column(source, table, name) for name in view.key_columns])
        return (table.filter(pa.array(~drop)), int(drop.sum())) if drop.any() else (table, 0)

    @contextlib.contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        new = not self.path.exists()
        with contextlib.closing(sqlite3.connect(self.path, timeout=_BUSY_S)) as connection:
            if new:
                self.path.chmod(0o600)
                connection.execute("PRAGMA synchronous = FULL")
                with contextlib.suppress(sqlite3.OperationalError):  # another process made them just now
                    connection.executescript(_TABLES)
            with connection:
                yield connection

    def _secret(self, connection: sqlite3.Connection) -> bytes:
        connection.execute(
            "INSERT INTO secret SELECT ? WHERE NOT EXISTS (SELECT 1 FROM secret)", (secrets.token_bytes(32),)
        )
        return bytes(connection.execute("SELECT secret FROM secret").fetchone()[0])


def _view(source: Source, key: Sequence[str]) -> SourceBy | None:
    try:
        return source.by(Entity("forgotten", key=tuple(key)))
    except DefinitionError:
        return None


def _among(secret: bytes, key: str, hashes: set[bytes], columns: Sequence[Values]) -> BoolArray:
    """Whether each row's entity is among the hashed ones; one hash an entity, not one a row."""
    owner, count = keys.own_codes(columns)
    entities, rows = np.unique(owner, return_index=True)
    texts = keys.texts_of([one.take(rows) for one in columns])
    gone = np.zeros(count + 1, np.bool_)  # the last one stands for null keys
    for entity, text in zip(entities.tolist(), texts, strict=True):
        gone[entity] = text is not None and _hash(secret, key, text) in hashes
    return np.asarray(gone[owner])


def _hash(secret: bytes, key: str, text: str) -> bytes:
    return hmac.digest(secret, f"{key}\0{text}".encode(errors="surrogatepass"), hashlib.sha256)
