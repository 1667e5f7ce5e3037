"""API keys of the server: random, shown once, kept as hashes in one small file.

A key reads ``fs_<id>_<secret>``. The id is public and finds the entry; the secret has 256 random bits, so that its
plain SHA-256 can be kept: there is nothing to guess. Every check looks whether the file has changed, so a revocation
holds for all workers at once.
"""

import base64
import contextlib
import fcntl
import hashlib
import hmac
import json
import math
import os
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from featurestore import times
from featurestore.errors import NewerFormat, RequestError, StoreDamaged, suggest

SCOPES: Final = ("read", "ingest", "predict", "admin")
"""``read``: features, registry, metrics; ``ingest``: events, outcomes; ``predict``; ``admin``: all.

``read:fraud`` is for that feature service alone, ``ingest:payments`` for that source or model, ``predict:risk`` for
that model.
"""

_FORMAT = 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._@-]{0,62}")
_SCOPE = re.compile(r"admin|(read|ingest|predict)(:[A-Za-z_][A-Za-z0-9_]{0,62})?")
_KEY = re.compile(rb"fs_([0-9a-f]{12})_([a-z2-7]{52})")
_NO_HASH = "0" * 64  # compared with where no key is found, so that both ways take the same time


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is kept of a key: never the key itself. Instants are microseconds UTC; ``rate`` is requests a second."""

    id: str
    name: str
    scopes: tuple[str, ...]
    sha256: str
    created_at: int
    expires_at: int | None = None
    revoked_at: int | None = None
    rate: float | None = None

    def holds(self, now: int) -> bool:
        """Whether it is neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def may(self, scope: str, name: str | None = None) -> bool:
        """Whether it has a scope, or has it for what is so named; ``admin`` has all."""
        return bool({scope, f"{scope}:{name}", "admin"} & set(self.scopes))

    def document(self) -> dict[str, Any]:
        """What may be shown of it: everything but the hash, instants as ISO 8601."""
        shown = {name: value for name, value in asdict(self).items() if name != "sha256"}
        stamps = {name: value for name, value in shown.items() if name.endswith("_at") and value is not None}
        return shown | {name: times.isoformat(value) for name, value in stamps.items()}


class ApiKeys:
    """The keys of one store.

    Parameters
    ----------
    path
        The file; its folder is made when the first key is. It can be read by its owner alone.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._path = os.fspath(path)
        self._seen: tuple[int, int, int] | None = None
        self._keys: Mapping[str, ApiKey] = {}

    def create(
        self, name: str, scopes: Sequence[str], *, now: int, lifetime: int | None = None, rate: float | None = None
    ) -> tuple[ApiKey, str]:
        """Make a key; gives its entry and the key, which cannot be had again.

        ``now`` and ``lifetime`` are microseconds; without ``lifetime`` it holds until it is revoked. ``rate`` is how
        many requests a second each worker of a server answers it.

        Raises
        ------
        RequestError
            If the name cannot be one, a scope is unknown or missing, or the rate is none.
        """
        if not _NAME.fullmatch(name):
            raise RequestError(f"{name!r} is no name for a key: give letters, digits, spaces or ._@-, at most 63.")
        if rate is not None and not 0.0 < rate < math.inf:
            raise RequestError(f"A rate of {rate!r} is none: give requests a second, above 0.")
        unknown = [scope for scope in scopes if not _SCOPE.fullmatch(scope)]
        if unknown or not scopes:
            asked = f"There is no scope {unknown[0]!r}." if unknown else "A key needs a scope."
            raise RequestError(
                f"{asked} Scopes are: {', '.join(SCOPES)}; but for admin also of one name, such as read:fraud."
            )
        secret = base64.b32encode(secrets.token_bytes(32)).decode().rstrip("=").lower()
        chosen = tuple(sorted(set(scopes), key=lambda one: (SCOPES.index(one.partition(":")[0]), one)))
        expires = None if lifetime is None else now + lifetime
        with self._changing() as keys:
            one = ApiKey(secrets.token_hex(6), name, chosen, _hash(secret.encode()), now, expires, rate=rate)
            keys[one.id] = one
        return one, f"fs_{one.id}_{secret}"

    def revoke(self, asked: str, *, now: int) -> ApiKey:
        """Make a key hold no more, from now on and for ever; gives its entry.

        Raises
        ------
        RequestError
            If there is no key of that id.
        """
        with self._changing() as keys:
            if asked not in keys:
                raise RequestError(f"There is no key with the id {asked!r}.{suggest(asked, keys)}")
            if keys[asked].revoked_at is None:
                keys[asked] = replace(keys[asked], revoked_at=now)
            return keys[asked]

    def all(self) -> Sequence[ApiKey]:
        """Every key that was ever made, oldest first."""
        return sorted(self._current().values(), key=lambda one: (one.created_at, one.id))

    def any(self) -> bool:
        """Whether a key was ever made: revoking the last one opens nothing."""
        return bool(self._current())

    def find(self, key: bytes, *, now: int) -> ApiKey | None:
        """Return the entry of a key that holds, or ``None``. Takes as long for a wrong key as for a right one."""
        parts = _KEY.fullmatch(key)
        found = self._current().get(parts[1].decode()) if parts else None
        given = _hash(parts[2] if parts else b"")
        equal = hmac.compare_digest(given.encode(), (found.sha256 if found else _NO_HASH).encode())
        return found if found is not None and equal and found.holds(now) else None

    def _current(self) -> Mapping[str, ApiKey]:
        try:
            found = os.stat(self._path)  # noqa: PTH116 - for each request, and a Path takes half as long again
        except FileNotFoundError:
            self._seen, self._keys = None, {}
            return self._keys
        seen = (found.st_ino, found.st_mtime_ns, found.st_size)
        if seen != self._seen:  # read first: another thread that sees the new mark must find the new keys
            self._keys = self._read()
            self._seen = seen
        return self._keys

    def _read(self) -> dict[str, ApiKey]:
        try:
            document = json.loads(self.path.read_bytes())
            if document["format"] > _FORMAT:
                raise NewerFormat(f"{self.path} has format {document['format']}; this version reads up to {_FORMAT}.")
            entries = [ApiKey(**entry | {"scopes": tuple(entry["scopes"])}) for entry in document["keys"]]
        except (ValueError, KeyError, TypeError) as error:
            raise StoreDamaged(f"{self.path} holds no keys: {error}. Put back a copy, or make new keys.") from error
        return {one.id: one for one in entries}

    @contextlib.contextmanager
    def _changing(self) -> Iterator[dict[str, ApiKey]]:
        """Hold the keys alone, and write what they have become in one step."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            keys = self._read() if self.path.exists() else {}
            yield keys
            self._write(keys)
        finally:
            os.close(lock)

    def _write(self, keys: Mapping[str, ApiKey]) -> None:
        begun = self.path.with_name(f".{self.path.name}-{secrets.token_hex(8)}")
        handle = os.open(begun, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "w") as file:
                json.dump({"format": _FORMAT, "keys": [asdict(one) for one in keys.values()]}, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            begun.replace(self.path)
        finally:
            begun.unlink(missing_ok=True)


def _hash(secret: bytes) -> str:
    return hashlib.sha256(secret).hexdigest()
