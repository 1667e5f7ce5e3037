"""Making the next items while the last one is used: in threads ahead, for what leaves Python's lock alone meanwhile."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

AT_ONCE = 2
"""Items of :func:`mapped` that are made at once: each takes memory."""

_T = TypeVar("_T")
_Made = TypeVar("_Made")
_END = object()


def ahead(items: Iterable[_T]) -> Generator[_T, None, None]:
    """Give the items in their order; the one after each is made in a thread meanwhile.

    What making it raises is raised here, where the item would have come. Closed, it waits for the item in the making,
    and closes the items.
    """
    made = iter(items)
    with _closing(made), ThreadPoolExecutor(1, "ahead") as thread:
        following = thread.submit(next, made, _END)
        while (item := following.result()) is not _END:
            following = thread.submit(next, made, _END)
            yield item  # type: ignore[misc]


def mapped(function: Callable[[_T], _Made], items: Iterable[_T]) -> Generator[_Made, None, None]:
    """Give what ``function`` makes of each item, in their order: of the next ones some are being made meanwhile.

    Items are drawn by whom this is drawn by: what that raises is raised at once, what making one raises where it would
    have come. Closed, it waits for those in the making, and closes the items.
    """
    making: deque[Future[_Made]] = deque()
    drawn = iter(items)
    with _closing(drawn), ThreadPoolExecutor(AT_ONCE, "ahead") as threads:
        for item in drawn:
            making.append(threads.submit(function, item))
            if len(making) > AT_ONCE:
                yield making.popleft().result()
        while making:
            yield making.popleft().result()


@contextmanager
def _closing(items: Iterator[object]) -> Iterator[None]:
    """Let go of what a generator has open, at once."""
    try:
        yield
    finally:
        if isinstance(items, Generator):
            items.close()
