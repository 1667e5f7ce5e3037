"""What keeps a log small: merging segments into one sorted one, and deleting files that count no more."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from featurestore.errors import FeatureStoreError, OperationError
from featurestore.log import scan
from featurestore.log.catalogue import Catalogue
from featurestore.log.load import Load, remove
from featurestore.log.segments import ROW_GROUP, Segment
from featurestore.values import ARROW_TYPES, Kind, from_arrow

Sort = Sequence[tuple[str, str]]
GRACE = 60_000_000
IN_MEMORY_BYTES = 1 << 29
"""Segments of up to this many bytes together (about 20 M rows of five columns) are sorted in memory, more by DuckDB."""


def merge(catalogue: Catalogue, load: Load, old: Sequence[Segment], schema: pa.Schema | None, sort: Sort) -> None:
    """Write the rows of ``old`` (of one source and origin) as one sorted segment of ``load``, which replaces them."""
    known = scan.common_schema(old, schema)  # never the schema alone: rows keep columns that it has lost
    spill = catalogue.segment_path(old[0].source, f"{load.id}-spill").with_suffix("")
    event_time = next((one.event_time for one in old if one.event_time is not None), None)
    rows = merged(old, known, sort, spill)
    new = load.write(rows, source=old[0].source, origin=old[0].origin, part=None, event_time=event_time)
    before = sum(one.rows for one in old)
    if new.rows != before:
        raise OperationError(
            f"Merging segments of source {new.source!r} gave {new.rows} rows of {before}: nothing is replaced."
        )
    load.replace(old)
    remove(spill)


def merged(
    old: Sequence[Segment], schema: pa.Schema, sort: Sort, spill: Path, *, in_memory_bytes: int = IN_MEMORY_BYTES
) -> Iterator[pa.Table]:
    """Rows of all segments with all system columns, sorted (null first), a row group at a time.

    In memory it takes about half of DuckDB's time; DuckDB writes what does not fit to the folder ``spill``.
    """
    names = scan.every_column(schema)
    if sum(one.size for one in old) <= in_memory_bytes:
        codes = scan.coded(old)
        tables = [scan.read(one, names, schema=schema, codes=codes) for one in old]
        table = pa.concat_tables(tables).unify_dictionaries().combine_chunks()
        place = _order(table, sort)
        return (table.take(pa.array(place[start : start + ROW_GROUP])) for start in range(0, len(place), ROW_GROUP))
    return _merged_on_disk(old, schema, sort, spill)


def rewrite(load: Load, old: Sequence[Segment], without: Callable[[pa.Table], pa.Table]) -> int:
    """Write what ``without`` leaves of each segment that loses rows, in its place; gives how many rows are left out."""
    schema = scan.common_schema(old) if old else pa.schema([])
    lost = 0
    for one in old:
        table = scan.read(one, scan.every_column(schema), schema=schema, codes=scan.coded([one]))
        kept = without(table)
        if len(kept) == len(table):
            continue
        lost += len(table) - len(kept)
        if len(kept):
            load.write([kept], source=one.source, origin=one.origin, part=None, event_time=one.event_time)
        load.replace([one])
    return lost


def collect_garbage(catalogue: Catalogue, at: int, *, at_once: bool = False) -> int:
    """Delete retired segments past their grace and files that no load owns; gives how many files."""
    # Files first, then the catalogue: a load is in the catalogue before its first file is there.
    files = list((catalogue.folder / "segments").glob("*/*"))
    with catalogue.writing() as connection:
        connection.execute(
            "DELETE FROM segments WHERE state = 'retired' AND (?2 OR retired_at <= ?1"
            " AND retired_by < (SELECT max(number) FROM loads))",
            (at - GRACE, at_once),
        )
        owned = {row["id"] for row in connection.execute("SELECT id FROM segments")}
        running = {row["id"] for row in connection.execute("SELECT id FROM loads WHERE state <> 'published'")}
    orphans = [path for path in files if path.stem not in owned and path.stem.partition("-")[0] not in running]
    for path in orphans:
        remove(path)
    return len(orphans)


def _order(table: pa.Table, sort: Sort) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Permutation that sorts a table, rows that tie in their old order."""
    kinds: dict[pa.DataType, Kind] = {kind: name for name, kind in ARROW_TYPES.items()}
    keys: list[np.ndarray[Any, Any]] = []
    for name, way in sort:
        column = table.column(name)
        values = from_arrow(column, kinds.get(column.type, "str"))
        keys.append(values.mask)
        if values.data.dtype.kind == "f":
            keys.append(values.data if way == "ascending" else -values.data)
        else:  # complement, not minus: the least integer has no negative
            keys.append(values.data if way == "ascending" else ~values.data)
    varying = [key for key in keys if len(key) and key.min() != key.max()]
    return np.lexsort(varying[::-1]) if varying else np.arange(len(table))


def _merged_on_disk(old: Sequence[Segment], schema: pa.Schema, sort: Sort, spill: Path) -> Iterator[pa.Table]:
    import duckdb

    names = scan.every_column(schema)
    target = pa.schema([(name, scan.target_type(name, schema)) for name in names])
    failures: list[FeatureStoreError] = []

    def batches() -> Iterator[pa.RecordBatch]:
        try:
            for one in old:
                yield from scan.read(one, names, schema=schema).cast(target).to_batches(ROW_GROUP)
        except FeatureStoreError as error:
            failures.append(error)  # DuckDB turns what is raised here into text
            raise

    order = ", ".join(f"{_quoted(name)} {'ASC' if way == 'ascending' else 'DESC'} NULLS FIRST" for name, way in sort)
    try:
        with duckdb.connect(":memory:", config={"autoinstall_known_extensions": False}) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.execute(f"SET temp_directory = {_literal(str(spill))}")
            connection.register("events", pa.RecordBatchReader.from_batches(target, batches()))
            rows = connection.sql(f"SELECT * FROM events{' ORDER BY ' + order if order else ''}")
            for batch in rows.to_arrow_reader(ROW_GROUP):
                yield pa.Table.from_batches([batch]).cast(target)
    except (duckdb.Error, pa.ArrowException) as error:
        if failures:
            raise failures[0] from error
        raise OperationError(f"Cannot merge segments of source {old[0].source!r}: {error}. Check the disk.") from error


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
