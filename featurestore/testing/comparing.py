"""A store that is filled as a trial says, asked in all ways, and compared with what the rules say, bit for bit."""

import inspect
import struct
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from featurestore import times
from featurestore.definition import AS_OF, Source
from featurestore.errors import RequestError, suggest
from featurestore.plan import WindowStep
from featurestore.store import FeatureStore
from featurestore.testing.answers import Made, answered, micros, rules_of
from featurestore.testing.drawing import Row
from featurestore.testing.feeding import Fed
from featurestore.testing.oracle import Event, delivered, plain
from featurestore.testing.telling import told
from featurestore.testing.trials import LOAD, Step, Trial, as_read
from featurestore.values import Kind, from_list

Expectation = Callable[..., Any]
"""A function of a window's events, and of ``as_of`` if it takes two parameters."""
_ABROAD = timezone(timedelta(hours=5, minutes=30))
RULES, EXPECTED = "by the rules, for this row alone", "by what is expected"


@dataclass(frozen=True)
class Proof:
    """A fed service, and what its author expects of some outputs."""

    fed: Fed
    expected: Mapping[str, Expectation]

    def __post_init__(self) -> None:
        steps = [step for step in self.fed.plan.steps if isinstance(step, WindowStep)]
        known = [output for step in steps for output in step.outputs]
        for name in self.expected:
            if name not in known:
                service = self.fed.plan.service.name
                raise RequestError(
                    f"expected= has {name!r}, which no window feature of {service!r} gives.{suggest(name, known)}"
                )

    def hold(self, trial: Trial) -> int:
        """Compare all that a store answers in a trial; give how many values.

        Raises
        ------
        AssertionError
            At the first value that differs.
        """
        with _running(self, trial) as run:
            for number, step in enumerate(trial.steps, start=1):
                run.deliver(step)
                if run.loaded:
                    run.ask_now(trial.spine[number % len(trial.spine)])
            run.now = 1 + max(run.now, *(row[AS_OF] for row in trial.spine))
            run.look_up()
            run.train()
            run.look_up()  # what was ingested has moved into the log
            return run.compared


class _Run:
    """A store in a folder, fed a trial's deliveries, with the clock at each one's instant."""

    def __init__(self, proof: Proof, trial: Trial, folder: Path, store: FeatureStore) -> None:
        self.proof, self.trial, self.folder, self.store = proof, trial, folder, store
        self.plan = proof.fed.plan
        self.service = self.plan.service.name
        self.logs = {name: delivered(trial.deliveries(one), rules_of(one)) for name, one in proof.fed.sources.items()}
        self.now = 0
        self.positions = [0]  # of the store, after so many deliveries
        self.loaded = False
        self.compared = 0
        self._made: dict[tuple[Any, ...], Mapping[str, Made]] = {}

    def deliver(self, step: Step) -> None:
        """Write files and load them, or ingest; note the position."""
        self.now = step.at
        position = self.positions[-1]
        given = {name: rows for name, rows in step.rows.items() if rows}
        if step.kind == LOAD and given:
            for name, rows in given.items():
                folder = self.folder / name
                folder.mkdir(exist_ok=True)
                table = pa.Table.from_pylist(list(rows), self.proof.fed.sources[name].fields.arrow())
                pq.write_table(table, folder / f"{len(self.positions)}.parquet")
            position, self.loaded = self.store.materialize().position, True
        elif step.kind != LOAD:
            for name, rows in given.items():
                position = self.store.ingest(name, list(rows)).position
        self.positions.append(position)

    def ask_now(self, row: Row) -> None:
        """Look a row up as of now: what was acknowledged is seen (S10)."""
        vector = self.store.lookup(self.service, _request(row))
        asked = {**row, AS_OF: times.to_micros(vector.as_of)}
        self.agree("lookup, now", asked, vector.to_dict(), len(self.positions) - 1)

    def look_up(self) -> None:
        """Look the rows up as of their instants, together and one by one."""
        spine, newest = self.trial.spine, len(self.positions) - 1
        rows, instants = [_request(row) for row in spine], [row[AS_OF] for row in spine]
        for row, vector in zip(spine, self.store.lookup_many(self.service, rows, as_of=instants), strict=True):
            self.agree(f"lookup_many of {len(rows)} rows", row, vector.to_dict(), newest)
        for row, asked in zip(spine, rows, strict=True):
            vector = self.store.lookup(self.service, asked, as_of=times.to_datetime(row[AS_OF]).astimezone(_ABROAD))
            self.agree("lookup, as of", row, vector.to_dict(), newest)

    def train(self) -> None:
        """Build a training set as of all that was delivered, and one whose rows see a position each."""
        spine = self.trial.spine
        newest = len(self.positions) - 1
        each = [number % len(self.positions) for number in range(len(spine))]
        for steps, positions in (([newest] * len(spine), None), (each, [self.positions[step] for step in each])):
            for row, values, step in zip(spine, self.trained(positions), steps, strict=True):
                self.agree(f"training set of {len(spine)} rows", row, values, step)

    def trained(self, positions: Sequence[int] | None) -> list[dict[str, Any]]:
        """Feature values of a training set's rows; the spine comes out as it went in (S9)."""
        rows = self.trial.spine
        kinds: dict[str, Kind] = {one.name: one.kind for one in self.plan.columns}
        columns = {name: from_list(kind, [row[name] for row in rows]).to_arrow() for name, kind in kinds.items()}
        spine = pa.table({**columns, AS_OF: from_list("datetime", [row[AS_OF] for row in rows]).to_arrow()})
        table = self.store.training_set(self.service, spine, time=AS_OF, position=positions).to_arrow()
        if table.select(spine.column_names).to_pylist() != spine.to_pylist():
            raise AssertionError(f"The training set has not the rows that went in: {spine.to_pylist()}")
        return list(table.select(list(self.plan.outputs)).to_pylist(maps_as_pydicts="strict"))

    def agree(self, way: str, row: Row, values: Mapping[str, Any], step: int) -> None:
        """Hold one row's values to the rules, and to what is expected; inputs before what is made of them."""
        for output, made in self._answered(row, step).items():
            if output in values:
                self.compared += 1
                self._compare(row, output, {way: values[output], RULES: made.value}, made)
                if output in self.proof.expected:
                    self._compare(row, output, {way: values[output], EXPECTED: self._expected(output, made)}, made)

    def _compare(self, row: Row, output: str, values: Mapping[str, Any], made: Made) -> None:
        given, wanted = values.values()
        if _bits(given) != _bits(wanted):
            raise AssertionError(told(self.plan, output, values, row, made))

    def _answered(self, row: Row, step: int) -> Mapping[str, Made]:
        what = (*row.items(), step)
        if what not in self._made:
            known = as_read(_request(row), self.plan.service.fields)
            self._made[what] = answered(self.plan, self.logs, known, row[AS_OF], step)
        return self._made[what]

    def _expected(self, output: str, made: Made) -> Any:
        """What the author's plain Python says of the window's events."""
        assert made.look is not None  # noqa: S101 - only outputs of window features are expected
        function = self.proof.expected[output]
        events = [_in_words(event, made.look.source) for event in made.events]
        rest = (times.to_datetime(made.look.as_of),) if len(inspect.signature(function).parameters) > 1 else ()
        found = function(events, *rest)
        is_float = self.plan.kinds[output][0] == "float" and isinstance(found, int)
        return plain(float(found) if is_float else found)


@contextmanager
def _running(proof: Proof, trial: Trial) -> Iterator[_Run]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with FeatureStore(
            list(proof.fed.declarations), home=folder / "home", root=folder, clock=lambda: run.now
        ) as store:
            run = _Run(proof, trial, folder, store)
            yield run


def _request(row: Row) -> Row:
    """Keys and request fields of a row."""
    return {name: value for name, value in row.items() if name != AS_OF}


def _in_words(event: Event, source: Source) -> Row:
    """An event's columns with datetimes in UTC."""
    instants = {field.name for field in source.fields.fields if field.kind == "datetime"}
    return {
        name: times.to_datetime(event[name]) if name in instants and event[name] is not None else event[name]
        for name in source.fields.names
    }


def _bits(value: Any) -> tuple[str, Any]:
    """Type and content: floats by their bytes, maps in order, datetimes as microseconds."""
    if isinstance(value, float):
        return "float", struct.pack("<d", value)
    if isinstance(value, dict):
        return "map", [(key, _bits(one)) for key, one in value.items()]
    return type(micros(value)).__name__, micros(value)
