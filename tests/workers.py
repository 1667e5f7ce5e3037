"""What the processes of the crash and concurrency tests do; started as ``python workers.py WHAT FOLDER ...``.

Each prints a line when something is acknowledged, so that the test knows what must survive.
"""

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any

from shop import PAYMENTS, write

from featurestore import FeatureStore


def opened(folder: Path) -> FeatureStore:
    return FeatureStore(PAYMENTS, home=folder / "home", root=folder)


def say(*words: object) -> None:
    print(*words, flush=True)  # noqa: T201 - the test reads it


def paid(number: int) -> dict[str, Any]:
    return {"id": f"i{number}", "customer": f"c{number % 7}", "event_time": datetime.now(UTC), "amount": 1.0}


def ingest(folder: Path, start: str, count: str) -> None:
    """Batches of three payments, each acknowledged by the last one's number."""
    with opened(folder) as store:
        say("ready")
        for number in range(int(start), int(start) + int(count), 3):
            store.ingest("payments", [paid(one) for one in range(number, number + 3)])
            say(number + 2)


def ingest_together(folder: Path, start: str, count: str) -> None:
    """One payment at a time from each of four threads, each acknowledged by its number; ready when the first is in."""
    telling = Lock()

    def some(first: int) -> None:
        for number in range(first, int(start) + int(count), 4):
            store.ingest("payments", paid(number))
            with telling:
                say(number)

    with opened(folder) as store, ThreadPoolExecutor(4) as pool:
        store.ingest("payments", paid(int(start)))
        say("ready")
        list(pool.map(some, range(int(start) + 1, int(start) + 5)))


def materialize(folder: Path, start: str, count: str) -> None:
    """One new file of forty payments at a time, each acknowledged when it is loaded."""
    with opened(folder) as store:
        say("ready")
        for number in range(int(start), int(start) + int(count)):
            lines = [f"f{number}-{row},c{row % 7},2026-05-0{row % 9 + 1}T10:00:00,1" for row in range(40)]
            write(folder / "data/part.tmp", *lines)
            (folder / "data/part.tmp").rename(folder / f"data/part{number:04}.csv")
            store.materialize()
            say(number)


def loads(folder: Path, start: str, count: str) -> None:
    """Materialize and build training sets, one after the other; each acknowledged."""
    with opened(folder) as store:
        say("ready")
        for number in range(int(start), int(start) + int(count)):
            lines = [f"f{number}-{row},c{row % 7},2026-05-0{row % 9 + 1}T10:00:00,1" for row in range(40)]
            write(folder / "data/part.tmp", *lines)
            (folder / "data/part.tmp").rename(folder / f"data/part{number:04}.csv")
            store.materialize()
            spine = [{"customer": f"c{one}", "amount": 1.0, "event_time": datetime.now(UTC)} for one in range(7)]
            store.training_set("shop", spine, name=f"set{number}")
            say(number)


def look_up(folder: Path, seconds: str) -> None:
    """Look all customers up until time is over; prints the longest wait in milliseconds, and how many there were."""
    with opened(folder) as store:
        say("ready")
        end, longest, count = time.monotonic() + float(seconds), 0.0, 0
        position = 0
        while time.monotonic() < end:
            began = time.monotonic()
            vectors = store.lookup_many("shop", [{"customer": f"c{one}", "amount": 1.0} for one in range(7)])
            longest = max(longest, time.monotonic() - began)
            if vectors[0].position < position:
                raise AssertionError("a position went back")
            position = vectors[0].position
            count += 1
        say(longest * 1000, count)


def ingest_and_look(folder: Path, start: str, count: str) -> None:
    """Ingest one payment at a time and require it in the very next lookup; prints the longest wait in milliseconds."""
    with opened(folder) as store:
        say("ready")
        longest = 0.0
        for number in range(int(start), int(start) + int(count)):
            mine = f"solo{start}"
            began = time.monotonic()
            row = {"id": f"i{number}", "customer": mine, "event_time": datetime.now(UTC), "amount": 1.0}
            receipt = store.ingest("payments", row)
            vector = store.lookup("shop", {"customer": mine, "amount": 1.0})
            longest = max(longest, time.monotonic() - began)
            if vector["number"] != number - int(start) + 1 or vector.position < receipt.position:
                raise AssertionError(f"{vector} lacks payment {number}")
        say(longest * 1000, count)


if __name__ == "__main__":
    globals()[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:])
