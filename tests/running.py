"""A scenario brought to life: declared as a user would, delivered to a real store, and what the oracle says of it."""

import linecache
import struct
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from oracle import Scope, row_value, value
from pydantic import BaseModel
from strategies import DAY, HOUR, SECOND, VIEWS, Asked, Scenario, joined, middle, rendered

from featurestore import FeatureStore, times
from featurestore.definition import Entity, FeatureService, RowFeature, Source, WindowFeature, feature, on
from featurestore.schema import schema_of
from featurestore.testing.oracle import Delivery, Event, Rules, Value, delivered, visible
from featurestore.values import Kind, from_list

LABELS = {10 * SECOND: "10s", HOUR: "1h", DAY: "1d"}
Sides = Mapping[str, Scenario]
"""Scenarios by the name of their source; one, or two that share a store."""


class Move(BaseModel):
    id: str | None
    customer: str | None
    shop: int | None
    event_time: datetime
    amount: float | None
    price: float
    units: int | None
    big: int | None
    flag: bool | None
    note: str | None
    seen: datetime


MOVES = schema_of(Move).arrow()


class Request(BaseModel):
    asked: float | None
    word: str


ENTITIES = {name: Entity(name, key=key) for name, key in VIEWS.items()}
ROLES: Mapping[str, tuple[str, str | Mapping[str, str]]] = {
    "buyer": ("customer", "buyer"),
    "buyer_store": ("pair", {"customer": "buyer", "shop": "store"}),
}


SPINE: Mapping[str, Kind] = {
    "customer": "str",
    "shop": "int",
    "buyer": "str",
    "store": "int",
    "asked": "float",
    "word": "str",
    "as_of": "datetime",
}


def against_mean(asked: float, price_mean_ever: float) -> float:
    """Give what is asked against the mean price; 0 where one of them is missing."""
    return asked / price_mean_ever if price_mean_ever > 0 and asked == asked else 0.0  # noqa: PLR0124  # NaN differs


def sentence(word: str, note_last_ever: str | None, flag_last_ever: bool | None) -> str:  # noqa: FBT001  # a feature
    """Give a text with whatever there is."""
    return f"{word} {note_last_ever!r} {flag_last_ever}"


def half_units(units_last_ever: int | None) -> int | None:
    """Give half the last units."""
    return None if units_last_ever is None else units_last_ever // 2


ROWS: Sequence[tuple[Any, tuple[str, ...]]] = (
    (against_mean, ("float", "float")),
    (sentence, ("str", "str", "bool")),
    (half_units, ("int",)),
)


# Declaring


def source_of(name: str, scenario: Scenario, **where: Any) -> Source:
    rules = scenario.rules
    delay = None if rules.known_at else f"{rules.delay}us"
    facts: dict[str, Any] = {"known_at": rules.known_at, "delay": delay, "key": rules.key, "inclusive": rules.inclusive}
    return Source(name, schema=Move, event_time=rules.event_time, **facts, **where)


def window_feature(asked: Asked, source: Source) -> WindowFeature:
    """Declare the function that a user would have written."""
    text = f"def {asked.name}(tx):\n    return {rendered(asked.node)}\n"
    file = f"<{asked.name}>"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    namespace: dict[str, Any] = {"datetime": datetime, "UTC": UTC, "middle": middle, "joined": joined}
    exec(compile(text, file, "exec"), namespace)  # noqa: S102  # the function is made of the scenario's own tree
    windows: dict[str, Any] = {}
    if asked.windows != (None,):
        windows = {"windows": [LABELS[window] for window in asked.windows if window]}
    declare = feature(source, by=ENTITIES[asked.view], offset=f"{asked.offset}us", **windows)
    return declare(namespace[asked.name])


def service_of(sides: Sides, sources: Mapping[str, Source]) -> FeatureService:
    """All features of each scenario, some of them again in roles, then the row features."""
    features: list[Any] = []
    for name, scenario in sides.items():
        plain = {asked.name: window_feature(asked, sources[name]) for asked in scenario.features}
        features += plain.values()
        for view, columns in ROLES.values():
            played = [plain[asked.name] for asked in in_role(scenario, view)]
            features += on(columns, played) if played else ()
    return FeatureService(
        "all", features=[*features, *(RowFeature(one) for one, _ in row_features(sides))], request=Request
    )


def in_role(scenario: Scenario, view: str) -> list[Asked]:
    return [asked for asked in scenario.features if asked.view == view][:6]


def row_features(sides: Sides) -> list[tuple[Any, tuple[str, ...]]]:
    """Row features whose inputs there are."""
    there = {asked.name for scenario in sides.values() for asked in scenario.features} | set(SPINE)
    return [(function, kinds) for function, kinds in ROWS if there.issuperset(_inputs(function))]


def _inputs(function: Any) -> tuple[str, ...]:
    names: tuple[str, ...] = function.__code__.co_varnames
    return names[: function.__code__.co_argcount]


# What the oracle says


Logs = Mapping[str, Sequence[Event]]


def logs_of(sides: Sides) -> Logs:
    """Logs by source."""
    return {name: delivered(scenario.deliveries, scenario.rules) for name, scenario in sides.items()}


def expected(sides: Sides, logs: Logs, row: Mapping[str, Value], steps: Mapping[str, int]) -> list[Value]:
    """Values of the service's outputs for one spine row, in declared order, after so many deliveries of each source."""
    named: dict[str, Value] = {}
    values: list[Value] = []
    for name, scenario in sides.items():
        sight = Sight(scenario.rules, logs[name], row, steps[name])
        for asked in scenario.features:
            found = sight.over(asked, VIEWS[asked.view])
            named[asked.name] = found[0]
            values += found
        for view, columns in ROLES.values():
            played = (columns,) if isinstance(columns, str) else tuple(columns[key] for key in VIEWS[view])
            for asked in in_role(scenario, view):
                values += sight.over(asked, played)
    for function, kinds in row_features(sides):
        given_values = [named[name] if name in named else row[name] for name in _inputs(function)]
        arguments = zip(kinds, given_values, strict=True)
        values.append(row_value(function, dict(zip(_inputs(function), arguments, strict=True))))
    return values


class Sight:
    """What one spine row sees; the events of a view, window and offset are found once."""

    def __init__(self, rules: Rules, log: Sequence[Event], row: Mapping[str, Value], position: int | None) -> None:
        self.rules = rules
        self.log = log
        self.row = row
        self.position = position
        self.as_of = int(row["as_of"] or 0)
        self.found: dict[tuple[Any, ...], list[Event]] = {}

    def over(self, asked: Asked, columns: tuple[str, ...]) -> list[Value]:
        """Values of a feature, one per window, with the key in these columns of the row."""
        scopes = [
            Scope(self._events(asked, columns, window), self.rules, self.as_of, window, asked.offset)
            for window in asked.windows
        ]
        return [value(asked.node, scope) for scope in scopes]

    def _events(self, asked: Asked, columns: tuple[str, ...], window: int | None) -> list[Event]:
        what = (asked.view, columns, window, asked.offset)
        if what not in self.found:
            entity = {key: self.row[column] for key, column in zip(VIEWS[asked.view], columns, strict=True)}
            self.found[what] = visible(
                self.log,
                self.rules,
                entity=entity,
                as_of=self.as_of,
                position=self.position,
                window=window,
                offset=asked.offset,
            )
        return self.found[what]


def bits(entry: Any) -> tuple[str, Any]:
    """Type and content: floats by their bytes, maps in order, datetimes as the oracle's microseconds."""
    if isinstance(entry, float):
        return "float", struct.pack("<d", entry)
    if isinstance(entry, datetime):
        return "int", times.to_micros(entry)
    if isinstance(entry, dict):
        return "dict", [(key, bits(one)) for key, one in entry.items()]
    return type(entry).__name__, entry


def compare(outputs: Sequence[str], actual: Sequence[Any], wanted: Sequence[Value], where: str) -> int:
    """Hold one row's values to the oracle's; give how many were compared."""
    assert len(outputs) == len(actual) == len(wanted)
    for name, one, other in zip(outputs, actual, wanted, strict=True):
        assert bits(one) == bits(other), f"{name} is {one!r}, the oracle says {other!r}: {where}"
    return len(wanted)


# The store


class Running:
    """A store in a folder that is fed the scenarios' deliveries, with the clock at each one's instant."""

    def __init__(self, sides: Sides, folder: Path, retain: str | None = None) -> None:
        self.folder = folder
        self.retain = retain
        self.now = 0
        self.steps = [(0, dict.fromkeys(sides, 0))]  # position of the store, and deliveries of each source up to there
        self.stamp = 0  # of the newest arrival
        self.compared = 0
        self.loaded: set[str] = set()
        for name in sides:
            (folder / name).mkdir()
        self.declare(sides)

    def declare(self, sides: Sides) -> None:
        """Open the store with the scenarios' declarations; what is there already stays."""
        self.sides = sides
        self.logs = logs_of(sides)
        sources = {name: source_of(name, scenario, path=f"{name}/*.parquet") for name, scenario in sides.items()}
        self.service = service_of(sides, sources)
        self.store = FeatureStore(
            [self.service], home=self.folder / "home", clock=lambda: self.now, root=self.folder, retain=self.retain
        )

    def deliver(self, deliveries: Mapping[str, Delivery]) -> int:
        """Bulk loads of several sources are one materialization; give the store's position after all."""
        before, counts = self.steps[-1]
        self.now = max(one.at for one in deliveries.values())
        position = before
        bulk = {name for name, one in deliveries.items() if one.kind == "bulk"}
        for name, one in deliveries.items():
            rows = [_moments(row) for row in one.rows]
            if name in bulk:
                pq.write_table(pa.Table.from_pylist(rows, MOVES), self.folder / name / f"{counts[name]}.parquet")
        if bulk:
            position = self.store.materialize().position
        for name, one in deliveries.items():
            if name not in bulk:
                position = self.store.ingest(name, [_moments(row) for row in one.rows]).position
        if position > before and self.loaded >= bulk:  # else a part of it is history
            self.stamp = max(self.stamp, self.now)
        self.loaded |= bulk
        self.steps.append((position, {name: count + (name in deliveries) for name, count in counts.items()}))
        return position

    def trained(self, rows: Sequence[Mapping[str, Any]], positions: list[int] | None = None) -> list[list[Any]]:
        """Feature values of a training set's rows; the spine itself must come out untouched."""
        columns = {name: from_list(kind, [row[name] for row in rows]).to_arrow() for name, kind in SPINE.items()}
        spine = pa.table(columns).rename_columns({"as_of": "at"})
        table = self.store.training_set("all", spine, time="at", position=positions).to_arrow()
        assert table.select(spine.column_names).to_pylist() == spine.to_pylist()
        return [
            list(row)
            for row in zip(
                *(table[name].to_pylist(maps_as_pydicts="strict") for name in self.service.outputs), strict=True
            )
        ]

    def looked_up(self, rows: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
        """Feature values of one batch lookup, each row as of its instant."""
        instants = [row["as_of"] for row in rows]
        vectors = self.store.lookup_many("all", [request(row) for row in rows], as_of=instants)
        return [list(vector.to_dict().values()) for vector in vectors]

    def agree(self, row: Mapping[str, Value], actual: Sequence[Any], step: int = -1) -> None:
        """Hold one row's values to the oracle's, by default with all that was delivered."""
        wanted = expected(self.sides, self.logs, row, self.steps[step][1])
        self.compared += compare(self.service.outputs, actual, wanted, f"{row} at {self.steps[step]}")


def _moments(row: Event) -> dict[str, Any]:
    return {**row, **{name: times.to_datetime(int(row[name] or 0)) for name in ("event_time", "seen")}}


def request(row: Mapping[str, Value]) -> dict[str, Value]:
    """Keys and request fields of a spine row."""
    return {name: entry for name, entry in row.items() if name != "as_of"}


@contextmanager
def running(sides: Sides, retain: str | None = None) -> Iterator[Running]:
    """Give a new store in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        run = Running(sides, Path(folder), retain)
        try:
            yield run
        finally:
            run.store.close()
