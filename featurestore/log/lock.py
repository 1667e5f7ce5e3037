"""One writer at a time, between processes and between the threads of one: a lock file that says who holds it."""

import contextlib
import fcntl
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from featurestore import times
from featurestore.errors import StoreBusy

_RETRY_S = 0.02


class WriterLock:
    """An exclusive lock on a file, released by the system when its process dies; its thread may enter it again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._owner: tuple[int, int] | None = None
        self._depth = 0

    @contextlib.contextmanager
    def hold(self, what: str, timeout_s: float) -> Iterator[None]:
        """Hold the lock.

        Raises
        ------
        StoreBusy
            If another process or thread holds it for longer than ``timeout_s``; it names the holder.
        """
        me = (os.getpid(), threading.get_ident())  # the process too: a forked child inherits this object, not the right
        if self._owner == me:
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
            return
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            self._wait(handle, what, timeout_s)
            self._sign(handle, what)
            self._owner = me
            try:
                yield
            finally:
                self._owner = None
                os.ftruncate(handle, 0)
        finally:
            os.close(handle)

    def _wait(self, handle: int, what: str, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if time.monotonic() >= deadline:
                    raise StoreBusy(
                        f"Cannot {what}: the event log is held by {self._holder(handle)}; waited {timeout_s:g} s. "
                        "Try again when it is done."
                    ) from error
                time.sleep(_RETRY_S)
            else:
                return

    def _holder(self, handle: int) -> str:
        """Who holds it, as far as the file tells: its holder may be between taking it and signing."""
        try:
            holder = json.loads(os.pread(handle, 4096, 0))
            return f"process {holder['pid']} ({holder['what']}, since {holder['since']})"
        except (ValueError, KeyError, TypeError):
            return "another process"

    def _sign(self, handle: int, what: str) -> None:
        text = json.dumps({"pid": os.getpid(), "what": what, "since": times.isoformat(times.system_clock())})
        os.ftruncate(handle, 0)
        os.pwrite(handle, text.encode(), 0)
