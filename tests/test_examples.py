"""Each example runs, and what it prints is true."""

import csv
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
DATA = PROJECT / os.environ.get("FEATURESTORE_FOOTBALL", "../shared/data/football")


@pytest.fixture(autouse=True, scope="module")
def _data() -> None:
    if not (DATA / "results.csv").is_file():
        missing = f"No results.csv in {DATA}: name its folder in FEATURESTORE_FOOTBALL."
        pytest.fail(missing) if os.environ.get("FEATURESTORE_CI") == "1" else pytest.skip(missing)


@cache
def matches() -> list[dict[str, str]]:
    with (DATA / "results.csv").open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if row["home_score"] != "NA"]


@cache
def run(script: str, *arguments: str) -> str:
    """What a script prints; it must end well, without a warning."""
    command = [sys.executable, "-W", "error", str(PROJECT / "examples" / script), "--data", str(DATA), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def form(team: str, day: str) -> float:
    """Points per match over the 365 days before a day of 2026, by a plain loop."""
    earned = []
    for row in matches():
        if team in (row["home_team"], row["away_team"]) and f"2025{day[4:]}" <= row["date"] < day:
            margin = int(row["home_score"]) - int(row["away_score"])
            margin = margin if row["home_team"] == team else -margin
            earned.append(3 if margin > 0 else int(margin == 0))
    return sum(earned) / len(earned)


def test_the_definitions_are_checked_and_applied() -> None:
    printed = run("01_declare_and_check.py")
    assert "2 entities, 1 source, 20 features." in printed
    assert "Not yet applied: 24 declarations." in printed
    assert "After apply: 0." in printed


def test_the_training_set_has_each_match_of_ten_years() -> None:
    printed = run("02_build_training_set.py")
    assert f"Loaded {2 * len(matches()):,} events" in printed
    assert "Loading again finds 0 new ones." in printed
    assert f"{sum(row['date'] >= '2016' for row in matches()):,} rows, 49 features" in printed


def test_first_meetings_are_counted_right() -> None:
    printed = run("02_build_training_set.py")
    first: dict[frozenset[str], str] = {}
    for row in matches():
        pair = frozenset((row["home_team"], row["away_team"]))
        first[pair] = min(first.get(pair, row["date"]), row["date"])
    recent = [row for row in matches() if row["date"] >= "2016"]
    fresh = sum(first[frozenset((row["home_team"], row["away_team"]))] == row["date"] for row in recent)
    assert f"\n{fresh:,} matches were first meetings" in printed


def test_the_lookup_gives_the_form_of_a_plain_loop() -> None:
    printed = run("03_look_up.py")
    told = re.search(r"^(.+) against (.+) on (\S+), asked online:$", printed, re.MULTILINE)
    assert told is not None
    home, away, day = told.groups()
    assert f"home_team__form_365d = {form(home, day)!r}\n" in printed
    assert f"away_team__form_365d = {form(away, day)!r}\n" in printed
    assert "20 of 20 lookups equal their training rows byte for byte." in printed


@pytest.mark.slow
def test_the_model_beats_base_rates_and_elo() -> None:
    printed = run("04_train_and_compare.py")
    table = {line.split()[0]: line.split()[1:] for line in printed.splitlines() if re.match(r"(\d{4}|all) ", line)}
    newest = int(max(row["date"] for row in matches())[:4])
    assert list(table) == [*(str(year) for year in range(newest - 9, newest + 1)), "all"]
    for year in range(newest - 9, newest + 1):
        assert int(table[str(year)][0]) == sum(row["date"].startswith(str(year)) for row in matches())
    base, elo, model = (float(loss) for loss in table["all"][1:4])
    assert model < elo < base
    assert "Over all years the model has the lowest log-loss." in printed


def test_random_rows_are_the_same_bytes_in_three_ways() -> None:
    assert "300 rows of 49 features asked for in three ways; 0 differ." in run("05_same_bytes.py", "--n", "300")


@pytest.mark.slow
def test_what_http_answered_at_any_position_is_the_training_set_of_that_position() -> None:
    printed = run("06_same_bytes_over_http.py", "--n", "2000", "--events", "5000")
    assert "2,000 rows at 20 positions" in printed
    assert "0 answered at another position, 0 differ." in printed
    moved = [
        int(one.replace(",", "")) for one in re.findall(r"([\d,]+) would be other bytes at the newest one", printed)
    ]
    assert len(moved) == 2
    assert min(moved) > 100
