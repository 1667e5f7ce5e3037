"""Commands about models, run as a user runs them, in a project of their own."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from risk import pipeline
from sklearn.dummy import DummyClassifier
from sklearn.tree import DecisionTreeClassifier

from featurestore import FeatureStore
from featurestore.cli import main

DEFINITIONS = '''
from datetime import datetime

from pydantic import BaseModel

from featurestore import Entity, FeatureService, Source, feature


class Payment(BaseModel):
    payment_id: str
    customer_id: int
    event_time: datetime
    amount: float


customer = Entity("customer", key="customer_id")
payments = Source("payments", schema=Payment, path="data/*.csv", event_time="event_time", key="payment_id")


@feature(payments, by=customer, windows=["1h", "1d"])
def spend(tx):
    """Money spent."""
    return tx.amount.sum()


fraud = FeatureService("fraud", features=[spend])
'''
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command in a project with three versions of a model; gives exit code, stdout, stderr."""
    (tmp_path / "definitions").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "definitions" / "payments.py").write_text(DEFINITIONS)
    days = [f"p{day},{day % 3},2026-01-{day:02}T10:00:00Z,{day}.5\n" for day in range(1, 31)]
    (tmp_path / "data" / "all.csv").write_text("payment_id,customer_id,event_time,amount\n" + "".join(days))
    monkeypatch.chdir(tmp_path)
    spine = [
        {"customer_id": n % 3, "event_time": f"2026-01-{n:02}T10:30:00Z", "fraud": n % 4 < 2} for n in range(1, 31)
    ]
    with FeatureStore.open(".") as store:
        store.materialize()
        training = store.training_set("fraud", spine, name="history")
        store.train("risk", training, pipeline(), label="fraud", cv=2, threshold=0.0)
        store.train("risk", training, DummyClassifier(), label="fraud", cv=False)
        store.train("risk", training, DecisionTreeClassifier(random_state=0), label="fraud", cv=2, version="deep")

    def started(*arguments: str) -> tuple[int, str, str]:
        code = main(arguments)
        out, err = capsys.readouterr()
        return code, out, err

    return started


def told(run: Run, *arguments: str, code: int = 0) -> Any:
    """The document that a command gives with ``--json``; nothing but it is printed."""
    found, out, err = run(*arguments, "--json")
    assert (found, err) == (code, "")
    return json.loads(out)


def test_models_are_listed_with_their_aliases(run: Run) -> None:
    listed = told(run, "models", "list")["models"]
    assert [(one["version"], one["aliases"]) for one in listed] == [("deep", []), ("v1", ["champion"]), ("v2", [])]
    code, out, err = run("models", "list")
    assert (code, out.split()[:4]) == (0, ["model", "version", "alias", "estimator"])
    assert err == "Next: featurestore models show MODEL (how it was made)\n"


def test_a_version_is_shown_with_its_scores_and_where_it_comes_from(run: Run) -> None:
    code, out, _ = run("models", "show", "risk")
    assert code == 0
    assert "SimpleImputer > StandardScaler > LogisticRegression" in out
    assert "history, 30 rows" in out
    assert "Test f1 " in out
    assert "Train f1 " in out
    said = told(run, "models", "show", "risk@deep")
    assert (said["version"], said["training_set"]["name"]) == ("deep", "history")
    assert not {"golden", "facts"} & set(said)
    assert [one["action"] for one in said["history"]] == ["promote"]


def test_a_champion_is_promoted_and_rolled_back(run: Run) -> None:
    assert told(run, "models", "promote", "risk", "v2") == {"model": "risk", "alias": "champion", "version": "v2"}
    assert told(run, "predict", "risk", "customer_id=1")["version"] == "v2"
    assert told(run, "models", "rollback", "risk")["version"] == "v1"
    assert told(run, "models", "rollback", "risk", code=1)["error"]["type"] == "RequestError"


def test_promotion_of_a_model_that_overfits_takes_force(run: Run) -> None:
    code, _, err = run("models", "promote", "risk", "deep")
    assert (code, "risk@deep overfits" in err) == (1, True)
    assert run("models", "promote", "risk", "deep", "--alias", "challenger", "--force")[0] == 0
    assert told(run, "predict", "risk@challenger", "customer_id=1")["version"] == "deep"


def test_a_prediction_is_the_stores_own(run: Run) -> None:
    at = "2026-01-20T10:30:00Z"
    said = told(run, "predict", "risk", "customer_id=2", "--as-of", at)
    with FeatureStore.open(".") as store:
        made = store.predict("risk", {"customer_id": 2}, as_of=at)
    assert (said["probabilities"], said["label"]) == (made.probabilities, made.label)
    assert said["features"] == {"spend_1h": 20.5, "spend_1d": 20.5}
    assert (said["decision"], said["as_of"]) == (True, "2026-01-20T10:30:00.000000Z")
    code, out, _ = run("predict", "risk", "--json-row", '{"customer_id": 2}', "--as-of", at)
    assert code == 0
    assert f"P(true)   {(made.probabilities or {})['true']!r}" in out
    assert told(run, "predict", "nobody", "customer_id=2", code=1)["error"]["type"] == "UnknownService"


def test_verify_names_the_versions_that_cannot_be_served(run: Run) -> None:
    assert told(run, "models", "verify")["verified"] == ["risk@deep", "risk@v1", "risk@v2"]
    assert told(run, "models", "verify", "risk")["verified"] == ["risk"]
    path = Path(".featurestore/models/risk/v2/pipeline.joblib")
    path.write_bytes(path.read_bytes()[:-1])
    code, _, err = run("models", "verify")
    assert code == 3
    assert "1 model version of 3 cannot be served." in err
    assert "risk@v2: " in err


def test_a_project_without_models_says_how_one_is_made(run: Run) -> None:
    Path(".featurestore/models").rename("elsewhere")
    assert told(run, "models", "list") == {"models": []}
    assert "store.train(...) saves one" in run("models", "list")[1]
