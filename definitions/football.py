"""Men's international football: what is known of two teams on the morning of their match.

The data is `results.csv` of the public repository martj42/international_results (CC0): one row is one match, by day,
without a clock time. The folder that holds it is named by the environment variable FEATURESTORE_FOOTBALL; a relative
path starts at the project's root.

**Two rows per match.** A match is an event of both its teams, so the source is a query that turns each row of the file
into two, one as each team saw it. Two teams may meet twice on a day (1974-02-17), so day and teams identify nothing:
the source has no key, and every row counts.

**When it was known.** A match's event time is its day at 00:00 UTC; its result came hours later. The delay ends with
the last microsecond of that day: asked at any instant of a day, no match of that day is seen, and from the next
midnight on it is. A delay of a whole day would hide yesterday's match at midnight, for only what was known *before* an
instant counts.

**When the past is corrected.** New matches are added by the next `materialize`. A correction of an old match changes
the `performance` of later ones too, so the loaded rows no longer agree with the file: `materialize(rebuild=True)`.
"""

import os
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

from featurestore import Entity, FeatureService, Source, aggregations, feature, on
from featurestore.column import Column
from featurestore.window import Window

FOLDER = Path(__file__).parent.parent / os.environ.get("FEATURESTORE_FOOTBALL", "../shared/data/football")
DAY = 86_400
ROUNDS = 3
ONE_YEAR, THREE_YEARS, EIGHT_YEARS = "365d", "1095d", "2920d"
YEARS = [ONE_YEAR, THREE_YEARS, EIGHT_YEARS]
REST_OF_THE_DAY = timedelta(days=1, microseconds=-1)


class TeamMatch(BaseModel):
    """One match as one of its two teams saw it."""

    day: datetime
    team: str
    opponent: str
    goals_for: int = Field(ge=0)
    goals_against: int = Field(ge=0)
    venue: Literal["home", "away", "neutral"]
    tournament: str
    performance: int = Field(
        description="Thousandths of a goal: the margin (3 at most), less half a goal for playing at home, plus what "
        "the opponent's own performances averaged over the eight years before that day."
    )


class Fixture(BaseModel):
    """What the caller knows of a match that is still to be played."""

    neutral: bool
    tournament: str


def _rated(rounds: int) -> str:
    """SQL of ``performance``: each round rates the opponents by the round before, from matches of earlier days alone.

    Whole thousandths are averaged, not fractions: their sum does not depend on the order in which DuckDB adds.
    """
    steps = ["round_0 AS (SELECT *, margin AS performance FROM sides)"]
    steps += [
        f"""
        strength_{number} AS (
            SELECT match, team_number, coalesce(round(avg(performance) OVER (
                PARTITION BY team ORDER BY day RANGE BETWEEN INTERVAL 8 YEARS PRECEDING AND INTERVAL 1 DAY PRECEDING
            )), 0)::BIGINT AS strength
            FROM round_{number - 1}
        ),
        round_{number} AS (
            SELECT sides.*, margin + strength AS performance
            FROM sides JOIN strength_{number} AS other
            ON sides.match = other.match AND sides.team_number <> other.team_number
        )"""
        for number in range(1, rounds + 1)
    ]
    return ",".join(steps)


QUERY = f"""
    WITH matches AS MATERIALIZED (
        SELECT row_number() OVER () AS match, *
        FROM read_csv('{str(FOLDER / "results.csv").replace("'", "''")}', header=true, nullstr='NA')
        WHERE home_score IS NOT NULL AND away_score IS NOT NULL  -- matches to come are listed without a score
    ),
    each_side AS (
        SELECT match, 1 AS team_number, date AS day, home_team AS team, away_team AS opponent, home_score AS goals_for,
            away_score AS goals_against, CASE WHEN neutral THEN 'neutral' ELSE 'home' END AS venue, tournament
        FROM matches
        UNION ALL
        SELECT match, 2, date, away_team, home_team, away_score,
            home_score, CASE WHEN neutral THEN 'neutral' ELSE 'away' END, tournament
        FROM matches
    ),
    sides AS (
        SELECT *, 1000 * least(3, greatest(-3, goals_for - goals_against))
            + CASE venue WHEN 'home' THEN -500 WHEN 'away' THEN 500 ELSE 0 END AS margin
        FROM each_side
    ),
    {_rated(ROUNDS)}
    SELECT day::TIMESTAMP AS day, team, opponent, goals_for, goals_against, venue, tournament, performance
    FROM round_{ROUNDS}
"""

team = Entity("team", key="team")
pair = Entity("pair", key=("team", "opponent"))  # in this order: what the first of the two did against the second
matches = Source("matches", schema=TeamMatch, query=QUERY, event_time="day", delay=REST_OF_THE_DAY)
of_team = matches.by(team)
of_pair = matches.by(pair)


def points_per_match(tx: Window) -> Column:
    """Three points for a win, one for a draw; null without matches."""
    won: Column = tx[tx.goals_for > tx.goals_against].count()
    drawn: Column = tx[tx.goals_for == tx.goals_against].count()
    return (3 * won + drawn) / tx.count()


def mean_margin(tx: Window) -> Column:
    """Goals for less goals against, per match; null without matches."""
    return (tx.goals_for - tx.goals_against).mean()


# --- of one team ---


@feature(of_team, windows=YEARS)
def form(tx: Window) -> Column:
    """Points per match, 0 to 3; null without matches."""
    return points_per_match(tx)


@feature(of_team, windows=YEARS)
def strength(tx: Window) -> Column:
    """Mean performance in goals: the margin, corrected for venue and opponent; null without matches."""
    return tx.performance.mean() / 1000


@feature(of_team, windows=YEARS)
def played(tx: Window) -> Column:
    """Number of matches."""
    return tx.count()


@feature(of_team, window=THREE_YEARS)
def win_share(tx: Window) -> Column:
    """Share of matches won, 0 to 1; null without matches."""
    won: Column = tx[tx.goals_for > tx.goals_against].count()
    return won / tx.count()


@feature(of_team, window=EIGHT_YEARS)
def home_advantage(tx: Window) -> Column:
    """Mean margin at home less that elsewhere, goals; null without matches of both kinds."""
    return mean_margin(tx[tx.venue == "home"]) - mean_margin(tx[tx.venue != "home"])


@feature(of_team, window=EIGHT_YEARS)
def competitive_margin(tx: Window) -> Column:
    """Mean margin in matches that were no friendlies, goals; null without such."""
    return mean_margin(tx[tx.tournament != "Friendly"])


@feature(of_team)
def rest_days(tx: Window) -> Column:
    """Days since the last match; null before the first."""
    return tx.since_last() / DAY


goals = aggregations(of_team, columns=["goals_for", "goals_against"], functions=["mean"], windows=YEARS)

# --- of two teams ---


@feature(of_pair)
def meetings(tx: Window) -> Column:
    """Matches that the two have ever played."""
    return tx.count()


@feature(of_pair)
def head_to_head(tx: Window) -> Column:
    """Points per match of the first team against the second, whole history; null if they never met."""
    return points_per_match(tx)


@feature(of_pair)
def head_to_head_margin(tx: Window) -> Column:
    """Mean margin of the first team against the second, goals, whole history; null if they never met."""
    return mean_margin(tx)


# --- of one fixture: plain functions of the features above, in the roles that the two teams play ---


@feature
def strength_gap_1y(home_team__strength_365d: float, away_team__strength_365d: float) -> float:
    """Home team's strength less the away team's over a year, goals; null if either has not played."""
    return home_team__strength_365d - away_team__strength_365d


@feature
def strength_gap_3y(home_team__strength_1095d: float, away_team__strength_1095d: float) -> float:
    """Home team's strength less the away team's over three years, goals; null if either has not played."""
    return home_team__strength_1095d - away_team__strength_1095d


@feature
def strength_gap_8y(home_team__strength_2920d: float, away_team__strength_2920d: float) -> float:
    """Home team's strength less the away team's over eight years, goals; null if either has not played."""
    return home_team__strength_2920d - away_team__strength_2920d


@feature
def form_gap(home_team__form_1095d: float, away_team__form_1095d: float) -> float:
    """Home team's points per match less the away team's over three years; null if either has not played."""
    return home_team__form_1095d - away_team__form_1095d


@feature
def rest_gap(home_team__rest_days: float, away_team__rest_days: float) -> float:
    """Days that the home team has rested longer, within 30 either way; null before either's first match."""
    return max(-30.0, min(30.0, home_team__rest_days - away_team__rest_days))


@feature
def home_edge(neutral: bool, home_team__home_advantage: float) -> float:  # noqa: FBT001 - parameters are resolved by name
    """Goals that the home team gains by playing at home: 0 on neutral ground; null if it is not known."""
    return 0.0 if neutral else home_team__home_advantage


@feature
def on_neutral_ground(neutral: bool) -> bool:  # noqa: FBT001 - parameters are resolved by name
    """Whether neither team plays at home."""
    return neutral


@feature
def friendly(tournament: str) -> bool:
    """Whether nothing but honour is at stake."""
    return tournament == "Friendly"


ONE_TEAM = [form, strength, played, win_share, home_advantage, competitive_margin, rest_days, goals]

match = FeatureService(
    "match",
    features=[
        on("home_team", ONE_TEAM),
        on("away_team", ONE_TEAM),
        on({"team": "home_team", "opponent": "away_team"}, meetings, head_to_head, head_to_head_margin),
        [strength_gap_1y, strength_gap_3y, strength_gap_8y, form_gap, rest_gap, home_edge, on_neutral_ground, friendly],
    ],
    request=Fixture,
)
