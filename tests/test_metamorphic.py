"""Features asked for the same rows in many ways (S14)."""
# ruff: noqa: E501 - a definition stands on one line, beside what is found

from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from featurestore import FeatureStore
from featurestore.errors import DefinitionProblems
from featurestore.metamorphic import difference
from featurestore.values import Values, from_list

HEAD = """
import itertools, math, types
from datetime import datetime
import numpy as np
from pydantic import BaseModel, Field
from featurestore import Entity, FeatureService, Source, feature

class Payment(BaseModel):
    id: str
    customer: str | None
    event_time: datetime
    amount: float = Field(ge=0)
    note: str | None = None

class Request(BaseModel):
    asked: float = Field(gt=0, le=1000)
    word: str

customer = Entity("customer", key="customer")
payments = Source("payments", schema=Payment, path="payments.parquet", event_time="event_time", key="id", delay="5m")

@feature(payments, by=customer, window="7d")
def spent(tx):
    return tx.amount.sum()

@feature(payments, by=customer, windows=["1h", "30d"])
def last_note(tx):
    return tx.note.last()

@feature
def share(asked: float, spent: float) -> float | None:
    return asked / spent if spent else None

STATE = types.SimpleNamespace(n=0)
TICK = itertools.count().__next__
"""
FOOT = "\nservice = FeatureService('shop', features=[spent, last_note, share{}], request=Request)\n"
Open = Callable[..., FeatureStore]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """Open a store on these definitions and those of ``HEAD``."""
    stores = []

    def one(text: str = "", names: str = "") -> FeatureStore:
        (tmp_path / "shop.py").write_text(HEAD + text + FOOT.format(names))
        stores.append(FeatureStore("shop.py", home=tmp_path / "home", root=tmp_path))
        return stores[-1]

    yield one
    for store in stores:
        store.close()


def problems(store: FeatureStore) -> list[str]:
    with pytest.raises(DefinitionProblems) as caught:
        store.check()
    return list(caught.value.problems)


def alone(store: FeatureStore) -> FeatureStore:
    """The same declarations as a list: no other process can read them, which saves its start."""
    return FeatureStore([store.registry.service("shop")], home=store.home)


def test_functions_of_their_row_alone_pass(opened: Open) -> None:
    checked = opened().check()
    assert (checked.services, checked.in_another_process, checked.on_loaded, checked.unmade) == (1, True, False, ())
    assert checked.rows > 300


@pytest.mark.parametrize(
    ("text", "way"),
    [
        ("def f(asked: np.ndarray) -> np.ndarray:\n    return asked - asked.mean()", "in two halves"),
        ("def f(asked: np.ndarray) -> np.ndarray:\n    return asked * 0 + len(asked)", "in two halves"),
        ("def f(spent: np.ndarray) -> np.ndarray:\n    return np.cumsum(spent)", "in two halves"),
        ("def f(asked: np.ndarray) -> np.ndarray:\n    return asked if len(asked) > 5 else asked * 2", "one row at a time"),
        ("def f(asked: np.ndarray) -> np.ndarray:\n    return asked * np.isnan(asked).any()", "beside rows of nulls"),
        ("def f(asked: float) -> float:\n    setattr(STATE, 'n', STATE.n + 1)\n    return asked + STATE.n", "again"),
        ("def f(asked: float) -> float:\n    return asked + TICK()", "again"),
        ("def f(asked: float) -> str:\n    return ' '.join({'a', 'b', 'c', 'd', 'e', 'f', 'g'})", "in another process"),
        ("def f(word: str) -> int:\n    return list({word, 'x1', 'x2', 'x3', 'x4', 'x5'}).index(word)", "in another process"),
    ],
)  # fmt: skip
def test_each_that_depends_on_more_is_found(opened: Open, text: str, way: str) -> None:
    store = opened(f"@feature\n{text}", ", f")
    (found,) = problems(store if way == "in another process" else alone(store))
    assert "shop.py:" in found
    assert f"feature 'f' is no function of its row alone: asked {way}, row " in found
    assert " gives " in found
    assert "made-up events" in found


def test_a_window_feature_that_keeps_state_is_found(opened: Open) -> None:
    text = (
        "def kept(values):\n    setattr(STATE, 'n', STATE.n + 1)\n    return float(STATE.n)\n"
        "@feature(payments, by=customer)\ndef f(tx):\n    return tx.amount.apply(kept, returns=float)\n"
    )
    (found,) = problems(alone(opened(text, ", f")))
    assert "feature 'f' is no function of its row alone: asked again, row " in found


def test_what_is_made_of_a_feature_that_is_at_fault_is_not_blamed(opened: Open) -> None:
    text = (
        "@feature\ndef hidden(asked: np.ndarray) -> np.ndarray:\n    return asked - asked.mean()\n"
        "@feature\ndef f(hidden: float) -> float:\n    return hidden * 2\n"
        "@feature\ndef g(f: float, spent: float) -> float:\n    return f + spent\n"
    )
    (found,) = problems(opened(text, ", g"))
    assert "feature 'hidden' is no function" in found


def test_a_feature_that_raises_for_a_valid_row_is_named_with_the_row(opened: Open) -> None:
    text = "@feature\ndef f(asked: float, spent: float) -> float:\n    return math.log(spent) + asked\n"
    text += "@feature\ndef g(asked: np.ndarray) -> np.ndarray:\n    return asked - asked.mean()\n"
    first, second = problems(alone(opened(text, ", f, g")))
    assert "feature 'f' raised ValueError" in first
    assert "asked for row " in first
    assert "asked=" in first
    assert "feature 'g' is no function of its row alone" in second


def test_loaded_events_are_tried_too(opened: Open, tmp_path: Path) -> None:
    rows = [
        {"id": f"p{n}", "customer": f"c{n % 3}", "event_time": f"2026-01-{n % 28 + 1:02d}", "amount": 1e9 + n}
        for n in range(90)
    ]
    table = pa.Table.from_pylist(rows)
    times = table.column("event_time").cast(pa.timestamp("us"))
    pq.write_table(table.set_column(2, "event_time", times), tmp_path / "payments.parquet")
    text = "@feature\ndef f(spent: np.ndarray) -> np.ndarray:\n    return spent - spent.mean() * (np.nanmax(spent) > 5e8)\n"
    store = opened(text, ", f")
    assert not alone(store).check().on_loaded
    store.materialize()
    (found,) = problems(alone(store))
    assert "feature 'f' is no function of its row alone: asked in two halves, row " in found
    assert "loaded events" in found


def test_a_list_of_declarations_is_checked_in_this_process_alone(opened: Open) -> None:
    service = opened().registry.service("shop")
    assert not FeatureStore([service], home="nowhere").check().in_another_process


def test_quick_asks_nothing(opened: Open) -> None:
    text = "@feature\ndef f(asked: np.ndarray) -> np.ndarray:\n    return asked - asked.mean()\n"
    assert opened(text, ", f").check(quick=True).rows == 0


def test_one_bit_is_a_difference_and_nulls_are_equal() -> None:
    def floats(*items: float | None) -> Values:
        return from_list("float", items)

    assert difference(floats(0.1, None), floats(0.1, None)) is None
    assert difference(floats(0.3, 1.0), floats(0.1 + 0.2, 1.0)) == 0
    assert difference(floats(1.0, None), floats(1.0, 0.0)) == 1
    assert difference(from_list("str", ["a", "b"]), from_list("str", ["a", "c"])) == 1
    assert difference(from_list("str", ["b"]), from_list("str", ["a", "b"]).take(slice(1, 2))) is None
    assert difference(from_list("int", [2**62 + 1]), from_list("int", [2**62])) == 0


@pytest.mark.parametrize("name", ["payments", "football"])
def test_the_definitions_of_the_project_pass(name: str, tmp_path: Path) -> None:
    root = Path(__file__).parents[1]
    checked = FeatureStore(f"definitions/{name}.py", home=tmp_path / "home", root=root).check()
    assert (checked.in_another_process, checked.unmade) == (True, ())
