"""What an estimator is made of: the estimators, fitted parts and functions within it."""

import functools
from collections.abc import Iterator
from contextlib import AbstractContextManager
from types import FunctionType
from typing import Any

import numpy as np

from featurestore.errors import RequestError


def parts(estimator: Any) -> Iterator[Any]:
    """Yield the estimator, everything of scikit-learn's make within it, fitted parts included, and functions."""
    seen: set[int] = set()
    waiting = [estimator]
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, (list, tuple, set)):
            waiting.extend(one)
        elif isinstance(one, dict):
            waiting.extend(one.values())
        elif isinstance(one, np.ndarray):
            waiting.extend(one.ravel().tolist() if one.dtype == object else [])
        elif isinstance(one, FunctionType):
            yield one
        elif _is_part(one):
            yield one
            waiting.extend(vars(one).values())


def on_one_thread(estimator: Any) -> Any:
    """Set ``n_jobs=1`` on every part and give the estimator back.

    For one row a pool of threads costs more than it saves, and threads that add up votes in the order in which they
    finish do not give the same bits twice.
    """
    for one in parts(estimator):
        if "n_jobs" in getattr(one, "__dict__", {}):
            one.n_jobs = 1
    return estimator


def without_openmp() -> AbstractContextManager[Any]:
    """Have OpenMP use this thread alone: for one row others only wait, on a busy machine for whole seconds."""
    found: AbstractContextManager[Any] = openmp().limit(limits=1, user_api="openmp")
    return found


@functools.cache
def openmp() -> Any:
    """Find the OpenMP libraries of the process; to be forgotten (``cache_clear``) when others may have been loaded."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def packages(estimator: Any) -> set[str]:
    """Names of the packages that the parts come from."""
    return {_module(one).partition(".")[0] for one in parts(estimator)}


def wants_names(estimator: Any) -> bool:
    """Whether it picks columns by name, or was fitted on a frame."""
    return hasattr(estimator, "feature_names_in_") or any(hasattr(one, "transformers") for one in parts(estimator))


def check_importable(estimator: Any) -> None:
    """Refuse parts that another process cannot import.

    Raises
    ------
    RequestError
        If a class or function lives in ``__main__``, in a function, or in the project's definitions.
    """
    for one in parts(estimator):
        named = one if isinstance(one, FunctionType) else type(one)
        if named.__module__ == "__main__" or "@" in named.__module__ or "<" in named.__qualname__:
            raise RequestError(
                f"The estimator has {named.__qualname__!r} of {named.__module__} in it, which another process cannot "
                "import. Move it to an installed module; what makes features of events belongs in a feature."
            )


def _is_part(one: Any) -> bool:
    if isinstance(one, type) or not hasattr(one, "__dict__"):
        return False
    return hasattr(one, "get_params") or _module(one).startswith("sklearn.")


def _module(one: Any) -> str:
    return one.__module__ if isinstance(one, FunctionType) else type(one).__module__
