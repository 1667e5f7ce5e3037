"""The product against the oracle, bit for bit: the same scenario, declared and delivered, in both.

``pytest tests/test_identity.py --hypothesis-seed=...`` draws other scenarios.
"""

import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from running import ENTITIES, Move, Running, compare, expected, logs_of, request, running, service_of, source_of
from strategies import HOUR, OPERATIONS, SECOND, Asked, Scenario, scenarios

from featurestore import FeatureService, FeatureStore, Source, aggregations, feature, times
from featurestore.engine import buckets, local, portions
from featurestore.errors import AsOfError, ConflictingRows, IntegerOverflow
from featurestore.evaluate import Spine, evaluate
from featurestore.events import Events
from featurestore.log import segments
from featurestore.plan import Keyed, ServicePlan, compile_service, outputs_of
from featurestore.testing.oracle import KNOWN_AT, POSITION, Delivery, Event, Value, ordered
from featurestore.values import Values, from_list

EXPLORE = (Phase.explicit, Phase.reuse, Phase.generate)  # no shrinking: a failure names the value and the row as it is


# The one path alone, with events handed to it


def _events(log: Sequence[Event], scenario: Scenario, keyed: Keyed) -> tuple[Events, dict[tuple[Value, ...], int]]:
    """Sorted events of a view and the index of each entity."""
    keys = keyed.view.key_columns
    owners = sorted({tuple(event[key] for key in keys) for event in log if all(event[key] is not None for key in keys)})
    groups = [[event for event in log if tuple(event[key] for key in keys) == owner] for owner in owners]
    rows = [event for group in groups for event in ordered(group, scenario.rules)]
    starts = np.cumsum([0, *(len(group) for group in groups)], dtype=np.int64)
    stamps = [np.array([event[name] for event in rows], np.int64) for name in ("event_time", KNOWN_AT, POSITION)]
    columns = {
        name: from_list(field.kind, [event[name] for event in rows], nullable=field.nullable or field.kind == "float")
        for name, field in ((one.name, one) for one in keyed.view.source.fields.fields)
    }
    events = Events(starts, stamps[0], stamps[1], columns, stamps[2])
    return events, {owner: index for index, owner in enumerate(owners)}


def _evaluated(
    plan: ServicePlan,
    scenario: Scenario,
    log: Sequence[Event],
    spine: Sequence[Mapping[str, Any]],
    positions: list[int],
) -> list[list[Any]]:
    events: dict[str, Events] = {}
    entities = {}
    for keyed in plan.keyed:
        found, index = _events(log, scenario, keyed)
        events[keyed.view.name] = found
        owners = [index.get(tuple(row[column] for column in keyed.columns), -1) for row in spine]
        entities[keyed] = np.array(owners, np.int64)
    columns = {
        column.name: from_list(column.kind, [row[column.name] for row in spine], nullable=True)
        for column in plan.columns
    }
    as_of = np.array([row["as_of"] for row in spine], np.int64)
    asked = Spine(as_of, columns, np.array(positions, np.int64))
    result = evaluate(plan, asked, events, entities)
    assert tuple(result) == plan.outputs
    cut = _in_buckets(plan, asked, events, entities)
    assert {name: repr(one.to_list()) for name, one in cut.items()} == {
        name: repr(one.to_list()) for name, one in result.items()
    }
    return [list(row) for row in zip(*(column.to_list() for column in result.values()), strict=True)]


def _in_buckets(
    plan: ServicePlan, asked: Spine, events: Mapping[str, Events], entities: Mapping[Keyed, Any]
) -> Mapping[str, Values]:
    """Cut to buckets of a few rows, as the local engine cuts to buckets of a million."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(buckets, "MANY_ROWS", 1)
        patch.setattr(buckets, "AT_ONCE", 3)
        patch.setattr(buckets, "_HOT", 2)
        return buckets.in_buckets(plan, asked, events, entities, {})


def hold_one_path(scenario: Scenario) -> None:
    sides = {"moves": scenario}
    service = service_of(sides, {"moves": source_of("moves", scenario)})
    plan = compile_service(service, outputs_of(service.features))
    logs, newest = logs_of(sides), len(scenario.deliveries)
    positions = [newest - number % (newest + 1) for number in range(len(scenario.spine))]
    rows = _evaluated(plan, scenario, logs["moves"], scenario.spine, positions)
    for row, position, actual in zip(scenario.spine, positions, rows, strict=True):
        compare(plan.outputs, actual, expected(sides, logs, row, {"moves": position}), f"{row} at {position}")


@settings(max_examples=10, deadline=None, phases=EXPLORE, suppress_health_check=list(HealthCheck))
@given(scenario=scenarios())
def test_the_one_path_gives_what_the_rules_say(scenario: Scenario) -> None:
    hold_one_path(scenario)


@settings(max_examples=10, deadline=None, phases=EXPLORE, suppress_health_check=list(HealthCheck))
@given(scenario=scenarios(trees=0))
def test_every_operator_gives_what_the_rules_say(scenario: Scenario) -> None:
    operations = [Asked(name, "customer", node, (None,)) for name, node in OPERATIONS.items()]
    hold_one_path(replace(scenario, features=tuple(operations)))


# The whole store: files, ingest, training sets, lookups


def hold(scenario: Scenario) -> int:
    """Deliver, looking up after each delivery; train at every position; look up and train when all is there, twice."""
    spine = scenario.spine
    with running({"moves": scenario}) as run:
        for step, delivery in enumerate(scenario.deliveries, start=1):
            position = run.deliver({"moves": delivery})
            asked = request(spine[step % len(spine)])
            live = run.store.lookup("all", asked)
            as_of = times.to_micros(live.as_of)
            assert live.position == position
            assert as_of > run.stamp  # what was acknowledged is seen next (S10)
            run.agree({**asked, "as_of": as_of}, list(live.to_dict().values()))
        run.now = max(run.now, newest(spine)) + 1
        steps = [number % len(run.steps) for number in range(len(spine))]
        trained = run.trained(spine, [run.steps[step][0] for step in steps])
        for row, step, actual in zip(spine, steps, trained, strict=True):
            run.agree(row, actual, step)
        agree_now(run, spine)
        run.store.materialize()  # nothing is new, but what was ingested moves into the log
        agree_now(run, spine)
        return run.compared


def agree_now(run: Running, spine: Sequence[Mapping[str, Value]]) -> None:
    for row, trained, looked_up in zip(spine, run.trained(spine), run.looked_up(spine), strict=True):
        run.agree(row, trained)
        run.agree(row, looked_up)


def newest(spine: Sequence[Mapping[str, Value]]) -> int:
    return max(int(row["as_of"] or 0) for row in spine)


@settings(max_examples=4, deadline=None, phases=EXPLORE, suppress_health_check=list(HealthCheck))
@given(scenario=scenarios())
def test_training_sets_and_lookups_give_what_the_rules_say(scenario: Scenario) -> None:
    hold(scenario)


@settings(max_examples=4, deadline=None, phases=EXPLORE, suppress_health_check=list(HealthCheck))
@given(scenario=scenarios(), looks=st.sampled_from([0, 100]))
def test_training_sets_made_in_parts_of_a_few_events_give_what_the_rules_say(scenario: Scenario, looks: int) -> None:
    """Row groups of two rows; portions of a few, read side by side or one after another; values on the disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segments, "ROW_GROUP", 2)
        patch.setattr(portions, "AT_ONCE", 3)
        patch.setattr(portions, "_LOOKS", looks)
        patch.setattr(local, "MANY_ROWS", 1)
        patch.setattr(local, "_SHARE", 10**10)
        patch.setattr(buckets, "AT_ONCE", 3)
        patch.setattr(buckets, "_HOT", 2)
        hold(scenario)


@pytest.mark.slow
def test_two_hundred_thousand_values_are_the_same_bytes() -> None:
    """``FEATURESTORE_VALUES=1000000`` compares a million, ``FEATURESTORE_SEED`` draws the same; ``-s`` tells both."""
    wanted = int(os.environ.get("FEATURESTORE_VALUES", "200000"))
    first = int(os.environ.get("FEATURESTORE_SEED", random.randrange(2**32)))
    compared, rounds = 0, 0
    while compared < wanted:

        @seed(first + rounds)
        @settings(max_examples=20, deadline=None, phases=EXPLORE, suppress_health_check=list(HealthCheck))
        @given(scenario=scenarios(trees=6))
        def count(scenario: Scenario) -> None:
            nonlocal compared
            compared += hold(scenario)

        count()
        rounds += 1
    print(f"{compared} values compared with the rules, 0 differ; seed {first}, {rounds} rounds")  # noqa: T201  # for -s


@settings(max_examples=4, deadline=None, phases=EXPLORE, suppress_health_check=list(HealthCheck))
@given(scenario=scenarios(trees=0))
def test_a_lookup_of_what_is_no_longer_retained_is_refused_and_never_wrong(scenario: Scenario) -> None:
    short = tuple(asked for asked in scenario.features if asked.windows == (HOUR,))  # with an offset
    with running({"moves": replace(scenario, features=short)}, retain="10s") as run:
        latest = 0
        for delivery in scenario.deliveries:
            run.deliver({"moves": delivery})
            latest = max(latest, run.now)  # the clock may run back
            for row in scenario.spine:
                age = latest - int(row["as_of"] or 0)
                if run.now < int(row["as_of"] or 0):
                    continue
                try:
                    vector = run.store.lookup("all", request(row), as_of=row["as_of"])
                except AsOfError:
                    assert age > 10 * SECOND
                else:
                    run.agree(row, list(vector.to_dict().values()))


@settings(max_examples=3, deadline=None, phases=EXPLORE, suppress_health_check=list(HealthCheck))
@given(scenario=scenarios(trees=0))
def test_features_that_are_declared_later_see_what_was_delivered_before(scenario: Scenario) -> None:
    short = [asked for asked in scenario.features if asked.windows == (HOUR,) and asked.view == "customer"]
    with running({"moves": replace(scenario, features=tuple(short))}) as run:
        half = len(scenario.deliveries) // 2 + 1
        for delivery in scenario.deliveries[:half]:
            run.deliver({"moves": delivery})
        run.store.close()
        run.declare({"moves": scenario})  # other views, longer windows, more columns
        run.store.materialize()
        for delivery in scenario.deliveries[half:]:
            run.deliver({"moves": delivery})
        run.now = max(run.now, newest(scenario.spine)) + 1
        agree_now(run, scenario.spine)


@settings(max_examples=3, deadline=None, phases=EXPLORE, suppress_health_check=list(HealthCheck))
@given(one=scenarios(trees=0), other=scenarios(trees=0))
def test_two_sources_keep_their_own_rules_in_one_service(one: Scenario, other: Scenario) -> None:
    renamed = tuple(replace(asked, name=f"visit_{asked.name}") for asked in other.features[::4])
    pairs = [together(*pair) for pair in zip(history_first(one), history_first(other), strict=False)]
    moves = replace(one, deliveries=tuple(first for first, _ in pairs))
    visits = replace(other, deliveries=tuple(second for _, second in pairs), features=renamed)
    with running({"moves": moves, "visits": visits}) as run:
        for first, second in pairs:
            run.deliver({"moves": first, "visits": second})
        spine = [*one.spine, *other.spine]
        run.now = max(run.now, newest(spine)) + 1
        steps = [number % len(run.steps) for number in range(len(spine))]
        trained = run.trained(spine, [run.steps[step][0] for step in steps])
        for row, step, actual in zip(spine, steps, trained, strict=True):
            run.agree(row, actual, step)
        agree_now(run, spine)


@settings(max_examples=3, deadline=None, phases=EXPLORE, suppress_health_check=list(HealthCheck))
@given(scenario=scenarios(trees=0))
def test_after_a_rebuild_training_sets_and_lookups_are_the_same_bytes(scenario: Scenario) -> None:
    with running({"moves": scenario}) as run:
        for delivery in scenario.deliveries:
            run.deliver({"moves": delivery})
        run.now = max(run.now, newest(scenario.spine)) + 1
        run.store.materialize(rebuild=True)
        for trained, looked_up in zip(run.trained(scenario.spine), run.looked_up(scenario.spine), strict=True):
            compare(run.service.outputs, trained, looked_up, "after a rebuild")


def together(first: Delivery, second: Delivery) -> tuple[Delivery, Delivery]:
    at = max(first.at, second.at)
    return replace(first, at=at), replace(second, at=at)


def history_first(scenario: Scenario) -> list[Delivery]:
    """Deliveries with the first bulk load in front, each a second after the one before."""
    first = next(one for one in scenario.deliveries if one.kind == "bulk")
    rest = [one for one in scenario.deliveries if one is not first]
    return [replace(one, at=first.at + number * SECOND) for number, one in enumerate([first, *rest])]


# What is refused


def _events_of_one_customer(rows: Sequence[Mapping[str, Value]]) -> list[dict[str, Any]]:
    nothing: dict[str, Any] = {**dict.fromkeys(Move.model_fields), "price": 1.0, "customer": "c1"}
    return [{**nothing, "event_time": times.to_datetime(1), "seen": times.to_datetime(1), **row} for row in rows]


def test_an_integer_sum_past_int64_is_an_error_for_both_callers(tmp_path: Path) -> None:
    source = Source("moves", schema=Move, event_time="event_time")
    service = FeatureService("all", features=aggregations(source.by(ENTITIES["customer"]), **BIG_SUM))
    store = FeatureStore([service], home=tmp_path, clock=lambda: 10 * SECOND)
    store.ingest("moves", _events_of_one_customer([{"big": 2**62}, {"big": 2**62}]))
    with pytest.raises(IntegerOverflow):
        store.lookup("all", {"customer": "c1"})
    with pytest.raises(IntegerOverflow):
        store.training_set("all", [{"customer": "c1", "event_time": times.to_datetime(11 * SECOND)}])
    store.close()


BIG_SUM: dict[str, Any] = {"columns": ["big"], "functions": ["sum"], "windows": ["1h"]}


def test_a_row_feature_past_int64_is_an_error_for_both_callers(tmp_path: Path) -> None:
    source = Source("moves", schema=Move, event_time="event_time")

    @feature(source, by=ENTITIES["customer"])
    def big(tx: Any) -> Any:
        return tx.big.last()

    @feature
    def doubled(big: int) -> int:
        return big + big

    store = FeatureStore([FeatureService("all", features=[big, doubled])], home=tmp_path, clock=lambda: 10 * SECOND)
    store.ingest("moves", _events_of_one_customer([{"big": 2**62}]))
    with pytest.raises(IntegerOverflow, match="feature 'doubled' gave 9223372036854775808, past int64, for row 1"):
        store.lookup("all", {"customer": "c1"})
    with pytest.raises(IntegerOverflow):
        store.training_set("all", [{"customer": "c1", "event_time": times.to_datetime(11 * SECOND)}])
    store.close()


def test_another_payload_under_a_known_key_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    source = Source("moves", schema=Move, event_time="event_time", key="id")
    service = FeatureService("all", features=aggregations(source.by(ENTITIES["customer"]), **UNITS_SUM))
    store = FeatureStore([service], home=tmp_path, clock=lambda: 10 * SECOND)
    first = store.ingest("moves", _events_of_one_customer([{"id": "x", "units": 1}]))
    with pytest.raises(ConflictingRows):
        store.ingest("moves", _events_of_one_customer([{"id": "y", "units": 1}, {"id": "x", "units": 2}]))
    vector = store.lookup("all", {"customer": "c1"})
    assert (vector["units_sum_1h"], vector.position) == (1, first.position)
    store.close()


UNITS_SUM: dict[str, Any] = {"columns": ["units"], "functions": ["sum"], "windows": ["1h"]}


def looked_up(tmp_path: Path, function: Any, rows: Sequence[Mapping[str, Value]]) -> Any:
    """Value of one whole-history feature of customer c1 after these rows."""
    one = feature(Source("moves", schema=Move, event_time="event_time"), by=ENTITIES["customer"])(function)
    store = FeatureStore([FeatureService("all", features=[one])], home=tmp_path, clock=lambda: 10 * SECOND)
    store.ingest("moves", _events_of_one_customer(rows))
    found = store.lookup("all", {"customer": "c1"})[one.name]
    store.close()
    return found


def test_the_smallest_integer_modulo_minus_one_is_zero(tmp_path: Path) -> None:
    def remainder(tx: Any) -> Any:
        return (tx.big % tx.units).last()

    assert looked_up(tmp_path, remainder, [{"big": -(2**63), "units": -1}]) == 0


def test_integers_compare_exactly_with_floats(tmp_path: Path) -> None:
    def above(tx: Any) -> Any:
        return tx[tx.units > 2.0**53].count()

    assert looked_up(tmp_path, above, [{"units": 2**53}, {"units": 2**53 + 1}]) == 1
