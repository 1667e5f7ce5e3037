"""Twenty plain window features of one column: what every rival can compute, too."""

from datetime import datetime

from pydantic import BaseModel

from featurestore import Entity, FeatureService, Source, aggregations

FUNCTIONS = ("count", "sum", "mean", "min", "max")
WINDOWS = ("1d", "7d", "30d", "90d")


class Payment(BaseModel):
    """One event; the files have further columns, which this schema does not ask for."""

    customer_id: str
    event_time: datetime
    amount: float


customer = Entity("customer", key="customer_id")
payments = Source("payments", schema=Payment, path="../events/*.parquet", event_time="event_time")
of_customer = payments.by(customer)
plain = FeatureService(
    "plain", features=[aggregations(of_customer, columns=["amount"], functions=FUNCTIONS, windows=WINDOWS)]
)
