"""Ask for random teams at random instants in three ways: training set, lookup, lookup_many. All bytes must agree."""

import argparse
import os
import random
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from featurestore import FeatureStore

PROJECT = Path(__file__).resolve().parent.parent
FIRST = datetime(1900, 1, 1, tzinfo=UTC)
DAYS = 46_000
MICROSECOND = timedelta(microseconds=1)
REQUEST = ("home_team", "away_team", "neutral", "tournament")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder that holds results.csv")
    parser.add_argument("--home", type=Path, help="folder for the store's files; by default a temporary one")
    parser.add_argument("--n", type=int, default=500, help="how many rows to ask for")
    parser.add_argument("--seed", type=int, default=1, help="of the random choice")
    given = parser.parse_args()
    if given.data is not None:
        os.environ["FEATURESTORE_FOOTBALL"] = str(given.data.resolve())
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(compare(given.home or Path(folder), given.n, given.seed))


def compare(home: Path, count: int, seed: int) -> int:
    """Exit code 1 if any row differs."""
    with FeatureStore("definitions/football.py", home, root=PROJECT) as store:
        store.materialize()
        names = store.registry.service("match").outputs
        rows = ask(store, count, random.Random(seed))  # noqa: S311 - a sample, no secret
        trained = [texts(row, names) for row in store.training_set("match", rows).to_arrow().to_pylist()]
        requests = [{name: row[name] for name in REQUEST} for row in rows]
        moments = [row["event_time"] for row in rows]
        many = [texts(one, names) for one in store.lookup_many("match", requests, as_of=moments)]
        single = [
            texts(store.lookup("match", request, as_of=at), names)
            for request, at in zip(requests, moments, strict=True)
        ]
    differing = sum(not one == two == three for one, two, three in zip(trained, single, many, strict=True))
    print(f"{count:,} rows of {len(names)} features asked for in three ways; {differing} differ.")
    return 1 if differing else 0


def ask(store: FeatureStore, count: int, choose: random.Random) -> list[dict[str, Any]]:
    """Teams that exist and one that does not; midnights, one microsecond either side of them, and any instant."""
    logged = store.log.read("matches", columns=["team"])
    teams = [*sorted(set(logged.column("team").to_pylist())), "Atlantis"]
    shifts = [timedelta(0), MICROSECOND, -MICROSECOND]
    return [
        {
            "event_time": FIRST
            + timedelta(days=choose.randrange(DAYS))
            + choose.choice([*shifts, timedelta(seconds=choose.randrange(86_400))]),
            "home_team": choose.choice(teams),
            "away_team": choose.choice(teams),
            "neutral": choose.random() < 0.3,  # noqa: PLR2004 - about as often as in the file
            "tournament": choose.choice(["Friendly", "FIFA World Cup"]),
        }
        for _ in range(count)
    ]


def texts(row: Any, names: tuple[str, ...]) -> list[str]:
    """Exact text of each value: equal text is equal bytes and equal types."""
    return [repr(row[name]) for name in names]


if __name__ == "__main__":
    main()
