"""Reading segments: the columns asked for, of the types of one schema, up to a position, of some keys alone."""

from collections.abc import Collection, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from featurestore import parallel
from featurestore.errors import NotMaterialized, SchemaChanged, suggest
from featurestore.log.groups import KEPT, Group, Keys, groups_of
from featurestore.log.segments import KNOWN_AT, PART, POSITION, SYSTEM, Segment, damaged, is_text
from featurestore.log.shelf import Shelf
from featurestore.values import CODES


def rows_of(
    segment: Segment,
    names: Sequence[str],
    schema: pa.Schema,
    position: int | None,
    part: str | None,
    codes: Collection[str],
    keys: Keys | None = None,
    shelf: Shelf | None = None,
) -> pa.Table:
    """Columns of a segment's rows up to a position, of a part and of some keys, whose row groups a shelf may hold."""
    later = position is not None and not within(segment, position)
    mixed = part is not None and segment.part is None
    needed = [(POSITION, later), (PART, mixed), *([] if keys is None else [(keys.column, True)])]
    wanted = [*names, *(name for name, needs in needed if needs and name not in names)]
    if keys is None:
        table = read(segment, wanted, schema=schema, codes=codes)
    else:
        table = _of_keys(segment, wanted, schema, codes, keys, shelf)
    if later:
        table = table.filter(pc.less_equal(table.column(POSITION), position))
    if mixed:
        table = table.filter(pc.equal(table.column(PART).cast(pa.string()), part))
    return table.select(list(names))


def within(segment: Segment, position: int) -> bool:
    """Whether all its rows lie at or before the position."""
    return segment.last_position is not None and segment.last_position <= position


def read(
    segment: Segment,
    columns: Sequence[str],
    *,
    schema: pa.Schema,
    codes: Collection[str] = (),
    group: int | None = None,
) -> pa.Table:
    """Read columns of a segment, in the order asked; those of ``schema`` that it lacks are null.

    Strings of the columns ``codes`` are given as ``dictionary<int32, string>``. One row ``group`` is read by the thread
    that asks, all of them by many.

    Raises
    ------
    StoreDamaged
        If the file is missing, of another size than recorded, or fails a page's checksum.
    SchemaChanged
        If a column has another type than ``schema`` says.
    NotMaterialized
        If a column is not in ``schema``.
    """
    types = {name: target_type(name, schema, codes) for name in columns}
    metadata, held = _described(segment)
    there = [name for name in types if name in held.names]
    encoded = [name for name in there if types[name] == CODES]
    try:
        with pq.ParquetFile(
            segment.path, metadata=metadata, read_dictionary=encoded, page_checksum_verification=True
        ) as file:
            if group is None:
                table = file.read(columns=there)
            else:
                table = file.read_row_group(group, columns=there, use_threads=False)
    except MemoryError:  # Arrow's is an ArrowException too: no file is to blame
        raise
    except (OSError, pa.ArrowException) as error:
        raise damaged([segment], str(error)) from error
    rows = segment.rows if group is None else metadata.row_group(group).num_rows
    arrays = [
        _conform(table.column(name), kind, segment, name) if name in held.names else _filled(segment, name, kind, rows)
        for name, kind in types.items()
    ]
    return pa.table(arrays, names=list(types))


def _of_keys(
    segment: Segment,
    columns: Sequence[str],
    schema: pa.Schema,
    codes: Collection[str],
    keys: Keys,
    shelf: Shelf | None,
) -> pa.Table:
    """Rows between the first and the last key, of the row groups that may hold one.

    What is held at once is these rows or, with a shelf, the row groups.
    """
    types = [(name, target_type(name, schema, codes)) for name in columns]
    schema_of(segment)  # a damaged file is told before its row groups are looked at

    def of_group(group: Group) -> pa.Table:
        def coded() -> pa.Table:
            return keys.coded(read(segment, columns, schema=schema, codes=codes, group=group.number))

        if shelf is not None:
            return keys.within(shelf.take(group.place, coded))
        rows = keys.within(coded())
        return rows if 2 * len(rows) > group.rows else rows.take(np.arange(len(rows)))  # a copy, without the others

    return pa.concat_tables([pa.schema(types).empty_table(), *parallel.each(of_group, groups_of(segment, keys))])


def every_column(schema: pa.Schema) -> list[str]:
    """Names of the source's columns, then the system columns."""
    return [*(name for name in schema.names if name not in SYSTEM), *SYSTEM]


def target_type(name: str, schema: pa.Schema, codes: Collection[str] = ()) -> pa.DataType:
    """Type that a read gives a column; strings of the columns ``codes`` are a dictionary.

    Raises
    ------
    NotMaterialized
        If the schema has no such column.
    """
    if name in SYSTEM:
        return SYSTEM[name]
    if name not in schema.names:
        raise NotMaterialized(f"The log holds no column {name!r}.{suggest(name, every_column(schema))}")
    kind = schema.field(name).type
    return CODES if name in codes and is_text(kind) else kind


def schema_of(segment: Segment) -> pa.Schema:
    """Arrow schema of a segment's file.

    Raises
    ------
    StoreDamaged
        If the file is missing, of another size than recorded, or no Parquet file (as it was last written).
    """
    return _described(segment)[1]


def coded(found: Sequence[Segment]) -> frozenset[str]:
    """Names of the columns that a segment holds as codes, as it does where values repeat: those read fast that way."""
    names: set[str] = set()
    for segment in found:
        group = _described(segment)[0].row_group(0)
        columns = [group.column(number) for number in range(group.num_columns)]
        names |= {column.path_in_schema for column in columns if column.has_dictionary_page}
    return frozenset(names)


def nulls_of(segment: Segment) -> dict[str, int]:
    """Nulls in each of a segment's columns, from the file's statistics. Raises like :func:`schema_of`."""
    metadata, schema = _described(segment)
    nulls = dict.fromkeys(schema.names, 0)
    for group in range(metadata.num_row_groups):
        for number in range(metadata.num_columns):
            column = metadata.row_group(group).column(number)
            nulls[column.path_in_schema] += column.statistics.null_count or 0
    return nulls


def common_schema(found: Sequence[Segment], schema: pa.Schema | None = None) -> pa.Schema:
    """Columns of a schema and of all segments together.

    Raises
    ------
    SchemaChanged
        If a column has different types in them.
    """
    try:
        return pa.unify_schemas([pa.schema([]) if schema is None else schema, *(schema_of(one) for one in found)])
    except pa.ArrowException as error:
        raise SchemaChanged(
            f"Segments of source {found[0].source!r} differ in more than added columns: {error}"
        ) from error


def _described(segment: Segment) -> tuple[pq.FileMetaData, pa.Schema]:
    """What a segment's file says of itself, read again only if the file was written to."""
    try:
        found = segment.path.stat()
        if found.st_size != segment.size:
            raise damaged([segment], f"it has {found.st_size} bytes where {segment.size} were written")
        return _footer(segment.path, found.st_size, found.st_mtime_ns)
    except (OSError, pa.ArrowException) as error:
        raise damaged([segment], str(error)) from error


@lru_cache(KEPT)
def _footer(path: Path, _size: int, _written_ns: int) -> tuple[pq.FileMetaData, pa.Schema]:
    """Kept by size and time of writing too: a file that was changed is another."""
    with pq.ParquetFile(path) as file:
        return file.metadata, file.schema_arrow


def _filled(segment: Segment, name: str, kind: pa.DataType, rows: int) -> pa.Array:
    if name == POSITION and segment.first_position is not None:
        return pa.repeat(pa.scalar(segment.first_position, pa.int64()), rows)
    return pa.nulls(rows, kind)


def _conform(array: pa.ChunkedArray, kind: pa.DataType, segment: Segment, name: str) -> pa.ChunkedArray:
    """Encode or decode strings, lift known_at; anything else is another type than the rows were written with."""
    if name == KNOWN_AT and segment.stamp is not None:
        return pc.max_element_wise(array.cast(pa.int64()), segment.stamp).cast(kind)
    if array.type == kind:
        return array
    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    held = array.type.value_type if pa.types.is_dictionary(array.type) else array.type
    if held != plain:
        raise SchemaChanged(
            f"Column {name!r} of source {segment.source!r} is {held} in the log and {plain} in the schema. "
            "A schema may gain nullable columns only: give the column its old type, or add one of another name."
        )
    return array.cast(kind)
