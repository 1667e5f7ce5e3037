"""The football definitions against plain loops: over a few literal matches, and over the whole file."""

import bisect
import csv
import math
import os
import random
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from featurestore import FeatureStore

PROJECT = Path(__file__).resolve().parent.parent
DATA = PROJECT / os.environ.get("FEATURESTORE_FOOTBALL", "../shared/data/football")
HEADER = "date,home_team,away_team,home_score,away_score,tournament,city,country,neutral"
THREE_YEARS, EIGHT_YEARS = timedelta(days=1095), timedelta(days=2920)


class Side(NamedTuple):
    """A match as one team saw it."""

    day: datetime
    opponent: str
    scored: int
    conceded: int
    home: bool


Histories = dict[str, list[Side]]


def few(folder: Path, monkeypatch: pytest.MonkeyPatch, *lines: str) -> FeatureStore:
    """Store over a file of these lines."""
    (folder / "results.csv").write_text("\n".join([HEADER, *lines, ""]), encoding="utf-8")
    monkeypatch.setenv("FEATURESTORE_FOOTBALL", str(folder))
    return FeatureStore("definitions/football.py", folder / "home", root=PROJECT)


def ask(store: FeatureStore, home: str, away: str, at: str) -> dict[str, Any]:
    row = {"home_team": home, "away_team": away, "neutral": False, "tournament": "Friendly"}
    return store.lookup("match", row, as_of=at).to_dict()


def test_a_match_is_unseen_to_the_end_of_its_day_and_seen_from_midnight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with few(tmp_path, monkeypatch, "2020-05-01,Peru,Chile,2,0,Friendly,Lima,Peru,FALSE") as store:
        store.materialize()
        for instant in ("2020-05-01T00:00:00Z", "2020-05-01T18:00:00Z", "2020-05-01T23:59:59.999999Z"):
            assert ask(store, "Peru", "Chile", instant)["home_team__played_365d"] == 0
        after = ask(store, "Peru", "Chile", "2020-05-02T00:00:00Z")
    assert after["home_team__played_365d"] == 1
    assert after["home_team__form_365d"] == 3.0
    assert after["away_team__form_365d"] == 0.0
    assert after["home_team__rest_days"] == 1.0


def test_two_matches_of_one_pair_on_one_day_both_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = "1974-02-17,Peru,Chile,1,1,Friendly,Lima,Peru,FALSE"
    with few(tmp_path, monkeypatch, line, line) as store:
        assert store.materialize().rows == 4
        assert ask(store, "Peru", "Chile", "1974-02-17")["home_team_away_team__meetings"] == 0
        after = ask(store, "Peru", "Chile", "1974-02-18")
    assert after["home_team_away_team__meetings"] == 2
    assert after["home_team_away_team__head_to_head"] == 1.0


def test_head_to_head_is_told_from_the_home_team_of_the_fixture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with few(tmp_path, monkeypatch, "2020-05-01,Peru,Chile,3,1,Friendly,Lima,Peru,FALSE") as store:
        store.materialize()
        assert ask(store, "Peru", "Chile", "2020-06-01")["home_team_away_team__head_to_head_margin"] == 2.0
        assert ask(store, "Chile", "Peru", "2020-06-01")["home_team_away_team__head_to_head_margin"] == -2.0


def test_a_match_without_a_score_is_still_to_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    played = "2020-05-01,Peru,Chile,3,1,Friendly,Lima,Peru,FALSE"
    with few(tmp_path, monkeypatch, played, "2020-05-09,Peru,Chile,NA,NA,Friendly,Lima,Peru,FALSE") as store:
        assert store.materialize().rows == 2


def test_a_new_match_is_added_by_the_next_materialization(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = "2020-05-01,Peru,Chile,3,1,Friendly,Lima,Peru,FALSE"
    second = "2020-05-09,Chile,Peru,0,0,Friendly,Lima,Chile,FALSE"
    with few(tmp_path, monkeypatch, first) as store:
        store.materialize()
    with few(tmp_path, monkeypatch, first, second) as store:
        assert store.materialize().rows == 2
        assert store.materialize().rows == 0


def test_teams_that_never_played_have_nulls_and_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with few(tmp_path, monkeypatch, "2020-05-01,Peru,Chile,3,1,Friendly,Lima,Peru,FALSE") as store:
        store.materialize()
        vector = ask(store, "Atlantis", "Peru", "2020-06-01")
    assert vector["home_team__played_2920d"] == 0
    assert vector["home_team__form_365d"] is None
    assert vector["strength_gap_8y"] is None
    assert vector["away_team__strength_365d"] == 1.5


# --- the whole file ---


@pytest.fixture(scope="module")
def matches() -> list[dict[str, str]]:
    if not (DATA / "results.csv").is_file():
        missing = f"No results.csv in {DATA}: name its folder in FEATURESTORE_FOOTBALL."
        pytest.fail(missing) if os.environ.get("FEATURESTORE_CI") == "1" else pytest.skip(missing)
    with (DATA / "results.csv").open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if row["home_score"] != "NA"]


@pytest.fixture(scope="module")
def histories(matches: list[dict[str, str]]) -> Histories:
    found: Histories = defaultdict(list)
    for row in sorted(matches, key=lambda one: one["date"]):
        home, away, own = row["home_team"], row["away_team"], row["neutral"] == "FALSE"
        scored, conceded = int(row["home_score"]), int(row["away_score"])
        found[home].append(Side(midnight(row["date"]), away, scored, conceded, own))
        found[away].append(Side(midnight(row["date"]), home, conceded, scored, home=False))
    return found


@pytest.fixture(scope="module")
def store(matches: list[dict[str, str]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureStore]:
    assert matches
    with FeatureStore("definitions/football.py", tmp_path_factory.mktemp("football"), root=PROJECT) as opened:
        opened.materialize()
        yield opened


@pytest.fixture(scope="module")
def sample(matches: list[dict[str, str]], store: FeatureStore) -> list[dict[str, Any]]:
    """Training rows of random matches, and of all matches of days on which a team played twice."""
    seen: dict[tuple[str, str], int] = defaultdict(int)
    for row in matches:
        for side in ("home_team", "away_team"):
            seen[row["date"], row[side]] += 1
    twice = {key for key, count in seen.items() if count > 1}
    tied = [row for row in matches if {(row["date"], row["home_team"]), (row["date"], row["away_team"])} & twice]
    spine = [
        {
            "event_time": midnight(row["date"]),
            "home_team": row["home_team"],
            "away_team": row["away_team"],
            "neutral": row["neutral"] == "TRUE",
            "tournament": row["tournament"],
        }
        for row in [*random.Random(3).sample(matches, 400), *tied]
    ]
    assert len(spine) > 400
    return list(store.training_set("match", spine).to_arrow().to_pylist())


def midnight(day: str) -> datetime:
    return datetime.fromisoformat(day).replace(tzinfo=UTC)


def before(histories: Histories, row: dict[str, Any], role: str, span: timedelta | None = None) -> list[Side]:
    at = row["event_time"]
    return [one for one in histories[row[role]] if one.day < at and (span is None or one.day >= at - span)]


def points(sides: list[Side]) -> float | None:
    total = sum(3 if one.scored > one.conceded else int(one.scored == one.conceded) for one in sides)
    return total / len(sides) if sides else None


def margin(sides: list[Side]) -> float | None:
    return sum(one.scored - one.conceded for one in sides) / len(sides) if sides else None


@pytest.mark.parametrize("role", ["home_team", "away_team"])
def test_form_and_goals_are_those_of_a_plain_loop(
    sample: list[dict[str, Any]], histories: Histories, role: str
) -> None:
    for row in sample:
        sides = before(histories, row, role, THREE_YEARS)
        assert row[f"{role}__form_1095d"] == points(sides)
        assert row[f"{role}__played_1095d"] == len(sides)
        scored = sum(one.scored for one in sides) / len(sides) if sides else None
        assert row[f"{role}__goals_for_mean_1095d"] == scored


def test_home_advantage_is_that_of_a_plain_loop(sample: list[dict[str, Any]], histories: Histories) -> None:
    for row in sample:
        sides = before(histories, row, "home_team", EIGHT_YEARS)
        own, other = margin([one for one in sides if one.home]), margin([one for one in sides if not one.home])
        assert row["home_team__home_advantage"] == (None if own is None or other is None else own - other)


def test_rest_is_the_days_since_the_last_match_before_that_day(
    sample: list[dict[str, Any]], histories: Histories
) -> None:
    for row in sample:
        days = [one.day for one in before(histories, row, "home_team")]
        assert row["home_team__rest_days"] == ((row["event_time"] - max(days)) / timedelta(days=1) if days else None)


def test_head_to_head_is_that_of_a_plain_loop(sample: list[dict[str, Any]], histories: Histories) -> None:
    for row in sample:
        met = [one for one in before(histories, row, "home_team") if one.opponent == row["away_team"]]
        assert row["home_team_away_team__meetings"] == len(met)
        assert row["home_team_away_team__head_to_head"] == points(met)
        assert row["home_team_away_team__head_to_head_margin"] == margin(met)


def test_strength_is_that_of_three_rounds_of_plain_loops(
    sample: list[dict[str, Any]], matches: list[dict[str, str]]
) -> None:
    rated = performances(matches)
    for row in sample:
        at = row["event_time"]
        own = [worth for day, worth in rated[row["home_team"]] if at - EIGHT_YEARS <= day < at]
        assert row["home_team__strength_2920d"] == (sum(own) / len(own) / 1000 if own else None)


def performances(matches: list[dict[str, str]]) -> dict[str, list[tuple[datetime, int]]]:
    """Day and performance of each team's matches, in order of days."""
    margins = []
    for row in sorted(matches, key=lambda one: one["date"]):
        capped = 1000 * max(-3, min(3, int(row["home_score"]) - int(row["away_score"])))
        worth = capped - (500 if row["neutral"] == "FALSE" else 0)
        margins.append((midnight(row["date"]), row["home_team"], row["away_team"], worth))
    rated: dict[str, list[tuple[datetime, int]]] = {}
    for number in range(4):
        averages = {team: Average(sides) for team, sides in rated.items()}
        rated = defaultdict(list)
        for day, home, away, worth in margins:
            rated[home].append((day, worth + (averages[away].before(day) if number else 0)))
            rated[away].append((day, -worth + (averages[home].before(day) if number else 0)))
    return rated


class Average:
    """Mean of one team's performances over the eight calendar years before a day, in whole thousandths."""

    def __init__(self, sides: list[tuple[datetime, int]]) -> None:
        self.days = [day for day, _ in sides]
        self.values = [worth for _, worth in sides]

    def before(self, day: datetime) -> int:
        leap = (day.month, day.day) == (2, 29) and (day.year - 8) % 4 + (day.year - 8 == 1900) > 0
        since = day.replace(year=day.year - 8, day=28 if leap else day.day)
        chosen = self.values[bisect.bisect_left(self.days, since) : bisect.bisect_left(self.days, day)]
        mean = sum(chosen) / len(chosen) if chosen else 0.0
        return int(math.copysign(math.floor(abs(mean) + 0.5), mean))
