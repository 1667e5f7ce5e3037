from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from featurestore.errors import NotMaterialized, SchemaChanged, StoreDamaged
from featurestore.log import KNOWN_AT, PART, POSITION, Segment, scan, segments

SCHEMA = pa.schema([("customer_id", pa.string()), ("amount", pa.float64())])


def rows(*amounts: float, position: int | None = None) -> pa.Table:
    table = pa.table({"customer_id": ["a"] * len(amounts), "amount": [*amounts]}, schema=SCHEMA)
    table = table.append_column(KNOWN_AT, pa.array([1000] * len(amounts), segments.SYSTEM[KNOWN_AT]))
    if position is not None:
        table = table.append_column(POSITION, pa.array([position] * len(amounts), pa.int64()))
    return table


def written(folder: Path, *tables: pa.Table, part: str | None = "may.csv") -> Segment:
    path = folder / "payments" / "x-0.parquet"
    return segments.write(path, tables, source="payments", origin="bulk", part=part, event_time=KNOWN_AT)


def test_rows_come_back_in_the_order_they_were_written(tmp_path: Path) -> None:
    segment = written(tmp_path, rows(3.0, 1.0), rows(2.0))
    assert scan.read(segment, ["amount"], schema=SCHEMA).to_pydict() == {"amount": [3.0, 1.0, 2.0]}
    assert segment.rows == 3
    assert (segment.first_time, segment.last_time) == (1000, 1000)


def test_every_row_says_which_part_it_came_from(tmp_path: Path) -> None:
    segment = written(tmp_path, rows(1.0, 2.0))
    assert scan.read(segment, [PART], schema=SCHEMA).to_pydict() == {PART: ["may.csv", "may.csv"]}


def test_rows_of_no_part_have_a_null_part(tmp_path: Path) -> None:
    segment = written(tmp_path, rows(1.0), part=None)
    assert scan.read(segment, [PART], schema=SCHEMA).to_pydict() == {PART: [None]}


def test_positions_of_rows_are_kept_and_their_range_recorded(tmp_path: Path) -> None:
    segment = written(tmp_path, rows(1.0, position=4), rows(2.0, position=7))
    assert (segment.positioned, segment.first_position, segment.last_position) == (True, 4, 7)
    assert scan.read(segment, [POSITION], schema=SCHEMA).to_pydict() == {POSITION: [4, 7]}


def test_a_lack_of_memory_is_not_told_as_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    segment = written(tmp_path, rows(1.0))

    def fails(*_: object, **__: object) -> None:
        raise pa.ArrowMemoryError("malloc of size 64 failed")

    monkeypatch.setattr(pq.ParquetFile, "read", fails)
    with pytest.raises(MemoryError, match="malloc"):
        scan.read(segment, ["amount"], schema=SCHEMA)


def test_no_temporary_file_is_left(tmp_path: Path) -> None:
    segment = written(tmp_path, rows(1.0))
    assert list(segment.path.parent.iterdir()) == [segment.path]


def test_a_column_that_the_schema_gained_is_null(tmp_path: Path) -> None:
    wider = SCHEMA.append(pa.field("merchant", pa.string()))
    table = scan.read(written(tmp_path, rows(1.0)), ["merchant", "amount"], schema=wider)
    assert table.to_pydict() == {"merchant": [None], "amount": [1.0]}
    assert table.schema.field("merchant").type == pa.string()


def test_a_column_of_another_type_is_refused_by_name(tmp_path: Path) -> None:
    other = pa.schema([("amount", pa.int64())])
    with pytest.raises(SchemaChanged, match="'amount' of source 'payments' is double in the log and int64"):
        scan.read(written(tmp_path, rows(1.0)), ["amount"], schema=other)


def test_an_unknown_column_is_refused_with_a_suggestion(tmp_path: Path) -> None:
    with pytest.raises(NotMaterialized, match="Did you mean 'amount'"):
        scan.read(written(tmp_path, rows(1.0)), ["amonut"], schema=SCHEMA)


def test_strings_are_encoded_on_request(tmp_path: Path) -> None:
    table = scan.read(written(tmp_path, rows(1.0, 2.0)), ["customer_id"], schema=SCHEMA, codes=["customer_id"])
    assert table.schema.field("customer_id").type == pa.dictionary(pa.int32(), pa.string())
    assert table.column("customer_id").to_pylist() == ["a", "a"]


def test_encoded_strings_are_stored_as_plain_ones(tmp_path: Path) -> None:
    table = rows(1.0)
    encoded = table.set_column(0, "customer_id", table.column("customer_id").dictionary_encode())
    assert scan.schema_of(written(tmp_path, encoded)).field("customer_id").type == pa.string()


def test_a_flipped_byte_in_a_page_fails_the_read(tmp_path: Path) -> None:
    segment = written(tmp_path, rows(*range(5000)))
    content = bytearray(segment.path.read_bytes())
    content[len(content) // 2] ^= 1
    segment.path.write_bytes(content)
    assert not segments.verify(segment)
    with pytest.raises(StoreDamaged, match=r"x-0\.parquet"):
        scan.read(segment, ["customer_id", "amount", KNOWN_AT, PART], schema=SCHEMA)


def test_a_cut_file_fails_the_read(tmp_path: Path) -> None:
    segment = written(tmp_path, rows(1.0))
    segment.path.write_bytes(segment.path.read_bytes()[:-1])
    with pytest.raises(StoreDamaged, match=f"{segment.size - 1} bytes where {segment.size} were written.*rebuild"):
        scan.read(segment, ["amount"], schema=SCHEMA)


def test_a_missing_file_fails_the_read(tmp_path: Path) -> None:
    segment = written(tmp_path, rows(1.0))
    segment.path.unlink()
    assert not segments.verify(segment)
    with pytest.raises(StoreDamaged, match=r"x-0\.parquet"):
        scan.read(segment, ["amount"], schema=SCHEMA)


def test_each_table_is_given_on_when_it_is_written_and_the_segment_is_there_after_the_last(tmp_path: Path) -> None:
    path, tables = tmp_path / "payments" / "x-0.parquet", [rows(1.0), rows(2.0, 3.0)]
    passing = segments.write_passing(path, tables, source="payments", origin="bulk", part=None, event_time=None)
    assert [next(passing), next(passing)] == tables
    assert not path.exists()
    with pytest.raises(StopIteration) as ended:
        next(passing)
    assert (ended.value.value.rows, path.exists()) == (3, True)
