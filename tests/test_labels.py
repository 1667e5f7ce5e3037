"""Labels: what lies after T, when it can be told, and that no feature ever sees it (S15)."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from oracle import Scope, value
from running import ENTITIES, SPINE, Running, Sides, bits, window_feature
from shop import Clock, Payment, customer, ingested, payments, service, write
from sklearn.dummy import DummyClassifier, DummyRegressor
from strategies import DAY, HOUR, OFFSET, SECOND, VIEWS, WINDOWS, Asked, Scenario, scenarios

from featurestore import Entity, FeatureService, FeatureStore, Source, feature, label, on, testing
from featurestore.contents import content_hash
from featurestore.definition import Label
from featurestore.errors import DefinitionError, RequestError, SpineError, UnknownService
from featurestore.testing.oracle import Value, ahead, mature
from featurestore.values import from_list

Open = Callable[..., FeatureStore]
T = datetime(2026, 5, 10, tzinfo=UTC)
EDGE = timedelta(microseconds=1)


def declared(source: Source, **options: Any) -> Label:
    """Payments of a customer in the ten days after T."""

    @label(source, by=customer, **{"horizon": "10d", **options})
    def coming(tx: Any) -> Any:
        """Payments to come."""
        return tx.count()

    return coming


def paid(store: FeatureStore, *instants: datetime, who: str | None = "c1") -> None:
    for at in instants:
        store.ingest("payments", {"id": f"{at} {who}", "customer": who, "event_time": at, "amount": 2.0})


def spine(*instants: datetime, who: str | None = "c1") -> pd.DataFrame:
    return pd.DataFrame({"customer": [who] * len(instants), "event_time": instants, "amount": 1.0})


def coming(store: FeatureStore, *instants: datetime, **options: Any) -> list[Any]:
    made = store.training_set("shop", spine(*instants), labels=["coming"], **options).to_arrow()
    return list(made["coming"].to_pylist())


# What a label sees


@pytest.fixture
def store(open_store: Open) -> FeatureStore:
    return open_store([service(ingested), declared(ingested)])


def test_an_event_at_t_is_the_labels_and_one_at_the_end_is_not(store: FeatureStore) -> None:
    end = T + timedelta(days=10)
    paid(store, T - EDGE)
    assert coming(store, T) == [0]
    paid(store, T)
    assert coming(store, T) == [1]
    paid(store, end - EDGE)
    assert coming(store, T) == [2]
    paid(store, end)
    assert coming(store, T) == [2]


def test_of_an_inclusive_source_an_event_at_t_is_the_features_and_one_at_the_end_is_the_labels(
    open_store: Open,
) -> None:
    inclusive = Source("payments", schema=Payment, event_time="event_time", inclusive=True)
    store = open_store([service(inclusive), declared(inclusive)])
    paid(store, T, T + timedelta(days=10), T + timedelta(days=10) + EDGE)
    assert coming(store, T) == [1]
    assert coming(store, T - EDGE) == [1]
    assert coming(store, T + EDGE) == [2]


def test_an_offset_leaves_a_gap(open_store: Open) -> None:
    store = open_store([service(ingested), declared(ingested, offset="1d")])
    paid(store, *(T + timedelta(days=days) for days in (0, 1, 11)), T + timedelta(days=1) - EDGE)
    paid(store, T + timedelta(days=11) - EDGE)
    assert coming(store, T) == [2]


def test_a_label_sees_what_became_known_after_t_and_the_features_do_not(tmp_path: Path, open_store: Open) -> None:
    store = open_store([service(payments), declared(payments)])
    write(tmp_path / "data/a.csv", "p1,c1,2026-05-09,1", "p2,c1,2026-05-11,1", "p3,c2,2026-05-30,1")
    store.materialize()
    write(tmp_path / "data/b.csv", "p4,c1,2026-05-08,1", "p5,c1,2026-05-12,1")
    store.materialize()  # known on the first of June
    made = store.training_set("shop", spine(T), labels=["coming"]).to_arrow()
    assert (made["number"].to_pylist(), made["coming"].to_pylist()) == ([1], [2])


def test_a_label_sees_the_training_sets_position(store: FeatureStore) -> None:
    paid(store, T + timedelta(days=1))
    paid(store, T + timedelta(days=2))
    assert coming(store, T, position=1) == [1]
    assert coming(store, T, position=2) == [2]
    assert coming(store, T, T, position=[2, 1]) == [2, 1]


def test_null_keys_and_customers_never_seen_have_empty_windows(store: FeatureStore) -> None:
    paid(store, T + timedelta(days=1))
    paid(store, T + timedelta(days=1), who=None)
    asked = pd.concat([spine(T, who="nobody"), spine(T, who=None), spine(T)])
    made = store.training_set("shop", asked, labels=["coming"]).to_arrow()
    assert made["coming"].to_pylist() == [0, 0, 1]


# When it can be told


def history(tmp_path: Path, open_store: Open, *instants: str, delay: str = "0s", offset: str = "0s") -> FeatureStore:
    """Load a first file: what happened was known ``delay`` later."""
    source = Source("payments", schema=Payment, path="data/*.csv", event_time="event_time", delay=delay)
    store = open_store([service(source), declared(source, offset=offset)])
    write(tmp_path / "data/a.csv", *(f"p{number},c1,{at},1" for number, at in enumerate(instants)))
    store.materialize()
    return store


def test_a_row_is_mature_when_its_horizon_lies_at_or_before_the_newest_known_at(
    tmp_path: Path, open_store: Open
) -> None:
    store = history(tmp_path, open_store, "2026-05-01", "2026-05-20")
    assert coming(store, T, T + EDGE) == [0]
    made = store.training_set("shop", spine(T, T + EDGE), labels=["coming"])
    assert made.to_arrow()["event_time"].to_pylist() == [T]
    assert made.manifest["immature"] == {"rows": 1, "how": "drop"}
    assert [(one["mature"], one["immature"]) for one in made.labels] == [(1, 1)]


def test_a_delay_counts_for_maturity(tmp_path: Path, open_store: Open) -> None:
    store = history(tmp_path, open_store, "2026-05-20", delay="2d")
    assert coming(store, T, T + EDGE) == [0]  # the newest is known on the 22nd


def test_an_offset_counts_for_maturity(tmp_path: Path, open_store: Open) -> None:
    store = history(tmp_path, open_store, "2026-05-20", offset="1d")
    early = T - timedelta(days=1)
    assert coming(store, early, early + EDGE, T) == [0]


def test_maturity_is_of_the_position_asked_for(tmp_path: Path, open_store: Open, clock: Clock) -> None:
    store = history(tmp_path, open_store, "2026-05-01", "2026-05-19")
    assert coming(store, T) == []
    clock.advance(hours=1)
    write(tmp_path / "data/b.csv", "p9,c1,2026-05-12,1")
    store.materialize()
    assert coming(store, T, T, T, position=[2, 1, 2]) == [2, 2]
    assert coming(store, T, position=1) == []


def test_immature_rows_can_be_kept_with_a_mark(tmp_path: Path, open_store: Open) -> None:
    store = history(tmp_path, open_store, "2026-05-01", "2026-05-20")
    late, asked = T + timedelta(days=1), spine(T + timedelta(days=1), T, T + timedelta(days=2))
    made = store.training_set("shop", asked, labels=["coming"], immature="keep")
    table = made.to_arrow()
    assert table.column_names[-2:] == ["coming", "coming__mature"]
    assert table["coming"].to_pylist() == [None, 0, None]
    assert table["coming__mature"].to_pylist() == [False, True, False]
    assert table["number"].to_pylist() == [1, 1, 1]
    assert table["event_time"].to_pylist()[0] == late
    frame = made.to_pandas()
    assert str(frame["coming"].dtype) == "Int64"
    assert made.manifest["immature"] == {"rows": 2, "how": "keep"}
    assert made.labels[0]["nulls"] == 2


@pytest.mark.parametrize("name", ["coming__mature", "Coming__Mature"])
def test_a_column_named_like_a_mark_is_refused_where_rows_are_marked(
    tmp_path: Path, open_store: Open, name: str
) -> None:
    store = history(tmp_path, open_store, "2026-05-01", "2026-05-20")
    asked = spine(T).assign(**{name: 1})
    with pytest.raises(SpineError, match=rf"already: {name}\. Rename"):
        store.training_set("shop", asked, labels=["coming"], immature="keep")
    assert store.training_sets() == {}
    made = store.training_set("shop", asked, labels=["coming"])
    assert made.to_arrow()[name].to_pylist() == [1]


@pytest.mark.parametrize("immature", ["drop", "keep"])
def test_hashes_are_of_the_spine_asked_for_and_of_the_rows_given(
    tmp_path: Path, open_store: Open, immature: Any
) -> None:
    store = history(tmp_path, open_store, "2026-05-01", "2026-05-20")
    asked = pa.table({"customer": ["c1", "c2"], "event_time": [T, T + timedelta(days=2)], "amount": [1.0, 2.0]})
    made = store.training_set("shop", asked, labels=["coming"], immature=immature)
    assert len(made) == (1 if immature == "drop" else 2)
    hashes = [made.manifest[f"{of}_hash"] for of in ("spine", "content")]
    assert hashes == [content_hash(asked), content_hash(made.to_arrow())]


def test_rows_that_stay_keep_their_order_and_a_pandas_spine_its_index(tmp_path: Path, open_store: Open) -> None:
    store = history(tmp_path, open_store, "2026-05-01", "2026-05-20")
    asked = spine(T, T + EDGE, T - EDGE, T).set_index(pd.Index([40, 30, 20, 10]))
    made = store.training_set("shop", asked, labels=["coming"])
    assert made.to_pandas().index.tolist() == [40, 20, 10]
    assert store.load_training_set(made.name).to_arrow().to_pylist() == made.to_arrow().to_pylist()
    assert made.manifest["rows"] == len(made) == 3


def test_the_manifest_names_labels_with_their_fingerprints(store: FeatureStore) -> None:
    paid(store, T + timedelta(days=1))
    manifest = store.training_set("shop", spine(T), labels=["coming"], position=1).manifest
    (told,) = manifest["labels"]
    assert told["fingerprint"] == store.registry.label_fingerprints["coming"]
    assert (told["name"], told["horizon"], told["offset"], told["type"]) == ("coming", "10d", None, "int")
    assert "coming" not in [*manifest["features"], *manifest["fingerprints"]]
    assert store.training_set("shop", spine(T)).manifest["labels"] == []


# Asking for one


def test_labels_are_asked_for_as_functions_or_by_name(open_store: Open) -> None:
    made = declared(ingested)
    store = open_store([service(ingested), made])
    paid(store, T + timedelta(days=1))
    expected = store.training_set("shop", spine(T), labels=["coming"]).to_arrow()
    assert store.training_set("shop", spine(T), labels=[made]).to_arrow().equals(expected)


def test_what_is_no_label_is_refused(store: FeatureStore) -> None:
    paid(store, T)
    wrong: list[tuple[Any, type[Exception], str]] = [
        (["comming"], UnknownService, "No label named 'comming'. Did you mean 'coming'"),
        (["spent"], RequestError, "'spent' is a feature, which looks back"),
        ([store.registry.features["spent"]], RequestError, "'spent' is a feature"),
        ([3], RequestError, "give labels declared with @label"),
        (["coming", "coming"], RequestError, "has 'coming' twice"),
    ]
    for labels, kind, words in wrong:
        with pytest.raises(kind, match=words):
            store.training_set("shop", spine(T), labels=labels)
    with pytest.raises(RequestError, match="neither 'drop' nor 'keep'"):
        store.training_set("shop", spine(T), labels=["coming"], immature="mark")  # type: ignore[arg-type]
    with pytest.raises(SpineError, match="named like features, or labels, of 'shop': coming"):
        store.training_set("shop", spine(T).assign(coming=1), labels=["coming"])


def test_a_label_may_be_of_another_entity_whose_key_the_spine_has(open_store: Open) -> None:
    by_id = Entity("payment", key="id")

    @label(ingested, by=by_id, horizon="1d")
    def again(tx: Any) -> Any:
        return tx.count() > 0

    store = open_store([service(ingested), again])
    store.ingest("payments", {"id": "p1", "customer": "c1", "event_time": T, "amount": 1.0})
    asked = spine(T, T).assign(id=["p1", "p2"])
    assert store.training_set("shop", asked, labels=[again]).to_arrow()["again"].to_pylist() == [True, False]
    with pytest.raises(SpineError, match="lacks the key column 'id'"):
        store.training_set("shop", spine(T), labels=[again])


# No feature sees one


def test_a_label_is_no_feature() -> None:
    made = declared(ingested)
    with pytest.raises(DefinitionError, match="'coming' is a label, which looks forward: it is no feature"):
        FeatureService("bad", features=[made])
    with pytest.raises(DefinitionError, match="'coming' is a label"):
        on("who", made)


def test_a_feature_cannot_use_a_label(open_store: Open) -> None:
    made = declared(ingested)

    @feature
    def peeking(coming: int) -> int:
        return coming

    with pytest.raises(DefinitionError, match=r"'peeking' of service 'bad' needs 'coming', which is a label"):
        open_store([FeatureService("bad", features=[peeking]), made])

    @feature(ingested, by=customer)
    def calling(tx: Any) -> Any:
        return made(tx)

    with pytest.raises(DefinitionError, match="'calling': it uses the label 'coming', which looks forward"):
        open_store([FeatureService("bad", features=[calling]), made])


def test_a_label_cannot_have_the_name_of_a_feature_or_key(open_store: Open) -> None:
    @label(ingested, by=customer, horizon="1d")
    def spent(tx: Any) -> Any:
        return tx.count()

    @label(ingested, by=customer, horizon="1d")
    def customer_(tx: Any) -> Any:
        return tx.count()

    with pytest.raises(DefinitionError, match="label 'spent' has the name of a feature's output"):
        open_store([service(ingested), spent])
    customer_.name = "customer"
    with pytest.raises(DefinitionError, match="label 'customer' has the name of a key of entity 'customer'"):
        open_store([service(ingested), customer_])


@pytest.mark.parametrize(
    ("declare", "words"),
    [
        (lambda: label(declared, horizon="1d"), "is no source: @label"),  # type: ignore[arg-type]
        (lambda: label(ingested, horizon="1d"), "Labels of source 'payments' say which entity"),
        (lambda: declared(ingested, horizon="0s"), "horizon of label 'coming' is zero long"),
        (lambda: declared(ingested, horizon="soon"), "horizon of label 'coming'"),
        (lambda: declared(ingested, offset="soon"), "offset of label 'coming'"),
        (lambda: label(ingested, by=customer, horizon="1d")(wrong), "label 'wrong': No column named 'amuont'"),
    ],
)
def test_a_label_that_cannot_be_right_says_why(declare: Callable[[], Any], words: str) -> None:
    with pytest.raises(DefinitionError, match=words):
        declare()


def test_a_label_is_one_value() -> None:
    with pytest.raises(DefinitionError, match="label 'kinds' gives a map\\[int\\], and a model learns one value"):

        @label(ingested, by=customer, horizon="1d")
        def kinds(tx: Any) -> Any:
            return tx.id.value_counts()


def wrong(tx: Any) -> Any:
    return tx.amuont.sum()


def test_a_label_can_be_called_as_the_plain_function() -> None:
    assert declared(ingested)(testing.window(amount=[1.0, 2.0])).item() == 2


# Fingerprints, facts, models


def test_a_labels_fingerprint_follows_horizon_offset_and_code(open_store: Open) -> None:
    def of(one: Label) -> str:
        return open_store([service(ingested), one]).registry.label_fingerprints["coming"]

    @label(ingested, by=customer, horizon="10d")
    def other(tx: Any) -> Any:
        return tx.count() > 0

    other.name = "coming"
    prints = [
        of(declared(ingested)),
        of(declared(ingested, horizon="11d")),
        of(declared(ingested, offset="1d")),
        of(other),
    ]
    assert len(set(prints)) == 4
    assert of(declared(ingested, horizon="240h")) == prints[0]


def test_lists_plans_and_lineage_know_labels(open_store: Open) -> None:
    store = open_store([service(ingested), declared(ingested)])
    (fact,) = [one for one in store.registry.facts() if one.kind == "label"]
    assert (fact.name, fact.inputs, fact.description) == ("coming", ("payments", "customer"), "Payments to come.")
    assert fact.parameters["horizon"] == "10d"
    assert ("label", "coming") in [(one.kind, one.name) for one in store.plan()]
    assert "coming" in store.registry.lineage("payments").downstream
    assert store.registry.lineage("coming").upstream == ("customer", "payments")


def learned(open_store: Open) -> FeatureStore:
    """Eight customers' days, every second of which is followed by a payment within a day."""
    store = open_store([service(ingested), declared(ingested, horizon="1d")])
    paid(store, *(T + timedelta(days=day, hours=1) for day in range(0, 20, 2)))
    return store


def test_train_uses_the_declared_label_and_keeps_its_window_out_of_later_folds(open_store: Open) -> None:
    store = learned(open_store)
    asked = spine(*(T + timedelta(days=day) for day in range(16)))
    training = store.training_set("shop", asked, labels=["coming"])
    made = store.train("churn", training, DummyClassifier(), cv=3)
    assert made.manifest["label"]["column"] == "coming"
    assert made.metrics is not None
    folds = made.metrics["folds"]
    assert [(fold["train_rows"], fold["test_rows"]) for fold in folds] == [(4, 4), (8, 4), (12, 4)]
    wider = store.train("churn", training, DummyClassifier(), cv=training.cv(3, gap="1d"))
    assert wider.metrics is not None
    assert [fold["train_rows"] for fold in wider.metrics["folds"]] == [3, 7, 11]


def test_train_leaves_kept_immature_rows_out(open_store: Open) -> None:
    store = learned(open_store)
    asked = spine(*(T + timedelta(days=day) for day in range(24)))
    training = store.training_set("shop", asked, labels=["coming"], immature="keep")
    made = store.train("churn", training, DummyRegressor(), cv=2)
    assert made.metrics is not None
    assert sum(fold["test_rows"] for fold in made.metrics["folds"]) < 24
    assert store.predict("churn", {"customer": "c1", "amount": 1.0}).value is not None


def test_train_says_which_labels_there_are(open_store: Open) -> None:
    store = learned(open_store)
    with pytest.raises(RequestError, match=r"has no declared label\. Say which column"):
        store.train("churn", store.training_set("shop", spine(T)), DummyClassifier())


def test_a_training_set_of_a_label_that_has_changed_since_is_refused(open_store: Open) -> None:
    training = learned(open_store).training_set("shop", spine(T, T + timedelta(days=1)), labels=["coming"])
    changed = open_store([service(ingested), declared(ingested, horizon="2d")])
    with pytest.raises(RequestError, match="built with other definitions of coming"):
        changed.train("churn", training, DummyClassifier(), cv=False)


# Against the oracle


@dataclass(frozen=True)
class Ahead:
    """One declared label, as the oracle has it."""

    asked: Asked
    horizon: int
    offset: int

    @property
    def name(self) -> str:
        return f"{self.asked.name}_ahead"


class Labelled(Running):
    """A store whose labels are the scenario's own features, turned around."""

    def declare(self, sides: Sides) -> None:
        few = {name: replace(one, features=one.features[:3]) for name, one in sides.items()}
        super().declare(few)
        self.store.close()
        (source,) = {view.source for view in self.store.registry.views}
        (scenario,) = sides.values()
        self.ahead = [
            Ahead(asked, WINDOWS[number % 3], OFFSET if number % 4 == 0 else 0)
            for number, asked in enumerate(one for one in scenario.features if one.windows == (None,))
            if not window_feature(asked, source).kind.startswith("map")
        ]
        made = [self._label(one, source) for one in self.ahead]
        self.store = FeatureStore(
            [self.service, *made], home=self.folder / "home", clock=lambda: self.now, root=self.folder
        )

    def _label(self, one: Ahead, source: Source) -> Label:
        function = window_feature(one.asked, source).function
        function.__name__ = one.name
        options = {"horizon": f"{one.horizon}us", "offset": f"{one.offset}us"}
        return label(source, by=ENTITIES[one.asked.view], **options)(function)

    def oracle(self, one: Ahead, row: Any, step: int) -> tuple[bool, Value]:
        """Whether a row's label is mature, and what it is worth."""
        ((name, scenario),) = self.sides.items()
        where: dict[str, Any] = {"as_of": row["as_of"], "horizon": one.horizon, "offset": one.offset}
        where["position"] = self.steps[step][1][name]
        entity = {key: row[key] for key in VIEWS[one.asked.view]}
        seen = ahead(self.logs[name], scenario.rules, entity=entity, **where)
        known = mature(self.logs[name], scenario.rules, **where)
        return known, value(one.asked.node, Scope(seen, scenario.rules, row["as_of"], one.horizon))


@contextmanager
def labelled(scenario: Scenario) -> Iterator[Labelled]:
    with tempfile.TemporaryDirectory() as folder:
        run = Labelled({"moves": scenario}, Path(folder))
        try:
            yield run
        finally:
            run.store.close()


def earlier(rows: Sequence[Any]) -> list[dict[str, Any]]:
    """Rows that ask where windows ahead end, to the microsecond, at the scenario's instants."""
    back = (0, *WINDOWS, HOUR + OFFSET, DAY + HOUR, 10 * SECOND + OFFSET)
    return [{**row, "as_of": row["as_of"] - back[number % len(back)]} for number, row in enumerate(rows)]


def hold(scenario: Scenario) -> tuple[int, int]:
    """Ask for all labels of every row at every position; give how many values were compared, and how many mature."""
    with labelled(scenario) as run:
        for delivery in scenario.deliveries:
            run.deliver({"moves": delivery})
        run.now = max(run.now, *(int(row["as_of"] or 0) for row in scenario.spine)) + 1
        rows = earlier(scenario.spine)
        steps = [number % len(run.steps) for number in range(len(rows))]
        columns = {name: from_list(kind, [row[name] for row in rows]).to_arrow() for name, kind in SPINE.items()}
        table = pa.table(columns).rename_columns({"as_of": "at"})
        names = [one.name for one in run.ahead]
        counts = [0, 0]
        for wanted in (steps, [len(run.steps) - 1] * len(rows)):
            positions = [run.steps[step][0] for step in wanted]
            whole = run.store.training_set(
                "all", table, time="at", labels=names, position=positions, immature="keep"
            ).to_arrow()
            for one in run.ahead:
                actual, marks = whole[one.name].to_pylist(), whole[f"{one.name}__mature"].to_pylist()
                for row, step, found, mark in zip(rows, wanted, actual, marks, strict=True):
                    known, expected = run.oracle(one, row, step)
                    assert mark == known, f"{one} of {row} at {run.steps[step]}"
                    assert bits(found) == bits(expected if known else None), f"{one} of {row} at {run.steps[step]}"
                    counts[0] += 1
                    counts[1] += known
            dropped = run.store.training_set("all", table, time="at", labels=names[:2], position=positions).to_arrow()
            both = whole.filter(pa.compute.and_(*(whole[f"{name}__mature"] for name in names[:2])))
            assert dropped.equals(both.select(dropped.column_names).cast(dropped.schema))
        return counts[0], counts[1]


EXPLORE = (Phase.explicit, Phase.reuse, Phase.generate)


@settings(max_examples=5, deadline=None, phases=EXPLORE, suppress_health_check=list(HealthCheck))
@given(scenario=scenarios(trees=0))
def test_labels_give_what_the_rules_say(scenario: Scenario) -> None:
    compared, _ = hold(scenario)
    assert compared > 0


@pytest.mark.slow
def test_ten_thousand_mature_labels_are_the_same_bytes() -> None:
    known = 0

    @settings(max_examples=15, deadline=None, phases=EXPLORE, suppress_health_check=list(HealthCheck))
    @given(scenario=scenarios(trees=0))
    def count(scenario: Scenario) -> None:
        nonlocal known
        known += hold(scenario)[1]

    count()
    assert known > 10_000
