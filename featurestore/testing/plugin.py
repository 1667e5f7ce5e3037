"""The pytest plugin: fixture ``same_bytes``. Nothing is imported before a test asks for it."""

from collections.abc import Callable
from functools import partial

import pytest


@pytest.fixture
def same_bytes(request: pytest.FixtureRequest) -> Callable[..., None]:
    """:func:`featurestore.testing.same_bytes`, with relative definitions in pytest's root folder."""
    from featurestore import testing

    return partial(testing.same_bytes, root=request.config.rootpath)
