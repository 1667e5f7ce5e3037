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
_FEW = 64  # rows of a small request
_AT_ONCE = 256  # small requests of one call: where one is refused, each is taken by itself
_ROWS = 4_000  # of one call, but for a larger request
_LARGE = 64  # large requests that wait: who comes later would wait longer than a deadline allows


class Intake:
    """The events of one source. One thread takes them: several would only wait for each other.

    Small requests do not wait for more than one call with large ones. What its caller has given up is not taken.
    """

    def __init__(self, threads: Threads, take: Take) -> None:
        self._threads = threads
        self._take = take
        self._small: deque[_Waiting] = deque()
        self._large: deque[_Waiting] = deque()
        self._taking: asyncio.Task[None] | None = None

    async def take(self, rows: list[Any]) -> Ingested:
        """Take the rows of a request: all of them, or none.

        Raises
        ------
        StoreBusy
            If they are many, and too many requests of many rows wait already.
        """
        large = len(rows) > _FEW
        if large and len(self._large) >= _LARGE:
            raise StoreBusy(f"{len(self._large)} requests of many events are waiting already: try again.")
        told: asyncio.Future[Ingested] = asyncio.get_running_loop().create_future()
        (self._large if large else self._small).append((rows, told))
        if self._taking is None:
            self._taking = asyncio.create_task(self._take_all())
        return await told

    async def _take_all(self) -> None:
        try:
            while group := self._next():
                await self._take_together(group)
        finally:
            self._taking = None

    async def _take_together(self, group: Sequence[_Waiting]) -> None:
        call = functools.partial(self._take, [rows for rows, _ in group])
        try:
            outcomes = await self._threads.run(call, admitted=True)
        except Exception as error:  # noqa: BLE001 - each of them raises it
            outcomes = [error] * len(group)
        for (_, told), outcome in zip(group, outcomes, strict=True):
            if told.done():  # who asked has given up
                continue
            if isinstance(outcome, Exception):
                told.set_exception(outcome)
            else:
                told.set_result(outcome)

    def _next(self) -> list[_Waiting]:
        """Those who wait, as many as one call takes: small ones, then a large one, and more if there is room."""
        self._small, self._large = (
            deque(one for one in line if not one[1].done()) for line in (self._small, self._large)
        )
        group = [self._small.popleft() for _ in range(min(_AT_ONCE, len(self._small)))]
        if self._large:
            group.append(self._large.popleft())
        rows = sum(len(one) for one, _ in group)
        while self._large and (rows := rows + len(self._large[0][0])) <= _ROWS:
            group.append(self._large.popleft())
        return group
