"""Entities: what features describe, and what they are keyed by."""

from collections.abc import Sequence
from dataclasses import dataclass

from featurestore.errors import DefinitionError


@dataclass(frozen=True)
class Entity:
    """What features describe: a customer, a team, a pair of teams.

    Parameters
    ----------
    name
        Name of the entity.
    key
        Column of its key, or several for a composite key.
    """

    name: str
    key: tuple[str, ...]

    def __init__(self, name: str, *, key: str | Sequence[str]) -> None:
        check_name(name, "entity")
        columns = (key,) if isinstance(key, str) else tuple(key or ())
        if not columns or len(set(columns)) < len(columns) or not all(isinstance(one, str) for one in columns):
            raise DefinitionError(f"Entity {name!r} needs one or more different key columns, not {key!r}.")
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "key", columns)


def check_name(name: str, what: str) -> None:
    """Refuse a name that is no Python name."""
    if not isinstance(name, str) or not name.isidentifier():
        raise DefinitionError(
            f"{name!r} cannot name a {what}: use letters, digits and underscores, as for a Python name."
        )
