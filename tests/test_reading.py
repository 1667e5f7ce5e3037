"""Files, queries and frames as they are read, and what is said when they cannot be."""

import hashlib
import math
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import BaseModel

from featurestore.definition import Source
from featurestore.errors import InvalidRows, SourceUnreadable, SpineError, StoreBusy
from featurestore.reading import Part, digest, parts, read, read_spine, tables
from featurestore.values import CODES


class Event(BaseModel):
    event_time: datetime
    amount: float
    note: str | None = None


def source(**given: Any) -> Source:
    return Source("events", schema=Event, event_time="event_time", **given)


def rows_of(declared: Source, root: Path) -> list[dict[str, Any]]:
    return [row for part in parts(declared, root) for row in read(declared, part, root).to_pylist()]


def names_of(path: Any, root: Path) -> list[str]:
    return [part.name for part in parts(source(path=path), root)]


def parquet(path: Path, **columns: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns or {"amount": [1.0]}), path)
    return path


def text(path: Path, content: str) -> Path:
    path.write_bytes(content.encode())
    return path


def test_globs_and_folders_give_one_part_per_file_by_name(tmp_path: Path) -> None:
    for name in ("data/b.parquet", "data/a.parquet", "data/deep/er/c.parquet", "data/_temporary.parquet"):
        parquet(tmp_path / name)
    text(tmp_path / "data/d.csv", "amount\n")
    text(tmp_path / "data/readme.txt", "")
    assert names_of("data/*.parquet", tmp_path) == ["data/a.parquet", "data/b.parquet"]
    assert names_of("data/**/*.parquet", tmp_path) == ["data/a.parquet", "data/b.parquet", "data/deep/er/c.parquet"]
    assert names_of("data", tmp_path) == ["data/a.parquet", "data/b.parquet", "data/d.csv", "data/deep/er/c.parquet"]


def test_a_file_outside_the_root_is_named_by_its_full_path(tmp_path: Path) -> None:
    file = parquet(tmp_path / "elsewhere" / "a.parquet")
    assert names_of(file, tmp_path / "root") == [file.as_posix()]


def test_a_file_may_have_glob_characters_in_its_name(tmp_path: Path) -> None:
    text(tmp_path / "a[1].csv", "amount\n2\n")
    text(tmp_path / "a1.csv", "amount\n3\n")
    assert rows_of(source(path="a[1].csv"), tmp_path) == [{"amount": "2"}]


def test_a_part_tells_size_and_time_and_its_digest_is_that_of_the_bytes(tmp_path: Path) -> None:
    file = text(tmp_path / "a.csv", "amount\n1\n")
    os.utime(file, ns=(5, 7))
    (part,) = parts(source(path="a.csv"), tmp_path)
    assert part == Part("a.csv", 9, 7, "csv", (file,))
    assert digest(part) == hashlib.sha256(b"amount\n1\n").hexdigest()


def test_queries_and_frames_are_one_part_without_bytes_and_ingested_sources_have_none(tmp_path: Path) -> None:
    query, frame = source(query="SELECT 1"), source(frame=pl.DataFrame({"amount": [1.0]}))
    assert [parts(one, tmp_path) for one in (query, frame, source())] == [
        [Part("query", 0, 0, "query")],
        [Part("frame", 0, 0, "frame")],
        [],
    ]
    assert digest(Part("query", 0, 0, "query")) == ""


def test_a_path_that_matches_nothing_says_where_it_looked_and_what_is_there(tmp_path: Path) -> None:
    text(tmp_path / "a.txt", "")
    with pytest.raises(SourceUnreadable, match=r"nothing to read matches .*/data/\*\.parquet\. .* holds a\.txt\."):
        parts(source(path="data/*.parquet"), tmp_path)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    text(tmp_path / "a.json", "{}")
    with pytest.raises(SourceUnreadable, match=r"a\.json, which is named like none of \.parquet"):
        parts(source(path="a.json"), tmp_path)


def test_parquet_gives_the_schemas_columns_that_are_there(tmp_path: Path) -> None:
    parquet(tmp_path / "a.parquet", note=["x"], amount=pa.array([1.5], pa.float32()), other=[1])
    declared = source(path="a.parquet")
    table = read(declared, parts(declared, tmp_path)[0], tmp_path)
    assert table.schema == pa.schema([("note", pa.string()), ("amount", pa.float32())])


def test_texts_that_repeat_come_as_codes_over_row_groups_of_other_codes(tmp_path: Path) -> None:
    notes = ["a", "b", None, "c", "a", "d", "d", "e", "f"]
    rows = pa.table({"note": notes, "amount": pa.array(range(9), pa.float64())})
    pq.write_table(rows, tmp_path / "a.parquet", row_group_size=3)
    declared = source(path="a.parquet")
    found = list(tables(declared, parts(declared, tmp_path)[0], tmp_path, rows=4))
    assert [len(one) for one in found] == [4, 4, 1]
    assert {one["note"].type for one in found} == {CODES}
    assert [row for one in found for row in one.to_pylist()] == rows.to_pylist()


@pytest.mark.parametrize(
    "note",
    [None, pa.array([7]), pa.array([["a"]]), pa.array([{"a": "b"}]), pa.array([b"a"]), pa.array(["a"]).cast(CODES)],
)
def test_a_text_that_is_not_there_or_of_another_type_comes_as_it_is(tmp_path: Path, note: pa.Array | None) -> None:
    columns = {"amount": pa.array([1.0])} | ({} if note is None else {"note": note})
    path = parquet(tmp_path / "a.parquet", **columns)
    declared = source(path=path)
    (table,) = tables(declared, parts(declared, tmp_path)[0], tmp_path, rows=4)
    assert table.to_pylist() == pa.table(columns).to_pylist()


def test_a_damaged_parquet_file_is_named(tmp_path: Path) -> None:
    text(tmp_path / "a.parquet", "no parquet")
    with pytest.raises(SourceUnreadable, match=r"a\.parquet cannot be read"):
        rows_of(source(path="a.parquet"), tmp_path)


def test_csv_cells_are_text_and_empty_ones_null(tmp_path: Path) -> None:
    text(tmp_path / "a.csv", '\ufeffnote, amount ,other\r\n"a ""b""\nc",007,x\r\n,,\r\n#,2,x')
    assert rows_of(source(path="a.csv"), tmp_path) == [
        {"note": 'a "b"\nc', "amount": "007"},
        {"note": None, "amount": None},
        {"note": "#", "amount": "2"},
    ]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_header_shows_the_delimiter(delimiter: str, tmp_path: Path) -> None:
    text(tmp_path / "a.csv", f"note{delimiter}amount\nx{delimiter}1\n")
    assert rows_of(source(path="a.csv"), tmp_path) == [{"note": "x", "amount": "1"}]


def test_malformed_csv_lines_are_named_with_file_and_line(tmp_path: Path) -> None:
    text(tmp_path / "a.csv", "note,amount\na,1\nb,2,3\nc,4\nd\n")
    with pytest.raises(InvalidRows, match=r"a\.csv row 2: line 3 has too many columns: 'b,2,3'") as caught:
        rows_of(source(path="a.csv"), tmp_path)
    assert [(one.row, one.value) for one in caught.value.args[1]] == [(2, "b,2,3"), (4, "d")]


@pytest.mark.parametrize("content", ["note,amount\n1,caf\u00e9\n".encode("latin-1"), b'note,amount\n"a,1\nb,2\n'])
def test_csv_in_another_encoding_or_with_an_open_quote_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(InvalidRows, match="line 2 has"):
        rows_of(source(path="a.csv"), tmp_path)


def test_an_empty_csv_file_is_said_to_lack_its_header(tmp_path: Path) -> None:
    text(tmp_path / "a.csv", "")
    with pytest.raises(SourceUnreadable, match=r"a\.csv is empty: its first line must name its columns"):
        rows_of(source(path="a.csv"), tmp_path)


def test_a_query_reads_files_below_the_root_and_gives_the_schemas_columns_in_order(tmp_path: Path) -> None:
    text(tmp_path / "a.csv", "day,amount\n2026-01-01,1\n2026-01-02,2\n")
    declared = source(
        query="SELECT day::TIMESTAMP AS event_time, amount, 1 AS other FROM 'a.csv' ORDER BY day DESC -- all\n;"
    )
    day = datetime(2026, 1, 1)  # noqa: DTZ001 a naive column stays naive here
    assert rows_of(declared, tmp_path) == [
        {"event_time": day.replace(day=2), "amount": 2},
        {"event_time": day, "amount": 1},
    ]


def test_a_query_prefers_the_roots_file_to_one_of_that_name_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, root = tmp_path / "here", tmp_path / "the root's"
    for folder, amount in ((here, 1), (root, 2)):
        folder.mkdir()
        text(folder / "a.csv", f"amount\n{amount}\n")
    monkeypatch.chdir(here)
    assert rows_of(source(query="FROM 'a.csv'"), root) == rows_of(source(query='FROM "a.csv"'), root) == [{"amount": 2}]


def test_a_query_sees_no_variable_of_the_program(tmp_path: Path) -> None:
    frame = pd.DataFrame({"amount": [1.0]})
    with pytest.raises(SourceUnreadable, match=r"The query of source 'events' cannot be read: .*frame does not exist"):
        rows_of(source(query="FROM frame"), tmp_path)
    assert len(frame) == 1


def test_instants_in_a_query_are_utc_wherever_the_machine_is(tmp_path: Path) -> None:
    declared = source(query="SELECT TIMESTAMPTZ '2026-01-01 00:00:00' AS event_time")
    assert rows_of(declared, tmp_path) == [{"event_time": datetime(2026, 1, 1, tzinfo=UTC)}]


def database(path: Path) -> Path:
    with duckdb.connect(path) as connection:
        connection.execute(
            'CREATE TABLE events AS SELECT 1.5::DOUBLE AS amount, 2 AS other; CREATE TABLE "b" AS SELECT 3 AS amount'
        )
    return path


@pytest.mark.parametrize(
    ("query", "amount"), [(None, 1.5), ("b", 3), ("main.b", 3), ("SELECT amount * 2 AS amount FROM events", 3.0)]
)
def test_a_duckdb_file_gives_its_table_or_query(query: str | None, amount: float, tmp_path: Path) -> None:
    database(tmp_path / "it's.duckdb")
    declared = source(path="it's.duckdb", query=query)
    assert [part.kind for part in parts(declared, tmp_path)] == ["duckdb"]
    assert rows_of(declared, tmp_path) == [{"amount": amount}]


def test_a_duckdb_file_without_the_table_says_which_it_has(tmp_path: Path) -> None:
    database(tmp_path / "a.duckdb")
    with pytest.raises(SourceUnreadable, match=r"a\.duckdb has no table 'event'\. Did you mean 'events'\?"):
        rows_of(source(path="a.duckdb", query="event"), tmp_path)


def test_a_duckdb_file_that_this_process_writes_is_busy(tmp_path: Path) -> None:
    with duckdb.connect(database(tmp_path / "a.duckdb")), pytest.raises(StoreBusy, match="open for writing elsewhere"):
        rows_of(source(path="a.duckdb"), tmp_path)


def test_a_duckdb_file_that_another_process_writes_is_busy(tmp_path: Path) -> None:
    file = database(tmp_path / "a.duckdb")
    hold = f"import duckdb, sys; held = duckdb.connect({str(file)!r}); print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(StoreBusy, match="events' cannot be read: close it there"):
            rows_of(source(path="a.duckdb"), tmp_path)
        other.communicate()


def test_what_a_duckdb_file_has_not_yet_checkpointed_counts_as_its_bytes(tmp_path: Path) -> None:
    database(tmp_path / "a.duckdb")
    before = digest(parts(source(path="a.duckdb"), tmp_path)[0])
    text(tmp_path / "a.duckdb.wal", "more")
    assert digest(parts(source(path="a.duckdb"), tmp_path)[0]) != before


def test_query_beside_a_path_is_for_duckdb_files(tmp_path: Path) -> None:
    parquet(tmp_path / "a.parquet")
    with pytest.raises(SourceUnreadable, match=r"has query= beside path='a\.parquet', which is no DuckDB file"):
        parts(source(path="a.parquet", query="events"), tmp_path)


def test_frames_keep_nan_in_numpy_floats_and_other_missing_values_are_null(tmp_path: Path) -> None:
    frame = pd.DataFrame({"amount": np.array([1.0, np.nan]), "note": ["a", None], "other": [1, 2]}, index=[4, 4])
    table = read(source(frame=frame), Part("frame", 0, 0, "frame"), tmp_path)
    assert table.column_names == ["amount", "note"]
    assert math.isnan(table["amount"][1].as_py())
    assert table["note"].to_pylist() == ["a", None]


@pytest.mark.parametrize("make", [pl.DataFrame, pa.table, lambda columns: pa.table(columns).to_reader()])
def test_any_arrow_stream_is_a_frame(make: Any, tmp_path: Path) -> None:
    assert rows_of(source(frame=make({"amount": [1.0, None], "other": [1, 2]})), tmp_path) == [
        {"amount": 1.0},
        {"amount": None},
    ]


def test_what_is_no_frame_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(
        SourceUnreadable, match=r"The frame of source 'events': LazyFrame is no .*Call \.collect\(\) first"
    ):
        rows_of(source(frame=pl.LazyFrame({"amount": [1.0]})), tmp_path)


def spines(root: Path) -> list[Any]:
    columns: dict[str, Any] = {"who": ["b", "a"], "n": [2, 1]}
    parquet(root / "s.parquet", **columns)
    text(root / "s.csv", "who,n\nb,2\na,1\n")
    dicts = [{"who": "b", "n": 2}, {"who": "a", "n": 1}]
    queries = ["FROM 's.parquet'", "select who, n from 's.csv'", "-- all\nWITH s AS (FROM 's.csv') FROM s"]
    files = ["s.parquet", root / "s.parquet", "s.csv"]
    return [pd.DataFrame(columns, index=[9, 9]), pl.DataFrame(columns), pa.table(columns), dicts, *files, *queries]


def test_every_kind_of_spine_keeps_its_columns_and_order(tmp_path: Path) -> None:
    for spine in spines(tmp_path):
        assert read_spine(spine, tmp_path).to_pydict() == {"who": ["b", "a"], "n": [2, 1]}


def test_declared_text_in_a_csv_spine_is_text_whatever_it_looks_like(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("who,n,on\n007,1,2026-01-31\n,2,\n")
    table = read_spine("s.csv", tmp_path, ["who", "elsewhere"])
    assert table.drop(["on"]).to_pydict() == {"who": ["007", None], "n": [1, 2]}
    assert pa.types.is_date(table.schema.field("on").type)


def test_spines_keep_their_types(tmp_path: Path) -> None:
    types = pa.schema([("a", pa.int8()), ("b", pa.float32()), ("c", pa.timestamp("ns", "Europe/Paris"))])
    assert read_spine(types.empty_table(), tmp_path).schema == types
    assert read_spine([{"a": 1}, {"b": "x"}], tmp_path).to_pylist() == [{"a": 1, "b": None}, {"a": None, "b": "x"}]


@pytest.mark.parametrize(
    ("spine", "words"),
    [
        ("nowhere.csv", "There is no spine at .*nowhere.csv. .* holds nothing"),
        ("SELECT who FROM nobody", "The spine's query cannot be read"),
        ([1], "The spine holds 1: give a list of dicts"),
        ([{"a": 1}, {"a": "x"}], "column 'a' has no one type"),
        (5, "int gives no rows: give a list of dicts, a pandas or polars frame"),
        ({"who": ["a"]}, "dict gives no rows: give a list of dicts"),
    ],
)
def test_a_spine_that_cannot_be_read_says_why(spine: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(SpineError, match=words):
        read_spine(spine, tmp_path)
