"""Making the next item while the last one is used: a thread ahead, for what leaves Python's lock alone meanwhile."""

from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_T = TypeVar("_T")
_END = object()


def ahead(items: Iterable[_T]) -> Generator[_T, None, None]:
    """Give the items in their order; the one after each is made in a thread meanwhile.

    What making it raises is raised here, where the item would have come. Closed, it waits for the item in the making.
    """
    made = iter(items)
    with ThreadPoolExecutor(1, "ahead") as thread:
        following = thread.submit(next, made, _END)
        while (item := following.result()) is not _END:
            following = thread.submit(next, made, _END)
            yield item  # type: ignore[misc]
