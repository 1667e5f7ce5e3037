"""Card payments for tests: literal declarations, CSV files and a settable clock."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from featurestore import Entity, FeatureService, Source, feature


class Clock:
    """Stands still until a test moves it."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **span: float) -> datetime:
        self.now += timedelta(**span)
        return self.now


class Payment(BaseModel):
    id: str
    customer: str | None
    event_time: datetime
    amount: float | None = Field(ge=0)


class Request(BaseModel):
    amount: float = Field(ge=0, le=1e6)


customer = Entity("customer", key="customer")
payments = Source("payments", schema=Payment, path="data/*.csv", event_time="event_time", key="id")
unkeyed = Source("payments", schema=Payment, path="data/*.csv", event_time="event_time")
ingested = Source("payments", schema=Payment, event_time="event_time", key="id")


def service(source: Source, window: str | None = "30d") -> FeatureService:
    """Number, sum and last amount of a customer's payments."""

    @feature(source, by=customer, window=window)
    def number(tx: Any) -> Any:
        return tx.count()

    @feature(source, by=customer, window=window)
    def spent(tx: Any) -> Any:
        return tx.amount.sum()

    @feature(source, by=customer, window=window)
    def latest(tx: Any) -> Any:
        return tx.amount.last()

    @feature
    def share(amount: float, spent: float) -> float | None:
        return amount / spent if spent else None

    return FeatureService("shop", features=[number, spent, latest, share], request=Request)


PAYMENTS = [service(payments)]


def write(path: Path, *rows: str) -> None:
    """Write a CSV file of payments: ``id,customer,event_time,amount`` lines."""
    path.write_text("id,customer,event_time,amount\n" + "".join(f"{row}\n" for row in rows))
