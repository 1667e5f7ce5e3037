"""A training set of more events than memory holds, in a process of its own: ``python limited.py HOME MEMORY ROOM``.

MEMORY is what the store is given, ROOM how much more data than before the process may have, both in bytes. It prints
how many rows there are, and how much more it had at most than before.
"""

import resource
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import BaseModel

from featurestore import Entity, FeatureService, FeatureStore, Source, aggregations
from featurestore.log import KNOWN_AT, EventLog

START = 1_735_689_600_000_000
HOUR = 3_600_000_000
ROWS = 200_000
CUSTOMERS = 40_000


class Payment(BaseModel):
    customer: int
    event_time: datetime
    amount: float


payments = Source("payments", schema=Payment, event_time="event_time")
of_customer = payments.by(Entity("customer", key="customer"))
shop = FeatureService(
    "shop",
    features=[aggregations(of_customer, columns=["amount"], functions=["count", "sum", "max"], windows=["1d", "30d"])],
)


def fill(home: Path, *, events: int, loads: int, ordered: bool) -> None:
    """Load so many events, in the order of the customer or in that of time."""
    log, rng = EventLog(home), np.random.default_rng(0)
    for number in range(loads):
        rows = events // loads
        customer = rng.integers(0, CUSTOMERS, rows)
        at = pa.array(START + number * rows + np.arange(rows), pa.timestamp("us", "UTC"))
        amount = np.round(rng.lognormal(3, 1, rows), 2)
        table = pa.table({"customer": customer, "event_time": at, "amount": amount, KNOWN_AT: at})
        with log.lock():
            load = log.begin("bulk", at=number, history=True)
            kept = table.take(pa.array(np.argsort(customer, kind="stable"))) if ordered else table
            load.add("payments", kept, origin="bulk", part=f"{number}.parquet", event_time="event_time")
            load.publish(number + 1)


def spine(rows: int) -> pa.Table:
    """Customers at random, an hour after the first event."""
    customer = np.random.default_rng(1).integers(0, CUSTOMERS, rows)
    return pa.table({"customer": customer, "event_time": pa.array([START + HOUR] * rows, pa.timestamp("us"))})


def figure(name: str) -> int:
    """What the system says of this process, bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1000 for line in lines if line.startswith(f"{name}:"))


def main() -> None:
    home, memory, room = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    store: Any = FeatureStore([shop], home=home, memory=memory)
    store.training_set("shop", spine(10))  # libraries are there
    asked = spine(ROWS)
    Path("/proc/self/clear_refs").write_text("5")  # what it had at most is counted from here
    before, limit = figure("VmRSS"), figure("VmData") + room
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    made = store.training_set("shop", asked)
    sys.stdout.write(f"{made.manifest['content_hash']} {len(made)} {figure('VmHWM') - before}\n")


if __name__ == "__main__":
    main()
