"""Commands that bring events in: materialize, ingest, quarantined."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import typer

from featurestore.cli.session import Session
from featurestore.cli.terminal import Answer, Table, counted

LOAD_INTERRUPTED = (
    "A load counts wholly or not at all: unless it had just been published, the store is as it was before. "
    "Run materialize again: it finishes or drops what was begun."
)
INGEST_INTERRUPTED = (
    "The rows were accepted all together or not at all. Send them again: rows of a source with a key count once "
    "(without a key, look at status first)."
)


SourceName = Annotated[str, typer.Argument(metavar="SOURCE", help="Name of the source.")]


def materialize(
    session: Session,
    *,
    history: Annotated[
        bool, typer.Option("--history", help="These rows are history: known at their own times, not now.")
    ] = False,
    rebuild: Annotated[
        bool,
        typer.Option(
            "--rebuild",
            help="Read all sources anew, rows that were corrected too; what was ingested is kept, and so is known_at "
            "(with --history it is made anew, after a changed delay).",
        ),
    ] = False,
    online: Annotated[
        bool,
        typer.Option(
            "--online/--offline",
            help="Fill the online store too, or load the log alone, for training sets: lookups are then refused until "
            "a materialize that fills it.",
        ),
    ] = True,
    on_invalid: Annotated[
        Literal["stop", "quarantine"] | None,
        typer.Option(help="Refuse a load with bad rows, or set them aside. Default: what the source says."),
    ] = None,
) -> Answer:
    """Load new source rows into the log and the online store.

    Repeatable: rows that are known count once. With bad rows nothing is loaded, unless they are set aside.
    """
    from featurestore.store import FeatureStore

    with session.progress("materializing") as progress, FeatureStore.open(session.project) as store:
        done = store.materialize(history, rebuild=rebuild, online=online, on_invalid=on_invalid, progress=progress)
        anew = rebuild and history
        notes = [] if anew or not store.applied.current() else [one.note for one in store.plan() if one.note]
    document = dataclasses.asdict(done) | {"rows": done.rows, "notes": notes}
    bad = next((one.source for one in done.sources if one.quarantined), None)
    following = f"quarantined {bad} (the rows that were set aside)" if bad else "status (what the store holds)"
    return Answer(document, [*_loaded(document), *notes], following)


def ingest(
    session: Session,
    source: SourceName,
    file: Annotated[
        str, typer.Argument(help="Rows: .json, .jsonl, .csv or .parquet; - reads JSON or JSON lines from stdin.")
    ],
) -> Answer:
    """Append events of a file, all of them or none.

    They are durable, and visible to lookups, when the command ends.
    """
    from featurestore import times
    from featurestore.cli import given
    from featurestore.store import FeatureStore

    with session.progress(f"ingesting {file}"), FeatureStore.open(session.project) as store:
        done = store.ingest(source, given.rows_of(file, store.registry.source(source)))
    document = {"source": source, **dataclasses.asdict(done)}
    document["known_at"] = times.isoformat(done.known_at) if done.rows else None
    known = f", {counted(done.duplicates, 'row')} known already" if done.duplicates else ""
    known += f", {counted(done.forgotten, 'row')} of forgotten entities left out" if done.forgotten else ""
    since = f", known at {document['known_at']}" if done.rows else ""
    said = f"{counted(done.rows, 'event')} accepted for {source}{known}. Position {done.position:,}{since}."
    return Answer(document, [said], "lookup SERVICE KEY=VALUE (it is seen at once)")


def quarantined(
    session: Session,
    source: SourceName,
    limit: Annotated[int, typer.Option(min=0, help="Show so many rows at most.")] = 100,
) -> Answer:
    """List the rows that were set aside, and why."""
    from featurestore.store import FeatureStore

    with FeatureStore.open(session.project) as store:
        name = store.registry.source(source).name
        rows = store.log.quarantined(name, limit=limit)
        count = store.log.quarantined_count(name)
    document = {"source": source, "count": count, "rows": rows}
    if not count:
        return Answer(document, [f"No row of {source} was set aside."], "status (what the store holds)")
    header = ("file", "row", "column", "rule", "value")
    shown = f"{counted(count, 'problem')} in rows of {source}" + (f", the first {limit:,}:" if count > limit else ":")
    table = Table(header, [tuple(row[name] for name in header) for row in rows])
    return Answer(document, [shown, table], "materialize (once the rows are corrected at their source)")


def _loaded(done: Mapping[str, Any]) -> Iterator[str | Table]:
    """Yield what a materialization did, in words."""
    taken = f" {counted(done['taken_over'], 'ingested event')} taken over." if done["taken_over"] else ""
    yield f"{counted(done['rows'], 'new event')}. Position {done['position']:,}.{taken}"
    rows = [
        (one["source"], one["rows"], one["duplicates"], one["quarantined"], one["known_at"]) for one in done["sources"]
    ]
    if rows:
        yield Table(("source", "new", "duplicates", "quarantined", "known_at"), rows)
    for one in done["sources"]:
        if one["vanished"]:
            files = ", ".join(one["vanished"])
            yield f"{one['source']}: gone since they were loaded, their events stay: {files}"
        if one["forgotten"]:
            yield f"{one['source']}: {counted(one['forgotten'], 'row')} of forgotten entities left out."
    for view, why in done["filled"].items():
        yield f"Online view {view} filled: {why}."
