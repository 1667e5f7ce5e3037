"""A store of card payments, and a training set of it, for tests of models."""

import json
import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from shop import Clock, ingested, service
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from featurestore import FeatureStore
from featurestore.models import ModelVersion, sealed
from featurestore.training import TrainingSet

START = datetime(2026, 5, 1, tzinfo=UTC)
SERVICE = service(ingested)


def filled(store: FeatureStore, clock: Clock, rows: int = 120, seed: int = 1) -> TrainingSet:
    """Ingest 300 payments of ten customers, and build ``rows`` rows whose label ``fraud`` leans on the amount.

    Every twelfth row is of a customer without payments, so that features are null in it.
    """
    made = random.Random(seed)
    clock.now = START
    store.ingest("payments", [_payment(number, made) for number in range(300)])
    spine = [_asked(number, made) for number in range(rows)]
    made.shuffle(spine)
    clock.now = START + timedelta(days=60)
    return store.training_set("shop", spine, name="history")


def pipeline() -> Pipeline:
    """What a user would train."""
    return make_pipeline(SimpleImputer(add_indicator=True), StandardScaler(), LogisticRegression())


def rewrite(version: ModelVersion, changes: Mapping[str, Any]) -> None:
    """Change a manifest as one would who knows how it is sealed."""
    path = version.path / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest.pop("digest")
    path.write_bytes(sealed.seal({**manifest, **changes}))


def row_of(table: Mapping[str, Any]) -> dict[str, Any]:
    """What a caller would have passed for a row of the training set."""
    return {name: table[name] for name in ("customer", "amount")}


def _payment(number: int, made: random.Random) -> dict[str, Any]:
    at = START - timedelta(days=25) + timedelta(hours=2 * number)
    amount = None if number % 15 == 0 else round(made.random() * 100, 2)
    return {"id": f"p{number}", "customer": f"c{made.randrange(10)}", "event_time": at, "amount": amount}


def _asked(number: int, made: random.Random) -> dict[str, Any]:
    amount = round(made.random() * 100, 2)
    return {
        "customer": "nobody" if number % 12 == 0 else f"c{made.randrange(10)}",
        "event_time": START + timedelta(minutes=1 + 90 * number),
        "amount": amount,
        "fraud": amount + made.random() * 60 > 90,
        "loss": amount * 0.5,
    }
