"""Splits by time: no training row's label reaches into what is tested."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shop import customer, ingested, service
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.tree import DecisionTreeRegressor

from featurestore import FeatureStore, label
from featurestore.errors import RequestError
from featurestore.splits import TimeSplit
from featurestore.training import TrainingSet

Open = Callable[..., FeatureStore]
T = datetime(2026, 4, 1, tzinfo=UTC)
DAY = timedelta(days=1)
EDGE = timedelta(microseconds=1)


@label(ingested, by=customer, horizon="3d", offset="1d")
def coming(tx: Any) -> Any:
    return tx.amount.sum()


@pytest.fixture
def store(open_store: Open) -> FeatureStore:
    opened = open_store([service(ingested), coming])
    rows = [{"id": f"p{day}", "customer": "c1", "event_time": T + day * DAY, "amount": float(day)} for day in range(60)]
    opened.ingest("payments", rows)
    return opened


def asked(store: FeatureStore, *instants: datetime, **options: Any) -> TrainingSet:
    spine = [{"customer": "c1", "event_time": at, "amount": 1.0, "y": number} for number, at in enumerate(instants)]
    return store.training_set("shop", spine, **options)


def ys(part: TrainingSet) -> list[int]:
    return list(part.to_arrow()["y"].to_pylist())


def test_a_label_may_end_at_the_first_instant_that_is_tested_and_no_later(store: FeatureStore) -> None:
    test_from = T + 10 * DAY  # the label's window ends four days after T
    rows = (test_from - 4 * DAY, test_from - 4 * DAY + EDGE, test_from - EDGE, test_from, test_from + DAY, T)
    train, test = asked(store, *rows, labels=[coming]).split(test_from=test_from)
    assert (ys(train), ys(test)) == ([0, 5], [3, 4])


def test_without_labels_only_the_instant_divides(store: FeatureStore) -> None:
    train, test = asked(store, T + DAY, T + DAY - EDGE, T + DAY, T).split("2026-04-02")
    assert (ys(train), ys(test)) == ([1, 3], [0, 2])


def test_a_gap_keeps_training_rows_farther_away(store: FeatureStore) -> None:
    made = asked(store, T, T + EDGE, T + 2 * DAY)
    train, test = made.split(T + 2 * DAY, gap="2d")
    assert (ys(train), ys(test)) == ([0], [2])


def test_parts_are_training_sets_that_say_what_they_are_of(store: FeatureStore) -> None:
    made = asked(store, T, T + DAY, T + 2 * DAY)
    train, test = made.split(T + DAY)
    assert (len(train), train.manifest["rows"], train.manifest["time_range"]) == (
        1,
        1,
        ["2026-04-01T00:00:00.000000Z"] * 2,
    )
    assert test.manifest["part"]["of"]["content_hash"] == made.manifest["content_hash"]
    assert test.manifest["content_hash"] not in (made.manifest["content_hash"], train.manifest["content_hash"])
    assert test.to_pandas()["y"].tolist() == [1, 2]


def test_a_model_is_trained_on_a_part(store: FeatureStore) -> None:
    train, _ = asked(store, *(T + day * DAY for day in range(40)), labels=[coming]).split(T + 30 * DAY)
    made = store.train("next", train, DecisionTreeRegressor(random_state=0), cv=2)
    assert made.manifest["training_set"]["rows"] == len(train) == 27
    assert made.manifest["training_set"]["part"]["part"] == "train"


def test_a_split_without_rows_on_a_side_is_refused(store: FeatureStore) -> None:
    made = asked(store, T, T + DAY)
    with pytest.raises(RequestError, match="leaves 0 rows to test"):
        made.split(T + 2 * DAY)
    with pytest.raises(RequestError, match="leaves 2 rows to test and 0 to train on"):
        made.split(T)
    with pytest.raises(RequestError, match="gap: 'soon' is not a duration"):
        made.split(T, gap="soon")


def test_folds_are_blocks_in_order_of_time_whatever_the_rows_order(store: FeatureStore) -> None:
    made = asked(store, *(T + day * DAY for day in (5, 4, 3, 2, 1, 0)))
    found = [(train.tolist(), test.tolist()) for train, test in made.cv(2).split()]
    assert found == [([4, 5], [2, 3]), ([2, 3, 4, 5], [0, 1])]


def test_rows_of_one_instant_are_in_one_block() -> None:
    at = np.array([1, 1, 1, 1, 2, 2, 3, 3])
    found = [(train.tolist(), test.tolist()) for train, test in TimeSplit(at, 2).split()]
    assert found == [([0, 1, 2, 3], [4, 5]), ([0, 1, 2, 3, 4, 5], [6, 7])]


@given(
    at=st.lists(st.integers(0, 30), min_size=1, max_size=60),
    folds=st.integers(1, 6),
    reach=st.integers(0, 10),
)
def test_no_training_row_reaches_into_its_fold_and_every_later_row_is_tested_once(
    at: list[int], folds: int, reach: int
) -> None:
    if len(set(at)) <= folds:
        with pytest.raises(RequestError, match="give fewer folds"):
            TimeSplit(np.array(at), folds, reach).folds()
        return
    found = TimeSplit(np.array(at), folds, reach).folds()
    assert len(found) == folds
    tested: list[int] = []
    for train, test in found:
        first = min(at[row] for row in test)
        assert sorted(train) == [row for row in range(len(at)) if at[row] < first and at[row] + reach <= first]
        tested += test.tolist()
    begin = min(at[row] for row in tested)
    assert sorted(tested) == [row for row in range(len(at)) if at[row] >= begin]
    assert begin > min(at)


def test_scikit_learn_takes_the_splitter(store: FeatureStore) -> None:
    made = asked(store, *(T + day * DAY for day in range(40)), labels=[coming])
    frame = made.to_pandas()
    inputs, labels = frame[["number", "spent"]], frame["coming"].astype(float)
    scores = cross_val_score(LinearRegression(), inputs, labels, cv=made.cv(n_splits=4))
    assert len(scores) == made.cv(n_splits=4).get_n_splits() == 4
    assert np.isfinite(scores).all()
    search = GridSearchCV(DecisionTreeRegressor(random_state=0), {"max_depth": [1, 2]}, cv=made.cv(3, gap="1d"))
    assert search.fit(inputs, labels).n_splits_ == 3


def test_the_splitter_wants_all_rows(store: FeatureStore) -> None:
    made = asked(store, *(T + day * DAY for day in range(10)))
    with pytest.raises(RequestError, match="folds are of 10 rows, and 9 are given"):
        next(made.cv(2).split(made.to_pandas()[1:]))


def test_a_fold_with_nothing_to_be_trained_on_is_named(store: FeatureStore) -> None:
    made = asked(store, *(T + day * DAY for day in range(6)), labels=[coming])
    with pytest.raises(RequestError, match="Fold 1 of 2 has no row to be trained on"):
        next(made.cv(2).split())
    with pytest.raises(RequestError, match="n_splits=0"):
        made.cv(0)
