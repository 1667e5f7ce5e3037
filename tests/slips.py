"""Faults that a user brings in, in definitions, tables and requests: each tried with the fault and without.

A slip gives what the checks find; ``faulty`` says whether the fault is there. Rules that guard against such faults are
broken here too: then the next check must see what the first lets through.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from mutations import CHECK, LATE, LEAKS, OPENING, REFUSED, SERVED, VERIFY, Found, checked, leaking, verified
from pytest import MonkeyPatch  # noqa: PT013  # a type here, and nothing else
from shop import Clock, Request, customer, payments, write

from featurestore import FeatureService, FeatureStore, feature, purity
from featurestore.errors import DefinitionProblems, FeatureStoreError
from featurestore.models import pinning

JUNE = datetime(2026, 6, 1, tzinfo=UTC)
Slip = Callable[..., Found]


@dataclasses.dataclass(frozen=True, eq=False)
class Slipped:
    """A slip, the checks that catch it, and what makes it."""

    rule: str
    words: str
    caught: tuple[str, ...]
    make: Slip

    def __repr__(self) -> str:
        return f"{self.rule} {self.make.__name__}"


SLIPS: list[Slipped] = []


def slip(rule: str, words: str, *caught: str) -> Callable[[Slip], Slip]:
    """Add a slip to the list, once: modules are imported a second time to have their examples run."""

    def added(make: Slip) -> Slip:
        if (rule, words) not in {(one.rule, one.words) for one in SLIPS}:
            SLIPS.append(Slipped(rule, words, caught, make))
        return make

    return added


@feature(payments, by=customer, window="30d")
def spent(tx: Any) -> Any:
    return tx.amount.sum()


@contextlib.contextmanager
def shop(folder: Path, *features: Any) -> Iterator[FeatureStore]:
    """A store of two customers' payments, with a training set ``t``."""
    (folder / "data").mkdir(exist_ok=True)
    write(folder / "data/a.csv", *(f"p{day},c{day % 2},2026-05-{day:02}T10:00:00,{day}.25" for day in range(10, 20)))
    service = FeatureService("shop", features=[spent, *features], request=Request)
    with FeatureStore([service], home=folder / "home", root=folder, clock=Clock(JUNE)) as store:
        store.materialize()
        if "t" not in store.training_sets():
            store.training_set("shop", asked(), name="t")
        yield store


def asked() -> list[dict[str, Any]]:
    at = datetime(2026, 5, 20, tzinfo=UTC)
    return [{"customer": f"c{n % 2}", "amount": 1.5 + n, "event_time": at - timedelta(days=n)} for n in range(4)]


def told(found: Found) -> Found:
    return {name: words for name, words in found.items() if words}


def audited(folder: Path, *features: Any) -> Found:
    """All that looks at a definition: opening the store, ``check``, and both verifications after rows served alone."""
    try:
        with shop(folder, *features) as store:
            recorder = store.recorder()
            for number, row in enumerate(asked()):
                inputs = {name: row[name] for name in ("customer", "amount")}
                recorder.record("shop", str(number), [inputs], [store.lookup("shop", inputs)])
            recorder.close()
            found = {CHECK: checked(store), VERIFY: verified(store.verify_training_set("t"))}
            return told({**found, SERVED: verified(store.verify_served())})
    except DefinitionProblems as problem:
        return {OPENING: f"{len(problem.problems)} problems"}


def refused(ask: Callable[[], Any]) -> Found:
    """The typed error that refuses it, if one does."""
    try:
        ask()
    except FeatureStoreError as error:
        return {REFUSED: type(error).__name__}
    return {}


@slip("K4", "a late file is loaded as history, with a known_at that was not so", VERIFY, LATE)
def late_file(folder: Path, *, faulty: bool) -> Found:
    with shop(folder) as store:
        if faulty:
            write(folder / "data/late.csv", "late,c0,2026-05-12T09:00:00,100")
        store.materialize(history=True)
        late = store.verify_late("t")
        found = {VERIFY: verified(store.verify_training_set("t"))}
        found[LATE] = f"{late.moved_rows} of {late.rows} rows, {len(late.features)} features" if late.features else ""
        return told(found)


@slip("K7", "a feature gives one thing for one row, another for many", CHECK, SERVED)
def call_shape(folder: Path, *, faulty: bool) -> Found:
    @feature
    def relative(amount: np.ndarray) -> np.ndarray:
        return amount * 2 if len(amount) == 1 else amount

    @feature
    def plain(amount: np.ndarray) -> np.ndarray:
        return amount * 2

    return audited(folder, relative if faulty else plain)


@slip("K8", "a feature takes the mean of the whole column", CHECK, SERVED)
def whole_column(folder: Path, *, faulty: bool) -> Found:
    @feature
    def relative(amount: np.ndarray) -> np.ndarray:
        mean: float = amount.mean()
        return amount - mean

    @feature
    def plain(amount: np.ndarray) -> np.ndarray:
        return amount - 1.0

    return audited(folder, relative if faulty else plain)


def clocked() -> Any:
    @feature
    def clocked(amount: float) -> float:
        return amount + datetime.now(UTC).timestamp()

    return clocked


@slip("K9", "a feature reads the clock", OPENING)
def wall_clock(folder: Path, *, faulty: bool) -> Found:
    return audited(folder, *([clocked()] if faulty else []))


@slip("S14", "a feature reads the clock, and no look at the code sees it", CHECK, VERIFY, SERVED)
def hidden_clock(folder: Path, *, faulty: bool) -> Found:
    with MonkeyPatch.context() as patch:
        patch.setattr(purity, "findings", lambda _: [])
        return audited(folder, *([clocked()] if faulty else []))


@slip("K12", "a correction comes under the key of the first delivery", REFUSED)
def corrected(folder: Path, *, faulty: bool) -> Found:
    with shop(folder) as store:
        row = {"id": "p10", "customer": "c0", "event_time": "2026-05-10T10:00:00", "amount": 11.0 if faulty else 10.25}
        return refused(lambda: store.ingest("payments", row))


def raised(extra: int) -> FeatureService:
    """The service with a constant in its definition."""
    if extra == 1:

        @feature(payments, by=customer, window="30d")
        def spent(tx: Any) -> Any:
            return tx.amount.sum() + 1

    else:

        @feature(payments, by=customer, window="30d")
        def spent(tx: Any) -> Any:
            return tx.amount.sum() + 2

    return FeatureService("shop", features=[spent], request=Request)


def changed(folder: Path, *, faulty: bool) -> Found:
    """Train with one constant, then declare another."""
    at: dict[str, Any] = {"home": folder / "home", "root": folder, "clock": Clock(JUNE)}
    with shop(folder), FeatureStore([raised(1)], **at) as store:
        store.training_set("shop", asked(), name="raised")
    with FeatureStore([raised(2 if faulty else 1)], **at) as store:
        manifest = store.load_training_set("raised").manifest
        found = {VERIFY: verified(store.verify_training_set("raised"))}
        return told({**found, **refused(lambda: pinning.check_training_set(store.registry, manifest, ["spent"], ""))})


@slip("K13", "a definition is changed after training", VERIFY, REFUSED)
def changed_definition(folder: Path, *, faulty: bool) -> Found:
    return changed(folder, faulty=faulty)


@slip("S12", "a definition is changed after training, and nothing holds the model to its features", VERIFY)
def not_pinned(folder: Path, *, faulty: bool) -> Found:
    with MonkeyPatch.context() as patch:
        patch.setattr(pinning, "check_training_set", lambda *_: None)
        return changed(folder, faulty=faulty)


@slip("K14", "a spine brings a feature's column itself", REFUSED)
def spine_with_feature(folder: Path, *, faulty: bool) -> Found:
    rows = [{**row, **({"spent": 1.0} if faulty else {})} for row in asked()]
    with shop(folder) as store:
        return refused(lambda: store.training_set("shop", rows, name="other"))


@slip("K15", "a training table lacks the feature that is made on demand", LEAKS)
def on_demand_only_online(folder: Path, *, faulty: bool) -> Found:
    @feature
    def share(amount: float, spent: float) -> float | None:
        return amount / spent if spent else None

    with shop(folder, share) as store:
        table = store.load_training_set("t").to_pandas()
        return told({LEAKS: leaking(store, table.drop(columns="share") if faulty else table, "shop", "event_time")})


@slip("S9", "a training row lacks what the caller knew", REFUSED)
def spine_without_request(folder: Path, *, faulty: bool) -> Found:
    rows = [{name: one for name, one in row.items() if name != "amount" or not faulty} for row in asked()]
    with shop(folder) as store:
        return refused(lambda: store.training_set("shop", rows, name="other"))


@slip("S9", "a key is of another type", REFUSED)
def key_of_another_type(folder: Path, *, faulty: bool) -> Found:
    with shop(folder) as store:
        return refused(lambda: store.lookup("shop", {"customer": 7 if faulty else "c1", "amount": 1.0}))


@slip("S10", "a lookup asks for an instant to come", REFUSED)
def to_come(folder: Path, *, faulty: bool) -> Found:
    with shop(folder) as store:
        row = {"customer": "c1", "amount": 1.0}
        return refused(lambda: store.lookup("shop", row, as_of=JUNE + timedelta(days=1 if faulty else 0)))
