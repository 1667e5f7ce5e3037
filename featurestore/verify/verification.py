"""The answer of a verification: what was compared, what differs, and why."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

from featurestore.explain import Event

Cause = Literal["late data", "changed definition", "changed library", "erased", "rebuilt", "something else"]
EXPLAINED: tuple[Cause, ...] = ("late data", "changed definition", "changed library", "erased", "rebuilt")
SHOWN = 20
"""Differences that an answer shows in full; all are counted."""


@dataclass(frozen=True)
class Difference:
    """One row's first differing feature.

    Parameters
    ----------
    row
        Number of the row, from 1: in the training set, or among the served rows compared.
    inputs, as_of, position
        What was asked, and of what of the log.
    feature, then, now
        The first feature of the service that differs, its value then and when it was computed again.
    step
        The first value on the way to it that differs: the feature itself, or one that it needs; empty where the way
        then cannot be told any more.
    shared, only_then, only_now
        Events that both sides saw in the step's window, and those that one side alone saw.
    cause, detail
        Why, and in words.
    """

    row: int
    inputs: Mapping[str, Any]
    as_of: datetime
    position: int
    feature: str
    then: Any
    now: Any
    cause: Cause
    detail: str
    step: str = ""
    shared: int = 0
    only_then: tuple[Event, ...] = ()
    only_now: tuple[Event, ...] = ()


@dataclass(frozen=True)
class Verification:
    """What a verification found.

    Parameters
    ----------
    subject
        What was verified, in words.
    rows, values
        Rows and feature values compared.
    skipped
        Rows that could not be compared, by reason.
    features
        Differing values by feature.
    causes
        Differing rows by cause.
    differences
        Some of them in full.
    seconds
        What it took.
    """

    subject: str
    rows: int
    values: int
    skipped: Mapping[str, int]
    features: Mapping[str, int]
    causes: Mapping[Cause, int]
    differences: tuple[Difference, ...]
    seconds: float

    @property
    def differing(self) -> int:
        """Rows that differ."""
        return sum(self.causes.values())

    @property
    def unexplained(self) -> int:
        """Rows that differ for no reason that could be found."""
        return sum(count for cause, count in self.causes.items() if cause not in EXPLAINED)

    def to_dict(self) -> dict[str, Any]:
        """All of it as dicts, lists and Python scalars; instants are datetimes."""
        return {**asdict(self), "differing": self.differing, "unexplained": self.unexplained}


def verification(
    subject: str,
    *,
    rows: int,
    values: int,
    skipped: Mapping[str, int],
    features: Mapping[str, int],
    differences: list[Difference],
    seconds: float,
) -> Verification:
    """Count causes, and keep some differences of each in full."""
    causes = Counter(one.cause for one in differences)
    shown: list[Difference] = []
    for cause in causes:
        own = [one for one in differences if one.cause == cause]
        shown += own[: max(1, SHOWN // len(causes))]
    return Verification(
        subject, rows, values, dict(skipped), dict(features), dict(causes), tuple(shown), round(seconds, 3)
    )
