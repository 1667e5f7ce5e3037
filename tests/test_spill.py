"""Loads that memory does not hold: what is put aside comes back, ranges hold everything once, and no result differs."""

import hashlib
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path
from threading import Barrier, Event
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from strategies import NOTES, UNITS

from featurestore import Entity, FeatureService, FeatureStore, Source, feature, filling, spill
from featurestore.ahead import AT_ONCE, ahead, mapped
from featurestore.spill import Room, Spill, ranges
from featurestore.values import CODES, Kind
from featurestore.view import pieces_of

Small = Callable[[int], None]
DAY = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Small:
    """Let memory hold so many bytes."""

    def hold(most: int) -> None:
        monkeypatch.setattr(Room, "held", most)
        monkeypatch.setattr(Room, "range", most // 2)
        monkeypatch.setattr(spill, "_SAMPLED", 2)
        monkeypatch.setattr(spill, "CELLS", 35)  # 7 rows of five columns

    return hold


def spilled(folder: Path, tables: Sequence[pa.Table]) -> Spill:
    made = Spill(Room(folder, memory=1_000_000))
    for table in tables:
        made.add(table)
    return made


def of(column: Sequence[Any], kind: Any = None, first: int = 0) -> pa.Table:
    return pa.table({"key": pa.array(column, kind), "row": range(first, first + len(column))})


@pytest.mark.parametrize("most", [1 << 20, 100, 0])
def test_tables_come_back_in_order_as_often_as_they_are_asked_for(tmp_path: Path, small: Small, most: int) -> None:
    small(most)
    tables = [of(["a", None, "b"]), of([]).cast(of(["a"]).schema), of(["ä"] * 20)]
    made = spilled(tmp_path, tables)
    for _ in range(2):
        assert [row for table in made for row in table.to_pylist()] == [r for one in tables for r in one.to_pylist()]
    assert (made.rows, bool(list(tmp_path.iterdir()))) == (23, most < 1 << 20)
    made.close()
    assert not list(tmp_path.iterdir())


def test_tables_of_other_codes_come_back(tmp_path: Path, small: Small) -> None:
    small(10)
    coded = [pa.table({"key": pa.array(names).dictionary_encode()}) for names in (["b", "a"], ["c", "a", None])]
    assert [one.to_pylist() for one in spilled(tmp_path, coded)] == [one.to_pylist() for one in coded]


def test_a_range_has_codes_of_its_own_texts(tmp_path: Path, small: Small) -> None:
    small(100)
    made = spilled(tmp_path, [of([*"abcd", None, *"efgh"], CODES)])
    found = [one["key"].unify_dictionaries().combine_chunks() for one in ranges(made, "key", "str")]
    assert len(found) > 1
    assert [one.dictionary.to_pylist() for one in found] == [one.unique().drop_null().to_pylist() for one in found]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(
        [
            ("str", pa.string(), NOTES),
            ("str", CODES, NOTES),
            ("int", pa.int64(), UNITS),
            ("bool", pa.bool_(), (True, False)),
        ]
    ),
    st.lists(st.integers(0, 100), min_size=1, max_size=60),
    st.integers(1, 9),
    st.integers(1, 600),
)
def test_ranges_hold_every_row_once_each_value_in_one_of_them_and_ascend(
    tmp_path: Path, small: Small, kind: tuple[Kind, pa.DataType, Sequence[Any]], drawn: list[int], each: int, most: int
) -> None:
    small(most)
    pool = (None, *kind[2])
    column = [pool[number % len(pool)] for number in drawn]
    tables = [of(column[first : first + each], kind[1], first) for first in range(0, len(column), each)]
    found = [range_.to_pylist() for range_ in ranges(spilled(tmp_path, tables), "key", kind[0])]
    rows = [row for one in found for row in one]
    assert sorted(rows, key=lambda row: row["row"]) == [row for one in tables for row in one.to_pylist()]
    assert all(found)
    for before, after in pairwise(found):
        assert max(map(null_first, before)) < min(map(null_first, after))


def null_first(row: dict[str, Any]) -> tuple[bool, Any]:
    return (row["key"] is not None, row["key"] or "" if isinstance(row["key"], str | None) else row["key"])


class Sale(BaseModel):
    sale_id: str | None
    customer: str | None
    shop: int
    event_time: datetime
    amount: float | None


sales = Source(
    "sales", schema=Sale, path="data/*.parquet", event_time="event_time", key="sale_id", on_invalid="quarantine"
)
counted = Source("sales", schema=Sale, path="data/*.parquet", event_time="event_time", on_invalid="quarantine")


def services(source: Source) -> list[FeatureService]:
    @feature(source, by=Entity("customer", key="customer"), window="30d")
    def spent(tx: Any) -> Any:
        """In order."""
        return tx.amount.apply(lambda values: ",".join(map(str, values)), returns=str)

    @feature(source, by=Entity("shop", key="shop"), window="30d")
    def taken(tx: Any) -> Any:
        """Sum."""
        return tx.amount.sum()

    return [FeatureService("sales", features=[spent, taken])]


def write(path: Path, numbers: range) -> None:
    """Sales in no order: doubled ones, keys of another payload, ties, null keys, and rows that break a rule."""
    rows = [
        {
            "sale_id": None if number % 11 == 0 else f"s{number % 50}",
            "customer": None if number % 13 == 0 else f"c{number * 7 % 5}",
            "shop": None if number % 29 == 0 else number * 3 % 4,
            "event_time": DAY + timedelta(minutes=number * 17 % 6),
            "amount": number % 50 if number % 23 else number,
        }
        for number in numbers
    ]
    schema = pa.schema([pa.field(name, kind) for name, kind in zip(Sale.model_fields, KINDS, strict=True)])
    pq.write_table(pa.Table.from_pylist(rows, schema), path)


KINDS = (pa.string(), pa.string(), pa.int64(), pa.timestamp("us", "UTC"), pa.float64())
Loaded = tuple[list[dict[str, Any]], list[str], Any, Any, list[dict[str, Any]]]


def loaded(folder: Path, source: Source, clock: Any) -> Loaded:
    """Load two files, then a third; give the log, the blobs, the reports and the rows set aside."""
    (folder / "data").mkdir(parents=True)
    write(folder / "data/a.parquet", range(60))
    write(folder / "data/b.parquet", range(40, 100))
    with FeatureStore(services(source), home=folder / "home", clock=clock, root=folder) as store:
        reports = [store.materialize().sources]
        write(folder / "data/c.parquet", range(90, 140))
        reports.append(store.materialize().sources)
        wants = {"sales_by_customer": [f"c{number}" for number in range(5)], "sales_by_shop": ["0", "1", "2", "3"]}
        blobs = store.online.read(wants, {}).blobs
        reports.append(store.materialize(rebuild=True).sources)
        assert not (store.log.folder / "spill").exists()
        log = store.log.read("sales")
        events = log.drop_columns(["__part"]).to_pylist()  # of equal events of two parts either may be the first
        return events, sorted(map(str, log.to_pylist())), blobs, reports, store.log.quarantined("sales")


@pytest.mark.parametrize("source", [sales, counted])
@pytest.mark.parametrize("most", [1500, 300])
def test_a_load_that_memory_does_not_hold_gives_what_one_in_memory_gives(
    tmp_path: Path, small: Small, clock: Any, source: Source, most: int
) -> None:
    expected = loaded(tmp_path / "whole", source, clock)
    small(most)
    got = loaded(tmp_path / "cut", source, clock)
    assert got == expected
    assert len(got[0]) > 60


@pytest.mark.parametrize("most", [1 << 20, 300])
def test_logs_loaded_with_and_without_the_online_store_are_the_same_files(
    tmp_path: Path, small: Small, clock: Any, most: int
) -> None:
    small(most)
    (tmp_path / "data").mkdir()
    write(tmp_path / "data/a.parquet", range(100))
    files, read = [], []
    for online in (True, False):
        with FeatureStore(services(sales), home=tmp_path / f"{online}", clock=clock, root=tmp_path) as store:
            store.materialize(online=online)
            written = store.log.segments("sales")
            files.append([hashlib.sha256(one.path.read_bytes()).hexdigest() for one in written])
            assert files[-1] == [one.checksum for one in written]
            assert set(store.materialize().filled) == (set() if online else {"sales_by_customer", "sales_by_shop"})
            wants = {"sales_by_customer": [f"c{number}" for number in range(5)], "sales_by_shop": ["0", "1", "2", "3"]}
            read.append(store.online.read(wants, {}).blobs)
    assert files[0] == files[1]
    assert read[0] == read[1]
    assert all(map(any, read[0].values()))


def test_a_load_holds_no_more_than_the_memory_that_it_may_take_allows(tmp_path: Path) -> None:
    little, much = Room(tmp_path, 100_000_000), Room(tmp_path, 64_000_000_000)
    assert (little.held, little.range) == (12_500_000, 3_125_000)
    assert (much.held, much.range) == (spill.HELD, spill.RANGE)
    assert (little.rows(10), much.rows(10), much.rows(1 << 30)) == (39_062, spill.CELLS // 10, 1)


def test_what_fails_ahead_fails_where_its_item_would_have_come() -> None:
    def items() -> Any:
        yield from (1, 2)
        raise ValueError("no third")

    got: list[int] = []
    with pytest.raises(ValueError, match="no third"):
        got.extend(ahead(items()))
    assert got == [1, 2]
    assert list(ahead([1, 2, 3])) == [1, 2, 3]


def test_a_load_whose_view_fails_half_way_leaves_nothing(
    tmp_path: Path, small: Small, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(300)
    (tmp_path / "data").mkdir()
    write(tmp_path / "data/a.parquet", range(60))
    with FeatureStore(services(sales), home=tmp_path / "home", clock=clock, root=tmp_path) as store:
        with monkeypatch.context() as broken:
            broken.setattr(filling, "pieces_of", failing_at(3))
            with pytest.raises(ArithmeticError, match="no third"):
                store.materialize()
        assert store.online.state().position == store.log.position == 0
        assert not [path for path in store.log.folder.rglob("*") if path.suffix in (".parquet", ".tmp")]
        assert store.materialize().rows > 0


def failing_at(number: int) -> Callable[..., Any]:
    calls = iter(range(1, number + 1))

    def pieces(view: Any, table: pa.Table) -> Any:
        if next(calls) == number:
            raise ArithmeticError("no third")
        return pieces_of(view, table)

    return pieces


def test_what_is_drained_comes_once_and_is_let_go(tmp_path: Path, small: Small) -> None:
    tables = [of(["a", "b"]), of(["c"]), of(["d"])]
    for most in (1 << 20, 0):
        small(most)
        made = spilled(tmp_path, tables)
        assert [one.to_pylist() for one in made.drain()] == [one.to_pylist() for one in tables]
        if most:
            assert list(made) == []
        made.close()


def test_what_is_made_by_several_threads_comes_in_order_and_two_are_made_at_once() -> None:
    together = Barrier(AT_ONCE)

    def doubled(number: int) -> int:
        if number < AT_ONCE:
            together.wait(timeout=10)  # each waits for the other
        return 2 * number

    assert list(mapped(doubled, range(20))) == list(range(0, 40, 2))
    assert list(mapped(doubled, [])) == []


@pytest.mark.parametrize("give", [ahead, partial(mapped, abs)])
def test_what_is_closed_closes_what_it_draws_from(give: Callable[[Any], Generator[int, None, None]]) -> None:
    closed = list[str]()

    def items() -> Any:
        try:
            yield from range(100)
        finally:
            closed.append("closed")

    made = give(items())
    assert next(made) == 0
    made.close()
    assert closed == ["closed"]


def test_what_fails_in_a_thread_fails_where_it_would_have_come() -> None:
    got: list[float] = []
    with pytest.raises(ZeroDivisionError):
        got.extend(mapped(lambda number: 1 / number, [1, 2, 0, 4, 5, 6]))
    assert got == [1, 0.5]


def test_what_is_closed_waits_for_the_item_in_the_making() -> None:
    begun, made = Event(), list[int]()

    def items() -> Any:
        yield 1
        begun.set()
        time.sleep(0.05)
        made.append(2)
        yield 2

    with closing(ahead(items())) as given_ahead:
        next(given_ahead)
        begun.wait()
    assert made == [2]
