"""Events on their way in: what waits while others are taken is then taken together, by one call and one sync."""

import asyncio
import functools
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from featurestore.errors import StoreBusy
from featurestore.ingest import Ingested
from featurestore.server.threads import Threads

_Waiting = tuple[list[Any], asyncio.Future[Ingested]]
Take = Callable[[Sequence[list[Any]]], list[Ingested | Exception]]
_ROWS = 4_000  # of one call
_WAITING = 100_000  # rows: who brings more would wait longer than a deadline allows


class Intake:
    """The events of one source. One thread takes them: several would only wait for each other."""

    def __init__(self, threads: Threads, take: Take) -> None:
        self._threads = threads
        self._take = take
        self._waiting: deque[_Waiting] = deque()
        self._rows = 0  # that wait
        self._taking: asyncio.Task[None] | None = None

    async def take(self, rows: list[Any]) -> Ingested:
        """Take the rows of a request: all of them, or none.

        Raises
        ------
        StoreBusy
            If too many wait already.
        """
        if self._rows >= _WAITING:
            raise StoreBusy(f"{self._rows} events are waiting already: try again.")
        told: asyncio.Future[Ingested] = asyncio.get_running_loop().create_future()
        self._waiting.append((rows, told))
        self._rows += len(rows)
        if self._taking is None:
            self._taking = asyncio.create_task(self._take_all())
        return await told

    async def _take_all(self) -> None:
        while self._waiting:
            group = self._next()
            try:
                outcomes = await self._threads.run(functools.partial(self._take, [rows for rows, _ in group]))
            except Exception as error:  # noqa: BLE001 - each of them raises it
                outcomes = [error] * len(group)
            for (_, told), outcome in zip(group, outcomes, strict=True):
                if told.done():  # who asked has given up
                    continue
                if isinstance(outcome, Exception):
                    told.set_exception(outcome)
                else:
                    told.set_result(outcome)
        self._taking = None

    def _next(self) -> list[_Waiting]:
        """Those who wait, as many as one call takes, in the order they came."""
        group: list[_Waiting] = []
        rows = 0
        while self._waiting and (not group or rows + len(self._waiting[0][0]) <= _ROWS):
            group.append(self._waiting.popleft())
            rows += len(group[-1][0])
        self._rows -= rows
        return group
