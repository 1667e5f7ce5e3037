"""Forgetting (S16): an entity's events are gone everywhere, stay out, and what that changes is named."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from shop import Clock

from featurestore import Entity, FeatureService, FeatureStore, Source, feature
from featurestore.cli import main
from featurestore.errors import RequestError

Open = Callable[..., FeatureStore]
WHO = "margarethe-unmistakable"


class Visit(BaseModel):
    id: str
    customer: str | None
    shop: str
    event_time: datetime
    amount: float


customer, shop = Entity("customer", key="customer"), Entity("shop", key="shop")
visits = Source("visits", schema=Visit, path="data/*.csv", event_time="event_time", key="id")


@feature(visits, by=customer)
def spent(tx: Any) -> Any:
    """Money spent."""
    return tx.amount.sum()


@feature(visits, by=shop)
def earned(tx: Any) -> Any:
    """Money earned."""
    return tx.amount.sum()


SERVICES = [FeatureService("visits", features=[spent, earned])]
ROWS = [{"customer": one, "shop": "s1", "event_time": datetime(2026, 5, 20, tzinfo=UTC)} for one in (WHO, "c2")]


def write(path: Path, *rows: str) -> None:
    path.write_text("id,customer,shop,event_time,amount\n" + "".join(f"{row}\n" for row in rows))


@pytest.fixture
def store(tmp_path: Path, open_store: Open, clock: Clock) -> FeatureStore:
    """Payments of two customers and of nobody, one of them ingested, and the training set ``before``."""
    write(
        tmp_path / "data/a.csv",
        f"p1,{WHO},s1,2026-05-10,1",
        "p2,c2,s1,2026-05-11,10",
        "p3,,s1,2026-05-12,100",
        f"p4,{WHO},s2,2026-05-13,1000",
    )
    store = open_store(SERVICES)
    store.materialize()
    store.ingest("visits", {"id": "p5", "customer": WHO, "shop": "s1", "event_time": "2026-05-14", "amount": 7.0})
    clock.advance(seconds=1)
    store.training_set("visits", ROWS, name="before")
    return store


def values(store: FeatureStore, who: str = WHO) -> tuple[Any, Any]:
    """What the customer spent and shop s1 earned: online and in a training set, which must agree."""
    found = store.lookup("visits", {"customer": who, "shop": "s1"})
    made = store.training_set("visits", [{"customer": who, "shop": "s1", "event_time": found.as_of}])
    row = made.to_arrow().to_pylist()[0]
    assert found.to_dict() == {name: row[name] for name in found}
    return found["spent"], found["earned"]


def test_an_entitys_events_are_gone_online_and_in_the_log_and_from_others_views(
    store: FeatureStore, clock: Clock
) -> None:
    clock.advance(seconds=1)
    assert (values(store), values(store, "c2")) == ((1008.0, 118.0), (10.0, 118.0))
    done = store.forget(customer, WHO)
    assert dict(done.events) == {"visits": 3}
    assert (values(store), values(store, "c2")) == ((0.0, 110.0), (10.0, 110.0))
    assert store.log.verify() > 0


def test_no_file_of_log_or_online_store_holds_the_bytes_any_more(store: FeatureStore, tmp_path: Path) -> None:
    def files() -> list[Path]:
        held = [path for folder in ("log", ".") for path in (tmp_path / "home" / folder).glob("**/*") if path.is_file()]
        return [path for path in held if WHO.encode() in path.read_bytes() and "training" not in path.name]

    assert files()
    store.forget(customer, WHO)
    store.close()
    assert files() == []


def test_other_events_keep_position_and_known_at(store: FeatureStore) -> None:
    names = ["id", "__known_at", "__position"]
    before = {row["id"]: row for row in store.log.read("visits", columns=names).to_pylist()}
    store.forget(customer, WHO)
    after = {row["id"]: row for row in store.log.read("visits", columns=names).to_pylist()}
    assert after == {name: before[name] for name in ("p2", "p3")}


def test_a_forgotten_entity_stays_out_of_what_several_send(store: FeatureStore) -> None:
    store.forget(customer, WHO)
    visits = [
        [{"id": f"p{n}", "customer": who, "shop": "s1", "event_time": "2026-05-16", "amount": 1.0}]
        for n, who in ((8, WHO), (9, "c2"))
    ]
    told = store.ingest_each("visits", visits)
    assert [(each.rows, each.forgotten) for each in told] == [(0, 1), (1, 0)]  # type: ignore[union-attr]


def test_a_forgotten_entity_stays_out_of_later_loads_rebuilds_and_ingests(
    store: FeatureStore, tmp_path: Path, clock: Clock
) -> None:
    store.forget(customer, WHO)
    write(tmp_path / "data/b.csv", f"p6,{WHO},s1,2026-05-15,5", "p7,c2,s1,2026-05-15,5")
    done = store.materialize()
    assert (done.rows, done.sources[0].forgotten) == (1, 1)
    assert store.materialize(rebuild=True).sources[0].forgotten == 3
    told = store.ingest(
        "visits",
        [
            {"id": f"p{n}", "customer": who, "shop": "s1", "event_time": "2026-05-16", "amount": 1.0}
            for n, who in ((8, WHO), (9, "c2"))
        ],
    )
    assert (told.rows, told.forgotten) == (1, 1)
    clock.advance(seconds=1)
    assert values(store)[0] == 0.0
    assert values(store, "c2")[0] == 16.0
    assert store.log.rows("visits") == 4


def test_training_sets_that_contain_it_are_named_and_verify_says_erased(store: FeatureStore, clock: Clock) -> None:
    clock.advance(seconds=1)
    store.training_set("visits", ROWS[1:], name="without")
    done = store.forget("customer", {"customer": WHO})
    assert (done.training_sets, done.models) == (("before",), ())
    found = store.verify_training_set("before")
    assert (found.causes, found.unexplained) == ({"erased": 2}, 0)
    assert store.verify_training_set("without").causes == {"erased": 1}  # the shop's sum


def test_forgetting_twice_or_somebody_unknown_is_no_error(store: FeatureStore) -> None:
    store.forget(customer, WHO)
    assert dict(store.forget(customer, WHO).events) == {"visits": 0}
    assert dict(store.forget(customer, "nobody").events) == {"visits": 0}


def test_what_is_no_key_is_refused(store: FeatureStore) -> None:
    with pytest.raises(RequestError, match=r"No entity named 'custome'.*customer"):
        store.forget("custome", "c1")
    with pytest.raises(RequestError, match="give a value for customer"):
        store.forget(customer, None)
    with pytest.raises(RequestError, match="Key customer: "):
        store.forget(customer, 7)


def test_the_command_says_what_was_erased(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from served import write_project

    project = str(write_project(tmp_path))
    with FeatureStore.open(project) as opened:
        day = datetime(2026, 5, 1, tzinfo=UTC)
        opened.ingest("payments", {"id": "p", "customer": 5, "shop": "a", "amount": 1.0, "event_time": day})
    assert main(["forget", "customer", "customer=5", "--project", project]) == 0
    assert "payments" in capsys.readouterr().out
    with FeatureStore.open(project) as opened:
        assert opened.log.rows("payments") == 0
