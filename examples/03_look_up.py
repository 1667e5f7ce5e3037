"""Ask the online store for the newest matches as of their mornings, and compare with their training rows."""

import argparse
import os
import tempfile
from pathlib import Path

from featurestore import FeatureStore

PROJECT = Path(__file__).resolve().parent.parent
ROWS = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder that holds results.csv")
    parser.add_argument("--home", type=Path, help="folder for the store's files; by default a temporary one")
    given = parser.parse_args()
    if given.data is not None:
        os.environ["FEATURESTORE_FOOTBALL"] = str(given.data.resolve())
    data = PROJECT / os.environ.get("FEATURESTORE_FOOTBALL", "../shared/data/football")
    with tempfile.TemporaryDirectory() as folder:
        look_up(data, given.home or Path(folder))


def look_up(data: Path, home: Path) -> None:
    spine = f"""
        FROM (
            SELECT date AS event_time, home_team, away_team, neutral, tournament
            FROM read_csv('{str(data / "results.csv").replace("'", "''")}', header=true, nullstr='NA')
            WHERE home_score IS NOT NULL ORDER BY ALL DESC LIMIT {ROWS}
        ) ORDER BY ALL
    """
    with FeatureStore("definitions/football.py", home, root=PROJECT) as store:
        store.materialize()
        training = store.training_set("match", spine).to_arrow()
        names = store.registry.service("match").outputs
        same = 0
        for row in training.to_pylist():
            request = {name: row[name] for name in ("home_team", "away_team", "neutral", "tournament")}
            vector = store.lookup("match", request, as_of=row["event_time"].isoformat())
            # repr() of a float reads back as the same eight bytes: equal text is equal bytes and equal types
            same += repr(vector.to_dict()) == repr({name: row[name] for name in names})
        print(f"{row['home_team']} against {row['away_team']} on {row['event_time']}, asked online:")
        for name in ("home_team__form_365d", "away_team__form_365d", "home_team__rest_days", "strength_gap_8y"):
            print(f"  {name} = {vector[name]}")
        print(f"Seen: the store's log up to position {vector.position}, as of {vector.as_of:%Y-%m-%d %H:%M} UTC.")
        print(f"{same} of {len(training)} lookups equal their training rows byte for byte.")


if __name__ == "__main__":
    main()
