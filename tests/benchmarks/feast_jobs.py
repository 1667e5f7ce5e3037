"""What Feast is asked for, in its own environment: join, load and look up twenty values that others have computed."""

import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.data import DAYS, START
from benchmarks.lookups import clocked, drawn
from benchmarks.rivals import Found, Timed

VALUES = [f"value_{number}" for number in range(20)]
NAMES = [f"values:{name}" for name in VALUES]
CONFIGURATION = """
project: benchmarks
provider: local
registry: {folder}/registry.db
online_store:
  type: sqlite
  path: {folder}/online.db
offline_store:
  type: {offline}
entity_key_serialization_version: 3
"""


def values(folder: str) -> Timed:
    """Write the table of values that Feast keeps: one row for each event, twenty floats."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    def run() -> Found:
        events = pq.read_table(f"{folder}/events", columns=["customer_id", "event_time"])
        rng = np.random.default_rng(2)
        columns = {name: rng.random(len(events)) for name in VALUES}
        instants = events.column("event_time").cast(pa.timestamp("us", "UTC"))
        table = pa.table({"customer_id": events.column("customer_id"), "event_timestamp": instants, **columns})
        pq.write_table(table, f"{folder}/values.parquet")
        for offline in ("duckdb", "file"):
            repository(folder, offline)
        return {}

    return run


def join(folder: str, offline: str) -> Timed:
    """Its point-in-time join: for each row the newest earlier values."""
    import pandas as pd

    store = opened(folder, offline)
    spine = pd.read_parquet(Path(folder) / "spine.parquet", columns=["customer_id", "event_time"])
    spine = spine.rename(columns={"event_time": "event_timestamp"})
    spine["event_timestamp"] = spine["event_timestamp"].dt.tz_localize("UTC")

    def run() -> Found:
        return {"rows": len(store.get_historical_features(entity_df=spine, features=NAMES).to_df())}

    return run


def materialize(folder: str) -> Timed:
    """Its load of the newest values of each entity into SQLite."""
    store = opened(folder, "duckdb")
    begin = datetime.fromtimestamp(START / 1e6, UTC)

    def run() -> Found:
        store.materialize(begin, datetime.now(UTC))
        return {}

    return run


def one_by_one(folder: str, entities: int, requests: int) -> Timed:
    """Lookups of one entity."""
    store = opened(folder, "duckdb")
    asked = [[{"customer_id": name}] for name in drawn(entities, requests)]
    return lambda: clocked(lambda rows: store.get_online_features(NAMES, rows).to_dict(), asked)


def in_batches(folder: str, entities: int, requests: int, rows: int) -> Timed:
    """Lookups of many entities."""
    store = opened(folder, "duckdb")
    asked = [
        [{"customer_id": name} for name in drawn(entities, rows, seed)] for seed in range(max(20, requests // rows))
    ]
    return lambda: clocked(lambda batch: store.get_online_features(NAMES, batch).to_dict(), asked)


def repository(folder: str, offline: str) -> None:
    """Declare the values to Feast."""
    from feast import Entity, FeatureView, Field, FileSource, ValueType
    from feast.types import Float64

    root = Path(folder) / f"feast-{offline}"
    root.mkdir(exist_ok=True)
    (root / "feature_store.yaml").write_text(CONFIGURATION.format(folder=root, offline=offline))
    customer = Entity(name="customer", join_keys=["customer_id"], value_type=ValueType.STRING)
    source = FileSource(path=f"{folder}/values.parquet", timestamp_field="event_timestamp")
    view = FeatureView(
        name="values",
        entities=[customer],
        ttl=timedelta(days=2 * DAYS),
        schema=[Field(name=name, dtype=Float64) for name in VALUES],
        source=source,
    )
    opened(folder, offline).apply([customer, view])


def opened(folder: str, offline: str) -> Any:
    """Its store."""
    from feast import FeatureStore

    logging.disable(logging.WARNING)
    return FeatureStore(repo_path=str(Path(folder) / f"feast-{offline}"))
