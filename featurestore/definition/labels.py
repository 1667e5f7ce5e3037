"""Labels: functions of the events after T, which no feature ever sees (S15)."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

from featurestore.definition.entities import check_name
from featurestore.definition.features import located, tried
from featurestore.definition.sources import SourceBy, duration_of
from featurestore.errors import DefinitionError
from featurestore.times import Duration
from featurestore.values import MAPS
from featurestore.window import Window


class Label:
    """A declared label: a function of the events in ``[T, T + horizon)``. Calling it calls the plain function.

    It is no :class:`Feature`: no service can list it and no feature can use it, so what a model learns from never holds
    what it is to predict. ``horizon`` and ``offset`` are microseconds; ``offset`` leaves a gap before the window.
    """

    what = "label"

    def __init__(
        self, function: Callable[[Window], Any], view: SourceBy, *, horizon: Duration, offset: Duration | None = None
    ) -> None:
        self.name: str = function.__name__
        functools.update_wrapper(self, function)
        self.function = function
        self.view = view
        check_name(self.name, "label")
        where = f"label {self.name!r}"
        self.horizon = duration_of(horizon, f"horizon of {where}")
        self.offset = 0 if offset is None else duration_of(offset, f"offset of {where}")
        if not self.horizon:
            raise DefinitionError(f"{located(function)}: the horizon of {where} is zero long: give one such as '30d'.")
        self.kind, self.nullable, self.columns = tried(function, view, where)
        if self.kind in MAPS.values():
            raise DefinitionError(
                f"{located(function)}: {where} gives a {self.kind}, and a model learns one value: reduce it to a "
                "number, a boolean or a text."
            )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the plain function."""
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<Label {self.name}>"

    @property
    def description(self) -> str:
        """The function's docstring."""
        return inspect.getdoc(self.function) or ""

    @property
    def reach(self) -> int:
        """How far after T its window ends, microseconds."""
        return self.offset + self.horizon
