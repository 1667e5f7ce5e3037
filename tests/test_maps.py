"""Maps per row, all the way: training sets, DuckDB, pandas, lookups, row features, estimators, files."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pydantic import BaseModel

from featurestore import Entity, FeatureService, FeatureStore, Source, aggregations, feature
from featurestore.cli.features import _step, _write
from featurestore.cli.terminal import Table
from featurestore.contents import content_hash
from featurestore.errors import DefinitionError
from featurestore.metamorphic import difference
from featurestore.models.manifest import _stored
from featurestore.models.matrix import Input, matrix, needs_frame, of_rows, of_table
from featurestore.monitoring.served import _typed
from featurestore.plan import compile_service, outputs_of
from featurestore.server.page import _fields
from featurestore.server.shapes import features_of
from featurestore.values import from_list


class Payment(BaseModel):
    customer: str
    event_time: datetime
    amount: float | None
    shop: str | None


customer = Entity("customer", key="customer")
payments = Source("payments", schema=Payment, event_time="event_time")
AT = datetime(2026, 5, 20, tzinfo=UTC)
ROWS = [
    ("c1", 1, 5.0, "b"),
    ("c1", 2, None, "ä"),
    ("c1", 3, 7.0, "a"),
    ("c1", 3, 1.0, None),
    ("c1", 4, 0.5, "b"),
    ("c2", 1, 2.0, "a"),
]


@feature(payments, by=customer, windows=["18d", "30d"])
def mean_by_shop(tx: Any) -> Any:
    return tx.group_by("shop").amount.mean()


@feature(payments, by=customer)
def newest_by_shop(tx: Any) -> Any:
    return tx.group_by("shop").event_time.max()


@feature
def missing(mean_by_shop_30d: dict[str, float]) -> int:
    return sum(one != one for one in mean_by_shop_30d.values())  # noqa: PLR0124 - nan


@feature
def in_b(mean_by_shop_30d: np.ndarray) -> np.ndarray:
    return np.array([one.get("b", 0.0) for one in mean_by_shop_30d])


LISTED = [mean_by_shop, newest_by_shop, missing, in_b]
COUNTED = aggregations(payments.by(customer), columns=["shop"], functions=["value_counts"], windows=["30d"])
MAPS = FeatureService("maps", features=[*LISTED, COUNTED])


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    made = FeatureStore([MAPS], home=tmp_path / "home", clock=lambda: AT)
    names = list(Payment.model_fields)
    rows = [(who, datetime(2026, 5, day, tzinfo=UTC), amount, shop) for who, day, amount, shop in ROWS]
    made.ingest("payments", [dict(zip(names, row, strict=True)) for row in rows])
    return made


def spine(*customers: str) -> list[dict[str, Any]]:
    later = datetime(2026, 5, 20, 1, tzinfo=UTC)
    return [{"customer": one, "event_time": later} for one in customers]


WANTED = {
    "mean_by_shop_18d": {"a": 7.0, "b": 0.5},
    "mean_by_shop_30d": {"a": 7.0, "b": 2.75, "ä": None},
    "newest_by_shop": {
        "a": datetime(2026, 5, 3, tzinfo=UTC),
        "b": datetime(2026, 5, 4, tzinfo=UTC),
        "ä": datetime(2026, 5, 2, tzinfo=UTC),
    },
    "missing": 1,
    "in_b": 2.75,
    "shop_value_counts_30d": {"a": 1, "b": 2, "ä": 1},
}
NOTHING: dict[str, Any] = {name: {} for name in WANTED} | {"missing": 0, "in_b": 0.0}


def test_a_map_is_a_dict_in_a_vector_and_its_keys_are_in_order(store: FeatureStore) -> None:
    vector = store.lookup("maps", {"customer": "c1"})
    assert vector.to_dict() == WANTED
    assert list(vector["mean_by_shop_30d"]) == ["a", "b", "ä"]
    assert store.lookup("maps", {"customer": "nobody"}).to_dict() == NOTHING


def test_a_training_set_holds_the_same_maps_in_arrow_pandas_and_duckdb(store: FeatureStore) -> None:
    made = store.training_set("maps", spine("c1", "nobody", "c2"), name="m")
    rows = made.to_arrow().select(list(WANTED)).to_pylist(maps_as_pydicts="strict")
    assert rows[:2] == [WANTED, NOTHING]
    assert rows[2]["mean_by_shop_30d"] == {"a": 2.0}
    assert made.to_pandas()["shop_value_counts_30d"].tolist() == [{"a": 1, "b": 2, "ä": 1}, {}, {"a": 1}]
    assert made.manifest["feature_types"][1] == {"name": "mean_by_shop_30d", "type": "map[float]", "nullable": False}
    loaded = store.load_training_set("m").to_arrow()
    assert loaded.select(list(WANTED)).to_pylist(maps_as_pydicts="strict") == rows


def test_duckdb_reads_a_map_by_its_key(store: FeatureStore, tmp_path: Path) -> None:
    store.training_set("maps", spine("c1", "nobody"), name="m")
    (file,) = (tmp_path / "home").rglob("*.duckdb")
    with duckdb.connect(str(file), read_only=True) as connection:
        found = connection.execute("select mean_by_shop_30d['b'], typeof(mean_by_shop_30d) from m").fetchall()
    assert found == [(2.75, "MAP(VARCHAR, DOUBLE)"), (None, "MAP(VARCHAR, DOUBLE)")]


def test_the_content_hash_sees_keys_values_nulls_and_where_rows_end() -> None:
    rows: list[list[dict[str, Any]]] = [
        [{"a": 1.0}, {}],
        [{}, {"a": 1.0}],
        [{"b": 1.0}, {}],
        [{"a": 2.0}, {}],
        [{"a": 0.0}, {}],
        [{"a": None}, {}],
    ]
    tables = [pa.table({"m": from_list("map[float]", one).to_arrow()}) for one in rows]
    assert len({content_hash(one) for one in tables}) == len(rows)
    longer = pa.table({"m": from_list("map[float]", [{"z": 9.0}, *rows[0], {"y": 1.0}]).to_arrow()})
    assert content_hash(longer.slice(1, 2)) == content_hash(tables[0])
    halves = pa.concat_tables([tables[0].slice(0, 1), tables[0].slice(1)])
    assert content_hash(halves) == content_hash(tables[0])


def test_an_estimator_gets_dicts_of_a_table_and_of_a_vector_alike() -> None:
    inputs = [Input("m", "map[float]", nullable=False), Input("x", "int", nullable=False)]
    rows = [{"m": {"a": 1.0, "b": None}, "x": 1}, {"m": {}, "x": 2}]
    table = pa.table({name: from_list(kind, [row[name] for row in rows]).to_arrow() for name, kind in KINDS.items()})
    assert needs_frame(inputs)
    frames = [matrix(inputs, of(inputs, given), frame=True) for of, given in ((of_table, table), (of_rows, rows))]
    pd.testing.assert_frame_equal(*frames)
    assert frames[0]["m"][1] == {}
    assert np.isnan(frames[0]["m"][0]["b"])


def test_a_models_golden_rows_hold_maps_as_json_does() -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    assert _stored({"a": moment, "b": None}) == {"a": "2026-01-01T00:00:00.000000Z", "b": None}
    assert from_list("map[datetime]", [_stored({"a": moment})]).to_list() == [{"a": moment}]


KINDS: dict[str, Any] = {"m": "map[float]", "x": "int"}


def test_the_schema_of_an_answer_says_what_a_map_holds() -> None:
    service = FeatureService("maps", features=LISTED)
    shown = features_of(compile_service(service, outputs_of(service.features))).schema["properties"]
    assert shown["mean_by_shop_30d"]["type"] == "object"
    assert [one["type"] for one in shown["mean_by_shop_30d"]["additionalProperties"]["anyOf"]] == ["number", "null"]
    assert shown["newest_by_shop"]["additionalProperties"]["anyOf"][0] == {"type": "string", "format": "date-time"}


def test_the_command_line_shows_a_map_as_json(store: FeatureStore) -> None:
    step = store.explain("maps", "newest_by_shop", {"customer": "c2"}).to_dict()["steps"][0]
    assert next(_step(step)) == 'newest_by_shop = {"a": "2026-05-01T00:00:00.000000Z"}'
    step = store.explain("maps", "missing", {"customer": "c1"}).to_dict()["steps"][0]
    operands = [one for one in _step(step) if isinstance(one, Table)]
    assert operands[0].rows == [("mean_by_shop_30d", '{"a": 7.0, "b": 2.75, "ä": null}')]


def test_the_docs_page_says_what_a_map_holds() -> None:
    service = FeatureService("maps", features=LISTED)
    told = {
        one["name"]: one["type"]
        for one in _fields(features_of(compile_service(service, outputs_of(service.features))).schema)
    }
    assert told["mean_by_shop_30d"] == "object of number or null"
    assert told["newest_by_shop"] == "object of date-time or null"


def test_a_map_of_a_table_made_elsewhere_is_compared_key_by_key(store: FeatureStore) -> None:
    made = store.training_set("maps", spine("c1", "nobody", "c2"))
    for table in (made.to_arrow(), made.to_pandas()):
        found = {one.feature: one.verdict for one in store.leaks(table, "maps", time="event_time").columns}
        assert found == dict.fromkeys(WANTED, "right")
    wrong = made.to_pandas()
    wrong["mean_by_shop_30d"] = [{"a": 7.0, "b": 2.5}, {}, {"a": 2.0}]
    wrong["newest_by_shop"] = ["a", "b", "c"]
    found = {one.feature: one.verdict for one in store.leaks(wrong, "maps", time="event_time").columns}
    assert [name for name, verdict in found.items() if verdict != "right"] == ["mean_by_shop_30d", "newest_by_shop"]


def test_verify_compares_maps_bit_by_bit_and_late_data_moves_them(store: FeatureStore) -> None:
    store.training_set("maps", spine("c1", "nobody", "c2"), name="m")
    later = FeatureStore([MAPS], home=store.home, clock=lambda: AT + timedelta(hours=2))
    found = later.verify_training_set("m")
    assert (found.rows, found.values, found.differing) == (3, 3 * len(WANTED), 0)
    late = {"customer": "c2", "event_time": datetime(2026, 5, 2, tzinfo=UTC), "amount": 4.0, "shop": "a"}
    later.ingest("payments", late)
    moved = later.verify_late("m")
    assert moved.moved_rows == 1
    assert moved.features["mean_by_shop_30d"].then == {"a": 2.0}
    assert moved.features["mean_by_shop_30d"].now == {"a": 3.0}


def test_a_csv_file_holds_maps_as_json(store: FeatureStore, tmp_path: Path) -> None:
    table = store.training_set("maps", spine("c1", "nobody")).to_arrow()
    _write(table, tmp_path / "made.csv")
    read = pd.read_csv(tmp_path / "made.csv")
    assert read["mean_by_shop_30d"].tolist() == ['{"a": 7.0, "b": 2.75, "ä": null}', "{}"]
    assert '"a": "2026-05-03T00:00:00.000000Z"' in read["newest_by_shop"][0]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda tx: tx.group_by("shop"), "it returns a window"),
        (lambda tx: tx.group_by("shop").amount, "it returns a column of events"),
        (lambda tx: tx.group_by("shop").amount.last(2, skip_null=True), "it returns a column of events"),
    ],
)
def test_what_is_not_reduced_is_no_feature(function: Callable[[Any], Any], message: str) -> None:
    function.__name__ = "unreduced"
    with pytest.raises(DefinitionError, match=message):
        feature(payments, by=customer)(function)


def test_a_row_feature_gives_no_map() -> None:
    def again(mean_by_shop_30d: dict[str, float]) -> dict[str, float]:
        return mean_by_shop_30d

    with pytest.raises(DefinitionError, match="annotate what it returns"):
        feature(again)


def test_maps_are_compared_by_their_bits_wherever_they_lie() -> None:
    one = from_list("map[float]", [{"a": 0.1}, {}, {"b": None}])
    shifted = from_list("map[float]", [{"z": 1.0}, {"a": 0.1}, {}, {"b": None}]).take(slice(1, None))
    assert difference(one, shifted) is None
    assert difference(one, from_list("map[float]", [{"a": 0.1}, {}, {"b": 0.0}])) == 2
    assert difference(one, from_list("map[float]", [{"a": 0.1 + 2**-56}, {}, {"b": None}])) == 0


def test_maps_come_back_from_the_served_log() -> None:
    text = '{"m":{"a":"2026-01-01T00:00:00.000000Z","b":null},"x":{"a":1.5}}'
    kinds: dict[str, Any] = {"m": "map[datetime]", "x": "map[float]"}
    assert _typed(text, kinds) == {"m": {"a": datetime(2026, 1, 1, tzinfo=UTC), "b": None}, "x": {"a": 1.5}}


def test_check_asks_for_maps_in_every_way(store: FeatureStore) -> None:
    assert store.check().rows > 0
