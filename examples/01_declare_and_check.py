"""Read the definitions, have them checked together, and see what the registry knows of them."""

import argparse
import os
import tempfile
from pathlib import Path

from featurestore import FeatureStore

PROJECT = Path(__file__).resolve().parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder that holds results.csv")
    parser.add_argument("--home", type=Path, help="folder for the store's files; by default a temporary one")
    given = parser.parse_args()
    if given.data is not None:
        os.environ["FEATURESTORE_FOOTBALL"] = str(given.data.resolve())
    with tempfile.TemporaryDirectory() as folder:
        tell(given.home or Path(folder))


def tell(home: Path) -> None:
    with FeatureStore("definitions/football.py", home, root=PROJECT) as store:
        registry = store.registry
        service = registry.service("match")
        print(f"{len(registry.entities)} entities, {len(registry.sources)} source, {len(registry.features)} features.")
        print(f"Service 'match' gives {len(service.outputs)} values, such as:")
        for name in ("home_team__form_365d", "home_team_away_team__head_to_head", "strength_gap_8y"):
            print(f"  {name}: {registry.feature(name).description.splitlines()[0]}")
        print(f"strength_gap_8y is made of: {', '.join(registry.lineage('strength_gap_8y').upstream)}")
        print(f"Its fingerprint is {registry.fingerprints['strength_gap_8y'][:12]}: it changes when its meaning does.")
        print(f"Not yet applied: {len(store.plan())} declarations.")
        store.apply()
        print(f"After apply: {len(store.plan())}.")


if __name__ == "__main__":
    main()
