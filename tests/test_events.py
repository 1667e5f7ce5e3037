from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore.events import Events, order
from featurestore.values import from_list

Row = tuple[int, int, int, float | None, str | None]
rows = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.integers(0, 2),
        st.integers(0, 1),
        st.sampled_from([None, -1.0, 0.0, 2.5]),
        st.sampled_from([None, "", "b", "ä"]),
    ),
    max_size=12,
)


def ordered(events: list[Row]) -> list[Row]:
    entity, event_time, known_at = (np.array([row[n] for row in events], np.int64) for n in range(3))
    ties = [from_list("float", [row[3] for row in events]), from_list("str", [row[4] for row in events])]
    place = order(entity, event_time, known_at, ties)
    return events if place is None else [events[at] for at in place.tolist()]


@settings(deadline=None)
@given(rows)
def test_events_are_ordered_by_time_known_at_and_the_remaining_columns(events: list[Row]) -> None:
    expected = sorted(events, key=lambda row: row[:3])
    tied = sorted(
        expected,
        key=lambda row: (*row[:3], row[3] is not None, row[3] or 0.0, row[4] is not None, row[4] or ""),
    )
    assert ordered(events) == tied


@settings(deadline=None)
@given(rows, st.sampled_from([1, 2**40, 2**59]))
def test_times_far_apart_are_ordered_like_near_ones(events: list[Row], apart: int) -> None:
    far = [(row[0] * apart, row[1] * apart, row[2] - 2**62, *row[3:]) for row in events]
    near = [(entity // apart, time // apart, known + 2**62, *rest) for entity, time, known, *rest in ordered(far)]
    assert near == ordered(events)


@settings(deadline=None)
@given(rows, st.randoms(use_true_random=False))
def test_the_order_of_delivery_does_not_matter(events: list[Row], random: Any) -> None:
    shuffled = list(events)
    random.shuffle(shuffled)
    assert ordered(shuffled) == ordered(events)


def test_events_in_order_are_left_alone() -> None:
    time = np.array([1, 2, 3])
    assert order(np.zeros(3, np.int64), time, time, [from_list("int", [3, 2, 1])]) is None
    assert order(np.zeros(0, np.int64), time[:0], time[:0], []) is None


def test_the_length_of_events_is_their_number() -> None:
    time = np.array([1, 2])
    assert len(Events(np.array([0, 2]), time, time, {})) == 2
