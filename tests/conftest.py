"""Fixtures of the whole suite: a clock that tests set, and a store of card payments."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from shop import PAYMENTS, Clock

from featurestore import FeatureStore

settings.register_profile("suite", deadline=None)  # how long one example takes says nothing of the product
settings.load_profile("suite")


@pytest.fixture
def clock() -> Clock:
    return Clock(datetime(2026, 6, 1, tzinfo=UTC))


@pytest.fixture
def open_store(tmp_path: Path, clock: Clock) -> Iterator[Callable[..., FeatureStore]]:
    """Open a store in the test's folder; ``declarations`` default to payments fed by CSV files in ``data/``."""
    opened = []

    def open_one(declarations: Sequence[Any] = PAYMENTS, **options: Any) -> FeatureStore:
        store = FeatureStore(declarations, home=tmp_path / "home", clock=clock, root=tmp_path, **options)
        opened.append(store)
        return store

    (tmp_path / "data").mkdir()
    yield open_one
    for store in opened:
        store.close()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the slow tests to those who ask for them by mark."""
    if not config.getoption("-m"):
        slow = [item for item in items if item.get_closest_marker("slow")]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]
