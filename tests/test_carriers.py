"""One table of what may carry a value, held at every door that values come in by."""

import math
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pydantic import BaseModel, create_model
from starlette.exceptions import HTTPException

from featurestore import Entity, FeatureService, Source, carriers, feature, spine
from featurestore.column import Column
from featurestore.errors import FeatureStoreError, InvalidRequest, InvalidRows
from featurestore.plan import ServicePlan, compile_service, outputs_of
from featurestore.schema import schema_of
from featurestore.server.shapes import event_of, request_of
from featurestore.validation import check, check_rows, invalid_rows
from featurestore.values import FEW
from featurestore.window import Window

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
MIDNIGHT = datetime(2026, 1, 31, tzinfo=UTC)
BERLIN = timezone(timedelta(hours=1))
READ: list[tuple[Any, Any, Any]] = [
    (bool, True, True),
    (bool, 1, True),
    (bool, 0.0, False),
    (bool, np.bool_(True), True),
    (int, 7, 7),
    (int, 7.0, 7),
    (int, -0.0, 0),
    (int, Decimal("7.0"), 7),
    (int, np.uint8(7), 7),
    (int, 2**63 - 1, 2**63 - 1),
    (int, -(2.0**63), -(2**63)),
    (float, 2.5, 2.5),
    (float, 7, 7.0),
    (float, Decimal("0.1"), 0.1),
    (float, np.float32(0.5), 0.5),
    (str, "7", "7"),
    (str, "", ""),
    (str, np.str_("a"), "a"),
    (datetime, NOON, NOON),
    (datetime, NOON.replace(tzinfo=None), NOON),
    (datetime, NOON.astimezone(BERLIN), NOON),
    (datetime, date(2026, 1, 31), MIDNIGHT),
    (datetime, pd.Timestamp("2026-01-31T12:00:00.000000999"), NOON),
    (datetime, np.datetime64("2026-01-31T12:00:00.000000999"), NOON),
    (datetime, "2026-01-31", MIDNIGHT),
    (datetime, "2026-01-31 12:00", NOON),
    (datetime, " 2026-01-31t12:00:00z", NOON),
    (datetime, "2026-01-31T13:00:00.0000009+01:00", NOON),
]
NULL: list[tuple[Any, Any]] = [
    *((kind, None) for kind in (bool, int, float, str, datetime)),
    *((kind, math.nan) for kind in (bool, int, float)),
    (str, pd.NA),
    (float, np.float32("nan")),
    (datetime, pd.NaT),
    (datetime, np.datetime64("NaT")),
]
REFUSED: list[tuple[Any, Any]] = [
    *((bool, given) for given in ("yes", "true", "1", 2, 0.5, b"1", NOON)),
    *((int, given) for given in ("7", True, 7.5, Decimal("7.5"), 2**63, 2.0**63, b"7", NOON)),
    *((float, given) for given in ("2.5", False, 2**53 + 1, b"2.5", NOON)),
    *((str, given) for given in (7, 7.5, True, b"a", NOON)),
    *((datetime, given) for given in (1769860800, 1769860800.0, True, "1769860800", "1769860800000")),
    *((datetime, given) for given in ("noon", "20260131", "2026-02-30", "2026-01-31T13+01", b"2026-01-31")),
]


def model(kind: Any, *, required: bool = False) -> type[BaseModel]:
    return create_model("Row", x=(kind if required else kind | None, ...))


def plan(key: Any, request: type[BaseModel] | None = None) -> ServicePlan:
    """A service whose entity's key ``who`` is of a kind."""
    events = create_model("Event", who=(key | None, ...), at=(datetime, ...))

    @feature(Source("events", schema=events, event_time="at"), by=Entity("person", key="who"))
    def number(tx: Window) -> Column:
        return tx.count()

    service = FeatureService("people", features=[number], request=request)
    return compile_service(service, outputs_of(service.features))


def array(given: Any) -> pa.Array:
    """A column of one value in the type that Arrow finds for it; NaN stays NaN."""
    if given is pd.NA or isinstance(given, (type(pd.NaT), np.datetime64, pd.Timestamp)):
        return pa.array(pd.Series([given]), from_pandas=True)
    return pa.array([given], pa.uint64() if type(given) is int and given == 2**63 else None)


def _rows(asked: ServicePlan, row: dict[str, Any], name: str) -> Any:
    return spine.from_rows(asked, [row], np.zeros(1, np.int64)).columns[name].to_list()[0]


def _table(asked: ServicePlan, table: pa.Table, name: str) -> Any:
    return spine.from_table(asked, table, np.zeros(1, np.int64)).columns[name].to_list()[0]


def key_of_a_row(kind: Any, given: Any) -> Any:
    return _rows(plan(kind), {"who": given}, "who")


def key_of_a_spine(kind: Any, given: Any) -> Any:
    return _table(plan(kind), pa.table({"who": array(given)}), "who")


def request_of_a_row(kind: Any, given: Any, *, required: bool = False) -> Any:
    return _rows(plan(str, model(kind, required=required)), {"who": "a", "x": given}, "x")


def request_of_a_spine(kind: Any, given: Any, *, required: bool = False) -> Any:
    return _table(plan(str, model(kind, required=required)), pa.table({"who": ["a"], "x": array(given)}), "x")


def event_as_a_dict(kind: Any, given: Any, *, required: bool = False) -> Any:
    return check_rows({"x": given}, schema_of(model(kind, required=required)))["x"].to_pylist()[0]


def event_among_many_dicts(kind: Any, given: Any, *, required: bool = False) -> Any:
    rows = [{"x": given}] * (FEW + 1)
    return check_rows(rows, schema_of(model(kind, required=required)))["x"].to_pylist()[FEW]


def event_in_a_frame(kind: Any, given: Any, *, required: bool = False) -> Any:
    return check_rows(pa.table({"x": array(given)}), schema_of(model(kind, required=required)))["x"].to_pylist()[0]


def event_in_a_file(kind: Any, given: Any, *, required: bool = False) -> Any:
    found = check(pa.table({"x": array(given)}), schema_of(model(kind, required=required)), origin="a.parquet")
    if found.bad:
        raise invalid_rows(found.bad, "events")
    return found.table["x"].to_pylist()[0]


def request_over_http(kind: Any, given: Any, *, required: bool = False) -> Any:
    asked = plan(str, model(kind, required=required))
    return _rows(asked, request_of(asked).row({"who": "a", "x": given}), "x")


def key_over_http(kind: Any, given: Any) -> Any:
    asked = plan(kind)
    return _rows(asked, request_of(asked).row({"who": given}), "who")


KEYS: list[Callable[[Any, Any], Any]] = [key_of_a_row, key_of_a_spine]
FIELDS: list[Callable[..., Any]] = [
    request_of_a_row,
    request_of_a_spine,
    event_as_a_dict,
    event_among_many_dicts,
    event_in_a_frame,
    event_in_a_file,
]
HTTP: list[Callable[..., Any]] = [request_over_http, key_over_http]


def goes_by_json(given: Any) -> bool:
    return given is None or (type(given) in (bool, int, float, str) and given == given)  # noqa: PLR0124 NaN does not


@pytest.mark.parametrize("door", [*KEYS, *FIELDS, *HTTP])
def test_every_door_reads_the_same(door: Callable[[Any, Any], Any]) -> None:
    cases = [case for case in READ if door not in HTTP or goes_by_json(case[1])]
    read = [(kind, given, door(kind, given)) for kind, given, _ in cases]
    assert [(one, type(one[2])) for one in read] == [(case, type(case[2])) for case in cases]


@pytest.mark.parametrize("door", [*KEYS, *FIELDS, *HTTP])
def test_every_door_takes_every_missing_value_for_null(door: Callable[[Any, Any], Any]) -> None:
    assert [door(kind, given) for kind, given in NULL if door not in HTTP or goes_by_json(given)].count(None) >= 5
    assert [given for kind, given in NULL if goes_by_json(given) and door(kind, given) is not None] == []


@pytest.mark.parametrize("door", [*KEYS, *FIELDS, *HTTP])
def test_every_door_refuses_the_same(door: Callable[[Any, Any], Any]) -> None:
    passed = []
    for kind, given in REFUSED:
        if door in HTTP and not goes_by_json(given):
            continue
        with suppress(FeatureStoreError, HTTPException):
            passed.append((kind, given, door(kind, given)))
    assert passed == []


@pytest.mark.parametrize("door", [*KEYS, *FIELDS])
def test_a_refusal_names_row_column_value_type_and_what_is_accepted(door: Callable[[Any, Any], Any]) -> None:
    name = "key who" if door in KEYS else "x"
    with pytest.raises(FeatureStoreError) as caught:
        door(int, "7")
    assert f"ow 1: {name} = '7' (str) is no int: give a 64-bit integer (or a whole float or decimal)" in str(
        caught.value
    )


@pytest.mark.parametrize("door", FIELDS)
@pytest.mark.parametrize(("kind", "given"), NULL)
def test_what_is_required_takes_no_null_in_any_form(door: Callable[..., Any], kind: Any, given: Any) -> None:
    with pytest.raises((InvalidRows, InvalidRequest), match=r"row 1: x = .* is against 'not null'"):
        door(kind, given, required=True)


@pytest.mark.parametrize("kind", [bool, int, float, str, datetime])
def test_what_the_store_takes_of_json_the_shape_of_an_event_takes(kind: Any) -> None:
    event = create_model("Event", x=(kind, ...), at=(datetime, NOON))
    shape = event_of(Source("events", schema=event, event_time="at"))
    taken = 0
    for given in [given for _, given, *_ in [*READ, *REFUSED, *NULL] if goes_by_json(given)]:
        with suppress(InvalidRows):
            check_rows({"x": given}, schema_of(event))
            shape.row({"x": given})
            taken += 1
    assert taken >= 2


def test_instants_asked_for_are_read_by_the_same_table() -> None:
    instants = [(given, read) for kind, given, read in READ if kind is datetime]
    found = [spine.instants(array(given), "at").tolist() for given, _ in instants]
    assert found == [[(read - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)] for _, read in instants]
    refused = [given for kind, given in REFUSED if kind is datetime]
    for given in refused:
        with pytest.raises(FeatureStoreError, match=r"'at', row 1: .* is no datetime: give a datetime, a date, or ISO"):
            spine.instants(array(given), "at")


def test_every_kind_says_what_it_takes() -> None:
    assert list(carriers.ACCEPTED) == ["bool", "int", "float", "str", "datetime"]
