"""Card payments: what is known of a customer and a merchant at the moment when a payment is asked for.

The data is made: `featurestore init` and `featurestore demo` write it into `data/`, seeded, as Parquet.

**When it was known.** A payment happens at `event_time`; the acquirer delivers it at `received_at`, mostly seconds
later, sometimes days. A row asked as of T sees what had been received before T, however long ago it happened. What is
ingested without `received_at` is known when it arrives.

**Delivered twice.** Acquirers repeat themselves: a payment counts once, by its `transaction_id`.

**What is learned** is no feature: `data/labels.parquet` says which payments the customers disputed later, and the
declared label `returns_7d` looks forward.
"""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from featurestore import Entity, FeatureService, Source, aggregations, feature, label
from featurestore.column import Column
from featurestore.window import Window

TINY = 5.0  # USD; stolen cards are tried out with less


class Transaction(BaseModel):
    """One payment, as the acquirer delivers it."""

    transaction_id: str
    customer_id: str
    event_time: datetime
    received_at: datetime | None = None
    amount: float = Field(ge=0, description="USD")
    merchant: str | None = None
    channel: Literal["online", "shop"]


class Payment(BaseModel):
    """What the caller knows of the payment that is asked for."""

    amount: float = Field(ge=0, le=1e6, description="USD")
    channel: Literal["online", "shop"]


customer = Entity("customer", key="customer_id")
merchant = Entity("merchant", key="merchant")
regular = Entity("regular", key=("customer_id", "merchant"))  # a customer at one merchant

transactions = Source(
    "transactions",
    schema=Transaction,
    path="data/transactions/*.parquet",
    event_time="event_time",
    known_at="received_at",
    key="transaction_id",
)
of_customer = transactions.by(customer)
of_merchant = transactions.by(merchant)
of_regular = transactions.by(regular)


# --- of the customer ---


@feature(of_customer, window="30d")
def avg_amount_30d(tx: Window) -> Column:
    """Mean amount over the last 30 days, USD; null without payments."""
    return tx.amount.mean()


@feature(of_customer, window="30d")
def std_amount_30d(tx: Window) -> Column:
    """Standard deviation of the amount over the last 30 days, USD; null with fewer than two payments."""
    return tx.amount.std()


@feature(of_customer, windows=["1h", "1d", "7d"])
def txn_count(tx: Window) -> Column:
    """Number of payments."""
    return tx.count()


@feature(of_customer, windows=["1h", "1d"])
def tiny_count(tx: Window) -> Column:
    """Number of payments below 5 USD."""
    tiny: Column = tx[tx.amount < TINY].count()
    return tiny


@feature(of_customer, window="7d")
def merchants_7d(tx: Window) -> Column:
    """Number of different merchants; payments without one do not count."""
    return tx.merchant.nunique()


@feature(of_customer, window="30d")
def online_share_30d(tx: Window) -> Column:
    """Share of payments made online, 0 to 1; null without payments."""
    online: Column = tx[tx.channel == "online"].count()
    return online / tx.count()


@feature(of_customer)
def since_last_s(tx: Window) -> Column:
    """Seconds since the last payment; null before the first."""
    return tx.since_last()


spending = aggregations(of_customer, columns=["amount"], functions=["sum", "max"], windows=["1h", "7d"])

# --- of the merchant ---


@feature(of_merchant, windows=["1h", "1d"])
def merchant_txn_count(tx: Window) -> Column:
    """Number of payments that the merchant took."""
    return tx.count()


@feature(of_merchant, window="7d")
def merchant_avg_amount_7d(tx: Window) -> Column:
    """Mean amount that the merchant took, USD; null without payments."""
    return tx.amount.mean()


@feature(of_merchant, window="7d")
def merchant_tiny_share_7d(tx: Window) -> Column:
    """Share of the merchant's payments below 5 USD, 0 to 1; null without payments."""
    tiny: Column = tx[tx.amount < TINY].count()
    return tiny / tx.count()


# --- of the customer at this merchant ---


@feature(of_regular)
def visits(tx: Window) -> Column:
    """Number of payments that this customer ever made to this merchant."""
    return tx.count()


# --- of the payment that is asked for: plain functions of the features above ---


@feature
def amount_vs_avg(amount: float, avg_amount_30d: float) -> float:
    """Amount against the customer's 30-day mean; 0 without history."""
    return amount / avg_amount_30d if avg_amount_30d > 0 else 0.0


@feature
def amount_score(amount: float, avg_amount_30d: float, std_amount_30d: float) -> float | None:
    """Standard deviations that the amount lies above the customer's 30-day mean; null without a spread."""
    return (amount - avg_amount_30d) / std_amount_30d if std_amount_30d > 0 else None


@feature
def is_online(channel: str) -> bool:
    """Whether this payment is made online."""
    return channel == "online"


@feature
def hour(as_of: datetime) -> int:
    """Hour of the day, UTC, 0 to 23."""
    return as_of.hour


# --- to be learned: what comes after, which no feature sees ---


@label(of_customer, horizon="7d")
def returns_7d(tx: Window) -> Column:
    """Whether the customer pays again within 7 days."""
    return tx.count() > 0


fraud = FeatureService(
    "fraud",
    features=[
        [avg_amount_30d, std_amount_30d, txn_count, tiny_count, merchants_7d, online_share_30d, since_last_s, spending],
        [merchant_txn_count, merchant_avg_amount_7d, merchant_tiny_share_7d, visits],
        [amount_vs_avg, amount_score, is_online, hour],
    ],
    request=Payment,
)
