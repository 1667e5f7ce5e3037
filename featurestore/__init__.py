"""Declare features once; train and serve the same bytes.

The names below are loaded when they are first used, so that the command line starts at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # type checkers and editors see plain imports
    from featurestore.definition import Entity, FeatureService, Source, aggregations, feature, label, on
    from featurestore.errors import FeatureStoreError
    from featurestore.store import FeatureStore

__all__ = [
    "Entity",
    "FeatureService",
    "FeatureStore",
    "FeatureStoreError",
    "Source",
    "aggregations",
    "feature",
    "label",
    "on",
]

_HOMES = {"FeatureStore": "store", "FeatureStoreError": "errors"}
_MODULES = ("errors", "testing")


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"featurestore.{name}")
    if name not in __all__:
        raise AttributeError(f"module 'featurestore' has no attribute {name!r}")
    return getattr(import_module(f"featurestore.{_HOMES.get(name, 'definition')}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
