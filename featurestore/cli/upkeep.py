"""Commands about the store itself: status, verify-log, compact."""

from typing import Annotated, Any

import typer

from featurestore.cli.session import Session
from featurestore.cli.terminal import Answer, Table, counted

COMPACTION_INTERRUPTED = (
    "A merge counts wholly or not at all: no event is lost or doubled. Run compact again: it drops what was begun."
)


def status(session: Session) -> Answer:
    """Show what the store holds: events, views, positions."""
    from featurestore.status import status as told
    from featurestore.store import FeatureStore

    with FeatureStore.open(session.project) as store:
        document = told(store)
    return Answer(document, _shown(document), _following(document))


def verify_log(session: Session) -> Answer:
    """Check every file of the log against its checksum."""
    from featurestore.store import FeatureStore

    with session.progress("reading every segment"), FeatureStore.open(session.project) as store:
        count = store.log.verify()
    return Answer({"segments": count}, [f"{counted(count, 'segment')}: all as written."], "status (what they hold)")


def compact(
    session: Session,
    source: Annotated[str | None, typer.Argument(help="One source alone.", show_default=False)] = None,
) -> Answer:
    """Merge segments, and delete files that count no more."""
    from featurestore.store import FeatureStore

    with session.progress("compacting") as progress, FeatureStore.open(session.project) as store:
        sources = list(store.registry.sources.values()) if source is None else [store.registry.source(source)]
        merged = {}
        for one in sources:
            progress(f"merging segments of {one.name}")
            sort = [(one.event_time, "ascending")]
            merged[one.name] = store.log.compact(one.name, sort, at=store.now(), schema=one.fields.arrow(), force=True)
        deleted = store.log.collect_garbage(at=store.now())
    document = {"merged": merged, "deleted_files": deleted}
    lines = [f"{name}: {counted(count, 'segment')} merged." for name, count in merged.items() if count]
    said = [*(lines or ["There was nothing to merge."]), f"{counted(deleted, 'file')} deleted."]
    return Answer(document, said, "verify-log (check every file)")


def _shown(document: dict[str, Any]) -> list[str | Table]:
    waiting = (
        f", {counted(document['waiting'], 'ingest')} not yet taken over into the log" if document["waiting"] else ""
    )
    header = ("source", "rows", "segments", "bytes", "files", "quarantined")
    views = [
        (one["view"], "yes" if one["filled"] else "not yet", one["runs"], one["since"] or "the beginning")
        for one in document["views"]
    ]
    return [
        f"Position {document['position']:,}{waiting}. {counted(document['training_sets'], 'training set')}.",
        Table(header, [tuple(one[name] for name in header) for one in document["sources"]]),
        "",
        Table(("online view", "filled", "runs", "events since"), views),
    ]


def _following(document: dict[str, Any]) -> str:
    if document["unapplied"]:
        return "plan (what has changed in the declarations)"
    if not all(one["filled"] for one in document["views"]):
        return "materialize (fill the online views)"
    return "lookup SERVICE KEY=VALUE (the features of one entity, now)"
