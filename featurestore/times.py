"""Time: integer microseconds since 1970-01-01 UTC (S1), durations, and the only place that reads a clock."""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from time import time_ns

import numpy as np

from featurestore.errors import RequestError

Duration = str | timedelta
"""``"90s" "5m" "1h" "30d"``, ``"1h30m"`` or a timedelta; see :func:`duration`."""

Clock = Callable[[], "int | datetime"]
"""Gives now: a datetime (naive is UTC), or integer microseconds UTC."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
EARLIEST = (datetime.min.replace(tzinfo=UTC) - EPOCH) // MICROSECOND
LATEST = (datetime.max.replace(tzinfo=UTC) - EPOCH) // MICROSECOND
_UNITS = {
    "us": 1,
    "ms": 1_000,
    "s": 1_000_000,
    "m": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
    "w": 604_800_000_000,
}
ISO_8601 = r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?(Z|[+-][0-9]{2}(:?[0-9]{2})?)?)?"
"""Instants as text, in upper case. The compact form is none: milliseconds since 1970 can be read as one."""
_INSTANT = re.compile(ISO_8601)
_DURATION = re.compile(r"(\d+)(us|ms|s|m|h|d|w)")


def system_clock() -> int:
    """Microseconds UTC of the machine's clock."""
    return time_ns() // 1000


def now(clock: Clock | None = None) -> int:
    """Microseconds UTC of ``clock``, by default the machine's."""
    if clock is None:
        return system_clock()
    return to_micros(clock())


def to_micros(moment: object) -> int:
    """Microseconds UTC of a datetime (naive is UTC), a date (its midnight), ISO 8601 text or integer microseconds.

    Raises
    ------
    RequestError
        If it is none of these.

    Examples
    --------
    >>> to_micros("1970-01-01T00:00:01")
    1000000
    >>> to_micros("1970-01-01T01:00:00+01:00")
    0
    """
    if isinstance(moment, bool):
        raise RequestError(f"{moment!r} is not an instant: give a datetime, an ISO 8601 string or microseconds.")
    if isinstance(moment, datetime) and moment == moment:  # noqa: PLR0124 - pandas' NaT is a datetime unlike itself
        aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        return (aware - EPOCH) // MICROSECOND
    if type(moment) is date:
        return to_micros(datetime.combine(moment, time()))
    if isinstance(moment, int):
        to_datetime(moment)  # within the calendar
        return moment
    if isinstance(moment, str):
        return to_micros(_parsed(moment))
    if isinstance(moment, np.datetime64) and not np.isnat(moment):  # counts in its own unit
        return int(moment.astype("datetime64[us]").astype(np.int64))
    if isinstance(moment, np.integer):
        return int(moment)
    raise RequestError(f"{moment!r} is not an instant: give a datetime, an ISO 8601 string or microseconds.")


def from_text(text: str) -> datetime:
    """Aware UTC datetime of ISO 8601 text; naive is UTC.

    Raises
    ------
    RequestError
        If it is no instant, or one outside the years 1 to 9999.
    """
    parsed = _parsed(text)
    if parsed.tzinfo is None:
        return parsed.replace(tzinfo=UTC)
    return to_datetime(to_micros(parsed))


def to_datetime(micros: int) -> datetime:
    """Aware UTC datetime of integer microseconds.

    Raises
    ------
    RequestError
        If it lies outside the years 1 to 9999.
    """
    try:
        return EPOCH + timedelta(microseconds=micros)
    except OverflowError as error:
        raise RequestError(f"{micros} microseconds is outside the years 1 to 9999.") from error


def _parsed(text: str) -> datetime:
    """Naive or aware datetime of ISO 8601 text."""
    upper = text.strip().upper()
    try:
        if _INSTANT.fullmatch(upper):
            return datetime.fromisoformat(upper)
    except ValueError:
        pass  # a day or an hour that there is not
    raise RequestError(f"{text!r} is not an ISO 8601 instant such as '2026-01-31T12:00:00Z'.")


def isoformat(micros: int) -> str:
    """``2026-01-31T12:00:00.000001Z``: always microseconds, always UTC."""
    return written(to_datetime(micros))


def written(moment: datetime) -> str:
    """Write an aware UTC datetime as :func:`isoformat` does."""
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def duration(text: str | timedelta) -> int:
    """Microseconds of ``"90s"``, ``"5m"``, ``"1h"``, ``"30d"``, ``"2w"``, ``"1h30m"`` or a timedelta.

    Raises
    ------
    ValueError
        If the text is not a duration, or the duration is negative or longer than the calendar.

    Examples
    --------
    >>> duration("5m")
    300000000
    >>> duration(timedelta(days=1)) == duration("24h")
    True
    """
    if isinstance(text, timedelta):
        micros = text // MICROSECOND
    elif isinstance(text, str) and text and _DURATION.sub("", text) == "":
        micros = sum(int(amount) * _UNITS[unit] for amount, unit in _DURATION.findall(text))
    else:
        raise ValueError(f"{text!r} is not a duration such as '90s', '5m', '1h', '30d', '2w' or a timedelta.")
    if micros < 0:
        raise ValueError(f"{text!r} is negative: a duration looks back, so give it without a sign.")
    if micros > LATEST - EARLIEST:
        raise ValueError(
            f"{text!r} is longer than the calendar (years 1 to 9999). For the whole history give no window."
        )
    return micros


def format_duration(micros: int) -> str:
    """Shortest text that :func:`duration` reads back as ``micros``.

    Examples
    --------
    >>> format_duration(duration("90s")), format_duration(duration("30d"))
    ('90s', '30d')
    """
    for unit in ("d", "h", "m", "s", "ms"):
        if micros and micros % _UNITS[unit] == 0:
            return f"{micros // _UNITS[unit]}{unit}"
    return f"{micros}us"
