"""What may carry a value of each kind: one table, whichever door the value comes in by (S7, S9).

Keys, request fields, events and instants are read alike from dicts, frames, files and JSON. Nothing is rounded or
guessed: a bool is no number, text is no number, a number is no instant, since its unit is not known. A CSV file has
only text, so there text is parsed. Here are single values; :mod:`featurestore.casting` holds whole columns to the same.
"""

import enum
import math
import sys
from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import numpy as np

from featurestore import times
from featurestore.errors import RequestError
from featurestore.values import Kind

ACCEPTED: Mapping[str, str] = {
    "bool": "true or false (or the numbers 0 and 1)",
    "int": "a 64-bit integer (or a whole float or decimal)",
    "float": "a number (of integers those that a double holds exactly)",
    "str": "text",
    "datetime": "a datetime, a date, or ISO 8601 text such as '2026-01-31T12:00:00Z', in the years 1 to 9999",
}
"""What is read as each kind, in words."""

_MISSABLE = (float, np.floating, datetime, np.datetime64)


def is_missing(value: Any) -> bool:
    """Whether it is ``None``, NaN, NaT or pandas' ``NA``: all of them are null."""
    if value is None:
        return True
    if isinstance(value, _MISSABLE):
        return bool(value != value)  # noqa: PLR0124 NaN and NaT are unlike themselves
    pandas = sys.modules.get("pandas")  # a value can only be its NA if it is loaded
    return pandas is not None and value is pandas.NA


def read(given: Any, kind: Kind) -> tuple[Any, bool]:
    """Python scalar of the kind, and whether the value is one; null is ``None``, and is one.

    Instants are aware datetimes in UTC, NumPy's scalars are what they hold, an enum's member is its value.

    Examples
    --------
    >>> read(3.0, "int"), read(True, "int"), read(float("nan"), "float")
    ((3, True), (None, False), (None, True))
    >>> read("2026-01-31", "datetime")[0].isoformat()
    '2026-01-31T00:00:00+00:00'
    """
    if is_missing(given):
        return None, True
    found = _READERS[kind](scalar(given.value if isinstance(given, enum.Enum) else given))
    return found, found is not None


def misfit(given: Any, kind: str) -> str:
    """Say that a value is not of a kind, and what would be: to stand after ``name = ``."""
    return f"{given!r} ({type(given).__name__}) is no {kind}: give {ACCEPTED[kind]}"


def scalar(given: Any) -> Any:
    """Return what a scalar of NumPy holds, in Python's type; anything else as it is."""
    if isinstance(given, np.generic) and not isinstance(given, np.datetime64):  # whose own item() may be an integer
        return given.item()
    return given


def is_double(number: int) -> bool:
    """Whether a double holds an integer exactly."""
    try:
        return float(number) == number
    except OverflowError:
        return False


def _bool(given: Any) -> bool | None:
    if isinstance(given, bool):
        return given
    return bool(given) if isinstance(given, (int, float)) and given in (0, 1) else None


def _int(given: Any) -> int | None:
    if isinstance(given, bool) or not isinstance(given, (int, float, Decimal)):
        return None
    if not isinstance(given, int) and (not math.isfinite(given) or given != int(given)):
        return None
    return int(given) if -(2**63) <= given < 2**63 else None


def _float(given: Any) -> float | None:
    if isinstance(given, bool) or (isinstance(given, int) and not is_double(given)):
        return None
    if isinstance(given, Decimal) and given.is_nan():
        return None
    return float(given) if isinstance(given, (int, float, Decimal)) else None


def _str(given: Any) -> str | None:
    return str.__str__(given) if isinstance(given, str) else None


def _datetime(given: Any) -> datetime | None:
    if not isinstance(given, (date, str, np.datetime64)):
        return None
    try:
        return times.to_datetime(times.to_micros(given))
    except RequestError:
        return None


_READERS: Mapping[Kind, Callable[[Any], Any]] = {
    "bool": _bool,
    "int": _int,
    "float": _float,
    "str": _str,
    "datetime": _datetime,
}
