"""Purchases as a busy shop has them: few customers make many, most make few (Zipf 0.7). Drawn, never simulated."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

START = 1_735_689_600_000_000  # 2025-01-01, microseconds UTC
SPAN = 180 * 86_400 * 1_000_000
SHOPS = 5_000
_AT_ONCE = 1_000_000

DEFINITIONS = """
from datetime import datetime

from pydantic import BaseModel

from featurestore import Entity, FeatureService, Source, aggregations


class Purchase(BaseModel):
    purchase_id: str
    customer_id: str
    event_time: datetime
    amount: float
    units: int
    shop: str | None = None


customer = Entity("customer", key="customer_id")
purchases = Source(
    "purchases", schema=Purchase, path="data/*.parquet", event_time="event_time", key="purchase_id", delay="5m"
)
spending = aggregations(
    purchases.by(customer), columns=["amount"], functions=["count", "mean", "max"], windows=["1d", "30d"]
)
shopping = FeatureService("shopping", features=[spending])
"""


def project(folder: Path) -> Path:
    """A new project that reads what lies in its folder ``data``."""
    (folder / "definitions").mkdir(parents=True)
    (folder / "data").mkdir()
    (folder / "definitions" / "shopping.py").write_text(DEFINITIONS)
    (folder / "pyproject.toml").write_text('[tool.featurestore]\ndefinitions = "definitions"\n')
    return folder


def purchases(rows: int, entities: int, *, first: int = 0, start: int = START, span: int = SPAN) -> pa.Table:
    """Rows in the order of event_time; ``first`` numbers their keys, and seeds what is drawn."""
    drawn = np.random.default_rng(first)
    weights = 1 / np.arange(1, entities + 1) ** 0.7
    owner = drawn.choice(entities, size=rows, p=weights / weights.sum())
    shop = drawn.integers(0, SHOPS, rows)
    return pa.table(
        {
            "purchase_id": numbered("p", np.arange(first, first + rows)),
            "customer_id": numbered("c", np.arange(entities)).take(pa.array(owner)),
            "event_time": pa.array(np.sort(start + drawn.integers(0, span, rows)), pa.timestamp("us")),
            "amount": np.round(drawn.lognormal(3, 1.2, rows), 2),
            "units": drawn.integers(1, 9, rows),
            "shop": numbered("shop", np.arange(SHOPS)).take(pa.array(shop, mask=shop % 7 == 0)),
        }
    )


def write(path: Path, rows: int, entities: int, *, first: int = 0, start: int = START, span: int = SPAN) -> None:
    """Write purchases to one Parquet file, a million drawn at a time: each million is of its own share of the span."""
    share = span * _AT_ONCE // max(rows, _AT_ONCE)
    with pq.ParquetWriter(path, purchases(0, 1).schema) as writer:
        for done in range(0, rows, _AT_ONCE):
            begun = start + share * (done // _AT_ONCE)
            some = purchases(min(_AT_ONCE, rows - done), entities, first=first + done, start=begun, span=share)
            writer.write_table(some, row_group_size=500_000)


def numbered(prefix: str, numbers: np.ndarray[tuple[int], np.dtype[np.int64]]) -> pa.Array:
    """Texts like ``p17``."""
    return pa.array(np.char.add(prefix, numbers.astype(str)).tolist(), pa.string())
