"""The online store: finds and orders packed events; never looks into them, never computes a feature.

It is the one authority on positions: every append and every published load that advances takes the next one, and a
position is published only when all up to it is readable (S10). Two kinds of events make a view: those of its *runs*,
written by loads and published together, and the *tail*, what appends have added since.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from featurestore.events import IntArray
from featurestore.layout import Stored

Piece = tuple[str, int, bytes]
"""(entity's key text, newest event_time in the blob in microseconds UTC, packed events)."""

Packer = Callable[[int, IntArray], tuple[bytes, Mapping[str, Sequence[Piece]]]]
"""Gives, for the arrival stamp and the rows kept, the journal's payload and the pieces of each view."""


Merge = Callable[[str, Sequence[Sequence[bytes]]], Sequence[Sequence[tuple[int, bytes]] | None]]
"""Packs entities' blobs of a view anew, as few: newest event_time and blob; ``None``: they are to stay as they are."""

NOTHING_HELD: Mapping[str, int] = {}


@dataclass(frozen=True, slots=True)
class State:
    """The newest published position, and the newest arrival stamp (microseconds UTC)."""

    position: int
    stamp: int


@dataclass(frozen=True, slots=True)
class ViewState:
    """What a view holds.

    Parameters
    ----------
    horizon
        Events older than this may be missing (microseconds UTC); ``None``: all are there.
    source
        Name of the source whose events they are.
    signature
        What its blobs were packed for: see :mod:`featurestore.online.signature`.
    complete
        Whether it has every event of its source since ``horizon``; not so once events came without it.
    runs
        Numbers of its published runs; the store fills them in.
    tail_from
        Appends up to this position are in the runs; the store fills it in.
    """

    horizon: int | None = None
    source: str = ""
    signature: str = ""
    complete: bool = True
    runs: tuple[int, ...] = ()
    tail_from: int = 0


@dataclass(slots=True)
class Snapshot:
    """What one read saw at one position: per view and asked entity, in order, its blobs in any order.

    ``views`` has all views that were opened or filled, as they were at that position. Of the views ``later`` the tail
    alone is given. While the ``generation`` is the same, so are the runs.
    """

    position: int
    stamp: int
    blobs: Mapping[str, list[list[Stored]]]
    views: Mapping[str, ViewState]
    generation: int
    later: Collection[str] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Keys:
    """Keys of rows (S6): 64-bit hashes of key and payload, shape ``(rows,)``; without ``has_key`` the key is null."""

    key_hash: IntArray
    payload_hash: IntArray
    has_key: np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True, slots=True, eq=False)
class KnownKeys:
    """Pairs (key hash, payload hash) that a store holds, sorted by key hash; one hash may have several payloads."""

    key_hash: IntArray
    payload_hash: IntArray


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Rows to append.

    Parameters
    ----------
    rows
        How many.
    now
        The clock at arrival, microseconds UTC.
    pack
        Called once, inside the transaction, with the arrival stamp and the numbers of the rows kept.
    keys
        Their keys; ``None`` where the source has none.
    confirm
        Called, inside the transaction too, with the rows whose key hash is known with another payload, in the store
        or earlier in the batch. It raises if the keys are equal; it returns if only their hashes are, and the rows
        are kept.
    covers
        Signatures of the views that ``pack`` gives pieces of. Any other view of the source is incomplete after it, and
        so is one of them whose signature does not mix with that.
    merge
        Where an entity has many small blobs in a tail, the store may have them packed anew by it, in the transaction.
    """

    rows: int
    now: int
    pack: Packer
    keys: Keys | None = None
    confirm: Callable[[IntArray], None] = lambda rows: None  # noqa: ARG005 - named for who reads the signature
    covers: Mapping[str, str] = field(default_factory=dict)
    merge: Merge | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Receipt:
    """What an append did: position, arrival stamp, the numbers of the rows kept, how many were known already."""

    position: int
    known_at: int
    kept: IntArray
    duplicates: int


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One append, as its batch packed it."""

    position: int
    source: str
    stamp: int
    payload: bytes


class OnlineStore(Protocol):
    """A store of packed events. Every method may be called from any thread.

    Every method raises ``StoreBusy`` where another process holds the store too long, ``StoreDamaged`` where it cannot
    be read, and ``NewerFormat`` where a later version of the product wrote it.
    """

    def state(self) -> State:
        """Give the newest published position and arrival stamp."""
        ...

    def generation(self) -> int:
        """Give a number that changes with the views, their runs, and the keys that loads wrote."""
        ...

    def logged(self) -> int:
        """Give the newest position that the log has, by what was loaded from it and moved into it."""
        ...

    def resume(self, position: int, stamp: int) -> None:
        """Go on from a position and stamp of the log that lie after this store's own, as after its loss.

        What it holds stays, and is not answered from: all views are incomplete, and the keys of all sources are
        unknown, until a load makes them again. Where its own position is not behind, nothing changes.
        """
        ...

    def read(
        self,
        wants: Mapping[str, Sequence[str]],
        since: Mapping[str, int | None],
        held: Mapping[str, int] = NOTHING_HELD,
    ) -> Snapshot:
        """Read entities' events in one consistent snapshot.

        Parameters
        ----------
        wants
            Per view the key texts of the entities; unknown ones have no blobs.
        since
            Per view, microseconds UTC: blobs whose newest event is older may be left out. Absent or ``None``: all.
        held
            Per view, the generation in which the caller has read the runs: while it holds, only the tail is given, and
            the snapshot names the view as ``later``.
        """
        ...

    def read_runs(self, view: str, key: str, since: int | None) -> Snapshot:
        """Read what loads wrote of one entity, without what was appended since: see :meth:`read`."""
        ...

    def append(self, source: str, batch: Batch) -> Receipt:
        """Append rows durably, all or none; what is acknowledged survives a crash.

        Known rows (same key, same payload) are dropped and counted. The arrival stamp is ``max(now, newest stamp)``.
        If nothing is kept, position and newest stamp stay. Views of the source that the batch does not cover are
        marked incomplete in the same step.

        Raises
        ------
        ConflictingRows
            Whatever ``batch.confirm`` raises; nothing is appended.
        """
        ...

    def touched(self, source: str) -> bool:
        """Whether an event of the source was ever appended or loaded."""
        ...

    def open_views(self, views: Mapping[str, ViewState]) -> None:
        """Note views as complete while they are empty: those whose source has no event yet; others are left alone."""
        ...

    def close_tail(self) -> int:
        """Keep blobs of earlier appends apart from those of later ones; gives the newest position.

        A load takes over appends up to a position that this gave, or that its journal's entry before it has.
        """
        ...

    def journal(self, after: int) -> Iterator[JournalEntry]:
        """Give the appends with a position above ``after``, in order."""
        ...

    def trim_journal(self, upto: int) -> None:
        """Forget journal entries up to a position; their events stay readable."""
        ...

    def seen(self, source: str, key_hash: IntArray) -> KnownKeys:
        """Give what is stored under any of these key hashes."""
        ...

    def begin_load(self, load_id: str) -> None:
        """Begin a load, or begin it again: what it staged before is gone.

        Raises
        ------
        OperationError
            If a load of that id has been published.
        """
        ...

    def write_run(self, load_id: str, view: str, rows: Iterable[Piece], *, arrive: bool = False) -> int:
        """Stage events of a view; several calls of one load add to one run. Best in order of key text.

        Events that ``arrive`` make a run of their own: none of them is known before the stamp of the load, which is
        given with each of their blobs.

        Returns
        -------
        int
            The run's number.
        """
        ...

    def write_keys(self, load_id: str, source: str, parts: Iterable[KnownKeys]) -> int:
        """Stage keys of a source as a run of its own: part by part, each after those before it."""
        ...

    def key_runs(self, source: str) -> Mapping[int, int]:
        """Give the numbers of a source's published runs of keys, and how many keys each has."""
        ...

    def keys_of_run(self, run: int) -> Iterator[KnownKeys]:
        """Give the keys of a published run, part by part, each after those before it."""
        ...

    def publish_load(
        self,
        load_id: str,
        *,
        views: Mapping[str, ViewState],
        sources: Collection[str] = (),
        replaces: Collection[int] = (),
        tail_upto: int | None = None,
        advances: bool = True,
        stamp: int | None = None,
        expect_position: int | None = None,
    ) -> State | None:
        """Make a load visible in one step. Publishing it again changes nothing and gives the same answer.

        Parameters
        ----------
        views
            The views that it fills, with their new horizon and signature. One of them is incomplete all the same if an
            append after ``tail_upto`` did not cover it.
        sources
            Sources whose events it adds or replaces: views of them that it does not fill are incomplete from then on.
        replaces
            Numbers of runs, of events or keys, that it stands in for.
        tail_upto
            Appends up to this position are in the load: they leave the tail of these views.
        advances
            Whether it takes the next position (new events) or keeps the current one (the same events, stored better).
        stamp
            Now, where it brings arrivals: their stamp is this, or the newest stamp if that is later, as for an append.
        expect_position
            Position at which its keys were compared with :meth:`seen`.

        Returns
        -------
        State or None
            Its position and, with a ``stamp``, the stamp of its arrivals; ``None``, and nothing is changed, if a key
            that was appended after ``expect_position`` is among its keys: compare them again.
        """
        ...

    def published(self, load_id: str) -> State | None:
        """Give what publishing a load gave; ``None`` if it was not published."""
        ...

    def abandon(self, load_id: str) -> None:
        """Drop what an unpublished load has staged; an unknown load is none."""
        ...

    def views(self) -> Mapping[str, ViewState]:
        """Give the views that were opened or filled."""
        ...

    def delete(self, view: str, keys: Collection[str]) -> None:
        """Erase entities' events from a view, staged ones included; :meth:`scrub` sees to what lay there before."""
        ...

    def scrub(self) -> None:
        """See to it that bytes of what was replaced or erased are gone from the files too."""
        ...

    def close(self) -> None:
        """Close; the store can be opened again."""
        ...
