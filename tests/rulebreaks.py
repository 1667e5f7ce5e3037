"""Rules of fingerprints, labels and forgetting broken (S11, S15, S16), each tried with the fault and without."""

import importlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from mutations import ORACLE, REFUSED, VERIFY, Found, verified
from pytest import MonkeyPatch  # noqa: PT013  # a type here, and nothing else
from shop import Clock, Request, customer, payments, write
from slips import JUNE, SLIPS, asked, refused, shop, slip, told

from featurestore import FeatureService, FeatureStore, feature, forget, label, maturity, times
from featurestore.forgotten import Forgotten
from featurestore.log import EventLog
from featurestore.models import pinning
from featurestore.testing.oracle import Delivery, Event, Rules, ahead, delivered, mature, visible
from featurestore.used import Content

__all__ = ["SLIPS"]
one_path: Any = importlib.import_module("featurestore.evaluate")
DAY = timedelta(days=1)

# S11: what a function uses counts, however it comes by it

FACTOR = 2.0


def twice(value: Any) -> Any:
    return value * 2


def thrice(value: Any) -> Any:
    return value * 3


def using(factor: float, helper: Any) -> FeatureService:
    """Three features whose own code is always the same: what they use is not."""

    @feature(payments, by=customer, window="30d")
    def closed(tx: Any) -> Any:
        return tx.amount.sum() * factor

    @feature(payments, by=customer, window="30d")
    def helped(tx: Any) -> Any:
        return helper(tx.amount.sum())

    @feature(payments, by=customer, window="30d")
    def constant(tx: Any) -> Any:
        return tx.amount.sum() * FACTOR

    return FeatureService("shop", features=[closed, helped, constant], request=Request)


def reworked(folder: Path, patch: MonkeyPatch, *, faulty: bool) -> Found:
    """Train, then change the closure, the helper and the constant."""
    at: dict[str, Any] = {"home": folder / "home", "root": folder, "clock": Clock(JUNE)}
    with shop(folder), FeatureStore([using(2.0, twice)], **at) as store:
        store.training_set("shop", asked(), name="used")
    if faulty:
        patch.setattr(f"{__name__}.FACTOR", 3.0)
    names = ["closed", "helped", "constant"]
    with FeatureStore([using(3.0, thrice) if faulty else using(2.0, twice)], **at) as store:
        manifest = store.load_training_set("used").manifest
        found = {VERIFY: verified(store.verify_training_set("used"))}
        return told({**found, **refused(lambda: pinning.check_training_set(store.registry, manifest, names, ""))})


@slip("K13", "a closure, a helper and a constant are changed after training", VERIFY, REFUSED)
def changed_uses(folder: Path, *, faulty: bool) -> Found:
    with MonkeyPatch.context() as patch:
        return reworked(folder, patch, faulty=faulty)


@slip("S11", "a closure, a helper and a constant are changed, and no fingerprint notices", VERIFY)
def uses_unnoticed(folder: Path, *, faulty: bool) -> Found:
    with MonkeyPatch.context() as patch:
        patch.setattr(Content, "_uses", lambda *_: "[]")
        return reworked(folder, patch, faulty=faulty)


# S15, S16: what the oracle says of the same rows

RULES = Rules(("id", "customer", "event_time", "amount"), key="id")
MORNING = datetime(2026, 5, 1, 10, tzinfo=UTC)
ROWS = [(f"p{day}", f"c{day % 2}", MORNING + day * DAY, day / 4) for day in range(10, 20)]
LATER = [("p30", "c0", MORNING + 19.1 * DAY, 100.0)]
HORIZON, WINDOW = 2 * DAY // times.MICROSECOND, 3 * DAY // times.MICROSECOND
SPINE: list[dict[str, Any]] = [
    {"customer": f"c{day % 2}", "at": MORNING + day * DAY + late}
    for day in range(12, 22)
    for late in (timedelta(0), DAY, times.MICROSECOND)
]
Payments = Sequence[tuple[str, str, datetime, float]]


@feature(payments, by=customer, window="3d")
def lately(tx: Any) -> Any:
    return tx.amount.sum()


@label(payments, by=customer, horizon="2d")
def coming(tx: Any) -> Any:
    return tx.amount.sum()


@contextmanager
def store_of(folder: Path) -> Iterator[FeatureStore]:
    (folder / "data").mkdir(exist_ok=True)
    save(folder / "data/a.csv", ROWS)
    declared = [FeatureService("shop", features=[lately]), coming]
    with FeatureStore(declared, home=folder / "home", root=folder, clock=Clock(JUNE)) as store:
        store.materialize()
        yield store


def save(path: Path, rows: Payments) -> None:
    write(path, *(f"{key},{who},{at.isoformat()},{amount}" for key, who, at, amount in rows))


def log_of(*loads: Payments, without: str = "") -> list[Event]:
    """The log that the rules give, without whoever was forgotten."""
    at = times.to_micros(JUNE)
    kept = [[row for row in load if row[1] != without] for load in loads]
    events = [[(key, who, times.to_micros(when), amount) for key, who, when, amount in load] for load in kept]
    rows = [tuple(dict(zip(RULES.columns, event, strict=True)) for event in load) for load in events]
    return delivered([Delivery("bulk", at, one, history=True) for one in rows], RULES)


def labelled(folder: Path) -> Found:
    """Rows whose label is not what the rules say, or that the rules leave out, or in."""
    log = log_of(ROWS)
    wanted = []
    for row in SPINE:
        at = times.to_micros(row["at"])
        seen = ahead(log, RULES, entity=_customer(row), as_of=at, horizon=HORIZON)
        if mature(log, RULES, as_of=at, horizon=HORIZON):
            wanted.append((row["customer"], at, sum(event["amount"] for event in seen)))
    with store_of(folder) as store:
        made = store.training_set("shop", SPINE, time="at", labels=["coming"], name="labelled").to_arrow().to_pylist()
    found = [(row["customer"], times.to_micros(row["at"]), row["coming"]) for row in made]
    wrong = len(set(found) ^ set(wanted))
    return told({ORACLE: f"{wrong} rows of {len(SPINE)}, 1 labels" if wrong else ""})


@slip("S15", "a label's window begins a microsecond early, in that of the features", ORACLE)
def label_overlaps(folder: Path, *, faulty: bool) -> Found:
    real = one_path.windows_ahead

    def windows_ahead(viewpoint: Any, entity: Any, as_of: Any, *, horizon: int, **rules: Any) -> Any:
        return real(viewpoint, entity, as_of - 1, horizon=horizon + 1, **rules)

    with MonkeyPatch.context() as patch:
        if faulty:
            patch.setattr(one_path, "windows_ahead", windows_ahead)
        return labelled(folder)


@slip("S15", "a label whose window has not closed is taken for mature", ORACLE)
def immature_counted(folder: Path, *, faulty: bool) -> Found:
    real = maturity.mature_rows
    with MonkeyPatch.context() as patch:
        if faulty:
            patch.setattr(maturity, "mature_rows", lambda *given: [one | True for one in real(*given)])
        return labelled(folder)


def forgetting(folder: Path, *, patched: Mapping[Any, Any], later: Mapping[Any, Any]) -> Found:
    """Forget a customer, load more of them, and ask for all: trained and served."""
    with store_of(folder) as store:
        with MonkeyPatch.context() as patch:
            for (owner, name), other in patched.items():
                patch.setattr(owner, name, other)
            store.forget(customer, "c0")
        save(folder / "data/b.csv", LATER)
        with MonkeyPatch.context() as patch:
            for (owner, name), other in later.items():
                patch.setattr(owner, name, other)
            store.materialize(history=True)
        trained = store.training_set("shop", SPINE, time="at", name="after").to_arrow()["lately"].to_pylist()
        who, instants = [{"customer": row["customer"]} for row in SPINE], [row["at"] for row in SPINE]
        served = [vector["lately"] for vector in store.lookup_many("shop", who, as_of=instants)]
        log = log_of(ROWS, LATER, without="c0")
        wanted = [_lately(log, row) for row in SPINE]
        wrong = sum(one != other for way in (trained, served) for one, other in zip(way, wanted, strict=True))
        found = {ORACLE: f"{wrong} of {2 * len(SPINE)} rows, 1 features" if wrong else ""}
        return told({**found, VERIFY: verified(store.verify_training_set("after"))})


def _customer(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"customer": row["customer"]}


def _lately(log: Sequence[Event], row: Mapping[str, Any]) -> float:
    at = times.to_micros(row["at"])
    seen = visible(log, RULES, entity=_customer(row), as_of=at, window=WINDOW)
    return float(sum(event["amount"] for event in seen))


@slip("S16", "what is forgotten stays in the log", ORACLE)
def stays_in_the_log(folder: Path, *, faulty: bool) -> Found:
    kept = {(EventLog, "erase"): lambda *_, **__: 0}
    return forgetting(folder, patched=kept if faulty else {}, later={})


@slip("S16", "what is forgotten stays in the online store", ORACLE, VERIFY)
def stays_online(folder: Path, *, faulty: bool) -> Found:
    kept = {(forget, "_fill"): lambda *_: None}
    return forgetting(folder, patched=kept if faulty else {}, later={})


@slip("S16", "who is forgotten comes back with the next load", ORACLE)
def comes_back(folder: Path, *, faulty: bool) -> Found:
    back = {(Forgotten, "without"): lambda _, __, table: (table, 0)}
    return forgetting(folder, patched={}, later=back if faulty else {})
