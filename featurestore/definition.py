"""What a user declares: entities, sources, features, feature services.

A decorator marks one function and hands back a :class:`Feature`, which still can be called as the plain function. It
checks what that function alone can tell; the registry checks the rest. Nothing is registered anywhere by declaring it.
"""

import functools
import inspect
import re
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel

from featurestore import times
from featurestore.errors import DefinitionError, FeatureStoreError, suggest
from featurestore.schema import Schema, kind_of, schema_of
from featurestore.values import KINDS, Kind
from featurestore.window import Window, empty_window

Duration = str | timedelta
OnInvalid = Literal["stop", "quarantine"]
REDUCTIONS = ("count", "sum", "mean", "min", "max", "std", "var", "first", "last", "nunique", "mode", "any", "all")
AS_OF = "as_of"


@dataclass(frozen=True)
class Entity:
    """What features describe: a customer, a team, a pair of teams.

    Parameters
    ----------
    name
        Name of the entity.
    key
        Column of its key, or several for a composite key.
    """

    name: str
    key: tuple[str, ...]

    def __init__(self, name: str, *, key: str | Sequence[str]) -> None:
        _check_name(name, "entity")
        columns = (key,) if isinstance(key, str) else tuple(key or ())
        if not columns or len(set(columns)) < len(columns) or not all(isinstance(one, str) for one in columns):
            raise DefinitionError(f"Entity {name!r} needs one or more different key columns, not {key!r}.")
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "key", columns)


@dataclass(frozen=True, eq=False)
class Source:
    """Where events come from, and the rules that make them countable.

    Parameters
    ----------
    name
        Name of the source.
    schema
        pydantic model of one event; types the columns.
    path
        Parquet or CSV file, folder or glob; or a DuckDB file (table ``query`` or one named like the source).
    query
        SQL that DuckDB runs; may read files.
    frame
        pandas or polars frame, or Arrow table. With none of path, query, frame the source is fed by ``ingest`` alone.
    event_time
        Column that says when it happened (naive is UTC).
    known_at
        Column that says when it could first be known.
    delay
        Without ``known_at``: how long after ``event_time`` an event of the first bulk load was known.
    key
        Column that identifies an event: it counts once however often it is delivered (S6).
    keys
        The source's own column for an entity's key column, where they differ: ``{"customer_id": "cust"}``.
    inclusive
        Events at exactly T are seen, and windows close at T (S3, S4).
    on_invalid
        ``"stop"`` refuses a load that has a bad row; ``"quarantine"`` sets bad rows aside.
    """

    name: str
    schema: type[BaseModel]
    path: str | None
    query: str | None
    frame: Any
    event_time: str
    known_at: str | None
    delay: int
    key: str | None
    keys: Mapping[str, str]
    inclusive: bool
    on_invalid: OnInvalid
    fields: Schema = field(repr=False)

    def __init__(
        self,
        name: str,
        *,
        schema: type[BaseModel],
        path: Any = None,
        query: str | None = None,
        frame: Any = None,
        event_time: str,
        known_at: str | None = None,
        delay: Duration | None = None,
        key: str | None = None,
        keys: Mapping[str, str] | None = None,
        inclusive: bool = False,
        on_invalid: OnInvalid = "stop",
    ) -> None:
        _check_name(name, "source")
        put = functools.partial(object.__setattr__, self)
        put("name", name)
        put("schema", schema)
        put("fields", schema_of(schema))
        put("path", None if path is None else str(path))
        put("query", query)
        put("frame", frame)
        put("event_time", event_time)
        put("known_at", known_at)
        put("delay", 0 if delay is None else _duration(delay, f"delay of source {name!r}"))
        put("key", key)
        put("keys", dict(keys or {}))
        put("inclusive", inclusive)
        put("on_invalid", on_invalid)
        self._check(delay)

    @property
    def fed_by_ingest(self) -> bool:
        """Whether its events come by ``ingest`` alone."""
        return self.path is None and self.query is None and self.frame is None

    def by(self, entity: Entity) -> "SourceBy":
        """Return this source's events grouped by an entity."""
        if not isinstance(entity, Entity):
            raise DefinitionError(
                f"Source {self.name!r} by {entity!r}: give an entity, made with Entity(name, key=...)."
            )
        return SourceBy(self, entity)

    def column_of(self, key: str) -> str:
        """Return the source's own column for an entity's key column."""
        return self.keys.get(key, key)

    def _check(self, delay: Duration | None) -> None:
        where = f"Source {self.name!r}"
        given = [label for label in ("path", "query", "frame") if getattr(self, label) is not None]
        if len(given) > 1 and given != ["path", "query"]:
            raise DefinitionError(
                f"{where} has {' and '.join(given)}: give one of path, query, frame, or none of them."
            )
        if self.known_at is not None and delay is not None:
            raise DefinitionError(f"{where} has known_at and delay: the column says it, so drop delay.")
        if self.on_invalid not in ("stop", "quarantine"):
            raise DefinitionError(f"{where}: on_invalid={self.on_invalid!r} is neither 'stop' nor 'quarantine'.")
        for role, column in (("event_time", self.event_time), ("known_at", self.known_at), ("key", self.key)):
            if column is not None and column not in self.fields:
                raise DefinitionError(
                    f"{where}: {role}={column!r} is no field of its schema.{suggest(column, self.fields.names)}"
                )
        for role, column in (("event_time", self.event_time), ("known_at", self.known_at)):
            if column is not None and self.fields[column].kind != "datetime":
                raise DefinitionError(f"{where}: {role}={column!r} must be a datetime, not {self.fields[column].kind}.")
        if self.fields[self.event_time].nullable:
            raise DefinitionError(
                f"{where}: event_time={self.event_time!r} may be null in the schema; an event has a time."
            )


@dataclass(frozen=True)
class SourceBy:
    """A view: one source's events grouped by one entity."""

    source: Source
    entity: Entity

    def __post_init__(self) -> None:
        for key in self.entity.key:
            column = self.source.column_of(key)
            if column not in self.source.fields:
                raise DefinitionError(
                    f"Source {self.source.name!r} has no column {column!r} for entity {self.entity.name!r}."
                    f"{suggest(column, self.source.fields.names)} Map it with keys={{{key!r}: ...}}."
                )

    @functools.cached_property
    def name(self) -> str:
        """``source_by_entity``."""
        return f"{self.source.name}_by_{self.entity.name}"

    @property
    def key_columns(self) -> tuple[str, ...]:
        """The source's own columns of the entity's key."""
        return tuple(self.source.column_of(key) for key in self.entity.key)

    @property
    def key_kinds(self) -> tuple[Kind, ...]:
        """Kinds of those columns."""
        return tuple(self.source.fields[column].kind for column in self.key_columns)


class Feature:
    """A declared feature. Calling it calls the plain function."""

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
        _check_name(self.name, "feature")
        self.windows = tuple(None if window is None else _duration(window, f"window of {where}") for window in windows)
        self.labels = tuple(window if isinstance(window, str) else _label(window) for window in windows)
        self.family = family
        self.offset = 0 if offset is None else _duration(offset, f"offset of {where}")
        if any(window == 0 for window in self.windows):
            raise DefinitionError(f"A window of {where} is zero long: give a duration such as '30d'.")
        if not self.windows or len(set(self.outputs)) < len(self.windows):
            raise DefinitionError(
                f"windows= of {where} must be one or more different durations, not {list(windows)!r}."
            )
        self.kind, self.nullable, self.columns = self._try_on_nothing()

    @property
    def outputs(self) -> tuple[str, ...]:
        """``name``, or ``name_1h, name_1d`` for a family."""
        return tuple(f"{self.name}_{label}" for label in self.labels) if self.family else (self.name,)

    def _try_on_nothing(self) -> tuple[Kind, bool, frozenset[str]]:
        """Run on an empty batch: the kind it gives, whether it may be null, the columns it reads."""
        window = empty_window(self.view.source.fields, self.view.source.event_time)
        try:
            result = window.result(self.function(window))
        except FeatureStoreError as error:
            wrong = type(error) if isinstance(error, DefinitionError) else DefinitionError
            raise wrong(f"{located(self.function)}: feature {self.name!r}: {error}") from error
        except Exception as error:
            raise DefinitionError(
                f"{located(self.function)}: feature {self.name!r} fails on an empty window: "
                f"{type(error).__name__}: {error}"
            ) from error
        return result.kind, result.valid is not None, window.columns_read


class RowFeature(Feature):
    """A function of other features, request fields, entity keys and ``as_of``; one value per row (S8).

    Its parameters run as Python scalars, or as arrays where any is annotated with ``np.ndarray``.
    """

    def __init__(self, function: Callable[..., Any], *, name: str | None = None) -> None:
        self.name = name or function.__name__
        functools.update_wrapper(self, function)
        self.function = function
        _check_name(self.name, "feature")
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


@dataclass(frozen=True, eq=False)
class RoleFeature:
    """A feature asked for an entity that plays a role: its key is read from another spine column."""

    feature: Feature
    columns: Mapping[str, str] | str

    @property
    def prefix(self) -> str:
        """Role prefix of the outputs' names."""
        return self.columns if isinstance(self.columns, str) else "_".join(self.columns.values())

    @property
    def outputs(self) -> tuple[str, ...]:
        """``home_team__form``."""
        return tuple(f"{self.prefix}__{output}" for output in self.feature.outputs)


Listed = Feature | RoleFeature


@dataclass(frozen=True, eq=False)
class FeatureService:
    """The features of one model, in order, and what the caller knows at request time.

    Parameters
    ----------
    name
        Name of the service.
    features
        Features, families, :func:`on` roles and :func:`aggregations`, nested lists allowed.
    request
        pydantic model of the fields that the caller passes with the entity keys.
    """

    name: str
    features: tuple[Listed, ...]
    request: type[BaseModel] | None
    fields: Schema | None = field(repr=False)

    def __init__(self, name: str, *, features: Sequence[Any], request: type[BaseModel] | None = None) -> None:
        _check_name(name, "feature service")
        put = functools.partial(object.__setattr__, self)
        put("name", name)
        put("features", tuple(_flatten(features, name)))
        put("request", request)
        put("fields", None if request is None else schema_of(request))
        if not self.features:
            raise DefinitionError(f"Feature service {name!r} lists no feature.")

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the vector's values, in declared order."""
        return tuple(output for listed in self.features for output in listed.outputs)


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
    view = _view(source, by)
    if isinstance(window, (list, tuple)):
        raise DefinitionError(f"window={window!r}: several windows make a family, windows={list(window)!r}.")
    if window is not None and windows is not None:
        raise DefinitionError("Give window= for one feature or windows= for a family, not both.")
    spans: Sequence[Duration | None] = [window] if windows is None else list(windows)

    def declare(function: Callable[[Any], Any]) -> WindowFeature:
        return WindowFeature(function, view, windows=spans, family=windows is not None, offset=offset)

    return declare


def on(columns: str | Mapping[str, str], *features: Any) -> tuple[RoleFeature, ...]:
    """Ask features for an entity in a role: ``on("home_team", form)`` reads its key from that column of the spine.

    A composite key takes a mapping from the entity's key column to the spine's: ``on({"team": "home_team", "opponent":
    "away_team"}, head_to_head)``. Names become ``home_team__form`` and ``home_team_away_team__head_to_head``.
    """
    listed = list(_flatten(features, f"on({columns!r})"))
    if not listed:
        raise DefinitionError(f"on({columns!r}) lists no feature.")
    if any(isinstance(one, RoleFeature) for one in listed):
        raise DefinitionError(f"on({columns!r}) holds a feature that already plays a role: roles do not nest.")
    role = columns if isinstance(columns, str) else dict(columns)
    return tuple(RoleFeature(one, role) for one in listed if isinstance(one, Feature))


def aggregations(
    source_by: SourceBy, *, columns: Sequence[str], functions: Sequence[str], windows: Sequence[Duration]
) -> tuple[WindowFeature, ...]:
    """Plain reductions of plain columns: ``amount_mean_1h, amount_mean_1d, amount_max_1h, …``.

    Raises
    ------
    DefinitionError
        If a column is not in the schema, or a function is not one of ``count sum mean min max std var first last
        nunique mode any all``.
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
            reduce = _Reduction(column, name)
            made.append(WindowFeature(reduce, source_by, name=reduce.__name__, windows=windows, family=True))
    return tuple(made)


class _Reduction:
    """The plain reduction of a plain column, as a function with a name and a docstring."""

    def __init__(self, column: str, reduction: str) -> None:
        self.column = column
        self.reduction = reduction
        self.__name__ = f"{column}_{reduction}"
        self.__doc__ = f"``{reduction}`` of ``{column}``."

    def __call__(self, window: Window) -> Any:
        return getattr(window[self.column], self.reduction)()


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


def _flatten(features: Sequence[Any], where: str) -> Iterator[Listed]:
    if isinstance(features, (str, Mapping)) or not isinstance(features, Sequence):
        raise DefinitionError(f"{where}: features= takes a list of features, not {features!r}.")
    for one in features:
        if isinstance(one, (Feature, RoleFeature)):
            yield one
        elif isinstance(one, (list, tuple)):
            yield from _flatten(one, where)
        else:
            raise DefinitionError(f"{where}: {one!r} is no feature. Decorate the function with @feature.")


def _view(source: Any, by: Entity | None) -> SourceBy:
    if isinstance(source, SourceBy):
        if by is not None and by != source.entity:
            raise DefinitionError(f"{source.name} is already grouped by {source.entity.name!r}; drop by={by.name!r}.")
        return source
    if not isinstance(source, Source):
        raise DefinitionError(f"{source!r} is no source: @feature(source, by=entity, window='30d').")
    if by is None:
        raise DefinitionError(f"Features of source {source.name!r} say which entity they describe: by=entity.")
    return source.by(by)


def _duration(text: Duration, where: str) -> int:
    try:
        return times.duration(text)
    except ValueError as error:
        raise DefinitionError(f"{where}: {error}") from error


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


def _check_name(name: str, what: str) -> None:
    if not isinstance(name, str) or not name.isidentifier():
        raise DefinitionError(
            f"{name!r} cannot name a {what}: use letters, digits and underscores, as for a Python name."
        )
