"""The command that looks for leaks in a table of features made elsewhere."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from featurestore.cli.failure import PROBLEM
from featurestore.cli.session import Session
from featurestore.cli.terminal import Answer, Table, counted
from featurestore.errors import RequestError


def leaks(
    session: Session,
    dataset: Annotated[str, typer.Argument(help="Parquet or CSV file, or SQL: keys, times, columns of features.")],
    service: Annotated[
        str | None,
        typer.Argument(help="Feature service of theirs. Default: the only one.", show_default=False),
    ] = None,
    *,
    time: Annotated[str, typer.Option(help="Column of the instants of the rows; naive is UTC.")] = "event_time",
    column: Annotated[
        list[str] | None,
        typer.Option(metavar="FEATURE=COLUMN", help="The table's own column for a feature.", show_default=False),
    ] = None,
) -> Answer:
    """Find columns of a table made elsewhere that were computed with a leak.

    Each is compared with its feature as declared, and read as leaky code would: events at T seen, delays ignored,
    windows after T, another time zone. Exit code 1 if any agrees better with one of those.
    """
    from featurestore.cli import given
    from featurestore.store import FeatureStore

    with session.progress("reading the features in every way"), FeatureStore.open(session.project) as store:
        chosen = service or _only(list(store.registry.services))
        found = store.leaks(given.spine_of(dataset), chosen, time, columns=_mapped(column or []))
    document = {**dataclasses.asdict(found), "leaking": [one.column for one in found.leaking]}
    return Answer(document, _told(document), f"show {chosen} (how they are declared)", PROBLEM if found.leaking else 0)


def _only(services: Sequence[str]) -> str:
    if len(services) != 1:
        raise RequestError(f"Say which feature service declares the columns: {', '.join(services) or 'there is none'}.")
    return services[0]


def _mapped(pairs: Sequence[str]) -> dict[str, str]:
    wrong = [pair for pair in pairs if not all(pair.partition("="))]
    if wrong:
        raise typer.BadParameter(f"{wrong[0]!r} is not FEATURE=COLUMN.")
    return {feature: column for feature, _, column in (pair.partition("=") for pair in pairs)}


def _told(found: Mapping[str, Any]) -> list[str | Table]:
    rows = []
    for one in found["columns"]:
        shares = one["shares"]
        correct = next(iter(shares.values()))
        best = one["reading"] or max(shares, key=lambda name: shares[name])
        rows.append((one["column"], one["verdict"], _percent(correct), best, _percent(shares[best])))
    leaking = found["leaking"]
    said = f"{counted(len(leaking), 'column')} of {len(rows)} leak{'s' * (len(leaking) == 1)}: {', '.join(leaking)}."
    lacking = found["lacking"]
    return [
        Table(("column", "verdict", "as declared", "agrees best read as", "share"), rows),
        *([f"Not in the table: {', '.join(lacking)}."] if lacking else []),
        said if leaking else f"No column leaks in {counted(found['rows'], 'row')}.",
    ]


def _percent(share: float) -> str:
    """Share in percent; 100 only for all."""
    return f"{min(share * 100, 99.99) if share < 1 else 100:.2f} %"
