"""Splitting rows by time, so that no training row's label reaches into what is tested (S15).

A training row is kept for a test fold only if ``T + reach + gap`` lies at or before the fold's first instant, where the
reach is how far after T the labels' windows end; and it lies strictly before: rows of one instant are never on both
sides.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from featurestore import times
from featurestore.errors import RequestError
from featurestore.events import IntArray

FOLDS = 5


def before(at: IntArray, first: int, reach: int) -> IntArray:
    """Rows that a fold whose first instant is ``first`` may be trained on, ascending."""
    return np.flatnonzero((at < first) & (at + reach <= first))


@dataclass(frozen=True, eq=False)
class TimeSplit:
    """Cross-validation in order of time: a scikit-learn splitter of one training set's rows.

    Rows are cut into ``n_splits + 1`` blocks in order of time, as equal as can be with rows of one instant together;
    each block but the first is tested once, on what is trained by the rows before it that :func:`before` keeps.

    Parameters
    ----------
    at
        Instant of each row, microseconds UTC, shape ``(rows,)``; rows may stand in any order.
    n_splits
        Number of folds.
    reach
        How far after its instant a row's labels look, microseconds, with the gap wanted besides.

    Examples
    --------
    >>> split = TimeSplit(np.array([1, 2, 3, 4, 5, 6]), n_splits=2, reach=1)
    >>> [(train.tolist(), test.tolist()) for train, test in split.split()]
    [([0, 1], [2, 3]), ([0, 1, 2, 3], [4, 5])]
    >>> [(train.tolist(), test.tolist()) for train, test in replace(split, reach=2).split()]
    [([0], [2, 3]), ([0, 1, 2], [4, 5])]
    """

    at: IntArray = field(repr=False)
    n_splits: int = FOLDS
    reach: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.n_splits, bool) or not isinstance(self.n_splits, int) or self.n_splits < 1:
            raise RequestError(f"n_splits={self.n_splits!r}: give a number of folds, 1 or more.")

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:  # noqa: ARG002, N803 - scikit-learn's own
        """Folds."""
        return self.n_splits

    def split(self, X: Any = None, y: Any = None, groups: Any = None) -> Iterator[tuple[IntArray, IntArray]]:  # noqa: ARG002, N803 - as above
        """Row numbers to train on and to test, for each fold, both ascending.

        Raises
        ------
        RequestError
            If ``X`` has other rows than the training set, they do not suffice, or a fold has nothing to be trained on.
        """
        if X is not None and len(X) != len(self.at):
            raise RequestError(f"These folds are of {len(self.at)} rows, and {len(X)} are given: give all, in order.")
        for number, (train, test) in enumerate(self.folds(), 1):
            if not len(train):
                raise RequestError(
                    f"Fold {number} of {self.n_splits} has no row to be trained on: no label's window ends before "
                    f"{times.isoformat(int(self.at[test].min()))}. Give fewer folds, a smaller gap, or earlier rows."
                )
            yield train, test

    def folds(self) -> list[tuple[IntArray, IntArray]]:
        """As :meth:`split`; a fold may have nothing to be trained on."""
        firsts = self._firsts()
        tested = np.searchsorted(firsts, self.at, side="right")  # the number of the row's block
        return [
            (before(self.at, first, self.reach), np.flatnonzero(tested == number))
            for number, first in enumerate(firsts, 1)
        ]

    def _firsts(self) -> list[int]:
        """First instant of each block but the first: where equal blocks would begin, each later than the one before."""
        instants, counts = np.unique(self.at, return_counts=True)
        if len(instants) <= self.n_splits:
            raise RequestError(
                f"cannot split {len(self.at)} rows of {len(instants)} instants into {self.n_splits} folds and a block "
                "before them: give fewer folds."
            )
        ends, place, firsts = np.cumsum(counts), 0, []
        for number in range(1, self.n_splits + 1):
            equal = int(np.searchsorted(ends, len(self.at) * number // (self.n_splits + 1), side="right"))
            place = min(max(equal, place + 1), len(instants) - 1 - (self.n_splits - number))
            firsts.append(int(instants[place]))
        return firsts

    def over(self, at: IntArray) -> "TimeSplit":
        """Return the same folds of other rows, or of these in another order."""
        return replace(self, at=at)
