"""Whether the events in the log still fit a source's schema: it may gain nullable columns, and nothing else."""

from collections.abc import Iterator

from featurestore.definition import Source
from featurestore.errors import SchemaChanged
from featurestore.log import EventLog, Origin, scan
from featurestore.log.segments import Segment


def check_schema(source: Source, log: EventLog, *, origin: Origin | None = None) -> None:
    """Compare a source's schema with what is in the log, of bulk loads or ``ingest`` alone if ``origin`` says so.

    Raises
    ------
    SchemaChanged
        If a column that may not be null is missing there, or is null in an event.
    """
    for segment in log.segments(source.name):
        if origin in (None, segment.origin):
            for wrong in _wrong(source, segment):
                raise SchemaChanged(
                    f"Source {source.name!r}: {wrong}. A schema may gain columns that may be null: declare `| None`, "
                    "or start again with rebuild (which keeps what was ingested)."
                )


def _wrong(source: Source, segment: Segment) -> Iterator[str]:
    nulls = scan.nulls_of(segment)
    for field in source.fields.fields:
        if not field.nullable and field.name not in nulls:
            had = f"the log has {segment.rows} events without it"
            yield f"column {field.name!r} is new and may not be null, and {had}"
        elif not field.nullable and nulls[field.name] and field.kind != "float":  # a float may be NaN, which is null
            had = f"is null in {nulls[field.name]} events of the log"
            yield f"column {field.name!r} may not be null any more, and {had}"
