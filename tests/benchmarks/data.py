"""Made events and spines, seeded, of any size: half a year of payments, few customers paying often (Zipf).

A folder holds ``events/*.parquet`` and ``spine.parquet``. It is made once and kept: the same size is the same rows.
"""

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

START = 1_735_689_600_000_000  # 2025-01-01, microseconds UTC
DAY = 86_400_000_000
DAYS = 180
PER_ENTITY = 100  # events of one that is looked up
MERCHANTS = 5_000
KEYED_CHUNK = 1_000_000
CHUNK = 10_000_000  # events of a file: more are made slice by slice of time, in bounded memory

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Size:
    """How much to make: an entity's share of the events and of the spine falls with its number to the ``zipf``.

    ``start`` is the first midnight, microseconds UTC.
    """

    events: int
    rows: int
    entities: int
    zipf: float = 0.7
    start: int = START

    @property
    def name(self) -> str:
        """Of the folder."""
        return "-".join(f"{one:g}" if isinstance(one, float) else str(one) for one in vars(self).values())

    def __str__(self) -> str:
        return f"{self.events:,} events, {self.rows:,} rows, {self.entities:,} entities"


def making(folder: str, size: Mapping[str, Any]) -> Callable[[], dict[str, Any]]:
    """Make the data of a size, in a process of its own; what it held is given back."""
    Path(folder).mkdir(parents=True, exist_ok=True)

    def run() -> dict[str, Any]:
        made(Path(folder), Size(**size))
        return {}

    return run


def made(folder: Path, size: Size) -> Path:
    """Folder of the data of that size, made if it is not there."""
    target = folder / size.name
    if not target.exists():
        partial = target.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        (partial / "events").mkdir(parents=True)
        _make(partial, size)
        partial.rename(target)
    return target


def recent(entities: int, *, each: int = PER_ENTITY, rows: int = 1) -> Size:
    """So many events for each of so many entities, up to the last midnight: what is looked up now."""
    today = int(time.time() * 1_000_000) // DAY * DAY
    return Size(entities * each, rows, entities, zipf=0.0, start=today - DAYS * DAY)


def write_keyed(path: Path, size: Size, *, first: int, days: int) -> None:
    """Events of so many days from ``size.start``, under keys from ``first``, in one Parquet file."""
    writer = None
    for table in keyed(size, first=first, days=days):
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table, row_group_size=500_000)
    if writer is not None:
        writer.close()


def keyed(size: Size, *, first: int, days: int) -> Iterator[pa.Table]:
    """Events of so many days from ``size.start``, a million at a time; ``first`` numbers their keys, and seeds them."""
    rng = np.random.default_rng(first)
    upto, names = _shares(size), _named("c", size.entities)
    slices = -(-size.events // KEYED_CHUNK)
    edges = size.start + np.linspace(0, days * DAY, slices + 1).astype(np.int64)
    for number in range(slices):
        done = number * KEYED_CHUNK
        count = min(KEYED_CHUNK, size.events - done)
        made = _events(rng, count, upto, names, (edges[number], edges[number + 1]))
        yield made.append_column("payment_id", _named("p", count, first + done))


def _shares(size: Size) -> Array:
    """Share of the events that entities up to each have."""
    shares = 1 / np.arange(1, size.entities + 1) ** size.zipf
    upto: Array = np.cumsum(shares) / shares.sum()
    upto[-1] = 1.0
    return upto


def _make(folder: Path, size: Size) -> None:
    rng = np.random.default_rng(0)
    upto = _shares(size)
    names = _named("c", size.entities)
    slices = -(-size.events // CHUNK)
    edges = size.start + np.linspace(0, DAYS * DAY, slices + 1).astype(np.int64)
    left = size.events
    for number in range(slices):
        count = min(CHUNK, left)
        left -= count
        pq.write_table(
            _events(rng, count, upto, names, (edges[number], edges[number + 1])),
            folder / "events" / f"part-{number:03}.parquet",
            row_group_size=500_000,
        )
    pq.write_table(_spine(np.random.default_rng(1), size, upto, names), folder / "spine.parquet")


def _events(rng: np.random.Generator, count: int, upto: Array, names: pa.Array, span: tuple[int, int]) -> pa.Table:
    """Events of a slice of time, in the order in which they happened."""
    who = np.searchsorted(upto, rng.random(count), side="right")
    at = np.sort(rng.integers(*span, count))
    merchants, channels = _named("m", MERCHANTS), pa.array(["shop", "online"])
    return pa.table(
        {
            "customer_id": names.take(pa.array(who)),
            "event_time": pa.array(at, pa.timestamp("us")),
            "amount": np.round(rng.lognormal(3, 1.2, count), 2),
            "merchant": merchants.take(pa.array(rng.integers(0, MERCHANTS, count))),
            "channel": channels.take(pa.array(rng.integers(0, 2, count))),
        }
    )


def _spine(rng: np.random.Generator, size: Size, upto: Array, names: pa.Array) -> pa.Table:
    """Rows of the second half of the time, in no order: a window of 90 days lies within the data."""
    rows = size.rows
    who = np.searchsorted(upto, rng.random(rows), side="right")
    at = size.start + rng.integers(DAYS // 2 * DAY, DAYS * DAY, rows)
    return pa.table(
        {
            "customer_id": names.take(pa.array(who)),
            "event_time": pa.array(at, pa.timestamp("us")),
            "amount": np.round(rng.lognormal(3, 1.2, rows), 2),
            "label": rng.integers(0, 2, rows),
        }
    )


def _named(letter: str, count: int, first: int = 0) -> pa.Array:
    """``c0, c1, …``."""
    return pa.array(np.char.add(letter, np.arange(first, first + count).astype(str)))
