"""How a function becomes a feature or a label: the decorators, and plain reductions without a function."""

import inspect
import typing
from collections.abc import Callable, Sequence
from typing import Any

from featurestore.definition.entities import Entity
from featurestore.definition.features import RowFeature, WindowFeature
from featurestore.definition.labels import Label
from featurestore.definition.sources import Source, SourceBy
from featurestore.errors import DefinitionError, suggest
from featurestore.times import Duration
from featurestore.window import Window

REDUCTIONS = (
    *("count", "sum", "mean", "min", "max", "std", "var", "first", "last", "nunique", "mode", "any", "all"),
    *("median", "skew", "kurtosis", "entropy", "slope", "value_counts"),
)


@typing.overload
def feature(source: Callable[..., Any], /) -> RowFeature: ...
@typing.overload
def feature(
    source: Source | SourceBy,
    *,
    by: Entity | None = None,
    window: Duration | None = None,
    windows: Sequence[Duration] | None = None,
    offset: Duration | None = None,
) -> Callable[[Callable[[Any], Any]], WindowFeature]: ...
@typing.overload
def feature() -> Callable[[Callable[..., Any]], RowFeature]: ...
def feature(
    source: Any = None,
    *,
    by: Entity | None = None,
    window: Duration | None = None,
    windows: Sequence[Duration] | None = None,
    offset: Duration | None = None,
) -> Any:
    """Declare a feature.

    ``@feature`` alone declares a row feature: its parameters are features, request fields, entity keys or ``as_of``, by
    name. ``@feature(source, by=entity, window="30d")`` declares a window feature over ``[T - window, T)``; without a
    window, over the whole history; with ``windows=[...]`` a family ``name_1h, name_1d``. ``offset="1d"`` shifts the
    window back (S4).

    Raises
    ------
    DefinitionError
        If the function or a parameter cannot be right; it names file and line.
    """
    if source is None or inspect.isfunction(source):
        if by is not None or window is not None or windows is not None or offset is not None:
            raise DefinitionError("A window feature names its source: @feature(source, by=entity, window='30d').")
        return RowFeature if source is None else RowFeature(source)
    view = _view(source, by, "feature")
    if isinstance(window, (list, tuple)):
        raise DefinitionError(f"window={window!r}: several windows make a family, windows={list(window)!r}.")
    if window is not None and windows is not None:
        raise DefinitionError("Give window= for one feature or windows= for a family, not both.")
    spans: Sequence[Duration | None] = [window] if windows is None else list(windows)

    def declare(function: Callable[[Any], Any]) -> WindowFeature:
        return WindowFeature(function, view, windows=spans, family=windows is not None, offset=offset)

    return declare


def label(
    source: Source | SourceBy, *, by: Entity | None = None, horizon: Duration, offset: Duration | None = None
) -> Callable[[Callable[[Any], Any]], Label]:
    """Declare a label: ``@label(source, by=entity, horizon="30d")`` over the events in ``[T, T + horizon)`` (S15).

    The function gets the same ``tx`` as a window feature's, whose ``tx.as_of`` is T. ``offset="1d"`` leaves a gap:
    ``[T + 1d, T + 1d + horizon)``. For an inclusive source the window is ``(T, T + horizon]``: an event at T is the
    features' or the label's, never both.

    Raises
    ------
    DefinitionError
        If the function or a parameter cannot be right.
    """
    view = _view(source, by, "label")
    return lambda function: Label(function, view, horizon=horizon, offset=offset)


def aggregations(
    source_by: SourceBy, *, columns: Sequence[str], functions: Sequence[str], windows: Sequence[Duration]
) -> tuple[WindowFeature, ...]:
    """Plain reductions of plain columns: ``amount_mean_1h, amount_mean_1d, amount_max_1h, …``.

    Raises
    ------
    DefinitionError
        If a column is not in the schema, or a function is not one of ``count sum mean min max std var first last
        nunique mode any all median skew kurtosis entropy slope value_counts`` (a slope is per day).
    """
    if not isinstance(source_by, SourceBy):
        raise DefinitionError(
            "aggregations() needs the entity too: aggregations(source.by(entity), columns=[...], ...)."
        )
    made = []
    for column in columns:
        if column not in source_by.source.fields:
            raise DefinitionError(
                f"Source {source_by.source.name!r} has no column {column!r}."
                f"{suggest(column, source_by.source.fields.names)}"
            )
        for name in functions:
            if name not in REDUCTIONS:
                raise DefinitionError(f"No reduction named {name!r}.{suggest(name, REDUCTIONS)}")
            reduce = Reduction(column, name)
            made.append(WindowFeature(reduce, source_by, name=reduce.__name__, windows=windows, family=True))
    return tuple(made)


class Reduction:
    """The plain reduction of a plain column, as a function with a name and a docstring."""

    def __init__(self, column: str, reduction: str) -> None:
        self.column = column
        self.reduction = reduction
        self.__name__ = f"{column}_{reduction}"
        self.__doc__ = f"``{reduction}`` of ``{column}``."

    def __call__(self, window: Window) -> Any:
        """Reduce the column of the window."""
        return getattr(window[self.column], self.reduction)()


def _view(source: Any, by: Entity | None, what: str) -> SourceBy:
    if isinstance(source, SourceBy):
        if by is not None and by != source.entity:
            raise DefinitionError(f"{source.name} is already grouped by {source.entity.name!r}; drop by={by.name!r}.")
        return source
    if not isinstance(source, Source):
        raise DefinitionError(f"{source!r} is no source: @{what}(source, by=entity, ...).")
    if by is None:
        raise DefinitionError(
            f"{what.capitalize()}s of source {source.name!r} say which entity they describe: by=entity."
        )
    return source.by(by)
