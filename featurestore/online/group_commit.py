"""Group commit: what several threads append at once is one transaction and one sync, each with its own outcome."""

import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

from featurestore.online import Receipt
from featurestore.online.connection import Connection

Append = Callable[[Connection], Receipt]


class GroupCommit:
    """Appends of one process. Whoever finds none under way makes those of all who wait, in the order they came."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._committing = Lock()
        self._waiting: deque[_Call] = deque()

    def run(self, connection: Connection, append: Append) -> Receipt:
        """Append within a transaction; durable when it returns.

        ``append`` is called once, by any thread that runs one here. What it raises undoes it alone, and is raised here.
        If the transaction itself fails, so do all in it.
        """
        if self._pid != os.getpid():  # a fork: those who wait, and whoever holds the lock, are threads of the parent
            self._begin()
        mine = _Call(append)
        self._waiting.append(mine)
        with self._committing:
            if not mine.done:
                self._commit(connection)
        return mine.outcome()

    def _commit(self, connection: Connection) -> None:
        group = [self._waiting.popleft() for _ in range(len(self._waiting))]
        try:
            with connection.writing():
                if len(group) == 1:  # the transaction is its own
                    group[0].receipt = group[0].append(connection)
                else:
                    for call in group:
                        call.attempt(connection)
        except BaseException as error:  # noqa: BLE001 - each of them raises it
            for call in group:
                call.error = error
        for call in group:
            call.done = True


@dataclass(slots=True, eq=False)
class _Call:
    append: Append
    done: bool = False
    receipt: Receipt | None = None
    error: BaseException | None = None

    def attempt(self, connection: Connection) -> None:
        """Append, or leave nothing of it and note why."""
        connection.execute("SAVEPOINT one")
        try:
            self.receipt = self.append(connection)
        except Exception as error:  # noqa: BLE001 - whoever asked raises it
            connection.execute("ROLLBACK TO one")  # fails where SQLite has ended the transaction: then all of it fails
            self.error = error
        connection.execute("RELEASE one")

    def outcome(self) -> Receipt:
        if self.error is not None:
            raise self.error
        assert self.receipt is not None  # noqa: S101 - done without an error
        return self.receipt
