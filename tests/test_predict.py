"""Predictions: the same bits as in training, from one path; refused when features have changed (S12)."""

import random
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import BaseModel, Field
from risk import SERVICE, filled, pipeline, row_of
from shop import Clock, Payment, customer, ingested
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from threadpoolctl import threadpool_info, threadpool_limits

from featurestore import FeatureService, FeatureStore, Source, feature
from featurestore.errors import AsOfError, InvalidRequest, OperationError, RequestError, UnknownService
from featurestore.models.matrix import Input, matrix, of_rows, of_table
from featurestore.models.parts import openmp
from featurestore.models.serving import predicted
from featurestore.training import TrainingSet

Open = Callable[..., FeatureStore]
ASKED = {"customer": "c1", "amount": 12.5}


@pytest.fixture
def store(open_store: Open) -> FeatureStore:
    return open_store([SERVICE])


@pytest.fixture
def training(store: FeatureStore, clock: Clock) -> TrainingSet:
    return filled(store, clock)


class Request(BaseModel):
    amount: float = Field(ge=0, le=1e6)


class Stricter(BaseModel):
    amount: float = Field(ge=0, le=1e3)


def changed(
    *, days: str = "30d", factor: float = 1.0, source: Source = ingested, request: type[BaseModel] = Request
) -> FeatureService:
    """The service of these tests, with one thing or another changed."""

    @feature(source, by=customer, window=days)
    def spent(tx: Any) -> Any:
        return tx.amount.sum() * factor

    @feature(source, by=customer, window="30d")
    def number(tx: Any) -> Any:
        return tx.count()

    @feature
    def share(amount: float, spent: float) -> float | None:
        return amount / spent if spent else None

    return FeatureService("shop", features=[number, spent, share], request=request)


@pytest.fixture
def trained(open_store: Open, clock: Clock) -> FeatureStore:
    """A store with model ``risk`` on all features and ``count`` on the one that needs nothing else."""
    store = open_store([changed()])
    training = filled(store, clock)
    store.train("risk", training, pipeline(), label="fraud", cv=False)
    store.train("count", training, pipeline(), label="fraud", cv=False, features=["number"])
    return store


@pytest.mark.parametrize(
    "estimator",
    [
        pipeline(),
        make_pipeline(StandardScaler(), HistGradientBoostingClassifier(max_iter=10, random_state=0)),
        make_pipeline(RandomForestClassifier(n_estimators=10, random_state=42)),
    ],
    ids=["linear", "boosting", "forest"],
)
def test_a_prediction_has_the_bits_that_the_pipeline_gives_for_the_training_row(
    store: FeatureStore, training: TrainingSet, estimator: Any
) -> None:
    store.train("risk", training, estimator, label="fraud", cv=False)
    frame = training.to_pandas()
    inputs = frame[["number", "spent", "latest", "share"]].to_numpy(float, na_value=np.nan)
    order = np.argsort(frame["event_time"], kind="stable")
    fitted = estimator.fit(inputs[order], frame["fraud"].to_numpy()[order])
    for place, row in frame.iterrows():
        found = store.predict("risk", row_of(row), as_of=row["event_time"]).probabilities
        assert found is not None
        expected = fitted.predict_proba(inputs[[place]])[0]
        assert np.array(list(found.values())).tobytes() == expected.tobytes()


def test_training_rows_and_served_rows_become_the_same_bytes(store: FeatureStore, training: TrainingSet) -> None:
    kinds: list[tuple[str, Any]] = [("number", "int"), ("spent", "float"), ("latest", "float"), ("share", "float")]
    inputs = [Input(name, kind, nullable=True) for name, kind in kinds]
    whole = matrix(inputs, of_table(inputs, training.to_arrow()), frame=False)
    assert np.isnan(whole).any()
    for place, row in training.to_pandas().iterrows():
        vector = store.lookup("shop", row_of(row), as_of=row["event_time"])
        assert matrix(inputs, of_rows(inputs, [vector]), frame=False).tobytes() == whole[[place]].tobytes()


def test_a_prediction_says_what_it_was_made_of(store: FeatureStore, training: TrainingSet) -> None:
    store.train("risk", training, pipeline(), label="fraud", cv=False, features=["share", "number"])
    found, vector = store.predict("risk", ASKED), store.lookup("shop", ASKED)
    assert (found.model, found.version, found.value, found.decision) == ("risk", "v1", None, None)
    assert (found.as_of, found.position, found.fingerprint) == (vector.as_of, vector.position, vector.fingerprint)
    assert list(found.features.items()) == [("share", vector["share"]), ("number", vector["number"])]
    assert found.to_dict()["features"] == found.features
    assert found.probabilities is not None
    assert found.label is (found.probabilities["true"] > found.probabilities["false"])


def test_the_threshold_decides_and_belongs_to_the_second_class(store: FeatureStore, training: TrainingSet) -> None:
    for version, threshold in (("never", 1.0), ("always", 0.0)):
        store.train("risk", training, pipeline(), label="fraud", cv=False, threshold=threshold, version=version)
    assert store.predict("risk@never", ASKED).decision is False
    assert store.predict("risk@always", ASKED).decision is True
    chance = (store.predict("risk", ASKED).probabilities or {})["true"]
    store.train("risk", training, pipeline(), label="fraud", cv=False, threshold=chance, version="exactly")
    assert store.predict("risk@exactly", ASKED).decision is True


def test_many_rows_are_answered_in_order(store: FeatureStore, training: TrainingSet) -> None:
    store.train("risk", training, make_pipeline(RandomForestClassifier(n_estimators=5)), label="fraud", cv=False)
    frame = training.to_pandas()
    rows = [row_of(row) for _, row in frame.iterrows()]
    found = store.predict_many("risk", rows, as_of=list(frame["event_time"]))
    alone = [store.predict("risk", row, as_of=at) for row, at in zip(rows, frame["event_time"], strict=True)]
    assert found == alone
    assert store.predict_many("risk", []) == []


def test_the_order_of_a_rows_fields_does_not_matter(store: FeatureStore, training: TrainingSet) -> None:
    store.train("risk", training, pipeline(), label="fraud", cv=False)
    assert store.predict("risk", {"amount": 12.5, "customer": "c1"}) == store.predict("risk", ASKED)


@pytest.mark.parametrize("row", [{"customer": "c1"}, {"amount": 1.0}, {**ASKED, "amount": -1.0}])
def test_a_row_is_checked_as_a_lookup_checks_it(
    store: FeatureStore, training: TrainingSet, row: dict[str, Any]
) -> None:
    store.train("risk", training, pipeline(), label="fraud", cv=False)
    with pytest.raises(InvalidRequest):
        store.predict("risk", row)
    with pytest.raises(AsOfError):
        store.predict("risk", ASKED, as_of="2027-01-01")


def test_an_unknown_model_is_named_with_a_suggestion(store: FeatureStore, training: TrainingSet) -> None:
    store.train("risk", training, pipeline(), label="fraud", cv=False)
    with pytest.raises(UnknownService, match=r"No model named 'risc'\. Did you mean 'risk'"):
        store.predict("risc", ASKED)


def test_an_estimator_that_takes_no_null_says_so_and_names_them(store: FeatureStore, clock: Clock) -> None:
    spine = filled(store, clock).to_pandas().dropna(subset=["share", "latest"])
    spine = spine.drop(columns=["number", "spent", "latest", "share"])
    store.train("risk", store.training_set("shop", spine), LogisticRegression(max_iter=1000), label="fraud", cv=False)
    with pytest.raises(RequestError, match=r"contains NaN[\s\S]*Null here: latest, share\. Train a pipeline"):
        store.predict("risk", {"customer": "never seen", "amount": 1.0})


def test_a_regression_gives_a_value(store: FeatureStore, training: TrainingSet) -> None:
    store.train("loss", training, LinearRegression(), label="loss", cv=2, features=["number", "spent"])
    frame = training.to_pandas().sort_values("event_time", kind="stable")
    inputs = frame[["number", "spent"]].to_numpy(float).copy(order="C")  # in another order the last bit may differ
    fitted = LinearRegression().fit(inputs, frame["loss"].to_numpy())
    row = frame.iloc[17]
    found = store.predict("loss", row_of(row), as_of=row["event_time"])
    assert (found.label, found.probabilities, found.decision) == (None, None, None)
    assert found.value == fitted.predict([[row["number"], row["spent"]]])[0]


def test_another_process_gives_the_same_bits(store: FeatureStore, training: TrainingSet, tmp_path: Path) -> None:
    tests = str(Path(__file__).parent)
    code = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from datetime import UTC, datetime
from risk import SERVICE
from featurestore import FeatureStore
store = FeatureStore([SERVICE], home=sys.argv[2], clock=lambda: datetime(2026, 6, 30, tzinfo=UTC))
rows = [{"customer": f"c{number}", "amount": 2.5 * number} for number in range(20)]
for row in rows:
    print({name: value.hex() for name, value in store.predict("risk", row).probabilities.items()})
"""
    store.train("risk", training, pipeline(), label="fraud", cv=False)
    words = [sys.executable, "-W", "error", "-c", code, tests, str(tmp_path / "home")]
    done = subprocess.run(words, cwd="/", capture_output=True, text=True, check=True)
    rows = [{"customer": f"c{number}", "amount": 2.5 * number} for number in range(20)]
    here = [store.predict("risk", row, as_of="2026-06-30").probabilities or {} for row in rows]
    assert done.stdout.splitlines() == [str({name: chance.hex() for name, chance in one.items()}) for one in here]


@pytest.mark.usefixtures("trained")
def test_a_changed_feature_is_refused_with_its_name_and_the_difference(open_store: Open) -> None:
    with pytest.raises(OperationError) as caught:
        open_store([changed(days="7d")]).predict("risk", ASKED)
    words = str(caught.value)
    assert words.startswith("Model risk@v1 was trained on features that have changed since, so it is not served.\n")
    lines = words.splitlines()
    assert [line.split(":")[0].strip() for line in lines[1:3]] == ["spent", "share"]
    assert '-  "30d"' in lines
    assert '+  "7d"' in lines
    assert "--- feature spent parameters (trained on)" in lines
    assert "number" not in [line.split(":")[0].strip() for line in lines]
    assert open_store([changed()]).predict("risk", ASKED).version == "v1"


@pytest.mark.usefixtures("trained")
def test_what_a_feature_uses_is_part_of_it(open_store: Open) -> None:
    with pytest.raises(OperationError, match=r"spent: was [0-9a-f]{12}, is [0-9a-f]{12}"):
        open_store([changed(factor=2.0)]).predict("risk", ASKED)
    slower = Source("payments", schema=Payment, event_time="event_time", key="id", delay="5m")
    with pytest.raises(OperationError, match=r'\n\+ "delay": "5m"'):
        open_store([changed(source=slower)]).predict("count", ASKED)


def test_a_feature_that_a_model_does_not_take_may_change(open_store: Open, trained: FeatureStore) -> None:
    other = open_store([changed(days="7d")])
    assert other.predict("count", ASKED).features == trained.predict("count", ASKED).features


@pytest.mark.usefixtures("trained")
def test_a_changed_request_schema_concerns_models_that_need_its_fields(open_store: Open) -> None:
    other = open_store([changed(request=Stricter)])
    with pytest.raises(OperationError, match="request schema of shop: has changed"):
        other.predict("risk", ASKED)
    assert other.predict("count", ASKED).version == "v1"


@pytest.mark.usefixtures("trained")
def test_a_feature_that_is_gone_and_a_service_that_is_gone(open_store: Open) -> None:
    declared = changed()
    fewer = FeatureService("shop", features=declared.features[:2], request=Request)
    with pytest.raises(OperationError, match="share: is declared no more"):
        open_store([fewer]).predict("risk", ASKED)
    with pytest.raises(OperationError, match="share: is listed by the service no more"):
        open_store([fewer, declared.features[2]]).predict("risk", ASKED)
    renamed = FeatureService("store", features=declared.features, request=Request)
    with pytest.raises(OperationError, match="number: is listed by the service no more"):
        open_store([renamed]).predict("risk", ASKED)


@pytest.mark.usefixtures("trained")
def test_a_training_set_of_other_definitions_is_refused(open_store: Open) -> None:
    with pytest.raises(RequestError, match="with other definitions of spent, share than there are now: build it again"):
        open_store([changed(days="7d")]).train("risk", "history", pipeline(), label="fraud")


class Visit(BaseModel):
    person: str
    event_time: datetime
    page: str | None
    paid: bool


def visits() -> FeatureService:
    """Features of every kind."""
    source = Source("visits", schema=Visit, event_time="event_time")
    view = source.by(customer_of_visits)

    @feature(view)
    def page(tx: Any) -> Any:
        return tx.page.last()

    @feature(view)
    def paid(tx: Any) -> Any:
        return tx.paid.last()

    @feature(view)
    def seen(tx: Any) -> Any:
        return tx.event_time.max()

    @feature(view)
    def count(tx: Any) -> Any:
        return tx.count()

    return FeatureService("visits", features=[page, paid, seen, count])


customer_of_visits = type(customer)("person", key="person")


def test_text_and_times_reach_the_estimator_in_a_frame(open_store: Open, clock: Clock) -> None:
    store, made = open_store([visits()]), random.Random(3)
    pages = ["a", "b", None]
    times = [datetime(2026, 5, 1 + number // 4, number % 24) for number in range(80)]  # noqa: DTZ001 - naive is UTC
    store.ingest(
        "visits",
        [
            {
                "person": f"p{made.randrange(9)}",
                "event_time": at,
                "page": made.choice(pages),
                "paid": made.random() > 0.5,
            }
            for at in times
        ],
    )
    clock.advance(days=30)
    spine = pd.DataFrame({"person": [f"p{number % 12}" for number in range(60)], "bought": [0, 1, 1] * 20})
    spine["event_time"] = pd.date_range("2026-06-02", periods=60, freq="h")
    encoder = ColumnTransformer([("page", OneHotEncoder(handle_unknown="ignore"), ["page"])], remainder="drop")
    training = store.training_set("visits", spine)
    version = store.train("bought", training, make_pipeline(encoder, LogisticRegression()), label="bought", cv=2)
    assert version.manifest["input"] == "frame"
    fitted = store.saved_models.load("bought").estimator
    inputs = store.saved_models.load("bought").inputs
    whole = matrix(inputs, of_table(inputs, training.to_arrow()), frame=True)
    assert [str(kind) for kind in whole.dtypes] == ["object", "float64", "datetime64[us, UTC]", "float64"]
    for place, row in training.to_pandas().iterrows():
        found = store.predict("bought", {"person": row["person"]}, as_of=row["event_time"])
        expected = fitted.predict_proba(whole.iloc[[place]])[0].tolist()
        assert (list(found.probabilities or {}), list((found.probabilities or {}).values())) == (["0", "1"], expected)


def test_one_thread_alone_predicts() -> None:
    class Counting:
        def predict(self, rows: Any) -> list[float]:
            pools = [one["num_threads"] for one in threadpool_info() if one["user_api"] == "openmp"]
            return [float(max(pools))] * len(rows)

    inputs, rows = [Input("amount", "float", nullable=False)], [{"amount": 1.0}]
    openmp.cache_clear()
    with threadpool_limits(4, "openmp"):
        assert Counting().predict(rows) == [4.0]
        assert predicted(Counting(), inputs, rows, frame=False, model="counting").tolist() == [[1.0]]
        assert Counting().predict(rows) == [4.0]
