"""Ask a server for randomly drawn rows while its log grows; each must be the bytes of the training set.

Football and payments are served together. Their history is loaded in parts, and payments are ingested, between the
requests: so each row is asked for as of a drawn instant, at a drawn position of the log. Afterwards training sets are
built as of the same instants and positions, and compared with what was answered: names, types, bits of each number.
"""

import argparse
import csv
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from featurestore import FeatureStore, scaffold
from featurestore.demo.client import ServerProcess
from featurestore.demo.proof import features_of
from featurestore.verify.bits import in_bytes

PROJECT = Path(__file__).resolve().parent.parent
LOADS = 10  # parts that the history comes in; each is one position, and so is each ingest
NEAR = [timedelta(0), timedelta(microseconds=1), timedelta(microseconds=-1)]
LARGEST_BATCH = 40
SERVICES = ("match", "fraud")
Row = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """A row that was asked for, and the answer; ``position`` is the log's as its last writer was told it."""

    service: str
    row: Row
    position: int
    answer: Mapping[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, help="folder that holds results.csv")
    parser.add_argument("--n", type=int, default=2_000, help="how many rows to ask for")
    parser.add_argument("--events", type=int, default=20_000, help="how many payments to simulate")
    parser.add_argument("--seed", type=int, default=1, help="of the random choice")
    given = parser.parse_args()
    data = given.data or PROJECT / os.environ.get("FEATURESTORE_FOOTBALL", "../shared/data/football")
    os.environ.pop("FEATURESTORE_FOOTBALL", None)  # the project made here has its own, which grows
    with tempfile.TemporaryDirectory() as folder:
        growing = Growing(Path(folder), data / "results.csv", given.events, random.Random(given.seed))  # noqa: S311 - a sample
        sys.exit(prove(growing, given.n))


def prove(growing: "Growing", count: int) -> int:
    """Exit code 1 if any row differs."""
    server = ServerProcess(growing.project, "--deadline", "30")
    with FeatureStore.open(growing.project) as store:
        store.apply()
        growing.load(0)
        store.materialize()
        try:
            server.start()
            asked = list(ask(growing, store, server, count))
        finally:
            server.stop()
        differing = sum(compare(store, name, [one for one in asked if one.service == name]) for name in SERVICES)
    misplaced = sum(one.answer["position"] != one.position for one in asked)
    positions, instants = {one.position for one in asked}, {one.answer["as_of"] for one in asked}
    print(f"{len(asked):,} rows at {len(positions)} positions as of {len(instants):,} instants:", end=" ")
    print(f"{misplaced} answered at another position, {differing} differ.")
    return 1 if differing or misplaced or not asked else 0


def ask(growing: "Growing", store: FeatureStore, server: ServerProcess, count: int) -> Iterator[Asked]:
    """Draw rows and their places among loads and ingests, and ask: half of them one by one, half in batches."""
    stages = 2 * LOADS
    drawn = sorted(growing.choose.choices(range(stages), k=count))
    for stage in range(stages):
        if stage % 2:
            position = server.post("/events/transactions", {"rows": growing.fresh(stage)})["position"]
        else:
            growing.load(stage // 2)
            position = store.materialize(history=True).position
        left = drawn.count(stage)
        while left:
            name = growing.choose.choice(SERVICES)
            size = min(left, growing.choose.choice([1] * LARGEST_BATCH + [LARGEST_BATCH]))
            rows, as_of = [growing.row(name) for _ in range(size)], growing.instant(name)
            path = f"/features/{name}"
            if size == 1:
                answers = [server.post(path, rows[0], as_of=as_of)]
            else:
                answers = server.post(f"{path}/batch", {"rows": rows}, as_of=as_of)["rows"]
            yield from (Asked(name, row, position, one) for row, one in zip(rows, answers, strict=True))
            left -= size


def compare(store: FeatureStore, service: str, asked: Sequence[Asked]) -> int:
    """How many rows differ from a training set as of the same instants and positions."""
    spine = [{**one.row, "event_time": datetime.fromisoformat(one.answer["as_of"])} for one in asked]
    made = store.training_set(service, spine, position=[one.position for one in asked])
    trained = [in_bytes(features_of(row, made.manifest)) for row in made.to_arrow().to_pylist()]
    differing: int = sum(
        mine != in_bytes(one.answer["features"]) or one.answer["fingerprint"] != made.manifest["fingerprint"]
        for mine, one in zip(trained, asked, strict=True)
    )
    newest = store.training_set(service, spine)  # what they would be if positions did not matter
    others = [in_bytes(features_of(row, newest.manifest)) for row in newest.to_arrow().to_pylist()]
    moved = sum(mine != other for mine, other in zip(trained, others, strict=True))
    values = [value for one in asked for value in one.answer["features"].values()]
    present = sum(value is not None for value in values) / max(1, len(values))
    print(f"{service}: {len(asked):,} rows, {len(values):,} values, {present:.0%} not null; {differing} rows differ.")
    print(f"  Positions matter: {moved:,} would be other bytes at the newest one.")
    return differing


class Growing:
    """A project whose files grow: matches and payments in parts, in the order in which they became known."""

    def __init__(self, folder: Path, results: Path, events: int, choose: random.Random) -> None:
        self.choose = choose
        self.project = folder / "project"
        made = scaffold.create(self.project, events=events).data
        shutil.copy(PROJECT / "definitions" / "football.py", self.project / "definitions")
        self._results = folder / "shared" / "data" / "football" / "results.csv"  # where the definitions look for it
        self._results.parent.mkdir(parents=True)
        with results.open(encoding="utf-8", newline="") as file:
            played = [row for row in csv.reader(file) if row[3] != "NA"]
        self._header, self._matches = played[0], sorted(played[1:], key=lambda row: row[0])
        self._payments = pa.concat_tables([pq.read_table(one) for one in made.files]).sort_by("received_at")
        for one in made.files:
            one.unlink()
        self._listed = self._payments.to_pylist()
        self._match_cuts = self._cuts(len(self._matches))
        self._payment_cuts = self._cuts(len(self._listed))

    def load(self, part: int) -> None:
        """Put the files of all parts up to this one there."""
        with self._results.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([self._header, *self._matches[: self._match_cuts[part + 1]]])
        first, last = self._payment_cuts[part : part + 2]
        path = self.project / "data" / "transactions" / f"part{part:02}.parquet"
        pq.write_table(self._payments.slice(first, last - first), path)

    def fresh(self, stage: int) -> list[Row]:
        """Payments that happened within the last hour and arrive now; many of them to be asked for again."""
        now = datetime.now(UTC)
        known = self.choose.choices(self._listed, k=50)
        own = [
            {"transaction_id": f"new{stage}-{number}", "event_time": (now - timedelta(minutes=number)).isoformat()}
            for number in range(len(known))
        ]
        kept = ("customer_id", "merchant", "channel", "amount")
        return [{**new, **{name: old[name] for name in kept}} for new, old in zip(own, known, strict=True)]

    def row(self, service: str) -> Row:
        """Keys that have met, keys that have not, and some that nobody knows."""
        if service == "fraud":
            one, other = self.choose.choices(self._listed, k=2)
            return {
                "customer_id": self.choose.choice([one["customer_id"]] * 30 + ["nobody"]),
                "merchant": self.choose.choice([one["merchant"]] * 20 + [other["merchant"]] * 10 + [None, "nowhere"]),
                "amount": round(self.choose.uniform(0, 500), 2),
                "channel": self.choose.choice(["online", "shop"]),
            }
        home, away = self.choose.choice(self._matches)[1:3]
        stranger = self.choose.choice(self._matches)[2]
        return {
            "home_team": self.choose.choice([home] * 30 + ["Atlantis"]),
            "away_team": self.choose.choice([away] * 20 + [stranger] * 10),
            "neutral": self.choose.random() < 0.3,  # noqa: PLR2004 - about as often as in the file
            "tournament": self.choose.choice(["Friendly", "FIFA World Cup"]),
        }

    def instant(self, service: str) -> datetime | None:
        """An event's own instant, a microsecond beside it, any other of the history; or ``None`` for now."""
        if self.choose.random() < 0.1:  # noqa: PLR2004 - the share that asks for now
            return None
        if service == "fraud":
            one = self.choose.choice(self._listed)
            moment: datetime = one[self.choose.choice(["event_time", "received_at"])]
            within = timedelta(days=1)
        else:
            moment = datetime.fromisoformat(self.choose.choice(self._matches)[0]).replace(tzinfo=UTC)
            within = timedelta(days=365)
        anywhere = moment + within * self.choose.random()
        return min(datetime.now(UTC), self.choose.choice([*(moment + one for one in NEAR), anywhere]))

    def _cuts(self, rows: int) -> list[int]:
        """Where parts begin and end: half of all rows come first, so that there is something to ask for."""
        return [0, *sorted(self.choose.sample(range(rows // 2, rows), LOADS - 1)), rows]


if __name__ == "__main__":
    main()
