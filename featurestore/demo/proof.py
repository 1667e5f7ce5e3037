"""Whether two rows are the same bytes: a training row, and what a server answered for it."""

from collections.abc import Mapping
from typing import Any

from featurestore.errors import OperationError
from featurestore.verify.bits import in_bytes


def features_of(row: Mapping[str, Any], manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Features of a training row, in declared order."""
    return {name: row[name] for name in manifest["features"]}


def same(row: Mapping[str, Any], manifest: Mapping[str, Any], answer: Mapping[str, Any]) -> bool:
    """Whether a server's answer is a training row: position and fingerprint of its training set, and every byte."""
    named = all(answer[name] == manifest[name] for name in ("position", "fingerprint"))
    return named and in_bytes(answer["features"]) == in_bytes(features_of(row, manifest))


def must_be_none(different: int, rows: int) -> None:
    """Refuse to go on with a row that differs.

    Raises
    ------
    OperationError
        If there is any.
    """
    if different:
        raise OperationError(
            f"{different} of {rows:,} rows differ between training and serving. That must never be: please report it, "
            "with the folder."
        )
