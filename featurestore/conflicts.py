"""Saying in words that an event comes under a key that is known with another payload (S6)."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from featurestore.definition import Source
from featurestore.deliveries import payload_names
from featurestore.errors import ConflictingRows
from featurestore.log import PART
from featurestore.refusals import BadRow

_SHOWN = 3
_CARRIED = 1000


def conflict(source: Source, old: Mapping[str, Any], new: Mapping[str, Any], *, row: int = 0) -> BadRow:
    """Say which columns of two events under one key differ; ``new`` may name its part, and is ``row`` of a batch."""
    names = [name for name in payload_names(source) if old.get(name) != new.get(name)]
    text = ", ".join(f"{name} was {_said(old.get(name))} and is {_said(new.get(name))}" for name in names)
    key = str(source.key)
    return BadRow(str(new.get(PART) or "ingest"), row, key, f"key {new[key]!r} is known with another payload", text)


def _said(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else repr(value)


def refusal(source: Source, wrong: Sequence[BadRow]) -> ConflictingRows:
    """Build the error for a load's conflicts."""
    head = (
        f"{len(wrong)} rows of source {source.name!r} come under a key that is known with another payload; "
        "nothing was loaded:"
    )
    lines = [f"  {one.file}: {one.rule}: {one.value}" for one in wrong[:_SHOWN]]
    more = [f"  … and {len(wrong) - _SHOWN} more"] if len(wrong) > _SHOWN else []
    hint = (
        "Send a correction under a new key, set such rows aside with on_invalid='quarantine', or start again with "
        "rebuild."
    )
    return ConflictingRows("\n".join([head, *lines, *more, hint]), tuple(wrong[:_CARRIED]))


def refusal_of_batch(source: Source, wrong: Sequence[BadRow]) -> ConflictingRows:
    """Build the error for an ingested batch's conflicts."""
    head = f"{len(wrong)} rows for {source.name!r} come under a known key; nothing was accepted:"
    lines = [f"  {one.rule}: {one.value}" for one in wrong[:_SHOWN]]
    return ConflictingRows("\n".join([head, *lines]), tuple(wrong))
