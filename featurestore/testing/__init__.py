"""Test your own definitions: a window of given events, and the proof that all callers get the same bytes.

>>> from featurestore.testing import window
>>> tx = window(amount=[1.0, 2.0, 3.0])
>>> tx.amount.mean().item()
2.0
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from featurestore.errors import MissingExtra

if TYPE_CHECKING:  # type checkers and editors see plain imports
    from featurestore.testing.drawing import events, requests
    from featurestore.testing.proof import same_bytes
    from featurestore.testing.windows import AS_OF, window

__all__ = ["AS_OF", "events", "requests", "same_bytes", "window"]

_HOMES = {"AS_OF": "windows", "events": "drawing", "requests": "drawing", "same_bytes": "proof", "window": "windows"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'featurestore.testing' has no attribute {name!r}")
    try:
        return getattr(import_module(f"featurestore.testing.{_HOMES[name]}"), name)
    except ModuleNotFoundError as error:
        if error.name != "hypothesis":
            raise
        raise MissingExtra(
            f"featurestore.testing.{name} draws examples with Hypothesis: pip install hypothesis"
        ) from error


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
