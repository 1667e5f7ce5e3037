"""Which events a row sees, decided here and nowhere else: for windows, latest values and everything else (S3, S4, S10).

With a million rows or with one, :func:`windows_of` gives each row one index range of the events, sorted in S5 order.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from featurestore import parallel
from featurestore.events import Events, IntArray
from featurestore.operand import LookArrays, Looks, Ranges, Tally
from featurestore.spans import expand
from featurestore.window import Frame, Window

_INT64_BITS = 63
_ALONE = 2  # one entity's start and end
MANY_ROWS = 1 << 14
LISTED = 256  # so many stamps are searched faster as a list
Edge = tuple[Any, bool]


class Locator:
    """Finds rows among events that are sorted by (entity, time)."""

    def __init__(self, starts: IntArray, times: IntArray) -> None:
        entities = len(starts) - 1
        self._alone = entities == 1
        if self._alone:
            self._keys = times
            return
        self._first, self._last = (int(times.min()), int(times.max())) if len(times) else (0, 0)
        self._span = self._last - self._first + 3
        self._ranks: IntArray | None = None
        if entities * self._span >= 2**_INT64_BITS:
            self._ranks = np.unique(times)
            self._span = len(self._ranks) + 3
        self._keys = np.repeat(np.arange(entities, dtype=np.int64), np.diff(starts)) * self._span + self._place(times)

    def __call__(self, asking: "Asking", times: IntArray) -> IntArray:
        """Index of each row's entity's first event at or after each time; times and result end in the rows' axis."""
        wanted = times if self._alone else self._packed(asking.owner, times)
        if self._alone or asking.by_entity is None:
            return self._search(wanted.ravel()).reshape(wanted.shape)
        found = np.empty_like(wanted)
        found[..., asking.by_entity] = self._search(wanted[..., asking.by_entity].ravel()).reshape(wanted.shape)
        return found

    def _search(self, wanted: IntArray) -> IntArray:
        found = np.empty(len(wanted), np.int64)

        def search(part: slice) -> None:
            found[part] = self._keys.searchsorted(wanted[part])

        parallel.each(search, parallel.slices(len(wanted), MANY_ROWS))
        return found

    def _packed(self, entity: IntArray, times: IntArray) -> IntArray:
        """One number that orders like (entity, time); times before all events and after all events have a place too."""
        return np.asarray(entity * self._span + self._place(times.clip(self._first, self._last + 1)))

    def _place(self, times: IntArray) -> IntArray:
        return times - self._first if self._ranks is None else self._ranks.searchsorted(times)


class Asking:
    """Index of each row's entity, -1 for one without events, and what searches for them share."""

    def __init__(self, entity: IntArray) -> None:
        absent = entity < 0
        self.entity = entity
        self.absent = absent if absent.any() else None
        self.owner = entity if self.absent is None else np.where(absent, 0, entity)
        # rows of one entity search the same few events: three times as fast
        sorted_ = len(entity) < MANY_ROWS or bool((self.owner[1:] >= self.owner[:-1]).all())
        self.by_entity = None if sorted_ else np.argsort(self.owner)


@dataclass(eq=False)
class Veil:
    """A clock that hides events: event i is hidden from rows whose limit lies before ``stamps[i]``."""

    stamps: IntArray
    starts: IntArray
    latest: IntArray

    @property
    def in_order(self) -> bool:
        """Whether stamps never fall within an entity."""
        return self.latest is self.stamps

    @cached_property
    def so_far(self) -> Locator:
        """Finds events by the latest stamp up to each."""
        return Locator(self.starts, self.latest)


@dataclass(eq=False)
class Limit:
    """How far each row sees through a veil; ``closed`` where the limit itself is seen."""

    veil: Veil
    at: IntArray
    closed: bool

    def seen(self, index: IntArray, row: IntArray) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        """Whether each row of ``row`` sees the event of ``index`` beside it."""
        stamps, at = self.veil.stamps[index], self.at[row]
        return np.asarray(stamps <= at if self.closed else stamps < at)


class Viewpoint:
    """Events with their locators, made once and shared by the windows of all features that look at them."""

    def __init__(self, events: Events) -> None:
        self.events = events
        self.clocks = clocks_of(events)
        self._asking: Asking | None = None

    def asking(self, entity: IntArray) -> Asking:
        """Rows that ask by this index; the same object for the same one."""
        if self._asking is None or self._asking.entity is not entity:
            self._asking = Asking(entity)
        return self._asking

    @cached_property
    def frame(self) -> Frame:
        """What windows look into."""
        return Frame(self.events.columns, self.events.event_time, self.events.known_at)

    @cached_property
    def by_event_time(self) -> Locator:
        """Finds events by event_time."""
        return Locator(self.events.starts, self.events.event_time)

    @cached_property
    def known(self) -> Veil:
        """What hides events until they are known."""
        return self._veil(self.events.known_at)

    @cached_property
    def known_at_once(self) -> bool:
        """Whether every event was known when it happened."""
        return bool(np.array_equal(self.events.event_time, self.events.known_at))

    @cached_property
    def published(self) -> Veil | None:
        """What hides events from rows that ask as of earlier positions."""
        return None if self.events.position is None else self._veil(self.events.position)

    def _veil(self, stamps: IntArray) -> Veil:
        """Locate by the latest stamp so far: where it is past a limit, something before is hidden."""
        return Veil(stamps, self.events.starts, _running_maximum(self.events.starts, stamps))


def windows_of(
    viewpoint: Viewpoint,
    entity: IntArray,
    as_of: IntArray,
    *,
    windows: Sequence[int | None],
    offset: int,
    inclusive: bool,
    position: IntArray | None = None,
) -> Window:
    """Return the windows of each row, one after another for each of ``windows``.

    ``windows`` and ``offset`` are microseconds; a window ``None`` is the whole history. An event counts for T iff
    ``event_time < T``, ``known_at < T`` and it lies in ``[T - offset - window, T - offset)``; an inclusive source has
    ``<=`` in all three (S3, S4). With a ``position`` per row, it must also lie at or before that (S10). ``entity``
    indexes the events' entities, -1 for one without events.
    """
    looks = _looks(as_of, as_of - offset, windows)
    if len(as_of) == 1 and viewpoint.clocks is not None and position is None:
        found = ranges_of_one(viewpoint.clocks, int(entity[0]), int(as_of[0]), windows, offset, inclusive=inclusive)
        if found is not None:
            lo, hi = np.array(found, np.int64).T
            frame = viewpoint.frame
            return Window(frame, Ranges(lo, hi, Tally(), looks, lambda: frame.times))
    ends, known, begins = edges(as_of, windows, offset, inclusive=inclusive)
    asking, locate = viewpoint.asking(entity), viewpoint.by_event_time
    at_once = offset == 0 and viewpoint.known_at_once  # then event_time hides what is not known
    limits = [*([] if at_once else [Limit(viewpoint.known, *known)]), *_published(viewpoint, position)]
    found_at = locate(asking, np.stack([_behind(edge) for edge in (*begins, ends) if edge is not None]))
    lo, hi = found_at[:-1], found_at[-1]
    if len(lo) < len(begins):
        limited, starts = iter(lo), viewpoint.events.starts[asking.owner]
        lo = np.stack([starts if edge is None else next(limited) for edge in begins])
    return _seen(viewpoint, asking, looks, lo, hi, limits)


def windows_ahead(
    viewpoint: Viewpoint,
    entity: IntArray,
    as_of: IntArray,
    *,
    horizon: int,
    offset: int,
    inclusive: bool,
    position: IntArray | None = None,
) -> Window:
    """Return the window after T of each row, which a label sees (S15).

    ``[T + offset, T + offset + horizon)``, or ``(T + offset, T + offset + horizon]`` for an inclusive source: an event
    is on the features' side of T or on this one, never on both. When it became known does not matter; a ``position``
    per row hides what was published later (S10).
    """
    asking, begin = viewpoint.asking(entity), as_of + offset
    lo, hi = viewpoint.by_event_time(asking, np.stack([begin, begin + horizon]) + inclusive)
    looks = _looks(as_of, begin + horizon, [horizon])
    return _seen(viewpoint, asking, looks, lo[np.newaxis], hi, _published(viewpoint, position))


def edges(
    as_of: Any, windows: Sequence[int | None], offset: int, *, inclusive: bool
) -> tuple[Edge, Edge, list[Edge | None]]:
    """Edges of what a row, or each of many, sees: of event_time, of known_at, and where each window begins (S3, S4).

    Each is an instant and whether events at it lie before the edge.
    """
    end = as_of - offset
    begins = [None if window is None else (end - window, False) for window in windows]
    return (end, inclusive), (as_of, inclusive), begins


def _behind(edge: Edge) -> Any:
    """First instants, whole microseconds, that do not lie before an edge."""
    at, after = edge
    return at + 1 if after else at


class Clocks:
    """When one entity's events happened, a list where they are few, and when each was known."""

    def __init__(self, event_time: IntArray, known_at: IntArray) -> None:
        self.happened: Sequence[int] | IntArray = event_time if len(event_time) > LISTED else event_time.tolist()
        self._known_at = known_at
        at_once = event_time.tobytes() == known_at.tobytes()  # the last one is the newest then
        self._newest = int((known_at[-1] if at_once else np.maximum.reduce(known_at)) if len(known_at) else 0)

    def range_before(self, happened: Edge, known: Edge) -> int | None:
        """How many events a row sees where these are its edges; ``None`` where they do not come before all others."""
        stop = place(self.happened, happened)
        if place((self._newest,), known):
            return stop
        whole = place(self._latest, known)
        return stop if whole >= stop else whole if self._in_order else None

    @cached_property
    def _latest(self) -> IntArray:
        """When all up to each event were known."""
        return np.asarray(np.maximum.accumulate(self._known_at))

    @cached_property
    def _in_order(self) -> bool:
        return np.array_equal(self._latest, self._known_at)


def clocks_of(events: Events) -> Clocks | None:
    """Clocks of one entity's events; ``None`` of several entities."""
    return Clocks(events.event_time, events.known_at) if len(events.starts) == _ALONE else None


def ranges_of_one(
    clocks: Clocks, entity: int, as_of: int, windows: Sequence[int | None], offset: int, *, inclusive: bool
) -> list[tuple[int, int]] | None:
    """What :func:`windows_of` finds for one row over one entity's events: arrays cost more there than bisection.

    ``None`` where something that is seen may follow something hidden, so that what is seen is no range.
    """
    end, known, begins = edges(as_of, windows, offset, inclusive=inclusive)
    stop = 0 if entity < 0 else clocks.range_before(end, known)
    if stop is None:
        return None
    happened = clocks.happened
    return [(0 if begin is None else place(happened, begin, stop), stop) for begin in begins]


def place(stamps: Sequence[int] | IntArray, edge: Edge, stop: int | None = None) -> int:
    """How many of the rising stamps, of the first ``stop`` of them, lie before an edge."""
    at, after = edge
    return bisect_right(stamps, at, 0, stop) if after else bisect_left(stamps, at, 0, stop)


def known_from(event_time: IntArray, known_at: IntArray, *, inclusive: bool) -> IntArray:
    """First instant T as of which each event counts (S3), microseconds UTC: it counts for every later one too."""
    return np.maximum(event_time, known_at) + (0 if inclusive else 1)


def _published(viewpoint: Viewpoint, position: IntArray | None) -> list[Limit]:
    if viewpoint.published is None or position is None:
        return []
    return [Limit(viewpoint.published, position, closed=True)]


def _seen(
    viewpoint: Viewpoint,
    asking: Asking,
    looks: Looks,
    lo: IntArray,
    hi: IntArray,
    limits: Sequence[Limit],
) -> Window:
    """Windows from ``lo``, shape ``(windows, rows)``, to ``hi``, shape ``(rows,)``, without what the limits hide."""
    windows, whole = len(lo), hi
    for limit in limits:
        whole = np.minimum(whole, limit.veil.so_far(asking, _behind((limit.at, limit.closed))))
    if asking.absent is not None:
        hi, whole, lo = (np.where(asking.absent, 0, one) for one in (hi, whole, lo))
    lo = lo.ravel()
    frame, stop = viewpoint.frame, _repeated(whole, windows)
    if not all(limit.veil.in_order for limit in limits):
        row = _repeated(np.arange(len(hi)), windows)
        lo, stop, index = _around_hidden(lo, stop, hi[row], row, limits)
        frame = frame if index is None else frame.at(index)
    return Window(frame, Ranges(np.minimum(lo, stop), stop, Tally(), looks, lambda: frame.times))


def _looks(as_of: IntArray, end: IntArray, windows: Sequence[int | None]) -> Looks:
    """When the rows look, through one window after another."""

    def make() -> LookArrays:
        whole = np.repeat([window is None for window in windows], len(as_of))
        lengths = np.repeat([0 if window is None else window for window in windows], len(as_of))
        ends = _repeated(end, len(windows))
        return _repeated(as_of, len(windows)), np.where(whole, 0, ends - lengths), ends, whole

    return Looks(len(as_of) * len(windows), make, windows=len(windows))


def _around_hidden(
    lo: IntArray, whole: IntArray, hi: IntArray, row: IntArray, limits: Sequence[Limit]
) -> tuple[IntArray, IntArray, IntArray | None]:
    """Ranges without the events that are hidden at T.

    Up to ``whole`` all is seen. Where something seen follows something hidden, what that row sees is gathered behind
    the other events, so that a range stays a range; the third result is that order of events.
    """
    events = len(limits[0].veil.stamps)
    tail = np.maximum(lo, whole)
    holed = np.flatnonzero(hi > tail)
    lengths = hi[holed] - tail[holed]
    index = expand(tail[holed], hi[holed])
    asking = np.repeat(row[holed], lengths)
    seen = np.logical_and.reduce([limit.seen(index, asking) for limit in limits])
    if not seen.any():
        return lo, whole, None
    late = index[seen]
    rows, late_counts = np.unique(np.repeat(holed, lengths)[seen], return_counts=True)
    base = np.maximum(whole[rows] - lo[rows], 0)
    counts = base + late_counts
    ends = np.cumsum(counts)
    begins = ends - counts
    gathered = np.empty(int(ends[-1]), np.int64)
    gathered[expand(begins, begins + base)] = expand(lo[rows], lo[rows] + base)
    gathered[expand(begins + base, ends)] = late
    lo, whole = lo.copy(), whole.copy()
    lo[rows], whole[rows] = events + begins, events + ends
    return lo, whole, np.concatenate([np.arange(events), gathered])


def _repeated(array: IntArray, times: int) -> IntArray:
    return array if times == 1 else np.concatenate([array] * times)


def _running_maximum(starts: IntArray, values: IntArray) -> IntArray:
    """Largest value so far within each entity; the very same array where values never fall."""
    falling = values[1:] < values[:-1]
    edges = starts[(starts > 0) & (starts < len(values))]
    falling[edges - 1] = False  # from one entity to the next
    inside = np.flatnonzero(falling) + 1
    if not len(inside):
        return values
    values = values.copy()
    for owner in np.unique(starts.searchsorted(inside, side="right") - 1).tolist():
        part = slice(int(starts[owner]), int(starts[owner + 1]))
        values[part] = np.maximum.accumulate(values[part])
    return values
