"""Which payments the story is about: those to train on, one that is asked for, and those of a thief."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from featurestore import times

TRAINING_SPAN = timedelta(days=30)
MOST_TRAINING_ROWS = 40_000
TRIALS = 4
_FIELDS = ("customer_id", "merchant", "amount", "channel")
_MINUTE = 60_000_000  # microseconds
_TINY = 5.0  # USD


def newest(labels: pa.Table) -> pa.Table:
    """Return the labelled payments of the last 30 days, at most 40 000: those before have less history to look at."""
    since = pc.subtract(pc.max(labels["event_time"]), pa.scalar(TRAINING_SPAN))
    recent = labels.filter(pc.greater_equal(labels["event_time"], since))
    return recent.slice(max(0, len(recent) - MOST_TRAINING_ROWS))


def asked(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the caller knows of a payment: keys and request fields."""
    return {name: row[name] for name in _FIELDS}


def unusual(labels: pa.Table) -> dict[str, Any]:
    """Return a payment that is larger than most, by the customer who paid last."""
    honest = labels.filter(pc.and_(pc.invert(labels["is_fraud"]), pc.is_valid(labels["merchant"])))
    last = honest.slice(len(honest) - 1).to_pylist()[0]
    return {**asked(last), "amount": 350.0, "channel": "online"}


def trials(labels: pa.Table, customer_id: str) -> list[dict[str, Any]]:
    """Return events that try out a customer's card, a minute apart up to now, where the ring has tried others."""
    tried = labels.filter(pc.and_(labels["is_fraud"], pc.less(labels["amount"], _TINY)))
    counts = tried["merchant"].drop_null().value_counts().to_pylist()
    merchant = max(counts, key=lambda one: (one["counts"], one["values"]))["values"]
    now = times.now()
    return [
        {
            "transaction_id": f"trial{number}",
            "customer_id": customer_id,
            "event_time": times.isoformat(now - (TRIALS - number) * _MINUTE),
            "amount": 1.0 + number / 4,
            "merchant": merchant,
            "channel": "online",
        }
        for number in range(TRIALS)
    ]
