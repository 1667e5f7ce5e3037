"""What a store is tried with: events in several deliveries, and rows that ask, drawn together."""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from featurestore import times
from featurestore.definition import AS_OF, Source
from featurestore.errors import RequestError, suggest
from featurestore.schema import Schema
from featurestore.testing.answers import micros
from featurestore.testing.drawing import Columns, Row, asked, events, few, instants, values
from featurestore.testing.feeding import Fed
from featurestore.testing.oracle import Delivery, plain

LOAD, INGEST = "load", "ingest"
_NOON = times.to_micros("2026-01-01T12:00")
_ANCHORS = (_NOON, _NOON + 86_400_000_000, _NOON - 681 * 86_400_000_000)  # a leap day before
_ORDERS = ("LILI", "LLII", "ILIL", "LIIL")
_AT_LEAST, _EVENTS, _ROWS, _COPIES = (1, 4, 8, 12), 14, 6, 2


@dataclass(frozen=True)
class Step:
    """Rows by source that reach the store together, ``at`` microseconds UTC."""

    kind: str
    at: int
    rows: Mapping[str, Sequence[Row]]


@dataclass(frozen=True)
class Trial:
    """Deliveries, and rows that ask ``as_of`` an instant (microseconds UTC)."""

    steps: Sequence[Step]
    spine: Sequence[Row]

    def __repr__(self) -> str:
        """Tell it in short: a failure tells the rest."""
        told = [f"{step.kind} of {sum(map(len, step.rows.values()))} events" for step in self.steps]
        return f"Trial({', '.join(told)}; {len(self.spine)} rows)"

    @property
    def size(self) -> int:
        """How much there is to read."""
        return len(repr((self.steps, self.spine)))

    def deliveries(self, source: Source) -> list[Delivery]:
        """Deliveries of one source, as the oracle reads them."""
        kinds = {LOAD: "bulk", INGEST: "ingest"}
        return [
            Delivery(
                kinds[step.kind],
                step.at,
                tuple(_in_micros(as_read(row, source.fields)) for row in step.rows[source.name]),
            )
            for step in self.steps
        ]


def trials(fed: Fed, columns: Columns) -> SearchStrategy[Trial]:
    """Draw trials; ``columns`` are strategies by ``source.column``, or ``service.field``."""
    known = [f"{name}.{column}" for name, source in fed.sources.items() for column in source.fields.names]
    known += [f"{fed.plan.service.name}.{column.name}" for column in fed.plan.columns]
    for name in columns:
        if name not in known:
            raise RequestError(
                f"columns= has {name!r}, which is no source.column or service.field.{suggest(name, known)}"
            )
    cells = {name: {**_cells(fed, source), **_of(columns, name)} for name, source in fed.sources.items()}
    return _trials(fed, cells, asked(fed.plan, _of(columns, fed.plan.service.name)))


@st.composite
def _trials(draw: DrawFn, fed: Fed, cells: Mapping[str, Columns], asking: SearchStrategy[Row]) -> Trial:
    anchors = draw(st.lists(st.sampled_from(_ANCHORS), min_size=1, max_size=2, unique=True))
    near = instants(anchors, fed.lengths)
    happening = st.sampled_from(draw(st.lists(near, min_size=2, max_size=8, unique=True)))
    order = draw(st.sampled_from(_ORDERS))
    arrivals = sorted(times.to_micros(one) for one in draw(st.lists(near, min_size=len(order), max_size=len(order))))
    batches: list[dict[str, list[Row]]] = [{name: [] for name in fed.sources} for _ in order]
    for name, source in fed.sources.items():
        own = {**_instants(source, happening), **cells[name]}
        least = draw(st.sampled_from(_AT_LEAST))
        rows = draw(events(source, around=anchors, min_size=least, max_size=_EVENTS, columns=own))
        for row, places in draw(_placed(rows, source, order)):
            for copy, place in enumerate(places):
                later = {source.known_at: draw(own[source.known_at])} if copy and source.known_at else {}
                batches[place][name].append({**row, **later})
    kinds = {"L": LOAD, "I": INGEST}
    steps = [Step(kinds[kind], at, rows) for kind, at, rows in zip(order, arrivals, batches, strict=True)]
    spine = draw(st.lists(st.tuples(asking, instants(anchors, ())), min_size=1, max_size=_ROWS))
    return Trial(tuple(steps), tuple({**one, AS_OF: times.to_micros(at)} for one, at in spine))


def _of(columns: Columns, owner: str) -> dict[str, SearchStrategy[Any]]:
    pairs = [(*name.partition("."), one) for name, one in columns.items()]
    return {column: one for first, _, column, one in pairs if first == owner}


def _cells(fed: Fed, source: Source) -> Columns:
    """Strategies of a source's columns, but of instants, and of its key, which :func:`events` makes."""
    schema = source.fields
    keys = {name for view in fed.plan.views if view.source.name == source.name for name in view.key_columns}
    rest = {field.name: field.kind for field in schema.fields if field.name not in {source.key, *keys}}
    made = {name: few(schema, name) for name in keys if name != source.key}
    named = {kind: fed.named(source.name, kind) for kind in set(rest.values())}
    return made | {
        name: values(schema, name, st.nothing(), named[kind]) for name, kind in rest.items() if kind != "datetime"
    }


def _instants(source: Source, happening: SearchStrategy[Any]) -> Columns:
    fields = [field for field in source.fields.fields if field.kind == "datetime"]
    return {field.name: values(source.fields, field.name, happening) for field in fields}


def _placed(rows: Sequence[Row], source: Source, order: str) -> SearchStrategy[list[tuple[Row, list[int]]]]:
    """Deliveries that each row comes with: the first of all is in the first load, one with a key may come again."""
    first = order.index("L")
    places = [place for place, kind in enumerate(order) if kind == "I" or not source.fed_by_ingest]
    usual = [] if source.fed_by_ingest else [first] * len(places)
    one = st.lists(st.sampled_from([*usual, *places]), min_size=1, max_size=1)
    several = st.lists(st.sampled_from([*usual, *places]), min_size=1, max_size=1 + _COPIES)
    fixed = not source.fed_by_ingest
    return st.tuples(
        *(
            st.tuples(
                st.just(row), st.just([first]) if fixed and number == 0 else several if _keyed(row, source) else one
            )
            for number, row in enumerate(rows)
        )
    ).map(list)


def _keyed(row: Row, source: Source) -> bool:
    return source.key is not None and row[source.key] is not None


def as_read(row: Row, schema: Schema | None) -> Row:
    """A row as its schema reads it, NaN and -0.0 as they are taken (S7); what is no field of it stays."""
    if schema is None:
        return dict(row)
    read = schema.model.model_validate({name: row[name] for name in schema.names})
    return {**row, **{name: plain(_held(getattr(read, name))) for name in schema.names}}


def _held(value: Any) -> Any:
    return value.value if isinstance(value, enum.Enum) else value


def _in_micros(row: Row) -> Row:
    return {name: micros(value) for name, value in row.items()}
