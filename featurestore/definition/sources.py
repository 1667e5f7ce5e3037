"""Sources: where events come from, and the rules that make them countable."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel

from featurestore import times
from featurestore.definition.entities import Entity, check_name
from featurestore.errors import DefinitionError, suggest
from featurestore.schema import Schema, schema_of
from featurestore.times import Duration
from featurestore.values import Kind

OnInvalid = Literal["stop", "quarantine"]


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
        check_name(name, "source")
        put = functools.partial(object.__setattr__, self)
        put("name", name)
        put("schema", schema)
        put("fields", schema_of(schema))
        put("path", None if path is None else str(path))
        put("query", query)
        put("frame", frame)
        put("event_time", event_time)
        put("known_at", known_at)
        put("delay", 0 if delay is None else duration_of(delay, f"delay of source {name!r}"))
        put("key", key)
        put("keys", dict(keys or {}))
        put("inclusive", inclusive)
        put("on_invalid", on_invalid)
        self._check(delay)

    @property
    def fed_by_ingest(self) -> bool:
        """Whether its events come by ``ingest`` alone."""
        return self.path is None and self.query is None and self.frame is None

    @property
    def repeating(self) -> tuple[str, ...]:
        """Columns of texts that repeat: all but the key, of which hardly any two are the same."""
        return tuple(one.name for one in self.fields.fields if one.kind == "str" and one.name != self.key)

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


def duration_of(text: Duration, where: str) -> int:
    """Microseconds of a duration; an error names where it stands."""
    try:
        return times.duration(text)
    except ValueError as error:
        raise DefinitionError(f"{where}: {error}") from error
