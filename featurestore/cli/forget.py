"""The command that erases an entity's events."""

from typing import Annotated

import typer

from featurestore.cli.session import Session
from featurestore.cli.terminal import Answer, Table, counted

FORGET_INTERRUPTED = "The entity is noted, but its events may still be there: run the same command again."


def forget(
    session: Session,
    entity: Annotated[str, typer.Argument(help="Name of the entity.")],
    key: Annotated[list[str], typer.Argument(metavar="KEY=VALUE...", help="Its key.")],
) -> Answer:
    """Erase an entity's events everywhere, and keep it out of later loads.

    This cannot be undone. Training sets and models that contain it are named: they are yours to delete.
    """
    from featurestore.cli import given
    from featurestore.plan import SpineColumn
    from featurestore.store import FeatureStore

    with session.progress("erasing"), FeatureStore.open(session.project) as store:
        kinds = store.key_kinds(entity)
        columns = [SpineColumn(name, kind, nullable=False, role="key") for name, kind in kinds.items()]
        done = store.forget(entity, given.row_of(key, columns))
    document = {
        "events": done.events,
        "training_sets": done.training_sets,
        "models": done.models,
        "served": done.served,
    }
    told: list[str | Table] = [Table(("source", "events erased"), list(done.events.items()))]
    if done.training_sets:
        told.append(f"Training sets that contain it: {', '.join(done.training_sets)}.")
    if done.models:
        told.append(f"Models trained on those: {', '.join(done.models)}.")
    if done.served:
        told.append(f"The served log has {counted(done.served, 'row')} of it, until they are too old to be kept.")
    return Answer(document, told, "verify training-set NAME (what that changed)")
