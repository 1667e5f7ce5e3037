"""Made card payments: late and doubled events, ties, a fraud ring; seeded, of any size, as Parquet.

The same seed, size and end give the same rows on one NumPy version; another end shifts them in time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from featurestore import times
from featurestore.errors import RequestError

DAYS = 90
FEWEST = 100
MOST = 100_000_000
_SECOND = 1_000_000
_HOUR = 3600 * _SECOND
_DAY = 24 * _HOUR
_HOURS = np.array([1, 1, 1, 1, 1, 2, 4, 8, 12, 12, 12, 15, 18, 16, 13, 13, 14, 17, 19, 17, 12, 8, 4, 2], np.float64)
_TIED, _LATE, _DOUBLED, _NAMELESS, _TINY, _DEAR = 0.01, 0.02, 0.01, 0.01, 0.03, 0.01  # shares of the payments
_STOLEN, _LONE = 0.008, 0.002  # shares of the payments: made by the ring, and by thieves who leave no trail
_EPISODE = 10  # payments with one stolen card
_TRIALS = 4  # of these: how many try it out
_RING = 5  # merchants where the ring tries out cards

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Simulated:
    """What was written: ``payments`` distinct ones in ``files``, ``doubled`` of them twice, and who paid."""

    files: tuple[Path, ...]
    labels: Path
    payments: int
    doubled: int
    late: int
    tied: int
    fraudulent: int
    customers: int
    merchants: int
    start: datetime
    end: datetime


@dataclass(frozen=True)
class _Payments:
    """Columns of shape ``(n,)``: times in microseconds UTC, amounts in USD, merchant -1 where none is named."""

    event_time: Array
    customer: Array
    merchant: Array
    amount: Array
    fraud: Array

    def take(self, index: Array) -> "_Payments":
        return _Payments(*(column[index] for column in vars(self).values()))


def simulate(folder: Path, *, events: int = 200_000, seed: int = 7, end: Any = None) -> Simulated:
    """Write 90 days of payments to ``folder/transactions/YYYY-MM.parquet``, disputes to ``folder/labels.parquet``.

    A file holds what was received in a month, in the order of arrival. The labels have one row per payment in the order
    of ``event_time``: what was known when it was asked for, and ``is_fraud``.

    Parameters
    ----------
    folder
        Made if it is not there.
    events
        Distinct payments, 100 to 100 million. There are about a hundred to a customer.
    seed
        Of the random numbers.
    end
        All was received before (naive is UTC); by default the last midnight UTC.

    Raises
    ------
    RequestError
        If ``events`` is out of range, or ``folder`` holds payments already.
    """
    if not FEWEST <= events <= MOST:
        raise RequestError(f"{events:,} payments cannot be simulated: ask for {FEWEST:,} to {MOST:,}.")
    target = folder / "transactions"
    if target.exists() and any(target.iterdir()):
        raise RequestError(f"{target} holds payments already: choose another folder, or remove them.")
    target.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    last = times.now() // _DAY * _DAY if end is None else times.to_micros(end)
    customers, merchants = max(20, events // 100), max(20, events // 500)
    made, tied = _made(rng, events, customers, merchants, last)
    received, late = _received(rng, made.event_time, last)
    table = _table(made, received, customers, merchants)
    doubled = rng.choice(events, round(events * _DOUBLED), replace=False)
    again = np.minimum(received[doubled] + rng.integers(_SECOND, 2 * _DAY, len(doubled)), last - 1)
    files = _write(pa.concat_tables([table, _stamped(table.take(doubled), again)]), target)
    labels = folder / "labels.parquet"
    pq.write_table(table.drop_columns(["received_at"]).append_column("is_fraud", pa.array(made.fraud)), labels)
    return Simulated(
        tuple(files),
        labels,
        payments=events,
        doubled=len(doubled),
        late=late,
        tied=tied,
        fraudulent=int(made.fraud.sum()),
        customers=customers,
        merchants=merchants,
        start=times.to_datetime(last - DAYS * _DAY),
        end=times.to_datetime(last),
    )


def _made(rng: np.random.Generator, events: int, customers: int, merchants: int, last: int) -> tuple[_Payments, int]:
    """All payments in the order in which they happened, and how many of them share customer and instant."""
    start = last - DAYS * _DAY
    episodes = max(1, round(events * _STOLEN / _EPISODE))
    ring = _ring(rng, episodes, customers, merchants, (start, last))
    honest = _honest(rng, events - len(ring.event_time), customers, merchants, start)
    tied = _tie(rng, honest)
    lone = rng.choice(len(honest.fraud), max(1, round(events * _LONE)), replace=False)
    honest.fraud[lone] = True
    both = [np.concatenate(columns) for columns in zip(vars(honest).values(), vars(ring).values(), strict=True)]
    made = _Payments(*both)
    return made.take(np.argsort(made.event_time, kind="stable")), tied


def _honest(rng: np.random.Generator, count: int, customers: int, merchants: int, start: int) -> _Payments:
    """Draw everyday payments: by the hour of the day, few customers pay often, each merchant has its price level."""
    hour = rng.choice(24, count, p=_HOURS / _HOURS.sum())
    event_time = start + rng.integers(0, DAYS, count) * _DAY + hour * _HOUR + rng.integers(0, 3600, count) * _SECOND
    customer = _skewed(rng, customers, count)
    own = customer[:, None] * 7919 + rng.integers(0, 8, count)[:, None] * 104_729  # each customer has eight haunts
    merchant = np.where(rng.random(count) < 0.7, own[:, 0] % merchants, _skewed(rng, merchants, count))  # noqa: PLR2004 - share of payments to a haunt
    level = np.exp(rng.normal(0, 0.4, customers))[customer] * np.exp(rng.normal(3, 0.8, merchants))[merchant]
    amount = level * np.exp(rng.normal(0, 0.5, count))
    kind = rng.random(count)
    amount = np.where(kind < _TINY, rng.uniform(0.5, 4.0, count), amount)
    amount = np.where(kind > 1 - _DEAR, rng.uniform(200, 2000, count), amount)
    merchant = np.where(rng.random(count) < _NAMELESS, -1, merchant)
    return _Payments(event_time, customer, merchant, np.round(amount, 2), np.zeros(count, np.bool_))


def _ring(rng: np.random.Generator, episodes: int, customers: int, merchants: int, span: tuple[int, int]) -> _Payments:
    """Try each stolen card out with small sums at the ring's merchants, then empty it elsewhere within hours."""
    begun = rng.integers(span[0] // _SECOND, (span[1] - 3 * _HOUR) // _SECOND, episodes) * _SECOND
    step = np.arange(episodes * _EPISODE) % _EPISODE
    trial = step < _TRIALS
    pause = np.where(trial, rng.integers(5, 240, len(step)), rng.integers(30, 1200, len(step))) * _SECOND
    after = np.cumsum(pause.reshape(episodes, _EPISODE), axis=1).ravel()
    online = rng.integers(0, (merchants + 1) // 2, len(step)) * 2  # those with even numbers sell online
    ring = rng.choice((merchants + 1) // 2, _RING, replace=False) * 2
    amount = np.where(trial, rng.uniform(0.5, 3.0, len(step)), rng.uniform(40, 600, len(step)))
    return _Payments(
        np.repeat(begun, _EPISODE) + after,
        np.repeat(rng.integers(0, customers, episodes), _EPISODE),
        np.where(trial, ring[rng.integers(0, _RING, len(step))], online),
        np.round(amount, 2),
        np.ones(len(step), np.bool_),
    )


def _tie(rng: np.random.Generator, made: _Payments) -> int:
    """Give some payments the customer and the instant of another: a bill that was split."""
    count = round(len(made.event_time) * _TIED)
    chosen = rng.choice(len(made.event_time), 2 * count, replace=False)
    made.event_time[chosen[:count]] = made.event_time[chosen[count:]]
    made.customer[chosen[:count]] = made.customer[chosen[count:]]
    return count


def _received(rng: np.random.Generator, event_time: Array, last: int) -> tuple[Array, int]:
    """Arrivals, microseconds UTC: seconds after the payment, for late ones up to three days; and how many are late."""
    late = rng.random(len(event_time)) < _LATE
    wait = np.where(late, rng.integers(_HOUR, 3 * _DAY, len(late)), rng.integers(_SECOND, 30 * _SECOND, len(late)))
    return np.minimum(event_time + wait, last - 1), int(late.sum())


def _skewed(rng: np.random.Generator, kinds: int, count: int) -> Array:
    """Numbers below ``kinds``, small ones more often."""
    return np.minimum((kinds * rng.random(count) ** 1.6).astype(np.int64), kinds - 1)


def _table(made: _Payments, received: Array, customers: int, merchants: int) -> pa.Table:
    rows = len(made.event_time)
    named = pa.array(made.merchant, mask=made.merchant < 0)
    online = made.merchant % 2 == 0
    return pa.table(
        {
            "transaction_id": _names("t", np.arange(rows), 7),
            "customer_id": _names("c", np.arange(customers), 5).take(pa.array(made.customer)),
            "event_time": _instants(made.event_time),
            "received_at": _instants(received),
            "amount": pa.array(made.amount),
            "merchant": _names("m", np.arange(merchants), 4).take(named),
            "channel": pa.array(["shop", "online"]).take(pa.array(online.astype(np.int64))),
        }
    )


def _names(letter: str, numbers: Array, width: int) -> pa.Array:
    """``t0000042``."""
    digits = pc.utf8_lpad(pa.array(numbers).cast(pa.string()), width, "0")
    return pc.binary_join_element_wise(letter, digits, "")


def _instants(micros: Array) -> pa.Array:
    return pa.array(micros).cast(pa.timestamp("us", tz="UTC"))


def _stamped(table: pa.Table, received: Array) -> pa.Table:
    return table.set_column(table.schema.get_field_index("received_at"), "received_at", _instants(received))


def _write(table: pa.Table, folder: Path) -> Sequence[Path]:
    """One file per month of arrival."""
    ordered = table.sort_by("received_at")
    months = pc.strftime(ordered.column("received_at"), "%Y-%m").to_numpy()
    names, first = np.unique(months, return_index=True)
    files = []
    for name, begin, end in zip(names, first, [*first[1:], len(months)], strict=True):
        files.append(folder / f"{name}.parquet")
        pq.write_table(ordered.slice(begin, end - begin), files[-1])
    return files
