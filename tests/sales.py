"""Sales of shops: events of numbers, and what plain loops give for each plain reduction of them."""

from datetime import datetime
from typing import Any

import oracle
from pydantic import BaseModel

from featurestore import Entity

SECOND = 1_000_000
KINDS: dict[str, Any] = {"price": "float", "units": "int", "paid": "bool"}
LOOPS: dict[str, Any] = {
    "count": lambda seen, _: len(oracle.present(seen)),
    "sum": oracle.total,
    "mean": oracle.mean,
    "min": lambda seen, _: oracle.smallest(seen),
    "max": lambda seen, _: oracle.largest(seen),
    "nunique": lambda seen, _: oracle.distinct(seen),
    "var": oracle.variance,
    "std": oracle.deviation,
}
shop = Entity("shop", key="shop")


class Sale(BaseModel):
    shop: str
    at: datetime
    price: float | None
    units: int
    paid: bool
