"""Lookups over HTTP while two writers ingest late, doubled and disordered events: what was served is computed again.

``FEATURESTORE_LOOKUPS`` says how many; 100000 take some minutes.
"""

import os
import random
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from served import Running, running

from featurestore import FeatureStore, scaffold

LOOKUPS = int(os.environ.get("FEATURESTORE_LOOKUPS", "3000"))
CUSTOMERS, BATCH, READERS, WRITERS = 50, 20, 3, 2


def client(server: Running) -> httpx.Client:
    return httpx.Client(base_url=server.url, timeout=60, verify=False, trust_env=False)  # noqa: S501 - no TLS


def row(dice: random.Random) -> dict[str, Any]:
    customer = f"c{dice.randrange(CUSTOMERS):05}"
    merchant = f"m{dice.randrange(20):04}"
    return {"customer_id": customer, "merchant": merchant, "amount": dice.randrange(1, 9999) / 100, "channel": "online"}


def write(server: Running, over: threading.Event, number: int) -> tuple[int, int]:
    """Events minutes to weeks old, some at one instant, a third of them sent again; how many were new, how many not."""
    dice, new, doubled = random.Random(number), 0, 0
    sent: list[dict[str, Any]] = []
    with client(server) as http:
        while not over.is_set():
            now = datetime.now(UTC).replace(microsecond=0)
            fresh = [
                {
                    **row(dice),
                    "transaction_id": f"w{number}-{len(sent) + place}",
                    "event_time": (now - timedelta(minutes=dice.choice([0, 1, 1, 90, 60 * 24 * 20]))).isoformat(),
                }
                for place in range(4)
            ]
            sent += fresh
            rows = [*fresh, *dice.sample(sent, 2)]
            dice.shuffle(rows)
            receipt = http.post("/events/transactions", json={"rows": rows})
            assert receipt.status_code == 200, receipt.text
            new, doubled = new + receipt.json()["rows"], doubled + receipt.json()["duplicates"]
            over.wait(0.2)  # each append is a blob to read until the next load
    return new, doubled


def read(server: Running, number: int, wanted: int) -> int:
    """Ask for single rows and for batches by turns, until so many vectors have come."""
    dice, got = random.Random(100 + number), 0
    with client(server) as http:
        while got < wanted:
            answer = http.post("/features/fraud", json=row(dice))
            assert answer.status_code == 200, answer.text
            many = http.post("/features/fraud/batch", json={"rows": [row(dice) for _ in range(BATCH)]})
            assert many.status_code == 200, many.text
            got += 1 + len(many.json()["rows"])
    return got


@pytest.mark.slow
def test_what_is_served_while_events_come_in_is_computed_again_bit_for_bit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project, over = tmp_path / "project", threading.Event()
    scaffold.create(project, events=5_000)
    with FeatureStore.open(project) as store:
        store.materialize()
    with running(project, deadline_s=30.0, log=False) as server, ThreadPoolExecutor(READERS + WRITERS) as clients:
        writers = [clients.submit(write, server, over, number) for number in range(WRITERS)]
        readers = [clients.submit(read, server, number, LOOKUPS // READERS) for number in range(READERS)]
        try:
            served = sum(one.result() for one in readers)
        finally:
            over.set()
        new, doubled = (sum(counts) for counts in zip(*(one.result() for one in writers), strict=True))
    with FeatureStore.open(project) as store:
        found = store.verify_served(service="fraud")
    assert (found.rows, found.differing) == (served, 0)
    assert new > 0
    assert doubled > 0
    with capsys.disabled():
        sys.stdout.write(
            f"\n{served:,} vectors, {found.values:,} values served while {new:,} events and {doubled:,} doubled ones "
            f"came in: {found.differing} differ\n"
        )
