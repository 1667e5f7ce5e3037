"""What a source's files, query or frame hold, as Arrow tables of raw columns; and the spines of training sets.

Nothing is checked here: columns come as they are (of a CSV file as text), and :mod:`featurestore.validation` says what
is wrong with which row. DuckDB runs in memory for each call, installs nothing, and sees no variable of the program.
"""

import csv
import glob
import hashlib
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from featurestore.definition import Source
from featurestore.errors import SourceUnreadable, SpineError, StoreBusy, suggest
from featurestore.frames import from_dicts, is_frame, to_arrow
from featurestore.refusals import BadRow, invalid_rows

PartKind = Literal["parquet", "csv", "duckdb", "query", "frame"]
_SUFFIXES: dict[str, PartKind] = {
    **dict.fromkeys((".parquet", ".pq"), "parquet"),
    **dict.fromkeys((".csv", ".tsv"), "csv"),
    **dict.fromkeys((".duckdb", ".ddb", ".db"), "duckdb"),
}
_DELIMITERS = ",;\t|"
_SHOWN = 12
_BLOCK = 1 << 20
_SQL = re.compile(r"(?:\s|--[^\n]*\n|\()*(?:select|with|from)\s", re.IGNORECASE)
_BARE_NAME = re.compile(r"\w+(?:\.\w+)*")
_QUOTED = re.compile(r"'(?:[^']|'')+'|\"(?:[^\"]|\"\")+\"")


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a source that is read, and known to be unchanged, as a whole: a file, or all of a query or frame.

    ``name`` is the file's path relative to the root, with slashes (absolute if it lies elsewhere), or ``query``, or
    ``frame``. ``size`` is in bytes, ``mtime_ns`` in nanoseconds since 1970; both are 0 for a query or frame. ``files``
    are those that are read: of a DuckDB file its write-ahead log too.
    """

    name: str
    size: int
    mtime_ns: int
    kind: PartKind
    files: tuple[Path, ...] = ()


def parts(source: Source, root: Path) -> list[Part]:
    """Files of a source's path by name, or the one part that its query or frame is; none if ``ingest`` alone feeds it.

    A path may be a file, a folder (all Parquet and CSV files below it) or a glob (``**`` for any depth), relative to
    ``root``. Files whose names begin with a dot or underscore are left out of folders and globs.

    Raises
    ------
    SourceUnreadable
        If the path matches no file that can be read; it says what the folder holds.
    """
    if source.path is None:
        kind: PartKind = "query" if source.query is not None else "frame"
        return [] if source.query is None and source.frame is None else [Part(kind, 0, 0, kind)]
    found = sorted((_part(path, root) for path in _matches(source, root)), key=lambda part: part.name)
    if source.query is not None and any(part.kind != "duckdb" for part in found):
        raise SourceUnreadable(
            f"Source {source.name!r} has query= beside path={source.path!r}, which is no DuckDB file: "
            "name the file in the query, and drop path=."
        )
    return found


def digest(part: Part) -> str:
    """SHA-256 of the file's bytes in hexadecimal; empty for a query or a frame, which have none.

    Raises
    ------
    SourceUnreadable
        If the file cannot be read.
    """
    if not part.files:
        return ""
    made = hashlib.sha256()
    with _unreadable(part.name):
        for path in part.files:
            with path.open("rb") as file:
                while block := file.read(_BLOCK):
                    made.update(block)
    return made.hexdigest()


def changed(part: Part) -> bool:
    """Whether its file has been written to, or is gone, since it was found."""
    try:
        return bool(part.files) and _facts(part.files) != (part.size, part.mtime_ns)
    except OSError:
        return True


def read(source: Source, part: Part, root: Path) -> pa.Table:
    """Columns of a part that the source's schema names, in the part's own types and order; of a CSV file as text.

    A column that the part lacks is left out. Empty cells of a CSV file are null.

    Raises
    ------
    InvalidRows
        If lines of a CSV file have too many or too few cells, an open quote, or are not UTF-8.
    SourceUnreadable
        If the file, query or frame cannot be read.
    StoreBusy
        If another process writes the DuckDB file.
    """
    names = source.fields.names
    if part.kind == "frame":
        return to_arrow(source.frame, f"The frame of source {source.name!r}", names)
    if part.kind == "query":
        assert source.query is not None  # noqa: S101 a part of that kind says so
        with _connected(root) as connection:
            return _answer(connection, _rooted(source.query, root), f"The query of source {source.name!r}", names)
    if part.kind == "duckdb":
        return _read_duckdb(source, part, root)
    if part.kind == "csv":
        return _read_csv(part, names, source.name)
    return _read_parquet(part.files[0], part.name, names)


def tables(source: Source, part: Part, root: Path, rows: int) -> Iterator[pa.Table]:
    """Give what :func:`read` gives in one or more tables: of a Parquet file about so many rows at once.

    Of such a file texts that repeat come as codes, as they lie in it.
    """
    if part.kind != "parquet":
        yield read(source, part, root)
        return
    with _unreadable(part.name):
        metadata = pq.read_metadata(part.files[0])
        there = {metadata.schema.column(number).path for number in range(metadata.num_columns)}
    codes = [name for name in source.repeating if name in there]
    with (  # what is read ahead of a file would be held until its end
        _unreadable(part.name),
        pq.ParquetFile(part.files[0], metadata=metadata, read_dictionary=codes, pre_buffer=False) as file,
    ):
        wanted = [column for column in file.schema_arrow.names if column in source.fields.names]
        if file.metadata.num_rows <= rows:
            yield file.read(columns=wanted)
            return
        held: list[pa.RecordBatch] = []  # where a row group ends, others are the codes
        for batch in file.iter_batches(rows, columns=wanted):
            held.append(batch)
            if sum(map(len, held)) >= rows:
                yield pa.Table.from_batches(held)
                held.clear()
        if held:
            yield pa.Table.from_batches(held)


def read_spine(spine: Any, root: Path, texts: Collection[str] = ()) -> pa.Table:
    """Rows of a training set as an Arrow table: all columns in their own types, rows in their own order.

    Parameters
    ----------
    spine
        A pandas or polars frame, an Arrow table, a list of dicts, the path of a Parquet or CSV file (whose types DuckDB
        finds), or SQL that begins with ``select``, ``with`` or ``from``.
    root
        Where relative paths begin.
    texts
        Columns that a CSV file has as text, whatever they look like: 007 is no number where a key is declared ``str``.

    Raises
    ------
    SpineError
        If it is none of these, or cannot be read.
    """
    try:
        if isinstance(spine, str) and _SQL.match(spine):
            with _connected(root) as connection:
                return _answer(connection, _rooted(spine, root), "The spine's query")
        if isinstance(spine, (str, Path)):
            return _read_spine_file(Path(spine), root, texts)
        if isinstance(spine, Sequence):
            return from_dicts(spine, "The spine")
        if not is_frame(spine) and not hasattr(spine, "collect"):
            raise SpineError(
                f"{type(spine).__name__} gives no rows: give a list of dicts, a pandas or polars frame, an Arrow "
                "table, the path of a Parquet or CSV file, or SQL."
            )
        return to_arrow(spine, "The spine")
    except SourceUnreadable as error:
        raise SpineError(str(error)) from error


def quoted(name: str) -> str:
    """Return the name of a table or column as SQL reads it."""
    return '"' + name.replace('"', '""') + '"'


# --- Finding files ---


def _matches(source: Source, root: Path) -> list[Path]:
    path = root / Path(str(source.path)).expanduser()
    if path.is_file():
        if path.suffix.lower() in _SUFFIXES:
            return [path]
        raise SourceUnreadable(
            f"Source {source.name!r} reads {path}, which is named like none of {', '.join(_SUFFIXES)}: "
            "rename it, or read it with query=."
        )
    pattern = f"{glob.escape(str(path))}/**/*" if path.is_dir() else str(path)
    found = [Path(match) for match in glob.iglob(pattern, recursive=True)]  # noqa: PTH207 pathlib has no absolute globs
    files = [one for one in found if one.suffix.lower() in _SUFFIXES and one.name[0] not in "._" and one.is_file()]
    if path.is_dir():
        files = [one for one in files if _SUFFIXES[one.suffix.lower()] != "duckdb"]
    if not files:
        raise SourceUnreadable(f"Source {source.name!r}: nothing to read matches {path}. {_holdings(path)}")
    return files


def _holdings(path: Path) -> str:
    """Say what the nearest folder above a path holds."""
    folder = path
    while not folder.is_dir():
        folder = folder.parent
    names = sorted(f"{one.name}/" if one.is_dir() else one.name for one in folder.iterdir())
    more = ", …" if len(names) > _SHOWN else ""
    return f"{folder} holds {', '.join(names[:_SHOWN]) or 'nothing'}{more}."


def _part(path: Path, root: Path) -> Part:
    kind = _SUFFIXES[path.suffix.lower()]
    log = Path(f"{path}.wal")
    files = (path, log) if kind == "duckdb" and log.exists() else (path,)
    absolute, base = path.absolute(), root.absolute()
    name = absolute.relative_to(base) if absolute.is_relative_to(base) else absolute
    with _unreadable(str(path)):
        size, mtime_ns = _facts(files)
    return Part(name.as_posix(), size, mtime_ns, kind, files)


def _facts(files: Sequence[Path]) -> tuple[int, int]:
    """Size in bytes and newest time of change of files."""
    facts = [file.stat() for file in files]
    return sum(fact.st_size for fact in facts), max(fact.st_mtime_ns for fact in facts)


# --- Parquet and CSV ---


@contextmanager
def _unreadable(what: str) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise SourceUnreadable(f"{what} cannot be read: {error}") from error


def _read_parquet(path: Path, name: str, columns: Sequence[str] | None = None) -> pa.Table:
    with _unreadable(name), pq.ParquetFile(path) as file:
        there = file.schema_arrow.names
        wanted = there if columns is None else [column for column in there if column in columns]
        return file.read(columns=wanted)


def _read_csv(part: Part, names: Sequence[str], source_name: str) -> pa.Table:
    """Read all as text. The header shows the delimiter; the rest of the dialect is fixed: no line can change it."""
    header, delimiter = _header(part, names)
    wanted = [(place, column) for place, column in enumerate(header) if column in names]
    cells = ", ".join(f"'c{place}': 'VARCHAR'" for place in range(len(header)))
    chosen = ", ".join(f"c{place} AS {quoted(column)}" for place, column in wanted) or "c0"
    statement = (
        f"SELECT {chosen} FROM read_csv($1, columns={{{cells}}}, delim=$2, auto_detect=false, header=true, nullstr='', "
        "quote='\"', escape='\"', strict_mode=true, store_rejects=true, rejects_limit=0)"
    )
    with _connected(part.files[0].parent) as connection:
        file = glob.escape(str(part.files[0].absolute()))
        table = _answer(connection, statement, part.name, params=[file, delimiter])
        rejects = "SELECT DISTINCT ON (line) line, error_type, csv_line FROM reject_errors ORDER BY line"
        bad = [
            BadRow(part.name, line - 1, "", f"line {line} has {str(problem).lower()}: {text!r}", text)
            for line, problem, text in connection.sql(rejects).fetchall()
        ]
    if bad:
        raise invalid_rows(bad, source_name, remedy="Correct these lines of the file.")
    return table if wanted else table.select([])


def _header(part: Part, names: Sequence[str]) -> tuple[list[str], str]:
    """Column names, and the delimiter that finds most of the schema's among them."""
    with _unreadable(part.name), part.files[0].open(encoding="utf-8-sig", errors="replace", newline="") as file:
        first = {}
        for delimiter in _DELIMITERS:
            file.seek(0)
            first[delimiter] = [cell.strip() for cell in next(csv.reader(file, delimiter=delimiter), [])]
    best = max(_DELIMITERS, key=lambda delimiter: (len(set(first[delimiter]) & set(names)), len(first[delimiter])))
    if not first[best]:
        raise SourceUnreadable(f"{part.name} is empty: its first line must name its columns.")
    return first[best], best


# --- DuckDB ---


@contextmanager
def _connected(root: Path) -> Iterator[Any]:
    """Open DuckDB in memory: relative file names begin at ``root``, naive time is UTC, nothing is installed."""
    import duckdb

    options: dict[str, Any] = {"autoinstall_known_extensions": "false", "python_enable_replacements": "false"}
    with duckdb.connect(config=options) as connection:
        folder = str(root.absolute()).replace("'", "''")
        connection.execute(f"SET file_search_path='{folder}'")
        connection.execute("SET TimeZone='UTC'")
        yield connection


def _answer(
    connection: Any, statement: str, what: str, names: Sequence[str] | None = None, params: Sequence[Any] = ()
) -> pa.Table:
    """Rows of a statement, of the named columns only."""
    import duckdb

    try:
        relation = connection.sql(statement, params=list(params)) if params else connection.sql(statement)
        if relation is None:
            raise SourceUnreadable(f"{what} gives no rows: it must be one SELECT.")
        table = relation.to_arrow_table()  # a projection around it need not keep its order
        return table.select([n for n, name in enumerate(table.column_names) if names is None or name in names])
    except duckdb.Error as error:
        raise SourceUnreadable(f"{what} cannot be read: {error}") from error


def _rooted(statement: str, root: Path) -> str:
    """Name files by their full path where DuckDB would prefer one of that name in the current folder."""
    here = Path.cwd()
    if here == root.absolute():
        return statement

    def full(found: re.Match[str]) -> str:
        mark = found[0][0]
        name = found[0][1:-1].replace(mark * 2, mark)
        if Path(name).is_absolute() or not (here / name).is_file() or not (root / name).is_file():
            return found[0]
        return mark + str((root / name).absolute()).replace(mark, mark * 2) + mark

    return _QUOTED.sub(full, statement)


def _read_duckdb(source: Source, part: Part, root: Path) -> pa.Table:
    import duckdb

    with _connected(root) as connection:
        file = str(part.files[0].absolute()).replace("'", "''")
        try:
            connection.execute(f"ATTACH '{file}' AS source_file (READ_ONLY)")
        except duckdb.Error as error:
            if re.search("lock|already attached", str(error)):
                raise StoreBusy(
                    f"{part.name} is open for writing elsewhere, so source {source.name!r} cannot be read: close it "
                    f"there and try again. ({error})"
                ) from error
            raise SourceUnreadable(f"{part.name} cannot be read: {error}") from error
        connection.execute("USE source_file")
        query = source.query or source.name
        if _BARE_NAME.fullmatch(query):
            query = f"FROM {_table(connection, query, part.name)}"
        return _answer(connection, _rooted(query, root), f"Source {source.name!r} in {part.name}", source.fields.names)


def _table(connection: Any, name: str, file: str) -> str:
    there = (
        "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = 'source_file' UNION "
        "SELECT schema_name, view_name FROM duckdb_views() WHERE database_name = 'source_file' AND NOT internal"
    )
    known = {table if schema == "main" else f"{schema}.{table}" for schema, table in connection.sql(there).fetchall()}
    if name.removeprefix("main.") not in known:
        raise SourceUnreadable(f"{file} has no table {name!r}.{suggest(name, known)} Name it with query=.")
    return ".".join(quoted(one) for one in name.split("."))


# --- Spines ---


def _read_spine_file(path: Path, root: Path, texts: Collection[str]) -> pa.Table:
    path = root / path.expanduser()
    kind = _SUFFIXES.get(path.suffix.lower())
    if not path.is_file():
        raise SourceUnreadable(f"There is no spine at {path}. {_holdings(path)}")
    if kind == "parquet":
        return _read_parquet(path, str(path))
    if kind != "csv":
        raise SourceUnreadable(
            f"The spine {path} is named neither .parquet nor .csv: rename it, or give SQL that reads it."
        )
    file = [glob.escape(str(path.absolute()))]
    with _connected(root) as connection:
        table = _answer(connection, "FROM read_csv($1, header=true)", str(path), params=file)
        names = [name for name in texts if name in table.column_names]
        if all(table.schema.field(name).type == pa.string() for name in names):
            return table
        types = ", ".join(f"{quoted(name)}: 'VARCHAR'" for name in names)
        return _answer(connection, f"FROM read_csv($1, header=true, types={{{types}}})", str(path), params=file)
