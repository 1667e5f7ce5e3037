"""A load that arrives is known when it can first be read: not when it began (S2, S10)."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from shop import Clock, customer, payments, write

from featurestore import FeatureService, FeatureStore, Source, feature
from featurestore.materialize import Materialized

Open = Callable[..., FeatureStore]


@feature(payments, by=customer)
def amounts(tx: Any) -> Any:
    """Amounts in the order of the events."""
    return tx.amount.apply(lambda values: ",".join(f"{value:g}" for value in values), returns=str)


SHOP = [FeatureService("shop", features=[amounts])]


def seen(store: FeatureStore, as_of: datetime | None = None) -> Any:
    return store.lookup("shop", {"customer": "c1"}, as_of=as_of)["amounts"]


def trained(store: FeatureStore, as_of: datetime) -> Any:
    made = store.training_set("shop", [{"customer": "c1", "event_time": as_of}], time="event_time")
    return made.to_arrow().column("amounts")[0].as_py()


def load_while(store: FeatureStore, happens: Callable[[], None]) -> Materialized:
    """Materialize; ``happens`` once, while the load is being written."""
    left = [happens]

    def progress(text: str) -> None:
        if text.startswith("filling") and left:
            left.pop()()

    return store.materialize(progress=progress)


def slow_load(tmp_path: Path, store: FeatureStore, clock: Clock) -> tuple[datetime, Materialized]:
    """A second load of p2; during it a minute passes, p3 is ingested and c1 is looked up. Gives that lookup's T."""
    write(tmp_path / "data/a.csv", "p1,c1,2026-05-15T10:00:00,1")
    store.materialize()
    write(tmp_path / "data/b.csv", "p2,c1,2026-05-14T10:00:00,2")
    asked = []

    def meanwhile() -> None:
        event = {"id": "p3", "customer": "c1", "event_time": "2026-05-16T10:00:00", "amount": 3.0}
        clock.advance(minutes=1)
        store.ingest("payments", event)
        asked.append(clock.advance(minutes=1))
        assert seen(store) == "1,3"
        clock.advance(minutes=1)

    done = load_while(store, meanwhile)
    return asked[0], done


def test_a_lookup_during_a_load_and_a_later_training_row_of_that_instant_agree(
    tmp_path: Path, open_store: Open, clock: Clock
) -> None:
    store = open_store(SHOP)
    asked, done = slow_load(tmp_path, store, clock)
    assert (done.rows, done.position) == (1, 3)
    assert trained(store, asked) == seen(store, asked) == "1,3"
    clock.advance(seconds=1)
    assert trained(store, clock.now) == seen(store) == "2,1,3"


def test_stamps_do_not_fall_where_a_load_is_published_after_an_ingest(
    tmp_path: Path, open_store: Open, clock: Clock
) -> None:
    store = open_store(SHOP)
    _, done = slow_load(tmp_path, store, clock)
    store.materialize()
    rows = store.log.read("payments", columns=["id", "__known_at", "__position"]).to_pylist()
    known = {row["id"]: row["__known_at"] for row in rows}
    assert known["p1"] < known["p3"] < known["p2"] == clock.now
    assert {row["id"]: row["__position"] for row in rows} == {"p1": 1, "p3": 2, "p2": 3}
    assert done.sources[0].known_at == "load time 2026-06-01T00:03:00.000000Z"


def test_the_stamp_survives_compaction_refilling_and_a_rebuild(tmp_path: Path, open_store: Open, clock: Clock) -> None:
    asked, _ = slow_load(tmp_path, open_store(SHOP), clock)
    store = open_store(SHOP)
    store.log.compact("payments", [("event_time", "ascending")], at=0, force=True)
    assert trained(store, asked) == "1,3"
    store.online.path.unlink()
    Path(f"{store.online.path}-wal").unlink(missing_ok=True)
    store = open_store(SHOP)
    assert store.materialize().filled
    assert trained(store, asked) == seen(store, asked) == "1,3"
    store.materialize(rebuild=True)
    assert trained(store, asked) == seen(store, asked) == "1,3"


def test_a_load_of_a_killed_process_is_finished_with_the_stamp_that_it_was_published_with(
    tmp_path: Path, open_store: Open, clock: Clock
) -> None:
    store = open_store(SHOP)
    write(tmp_path / "data/a.csv", "p1,c1,2026-05-15T10:00:00,1")
    store.materialize()
    write(tmp_path / "data/b.csv", "p2,c1,2026-05-14T10:00:00,2")
    load = store.log.begin("bulk", at=0)
    store.online.begin_load(load.id)
    table = store.log.read("payments")
    load.add("payments", table.drop_columns(["__position"]), origin="bulk", arrive=True)
    load.prepare()
    published = store.online.publish_load(load.id, views={}, stamp=1_780_000_000_000_000)
    assert published is not None
    clock.advance(days=1)
    store.materialize()
    stamps = store.log.read("payments", columns=["__known_at", "__position"]).to_pylist()
    (known,) = (row["__known_at"] for row in stamps if row["__position"] == published.position)
    assert known.timestamp() == 1_780_000_000


class Told(BaseModel):
    customer: str
    event_time: datetime
    told_at: datetime
    amount: float


told = Source("told", schema=Told, path="data/*.csv", event_time="event_time", known_at="told_at")


@feature(told, by=customer)
def told_amounts(tx: Any) -> Any:
    """Amounts in the order of the events."""
    return tx.amount.apply(lambda values: ",".join(f"{value:g}" for value in values), returns=str)


def test_a_declared_known_at_between_a_loads_begin_and_its_end_does_not_decide_order(
    tmp_path: Path, open_store: Open, clock: Clock
) -> None:
    # Both of b.csv are known when the load ends. So their order is that of told_at's tie: the column, then the amount.
    store = open_store([FeatureService("shop", features=[told_amounts])])
    heading = "customer,event_time,told_at,amount\n"
    (tmp_path / "data/a.csv").write_text(heading + "c9,2026-05-01T00:00:00,2026-05-01T00:00:00,0\n")
    store.materialize()
    late = "c1,2026-05-15T00:00:00,2026-06-01T00:00:50,1\nc1,2026-05-15T00:00:00,2026-05-20T00:00:00,2\n"
    (tmp_path / "data/b.csv").write_text(heading + late)

    def meanwhile() -> None:
        clock.advance(minutes=3)

    load_while(store, meanwhile)
    clock.advance(seconds=1)
    found = store.lookup("shop", {"customer": "c1"})["told_amounts"]
    made = store.training_set("shop", [{"customer": "c1", "event_time": clock.now}], time="event_time")
    assert found == made.to_arrow().column("told_amounts")[0].as_py() == "2,1"
    early = store.lookup("shop", {"customer": "c1"}, as_of=datetime.fromisoformat("2026-06-01T00:02:00+00:00"))
    assert early["told_amounts"] is None
