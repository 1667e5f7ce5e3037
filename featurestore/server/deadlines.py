"""Deadlines of requests: one timer for those of all, as one for each costs as much as to read an entity."""

import asyncio
import math
from collections.abc import Awaitable


class Deadlines:
    """Of one process. Each request is a task of the event loop."""

    def __init__(self) -> None:
        self._due: dict[asyncio.Task[object], float] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.Handle | None = None
        self._next = math.inf  # when the timer looks; what a loop gives for what is due at once cannot say

    async def within(self, seconds: float, work: Awaitable[None]) -> None:
        """Await ``work`` in this task, for so long unless :meth:`move` says otherwise.

        Raises
        ------
        TimeoutError
            If it took longer. It was cancelled then.
        """
        task = _task()
        self.move(seconds)
        try:
            await work
        except asyncio.CancelledError as error:
            if self._due.pop(task, None) is None and not task.uncancel():  # else somebody cancels it as well
                raise TimeoutError from error
            raise
        finally:
            self._due.pop(task, None)

    def move(self, seconds: float) -> None:
        """Let this task's work take so long from now on."""
        loop = asyncio.get_running_loop()
        due = self._due[_task()] = loop.time() + seconds
        if due < self._next or loop is not self._loop:  # the timer of a loop that has ended looks no more
            self._set(loop, due)

    def _set(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        if self._timer is not None and loop is self._loop:
            self._timer.cancel()
        self._loop, self._next = loop, due
        self._timer = loop.call_at(due, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Cancel what has taken too long, and look again when the next may have."""
        self._timer, self._next, now = None, math.inf, loop.time()
        for task in [task for task, due in self._due.items() if due <= now]:
            del self._due[task]
            task.cancel()
        if self._due:
            self._set(loop, min(self._due.values()))


def _task() -> asyncio.Task[object]:
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - only coroutines get here
    return task
