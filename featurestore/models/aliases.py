"""Names that point at a version of a model, such as ``champion``: switched in one step, with their history."""

import contextlib
import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from featurestore import times
from featurestore.errors import RequestError, StoreDamaged
from featurestore.models import sealed

CHAMPION = "champion"
_Stamp = tuple[int, int, int]


@dataclass(frozen=True)
class Switch:
    """One switch of an alias; ``at`` is ISO 8601 in UTC."""

    alias: str
    version: str
    at: str
    action: Literal["promote", "rollback"]


class Aliases:
    """Aliases of one model, in one file. Safe to use from several threads and processes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: tuple[_Stamp | None, Mapping[str, str]] = (None, {})

    def current(self) -> Mapping[str, str]:
        """Version of each alias. Costs a look at the file's stamp while nothing has been switched."""
        stamp = self._stamp()
        known, found = self._known
        if stamp != known:
            found = {alias: stack[-1] for alias, stack in _stacks(self.history()).items()}
            self._known = (stamp, found)
        return found

    def history(self) -> list[Switch]:
        """Every switch, oldest first.

        Raises
        ------
        StoreDamaged
            If the file is not as it was written.
        """
        if not self.path.exists():
            return []
        try:
            return [Switch(**one) for one in sealed.read(self.path)["switches"]]
        except (KeyError, TypeError) as error:
            raise StoreDamaged(f"{self.path} is damaged: {error}. Restore it from a backup.") from error

    def promote(self, alias: str, version: str, at: int) -> None:
        """Point an alias at a version, at an instant in microseconds UTC."""
        with self._changing() as switches:
            if _stacks(switches).get(alias, [""])[-1] != version:
                switches.append(Switch(alias, version, times.isoformat(at), "promote"))

    def begin(self, alias: str, version: str, at: int) -> None:
        """Point an alias at a version unless it points at one: a model's first version is its champion."""
        with self._changing() as switches:
            if alias not in _stacks(switches):
                switches.append(Switch(alias, version, times.isoformat(at), "promote"))

    def rollback(self, alias: str, to: str, at: int) -> None:
        """Point an alias back at ``to``, the version before the current one.

        Raises
        ------
        RequestError
            If another process has switched it meanwhile.
        """
        with self._changing() as switches:
            if before(switches, alias) != to:
                raise RequestError(f"{alias!r} was switched meanwhile: look at its history, then try again.")
            switches.append(Switch(alias, to, times.isoformat(at), "rollback"))

    @contextlib.contextmanager
    def _changing(self) -> Iterator[list[Switch]]:
        lock = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)  # held for one small write
            for left in self.path.parent.glob(f".{self.path.name}-*"):  # of one who was killed here
                left.unlink(missing_ok=True)
            switches = self.history()
            count = len(switches)
            yield switches
            if len(switches) > count:
                document: dict[str, Any] = {"switches": [asdict(one) for one in switches]}
                sealed.replace(self.path, sealed.seal(document))
        finally:
            os.close(lock)

    def _stamp(self) -> _Stamp | None:
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size


def before(switches: Sequence[Switch], alias: str) -> str | None:
    """Version that a rollback of an alias would give; ``None`` without one."""
    stack = _stacks(switches).get(alias, [])
    return stack[-2] if len(stack) > 1 else None


def _stacks(switches: Sequence[Switch]) -> dict[str, list[str]]:
    """Versions of each alias, the current one on top: a promotion adds one, a rollback takes it away."""
    stacks: dict[str, list[str]] = {}
    for one in switches:
        stack = stacks.setdefault(one.alias, [])
        if one.action == "promote":
            stack.append(one.version)
        else:
            stack.pop()
    return stacks
