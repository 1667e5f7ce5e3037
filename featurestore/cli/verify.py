"""The commands that prove that served and trained values are the same bytes."""

from pathlib import Path
from typing import Annotated, Any

import typer

from featurestore.cli.failure import PROBLEM
from featurestore.cli.session import Session
from featurestore.cli.terminal import Answer, Table, counted

_Since = Annotated[str | None, typer.Option(metavar="INSTANT", help="From here on, ISO 8601, naive is UTC.")]
_Until = Annotated[str | None, typer.Option(metavar="INSTANT", help="Before this instant.")]
_Service = Annotated[str | None, typer.Option(help="Only of this feature service.")]
_Html = Annotated[Path | None, typer.Option(metavar="FILE", help="Write the report as one HTML file too.")]


def training_set(
    session: Session,
    name: Annotated[str, typer.Argument(help="Name of the training set.")],
    *,
    sample: Annotated[int | None, typer.Option(min=1, help="So many rows, drawn by the seed. Default: all.")] = None,
    seed: Annotated[int, typer.Option(help="Of the sample.")] = 0,
    url: Annotated[str | None, typer.Option(help="Ask this server. Default: the store itself.")] = None,
    key: Annotated[str | None, typer.Option(help="API key of the server.", envvar="FEATURESTORE_KEY")] = None,
    html: _Html = None,
) -> Answer:
    """Serve a training set's rows again, and compare every bit.

    Exit code 1 if a row differs for no reason that can be found.
    """
    from featurestore.store import FeatureStore

    with session.progress("asking for the rows again"), FeatureStore.open(session.project) as store:
        found = store.verify_training_set(name, sample=sample, seed=seed, url=url, key=key)
    return _answer(found, html, f"verify late {name} (what has become known since)")


def served(
    session: Session, *, since: _Since = None, until: _Until = None, service: _Service = None, html: _Html = None
) -> Answer:
    """Compute what was served again from the log, and compare every bit.

    Each vector as of its own instant and position. Exit code 1 if one differs for no reason that can be found.
    """
    from featurestore.store import FeatureStore

    with session.progress("computing again what was served"), FeatureStore.open(session.project) as store:
        found = store.verify_served(service, since=since, until=until)
    return _answer(found, html, "verify late --since INSTANT (what has become known since)")


def late(
    session: Session,
    name: Annotated[str | None, typer.Argument(help="Training set. Default: what was served.")] = None,
    *,
    since: _Since = None,
    until: _Until = None,
    service: _Service = None,
    html: _Html = None,
) -> Answer:
    """Tell how much late data moved each feature of a training set, or of what was served."""
    from featurestore.store import FeatureStore
    from featurestore.verify.page import page

    with session.progress("computing by what is known today"), FeatureStore.open(session.project) as store:
        found = store.verify_late(name, service=service, since=since, until=until)
    if html is not None:
        html.write_text(page(found), encoding="utf-8")
    rows = [
        (
            feature,
            one.rows,
            one.mean,
            one.largest,
            one.appeared,
            one.vanished,
            f"row {one.row}: {one.then} to {one.now}",
        )
        for feature, one in found.features.items()
    ]
    said = f"{found.subject}: {counted(found.moved_rows, 'row')} of {found.rows:,} moved."
    table = Table(("feature", "rows", "mean change", "largest", "was null", "is null", "most"), rows)
    return Answer(found.to_dict(), [said, table] if rows else [said], "explain SERVICE FEATURE (the events behind it)")


def _answer(found: Any, html: Path | None, then: str) -> Answer:
    from featurestore.verify.page import page

    if html is not None:
        html.write_text(page(found), encoding="utf-8")
    told: list[str | Table] = [f"{found.subject}: {found.values:,} values in {found.seconds:g} s."]
    told += [f"Not compared: {counted(count, 'row')}, {reason}." for reason, count in found.skipped.items()]
    if not found.differing:
        told.append("Every value is the same bytes.")
        return Answer(found.to_dict(), told, then)
    told.append(f"{counted(found.differing, 'row')} differ.")
    told.append(Table(("cause", "rows"), list(found.causes.items())))
    told.append(Table(("feature", "values that differ"), sorted(found.features.items(), key=lambda one: -one[1])))
    told.append(Table(("row", "feature", "then", "now", "cause"), [_row(one) for one in found.differences]))
    told += dict.fromkeys(f"{one.cause}: {one.detail}." for one in found.differences)
    return Answer(found.to_dict(), told, then, PROBLEM if found.unexplained else 0)


def _row(one: Any) -> tuple[Any, ...]:
    return one.row, one.feature, repr(one.then), repr(one.now), one.cause
