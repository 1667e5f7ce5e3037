"""Large arrays part by part: a part stays in the processor's cache, and threads that help take one each.

Who begins a piece of work says who helps it (:func:`helped`); what works on arrays asks for no threads itself.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

One = TypeVar("One")
Map = Callable[..., Iterable[Any]]
_HELP: ContextVar[Map] = ContextVar("help", default=map)


@contextmanager
def helped(mapped: Map) -> Iterator[None]:
    """Let ``mapped``, such as an executor's, call the functions that :func:`each` is given by this thread."""
    before = _HELP.set(mapped)
    try:
        yield
    finally:
        _HELP.reset(before)


def each(function: Callable[..., One], *items: Sequence[Any]) -> list[One]:
    """Result of each call, in order, as ``map`` gives them; what is one part alone nobody needs to help with."""
    mapped = _HELP.get() if len(items[0]) > 1 else map
    return list(mapped(function, *items))


def slices(count: int, size: int) -> list[slice]:
    """Parts of so many rows, one after another, of ``size`` each but for the last."""
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]
