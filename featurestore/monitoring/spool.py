"""A spool: the file that one process appends served rows to, until it is sealed as Parquet.

The first line is the process's :class:`Origin`, each other line a row. A spool belongs to whoever holds its lock,
which the system takes away when the process dies: then the next one seals it. What a kill leaves half written is the
last line, and it is counted. Files can be read by their owner alone: what features say of somebody is personal data.
"""

import contextlib
import fcntl
import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.json
import pyarrow.parquet as pq

from featurestore.errors import StoreDamaged
from featurestore.log.segments import sync_folder
from featurestore.monitoring.served import SCHEMA, Origin

OPEN, SEALED, DAMAGED = ".jsonl", ".parquet", ".damaged"
_ORIGIN, _LOST = b"featurestore.origin", b"featurestore.lost"
_INSTANTS = ("served_at", "as_of")
_RAW = pa.schema([pa.field(one.name, pa.int64() if one.name in _INSTANTS else one.type) for one in SCHEMA])
_PARSING = pyarrow.json.ParseOptions(explicit_schema=_RAW, unexpected_field_behavior="error")
_READING = pyarrow.json.ReadOptions(block_size=1 << 27)  # a row may be as long as a whole request


class Spool:
    """A new spool of this process, made in ``folder`` and locked."""

    def __init__(self, folder: Path, origin: Origin) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = folder / f"{origin.id}{OPEN}"
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        self.size = 0
        self._synced = 0
        try:
            self.append([origin.to_json()])
        except OSError:
            self.close()
            raise

    def append(self, lines: Sequence[str]) -> None:
        """Append whole lines: they survive the death of this process when it returns.

        Raises
        ------
        OSError
            If the disk does not take them; then none of them is there.
        """
        content = "".join(f"{one}\n" for one in lines).encode()
        try:
            written = 0
            while written < len(content):
                written += os.write(self._file, memoryview(content)[written:])
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self.size)
                os.lseek(self._file, self.size, os.SEEK_SET)
            raise
        self.size += len(content)

    def sync(self) -> None:
        """Make what was appended survive a loss of power as well."""
        if self._synced < self.size:
            size = self.size
            os.fsync(self._file)
            self._synced = size

    def close(self) -> None:
        """Leave it to be sealed."""
        os.close(self._file)


@dataclass(frozen=True, eq=False)
class Part:
    """Rows of one file, with the columns of ``SCHEMA``; ``lost`` counts lines that could not be read."""

    origin: Origin
    table: pa.Table
    lost: int


def seal(path: Path) -> bool:
    """Turn a spool whose process is gone into a Parquet file of the same name. Whether this one did.

    Raises
    ------
    OSError
        If the disk does not take it: the spool stays.
    """
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.fstat(file).st_nlink:  # another has sealed it meanwhile
            return False
        return _seal(path)
    except BlockingIOError:  # its process lives
        return False
    finally:
        os.close(file)


def read(path: Path) -> Part | None:
    """Rows of a spool or of a sealed file; ``None`` if it is gone, or nothing is in it yet.

    Raises
    ------
    StoreDamaged
        If it cannot be read at all.
    NewerFormat
        If a later version of the product wrote it.
    """
    try:
        if path.suffix == SEALED:
            return _sealed(path)
        with path.open("rb") as file:
            return _parsed(file.read(), path, whole=_abandoned(file.fileno()))
    except FileNotFoundError:
        return None


def newest(path: Path) -> int | None:
    """Microseconds UTC of the newest row of a sealed file, without reading rows; ``None`` if that cannot be told."""
    try:
        found = pq.read_metadata(path)
        place = found.schema.names.index("served_at")
        ends = [found.row_group(one).column(place).statistics.max_raw for one in range(found.num_row_groups)]
    except (OSError, pa.ArrowException, ValueError, AttributeError):
        return None
    return max(ends, default=None)


def _seal(path: Path) -> bool:
    try:
        part = _parsed(path.read_bytes(), path, whole=True)
    except StoreDamaged:
        path.rename(path.with_suffix(DAMAGED))  # for a person to look at
        return False
    done = path.with_suffix(SEALED)
    if part is not None and len(part.table) and not done.exists():
        _write(done, part)
    path.unlink()
    return True


def _write(path: Path, part: Part) -> None:
    begun = path.with_name(f".{path.name}")
    told = {_ORIGIN: part.origin.to_json().encode(), _LOST: str(part.lost).encode()}
    try:
        with os.fdopen(os.open(begun, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
            table = part.table.replace_schema_metadata(told)
            pq.write_table(table, file, compression="zstd", write_page_checksum=True)
            file.flush()
            os.fsync(file.fileno())
        begun.replace(path)
    finally:
        begun.unlink(missing_ok=True)
    sync_folder(path.parent)


def _sealed(path: Path) -> Part:
    try:
        table = pq.ParquetFile(path, page_checksum_verification=True).read()
        told = table.schema.metadata
        return Part(Origin.from_json(told[_ORIGIN]), table.select(SCHEMA.names).cast(SCHEMA), int(told[_LOST]))
    except FileNotFoundError:
        raise
    except (OSError, pa.ArrowException, ValueError, KeyError, TypeError) as error:
        raise _damaged(path, error) from error


def _parsed(content: bytes, path: Path, *, whole: bool) -> Part | None:
    """Rows of a spool's bytes; ``whole`` says that nobody is writing at its end any more."""
    head, begun, rest = content.partition(b"\n")
    if not begun:
        return None
    try:
        origin = Origin.from_json(head)
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path, error) from error
    rows, newline, tail = rest.rpartition(b"\n")
    lost = int(whole and bool(tail))
    try:
        return Part(origin, _table(rows + newline), lost)
    except pa.ArrowException:
        lines = rows.split(b"\n")
        kept = [one for one in lines if _is_row(one)]
        return Part(origin, _table(b"".join(one + b"\n" for one in kept)), lost + len(lines) - len(kept))


def _damaged(path: Path, error: Exception) -> StoreDamaged:
    return StoreDamaged(f"{path} of the served log is damaged: {error}. Restore it from a backup, or delete it.")


def _table(lines: bytes) -> pa.Table:
    if not lines:
        return SCHEMA.empty_table()
    return pyarrow.json.read_json(io.BytesIO(lines), _READING, _PARSING).cast(SCHEMA)


def _is_row(line: bytes) -> bool:
    try:
        said = json.loads(line)
        return isinstance(said, dict) and len(_table(line + b"\n")) == 1
    except (ValueError, pa.ArrowException):
        return False


def _abandoned(file: int) -> bool:
    """Whether no process writes to it any more."""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
