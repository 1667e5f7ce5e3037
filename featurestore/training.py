"""Training sets: a spine's own rows with the features of a service, as of each row's instant.

Each is a table in one DuckDB file, with a manifest.
"""

import json
import re
import sys
import time as clock
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from dataclasses import replace as replace_fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from featurestore import maturity, spine, times
from featurestore.contents import column_hashes, content_hash, content_hash_of
from featurestore.engine import Engine
from featurestore.errors import (
    NewerFormat,
    RequestError,
    SpineError,
    StoreBusy,
    StoreDamaged,
    UnknownService,
    suggest,
)
from featurestore.evaluate import Spine
from featurestore.events import IntArray
from featurestore.log import EventLog
from featurestore.memory import usual
from featurestore.plan import ServicePlan
from featurestore.provenance import environment, git_commit
from featurestore.splits import FOLDS, TimeSplit, before
from featurestore.times import Duration

FORMAT = 1
_OWN = ("featurestore_manifests", "featurestore_incoming", "featurestore_unnamed")
_WAIT_S = 10.0
_SLOW_TO_WRITE = "alprd,dict_fsst"  # a fifth of the time to write a table, for an eighth more space
Immature = Literal["drop", "keep"]


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """A spine's columns, untouched and in order, then the features in declared order (S9), then labels (S15).

    ``manifest`` says what it was made of: service, fingerprints, labels, spine hash, position, content hash, commit,
    versions, times, rows.
    """

    name: str
    manifest: Mapping[str, Any]
    _table: pa.Table = field(repr=False)
    _spine: Any = field(default=None, repr=False)

    def __len__(self) -> int:
        """Rows."""
        return int(self._table.num_rows)

    @property
    def labels(self) -> Sequence[Mapping[str, Any]]:
        """Declared labels that it was built with, as the manifest describes them."""
        return tuple(self.manifest.get("labels", ()))

    def reach(self, label: str | None = None) -> int:
        """How far after T a label's window ends, or the farthest of all; 0 for columns of the spine. Microseconds."""
        asked = [one for one in self.labels if label in (None, one["name"])]
        return max((times.duration(one["horizon"]) + times.duration(one["offset"] or "0s") for one in asked), default=0)

    def cv(self, n_splits: int = FOLDS, *, gap: Duration | None = None) -> TimeSplit:
        """Folds in order of time for scikit-learn, with every row of the training set given in its order.

        No row is trained on whose labels' windows, and ``gap``, end after the first instant that is tested; what the
        labels in the spine's own columns look at is for ``gap`` to say.
        """
        return TimeSplit(self._instants(), n_splits, self.reach() + _duration(gap, "gap"))

    def split(self, test_from: Any, *, gap: Duration | None = None) -> tuple["TrainingSet", "TrainingSet"]:
        """Rows to train on and to test, in order: test rows have T at or after ``test_from`` (naive is UTC).

        Training rows lie before the first test row, and so do the ends of their labels' windows, with ``gap`` besides;
        rows in between are in neither. The manifests say of which part of which training set they are.

        Raises
        ------
        RequestError
            If either has no row.
        """
        at, start = self._instants(), times.to_micros(test_from)
        test = np.flatnonzero(at >= start)
        train = before(at, int(at[test].min()), self.reach() + _duration(gap, "gap")) if len(test) else test
        if not len(train) or not len(test):
            span = f"between {' and '.join(self.manifest['time_range'])}" if len(at) else "none"
            raise RequestError(
                f"test_from={times.isoformat(start)} leaves {len(test)} rows to test and {len(train)} to train on; "
                f"rows are {span}."
            )
        return self._part(train, "train", start), self._part(test, "test", start)

    def to_arrow(self) -> pa.Table:
        """Arrow table; datetimes of features in UTC."""
        return self._table

    def to_pandas(self) -> Any:
        """Pandas frame; a pandas spine keeps its index and types.

        Features that may be null are Int64, boolean, str, float64 or datetime64 in UTC; maps are dicts.
        """
        import pandas as pd

        def nullable(kind: pa.DataType) -> Any:
            return {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}.get(kind)

        typed = [*self.manifest["feature_types"], *self.labels]
        marks = [one["mark"] for one in self.labels if one["mark"]]
        made = self._table.select([*(one["name"] for one in typed), *marks])
        may_be_null = [one["name"] for one in typed if one["nullable"]]
        plain = made.drop_columns([name for name in made.column_names if name in may_be_null]).to_pandas(
            maps_as_pydicts="strict"
        )
        masked = made.select([name for name in made.column_names if name in may_be_null]).to_pandas(
            types_mapper=nullable
        )
        features = pd.concat([plain, masked], axis=1)[made.column_names]
        own = (
            self._spine
            if isinstance(self._spine, pd.DataFrame)
            else self._table.drop_columns(made.column_names).to_pandas()
        )
        features.index = own.index
        return pd.concat([own, features], axis=1)

    def to_polars(self) -> Any:
        """Polars frame."""
        import polars as pl

        return pl.from_arrow(self._table)

    def _instants(self) -> IntArray:
        return spine.instants(self._table.column(self.manifest["time"]), self.manifest["time"])

    def _part(self, rows: IntArray, part: str, test_from: int) -> "TrainingSet":
        """Some of its rows, described anew."""
        table, at = self._table.take(pa.array(rows)), self._instants()[rows]
        part_of = {"name": self.name, "content_hash": self.manifest["content_hash"], "rows": len(self)}
        manifest = {
            **self.manifest,
            "content_hash": content_hash(table),
            "rows": len(rows),
            "time_range": _range(at),
            "nulls": {one: table.column(one).null_count for one in self.manifest["features"]},
            "part": {"part": part, "of": part_of, "test_from": times.isoformat(test_from)},
        }
        return TrainingSet(self.name, manifest, table, _kept(self._spine, rows))


class TrainingSets:
    """The DuckDB file of training sets, open only while a table is written or read; ``memory`` is DuckDB's, bytes."""

    def __init__(self, path: Path, memory: int | None = None) -> None:
        self.path = path
        self._memory = usual() if memory is None else memory

    def save(self, table: pa.Table, described: Callable[[], Mapping[str, Any]], *, replace: bool) -> Mapping[str, Any]:
        """Write one, whole or not at all. The same content under its own name again is no change.

        What ``described`` gives is its manifest; it is asked for when the rows are written already.

        Raises
        ------
        RequestError
            If another training set has the name, or one that DuckDB does not tell from it.
        """
        with self._open(read_only=False) as connection:
            connection.execute(f"set disabled_compression_methods = '{_SLOW_TO_WRITE}'")  # connect() ignores it
            connection.execute(
                "create table if not exists featurestore_manifests (name varchar, format integer, manifest varchar)"
            )
            connection.execute("begin")
            connection.register("featurestore_incoming", table.combine_chunks())  # else DuckDB writes it twice
            connection.execute("create table featurestore_unnamed as select * from featurestore_incoming")
            manifest = described()
            name = manifest["name"]
            manifests = self._manifests(connection)
            _check_distinct(name, manifests)
            known = manifests.get(name)
            if known is not None and known["content_hash"] != manifest["content_hash"] and not replace:
                raise RequestError(
                    f"A training set named {name!r} exists with other content ({known['rows']} rows, made "
                    f"{known['created_at']}). Models may have been trained on it: choose another name, or say "
                    "replace=True."
                )
            connection.execute(f"drop table if exists {_quoted(name)}")
            connection.execute(f"alter table featurestore_unnamed rename to {_quoted(name)}")
            connection.execute("delete from featurestore_manifests where name = ?", [name])
            connection.execute(
                "insert into featurestore_manifests values (?, ?, ?)", [name, FORMAT, json.dumps(manifest)]
            )
            connection.execute("commit")
        return manifest

    def load(self, name: str) -> TrainingSet:
        """Read one.

        Raises
        ------
        UnknownService
            If there is none of that name.
        """
        if not self.path.exists():
            raise UnknownService(f"No training set named {name!r}. There are none.")
        with self._open(read_only=True) as connection:
            manifests = self._manifests(connection)
            if name not in manifests:
                raise UnknownService(f"No training set named {name!r}.{suggest(name, manifests)}")
            table = connection.sql(f"select * from {_quoted(name)}").to_arrow_table()
        return TrainingSet(name, manifests[name], table)

    def list(self) -> dict[str, dict[str, Any]]:
        """Manifests by name, newest last."""
        if not self.path.exists():
            return {}
        with self._open(read_only=True) as connection:
            return self._manifests(connection)

    @contextmanager
    def _open(self, *, read_only: bool) -> Iterator[Any]:
        import duckdb

        deadline = clock.monotonic() + _WAIT_S
        while True:
            try:
                limit = f"{self._memory // 1_000_000}MB"
                config: dict[str, Any] = {"autoinstall_known_extensions": "false", "memory_limit": limit}
                connection = duckdb.connect(str(self.path), read_only=read_only, config=config)
                break
            except duckdb.IOException as error:
                if "lock" not in str(error).lower():
                    raise StoreDamaged(f"Training sets in {self.path} cannot be opened: {error}") from error
                if clock.monotonic() > deadline:
                    holder = re.search(r"PID (\d+)", str(error))
                    who = f"process {holder.group(1)}" if holder else "another process"
                    raise StoreBusy(f"{self.path} is held by {who}: close it there and try again.") from error
                clock.sleep(0.02)
        try:
            yield connection
        finally:
            connection.close()

    def _manifests(self, connection: Any) -> dict[str, dict[str, Any]]:
        rows = connection.execute("select name, format, manifest from featurestore_manifests order by rowid").fetchall()
        newer = [name for name, version, _ in rows if version > FORMAT]
        if newer:
            raise NewerFormat(
                f"Training set {newer[0]!r} was written by a later version of featurestore: upgrade to read it."
            )
        return {name: json.loads(text) for name, _, text in rows}


def build(
    plan: ServicePlan,
    asked: pa.Table,
    *,
    time: str,
    name: str | None,
    position: int | Sequence[int] | None,
    given: Any,
    log: EventLog,
    engine: Engine,
    sets: TrainingSets,
    fingerprint: str,
    fingerprints: Mapping[str, str],
    created_at: int,
    root: Path,
    replace: bool,
    label_fingerprints: Mapping[str, str],
    immature: Immature,
) -> TrainingSet:
    """Evaluate a spine's rows, write the table, describe it.

    Rows where a label is not mature are left out, or kept with a null label and a mark (S15).

    Raises
    ------
    SpineError, KeyTypeMismatch, InvalidRequest
        If the spine does not fit the service.
    RequestError
        If the position is not there yet, or another training set has the name.
    """
    of_spine = _beside(column_hashes, asked)
    typed = spine.from_table(plan, asked, spine.instants(asked.column(time), time))
    newest = log.position
    seen, typed = _positions(position, newest, typed)
    sources = sorted({view.source.name for view in plan.views})
    if typed.position is not None:
        _check_readable(int(typed.position.min()), sources, log)
    labels, features = [step.label for step in plan.labels], plan.service.outputs
    mature = maturity.mature_rows(labels, typed.as_of, log, seen if typed.position is None else typed.position)
    complete = np.logical_and.reduce([np.ones(len(typed), np.bool_), *mature])
    kept = immature == "keep" and bool(labels)
    marks = [maturity.mark_of(label.name) for label in labels] if kept else []
    _check_marks(marks, [*asked.column_names, *plan.outputs])
    whole = kept or bool(complete.all())
    rows = np.arange(len(typed)) if whole else np.flatnonzero(complete)
    table = asked if whole else asked.take(pa.array(rows))
    typed = typed if whole else typed.take(rows)
    of_rows = of_spine if whole else _beside(column_hashes, table)
    not_finite: dict[str, int] = {}
    made = dict(engine.run(plan, typed, log, seen, not_finite))
    if kept:
        made |= {one.name: maturity.hidden(made[one.name], known) for one, known in zip(labels, mature, strict=True)}
    for output in plan.outputs:
        table = table.append_column(output, made[output].to_arrow())
    for mark, known in zip(marks, mature[: len(marks)], strict=True):
        table = table.append_column(mark, pa.array(known))
    as_of = typed.as_of
    manifest = {
        "name": name,
        "service": plan.service.name,
        "fingerprint": fingerprint,
        "features": list(features),
        "feature_types": [
            {"name": one, "type": plan.kinds[one][0], "nullable": plan.kinds[one][1]} for one in features
        ],
        "fingerprints": dict(fingerprints),
        "labels": maturity.described(labels, label_fingerprints, mature, made, kept=kept),
        "immature": {"rows": int(np.count_nonzero(~complete)), "how": immature} if labels else None,
        "nulls": {one: table.column(one).null_count for one in features},
        "not_finite": not_finite,
        "spine_hash": "",
        "content_hash": "",
        "position": seen if typed.position is None else "per row",
        "time": time,
        "time_range": _range(as_of),
        "rows": len(as_of),
        "events": {source: log.rows(source, seen) for source in sources},
        "created_at": times.isoformat(created_at),
        "git_commit": git_commit(root),
        "environment": environment(),
    }
    of_features = _beside(column_hashes, table.drop_columns(asked.column_names))

    def described() -> dict[str, Any]:
        digest = content_hash_of([*of_rows.result(), *of_features.result()])
        hashes = {"spine_hash": content_hash_of(of_spine.result()), "content_hash": digest}
        return manifest | hashes | {"name": name or f"{plan.service.name}_{digest[:12]}"}

    saved = sets.save(table, described, replace=replace)
    return TrainingSet(saved["name"], saved, table, _kept(given, rows))


def _beside(function: Callable[[pa.Table], list[bytes]], table: pa.Table) -> Future[list[bytes]]:
    """Begin a call in a thread of its own; nobody waits for it who does not ask for its result."""
    thread = ThreadPoolExecutor(1)
    begun = thread.submit(function, table)
    thread.shutdown(wait=False)
    return begun


def _check_marks(marks: Sequence[str], names: Sequence[str]) -> None:
    """Refuse names that the columns which mark immature rows have: DuckDB does not tell upper from lower case."""
    folded = {mark.casefold() for mark in marks}
    taken = sorted(name for name in names if name.casefold() in folded)
    if taken:
        raise SpineError(
            f"Rows whose labels are not mature are kept, and marked in columns that are there already: "
            f"{', '.join(taken)}. Rename those, or leave such rows out (immature='drop')."
        )


def _range(as_of: IntArray) -> list[str] | None:
    return [times.isoformat(int(as_of.min())), times.isoformat(int(as_of.max()))] if len(as_of) else None


def _duration(given: Duration | None, name: str) -> int:
    try:
        return 0 if given is None else times.duration(given)
    except ValueError as error:
        raise RequestError(f"{name}: {error}") from error


def _kept(given: Any, rows: IntArray) -> Any:
    """Return these rows of a pandas spine as it is now, whatever its owner does to it later."""
    pandas = sys.modules.get("pandas")
    if pandas is None or not isinstance(given, pandas.DataFrame):
        return None
    if len(rows) < len(given):
        return given.iloc[rows]
    copies_on_write = int(pandas.__version__.split(".")[0]) >= 3  # noqa: PLR2004 - pandas 3 copies when one side writes
    return given.copy(deep=not copies_on_write)


def position_of(position: int | None, newest: int) -> int:
    """Position of the log asked for; ``None`` is the newest.

    Raises
    ------
    RequestError
        If it is none, or not there yet.
    """
    if position is not None and np.ndim(position):
        raise RequestError(f"position={position!r}: give one position of the log.")
    return _positions(position, newest, Spine(np.zeros(1, np.int64), {}))[0]


def _positions(position: int | Sequence[int] | None, newest: int, typed: Spine) -> tuple[int, Spine]:
    """Position that all rows see, and the spine with one per row where they differ (S10)."""
    if position is None:
        return newest, typed
    each = np.asarray(position)
    if each.dtype.kind not in "iu" or (each < 0).any():
        raise RequestError(f"position={position!r}: give a position of the log, 0 or more, or one per row.")
    each = each.astype(np.int64)
    if each.ndim and len(each) != len(typed):
        raise RequestError(f"position has {len(each)} values for {len(typed)} rows: give one for all, or one per row.")
    highest = int(each.max(initial=0))
    if highest > newest:
        raise RequestError(f"Position {highest} is not there yet: the newest is {newest}.")
    if int(each.min(initial=highest)) == highest:
        return highest, typed
    return highest, replace_fields(typed, position=each)


def _check_readable(lowest: int, sources: Sequence[str], log: EventLog) -> None:
    """Refuse a position before a source's last rebuild, as reading the log at that position would."""
    for source in sources:
        if lowest < log.oldest_position(source):
            log.read(source, columns=[], position=lowest)


def _check_distinct(name: str, others: Iterable[str]) -> None:
    """Refuse a name whose table DuckDB would take for another one: it does not tell upper from lower case."""
    folded = name.casefold()
    if folded in _OWN:
        raise RequestError(f"A training set cannot be named {name!r}: that table is the store's own.")
    same = [one for one in others if one != name and one.casefold() == folded]
    if same:
        raise RequestError(
            f"A training set named {same[0]!r} exists, and DuckDB tells no upper from lower case: choose another name "
            f"than {name!r}, or that very one."
        )


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
