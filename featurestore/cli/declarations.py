"""Commands about declarations: check, plan, apply, list, show, history, lineage."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer

from featurestore.cli.session import Session
from featurestore.cli.terminal import Answer, Code, Table, counted

Document = Mapping[str, Any]
_SIGNS = {"added": "+", "changed": "~", "removed": "-"}
_SHORT = 12  # characters of a fingerprint that a person compares


class Kind(StrEnum):
    """What ``list`` can be narrowed to."""

    ENTITIES = "entities"
    SOURCES = "sources"
    FEATURES = "features"
    LABELS = "labels"
    SERVICES = "services"


Name = Annotated[str, typer.Argument(help="Name of an entity, source, feature, feature's output, label or service.")]


def check(
    session: Session,
    *,
    quick: Annotated[bool, typer.Option("--quick", help="Read the declarations only; ask no feature.")] = False,
) -> Answer:
    """Check the declarations; name every problem there is.

    Problems come with file and line, all at once. Features are asked for the same rows in many ways, and must give the
    same bits: whole, one by one, in another order, in another process.
    """
    from featurestore.store import FeatureStore

    with FeatureStore.open(session.project) as store:
        registry = store.registry
        asked = None if quick else _checked(session, store)
        document = {
            "entities": len(registry.entities),
            "sources": len(registry.sources),
            "features": len(registry.features),
            "outputs": len(registry.outputs),
            "labels": len(registry.labels),
            "services": len(registry.services),
        }
    counts = [
        counted(document["entities"], "entity", "entities"),
        counted(document["sources"], "source"),
        f"{counted(document['features'], 'feature')} with {counted(document['outputs'], 'output')}",
        *([counted(document["labels"], "label")] if document["labels"] else []),
        counted(document["services"], "service"),
    ]
    blocks = [f"The definitions are right: {', '.join(counts)}.", *(_asked(asked) if asked else ())]
    return Answer({**document, "asked": asked}, blocks, "plan (what would change)")


def plan(
    session: Session,
    *,
    full: Annotated[bool, typer.Option("--full", help="Show the code of what is added or removed too.")] = False,
) -> Answer:
    """Show what has changed since the last apply.

    For each changed declaration the difference, and the inputs that made it change.
    """
    from featurestore.store import FeatureStore

    with FeatureStore.open(session.project) as store:
        changes = [dataclasses.asdict(change) for change in store.plan()]
    if not changes:
        return Answer({"changes": []}, ["Nothing has changed since the last apply."], "materialize (load new rows)")
    return Answer({"changes": changes}, [*_changes(changes, full=full), _sum(changes)], "apply (record this)")


def apply(session: Session) -> Answer:
    """Record the declarations as they are now.

    Every recording is kept: see history.
    """
    from featurestore.store import FeatureStore

    with FeatureStore.open(session.project) as store:
        changes = [dataclasses.asdict(change) for change in store.plan()]
        number = store.apply()
    document = {"number": number, "changes": changes}
    if not changes:
        return Answer(document, [f"Nothing has changed since apply {number}."], "materialize (load new rows)")
    blocks = [*_changes(changes, full=False), f"Apply {number}: {_sum(changes)}"]
    return Answer(document, blocks, "materialize (load new rows, and fill the online views of what changed)")


def list_(
    session: Session, kind: Annotated[Kind | None, typer.Argument(help="One kind alone.", show_default=False)] = None
) -> Answer:
    """List entities, sources, features, labels and services."""
    from featurestore.store import FeatureStore

    with FeatureStore.open(session.project) as store:
        facts = [dataclasses.asdict(fact) for fact in store.registry.facts()]
    singular = {kind: kind.value.removesuffix("s") for kind in Kind} | {Kind.ENTITIES: "entity"}
    kinds = [kind] if kind else list(Kind)
    document = {one.value: [fact for fact in facts if fact["kind"] == singular[one]] for one in kinds}
    rows = [_listed(fact) for of_kind in document.values() for fact in of_kind]
    return Answer(document, [Table(("kind", "name", "what", "where"), rows)], "show NAME (all about one of them)")


def show(session: Session, name: Name) -> Answer:
    """Show a declaration: code, parameters, fingerprint."""
    from featurestore.store import FeatureStore

    with FeatureStore.open(session.project) as store:
        lineage = store.registry.lineage(name)  # says so if nothing has the name
        facts = [dataclasses.asdict(fact) for fact in store.registry.facts()]
        found = [fact for fact in facts if fact["name"] == name]
        if not found:
            feature = store.registry.feature(name).name
            found = [fact for fact in facts if fact["kind"] == "feature" and fact["name"] == feature]
    document = {"name": name, "declarations": found, **dataclasses.asdict(lineage)}
    blocks = [block for fact in found for block in _told(fact)]
    return Answer(document, blocks, f"lineage {name} (what it is made of, and what is made of it)")


def history(session: Session) -> Answer:
    """List every apply that changed something, oldest first."""
    from featurestore import times
    from featurestore.store import FeatureStore

    with FeatureStore.open(session.project) as store:
        applied = [dataclasses.asdict(one) | {"at": times.isoformat(one.at)} for one in store.applied.history()]
    if not applied:
        return Answer({"applied": []}, ["Nothing has been applied yet."], "apply (record the declarations)")
    rows = [(one["number"], one["at"], _sum(one["changes"]), _names(one["changes"])) for one in applied]
    return Answer(
        {"applied": applied}, [Table(("number", "at", "what", "names"), rows)], "plan (what has changed since)"
    )


def lineage(session: Session, name: Name) -> Answer:
    """Show what a declaration is made of, and what uses it."""
    from featurestore.store import FeatureStore

    with FeatureStore.open(session.project) as store:
        found = dataclasses.asdict(store.registry.lineage(name))
    lines = [f"{way}: {', '.join(found[way]) or 'nothing'}" for way in ("upstream", "downstream")]
    return Answer({"name": name, **found}, lines, f"show {name} (its code and parameters)")


def _checked(session: Session, store: Any) -> Document:
    with session.progress("asking the features"):
        return dataclasses.asdict(store.check())


def _asked(asked: Document) -> Iterator[str]:
    """Words for what was asked, and for what could not be."""
    on = " and loaded" if asked["on_loaded"] else ""
    where = ", another process among them" if asked["in_another_process"] else ""
    yield f"{counted(asked['rows'], 'row')} on made-up{on} events gave the same bits in every way of asking{where}."
    if asked["unmade"]:
        yield f"No rows could be made up for {', '.join(asked['unmade'])}: its schemas' rules are too narrow to guess."


def _changes(changes: Sequence[Document], *, full: bool) -> Iterator[str | Code]:
    """Yield a line per change; below it the inputs that made it change, and the difference."""
    for change in changes:
        because = f", because of {', '.join(change['because'])}" if change["because"] else ""
        yield f"{_SIGNS[change['action']]} {change['kind']} {change['name']} {change['action']}{because}"
        if change["diff"] and (full or change["action"] == "changed"):
            yield Code("\n".join(f"    {line}" for line in change["diff"].splitlines()), "diff")
        if change["note"]:
            yield change["note"]


def _sum(changes: Sequence[Document]) -> str:
    """``2 added, 1 changed``."""
    counts = {action: sum(change["action"] == action for change in changes) for action in _SIGNS}
    return ", ".join(f"{count} {action}" for action, count in counts.items() if count) + "."


def _names(changes: Sequence[Document]) -> str:
    return ", ".join(f"{_SIGNS[change['action']]}{change['name']}" for change in changes)


def _listed(fact: Document) -> tuple[str, ...]:
    """One line of ``list``."""
    said = fact["parameters"]
    match fact["kind"]:
        case "entity":
            what = f"key {', '.join(said['key'])}"
        case "source":
            what = ", ".join(said["columns"])
        case "feature":
            what = fact["description"].partition("\n")[0] or f"{said['of']} feature"
        case "label":
            what = fact["description"].partition("\n")[0] or f"looks {said['horizon']} ahead"
        case _:
            what = ", ".join(said["outputs"])
    return fact["kind"], fact["name"], what, f"{fact['file']}:{fact['line']}"


def _told(fact: Document) -> Iterator[str | Code | Table]:
    yield f"{fact['kind']} {fact['name']} ({fact['file']}:{fact['line']})"
    if fact["description"] and fact["kind"] not in ("feature", "label"):  # theirs is in their code
        yield fact["description"]
    said = [(name, _said(value)) for name, value in fact["parameters"].items() if value not in (None, False, [])]
    inputs = [("inputs", ", ".join(fact["inputs"]))] if fact["inputs"] else []
    yield Table(("", ""), [*said, *inputs, ("fingerprint", fact["fingerprint"][:_SHORT])])
    if fact["code"]:
        yield Code(fact["code"], "python")


def _said(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {one}" for name, one in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join("all" if one is None else str(one) for one in value)
    return str(value)
