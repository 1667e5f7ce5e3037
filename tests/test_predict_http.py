"""Predictions over HTTP: what the store predicts, and a clean word for a model that is not there."""

from pathlib import Path
from typing import Any

import numpy as np
from served import running, write_project
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from featurestore import FeatureStore

ROW = {"customer": 1, "shop": "a", "amount": 12.5}


def trained(project: Path) -> FeatureStore:
    """A store with a model of two features, learned from forty rows."""
    store = FeatureStore.open(project)
    store.ingest("payments", [payment(number) for number in range(40)])
    spine = [
        {**ROW, "customer": number % 4, "units": number, "event_time": store.now(), "fraud": number % 3 == 0}
        for number in range(40)
    ]
    for row in spine:
        row["event_time"] = np.datetime64(int(str(row["event_time"])), "us").item()
    made = store.training_set("fraud", spine, name="train")
    estimator = make_pipeline(StandardScaler(), LogisticRegression())
    store.train("risk", made, estimator, label="fraud", cv=False, features=["payments_made", "units_doubled"])
    return store


def payment(number: int) -> dict[str, Any]:
    return {"id": f"p{number}", "customer": number % 4, "event_time": "2026-01-01T10:00:00Z", "amount": float(number)}


def test_a_prediction_is_the_stores(tmp_path: Path) -> None:
    project = write_project(tmp_path)
    with trained(project) as store, running(project) as server:
        told = server.post("/predict/risk", ROW).json()
        made = store.predict("risk", ROW, as_of=told["as_of"])
        assert told["probabilities"] == made.probabilities
        assert (told["label"], told["model"], told["version"]) == (made.label, "risk", "v1")
        assert (told["position"], told["fingerprint"]) == (made.position, made.fingerprint)
        at = {"as_of": told["as_of"]}
        assert server.post("/predict/risk@v1/batch", {"rows": [ROW, ROW]}, params=at).json() == {"rows": [told, told]}
        wrong = server.post("/predict/risk", ROW | {"amount": "12"})
        assert wrong.json()["error"]["fields"] == [{"row": 1, "field": "amount", "rule": "must be a number"}]
        for name in ("rusk", "risk@v2", "..", "risk%2F..", "%00"):
            assert server.post(f"/predict/{name}", ROW).status_code in {404, 422}
        assert "Did you mean 'risk'" in server.post("/predict/rusk", ROW).json()["error"]["message"]
