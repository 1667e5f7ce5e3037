"""Leaks planted in tables made elsewhere, and found by which reading of the features agrees with them."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pydantic import BaseModel

from featurestore import Entity, FeatureService, FeatureStore, Source, feature
from featurestore.cli import main
from featurestore.errors import RequestError, SpineError, UnknownService

START = datetime(2026, 1, 1, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
MINUTE = timedelta(minutes=1)
DELAY = 90 * MINUTE


class Payment(BaseModel):
    customer: str
    at: datetime
    amount: int


class Request(BaseModel):
    asked: int


def paid() -> list[dict[str, Any]]:
    """Payments of three customers, minutes to hours apart, some at the same instant."""
    steps = [170, 61, 0, 305, 119, 0, 233, 47]
    rows, at = [], START
    for number in range(240):
        step = steps[number % 8]
        at += (step and step + number * number % 53) * MINUTE
        rows.append({"customer": f"c{number // 2 % 3}", "at": at, "amount": 1 + number * 7 % 101})
    return rows


ROWS = paid()
SPINE = [{"customer": row["customer"], "at": row["at"], "asked": number} for number, row in enumerate(ROWS[60:180])]


def of(row: dict[str, Any], counts: Callable[[datetime, datetime], bool]) -> list[int]:
    """Amounts of the row's customer that count at its T, by (event time, T), in S5 order."""
    mine = [one for one in ROWS if one["customer"] == row["customer"] and counts(one["at"], row["at"])]
    return [one["amount"] for one in sorted(mine, key=lambda one: (one["at"], one["amount"]))]


def right(at: datetime, asked: datetime) -> bool:
    return asked - DAY <= at and at + DELAY < asked


def declared(delay: str | None = "90m") -> FeatureService:
    customer = Entity("customer", key="customer")
    source = Source("payments", schema=Payment, frame=pd.DataFrame(ROWS), event_time="at", delay=delay)

    @feature(source, by=customer, windows=["1d"])
    def spent(tx: Any) -> Any:
        return tx.amount.sum()

    @feature(source, by=customer, window="1d")
    def mean(tx: Any) -> Any:
        return tx.amount.mean()

    @feature(source, by=customer, window="1d")
    def latest(tx: Any) -> Any:
        return tx.amount.last()

    @feature
    def share(asked: int, spent_1d: int) -> float:
        return asked / (spent_1d + 1)

    return FeatureService("shop", features=[spent, mean, latest, share], request=Request)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FeatureStore]:
    with FeatureStore([declared()], home=tmp_path / "home") as opened:
        opened.materialize()
        yield opened


def told(store: FeatureStore, values: list[Any], column: str = "spent_1d") -> tuple[str, str | None]:
    """Verdict and reading of one column."""
    (found,) = store.leaks(pd.DataFrame(SPINE).assign(**{column: values}), "shop", "at").columns
    return found.verdict, found.reading


def test_a_column_as_declared_is_right(store: FeatureStore) -> None:
    assert told(store, [sum(of(row, right)) for row in SPINE]) == ("right", None)


@pytest.mark.parametrize(
    ("counts", "reading"),
    [
        (lambda at, asked: asked - DAY <= at < asked, "delay ignored"),
        (lambda at, asked: asked - DAY <= at <= asked, "events at T included, delay ignored"),
        (lambda at, asked: asked <= at < asked + DAY, "window after T"),
        (lambda at, asked: True, "all events, whenever they happened"),  # noqa: ARG005 - as the others are called
        (lambda at, asked: right(at, ROWS[-1]["at"] + HOUR), "as of the newest event"),  # noqa: ARG005 - as above
        (lambda at, asked: right(at, asked + 2 * HOUR), "time zone off by +2 h"),
        (lambda at, asked: right(at, asked - 5 * HOUR), "time zone off by -5 h"),
    ],
)
def test_each_leaky_reading_is_named(
    store: FeatureStore, counts: Callable[[datetime, datetime], bool], reading: str
) -> None:
    assert told(store, [sum(of(row, counts)) for row in SPINE]) == ("leaks", reading)


def test_an_event_at_t_is_told_from_a_delay_that_is_ignored(tmp_path: Path) -> None:
    with FeatureStore([declared(delay=None)], home=tmp_path / "home") as store:
        store.materialize()
        included = [sum(of(row, lambda at, asked: asked - DAY <= at <= asked)) for row in SPINE]
        assert told(store, included) == ("leaks", "events at T included")


def test_ties_the_other_way_round_are_found(store: FeatureStore) -> None:
    def last(row: dict[str, Any]) -> int | None:
        mine = [one for one in ROWS if one["customer"] == row["customer"] and right(one["at"], row["at"])]
        return max(mine, key=lambda one: (one["at"], -one["amount"]))["amount"] if mine else None

    assert told(store, [last(row) for row in SPINE], "latest") == ("leaks", "ties in the reverse order")


def test_what_is_made_of_a_leaky_feature_leaks_in_the_same_reading(store: FeatureStore) -> None:
    seen = [sum(of(row, lambda at, asked: asked - DAY <= at < asked)) for row in SPINE]
    values = [row["asked"] / (spent + 1) for row, spent in zip(SPINE, seen, strict=True)]
    assert told(store, values, "share") == ("leaks", "delay ignored")


def test_rounding_of_another_library_is_no_difference(store: FeatureStore) -> None:
    values = [pd.Series(of(row, right), dtype=float).mean() * (1 + 1e-14) for row in SPINE]
    assert told(store, values, "mean") == ("right", None)
    single = pd.Series(values, dtype="float32")
    assert told(store, list(single.astype(float)), "mean") == ("differs", None)
    (found,) = store.leaks(pd.DataFrame(SPINE).assign(mean=single), "shop", "at").columns
    assert found.verdict == "right"


def test_what_agrees_with_nothing_differs_and_blames_no_reading(store: FeatureStore) -> None:
    assert told(store, [-number for number in range(len(SPINE))]) == ("differs", None)
    assert told(store, ["?" for _ in SPINE]) == ("differs", None)


def test_shares_are_of_rows(store: FeatureStore) -> None:
    values = [sum(of(row, right)) for row in SPINE]
    values[:30] = [-1] * 30
    (found,) = store.leaks(pd.DataFrame(SPINE).assign(spent_1d=values), "shop", "at").columns
    assert (found.verdict, found.shares["as declared"]) == ("differs", 0.75)


def test_columns_may_have_other_names_and_need_no_request_fields(store: FeatureStore) -> None:
    table = pd.DataFrame(SPINE).drop(columns="asked").assign(s=[sum(of(row, right)) for row in SPINE])
    found = store.leaks(table, "shop", "at", columns={"spent_1d": "s"})
    assert [(one.column, one.feature, one.verdict) for one in found.columns] == [("s", "spent_1d", "right")]
    assert found.lacking == ("mean", "latest", "share")
    assert (found.rows, found.leaking) == (120, ())


def test_a_table_that_cannot_be_compared_is_refused(store: FeatureStore) -> None:
    table = pd.DataFrame(SPINE)
    with pytest.raises(RequestError, match="no column named like a feature of 'shop'"):
        store.leaks(table, "shop", "at")
    with pytest.raises(SpineError, match="no column 'event_time'"):
        store.leaks(table, "shop")
    with pytest.raises(RequestError, match="names 'spend', which is no feature"):
        store.leaks(table, "shop", "at", columns={"spend": "asked"})
    with pytest.raises(RequestError, match=r"no column 'askd'. Did you mean 'asked'"):
        store.leaks(table, "shop", "at", columns={"spent_1d": "askd"})
    with pytest.raises(UnknownService):
        store.leaks(table, "ship", "at")


DEFINITIONS = """
from datetime import datetime
from pydantic import BaseModel
from featurestore import Entity, FeatureService, Source, feature

class Payment(BaseModel):
    customer: str
    at: datetime
    amount: int

customer = Entity("customer", key="customer")
payments = Source("payments", schema=Payment, path="payments.parquet", event_time="at", delay="90m")

@feature(payments, by=customer, windows=["1d"])
def spent(tx):
    return tx.amount.sum()

@feature(payments, by=customer, window="1d")
def number(tx):
    return tx.count()

shop = FeatureService("shop", features=[spent, number])
"""


def test_the_command_names_columns_and_ends_with_one_if_any_leaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "definitions").mkdir()
    (tmp_path / "definitions" / "shop.py").write_text(DEFINITIONS)
    pd.DataFrame(ROWS).to_parquet("payments.parquet")
    leaky = [sum(of(row, lambda at, asked: asked <= at < asked + DAY)) for row in SPINE]
    fine = [len(of(row, right)) for row in SPINE]
    pd.DataFrame(SPINE).assign(spent_1d=leaky, n=fine).to_parquet("made.parquet")
    assert main(["materialize"]) == 0
    capsys.readouterr()
    asked = ["leaks", "made.parquet", "--time", "at", "--column", "number=n"]
    assert main(asked) == 1
    out = capsys.readouterr().out
    assert "1 column of 2 leaks: spent_1d." in out
    assert "window after T" in out
    assert main([*asked, "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["leaking"] == ["spent_1d"]
    assert {one["column"]: one["verdict"] for one in document["columns"]} == {"spent_1d": "leaks", "n": "right"}
    pd.DataFrame(SPINE).assign(number=fine).to_parquet("made.parquet")
    assert main(["leaks", "made.parquet", "shop", "--time", "at"]) == 0
