"""Explanations against literal events: edges, what counts, what does not and why, operands, roles."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import BaseModel
from shop import Clock, customer, ingested, service

from featurestore import Entity, FeatureService, FeatureStore, Source, feature, on
from featurestore.errors import AsOfError, InvalidRequest, UnknownService
from featurestore.explain import AROUND, Explanation

Open = Callable[..., FeatureStore]
T = datetime(2026, 5, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
ROW = {"customer": "c1", "amount": 6.0}


def shop(open_store: Open, clock: Clock, *payments: tuple[str, datetime, float | None]) -> FeatureStore:
    """A store in which these payments of c1 arrived when they happened, and the clock stands a month after ``T``."""
    store = open_store([service(ingested)])
    for number, at, amount in payments:
        clock.now = at
        store.ingest("payments", {"id": number, "customer": "c1", "event_time": at, "amount": amount})
    clock.now = T + timedelta(days=31)
    return store


def shown(explanation: Explanation, step: int = 0) -> list[tuple[str, str | None]]:
    """Key of each event, and why it does not count."""
    look = explanation.steps[step].look
    assert look is not None
    return [(one.columns["id"], one.why) for one in look.events]


def test_the_window_holds_its_begin_and_not_its_end(open_store: Open, clock: Clock) -> None:
    begin = T - timedelta(days=30)
    store = shop(
        open_store,
        clock,
        ("before", begin - MICROSECOND, 1.0),
        ("begin", begin, 2.0),
        ("last", T - 2 * MICROSECOND, 4.0),
        ("end", T, 8.0),
        ("after", T + MICROSECOND, 16.0),
    )
    made = store.explain("shop", "spent", ROW, as_of=T)
    look = made.steps[0].look
    assert look is not None
    assert (look.begin, look.end, look.end_closed, look.window, look.offset) == (begin, T, False, "30d", None)
    assert (look.source, look.entity, look.key) == ("payments", "customer", {"customer": "c1"})
    assert shown(made) == [
        ("before", "before"),
        ("begin", None),
        ("last", None),
        ("end", "at_end"),
        ("after", "after"),
    ]
    assert (look.count, dict(look.outside)) == (2, {"before": 1, "at_end": 1, "after": 1})
    assert [one.columns["amount"] for one in look.events] == [1.0, 2.0, 4.0, 8.0, 16.0]
    assert made.value == 6.0


def test_an_event_that_was_known_later_says_so(open_store: Open, clock: Clock) -> None:
    store = shop(open_store, clock, ("p1", T - timedelta(days=2), 1.0))
    store.ingest("payments", {"id": "late", "customer": "c1", "event_time": T - timedelta(days=1), "amount": 8.0})
    store.ingest("payments", {"id": "p3", "customer": "c1", "event_time": T - timedelta(days=3), "amount": 8.0})
    clock.advance(days=1)
    made = store.explain("shop", "spent", ROW, as_of=T)
    assert shown(made) == [("p3", "known_later"), ("p1", None), ("late", "known_later")]
    assert made.value == 1.0
    later = store.explain("shop", "spent", ROW, as_of=T + timedelta(days=31, microseconds=1))
    assert shown(later) == [("p3", "before"), ("p1", "before"), ("late", "before")]
    assert later.value == 0.0


def test_what_was_known_at_t_itself_is_not_known_yet(open_store: Open, clock: Clock) -> None:
    store = shop(open_store, clock)
    clock.now = T
    store.ingest("payments", {"id": "p1", "customer": "c1", "event_time": T - timedelta(days=1), "amount": 8.0})
    clock.advance(days=1)
    assert shown(store.explain("shop", "number", ROW, as_of=T)) == [("p1", "known_later")]
    assert shown(store.explain("shop", "number", ROW, as_of=T + MICROSECOND)) == [("p1", None)]


def test_the_value_is_the_lookups_and_so_are_instant_position_and_fingerprint(open_store: Open, clock: Clock) -> None:
    payments = [(f"p{day}", T - timedelta(days=day), 0.1 * day if day % 3 else None) for day in range(60, 0, -1)]
    store = shop(open_store, clock, *payments)
    for as_of in (T - timedelta(days=20), T, clock.now):
        vector = store.lookup("shop", ROW, as_of=as_of)
        for name, value in vector.items():
            made = store.explain("shop", name, ROW, as_of=as_of)
            assert (type(made.value), repr(made.value)) == (type(value), repr(value))
            assert (made.as_of, made.position, made.fingerprint) == (as_of, vector.position, vector.fingerprint)


def test_a_row_feature_shows_its_operands_and_how_they_were_made(open_store: Open, clock: Clock) -> None:
    store = shop(open_store, clock, ("p1", T - timedelta(days=1), 4.0))
    made = store.explain("shop", "share", ROW, as_of=T)
    first, second = made.steps
    assert (first.name, first.value, first.operands, first.look) == ("share", 1.5, {"amount": 6.0, "spent": 4.0}, None)
    assert (second.name, second.value, second.operands) == ("spent", 4.0, None)
    assert shown(made, 1) == [("p1", None)]


def test_a_value_that_two_steps_need_is_shown_once(open_store: Open, clock: Clock) -> None:
    @feature(ingested, by=customer)
    def number(tx: Any) -> Any:
        return tx.count()

    @feature
    def half(number: int) -> float:
        return number / 2

    @feature
    def both(half: float, number: int, as_of: datetime) -> float:
        return half + number + as_of.year

    store = open_store([number, half, FeatureService("shop", features=[both])])
    clock.now = T
    made = store.explain("shop", "both", {"customer": "c1"})
    assert [one.name for one in made.steps] == ["both", "half", "number"]
    assert made.steps[0].operands == {"half": 0.0, "number": 0, "as_of": T}
    assert made.value == 2026.0


def test_offsets_families_and_whole_histories_have_their_own_edges(open_store: Open, clock: Clock) -> None:
    @feature(ingested, by=customer, windows=["1d", "7d"], offset="1d")
    def number(tx: Any) -> Any:
        return tx.count()

    @feature(ingested, by=customer)
    def ever(tx: Any) -> Any:
        return tx.count()

    store = open_store([FeatureService("shop", features=[number, ever])])
    for name, days in (("p9", 9), ("p2", 2), ("p1", 1), ("p0", 0)):
        clock.now = T - timedelta(days=days)
        store.ingest("payments", {"id": name, "customer": "c1", "event_time": clock.now, "amount": 1.0})
    clock.now = T + timedelta(days=1)
    day, week, ever_ = (
        store.explain("shop", name, {"customer": "c1"}, as_of=T) for name in ("number_1d", "number_7d", "ever")
    )
    assert shown(day) == [("p9", "before"), ("p2", None), ("p1", "at_end"), ("p0", "after")]
    look = week.steps[0].look
    assert look is not None
    assert (look.begin, look.end) == (T - timedelta(days=8), T - timedelta(days=1))
    assert (look.window, look.offset, week.steps[0].feature) == ("7d", "1d", "number")
    whole = ever_.steps[0].look
    assert whole is not None
    assert (whole.begin, whole.window, whole.read) == (None, None, ("event_time",))
    assert shown(ever_) == [("p9", None), ("p2", None), ("p1", None), ("p0", "at_end")]


class Game(BaseModel):
    side: str
    opponent: str
    day: datetime
    goals: int | None


def test_roles_and_composite_keys_name_the_columns_of_the_row_and_a_null_key_has_no_events(
    open_store: Open, clock: Clock
) -> None:
    team, pair = Entity("team", key="team"), Entity("pair", key=("team", "opponent"))
    games = Source("games", schema=Game, event_time="day", keys={"team": "side"}, inclusive=True)

    @feature(games, by=team, window="7d")
    def scored(tx: Any) -> Any:
        return tx.goals.sum()

    @feature(games, by=pair)
    def met(tx: Any) -> Any:
        return tx.count()

    roles = [on("home", scored), on("away", scored), on({"team": "home", "opponent": "away"}, met)]
    store = open_store([FeatureService("game", features=roles)])
    clock.now = T
    for side, opponent, days, goals in (("a", "b", 7, 1), ("b", "a", 7, 2), ("a", "b", 0, 4)):
        row = {"side": side, "opponent": opponent, "day": T - timedelta(days=days), "goals": goals}
        store.ingest("games", row)
    clock.advance(days=1)
    row = {"home": "a", "away": "b"}
    home = store.explain("game", "home__scored", row, as_of=T)
    look = home.steps[0].look
    assert look is not None
    assert (look.key, look.end_closed, home.value) == ({"home": "a"}, True, 5)
    assert [(one.columns, one.why) for one in look.events] == [({"goals": 1}, None), ({"goals": 4}, None)]
    assert store.explain("game", "away__scored", row, as_of=T).value == 2
    both = store.explain("game", "home_away__met", row, as_of=T).steps[0].look
    assert both is not None
    assert (both.key, both.count, both.read) == ({"home": "a", "away": "b"}, 2, ("day",))
    nobody = store.explain("game", "home__scored", {"home": None, "away": "b"}, as_of=T).steps[0]
    assert nobody.look is not None
    assert (nobody.value, nobody.look.count, nobody.look.events) == (0, 0, ())
    never = store.explain("game", "home__scored", {"home": "z", "away": "b"}, as_of=T).steps[0]
    assert never.look is not None
    assert (never.value, never.look.events) == (0, ())


def test_many_events_are_cut_to_the_newest_and_those_outside_to_the_nearest(open_store: Open, clock: Clock) -> None:
    payments = [(f"p{day}", T - timedelta(days=day), 1.0) for day in range(50, -10, -1)]
    made = shop(open_store, clock, *payments).explain("shop", "number", ROW, as_of=T, limit=3)
    look = made.steps[0].look
    assert look is not None
    assert (made.value, look.count, dict(look.outside)) == (30, 30, {"before": 20, "at_end": 1, "after": 9})
    assert [name for name, why in shown(made) if why == "before"] == [f"p{day}" for day in (35, 34, 33, 32, 31)]
    assert [name for name, why in shown(made) if why is None] == ["p3", "p2", "p1"]
    assert sum(why == "after" for _, why in shown(made)) == AROUND


def test_events_before_the_window_are_shown_though_no_lookup_reads_them(open_store: Open, clock: Clock) -> None:
    store = shop(open_store, clock, ("old", T - timedelta(days=300), 1.0))
    assert shown(store.explain("shop", "latest", ROW, as_of=T)) == [("old", "before")]


def test_what_a_lookup_refuses_is_refused(open_store: Open, clock: Clock) -> None:
    store = shop(open_store, clock, ("p1", T, 1.0))
    with pytest.raises(UnknownService, match=r"'shop' has no value 'spend'. Did you mean 'spent'\?"):
        store.explain("shop", "spend", ROW)
    with pytest.raises(AsOfError, match="in the future"):
        store.explain("shop", "spent", ROW, as_of=clock.now + timedelta(days=1))
    with pytest.raises(InvalidRequest):
        store.explain("shop", "spent", {"customer": "c1", "amount": -1.0})


def test_it_is_a_plain_document(open_store: Open, clock: Clock) -> None:
    store = shop(open_store, clock, ("p1", T - timedelta(days=1), None))
    told = store.explain("shop", "latest", ROW, as_of=T).to_dict()
    assert (told["service"], told["feature"], told["value"], told["as_of"]) == ("shop", "latest", None, T)
    assert json.loads(json.dumps(told, default=str))["steps"][0]["look"]["events"][0]["columns"] == {
        "id": "p1",
        "amount": None,
    }
