from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore import times
from featurestore.errors import RequestError

MOMENT = datetime(2026, 1, 31, 12, 0, 0, 1, tzinfo=UTC)
MICROS = 1_769_860_800_000_001


@pytest.mark.parametrize(
    "moment",
    [
        MOMENT,
        MOMENT.replace(tzinfo=None),
        MOMENT.astimezone(timezone(timedelta(hours=-9, minutes=-30))),
        "2026-01-31T12:00:00.000001Z",
        "2026-01-31T13:00:00.000001+01:00",
        MICROS,
        np.int64(MICROS),
        np.datetime64("2026-01-31T12:00:00.000001"),
        np.datetime64("2026-01-31T12:00:00.000001999", "ns"),
        pd.Timestamp("2026-01-31T12:00:00.000001"),
    ],
)
def test_an_instant_is_integer_microseconds_utc(moment: object) -> None:
    assert times.to_micros(moment) == MICROS


def test_an_instant_before_1970_is_negative() -> None:
    assert times.to_micros("1969-12-31T23:59:59.999999Z") == -1
    assert times.isoformat(-1) == "1969-12-31T23:59:59.999999Z"


@pytest.mark.parametrize(
    "wrong", [None, True, 1.5, np.float64(1), "yesterday", pd.NaT, np.datetime64("NaT"), [1], np.zeros(2)]
)
def test_anything_else_is_no_instant(wrong: object) -> None:
    with pytest.raises(RequestError, match="ISO 8601"):
        times.to_micros(wrong)


@settings(deadline=None)
@given(st.datetimes())
def test_a_datetime_survives_the_way_there_and_back(moment: datetime) -> None:
    assert times.to_datetime(times.to_micros(moment)) == moment.replace(tzinfo=UTC)


@settings(deadline=None)
@given(st.datetimes())
def test_text_survives_the_way_there_and_back(moment: datetime) -> None:
    micros = times.to_micros(moment)
    assert times.to_micros(times.isoformat(micros)) == micros


def test_the_calendar_ends() -> None:
    assert times.to_datetime(times.LATEST) == datetime.max.replace(tzinfo=UTC)
    assert times.to_datetime(times.EARLIEST) == datetime.min.replace(tzinfo=UTC)
    with pytest.raises(RequestError, match="outside the years"):
        times.to_datetime(times.LATEST + 1)


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        *(("90s", 90_000_000), ("5m", 300_000_000), ("1h30m", 5_400_000_000), ("30d", 2_592_000_000_000)),
        *(("2w", 1_209_600_000_000), ("7us", 7), ("7ms", 7000), (timedelta(microseconds=3), 3), ("0s", 0)),
    ],
)
def test_a_duration_is_text_or_a_timedelta(text: str | timedelta, micros: int) -> None:
    assert times.duration(text) == micros


@pytest.mark.parametrize(
    "wrong", ["", "30", "d", "1.5h", "-1d", "1 d", "30D", timedelta(seconds=-1), 30, None, "9999999999d"]
)
def test_anything_else_is_no_duration(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"duration|negative|calendar"):
        times.duration(wrong)


@settings(deadline=None)
@given(st.integers(0, times.LATEST))
def test_a_duration_is_read_back_from_its_text(micros: int) -> None:
    assert times.duration(times.format_duration(micros)) == micros


def test_the_clock_can_be_replaced() -> None:
    assert times.now(lambda: MOMENT) == times.now(lambda: MICROS) == MICROS
    assert abs(times.now() - times.system_clock()) < 60_000_000
