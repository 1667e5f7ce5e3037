"""The recorder: takes served vectors off the path of the requests and appends them to this process's spool.

A request only puts its vectors into a queue; where that is full they are dropped and counted, and nobody waits. One
thread writes what is queued several times a second, so a kill loses less than a second. Another seals what other
processes left behind, and throws away what is too old or too much.
"""

import os
import random
import secrets
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pyarrow as pa

from featurestore import times
from featurestore.errors import FeatureStoreError, OperationError
from featurestore.lookup import Vector
from featurestore.models import Prediction
from featurestore.monitoring import retention
from featurestore.monitoring.served import Origin, ServiceOrigin, line
from featurestore.monitoring.spool import Spool

Outcome = Literal["written", "dropped"]
_WRITE_S, _SYNC_S, _UPKEEP_S = 0.1, 1.0, 600.0
_QUEUED = 20_000  # rows
_AT_ONCE = 32  # rows between two writes: each of them lets the other threads run
_SPOOL_BYTES = 64 << 20
_SPOOL_AGE = times.duration("1d")


@dataclass(frozen=True, slots=True)
class Keeping:
    """How much of what is served is kept.

    Parameters
    ----------
    sample
        Share of the vectors, 0 (none) to 1 (all).
    retain
        How long (``"30d"``).
    max_mb
        Size of all files together, in megabytes: beyond it the oldest go.

    Raises
    ------
    OperationError
        If one of them cannot be.
    """

    sample: float = 1.0
    retain: str = "30d"
    max_mb: int = 1000

    def __post_init__(self) -> None:
        if not 0.0 <= self.sample <= 1.0:
            raise OperationError(f"served_sample = {self.sample!r} is no share: give one from 0 (none) to 1 (all).")
        if self.max_mb < 1:
            raise OperationError(
                f"served_max_mb = {self.max_mb!r} leaves room for nothing; served_sample = 0 logs none."
            )
        try:
            times.duration(self.retain)
        except ValueError as error:
            raise OperationError(f"served_retain: {error}") from error


class _Queued(NamedTuple):
    served_at: int
    request_id: str
    row: int
    service: str
    inputs: Mapping[str, Any]
    made: Vector | Prediction


class Recorder:
    """Writes down what this process serves, from its making until it is closed.

    Parameters
    ----------
    folder
        Where the files lie; made when the first row comes.
    keeping
        How much is kept.
    libraries, services
        What this process serves with, and what.
    clock
        Gives now in microseconds UTC.
    count
        Told how many rows were written, and how many dropped.
    problem
        Told in words what keeps rows from being written.
    """

    def __init__(
        self,
        folder: Path,
        keeping: Keeping,
        libraries: Mapping[str, str],
        services: Mapping[str, ServiceOrigin],
        *,
        clock: Callable[[], int] = times.system_clock,
        count: Callable[[Outcome, int], None] = lambda outcome, rows: None,  # noqa: ARG005 - named for the reader
        problem: Callable[[str], None] = lambda words: None,  # noqa: ARG005 - as above
    ) -> None:
        self._folder = folder
        self._keeping = keeping
        self._libraries = libraries
        self._services = services
        self._clock = clock
        self._count = count
        self._problem = problem
        self._queue: deque[_Queued] = deque()
        self._spool: Spool | None = None
        self._spool_began = 0
        self._told = ""
        self._dice = random.Random()  # noqa: S311 - which rows are kept is no secret
        self._ending = threading.Event()
        self._due = threading.Event()
        self._due.set()
        self._threads = [
            threading.Thread(target=work, name=f"served-log-{work.__name__.strip('_')}", daemon=True)
            for work in (self._writing, self._keeping_up)
        ]
        for one in self._threads:
            one.start()

    def record(
        self,
        service: str,
        request_id: str,
        rows: Sequence[Mapping[str, Any]],
        made: Sequence[Vector] | Sequence[Prediction],
    ) -> None:
        """Take the answers to a request's rows; returns at once."""
        sample, now, dropped = self._keeping.sample, self._clock(), 0
        if not sample:
            return
        pairs: Iterator[tuple[Mapping[str, Any], Vector | Prediction]] = zip(rows, made, strict=True)
        for number, (inputs, one) in enumerate(pairs):
            if sample < 1.0 and self._dice.random() >= sample:
                continue
            if len(self._queue) >= _QUEUED:
                dropped += 1
            else:
                self._queue.append(_Queued(now, request_id, number, service, inputs, one))
        if dropped:
            self._count("dropped", dropped)

    def close(self) -> None:
        """Write what is queued, seal the spool, end the threads."""
        self._ending.set()
        for one in self._threads:
            one.join()
        self._write()
        self._leave()
        self._keep_up()

    # -- the writing thread -----------------------------------------------------------------------------------------

    def _writing(self) -> None:
        while not self._ending.wait(_WRITE_S):
            self._write()

    def _write(self) -> None:
        while self._queue:
            rows = [self._queue.popleft() for _ in range(min(_AT_ONCE, len(self._queue)))]
            try:
                self._ready().append([_line(one) for one in rows])
            except Exception as error:  # noqa: BLE001 - whatever one row or the disk has, later rows are written
                self._count("dropped", len(rows))
                words = str(error) if isinstance(error, OSError) else type(error).__name__  # no values in other logs
                self._tell(f"Served vectors are not written down: {words}. Look at {self._folder} and the disk.")
            else:
                self._count("written", len(rows))
                self._told = ""

    def _ready(self) -> Spool:
        """Spool to append to: a new one where the last is full, old or gone."""
        now, full = self._clock(), min(_SPOOL_BYTES, self._keeping.max_mb * 1_000_000 // 4)
        if self._spool is not None and (
            self._spool.size >= full or now - self._spool_began >= _SPOOL_AGE or not self._spool.path.exists()
        ):
            self._leave()
        if self._spool is None:
            name = f"{now:020d}-{os.getpid()}-{secrets.token_hex(4)}"
            origin = Origin(name, now, os.getpid(), self._libraries, self._services)
            self._spool, self._spool_began = Spool(self._folder, origin), now
        return self._spool

    def _leave(self) -> None:
        """Leave the spool to be sealed."""
        if self._spool is not None:
            self._spool.close()
            self._spool = None
            self._due.set()

    # -- the other thread -------------------------------------------------------------------------------------------

    def _keeping_up(self) -> None:
        waited = 0.0
        while not self._ending.wait(_SYNC_S):
            waited += _SYNC_S
            self._sync()
            if self._due.is_set() or waited >= _UPKEEP_S:
                self._due.clear()
                waited = 0.0
                self._keep_up()

    def _sync(self) -> None:
        spool = self._spool
        try:
            if spool is not None:
                spool.sync()
        except OSError as error:  # or it has just been closed, and is synced when it is sealed
            if self._spool is spool:
                self._tell(f"Served vectors may not survive a loss of power: {error}.")

    def _keep_up(self) -> None:
        try:
            retention.keep_up(self._folder, self._keeping.retain, self._keeping.max_mb, self._clock())
        except (OSError, pa.ArrowException, FeatureStoreError) as error:
            self._tell(f"The served log cannot be kept in order: {error}. Look at {self._folder} and the disk.")

    def _tell(self, words: str) -> None:
        """Say it once, not ten times a second."""
        if words != self._told:
            self._told = words
            self._problem(words)


def _line(one: _Queued) -> str:
    return line(one.served_at, one.request_id, one.row, one.service, one.inputs, one.made)
