"""Faults of the product, each planted by a small change at one place: causes of skew (K), and rules broken (S).

``plant(rule, words, *checks)`` names the checks that catch it; ``online`` and ``offline`` break the one path for one
caller alone, as a second code path would.
"""

import dataclasses
import importlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from mutations import CHECK, KEPT, LEAKS, ORACLE, SERVED, VERIFY
from pytest import MonkeyPatch  # noqa: PT013  # a type here, and nothing else
from strategies import HOUR, SECOND

from featurestore import arrivals, events, fold, handful, ingest, keys, lookup, unpacking, visibility
from featurestore.column import Column
from featurestore.engine import buckets, local
from featurestore.evaluate import Spine
from featurestore.events import Events
from featurestore.made import Made
from featurestore.spans import Spans
from featurestore.values import Values

one_path: Any = importlib.import_module("featurestore.evaluate")
elementwise: Any = importlib.import_module("featurestore.elementwise")
sqlite: Any = importlib.import_module("featurestore.online.sqlite")
times: Any = importlib.import_module("featurestore.times")
window: Any = importlib.import_module("featurestore.window")
Put = Callable[[MonkeyPatch], None]


@dataclasses.dataclass(frozen=True, eq=False)
class Plant:
    """A fault, the checks that catch it (all others are silent), and what puts it into the product."""

    rule: str
    words: str
    caught: tuple[str, ...]
    put: Put

    def __repr__(self) -> str:
        return f"{self.rule} {self.put.__name__}"


PLANTS: list[Plant] = []


def plant(rule: str, words: str, *caught: str) -> Callable[[Put], Put]:
    """Add a fault to the list."""

    def added(put: Put) -> Put:
        PLANTS.append(Plant(rule, words, caught, put))
        return put

    return added


def made_of(values: Mapping[str, Values]) -> Made:
    """What ``evaluate`` gives, of these values."""
    made = Made({}, tuple(values))
    for name, one in values.items():
        made.add((name,), one)
    return made


def _alone(module: Any, patch: MonkeyPatch, put: Put) -> None:
    """Let one caller of ``evaluate`` have the fault, and no other."""
    real = module.evaluate

    def evaluate(*given: Any, **named: Any) -> Any:
        with MonkeyPatch.context() as own:
            put(own)
            return real(*given, **named)

    patch.setattr(module, "evaluate", evaluate)


def online(patch: MonkeyPatch, put: Put) -> None:
    """Break what lookups call."""
    _alone(lookup, patch, put)


def offline(patch: MonkeyPatch, put: Put) -> None:
    """Break what training sets call."""
    _alone(buckets, patch, put)


def windows(patch: MonkeyPatch, **change: Callable[[dict[str, Any]], Any]) -> None:
    """Change what ``windows_of`` is given: its parameters by name, each made of all of them."""
    real = one_path.windows_of

    def windows_of(viewpoint: Any, entity: Any, as_of: Any, **rules: Any) -> Any:
        given = {"viewpoint": viewpoint, "entity": entity, "as_of": as_of, **rules}
        given |= {name: make(given) for name, make in change.items()}
        return real(given.pop("viewpoint"), given.pop("entity"), given.pop("as_of"), **given)

    patch.setattr(one_path, "windows_of", windows_of)
    patch.setattr(one_path.OneRow, "reduced", lambda row, feature: None)  # noqa: ARG005 - all go that way


def asked_at(patch: MonkeyPatch, module: Any, shift: Callable[[Any], Any]) -> None:
    """Ask one caller's rows as of another instant."""
    real = module.evaluate

    def evaluate(plan: Any, spine: Spine, *rest: Any, **named: Any) -> Any:
        return real(plan, dataclasses.replace(spine, as_of=shift(spine.as_of)), *rest, **named)

    patch.setattr(module, "evaluate", evaluate)


def inclusive(patch: MonkeyPatch) -> None:
    windows(patch, inclusive=lambda _: True)


def at_once(patch: MonkeyPatch) -> None:
    """All events are known when they happen, or ever were."""

    def known(given: dict[str, Any]) -> Any:
        seen: Events = given["viewpoint"].events
        return visibility.Viewpoint(dataclasses.replace(seen, known_at=np.full(len(seen), times.EARLIEST, np.int64)))

    windows(patch, viewpoint=known)


def reversed_ties(found: Events) -> Events:
    """Turn events of one entity at one instant round."""
    owner = np.repeat(np.arange(len(found.starts) - 1), np.diff(found.starts))
    place = np.lexsort((-np.arange(len(owner)), found.event_time, owner))
    columns = {name: found.columns[name].take(place) for name in found.columns}
    stamps = found.event_time[place], found.known_at[place]
    return Events(found.starts, *stamps, columns, None if found.position is None else found.position[place])


# K: causes of skew that others have had


@plant("K1", "the server counts an event at T", ORACLE, VERIFY, SERVED, KEPT)
def edge_included_online(patch: MonkeyPatch) -> None:
    online(patch, inclusive)


@plant("K1", "the training set counts an event at T", ORACLE, VERIFY, SERVED, LEAKS)
def edge_included_offline(patch: MonkeyPatch) -> None:
    offline(patch, inclusive)


@plant("K2", "the online store gives ties in the reverse order", ORACLE, VERIFY, SERVED, KEPT)
def ties_reversed_online(patch: MonkeyPatch) -> None:
    real = unpacking.Unpacker.events
    patch.setattr(unpacking.Unpacker, "events", lambda self, blobs: reversed_ties(real(self, blobs)))


@plant("K3", "a tile that reaches past T is served whole: to the end of the minute", ORACLE, VERIFY, SERVED, KEPT)
def future_rows_online(patch: MonkeyPatch) -> None:
    asked_at(patch, lookup, lambda at: -(-at // (60 * SECOND)) * 60 * SECOND)


@plant("K4", "the training set sees late events when they happened", ORACLE, VERIFY, SERVED, LEAKS)
def late_data_offline(patch: MonkeyPatch) -> None:
    offline(patch, at_once)


@plant("K4", "the online store is stale: its newest delivery is not there yet", ORACLE, VERIFY, SERVED, KEPT)
def stale_online(patch: MonkeyPatch) -> None:
    real = unpacking.Unpacker.events
    patch.setattr(unpacking.Unpacker, "events", lambda self, blobs: real(self, [of[:-1] or of for of in blobs]))


@plant("K5", "the server rounds T down to the hour", ORACLE, VERIFY, SERVED, KEPT)
def rounded_online(patch: MonkeyPatch) -> None:
    asked_at(patch, lookup, lambda at: at // HOUR * HOUR)


@plant("K6", "the server fills 0 where there is no value", ORACLE, VERIFY, SERVED, KEPT)
def default_filled_online(patch: MonkeyPatch) -> None:
    real = one_path.evaluate

    def evaluate(*given: Any, **named: Any) -> Made:
        made = real(*given, **named)
        return made_of({name: Values(one.kind, one.data, None, one.categories) for name, one in made.items()})

    patch.setattr(lookup, "evaluate", evaluate)


@plant("K6", "null keys of spine and events match each other in the training set", ORACLE, VERIFY, SERVED, LEAKS)
def null_keys_match_offline(patch: MonkeyPatch) -> None:
    real = keys.codes_of

    def plain(columns: Any) -> list[Values]:
        return [Values(one.kind, one.data, None, one.categories) for one in columns]

    patch.setattr(keys, "codes_of", lambda spine, there: real(plain(spine), plain(there)))


@plant("K10", "one row's sums are added in order, many rows' exactly", ORACLE, VERIFY, SERVED, KEPT)
def reduction_order(patch: MonkeyPatch) -> None:
    online(patch, added_in_order)


def added_in_order(patch: MonkeyPatch) -> None:
    def sums(spans: Any) -> Any:
        return np.array([sum(part) for part in spans.parts()], np.float64)

    patch.setattr(Spans, "float_sums", property(sums))


@plant("K11", "the server takes hours in its own time zone", ORACLE, VERIFY, SERVED, KEPT)
def session_time_zone(patch: MonkeyPatch) -> None:
    real = elementwise.calendar

    def calendar(given: Values, part: str) -> Values:
        shifted: Values = real(Values(given.kind, given.data + HOUR, given.valid), part)
        return shifted

    online(patch, lambda own: own.setattr(elementwise, "calendar", calendar))


@plant("K12", "an append is retried and counts twice online", ORACLE, VERIFY, SERVED, KEPT)
def doubled_online(patch: MonkeyPatch) -> None:
    real = unpacking.Unpacker.events
    patch.setattr(unpacking.Unpacker, "events", lambda self, blobs: real(self, [[*of, *of[-1:]] for of in blobs]))


@plant("K14", "the server names its columns in another order", ORACLE, VERIFY, SERVED, KEPT)
def columns_in_another_order(patch: MonkeyPatch) -> None:
    real = one_path.evaluate

    def evaluate(*given: Any, **named: Any) -> Made:
        made = real(*given, **named)
        return made_of(dict(zip(made, [made[name] for name in sorted(made)], strict=True)))

    patch.setattr(lookup, "evaluate", evaluate)


@plant("K14", "the server rounds to float32 before it answers", ORACLE, VERIFY, SERVED, KEPT)
def single_precision_online(patch: MonkeyPatch) -> None:
    real = one_path.evaluate

    def single(one: Values) -> Values:
        return one if one.kind != "float" else Values("float", one.data.astype("f4").astype("f8"), one.valid)

    def evaluate(*given: Any, **named: Any) -> Made:
        return made_of({name: single(one) for name, one in real(*given, **named).items()})

    patch.setattr(lookup, "evaluate", evaluate)


# S: rules broken for both callers, in the one place that holds them


@plant("S1", "an instant with a zone is read as if it were UTC", ORACLE)
def zones_ignored(patch: MonkeyPatch) -> None:
    real = times.to_micros

    def to_micros(moment: Any) -> int:
        aware = getattr(moment, "tzinfo", None) is not None
        return int(real(moment.replace(tzinfo=None) if aware else moment))

    patch.setattr(times, "to_micros", to_micros)


@plant("S2", "arrivals are known when they happened", ORACLE, LEAKS)
def arrival_ignored(patch: MonkeyPatch) -> None:
    real = arrivals.known_at
    patch.setattr(arrivals, "known_at", lambda source, table, _: real(source, table, None))
    patch.setattr(ingest, "known_at", lambda source, table, _: real(source, table, None))
    patch.setattr(handful, "read", lambda rows, source: None)  # noqa: ARG005 - few rows go the way of many


@plant("S2", "the delay is ignored", ORACLE, LEAKS)
def delay_ignored(patch: MonkeyPatch) -> None:
    real = arrivals.known_at

    def known_at(source: Any, table: Any, stamp: int | None) -> Any:
        found = real(source, table, stamp)
        return found - source.delay if stamp is None else found

    patch.setattr(arrivals, "known_at", known_at)


@plant("S3", "an event at T counts", ORACLE, KEPT, LEAKS)
def edge_included(patch: MonkeyPatch) -> None:
    inclusive(patch)


@plant("S3", "what becomes known later counts", ORACLE, KEPT, LEAKS)
def known_at_ignored(patch: MonkeyPatch) -> None:
    at_once(patch)


@plant("S4", "an event at the window's begin does not count", ORACLE, KEPT, LEAKS)
def begin_open(patch: MonkeyPatch) -> None:
    windows(patch, windows=lambda given: [one and one - 1 for one in given["windows"]])


@plant("S4", "windows have no begin (a TTL is ignored)", ORACLE, KEPT, LEAKS)
def window_ignored(patch: MonkeyPatch) -> None:
    windows(patch, windows=lambda given: [None] * len(given["windows"]))


@plant("S4", "an offset shifts known_at too", ORACLE, KEPT, LEAKS)
def offset_shifts_all(patch: MonkeyPatch) -> None:
    windows(patch, as_of=lambda given: given["as_of"] - given["offset"], offset=lambda _: 0)


@plant("S5", "ties lie as they came", ORACLE, VERIFY, SERVED, CHECK, LEAKS)
def ties_as_they_came(patch: MonkeyPatch) -> None:
    real = events.order
    for module in (events, handful, unpacking):
        patch.setattr(module, "order", lambda entity, happened, known, _: real(entity, happened, known, []))


@plant("S6", "a key that is known counts again", ORACLE, LEAKS)
def duplicates_count(patch: MonkeyPatch) -> None:
    patch.setattr(arrivals, "_drop_known", lambda *_: [])


@plant("S7", "the sum of an empty window is null", ORACLE, KEPT, LEAKS)
def empty_sum_null(patch: MonkeyPatch) -> None:
    real = fold.total

    def total(spans: Any) -> Values:
        made = real(spans)
        return Values(made.kind, made.data, made.mask & (spans.counts > 0))

    patch.setattr(fold, "total", total)


@plant("S7", "last passes over null", ORACLE, KEPT, LEAKS)
def last_skips_null(patch: MonkeyPatch) -> None:
    patch.setattr(Column, "last", lambda column: column.nth(-1, skip_null=True))


@plant("S7", "a filter keeps what is null", ORACLE, KEPT, LEAKS)
def filter_keeps_null(patch: MonkeyPatch) -> None:
    real = window.Window.__getitem__

    def chosen(seen: Any, what: Any) -> Any:
        if isinstance(what, Column):
            data = np.where(what.values.mask, what.values.data, True)
            what = Column(Values("bool", data), what.ranges, what.tally)
        return real(seen, what)

    patch.setattr(window.Window, "__getitem__", chosen)


@plant("S8", "a missing float is -1.0 for a row feature", ORACLE, KEPT, LEAKS)
def missing_is_a_number(patch: MonkeyPatch) -> None:
    real = one_path._as_scalars
    patch.setattr(one_path, "_as_scalars", lambda given: [-1.0 if one != one else one for one in real(given)])  # noqa: PLR0124


@plant("S9", "a training set's features come out by entity", ORACLE, VERIFY, SERVED, CHECK, LEAKS)
def rows_in_another_order(patch: MonkeyPatch) -> None:
    real = one_path.evaluate

    def evaluate(plan: Any, spine: Spine, *rest: Any) -> Made:
        place = np.argsort(spine.columns["customer"].data, kind="stable")
        return made_of({name: one.take(place) for name, one in real(plan, spine, *rest).items()})

    patch.setattr(buckets, "evaluate", evaluate)


@plant("S10", "a position sees what was published after it", ORACLE, SERVED)
def position_ignored(patch: MonkeyPatch) -> None:
    real = local.read
    patch.setattr(local, "read", lambda source, log, _, **more: real(source, log, None, **more))
    windows(patch, position=lambda _: None)


@plant("S10", "the clock runs back and stamps with it", ORACLE, LEAKS)
def stamps_fall(patch: MonkeyPatch) -> None:
    patch.setattr(sqlite, "max", lambda now, _: now, raising=False)


@plant("S10", "now lies at, not after, the newest arrival", ORACLE)
def now_not_after(patch: MonkeyPatch) -> None:
    real = lookup._instants
    patch.setattr(lookup, "_instants", lambda asked, now, stamp, as_of: real(asked, now, stamp - 1, as_of))


@plant("S13", "sums are added in order", ORACLE, KEPT, LEAKS)
def sums_added_in_order(patch: MonkeyPatch) -> None:
    added_in_order(patch)


@plant("S13", "a variance is that of its doubles", ORACLE, KEPT)
def variance_of_doubles(patch: MonkeyPatch) -> None:
    def variance(spans: Any, ddof: int = 1) -> Values:
        parts = [np.asarray(part, np.float64) for part in spans.parts()]
        there = np.array([len(part) > ddof for part in parts])
        found = [part.var(ddof=ddof) if known else 0.0 for part, known in zip(parts, there.tolist(), strict=True)]
        return Values("float", np.array(found), there)

    patch.setattr(fold, "variance", variance)
