"""What a view's blobs were packed for, as a text that stores keep and compare: a name alone does not identify a view.

A blob says which columns it has; it does not say by which columns events were grouped, which one was their event_time,
or which were left out. A signature does, a line each::

    source payments
    key cust:str
    event_time at
    known_at -
    columns id:str,cust:str?,at:datetime,amount:float?
    without note

``?`` stands for a column that may be null. ``without`` names columns that events in the log have and the blobs lack.
"""

import functools
from collections.abc import Collection

from featurestore.definition import SourceBy

_COLUMNS = 4  # the line of that number; those above it must be equal


def signature_of(view: SourceBy, logged: Collection[str] = ()) -> str:
    """Write the signature of a view's blobs; ``logged`` names the columns of its events in the log."""
    source = view.source
    key = [f"{name}:{kind}" for name, kind in zip(view.key_columns, view.key_kinds, strict=True)]
    columns = [f"{field.name}:{field.kind}{'?' if field.masked else ''}" for field in source.fields.fields]
    lacking = sorted(set(logged) - set(source.fields.names))
    return "\n".join(
        [
            f"source {source.name}",
            f"key {','.join(key)}",
            f"event_time {source.event_time}",
            f"known_at {source.known_at or '-'}",
            f"columns {','.join(columns)}",
            *([f"without {','.join(lacking)}"] if lacking else []),
        ]
    )


def columns_of(signature: str) -> tuple[str, ...]:
    """Names of the columns that blobs were packed with."""
    return tuple(name for name, _ in _columns(signature))


@functools.lru_cache(maxsize=4096)
def fits(held: str, asked: str) -> bool:
    """Whether blobs of signature ``held`` give every value that a reader of signature ``asked`` may ask for.

    They do if they are equal, and where one of them only has more nullable columns at its end: what old events lack is
    null, and the last column of a schema orders no others (S5). A column may have become nullable since.
    """
    if held == asked:
        return True
    if held.split("\n")[:_COLUMNS] != asked.split("\n")[:_COLUMNS]:
        return False
    ours, theirs = _columns(asked), _columns(held)
    shared = min(len(ours), len(theirs))
    if any(
        name != other or kind not in (now, now.removesuffix("?"))
        for (name, kind), (other, now) in zip(theirs[:shared], ours[:shared], strict=True)
    ):
        return False
    lacking = _line(held, _COLUMNS + 1).split(",")
    return all(kind.endswith("?") and name not in lacking for name, kind in [*ours[shared:], *theirs[shared:]])


def mixes(held: str, appended: str) -> bool:
    """Whether blobs of signature ``appended`` may lie in a view of signature ``held``: one reader can read both."""
    return fits(held, appended) or fits(appended, held)


def difference(held: str, asked: str) -> str:
    """Say in words what differs: ``key was 'cust:str' and is 'account:str'``."""
    lines = zip(held.split("\n"), asked.split("\n"), strict=False)  # the last line is not in every signature
    pairs = [(old.partition(" "), new.partition(" ")) for old, new in lines if old != new]
    found = [f"{old[0]} was {old[2]!r} and is {new[2]!r}" for old, new in pairs]
    lacking = _line(held, _COLUMNS + 1)
    return "; ".join([*found, *([f"{lacking} had been left out"] if lacking else [])])


def _columns(signature: str) -> list[tuple[str, str]]:
    items = _line(signature, _COLUMNS).split(",")
    return [(name, kind) for name, _, kind in (item.partition(":") for item in items)]


def _line(signature: str, number: int) -> str:
    """Give what stands after the first word of a line; nothing if there is no such line."""
    lines = signature.split("\n")
    return lines[number].partition(" ")[2] if number < len(lines) else ""
