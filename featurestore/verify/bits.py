"""What makes two values the same: every bit of them, and their type."""

import struct
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from featurestore import times


def in_bytes(value: Any) -> bytes:
    """Give the exact bytes of a row or value: a double's eight, an instant to the microsecond, names in their order.

    An integer is never the float that equals it; instants are told as HTTP tells them.

    Examples
    --------
    >>> in_bytes(0.1 + 0.2) == in_bytes(0.3), in_bytes(1) == in_bytes(1.0), in_bytes(0.0) == in_bytes(-0.0)
    (False, False, False)
    >>> in_bytes({"a": 1, "b": 2}) == in_bytes({"a:1,b": 2})  # names of groups are any text
    False
    """
    if isinstance(value, Mapping):
        return b"{" + b",".join(in_bytes(name) + b":" + in_bytes(one) for name, one in value.items()) + b"}"
    if isinstance(value, float):
        return b"d" + struct.pack(">d", value)
    if isinstance(value, datetime):
        return in_bytes(times.isoformat(times.to_micros(value)))
    return repr(value).encode()


def same(left: Any, right: Any) -> bool:
    """Whether two values are the same bytes."""
    return left is right or in_bytes(left) == in_bytes(right)
