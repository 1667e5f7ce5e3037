"""Whether two rows are the same bytes: a training row, and what a server answered for it."""

import struct
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from featurestore import times
from featurestore.errors import OperationError


def in_bytes(value: Any) -> bytes:
    """Give the exact bytes of a row or value: a double's eight, an instant to the microsecond, names in their order.

    An integer is never the float that equals it; instants are told as HTTP tells them.
    """
    if isinstance(value, Mapping):
        return b"{" + b",".join(name.encode() + b":" + in_bytes(one) for name, one in value.items()) + b"}"
    if isinstance(value, float):
        return b"d" + struct.pack(">d", value)
    if isinstance(value, datetime):
        return in_bytes(times.isoformat(times.to_micros(value)))
    return repr(value).encode()


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
