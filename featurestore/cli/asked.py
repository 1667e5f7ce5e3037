"""What lookup and predict are asked: one row of entity keys and request fields, and an instant."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from featurestore.store import FeatureStore

Pairs = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE...", help="Entity keys and request fields.", show_default=False),
]
JsonRow = Annotated[str | None, typer.Option(metavar="OBJECT", help="The same as one JSON object.")]
AsOf = Annotated[str | None, typer.Option(metavar="INSTANT", help="ISO 8601, naive is UTC. Default: now.")]


def check(pairs: list[str] | None, json_row: str | None) -> None:
    """Refuse a row that is given twice or not at all, before the store is opened."""
    if (json_row is None) == (not pairs):
        raise typer.BadParameter("Give KEY=VALUE pairs, or --json-row '{...}'.")


def row(store: "FeatureStore", service: str, pairs: list[str] | None, json_row: str | None) -> dict[str, Any]:
    """Return the row, its texts read as the kinds that the feature service declares."""
    from featurestore.cli import given
    from featurestore.plan import compile_service

    columns = compile_service(store.registry.service(service), store.registry.outputs).columns
    return given.row_of(pairs or [], columns) if json_row is None else given.json_row(json_row)
