"""Training sets: the spine's own rows in order, features after them, a table and a manifest (S9)."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pydantic import BaseModel
from shop import Clock, write

from featurestore import Entity, FeatureService, FeatureStore, Source, contents, feature
from featurestore.contents import content_hash
from featurestore.errors import NotMaterialized, RequestError, SpineError, StoreBusy, UnknownService
from featurestore.training import TrainingSets

Open = Callable[..., FeatureStore]
AT = datetime(2026, 5, 20, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path, open_store: Open) -> FeatureStore:
    write(
        tmp_path / "data/a.csv",
        "p1,c1,2026-05-15T10:00:00,5",
        "p2,c2,2026-05-16T10:00:00,",
        "p3,c1,2026-05-17T10:00:00,7",
    )
    opened = open_store()
    opened.materialize()
    return opened


def spine(*customers: str | None) -> pd.DataFrame:
    return pd.DataFrame(
        {"customer": customers, "event_time": [AT] * len(customers), "amount": 6.0, "y": range(len(customers))}
    )


def test_rows_come_out_as_they_went_in_duplicates_included(store: FeatureStore) -> None:
    table = store.training_set("shop", spine("c2", "c1", "c2", "nobody", "c1")).to_arrow()
    assert table.column_names == ["customer", "event_time", "amount", "y", "number", "spent", "latest", "share"]
    assert table["customer"].to_pylist() == ["c2", "c1", "c2", "nobody", "c1"]
    assert table["number"].to_pylist() == [1, 2, 1, 0, 2]
    assert table["latest"].to_pylist() == [None, 7.0, None, None, 7.0]
    assert table["share"].to_pylist() == [None, 0.5, None, None, 0.5]


def test_a_pandas_spine_keeps_its_index_and_types(store: FeatureStore) -> None:
    asked = spine("c1", "c2").set_index(pd.Index([30, 10])).astype({"y": "int8"})
    made = store.training_set("shop", asked).to_pandas()
    pd.testing.assert_frame_equal(made[asked.columns], asked)
    assert made["number"].to_dict() == {30: 2, 10: 1}


@pytest.mark.parametrize("convert", [pl.from_pandas, pa.Table.from_pandas, lambda frame: frame.to_dict("records")])
def test_any_frame_makes_the_same_features(store: FeatureStore, convert: Callable[[pd.DataFrame], object]) -> None:
    asked = spine("c1", "c2", "nobody")
    plain = store.training_set("shop", asked).to_arrow().select(["number", "spent", "latest", "share"])
    assert store.training_set("shop", convert(asked)).to_arrow().select(plain.column_names).equals(plain)


def test_the_table_stands_in_duckdb_with_its_manifest(store: FeatureStore) -> None:
    made = store.training_set("shop", spine("c1"), name="may")
    with duckdb.connect(str(store.home / "training_sets.duckdb"), read_only=True) as connection:
        assert connection.execute("select number, spent from may").fetchall() == [(2, 12.0)]
    again = store.load_training_set("may")
    assert again.manifest == made.manifest
    assert again.to_arrow()["number"].to_pylist() == [2]


def test_a_table_is_written_without_the_compression_that_takes_long(tmp_path: Path) -> None:
    many = np.random.default_rng(5).normal(1000.0, 1.0, 20_000)  # DuckDB's own choice is ALPRD; of the keys, DICT_FSST
    table = pa.table({"x": many, "key": [f"c{number % 7}" for number in range(len(many))]})
    TrainingSets(tmp_path / "sets.duckdb").save(table, lambda: {"name": "may"}, replace=False)
    with duckdb.connect(str(tmp_path / "sets.duckdb"), read_only=True) as connection:
        rows = connection.execute("select segment_type, compression from pragma_storage_info('may')").fetchall()
        used = set(rows)
    assert {kind for kind, _ in used} >= {"DOUBLE", "VARCHAR"}
    assert not {("DOUBLE", "ALPRD"), ("VARCHAR", "DICT_FSST")} & used


def test_the_manifest_says_what_it_was_made_of(store: FeatureStore) -> None:
    manifest = store.training_set("shop", spine("c1", "c2")).manifest
    assert (manifest["service"], manifest["rows"], manifest["position"]) == ("shop", 2, 1)
    assert manifest["time_range"] == ["2026-05-20T00:00:00.000000Z"] * 2
    assert manifest["fingerprints"]["spent"] == store.registry.fingerprints["spent"]
    assert manifest["nulls"] == {"number": 0, "spent": 0, "latest": 1, "share": 1}
    assert {"python", "numpy", "platform"} <= set(manifest["environment"])


def test_the_same_inputs_give_the_same_content(store: FeatureStore, clock: Clock) -> None:
    first = store.training_set("shop", spine("c1", "c2"))
    clock.advance(hours=1)
    second = store.training_set("shop", spine("c1", "c2"))
    assert first.name == second.name
    assert first.manifest["content_hash"] == second.manifest["content_hash"]
    assert first.manifest["content_hash"] != store.training_set("shop", spine("c2", "c1")).manifest["content_hash"]


def test_a_hash_does_not_depend_on_chunks_or_encoding() -> None:
    whole = pa.table({"a": ["x", None, "y"], "b": [1.5, None, 2.5], "c": [True, False, None]})
    parts = pa.concat_tables([whole.slice(0, 1), whole.slice(1)])
    encoded = parts.set_column(0, "a", parts["a"].dictionary_encode())
    assert content_hash(whole) == content_hash(parts) == content_hash(encoded)
    assert content_hash(whole) != content_hash(whole.take([0, 2, 1]))


def test_another_training_set_of_a_name_is_not_overwritten(store: FeatureStore) -> None:
    store.training_set("shop", spine("c1"), name="may")
    store.training_set("shop", spine("c1"), name="may")
    with pytest.raises(RequestError, match=r"'may' exists with other content.*replace=True"):
        store.training_set("shop", spine("c2"), name="may")
    store.training_set("shop", spine("c2"), name="may", replace=True)
    assert store.load_training_set("may").to_arrow()["customer"].to_pylist() == ["c2"]


def test_a_name_that_duckdb_takes_for_another_one_is_refused(store: FeatureStore) -> None:
    store.training_set("shop", spine("c1"), name="may")
    with pytest.raises(RequestError, match=r"'may' exists, and DuckDB tells no upper from lower case.*'May'"):
        store.training_set("shop", spine("c2"), name="May", replace=True)
    with pytest.raises(RequestError, match="cannot be named 'Featurestore_Manifests'"):
        store.training_set("shop", spine("c2"), name="Featurestore_Manifests", replace=True)
    assert list(store.training_sets()) == ["may"]
    assert store.load_training_set("may").to_arrow()["customer"].to_pylist() == ["c1"]


def test_rows_may_ask_as_of_different_positions(store: FeatureStore, clock: Clock) -> None:
    store.ingest("payments", {"id": "p4", "customer": "c1", "event_time": "2026-05-18T00:00:00Z", "amount": 100.0})
    later = clock.advance(seconds=1)
    asked = spine("c1", "c1", "c2").assign(event_time=later)
    made = store.training_set("shop", asked, position=[1, 2, 2]).to_arrow()
    assert made["spent"].to_pylist() == [12.0, 112.0, 0.0]
    assert made["number"].to_pylist() == [2, 3, 1]
    with pytest.raises(RequestError, match="Position 3 is not there yet: the newest is 2"):
        store.training_set("shop", asked, position=3)


def test_a_training_set_takes_ingested_events_over_first(store: FeatureStore, clock: Clock) -> None:
    store.ingest("payments", {"id": "p4", "customer": "c1", "event_time": "2026-05-18T00:00:00Z", "amount": 100.0})
    made = store.training_set("shop", spine("c1").assign(event_time=clock.advance(seconds=1)))
    assert (made.to_arrow()["spent"].to_pylist(), made.manifest["position"]) == ([112.0], 2)


def test_a_spine_without_rows_makes_an_empty_training_set(store: FeatureStore) -> None:
    made = store.training_set("shop", spine("c1").head(0))
    assert (len(made), made.manifest["time_range"]) == (0, None)
    assert made.to_arrow().column_names[-4:] == ["number", "spent", "latest", "share"]


def test_what_a_spine_lacks_or_has_too_much_is_named(store: FeatureStore) -> None:
    with pytest.raises(SpineError, match=r"no column 'event_tme'.*Did you mean 'event_time'"):
        store.training_set("shop", spine("c1"), time="event_tme")
    with pytest.raises(SpineError, match="lacks the key column 'customer'"):
        store.training_set("shop", spine("c1").drop(columns="customer"))
    with pytest.raises(SpineError, match="named like features of 'shop': spent"):
        store.training_set("shop", spine("c1").assign(spent=1))
    with pytest.raises(UnknownService, match="Did you mean 'shop'"):
        store.training_set("shpo", spine("c1"))


def test_who_holds_the_training_sets_is_named(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    import subprocess
    import sys

    store.training_set("shop", spine("c1"))
    path = store.home / "training_sets.duckdb"
    code = f"import duckdb; c = duckdb.connect({str(path)!r}); print('held', flush=True); input()"
    monkeypatch.setattr("featurestore.training._WAIT_S", 0.1)
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StoreBusy, match=rf"{holder.pid}"):
            store.training_sets()
        holder.communicate("\n")
    assert len(store.training_sets()) == 1


def test_types_are_kept(tmp_path: Path, clock: Clock) -> None:
    class Reading(BaseModel):
        sensor: int
        event_time: datetime
        big: int | None
        on: bool | None
        word: str | None
        when: datetime | None

    sensor = Entity("sensor", key="sensor")
    rows = pa.table(
        {
            "sensor": [1],
            "event_time": [AT - timedelta(days=1)],
            "big": [2**53 + 1],
            "on": [True],
            "word": ["ä"],
            "when": [AT],
        }
    )
    readings = Source("readings", schema=Reading, frame=rows, event_time="event_time")
    made = []
    for name in ("big", "on", "word", "when"):

        @feature(readings, by=sensor)
        def last(tx: Any, name: str = name) -> Any:
            return tx[name].last()

        last.name = f"last_{name}"
        made.append(last)
    with FeatureStore([FeatureService("all", features=made)], home=tmp_path / "home", clock=clock) as store:
        store.materialize()
        training = store.training_set("all", pd.DataFrame({"sensor": [1, 2], "event_time": [AT, AT]}))
        vectors = store.lookup_many("all", [{"sensor": 1}, {"sensor": 2}], as_of=AT)
    assert list(vectors[0].values()) == [2**53 + 1, True, "ä", AT]
    assert list(vectors[1].values()) == [None] * 4
    frame = training.to_pandas()
    assert frame["last_big"].tolist() == [2**53 + 1, pd.NA]
    assert [str(kind) for kind in frame.dtypes.tail(4)] == ["Int64", "boolean", "str", "datetime64[us, UTC]"]


def test_a_position_before_a_rebuild_is_refused_in_a_column_too(store: FeatureStore, clock: Clock) -> None:
    store.materialize(rebuild=True)
    asked = spine("c1", "c1").assign(event_time=clock.now)
    for position in (1, [1, 2], [2, 1]):
        with pytest.raises(NotMaterialized):
            store.training_set("shop", asked, position=position)
    assert store.training_set("shop", asked, position=[2, 2]).to_arrow()["number"].to_pylist() == [2, 2]


@pytest.mark.parametrize("position", [-1, 0.5, [1.5, 1.0], "1", [True, False]])
def test_a_position_is_a_whole_number(store: FeatureStore, position: Any) -> None:
    with pytest.raises(RequestError, match="give a position of the log"):
        store.training_set("shop", spine("c1", "c1"), position=position)


def test_what_happens_to_the_spine_later_does_not_change_the_training_set(store: FeatureStore) -> None:
    asked = spine("c2", "c1")
    made = store.training_set("shop", asked)
    asked["y"] = 7
    asked.iloc[0, 0] = "somebody else"
    assert made.to_pandas()[["customer", "y", "number"]].to_numpy().tolist() == [["c2", 0, 1], ["c1", 1, 2]]


def test_names_that_differ_by_case_alone_are_one_name(store: FeatureStore) -> None:
    with pytest.raises(SpineError, match="named like features of 'shop': Spent"):
        store.training_set("shop", spine("c1").assign(Spent=1))
    with pytest.raises(SpineError, match="several columns named Y, y"):
        store.training_set("shop", spine("c1").assign(Y=1))


def test_the_content_does_not_depend_on_the_number_of_threads(store: FeatureStore) -> None:
    asked = spine(*(f"c{number % 3}" for number in range(200)))
    before, hashes = pa.cpu_count(), set()
    try:
        for threads in (1, 2, 7):
            pa.set_cpu_count(threads)
            hashes.add(store.training_set("shop", asked).manifest["content_hash"])
    finally:
        pa.set_cpu_count(before)
    assert len(hashes) == 1


def test_a_hash_is_that_of_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = [None if number % 7 == 0 else number for number in range(50)]
    texts = ["é" * (number or 0) for number in numbers]
    columns = {"a": numbers, "b": [None if one is None else one / 3 for one in numbers], "c": texts}
    truth = [None if one is None else one % 2 == 0 for one in numbers]
    times = pa.array(numbers, pa.timestamp("us", "UTC"))
    table = pa.table({**columns, "d": truth, "e": pa.array(texts).dictionary_encode(), "f": times})
    whole = content_hash(table)
    monkeypatch.setattr(contents, "_PART", 8)
    assert content_hash(table) == content_hash(pa.concat_tables([table.slice(0, 13), table.slice(13)])) == whole
    assert whole == "2278132dc478dc98e5d55b826eff631a9ae503cd101f0709fdf8526725fdb309"
