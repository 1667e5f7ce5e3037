"""The command log: what servers have answered."""

from typing import Annotated, Any

import typer

from featurestore.cli.session import Session
from featurestore.cli.terminal import Answer, Table, counted

_HEADER = ("served", "request", "service", "model", "as of", "position", "answer")
_CUT = 60


def log(
    session: Session,
    *,
    service: Annotated[str | None, typer.Option(help="Only of this feature service.")] = None,
    model: Annotated[str | None, typer.Option(help="Only of this model: NAME or NAME@VERSION.")] = None,
    request_id: Annotated[str | None, typer.Option(help="Only of this request: its X-Request-Id.")] = None,
    since: Annotated[str | None, typer.Option(metavar="INSTANT", help="From here on, ISO 8601, naive is UTC.")] = None,
    until: Annotated[str | None, typer.Option(metavar="INSTANT", help="Before this instant.")] = None,
    last: Annotated[int, typer.Option(min=1, help="So many of the newest.")] = 20,
) -> Answer:
    """Show what servers have answered: inputs, features, predictions.

    As JSON with everything; the files in the store's folder `served` are Parquet and JSON lines.
    """
    from featurestore.store import FeatureStore

    with FeatureStore.open(session.project) as store:
        found = store.served(service, since, until, model, request_id=request_id, last=last)
    rows = [{name: getattr(one, name) for name in one.__slots__ if name != "origin"} for one in found]
    document = {"rows": rows, "lost": found.lost, "damaged": found.damaged}
    told: list[str | Table] = [f"damaged: {words}" for words in found.damaged]
    if found.lost:
        told.append(f"{counted(found.lost, 'line')} could not be read: a server was killed while it wrote, or damage.")
    if not rows:
        told.insert(0, "There is nothing of that kind. Servers write down what they answer (served_sample).")
        return Answer(document, told, "serve (answer over HTTP)")
    told.insert(0, Table(_HEADER, [_row(one) for one in rows]))
    return Answer(document, told, f"log --request-id {rows[-1]['request_id']} --json (all of it)")


def _row(one: dict[str, Any]) -> tuple[Any, ...]:
    answer = one["features"] if one["model"] is None else one["probabilities"] or {"value": one["value"]}
    text = ", ".join(f"{name} {value!r}" for name, value in answer.items())
    model = one["model"] and f"{one['model']}@{one['version']}"
    cut = text if len(text) <= _CUT else text[: _CUT - 1] + "…"
    return one["served_at"], one["request_id"], one["service"], model, one["as_of"], one["position"], cut
