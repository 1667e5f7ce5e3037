from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featurestore import visibility
from featurestore.events import Events
from featurestore.values import from_list
from featurestore.visibility import Asking, Locator, Viewpoint, windows_of
from featurestore.window import Window


@dataclass(frozen=True)
class Event:
    entity: int
    event_time: int
    known_at: int
    position: int
    amount: float


@dataclass(frozen=True)
class Row:
    entity: int
    as_of: int
    position: int = 9


def event(at: int, known: int | None = None, *, entity: int = 0, position: int = 1, amount: float = 1.0) -> Event:
    return Event(entity, at, at if known is None else known, position, amount)


def events_of(events: list[Event], entities: int) -> Events:
    ordered = sorted(events, key=lambda one: (one.entity, one.event_time, one.known_at, one.amount))
    starts = [sum(one.entity < entity for one in ordered) for entity in range(entities + 1)]
    event_time, known_at, position = (
        np.array([getattr(one, name) for one in ordered], np.int64) for name in ("event_time", "known_at", "position")
    )
    amounts = from_list("float", [one.amount for one in ordered])
    return Events(np.array(starts), event_time, known_at, {"amount": amounts}, position)


def looked(
    events: list[Event],
    rows: list[Row],
    *,
    windows: tuple[int | None, ...] = (None,),
    offset: int = 0,
    inclusive: bool = False,
    entities: int = 2,
    positions: bool = True,
) -> Window:
    return windows_of(
        Viewpoint(events_of(events, entities)),
        np.array([row.entity for row in rows], np.int64),
        np.array([row.as_of for row in rows], np.int64),
        windows=windows,
        offset=offset,
        inclusive=inclusive,
        position=np.array([row.position for row in rows], np.int64) if positions else None,
    )


def seen(*args: Any, **options: Any) -> list[list[float]]:
    """Amounts that each row sees, in order."""
    amounts = looked(*args, **options).amount
    assert amounts.ranges is not None
    data = amounts.values.data.tolist()
    return [data[lo:hi] for lo, hi in zip(amounts.ranges.lo.tolist(), amounts.ranges.hi.tolist(), strict=True)]


def expected(events: list[Event], row: Row, *, window: int | None, offset: int, inclusive: bool) -> list[float]:
    """S3, S4 and S10, event by event."""
    found = []
    for one in sorted(events, key=lambda one: (one.event_time, one.known_at, one.amount)):
        end = row.as_of - offset
        before = (
            (one.event_time <= end and one.known_at <= row.as_of)
            if inclusive
            else (one.event_time < end and one.known_at < row.as_of)
        )
        within = window is None or one.event_time >= end - window
        if one.entity == row.entity and before and within and one.position <= row.position:
            found.append(one.amount)
    return found


def test_an_event_at_the_row_s_instant_is_not_seen() -> None:
    assert seen([event(9), event(10), event(11)], [Row(0, 10)]) == [[1.0]]


def test_an_inclusive_source_shows_it() -> None:
    assert seen([event(9), event(10), event(11)], [Row(0, 10)], inclusive=True) == [[1.0, 1.0]]


def test_an_event_known_after_the_row_is_not_seen() -> None:
    assert seen([event(1, known=10), event(2, known=9)], [Row(0, 10), Row(0, 11)]) == [[1.0], [1.0, 1.0]]


def test_a_window_is_closed_at_its_start_to_the_microsecond() -> None:
    events = [event(at, amount=at) for at in (4, 5, 9)]
    assert seen(events, [Row(0, 10)], windows=(5, 4, 6)) == [[5, 9], [9], [4, 5, 9]]


def test_an_offset_shifts_the_window_but_not_what_is_known() -> None:
    events = [event(3, known=9, amount=3), event(4, known=10, amount=4), event(5, amount=5), event(7, amount=7)]
    assert seen(events, [Row(0, 10)], windows=(4,), offset=3) == [[3, 5]]


def test_a_late_event_leaves_a_hole_in_the_order() -> None:
    events = [event(1, amount=1), event(2, known=50, amount=2), event(3, amount=3), event(4, amount=4)]
    assert seen(events, [Row(0, 10), Row(0, 60)], windows=(None, 8)) == [[1, 3, 4], [1, 2, 3, 4], [3, 4], []]


def test_each_row_sees_up_to_its_own_position() -> None:
    events = [event(1, position=2, amount=1), event(2, position=1, amount=2)]
    assert seen(events, [Row(0, 10, position) for position in (0, 1, 2)]) == [[], [2], [1, 2]]


def test_an_entity_without_events_has_an_empty_window() -> None:
    assert seen([event(1, entity=1)], [Row(-1, 10), Row(0, 10), Row(1, 10)]) == [[], [], [1.0]]
    assert seen([], [Row(-1, 10)], entities=0) == [[]]
    assert seen([event(1)], [Row(-1, 10)], entities=1) == [[]]


def test_a_family_is_its_windows_one_after_another() -> None:
    tx = looked([event(1), event(5), event(9)], [Row(0, 10), Row(0, 6)], windows=(1, 5, None))
    assert tx.count().values.to_list() == [1, 1, 2, 2, 3, 2]
    assert tx.as_of.values.data.tolist() == [10, 6] * 3


def test_time_that_does_not_pack_with_the_entities_is_ranked() -> None:
    far = 2**61
    locate = Locator(np.array([0, 1, 3, 3, 5]), np.array([-far, -far, far, 0, far]))
    entity, times = np.array([0, 1, 1, 2, 3, 3]), np.array([-far, -far, far, 0, 1, far])
    assert locate(Asking(entity), times).tolist() == [0, 1, 2, 3, 4, 4]
    assert locate(Asking(entity), times + 1).tolist() == [1, 2, 3, 3, 4, 5]


def test_many_rows_are_searched_entity_by_entity(monkeypatch: pytest.MonkeyPatch) -> None:
    events = [event(at, entity=at % 2, amount=at) for at in range(8)]
    rows = [Row(one % 2, at) for one, at in enumerate((9, 3, 0, 5, 5, 8))]
    few = seen(events, rows, windows=(2, None))
    monkeypatch.setattr(visibility, "MANY_ROWS", 1)
    assert seen(events, rows, windows=(2, None)) == few


small = st.integers(0, 6)
some_events = st.lists(
    st.builds(Event, st.integers(0, 1), small, small, st.integers(1, 3), st.sampled_from([1.0, 2.0])), max_size=8
)
some_rows = st.lists(st.builds(Row, st.integers(-1, 1), st.integers(0, 7), st.integers(0, 3)), min_size=1, max_size=4)


@settings(deadline=None)
@given(some_events, some_rows, st.integers(0, 2), st.booleans())
def test_every_row_sees_what_the_rules_say(events: list[Event], rows: list[Row], offset: int, inclusive: bool) -> None:  # noqa: FBT001 - drawn
    windows = (None, 1, 3)
    made = seen(events, rows, windows=windows, offset=offset, inclusive=inclusive)
    assert made == [
        expected(events, row, window=window, offset=offset, inclusive=inclusive) for window in windows for row in rows
    ]


@pytest.mark.parametrize("inclusive", [True, False])
@settings(deadline=None)
@given(events=some_events, rows=some_rows)
def test_one_row_is_a_batch_of_one(events: list[Event], rows: list[Row], inclusive: bool) -> None:  # noqa: FBT001 - given
    whole = seen(events, rows, windows=(3,), inclusive=inclusive)
    assert whole == [seen(events, [row], windows=(3,), inclusive=inclusive)[0] for row in rows]
    alone = [
        seen([one for one in events if one.entity == 0], [row], windows=(3,), inclusive=inclusive, entities=1)[0]
        for row in rows
        if row.entity == 0
    ]
    assert alone == [one for one, row in zip(whole, rows, strict=True) if row.entity == 0]


@pytest.mark.parametrize("listed", [0, 256])
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(some_events, st.integers(0, 7), st.integers(0, 2), st.booleans())
def test_one_row_over_one_entity_sees_what_the_rules_say(
    monkeypatch: pytest.MonkeyPatch,
    listed: int,
    events: list[Event],
    as_of: int,
    offset: int,
    inclusive: bool,  # noqa: FBT001 - drawn
) -> None:
    monkeypatch.setattr(visibility, "LISTED", listed)
    own, windows = [one for one in events if one.entity == 0], (None, 1, 3)
    for entity in (0, -1):
        row = Row(entity, as_of)
        made = seen(own, [row], windows=windows, offset=offset, inclusive=inclusive, entities=1, positions=False)
        assert made == [expected(own, row, window=window, offset=offset, inclusive=inclusive) for window in windows]


@settings(deadline=None)
@given(some_events, some_rows)
def test_features_of_one_row_and_of_many_are_the_same_bytes(events: list[Event], rows: list[Row]) -> None:
    def values(asked: list[Row]) -> list[list[tuple[bytes, bool]]]:
        tx = looked(events, asked, windows=(4,))
        made = [tx.amount.sum(), tx[tx.amount > 1.0].amount.mean(), tx.amount.std(), tx.since_last(), tx.amount.last()]
        return [[(one.values.data[n].tobytes(), bool(one.values.mask[n])) for one in made] for n in range(len(asked))]

    assert values(rows + rows) == values(rows) * 2
    assert values(rows[::-1]) == values(rows)[::-1]
    assert [values([row])[0] for row in rows] == values(rows)
