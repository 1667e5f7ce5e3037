"""What plain SQL and frames do not give in one pass: filters, strings, statistics, last values, functions of a row."""

from datetime import datetime

from pydantic import BaseModel

from featurestore import Entity, FeatureService, Source, aggregations, feature
from featurestore.column import Column
from featurestore.window import Window

DEAR = 100.0  # USD


class Payment(BaseModel):
    """One event."""

    customer_id: str
    event_time: datetime
    amount: float
    merchant: str | None = None
    channel: str


class Asked(BaseModel):
    """What the caller knows of the payment that is asked for."""

    amount: float


customer = Entity("customer", key="customer_id")
payments = Source("payments", schema=Payment, path="../events/*.parquet", event_time="event_time")
of_customer = payments.by(customer)


@feature(of_customer, windows=["7d", "30d"])
def online_share(tx: Window) -> Column:
    """Share of payments made online."""
    online: Column = tx[tx.channel == "online"].count()
    return online / tx.count()


@feature(of_customer, windows=["7d", "30d"])
def dear_mean(tx: Window) -> Column:
    """Mean of the payments above 100 USD, USD."""
    mean: Column = tx[tx.amount > DEAR].amount.mean()
    return mean


@feature(of_customer)
def since_last_s(tx: Window) -> Column:
    """Seconds since the last payment."""
    return tx.since_last()


@feature
def amount_vs_mean(amount: float, amount_mean_30d: float) -> float:
    """This payment against the customer's 30-day mean; 0 without history."""
    return amount / amount_mean_30d if amount_mean_30d > 0 else 0.0


@feature
def amount_score(amount: float, amount_mean_30d: float, amount_std_30d: float) -> float | None:
    """Standard deviations above the customer's 30-day mean."""
    return (amount - amount_mean_30d) / amount_std_30d if amount_std_30d > 0 else None


rich = FeatureService(
    "rich",
    features=[
        aggregations(of_customer, columns=["amount"], functions=["mean", "std", "last"], windows=["7d", "30d"]),
        aggregations(of_customer, columns=["merchant"], functions=["nunique", "last"], windows=["7d", "30d"]),
        [online_share, dear_mean, since_last_s, amount_vs_mean, amount_score],
    ],
    request=Asked,
)
