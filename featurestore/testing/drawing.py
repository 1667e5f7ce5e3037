"""Hypothesis strategies of what a store is given: events of a source, and rows that ask.

The hard cases are the rule: few entities, event times that tie or lie a microsecond beside an instant asked for or a
window's edge, events known late, nulls, and numbers that no double adds up as they stand.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy
from pydantic import BaseModel, ValidationError

from featurestore import times
from featurestore.definition import FeatureService, Source, SourceBy
from featurestore.errors import RequestError, suggest
from featurestore.plan import ServicePlan, compile_service, outputs_of
from featurestore.registry import Registry
from featurestore.schema import Schema, schema_of
from featurestore.specimens import distinct, fits, pattern_of, pool_of
from featurestore.testing.windows import AS_OF
from featurestore.times import Duration

Row = dict[str, Any]
Columns = Mapping[str, SearchStrategy[Any]]
_NONE: Columns = {}
_MOST = 20
_WIDE = 1_000
_HARD: Mapping[str, tuple[Any, ...]] = {
    "bool": (),
    "int": (2**53 + 1,),
    "float": (0.1, 0.2, 0.3, 19.99, 1e16, -1e16, 1 + 2**-52, 5e-324, -0.0),
    "str": ("", "A", "ä", "日本", " a"),
    "datetime": (),
}


def events(
    given: Source | SourceBy | type[BaseModel],
    *,
    around: Sequence[Any] = (AS_OF,),
    edges: Sequence[Duration] = ("1h",),
    min_size: int = 0,
    max_size: int = _MOST,
    columns: Columns = _NONE,
) -> SearchStrategy[list[Row]]:
    """Lists of events, each a dict that :meth:`~featurestore.FeatureStore.ingest` takes.

    Parameters
    ----------
    given
        A source, a view such as ``transactions.by(customer)`` (then few keys come back again and again), or a schema.
    around
        Instants that will be asked as of; naive is UTC.
    edges
        Lengths of windows, delays and offsets: events lie at each instant less each length, and a microsecond beside.
    min_size, max_size
        How many events.
    columns
        Strategies for columns, in place of what the schema's type and constraints tell.

    Raises
    ------
    RequestError
        If there is no such column, or of one no value can be made up from its constraints.

    Examples
    --------
    >>> from datetime import datetime
    >>> from hypothesis import given
    >>> from pydantic import BaseModel, Field
    >>> from featurestore.testing import events, window
    >>> class Payment(BaseModel):
    ...     event_time: datetime
    ...     amount: float | None = Field(ge=0)
    >>> @given(events(Payment))
    ... def no_mean_is_negative(rows):
    ...     amounts = [row["amount"] for row in rows]
    ...     assert not (window(Payment, amount=amounts).amount.mean().item() or 0) < 0
    >>> no_mean_is_negative()
    """
    view = given if isinstance(given, SourceBy) else None
    source = given.source if isinstance(given, SourceBy) else given
    schema = source.fields if isinstance(source, Source) else schema_of(source)
    _known(columns, schema.names, schema.model.__name__)
    near = instants(around, edges)
    cells = {field.name: values(schema, field.name, near) for field in schema.fields if field.name not in columns}
    if view is not None:
        cells |= {name: few(schema, name) for name in view.key_columns if name not in columns}
    whole = st.fixed_dictionaries({name: {**cells, **columns}[name] for name in schema.names}).filter(_valid(schema))
    lists = st.lists(whole, min_size=min_size, max_size=max_size)
    key = source.key if isinstance(source, Source) else None
    return lists if key is None or key in columns else _identified(lists, schema, key, max_size)


def requests(
    service: FeatureService,
    *,
    definitions: Any = None,
    time: str | None = None,
    around: Sequence[Any] = (AS_OF,),
    columns: Columns = _NONE,
) -> SearchStrategy[Row]:
    """Rows that ask for a service: entity keys, of which few, some null or never seen, and request fields.

    Parameters
    ----------
    service
        The feature service.
    definitions
        Where features are declared that others need and the service does not list.
    time
        Adds a column of instants of this name: then it is a row of a spine.
    around
        Those instants, each asked for itself and a microsecond beside; naive is UTC.
    columns
        Strategies for columns, in place of what types and constraints tell.

    Raises
    ------
    RequestError
        If there is no such column, or of one no value can be made up from its constraints.
    """
    outputs = outputs_of(service.features) if definitions is None else Registry.of(definitions).outputs
    rows = asked(compile_service(service, outputs), columns)
    if time is None:
        return rows
    return st.tuples(rows, instants(around, ())).map(lambda pair: {**pair[0], time: pair[1]})


def asked(plan: ServicePlan, columns: Columns) -> SearchStrategy[Row]:
    """Rows of a resolved service; ``columns`` are drawn as given."""
    fields = plan.service.fields
    _known(columns, [one.name for one in plan.columns], plan.service.name)
    names = () if fields is None else fields.names
    cells = {name: values(fields, name, instants((AS_OF,), ())) for name in names if fields is not None}
    for keyed in plan.keyed:
        for column, name in zip(keyed.view.key_columns, keyed.columns, strict=True):
            cells[name] = few(keyed.view.source.fields, column, strangers=1)
    rows = st.fixed_dictionaries({**cells, **columns})
    return rows if fields is None else rows.filter(_valid(fields))


def instants(around: Sequence[Any], edges: Sequence[Duration]) -> SearchStrategy[Any]:
    """Aware datetimes: each of ``around``, less each of ``edges``, and a microsecond beside each of these."""
    lengths = [0, *(times.duration(edge) for edge in edges)]
    near = {times.to_micros(at) - length + step for at in around for length in lengths for step in (0, -1, 1)}
    return st.sampled_from([times.to_datetime(one) for one in sorted(near, reverse=True)])


def values(schema: Schema, name: str, near: SearchStrategy[Any], also: Sequence[Any] = ()) -> SearchStrategy[Any]:
    """Values of a column: by its type and constraints, of ``also`` what fits, datetimes ``near`` what is asked."""
    field = schema[name]
    if field.kind == "datetime":
        return near | st.none() if field.nullable else near
    pool = [*pool_of(schema, name, also), *(one for one in _HARD[field.kind] if fits(schema, name, one))]
    pattern = pattern_of(schema, name)
    if field.kind in ("int", "float"):
        pool.sort(key=abs)  # an example is made smaller towards the first
    nothing = [None] if field.nullable else []
    made = [st.sampled_from([*pool, *nothing])] if pool or nothing else []
    made += [_between(schema, name, pool)] if pool and field.kind in ("int", "float") else []
    made += [st.from_regex(pattern).filter(functools.partial(fits, schema, name))] if pattern else []
    if not made:
        raise RequestError(
            f"No value of {schema.model.__name__}.{name} can be made up from its constraints: give a strategy for it."
        )
    return st.one_of(made)


def few(schema: Schema, name: str, *, strangers: int = 0) -> SearchStrategy[Any]:
    """Mostly one of two values of a column, as entity keys are; rarely of ``strangers`` more, rarely null."""
    known = sorted(pool_of(schema, name), key=lambda one: one == "")[: 2 + strangers]
    if not known:
        raise RequestError(
            f"No key {schema.model.__name__}.{name} can be made up from its constraints: give a strategy for it."
        )
    return st.sampled_from([*known[:2] * 4, *known[2:], *([None] if schema[name].nullable or strangers else [])])


def _between(schema: Schema, name: str, pool: Sequence[Any]) -> SearchStrategy[Any]:
    """Numbers between those that are known to fit, if whatever lies between them does."""
    low, high = max(min(pool), -_WIDE), min(max(pool), _WIDE)
    whole = schema[name].kind == "int"
    some = [low + (high - low) * part for part in (0.123, 0.45, 0.78)]
    if low >= high or not all(fits(schema, name, round(one) if whole else one) for one in some):
        return st.sampled_from(pool)
    return st.integers(int(low), int(high)) if whole else st.floats(float(low), float(high))


@st.composite
def _identified(draw: DrawFn, lists: SearchStrategy[list[Row]], schema: Schema, key: str, most: int) -> list[Row]:
    """Rows under keys of their own, some without one where the schema lets them."""
    rows = draw(lists)
    keys = distinct(schema, key, most)
    if keys is None:
        keys = draw(st.lists(values(schema, key, st.nothing()), min_size=most, max_size=most, unique=True))
    anonymous = st.integers(0, 9).map(lambda one: one == 9) if schema[key].nullable else st.just(value=False)  # noqa: PLR2004 - one in ten
    return [{**row, key: None if draw(anonymous) else one} for row, one in zip(rows, keys, strict=False)]


def _valid(schema: Schema) -> Callable[[Row], bool]:
    """Whether validators of the whole model take a row."""

    def valid(row: Row) -> bool:
        try:
            schema.model.model_validate({name: row[name] for name in schema.names})
        except ValidationError:
            return False
        return True

    return valid


def _known(columns: Mapping[str, Any], names: Sequence[str], where: str) -> None:
    for name in columns:
        if name not in names:
            raise RequestError(f"{where} has no column {name!r}.{suggest(name, names)}")
