"""Features: functions of a window of events, or of one row, with what declaring them finds out."""

import functools
import inspect
import re
import typing
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from featurestore import times
from featurestore.definition.entities import check_name
from featurestore.definition.sources import SourceBy, duration_of
from featurestore.errors import DefinitionError, FeatureStoreError
from featurestore.schema import kind_of
from featurestore.times import Duration
from featurestore.values import KINDS, Kind
from featurestore.window import Window, empty_window

AS_OF = "as_of"


class Feature:
    """A declared feature. Calling it calls the plain function."""

    what = "feature"
    name: str
    function: Callable[..., Any]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the plain function."""
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the values it gives, in order."""
        return (self.name,)

    @property
    def description(self) -> str:
        """The function's docstring."""
        return inspect.getdoc(self.function) or ""


class WindowFeature(Feature):
    """A function of a window of events; one value per spine row and window.

    ``windows`` holds microseconds, ``None`` for the whole history; ``labels`` the texts that name a family's outputs.
    """

    def __init__(
        self,
        function: Callable[[Window], Any],
        view: SourceBy,
        *,
        name: str | None = None,
        windows: Sequence[Duration | None],
        family: bool,
        offset: Duration | None = None,
    ) -> None:
        self.name = name or function.__name__
        functools.update_wrapper(self, function)
        self.function = function
        self.view = view
        where = f"feature {self.name!r}"
        check_name(self.name, "feature")
        self.windows = tuple(
            None if window is None else duration_of(window, f"window of {where}") for window in windows
        )
        self.labels = tuple(window if isinstance(window, str) else _label(window) for window in windows)
        self.family = family
        self.offset = 0 if offset is None else duration_of(offset, f"offset of {where}")
        if any(window == 0 for window in self.windows):
            raise DefinitionError(f"A window of {where} is zero long: give a duration such as '30d'.")
        if not self.windows or len(set(self.outputs)) < len(self.windows):
            raise DefinitionError(
                f"windows= of {where} must be one or more different durations, not {list(windows)!r}."
            )
        self.kind, self.nullable, self.columns = tried(function, view, where)

    @property
    def outputs(self) -> tuple[str, ...]:
        """``name``, or ``name_1h, name_1d`` for a family."""
        return tuple(f"{self.name}_{label}" for label in self.labels) if self.family else (self.name,)


class RowFeature(Feature):
    """A function of other features, request fields, entity keys and ``as_of``; one value per row (S8).

    Its parameters run as Python scalars, or as arrays where any is annotated with ``np.ndarray``.
    """

    def __init__(self, function: Callable[..., Any], *, name: str | None = None) -> None:
        self.name = name or function.__name__
        functools.update_wrapper(self, function)
        self.function = function
        check_name(self.name, "feature")
        hints = annotations_of(function)
        self.parameters = self._parameters()
        self.on_arrays = any(_is_array(hints.get(name)) for name in self.parameters)
        self.kind, self.nullable = self._returns(hints.get("return", inspect.Parameter.empty))

    def _parameters(self) -> tuple[str, ...]:
        parameters = inspect.signature(self.function).parameters.values()
        if any(one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD, one.POSITIONAL_ONLY) for one in parameters):
            raise DefinitionError(
                f"{located(self.function)}: feature {self.name!r}: parameters are resolved by name, so give each a "
                "name of its own."
            )
        return tuple(one.name for one in parameters)

    def _returns(self, annotation: Any) -> tuple[Kind, bool]:
        where = f"{located(self.function)}: feature {self.name!r}"
        if _is_array(annotation) or (self.on_arrays and annotation is inspect.Parameter.empty):
            return _array_kind(annotation), True
        found = kind_of(annotation)
        if found is None:
            raise DefinitionError(
                f"{where}: annotate what it returns: one of {', '.join(kind.__name__ for kind in KINDS)}, with "
                "`| None` if it may be null."
            )
        return found[0], found[1] or found[0] == "float"


def tried(function: Callable[[Window], Any], view: SourceBy, where: str) -> tuple[Kind, bool, frozenset[str]]:
    """Run on an empty batch of windows: the kind it gives, whether it may be null, the columns it reads."""
    window = empty_window(view.source.fields, view.source.event_time)
    try:
        result = window.result(function(window))
    except FeatureStoreError as error:
        wrong = type(error) if isinstance(error, DefinitionError) else DefinitionError
        raise wrong(f"{located(function)}: {where}: {error}") from error
    except Exception as error:
        raise DefinitionError(
            f"{located(function)}: {where} fails on an empty window: {type(error).__name__}: {error}"
        ) from error
    return result.kind, result.valid is not None, window.columns_read


def annotations_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Type hints of a function, string annotations included; what cannot be resolved stays text."""
    try:
        return typing.get_type_hints(function)
    except (NameError, TypeError, AttributeError):
        return dict(function.__annotations__)


def located(function: Callable[..., Any]) -> str:
    """``file:line`` of a function, for messages."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else "<unknown>"


def _label(window: Duration | None) -> str:
    return "all" if window is None else times.format_duration(times.duration(window))


def _is_array(annotation: Any) -> bool:
    if isinstance(annotation, str):
        return "ndarray" in annotation or "NDArray" in annotation
    return annotation is np.ndarray or typing.get_origin(annotation) is np.ndarray


def _array_kind(annotation: Any) -> Kind:
    """Kind of ``np.ndarray`` (float), ``NDArray[np.int64]`` and the like; text annotations by their words."""
    text = annotation if isinstance(annotation, str) else repr(typing.get_args(annotation)[1:])  # without the shape
    words = re.findall("float|int|bool|str_|object|datetime", text)
    kinds: dict[str, Kind] = {"int": "int", "bool": "bool", "str_": "str", "object": "str", "datetime": "datetime"}
    return kinds.get(words[-1], "float") if words else "float"
