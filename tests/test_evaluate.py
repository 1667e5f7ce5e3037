"""The one path: row features on scalars and arrays, roles, composite keys, request fields, errors (S7, S8, S9)."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel

from featurestore import Entity, FeatureService, Source, feature, on
from featurestore.definition import Feature
from featurestore.errors import DefinitionError, UnknownName
from featurestore.evaluate import Spine, evaluate
from featurestore.events import Events
from featurestore.plan import compile_service, outputs_of
from featurestore.values import from_list

DAY = 86_400_000_000


class Match(BaseModel):
    team: str
    opponent: str
    event_time: datetime
    goals: int


class Request(BaseModel):
    neutral: bool
    bonus: float | None = None


matches = Source("matches", schema=Match, event_time="event_time")
team = Entity("team", key="team")
pair = Entity("pair", key=("team", "opponent"))


@feature(matches, by=team, window="10d")
def goals(tx: Any) -> Any:
    return tx.goals.mean()


@feature(matches, by=pair)
def met(tx: Any) -> Any:
    return tx.count()


def events() -> Events:
    """Two teams: x scored 1, 2 and 4 on days 1 to 3, y scored 8 on day 2."""
    columns = {
        "team": from_list("str", ["x", "x", "x", "y"], nullable=False),
        "opponent": from_list("str", ["y", "z", "y", "x"], nullable=False),
        "event_time": from_list("datetime", [DAY, 2 * DAY, 3 * DAY, 2 * DAY], nullable=False),
        "goals": from_list("int", [1, 2, 4, 8], nullable=False),
    }
    times = np.array([DAY, 2 * DAY, 3 * DAY, 2 * DAY])
    return Events(np.array([0, 3, 4]), times, times, columns)


def run(features: list[Any], rows: int = 3, request: type[BaseModel] | None = Request) -> dict[str, list[Any]]:
    """Rows ask for x, y and nobody, as of day 4."""
    listed = [one for one in features if isinstance(one, Feature)]
    plan = compile_service(FeatureService("s", features=features, request=request), outputs_of([goals, met, *listed]))
    columns = {
        "team": from_list("str", ["x", "y", "nobody"][:rows]),
        "neutral": from_list("bool", [True, False, True][:rows], nullable=False),
        "bonus": from_list("float", [0.5, None, 2.0][:rows]),
    }
    spine = Spine(np.full(rows, 4 * DAY), columns)
    entities = {keyed: np.array([0, 1, -1][:rows]) for keyed in plan.keyed}
    made = evaluate(plan, spine, {"matches_by_team": events()}, entities)
    return {name: values.to_list() for name, values in made.items()}


def test_a_row_feature_gets_python_scalars_and_nan_for_a_missing_float() -> None:
    got = []

    @feature
    def shape(goals: float, neutral: bool, team: str, as_of: datetime) -> float:  # noqa: FBT001
        got.append((goals, neutral, team, as_of))
        return goals

    at = datetime(1970, 1, 5, tzinfo=UTC)
    assert run([shape]) == {"shape": [7 / 3, 8.0, None]}
    assert got[:2] == [(7 / 3, True, "x", at), (8.0, False, "y", at)]
    assert np.isnan(got[2][0])
    assert [type(one) for one in got[0]] == [float, bool, str, datetime]


def test_a_missing_value_of_another_type_is_none() -> None:
    @feature(matches, by=team, window="10d")
    def most(tx: Any) -> Any:
        return tx.goals.max()

    @feature
    def named(most: int | None) -> str:
        return f"{most!r}"

    assert run([most, named])["named"] == ["4", "8", "None"]


def test_features_that_others_need_are_computed_and_not_returned() -> None:
    @feature
    def doubled(goals: float) -> float:
        return goals * 2

    assert run([doubled]) == {"doubled": [14 / 3, 16.0, None]}


def test_arrays_come_in_one_shape_with_one_row_and_with_many() -> None:
    got: list[Any] = []

    @feature
    def lifted(goals: np.ndarray, neutral: np.ndarray) -> np.ndarray:
        got.append((goals.dtype, neutral.dtype, goals.flags.c_contiguous))
        return np.where(neutral, goals, -goals)

    many, one = run([lifted]), run([lifted], rows=1)
    assert many == {"lifted": [7 / 3, -8.0, None]}
    assert one == {"lifted": [7 / 3]}
    assert got[0] == got[1] == (np.dtype("float64"), np.dtype("bool"), True)


def test_an_infinity_or_nan_that_a_row_feature_computes_is_null() -> None:
    @feature
    def far(bonus: float) -> float:
        return bonus * 1e308 * 1e308

    assert run([far]) == {"far": [None, None, None]}


@pytest.mark.parametrize(("gives", "says"), [("text", "gave 'text', a str"), (True, "gave True, a bool")])
def test_a_row_feature_that_gives_another_type_is_an_error(gives: Any, says: str) -> None:
    @feature
    def wrong(bonus: float) -> float:  # noqa: ARG001
        return gives  # type: ignore[no-any-return]

    with pytest.raises(DefinitionError, match=rf"test_evaluate.py:\d+: feature 'wrong' is declared float and {says}"):
        run([wrong])


def test_none_needs_to_be_declared() -> None:
    @feature
    def nothing(bonus: float) -> int:  # noqa: ARG001
        return None  # type: ignore[return-value]

    with pytest.raises(DefinitionError, match=r"annotate `-> int \| None`"):
        run([nothing])


def test_what_a_users_function_raises_names_the_feature() -> None:
    @feature
    def broken(goals: float) -> float:
        return 1 / (goals - goals)

    with pytest.raises(DefinitionError, match=r"feature 'broken' raised ZeroDivisionError") as caught:
        run([broken])
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_one_entity_plays_two_roles() -> None:
    @feature
    def gap(home__goals: float, away__goals: float) -> float:
        return home__goals - away__goals

    service = FeatureService("s", features=[on("home", goals), on("away", goals), gap])
    plan = compile_service(service, outputs_of([goals]))
    spine = Spine(np.full(2, 4 * DAY), {"home": from_list("str", ["x", "y"]), "away": from_list("str", ["y", "x"])})
    roles = {keyed.columns: keyed for keyed in plan.keyed}
    entities = {roles["home",]: np.array([0, 1]), roles["away",]: np.array([1, 0])}
    made = evaluate(plan, spine, {"matches_by_team": events()}, entities)
    assert list(made) == ["home__goals", "away__goals", "gap"]
    assert made["gap"].to_list() == [7 / 3 - 8.0, 8.0 - 7 / 3]


def test_a_composite_role_is_named_by_its_columns() -> None:
    service = FeatureService("s", features=[on({"team": "home", "opponent": "away"}, met)])
    plan = compile_service(service, {})
    assert plan.outputs == ("home_away__met",)
    assert plan.keyed[0].columns == ("home", "away")


def test_a_row_feature_may_play_a_role() -> None:
    @feature
    def twice(goals: float, team: str) -> float:  # noqa: ARG001
        return goals * 2

    plan = compile_service(FeatureService("s", features=[on("home", twice)]), outputs_of([goals, twice]))
    assert plan.outputs == ("home__twice",)
    assert [column.name for column in plan.columns] == ["home"]


def test_an_unknown_parameter_has_a_suggestion() -> None:
    @feature
    def odd(goalz: float) -> float:
        return goalz

    with pytest.raises(UnknownName, match=r"'odd' of service 's' needs 'goalz'.*Did you mean 'goals'"):
        run([odd])


def test_features_that_need_each_other_are_an_error() -> None:
    @feature
    def hen(egg: float) -> float:
        return egg

    @feature
    def egg(hen: float) -> float:
        return hen

    with pytest.raises(DefinitionError, match="need each other: hen -> egg -> hen"):
        run([hen, egg])


def test_what_is_not_finite_is_counted_by_feature() -> None:
    @feature(matches, by=team, window="10d")
    def odd(tx: Any) -> Any:
        return (tx.goals / (tx.goals - 1)).sum()

    plan = compile_service(FeatureService("s", features=[odd]), outputs_of([odd]))
    spine = Spine(np.full(1, 4 * DAY), {"team": from_list("str", ["x"])})
    counts: dict[str, int] = {}
    made = evaluate(plan, spine, {"matches_by_team": events()}, {plan.keyed[0]: np.array([0])}, counts)
    assert made["odd"].to_list() == [2.0 + 4 / 3]
    assert counts == {"odd": 1}
