"""The oracle itself, held to cases worked out by hand: one example or more for each S-rule it applies."""

import math
from datetime import UTC, datetime
from fractions import Fraction

import pytest
from oracle import (
    AsOf,
    Col,
    Lit,
    Op,
    Reduce,
    Scope,
    apply,
    decayed_sum,
    entropy,
    kurtosis,
    mean,
    nearest,
    pick,
    quantile,
    rate,
    row_value,
    seconds_since,
    skewness,
    slope,
    total,
    value,
    variance,
)

from featurestore.testing.oracle import (
    KNOWN_AT,
    POSITION,
    Delivery,
    Event,
    Refused,
    Rules,
    Value,
    ahead,
    delivered,
    mature,
    ordered,
    visible,
)

PLAIN = Rules(columns=("id", "who", "event_time", "amount"))
KEYED = Rules(columns=("id", "who", "event_time", "amount"), key="id")
INCLUSIVE = Rules(columns=("id", "who", "event_time", "amount"), inclusive=True)
DECLARED = Rules(columns=("who", "event_time", "seen"), known_at="seen")


def event(at: int, amount: Value = 1.0, *, known: int | None = None, who: Value = "a", position: int = 1) -> Event:
    known_at = at if known is None else known
    return {"id": None, "who": who, "event_time": at, "amount": amount, KNOWN_AT: known_at, POSITION: position}


def times(events: list[Event]) -> list[Value]:
    return [one["event_time"] for one in events]


def row(at: int, amount: Value = 1.0, *, id_: Value = None, who: Value = "a") -> Event:
    return {"id": id_, "who": who, "event_time": at, "amount": amount}


# S2


def test_the_first_bulk_load_is_history_known_after_the_delay() -> None:
    rules = Rules(columns=("event_time",), delay=5)
    log = delivered([Delivery("bulk", 1000, ({"event_time": 10},))], rules)
    assert [one[KNOWN_AT] for one in log] == [15]


def test_the_first_bulk_load_is_history_known_when_its_column_says() -> None:
    log = delivered([Delivery("bulk", 1000, ({"who": "a", "event_time": 10, "seen": 40},))], DECLARED)
    assert [one[KNOWN_AT] for one in log] == [40]


def test_a_later_bulk_load_is_known_when_it_was_loaded() -> None:
    rules = Rules(columns=("event_time",), delay=5)
    loads = [Delivery("bulk", 100, ({"event_time": 10},)), Delivery("bulk", 200, ({"event_time": 20},))]
    assert [one[KNOWN_AT] for one in delivered(loads, rules)] == [15, 200]


def test_a_later_bulk_load_is_known_no_earlier_than_its_column_says() -> None:
    late: Event = {"who": "a", "event_time": 10, "seen": 990}
    log = delivered([Delivery("bulk", 100, ()), Delivery("bulk", 200, (late,))], DECLARED)
    assert [one[KNOWN_AT] for one in log] == [990]


def test_a_later_bulk_load_that_is_called_history_is_history() -> None:
    loads = [Delivery("bulk", 100, ()), Delivery("bulk", 200, (row(20),), history=True)]
    assert [one[KNOWN_AT] for one in delivered(loads, PLAIN)] == [20]


def test_an_ingested_event_is_known_at_its_arrival_whatever_the_delay() -> None:
    rules = Rules(columns=("event_time",), delay=50)
    assert [one[KNOWN_AT] for one in delivered([Delivery("ingest", 30, ({"event_time": 10},))], rules)] == [30]


def test_an_ingested_event_is_known_no_earlier_than_its_column_says() -> None:
    rows: tuple[Event, ...] = ({"who": "a", "event_time": 10, "seen": 20}, {"who": "a", "event_time": 10, "seen": 90})
    assert _known_times(delivered([Delivery("ingest", 30, rows)], DECLARED)) == [30, 90]


def test_a_first_bulk_load_after_an_ingest_is_still_history() -> None:
    loads = [Delivery("ingest", 50, (row(10),)), Delivery("bulk", 60, (row(20),))]
    assert _known_times(delivered(loads, PLAIN)) == [50, 20]


def test_arrival_stamps_never_decrease_when_the_clock_does() -> None:
    loads = [Delivery("ingest", 50, (row(10),)), Delivery("ingest", 40, (row(20),))]
    assert _known_times(delivered(loads, PLAIN)) == [50, 50]


def _known_times(log: list[Event]) -> list[Value]:
    return [one[KNOWN_AT] for one in log]


# S3, S4, S10


def test_an_event_at_the_instant_itself_is_not_seen() -> None:
    assert times(visible([event(9), event(10), event(11)], PLAIN, entity={"who": "a"}, as_of=10)) == [9]


def test_an_event_known_at_the_instant_itself_is_not_seen() -> None:
    events = [event(1, known=9), event(2, known=10), event(3, known=11)]
    assert times(visible(events, PLAIN, entity={"who": "a"}, as_of=10)) == [1]


def test_an_inclusive_source_shows_both_instants() -> None:
    events = [event(1, known=10), event(10, known=10), event(10, known=11), event(11)]
    assert times(visible(events, INCLUSIVE, entity={"who": "a"}, as_of=10)) == [1, 10]


def test_a_window_holds_its_start_and_not_its_end() -> None:
    events = [event(4), event(5), event(9), event(10)]
    assert times(visible(events, PLAIN, entity={"who": "a"}, as_of=10, window=5)) == [5, 9]


def test_a_window_of_an_inclusive_source_holds_both_its_ends() -> None:
    events = [event(4), event(5), event(10), event(11)]
    assert times(visible(events, INCLUSIVE, entity={"who": "a"}, as_of=10, window=5)) == [5, 10]


def test_an_offset_shifts_the_window_on_event_time() -> None:
    events = [event(1), event(2), event(6), event(7)]
    assert times(visible(events, PLAIN, entity={"who": "a"}, as_of=10, window=5, offset=3)) == [2, 6]


def test_an_offset_leaves_known_at_compared_with_the_instant() -> None:
    events = [event(5, known=9), event(6, known=10)]
    assert times(visible(events, PLAIN, entity={"who": "a"}, as_of=10, window=5, offset=3)) == [5]


def test_an_offset_without_a_window_cuts_the_recent_end_alone() -> None:
    assert times(visible([event(1), event(6), event(7)], PLAIN, entity={"who": "a"}, as_of=10, offset=3)) == [1, 6]


def test_without_a_window_the_whole_history_is_seen() -> None:
    assert times(visible([event(-(10**15)), event(9)], PLAIN, entity={"who": "a"}, as_of=10)) == [-(10**15), 9]


def test_an_event_past_the_position_is_not_seen() -> None:
    events = [event(1, position=1), event(2, position=2), event(3, position=3)]
    assert times(visible(events, PLAIN, entity={"who": "a"}, as_of=10, position=2)) == [1, 2]


# S5


def test_events_are_ordered_by_event_time_then_known_at() -> None:
    events = [event(2, known=2), event(1, known=8), event(1, known=7)]
    assert [(one["event_time"], one[KNOWN_AT]) for one in ordered(events, PLAIN)] == [(1, 7), (1, 8), (2, 2)]


def test_ties_are_ordered_by_the_remaining_columns_null_first() -> None:
    events = [event(1, 3.0), event(1, None), event(1, -2.0)]
    assert [one["amount"] for one in ordered(events, PLAIN)] == [None, -2.0, 3.0]


def test_an_earlier_column_of_the_schema_breaks_the_tie_first() -> None:
    first, second = event(1, 9.0), {**event(1, 1.0), "id": "x"}
    assert [one["amount"] for one in ordered([second, first], PLAIN)] == [9.0, 1.0]


# S6


def test_a_keyed_event_counts_once_and_the_first_delivery_wins() -> None:
    loads = [Delivery("bulk", 100, (row(10, id_="x"),)), Delivery("ingest", 200, (row(10, id_="x"),))]
    assert [(one[KNOWN_AT], one[POSITION]) for one in delivered(loads, KEYED)] == [(10, 1)]


def test_a_keyed_event_twice_in_one_delivery_counts_once() -> None:
    assert len(delivered([Delivery("ingest", 5, (row(1, id_="x"), row(1, id_="x")))], KEYED)) == 1


def test_a_known_key_with_another_payload_is_refused() -> None:
    loads = [Delivery("bulk", 100, (row(10, 1.0, id_="x"),)), Delivery("ingest", 200, (row(10, 2.0, id_="x"),))]
    with pytest.raises(Refused, match="another payload"):
        delivered(loads, KEYED)


def test_a_known_key_with_another_known_at_is_the_same_event() -> None:
    rules = Rules(columns=("id", "event_time", "seen"), known_at="seen", key="id")
    early: Event = {"id": "x", "event_time": 1, "seen": 3}
    late: Event = {"id": "x", "event_time": 1, "seen": 9}
    log = delivered([Delivery("bulk", 10, (early,)), Delivery("bulk", 20, (late,))], rules)
    assert [one[KNOWN_AT] for one in log] == [3]


def test_null_keys_are_not_deduplicated() -> None:
    assert len(delivered([Delivery("ingest", 5, (row(1), row(1)))], KEYED)) == 2


def test_without_a_key_every_row_counts() -> None:
    assert len(delivered([Delivery("ingest", 5, (row(1, id_="x"), row(1, id_="x")))], PLAIN)) == 2


# S7


def test_a_null_entity_key_matches_nothing() -> None:
    assert visible([event(1, who=None), event(2)], PLAIN, entity={"who": None}, as_of=10) == []


def test_a_composite_key_with_a_null_part_matches_nothing() -> None:
    found = visible([{**event(1), "id": None}], PLAIN, entity={"who": "a", "id": None}, as_of=10)
    assert found == []


def test_nan_and_minus_zero_are_cleaned_at_load() -> None:
    log = delivered([Delivery("ingest", 5, (row(1, math.nan), row(1, -0.0)))], PLAIN)
    assert [repr(one["amount"]) for one in log] == ["None", "0.0"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *[("count", 0), ("sum", 0.0), ("nunique", 0)],
        *[(name, None) for name in ("mean", "min", "max", "var", "std", "first", "last", "nth", "any", "all")],
    ],
)
def test_a_window_without_events_gives_zero_or_null(name: str, expected: Value) -> None:
    assert value(Reduce(name, Col("amount")), Scope([], PLAIN, 10)) == expected


def test_folds_skip_nulls_and_count_of_the_window_does_not() -> None:
    events = [event(1, None), event(2, 4.0), event(3, 6.0)]
    names = ("count", "sum", "mean", "min", "max", "nunique")
    assert [value(Reduce(name, Col("amount")), Scope(events, PLAIN, 10)) for name in names] == [
        2,
        10.0,
        5.0,
        4.0,
        6.0,
        2,
    ]
    assert value(Reduce("count"), Scope(events, PLAIN, 10)) == 3


def test_first_and_last_give_a_null_unless_it_is_skipped() -> None:
    assert (pick([None, 1, 2, None], 0), pick([None, 1, 2, None], -1)) == (None, None)
    assert (pick([None, 1, 2, None], 0, skip_null=True), pick([None, 1, 2, None], -1, skip_null=True)) == (1, 2)
    assert (pick([5, 6], 1), pick([5, 6], 2), pick([5, 6], -2), pick([5, 6], -3)) == (6, None, 5, None)


@pytest.mark.parametrize(
    ("left", "right", "both", "either"),
    [(True, None, None, True), (False, None, False, None), (None, None, None, None), (True, False, False, True)],
)
def test_and_and_or_are_kleene(
    left: bool | None,  # noqa: FBT001  # a truth table has truth values in its columns
    right: bool | None,  # noqa: FBT001  # as above
    both: bool | None,  # noqa: FBT001  # as above
    either: bool | None,  # noqa: FBT001  # as above
) -> None:
    assert (apply("&", left, right), apply("|", left, right)) == (both, either)
    assert (apply("&", right, left), apply("|", right, left)) == (both, either)


def test_null_spreads_through_arithmetic_comparison_and_not() -> None:
    assert [apply(symbol, None, 1) for symbol in ("+", "*", "/", "<", "==", "!=")] == [None] * 6
    assert [apply("~", None), apply("~", True), apply("~", False)] == [None, False, True]


def test_division_by_zero_is_null_and_floor_and_modulo_are_pythons() -> None:
    assert [apply("/", 1, 0), apply("//", 1, 0), apply("%", 1.0, 0.0), apply("/", 0.0, 0.0)] == [None] * 4
    assert [apply("//", -7, 2), apply("%", -7, 2), apply("//", -7.5, 2), apply("%", 7.5, -2)] == [-4, 1, -4.0, -0.5]


def test_division_of_integers_is_division_of_their_floats() -> None:
    assert apply("/", 2**53 + 1, 1) == float(2**53)


def test_what_is_computed_infinite_is_null_and_minus_zero_is_zero() -> None:
    assert apply("*", 1e308, 10.0) is None
    assert math.copysign(1, float(apply("neg", 0.0) or 0.0)) == 1.0


def test_an_integer_computed_past_int64_is_null() -> None:
    assert (apply("+", 2**63 - 1, 1), apply("neg", -(2**63)), apply("//", -(2**63), -1)) == (None, None, None)


def test_what_asks_for_null_sees_it() -> None:
    assert (apply("is_null", None), apply("is_null", 0.0), apply("fill_null", None, 3)) == (True, False, 3)
    assert [apply("where", condition, 1, 2) for condition in (True, False, None)] == [1, 2, None]


def test_a_filter_keeps_only_true() -> None:
    events = [event(1, None), event(2, 4.0), event(3, -6.0)]
    kept = Reduce("count", where=Op(">", (Col("amount"), Lit(0.0))))
    assert value(kept, Scope(events, PLAIN, 10)) == 1


def test_an_event_compares_with_the_windows_own_reduction_and_with_the_instant() -> None:
    events = [event(1, 1.0), event(2, 2.0), event(8, 6.0)]
    above = Reduce("count", where=Op(">", (Col("amount"), Reduce("mean", Col("amount")))))
    recent = Reduce("count", where=Op(">", (Col("event_time"), Op("-", (AsOf(), Lit(5))))))
    assert (value(above, Scope(events, PLAIN, 10)), value(recent, Scope(events, PLAIN, 10))) == (1, 1)


# S13


def test_a_float_sum_is_rounded_once() -> None:
    assert total([1e16, 1.0, -1e16]) == 1.0
    assert total([0.1] * 10) == 1.0
    assert total([2.0**53, 1.0, 2.0**-60]) == 2.0**53 + 2


def test_a_float_sum_that_overflows_on_its_way_is_still_exact() -> None:
    assert total([1e308, 1e308, -1e308]) == 1e308
    assert total([1e308, 1e308]) is None


def test_a_sum_of_subnormals_is_exact() -> None:
    assert total([5e-324, 5e-324, 5e-324]) == 1.5e-323


def test_an_integer_sum_is_exact_and_past_int64_an_error() -> None:
    assert total([2**53, 1, 2**62], "int") == 2**62 + 2**53 + 1
    with pytest.raises(OverflowError, match="past int64"):
        total([2**62, 2**62], "int")


def test_a_mean_is_the_rounded_sum_divided_by_the_count() -> None:
    assert mean([0.1] * 10) == 0.1
    assert mean([1e308, 1e308]) is None
    assert mean([1, 2, 2], "int") == 5 / 3


def test_booleans_sum_to_the_number_of_true() -> None:
    assert (total([True, None, False, True], "bool"), mean([True, None, False, True], "bool")) == (2, 2 / 3)


def test_variance_is_of_a_sample_and_needs_two_values() -> None:
    assert variance([1.0, 2.0, 3.0, 4.0]) == 5 / 3
    assert (variance([1.0]), variance([None, 3.0])) == (None, None)


def test_variance_does_not_cancel() -> None:
    assert variance([1e9 + 4, 1e9 + 7, 1e9 + 13, 1e9 + 16]) == 30.0


def test_the_nearest_double_of_a_tie_is_the_even_one() -> None:
    assert nearest(Fraction(2**53 + 1)) == 2.0**53
    assert nearest(Fraction(2**53 + 3)) == 2.0**53 + 4


def test_a_quantile_lies_between_the_sorted_values() -> None:
    assert [quantile([4.0, None, 1.0, 2.0], q) for q in (0, 0.5, 0.75, 1)] == [1.0, 2.0, 3.0, 4.0]
    assert (quantile([3, 2**53, 2**53 + 3, 1], 0.5), quantile([], 0.5)) == (2.0**52 + 2, None)
    assert quantile([-1.7e308, 1.7e308], 0.75) == 0.85e308


def test_skewness_and_kurtosis_are_bias_corrected() -> None:
    assert skewness([0.0, 0.0, 1.0]) == math.sqrt(3)  # d = -1/3, -1/3, 2/3: 3 sqrt(2) * (6/27) / (2/3)^1.5
    assert skewness([0.0, 1.0, 1.0]) == -math.sqrt(3)
    assert kurtosis([0.0, 0.0, 0.0, 1.0]) == 4.0  # d = -1/4 thrice, 3/4: 30 * (21/64) / (3/4)^2 - 13.5
    assert (skewness([1.0, 2.0]), skewness([2.0] * 3), kurtosis([1.0, 2.0, 4.0])) == (None, None, None)


def test_entropy_is_in_bits() -> None:
    assert (entropy(["a", "b", None]), entropy([1, 1, 2, 3]), entropy([1, 1]), entropy([])) == (1.0, 1.5, 0.0, None)


def test_a_slope_is_per_duration_and_needs_two_instants() -> None:
    assert slope([1.0, None, 7.0], [0, 1, 2], 10) == 30.0
    assert slope([1.0, 3.0, 2.0], [0, 1, 2], 1) == 0.5
    assert slope([1.0, 3.0], [5, 5], 1) is None


def test_a_decayed_sum_halves_and_is_zero_without_values() -> None:
    assert decayed_sum([8.0, None, 3.0], [10, 20, 30], 30, 10) == 8.0 / 4 + 3.0
    assert decayed_sum([None], [10], 30, 10) == 0.0


def test_a_rate_is_the_count_over_the_length() -> None:
    assert (rate(3, 60, 20), rate(0, 60, 20), rate(0, None, 20), rate(1, 0, 20)) == (1.0, 0.0, None, None)
    events = [event(4), event(8)]
    assert value(Reduce("rate", number=3), Scope(events, PLAIN, 10)) == 1.0
    assert value(Reduce("rate", number=5), Scope(events, PLAIN, 10, window=10)) == 1.0
    assert value(Reduce("rate", number=4), Scope(events, PLAIN, 10, offset=2)) == 2.0


# Reductions of their own kind, S8, S15


def test_since_last_is_in_seconds() -> None:
    assert seconds_since([1, 8_500_000], 10_000_000) == 1.5
    assert value(Reduce("since_last"), Scope([event(8_500_000)], PLAIN, 10_000_000)) == 1.5
    assert value(Reduce("since_last"), Scope([], PLAIN, 10_000_000)) is None


def test_rows_keep_the_last_events_after_the_filter() -> None:
    events = [event(1, 1.0), event(2, -5.0), event(3, 3.0), event(4, 7.0)]
    positive = Op(">", (Col("amount"), Lit(0.0)))
    assert value(Reduce("sum", Col("amount"), where=positive, rows=-2), Scope(events, PLAIN, 10)) == 10.0
    assert value(Reduce("sum", Col("amount"), where=positive, rows=2), Scope(events, PLAIN, 10)) == 4.0


def test_calendar_parts_are_of_utc() -> None:
    instant = int(datetime(2024, 2, 29, 23, 59, 59, tzinfo=UTC).timestamp()) * 1_000_000 + 999_999
    parts = ("hour", "weekday", "day", "month", "year")
    assert [apply(part, instant) for part in parts] == [23, 3, 29, 2, 2024]
    assert apply("year", -1) == 1969


def test_a_missing_float_is_nan_and_any_other_missing_value_none() -> None:
    def describe(amount: float, note: str | None) -> str:
        return f"{amount} {note}"

    assert row_value(describe, {"amount": ("float", None), "note": ("str", None)}) == "nan None"


def test_a_row_feature_that_gives_nan_gives_null() -> None:
    assert row_value(lambda amount: amount * 2, {"amount": ("float", None)}) is None


def test_a_label_looks_ahead_and_never_overlaps_the_features_side() -> None:
    events = [event(9), event(10), event(14), event(15), event(16)]
    assert times(ahead(events, PLAIN, entity={"who": "a"}, as_of=10, horizon=5)) == [10, 14]
    assert times(ahead(events, INCLUSIVE, entity={"who": "a"}, as_of=10, horizon=5)) == [14, 15]


def test_an_offset_leaves_a_gap_before_the_label() -> None:
    events = [event(9), event(10), event(14), event(15), event(16)]
    assert times(ahead(events, PLAIN, entity={"who": "a"}, as_of=8, horizon=5, offset=2)) == [10, 14]
    assert times(ahead(events, INCLUSIVE, entity={"who": "a"}, as_of=8, horizon=5, offset=2)) == [14, 15]
    assert not mature([event(1, known=14)], PLAIN, as_of=8, horizon=5, offset=2)
    assert mature([event(1, known=15)], PLAIN, as_of=8, horizon=5, offset=2)


def test_a_label_sees_what_became_known_later() -> None:
    assert times(ahead([event(11, known=99)], PLAIN, entity={"who": "a"}, as_of=10, horizon=5)) == [11]


def test_a_label_is_mature_when_its_horizon_and_the_delay_have_passed() -> None:
    rules = Rules(columns=PLAIN.columns, delay=2)
    assert not mature([event(1, known=16)], rules, as_of=10, horizon=5)
    assert mature([event(1, known=17)], rules, as_of=10, horizon=5)
