"""Load all matches, then build a training set: each match of ten years with what was known on its morning."""

import argparse
import os
import tempfile
from pathlib import Path

from featurestore import FeatureStore

PROJECT = Path(__file__).resolve().parent.parent
SHOWN = ["event_time", "home_team", "away_team", "home_team__form_365d", "away_team__form_365d", "strength_gap_8y"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder that holds results.csv")
    parser.add_argument("--home", type=Path, help="folder for the store's files; by default a temporary one")
    given = parser.parse_args()
    if given.data is not None:
        os.environ["FEATURESTORE_FOOTBALL"] = str(given.data.resolve())
    data = PROJECT / os.environ.get("FEATURESTORE_FOOTBALL", "../shared/data/football")
    with tempfile.TemporaryDirectory() as folder:
        build(data, given.home or Path(folder))


def build(data: Path, home: Path) -> None:
    spine = f"""
        SELECT date AS event_time, home_team, away_team, neutral, tournament, home_score, away_score
        FROM read_csv('{str(data / "results.csv").replace("'", "''")}', header=true, nullstr='NA')
        WHERE home_score IS NOT NULL AND year(date) >= 2016
        ORDER BY ALL
    """
    with FeatureStore("definitions/football.py", home, root=PROJECT) as store:
        done = store.materialize()
        print(f"Loaded {done.rows:,} events, two per match; position {done.position}.")
        print(f"Loading again finds {store.materialize().rows} new ones.")
        training = store.training_set("match", spine)
        frame = training.to_pandas()
        print(f"Training set {training.name}: {len(training):,} rows, {len(training.manifest['features'])} features.")
        print("The last three rows:")
        print(frame[SHOWN].tail(3).to_string(index=False))
        empty = training.manifest["nulls"]["home_team_away_team__head_to_head"]
        print(f"{empty:,} matches were first meetings, so head to head is null there and the row is kept.")


if __name__ == "__main__":
    main()
