"""Work that is too long for the event loop: batches, ingests, predictions. So many at once, and so many waiting."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from featurestore.errors import StoreBusy

_T = TypeVar("_T")
_WAITING = 16  # for each thread: who comes later would wait longer than a deadline allows


class Threads:
    """A few threads; a call beyond what they can do soon is refused at once."""

    def __init__(self, count: int) -> None:
        self._pool = ThreadPoolExecutor(count, "featurestore")
        self._most = count * (1 + _WAITING)
        self._begun = 0

    async def run(self, call: Callable[[], _T], *, admitted: bool = False) -> _T:
        """Run ``call`` in a thread.

        Raises
        ------
        StoreBusy
            If too many wait already, unless it was ``admitted`` elsewhere.
        """
        if self._begun >= self._most and not admitted:
            raise StoreBusy(f"{self._begun} calls are waiting already: try again.")
        self._begun += 1
        loop = asyncio.get_running_loop()
        future = self._pool.submit(call)
        future.add_done_callback(lambda _: self._end(loop))  # a caller who has given up does not free the thread
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Finish what was begun."""
        self._pool.shutdown(wait=True)

    def _end(self, loop: asyncio.AbstractEventLoop) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._count_down)

    def _count_down(self) -> None:
        self._begun -= 1
