"""Index ranges over a column's values: what a fold is given, and what folds of the same values share.

Nulls are squeezed out first (S7), so that what follows sees plain arrays.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from featurestore.exact import ExactSums, fsums, integers
from featurestore.values import Values

Array = np.ndarray[Any, Any]
IntArray = np.ndarray[Any, np.dtype[np.int64]]

FEW_PAIRS = 4096
FEW_RANGES = 256
CROWDED = 256
PAIRS_AT_ONCE = 1 << 22
_LOW = 0xFFFFFFFF


class Spans:
    """Values without nulls and, per row, the range ``[lo, hi)`` of them; what folds share is made once.

    The ranges of so many ``windows`` lie one after another for the same rows. A few may be given as ``pairs`` alone.
    """

    __slots__ = ("_counts", "_edges", "_float_sums", "_lengths", "_parts", "few", "made", "pairs", "values", "windows")

    def __init__(
        self,
        values: Values,
        lo: IntArray | None,
        hi: IntArray | None,
        made: dict[str, Any] | None = None,
        windows: int = 1,
        pairs: Sequence[tuple[int, int]] = (),
    ) -> None:
        self.values, self.windows = values, windows
        self.made: dict[str, Any] = {} if made is None else made
        self._edges: tuple[IntArray, IntArray] | None = None
        self._counts: IntArray | None = None
        self._float_sums: Any = None
        self._lengths: list[int] | None = None
        self._parts: list[list[Any]] | None = None
        if lo is None or hi is None:
            self.few, self.pairs = True, pairs
            return
        self._edges = lo, hi
        self.few = len(lo) <= FEW_RANGES and len(values) <= FEW_PAIRS
        self.pairs = list(zip(lo.tolist(), hi.tolist(), strict=True)) if self.few else pairs
        self.few = self.few and sum([stop - start for start, stop in self.pairs]) <= FEW_PAIRS

    @property
    def lo(self) -> IntArray:
        """Where each range begins."""
        return (self._edges or self._made())[0]

    @property
    def hi(self) -> IntArray:
        """Where each range ends."""
        return (self._edges or self._made())[1]

    @property
    def lengths(self) -> list[int]:
        """Length of each range where they are few."""
        if self._lengths is None:
            self._lengths = [hi - lo for lo, hi in self.pairs]
        return self._lengths

    @property
    def counts(self) -> IntArray:
        """Length of each range."""
        if self._counts is None:
            self._counts = self.hi - self.lo
        return self._counts

    @property
    def crowded(self) -> bool:
        """Whether there are so many pairs of range and value that to visit them all is the slower way."""
        return int(self.counts.sum()) > CROWDED * (len(self.values) + len(self.counts))

    @property
    def float_sums(self) -> Any:
        """Correctly rounded sums of floats; infinite past the largest double. A list where ranges are few."""
        if self._float_sums is None:
            if self.few:
                self._float_sums = fsums(self.parts())
            else:
                exact: ExactSums = self.once("sums", lambda: ExactSums(self.values.data))
                self._float_sums = exact.rounded(self.lo, self.hi)
        return self._float_sums

    @property
    def integer_sums(self) -> tuple[IntArray, IntArray]:
        """High and low halves of integer sums: a sum is ``high * 2**32 + low``, exactly."""

        def prefixes() -> list[IntArray]:
            data = self.values.data.astype(np.int64)
            return [np.concatenate([[0], np.cumsum(half)]) for half in (data >> 32, data & _LOW)]

        high, low = self.once("integers", prefixes)
        return high[self.hi] - high[self.lo], low[self.hi] - low[self.lo]

    @property
    def whole_sums(self) -> list[int]:
        """Exact sums of integers or booleans where ranges are few."""
        return [sum(part) for part in self.parts()]

    @property
    def powers(self) -> tuple[list[int], list[int], int]:
        """Exact sums of each range and of its squares, in integers, and the power of two they are multiplied by.

        Squares are multiplied by its square. Where ranges are few.
        """
        whole, scale = integers(self.values.data)
        sums, squares = [0, *accumulate(whole)], [0, *accumulate([one * one for one in whole])]
        return (
            [sums[hi] - sums[lo] for lo, hi in self.pairs],
            [squares[hi] - squares[lo] for lo, hi in self.pairs],
            scale,
        )

    def extremes(self, choose: Callable[..., Any]) -> list[Any]:
        """What ``choose`` (min or max) takes of each range's numbers, where ranges are few; ``None`` of none."""
        return [choose(part) if part else None for part in self.parts()]

    def parts(self) -> list[list[Any]]:
        """Each range's values as Python scalars (codes for strings, microseconds for datetimes)."""
        if self._parts is None:
            items = self.once("items", self.values.data.tolist)
            self._parts = [items[start:stop] for start, stop in self.pairs]
        return self._parts

    def _made(self) -> tuple[IntArray, IntArray]:
        lo, hi = (np.array([pair[side] for pair in self.pairs], np.int64) for side in (0, 1))
        self._edges = lo, hi
        return self._edges

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """Return what ``make`` gave the first time, for whatever ranges of these values."""
        if name not in self.made:
            self.made[name] = make()
        return self.made[name]


def spans_of(values: Values, lo: IntArray, hi: IntArray, made: dict[str, Any], windows: int = 1) -> Spans:
    """Ranges over nullable values as ranges over those that are there; ``made`` keeps what all ranges share."""
    if "squeezed" not in made:
        made["squeezed"] = _squeezed(values)
    plain, before = made["squeezed"]
    if before is not None:
        lo, hi = before[lo], before[hi]
    return Spans(plain, lo, hi, made, windows)


def _squeezed(values: Values) -> tuple[Values, IntArray | None]:
    if values.valid is None or values.valid.all():
        return Values(values.kind, values.data, None, values.categories), None
    kept = Values(values.kind, values.data[values.valid], None, values.categories)
    return kept, np.concatenate([[0], np.cumsum(values.valid)])


def expand(lo: IntArray, hi: IntArray) -> IntArray:
    """Concatenate ``range(lo, hi)`` of all rows."""
    counts = np.maximum(hi - lo, 0)
    ends = np.cumsum(counts)
    total_count = int(ends[-1]) if len(ends) else 0
    return np.asarray(np.arange(total_count, dtype=np.int64) + np.repeat(lo - (ends - counts), counts))


def batches(lo: IntArray, hi: IntArray) -> Iterator[tuple[int, int]]:
    """Split rows so that a bounded number of pairs of row and value are at hand at once."""
    ends = np.cumsum(hi - lo)
    start = 0
    while start < len(lo):
        done = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + PAIRS_AT_ONCE, side="right")))
        yield start, stop
        start = stop


def paired(lo: IntArray, hi: IntArray) -> Iterator[tuple[slice, IntArray, IntArray]]:
    """Rows, the indices of all their ranges, and where each row's begin and end among those, a batch at a time."""
    for start, stop in batches(lo, hi):
        rows = slice(start, stop)
        yield rows, expand(lo[rows], hi[rows]), np.concatenate([[0], np.cumsum(hi[rows] - lo[rows])])


def covered(lo: IntArray, hi: IntArray, count: int) -> Array:
    """Which of ``count`` values lie in any range."""
    edges = np.zeros(count + 1, np.int64)
    filled = hi > lo
    np.add.at(edges, lo[filled], 1)
    np.add.at(edges, hi[filled], -1)
    return np.asarray(np.cumsum(edges)[:count] > 0)
