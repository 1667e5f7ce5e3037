from datetime import datetime
from typing import Any

import pytest
from pydantic import BaseModel

from featurestore.definition import Entity, FeatureService, Source, feature, label, on
from featurestore.errors import DefinitionError, UnknownName
from featurestore.plan import RowStep, ServicePlan, SpineColumn, WindowStep, compile_service, outputs_of, with_labels
from featurestore.window import Window

HOUR, DAY = 3_600_000_000, 86_400_000_000


class Match(BaseModel):
    team: str
    opponent: str
    round: int
    played: datetime
    goals: int


class Asked(BaseModel):
    stake: float
    word: str | None = None


TEAM = Entity("team", key="team")
PAIR = Entity("pair", key=("team", "opponent"))
MATCHES = Source("matches", schema=Match, event_time="played")


@feature(MATCHES, by=TEAM, window="1d", offset="1h")
def form(tx: Window) -> Any:
    return tx.goals.mean()


@feature(MATCHES, by=TEAM, windows=["1h", "2d"])
def games(tx: Window) -> Any:
    return tx.count()


@feature(MATCHES, by=PAIR)
def met(tx: Window) -> Any:
    return tx.count()


@feature
def risk(stake: float, form: float) -> float:
    return stake * form


@feature
def double_risk(risk: float, team: str, as_of: datetime) -> float:
    return risk * len(team) * as_of.year


def plan(*features: Any, request: type[BaseModel] | None = None) -> ServicePlan:
    service = FeatureService("s", features=list(features), request=request)
    return compile_service(service, outputs_of([form, games, met, risk, double_risk]))


def test_what_a_feature_needs_is_made_before_it_and_not_returned() -> None:
    made = plan(double_risk, request=Asked)
    assert [step.feature.name for step in made.steps] == ["form", "risk", "double_risk"]
    assert made.outputs == ("double_risk",)
    assert made.steps[2] == RowStep(double_risk, ("risk", "team", "as_of"), "double_risk")


def test_the_spine_has_the_request_s_fields_and_the_keys() -> None:
    assert plan(double_risk, request=Asked).columns == (
        SpineColumn("stake", "float", nullable=True, role="request"),
        SpineColumn("word", "str", nullable=True, role="request"),
        SpineColumn("team", "str", nullable=True, role="key"),
    )


def test_a_family_is_one_step() -> None:
    made = plan(games, form)
    assert [step.outputs for step in made.steps if isinstance(step, WindowStep)] == [
        ("games_1h", "games_2d"),
        ("form",),
    ]
    assert made.kinds == {"games_1h": ("int", False), "games_2d": ("int", False), "form": ("float", True)}


def test_a_role_reads_its_own_columns_of_the_spine() -> None:
    made = plan(on("home", form), on("away", form), on({"team": "home", "opponent": "away"}, met))
    assert [keyed.columns for keyed in made.keyed] == [("home",), ("away",), ("home", "away")]
    assert [view.name for view in made.views] == ["matches_by_team", "matches_by_pair"]
    assert made.outputs == ("home__form", "away__form", "home_away__met")


def test_what_asks_a_view_by_the_same_columns_shares_one_object() -> None:
    @label(MATCHES, by=TEAM, horizon="1d")
    def coming(tx: Window) -> Any:
        return tx.count()

    @label(MATCHES, by=PAIR, horizon="1d")
    def meeting(tx: Window) -> Any:
        return tx.count()

    made = with_labels(plan(form, games, on("home", form), on("home", games)), [coming, meeting])
    assert [keyed.columns for keyed in made.keyed] == [("team",), ("home",), ("team", "opponent")]
    own, alike, home, alike_home = (step.keyed for step in made.steps if isinstance(step, WindowStep))
    assert alike is own
    assert alike_home is home
    assert made.labels[0].keyed is own


def test_a_row_feature_in_a_role_needs_features_in_that_role() -> None:
    made = plan(on("home", double_risk), request=Asked)
    assert [step.output if isinstance(step, RowStep) else step.outputs[0] for step in made.steps] == [
        *("home__form", "home__risk", "home__double_risk")
    ]
    assert made.steps[2] == RowStep(double_risk, ("home__risk", "home", "as_of"), "home__double_risk")


def test_a_view_is_read_as_far_back_as_its_longest_window_and_offset() -> None:
    assert plan(form).reach(MATCHES.by(TEAM)) == DAY + HOUR
    assert plan(form, games).reach(MATCHES.by(TEAM)) == 2 * DAY
    assert plan(form, met).reach(MATCHES.by(PAIR)) is None


@feature
def chicken(egg: float) -> float:
    return egg


@feature
def egg(chicken: float) -> float:
    return chicken


@feature
def stake(form: float) -> float:
    return form


@feature
def lucky(frm: float) -> float:
    return frm


@pytest.mark.parametrize(
    ("features", "request_", "message"),
    [
        ([form, form], None, "lists form twice"),
        ([chicken, egg], None, "need each other: chicken -> egg -> chicken"),
        ([stake], Asked, "stake both as a feature and as a request field"),
        ([on("home", met)], None, "has the key team, opponent: give a column for each"),
        ([on({"team": "home"}, met)], None, "lacks 'opponent'"),
        ([form, on("stake", form)], Asked, "needs 'stake' as float and, for matches_by_team of feature 'form', as str"),
    ],
)
def test_a_service_that_cannot_be_right_says_why(features: list[Any], request_: Any, message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        plan(*features, request=request_)


def test_a_parameter_that_names_nothing_is_located_with_a_suggestion() -> None:
    with pytest.raises(
        UnknownName, match=r"test_plan\.py:\d+: feature 'lucky' of service 's' needs 'frm'.*Did you mean 'form'"
    ):
        plan(lucky)


def test_a_parameter_that_is_a_feature_and_a_request_field_is_ambiguous() -> None:
    with pytest.raises(DefinitionError, match="needs 'stake', which is both a feature and a request field"):
        compile_service(FeatureService("s", features=[risk], request=Asked), outputs_of([stake, form]))


def test_a_request_field_named_as_of_is_an_error() -> None:
    class Asked(BaseModel):
        as_of: datetime

    @feature
    def year(as_of: datetime) -> int:
        return as_of.year

    with pytest.raises(DefinitionError, match="as_of both as a feature and as a request field"):
        compile_service(FeatureService("s", features=[year], request=Asked), {})
