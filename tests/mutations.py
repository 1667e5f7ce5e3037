"""What faults are planted in: one literal scenario in which every rule bites, and the checks that look at it.

A fault is planted while a store is filled, trained on and asked (``faulty``), and under a store that was all that
without it (``sound``), as an upgrade would bring it. What each check finds is told in rows and features.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta, timezone
from typing import Any

import pyarrow as pa
from oracle import Lit, Op, Reduce
from pytest import MonkeyPatch  # noqa: PT013  # a type here, and nothing else
from running import SPINE, Running, bits, expected, request, running
from strategies import BASE, CATALOGUE, COLUMNS, DAY, HOUR, OFFSET, SECOND, Asked, Scenario

from featurestore import FeatureStore, times
from featurestore.errors import DefinitionProblems
from featurestore.testing.oracle import Delivery, Event, Rules, Value
from featurestore.values import from_list
from featurestore.verify import Verification

ORACLE, VERIFY, SERVED = "oracle", "verify training-set", "verify served"
KEPT, LATE, LEAKS = "verify training-set, built before", "verify late", "leaks"
CHECK, OPENING, REFUSED = "check", "opening the store", "refused at the door"
Found = Mapping[str, str]
"""What each check that found something says; checks that are silent are not in it."""
_ABROAD = timezone(timedelta(hours=5, minutes=30))
_STEP = 30 * 60 * SECOND


def move(number: int, at: int, **given: Any) -> dict[str, Any]:
    """Event ``number`` of customer c1, with decimals that no double holds."""
    plain = {"shop": 1, "amount": number / 10, "price": number * 1.01, "units": number % 3, "big": number}
    event = {"id": f"e{number}", "customer": "c1", "event_time": at, "flag": None, "note": "online", "seen": at}
    return {name: {**event, **plain, **given}[name] for name in COLUMNS}


def _history() -> Iterator[Event]:
    """Every half hour for a day, by turns of two customers; then the hard ones."""
    for number in range(1, 49):
        customer = "c1" if number % 2 else "c2"
        yield move(number, BASE - DAY + number * _STEP, customer=customer, flag=(True, False, None)[number % 3])
    yield move(60, BASE - HOUR, amount=0.3, note="z", customer="c1")  # three at one instant, last in S5 order first
    yield move(59, BASE - HOUR, amount=1e16, note="a", customer="c1")
    yield move(58, BASE - HOUR, amount=1.0, note=None, customer="c1")
    yield move(61, BASE - 2 * SECOND, amount=-0.0, note="A", customer="c2", units=None)
    yield move(62, BASE - 3 * SECOND, amount=None, price=1e-3, note="", customer="c1")
    yield move(63, BASE - 3 * SECOND, amount=float("nan"), price=-1e16, customer="c1")
    yield move(64, BASE - 4 * SECOND, amount=7.0, price=1e16, customer=None)
    yield move(65, BASE - 4 * SECOND, amount=0.7, price=1e16, customer="c1", note="online", flag=True)


HISTORY = tuple(_history())
INGESTED = (move(70, BASE - 5 * SECOND, amount=50.0), move(71, BASE - HOUR - 1, amount=51.0, customer="c2"))
LATER = (HISTORY[3], move(80, BASE - 2 * HOUR, amount=80.0), INGESTED[0])
BACK = (move(90, BASE - 6 * SECOND, amount=90.0),)
RULES = Rules(tuple(COLUMNS), delay=2 * SECOND, key="id")
FEATURES = ("events", "amount_sum", "price_mean", "amount_last", "dear_or_flagged", "nights", "price_var", "flag_any")
EVER = ("price_mean", "note_last", "flag_last", "units_last", "seen_max", "gap_mean")


def _asked() -> Iterator[Asked]:
    for name in FEATURES:
        yield Asked(name, "customer", CATALOGUE[name], (HOUR, DAY))
    for name in EVER:
        yield Asked(f"{name}_ever", "customer", CATALOGUE[name], (None,))
    yield Asked("events_before", "customer", CATALOGUE["events"], (HOUR,), OFFSET)
    yield Asked("last_before", "customer", CATALOGUE["amount_last"], (DAY,), OFFSET)
    yield Asked("doubled", "customer", Op("*", (Reduce("count"), Lit(2))), (HOUR,))


def _spine() -> Iterator[Mapping[str, Value]]:
    """Instants of events, of their windows' edges, of when they are known, and a microsecond beside each."""
    happened = [BASE, BASE - SECOND, BASE - 2 * SECOND, BASE - HOUR, BASE - HOUR + 2 * SECOND, BASE - DAY + _STEP]
    edges = [BASE - HOUR + 10 * SECOND, BASE - 2 * SECOND + HOUR, BASE - DAY + _STEP + HOUR, BASE + HOUR, BASE + DAY]
    for at in [*happened, *edges, BASE + 20 * SECOND, BASE + 60 * SECOND]:
        for step in (-1, 0, 1):
            for customer in ("c2", "c1") if step else ("c1", "c2", None, "never seen"):
                keys = {"customer": customer, "shop": 1, "buyer": "c1", "store": 1}
                yield {**keys, "asked": None if step else 2.5, "word": "w", "as_of": at + step}


SCENARIO = Scenario(
    RULES,
    (
        Delivery("bulk", BASE - SECOND, HISTORY),
        Delivery("ingest", BASE + 10 * SECOND, INGESTED),
        Delivery("bulk", BASE + 60 * SECOND, LATER),
        Delivery("ingest", BASE + 40 * SECOND, BACK),  # the clock runs back
    ),
    tuple(_spine()),
    tuple(_asked()),
)
SIDES = {"moves": SCENARIO}


@dataclass(frozen=True, eq=False)
class Answers:
    """A filled store, with the training set ``t`` and served rows, and what it answered in each way.

    ``behind`` lookups had an instant at which they could not see what had been acknowledged (S10).
    """

    run: Running
    live: Sequence[tuple[Mapping[str, Value], list[Any], int]]
    behind: int
    trained: list[list[Any]]
    looked_up: list[list[Any]]
    then: list[list[Any]]

    @property
    def store(self) -> FeatureStore:
        """The store."""
        return self.run.store


@contextmanager
def answered() -> Iterator[Answers]:
    """Fill a store, asking it after each delivery; then train at the newest position and at older ones, and serve."""
    with running(SIDES) as run:
        live, behind = [], 0
        recorder = run.store.recorder()
        for step, delivery in enumerate(SCENARIO.deliveries, start=1):
            run.deliver({"moves": delivery})
            for customer in ("c1", "c2"):
                asked = {**request(SCENARIO.spine[0]), "customer": customer}
                vector = run.store.lookup("all", asked)
                behind += times.to_micros(vector.as_of) <= run.stamp
                live.append(({**asked, "as_of": times.to_micros(vector.as_of)}, list(vector.values()), step))
                recorder.record("all", f"live {step}", [asked], [vector])
        run.now = BASE + 2 * DAY
        rows = [request(row) for row in SCENARIO.spine]
        instants = [times.to_datetime(int(row["as_of"] or 0)).astimezone(_ABROAD) for row in SCENARIO.spine]
        vectors = run.store.lookup_many("all", rows, as_of=instants)
        recorder.record("all", "later", rows, vectors)
        recorder.close()
        run.store.training_set("all", spine(), time="at", name="t")
        steps = [number % len(run.steps) for number in range(len(rows))]
        then = run.trained(SCENARIO.spine, [run.steps[step][0] for step in steps])
        yield Answers(run, live, behind, _features(run), [list(vector.values()) for vector in vectors], then)


def spine() -> pa.Table:
    """The spine as a table, its instants in the column ``at``."""
    columns = {name: from_list(kind, [row[name] for row in SCENARIO.spine]).to_arrow() for name, kind in SPINE.items()}
    return pa.table(columns).rename_columns({"as_of": "at"})


def _features(run: Running) -> list[list[Any]]:
    table = run.store.load_training_set("t").to_arrow()
    return [list(row) for row in zip(*(table[name].to_pylist() for name in run.service.outputs), strict=True)]


def audit(put: Callable[[MonkeyPatch], None], sound: Answers) -> Found:
    """What each check finds of a store that was filled, trained on and asked with a fault in the product.

    The product that verifies has the fault too; the oracle and ``leaks`` are given what it made.
    """
    with MonkeyPatch.context() as patch:
        put(patch)
        with answered() as faulty:
            found = {
                VERIFY: verified(faulty.store.verify_training_set("t")),
                SERVED: verified(faulty.store.verify_served()),
                KEPT: verified(sound.store.verify_training_set("t")),
                CHECK: checked(sound.store),
            }
            table = faulty.store.load_training_set("t").to_arrow()
    found = {ORACLE: oracle(faulty), **found, LEAKS: leaking(sound.store, table)}
    return {check: words for check, words in found.items() if words}


class Expected:
    """What the oracle says, worked out once: of each live lookup, each spine row, and each row at an older step."""

    made: dict[tuple[Any, ...], list[Value]] = {}  # noqa: RUF012  # shared on purpose

    @classmethod
    def of(cls, run: Running, row: Mapping[str, Value], step: int) -> list[Value]:
        """Values of a row after so many deliveries."""
        what = (*row.items(), step)
        if what not in cls.made:
            cls.made[what] = expected(run.sides, run.logs, row, {"moves": step})
        return cls.made[what]


def oracle(answers: Answers) -> str:
    """Compare all that a store answered with what the rules say."""
    if answers.behind:
        return f"{answers.behind} lookups do not see what was acknowledged"
    run, last = answers.run, len(SCENARIO.deliveries)
    pairs = [(values, Expected.of(run, row, step)) for row, values, step in answers.live]
    for way in (answers.trained, answers.looked_up):
        pairs += [(values, Expected.of(run, row, last)) for row, values in zip(SCENARIO.spine, way, strict=True)]
    steps = [number % (last + 1) for number in range(len(SCENARIO.spine))]
    rows = zip(SCENARIO.spine, answers.then, steps, strict=True)
    pairs += [(values, Expected.of(run, row, step)) for row, values, step in rows]
    differing = [
        {place for place, pair in enumerate(zip(one, other, strict=True)) if bits(pair[0]) != bits(pair[1])}
        for one, other in pairs
    ]
    return _told(sum(map(bool, differing)), len(pairs), len(set().union(*differing)))


def verified(found: Verification) -> str:
    """Say what a verification found, with the causes it names."""
    return _told(found.differing, found.rows, len(found.features), ", ".join(sorted(found.causes)))


def checked(store: FeatureStore) -> str:
    """Say what ``check`` found."""
    try:
        store.check()
    except DefinitionProblems as found:
        return f"{len(found.problems)} problems"
    return ""


def leaking(store: FeatureStore, table: Any, service: str = "all", time: str = "at") -> str:
    """Say which columns of a table are not as declared, and which reading explains most of them."""
    found = store.leaks(table, service, time)
    wrong = [one for one in found.columns if one.verdict != "right"]
    readings = [str(one.reading) for one in found.leaking]
    named = f": {max(sorted(set(readings)), key=readings.count)}" if readings else ""
    lacking = [f"lacks {', '.join(found.lacking)}"] if found.lacking else []
    told = [f"{len(wrong)} of {len(found.columns)} columns, {len(found.leaking)} named a leak{named}"] if wrong else []
    return "; ".join([*told, *lacking])


def _told(rows: int, of: int, features: int, why: str = "") -> str:
    return f"{rows} of {of} rows, {features} features{f' ({why})' if why else ''}" if rows else ""
