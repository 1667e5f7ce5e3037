"""Payments under a key: each has to be told from those that are there before it is taken."""

from datetime import datetime

from pydantic import BaseModel

from featurestore import Entity, FeatureService, Source, aggregations


class Payment(BaseModel):
    """One event, under a key of its own."""

    payment_id: str
    customer_id: str
    event_time: datetime
    amount: float
    merchant: str
    channel: str


customer = Entity("customer", key="customer_id")
payments = Source(
    "payments", schema=Payment, path="data/*.parquet", event_time="event_time", key="payment_id", delay="5m"
)
of_customer = payments.by(customer)
keyed = FeatureService(
    "keyed",
    features=[aggregations(of_customer, columns=["amount"], functions=["count", "mean", "max"], windows=["1d", "30d"])],
)
