"""Train on what was known before each match, and compare year by year with base rates and with an Elo rating.

Each of the last ten years is predicted by a model fitted on the years before it alone. The two rivals are fitted on the
same years: base rates are the shares of the three results; Elo is a plain loop over all matches, and its rating
difference goes through a logistic regression of its own, so that it does not lose for being badly scaled.
"""

import argparse
import itertools
import os
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # small models: more threads only wait for one another on a busy machine

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from featurestore import FeatureStore

PROJECT = Path(__file__).resolve().parent.parent
TRAIN_FROM = 1990
YEARS = 10
HOME_POINTS = 100  # what playing at home is worth, in points of rating


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, help="folder that holds results.csv")
    parser.add_argument("--home", type=Path, help="folder for the store's files; by default a temporary one")
    given = parser.parse_args()
    if given.data is not None:
        os.environ["FEATURESTORE_FOOTBALL"] = str(given.data.resolve())
    data = PROJECT / os.environ.get("FEATURESTORE_FOOTBALL", "../shared/data/football")
    with tempfile.TemporaryDirectory() as folder:
        frame, features = training(data, given.home or Path(folder))
    frame["elo"] = elo_differences(frame)
    table = compare(frame, features)
    print(table.to_string(float_format=lambda share: f"{share:.3f}"))
    mean = table.loc["all"]
    beaten = mean["loss model"] < min(mean["loss elo"], mean["loss base"])
    print(f"Over all years the model has {'the lowest' if beaten else 'not the lowest'} log-loss.")
    years = table.drop("all")
    print(f"It beats Elo in {(years['loss model'] < years['loss elo']).sum()} of {len(years)} years.")


def training(data: Path, home: Path) -> tuple[pd.DataFrame, list[str]]:
    """All matches in order of days with their features, and these features' names."""
    spine = f"""
        SELECT date AS event_time, home_team, away_team, neutral, tournament, home_score, away_score
        FROM read_csv('{str(data / "results.csv").replace("'", "''")}', header=true, nullstr='NA')
        WHERE home_score IS NOT NULL ORDER BY ALL
    """
    with FeatureStore("definitions/football.py", home, root=PROJECT) as store:
        store.materialize()
        made = store.training_set("match", spine)
    frame = made.to_pandas()
    frame["year"] = pd.to_datetime(frame["event_time"]).dt.year
    frame["result"] = np.sign(frame["home_score"] - frame["away_score"])  # 1 home team won, 0 drawn, -1 away team won
    return frame, list(made.manifest["features"])


def elo_differences(frame: pd.DataFrame) -> list[float]:
    """Rating of the home team less the away team's, before each match; matches of one day see none of one another."""
    ratings: dict[str, float] = {}
    differences = []
    columns = ["event_time", "home_team", "away_team", "neutral", "tournament", "home_score", "away_score"]
    for _, day in itertools.groupby(frame[columns].itertuples(index=False), key=lambda row: row.event_time):
        changes: list[tuple[str, float]] = []
        for row in day:
            difference = ratings.get(row.home_team, 0.0) - ratings.get(row.away_team, 0.0)
            difference += 0 if row.neutral else HOME_POINTS
            differences.append(difference)
            change = elo_change(difference, row.home_score - row.away_score, friendly=row.tournament == "Friendly")
            changes += [(row.home_team, change), (row.away_team, -change)]
        for name, change in changes:
            ratings[name] = ratings.get(name, 0.0) + change
    return differences


def elo_change(difference: float, margin: int, *, friendly: bool) -> float:
    """Points that the home team gains: more for a surprise, a wide margin, and where something is at stake."""
    expected = 1 / (1 + 10 ** (-difference / 400))
    happened = 0.5 if margin == 0 else float(margin > 0)
    wide = (11 + abs(margin)) / 8 if abs(margin) > 1 else 1
    return (20 if friendly else 40) * wide * (happened - expected)


def compare(frame: pd.DataFrame, features: list[str]) -> pd.DataFrame:
    """Log-loss and accuracy of each year's matches; the row ``all`` weighs each match alike."""
    newest = int(frame["year"].max())
    rows, scored = [], []
    for year in range(newest - YEARS + 1, newest + 1):
        past = frame[(frame["year"] < year) & (frame["year"] >= TRAIN_FROM)]
        now = frame[frame["year"] == year]
        forecasts = {
            "base": np.tile(past["result"].value_counts(normalize=True).sort_index().to_numpy(), (len(now), 1)),
            "elo": rival().fit(past[["elo"]], past["result"]).predict_proba(now[["elo"]]),
            "model": model().fit(past[features], past["result"]).predict_proba(now[features]),
        }
        rows.append({"year": str(year), "matches": len(now), **scores(now["result"], forecasts)})
        scored.append((now["result"], forecasts))
    results = pd.concat([result for result, _ in scored])
    pooled = {name: np.vstack([one[name] for _, one in scored]) for name in ("base", "elo", "model")}
    rows.append({"year": "all", "matches": len(results), **scores(results, pooled)})
    return pd.DataFrame(rows).set_index("year")


def model() -> Pipeline:
    """Trees over all features; a missing value is a branch of its own."""
    trees = HistGradientBoostingClassifier(
        learning_rate=0.08, max_iter=75, max_leaf_nodes=12, min_samples_leaf=80, l2_regularization=5, random_state=0
    )
    return Pipeline([("trees", trees)])


def rival() -> Pipeline:
    """Result by rating difference and its square."""
    return make_pipeline(StandardScaler(), PolynomialFeatures(2, include_bias=False), LogisticRegression())


def scores(results: Any, forecasts: dict[str, Any]) -> dict[str, float]:
    """``loss`` and ``hits`` of each forecaster; columns of a forecast are away win, draw, home win."""
    losses = {f"loss {name}": log_loss(results, one, labels=[-1, 0, 1]) for name, one in forecasts.items()}
    hits = {f"hits {name}": float((one.argmax(axis=1) - 1 == results).mean()) for name, one in forecasts.items()}
    return losses | hits


if __name__ == "__main__":
    main()
