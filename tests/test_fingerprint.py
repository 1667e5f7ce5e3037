"""Fingerprints (S11): what changes them, and what does not."""

import ast
import importlib.util
import itertools
import linecache
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from featurestore.collect import collect
from featurestore.errors import DefinitionError
from featurestore.fingerprint import (
    canonical,
    fingerprint_feature,
    fingerprint_function,
    fingerprint_outputs,
    fingerprint_source,
    source_text,
    used_text,
)

_NUMBER = itertools.count()

HEAD = """
from datetime import datetime
from pydantic import BaseModel, Field, field_validator
from featurestore.definition import Entity, Source, aggregations, feature, on

class Payment(BaseModel):
    customer_id: str
    at: datetime
    amount: float = Field(ge=0)

customer = Entity("customer", key="customer_id")
payments = Source("payments", schema=Payment, path="a.parquet", event_time="at")
"""


def declared(folder: Path, text: str, name: str = "f") -> Any:
    """Write a module, import it, and return one of its attributes."""
    path = folder / f"module_{next(_NUMBER)}.py"
    path.write_text(text)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, name)


def printed(folder: Path, text: str, name: str = "f") -> str:
    return fingerprint_function(declared(folder, text, name))


def project_print(folder: Path, **files: str) -> str:
    """Fingerprint of the only feature of a folder of definitions."""
    folder.mkdir()
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    collected = collect(folder)
    assert collected.problems == ()
    (only,) = collected.features
    return fingerprint_feature(only, {})


def test_comments_docstrings_annotations_formatting_and_position_say_nothing(tmp_path: Path) -> None:
    plain = printed(tmp_path, "def f(a, b=1):\n    c = a / 1000.0\n    return f'{c}' + 'x'\n")
    dressed = '''
import math

def f(
    a: float,
    b: int = 1,
) -> str:
    """What it gives."""
    # why it gives it
    c: float = (a / 1e3)
    "a lone string"
    return f"{c}" + "x"
'''
    assert printed(tmp_path, dressed) == plain


@pytest.mark.parametrize(
    "other",
    [
        "def f(a, b=1):\n    return a + 3\n",
        "def f(a, b=1):\n    return a - 2\n",
        "def f(a, b=2):\n    return a + 2\n",
        "def f(a, *, b=1):\n    return a + 2\n",
        "def f(a, b=1):\n    return a + 2.0\n",
        "def f(a, b=1):\n    return a + True\n",
        "def f(a, b=1):\n    return a + -2\n",
        "async def f(a, b=1):\n    return a + 2\n",
        "f = lambda a, b=1: a + 2\n",
    ],
)
def test_another_body_or_default_is_another_function(tmp_path: Path, other: str) -> None:
    assert printed(tmp_path, other) != printed(tmp_path, "def f(a, b=1):\n    return a + 2\n")


def test_a_default_counts_by_its_value_not_by_its_expression(tmp_path: Path) -> None:
    assert printed(tmp_path, "def f(a, b=2 * 5): return b") == printed(tmp_path, "TEN = 10\ndef f(a, b=TEN): return b")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("3", "4"),
        ("3", "3.0"),
        ("1", "True"),
        ("'a'", "b'a'"),
        ("None", "0"),
        ("(1, 2)", "[1, 2]"),
        ("[1, 2]", "[2, 1]"),
        ("{'a': 1}", "{'a': 2}"),
        ("0.0", "-0.0"),
        ("datetime(2026, 1, 1)", "datetime(2026, 1, 2)"),
        ("timedelta(days=1)", "timedelta(days=2)"),
        ("np.float64(1)", "np.float32(1)"),
        ("np.array([1, 2])", "np.array([1, 3])"),
        ("re.compile('a')", "re.compile('b')"),
        ("Color.RED", "Color.BLUE"),
        ("partial(pow, 2)", "partial(pow, 3)"),
        ("Scale(2)", "Scale(3)"),
        ("math.sin", "math.cos"),
        ("np.log", "np.exp"),
        ("float", "int"),
        ("float | None", "int | None"),
        ("Path('a')", "Path('b')"),
    ],
)
def test_another_global_value_is_another_function(tmp_path: Path, before: str, after: str) -> None:
    text = """
import math, re
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from functools import partial
from pathlib import Path
import numpy as np

class Color(Enum):
    RED = 1
    BLUE = 2

@dataclass
class Scale:
    by: int

VALUE = {}
def f(x):
    return VALUE, x
"""
    assert printed(tmp_path, text.format(before)) == printed(tmp_path, text.format(before))
    assert printed(tmp_path, text.format(before)) != printed(tmp_path, text.format(after))


def test_a_set_counts_whatever_its_order(tmp_path: Path) -> None:
    text = "KNOWN = frozenset({})\ndef f(x): return x in KNOWN\n"
    assert printed(tmp_path, text.format("['a', 'b', 'c']")) == printed(tmp_path, text.format("['c', 'b', 'a']"))


def test_a_global_that_a_local_name_hides_says_nothing(tmp_path: Path) -> None:
    text = "x = {}\ndef f(values): return [x for x in values]\n"
    assert printed(tmp_path, text.format(1)) == printed(tmp_path, text.format(2))


def test_a_closure_counts_by_value(tmp_path: Path) -> None:
    text = "def make(rate):\n    def inner(a): return a * rate\n    return inner\nf = make({})\n"
    assert printed(tmp_path, text.format(2)) == printed(tmp_path, text.format(2))
    assert printed(tmp_path, text.format(2)) != printed(tmp_path, text.format(3))


def test_a_helper_of_a_helper_counts(tmp_path: Path) -> None:
    text = "def two(): return {}\ndef one(a): return a * two()\ndef f(a): return one(a)\n"
    assert printed(tmp_path, text.format(2)) != printed(tmp_path, text.format(3))
    assert printed(tmp_path, text.format(2)) == printed(tmp_path, "# first\n" + text.format("2  # two"))


def test_a_helper_behind_a_decorator_counts_with_what_the_decorator_got(tmp_path: Path) -> None:
    text = """
import functools
def times(n):
    def around(g):
        @functools.wraps(g)
        def inner(a): return g(a) * n
        return inner
    return around
@times({n})
def helper(a): return a + {k}
def f(a): return helper(a)
"""
    assert printed(tmp_path, text.format(n=2, k=1)) != printed(tmp_path, text.format(n=3, k=1))
    assert printed(tmp_path, text.format(n=2, k=1)) != printed(tmp_path, text.format(n=2, k=2))


def test_a_cached_helper_counts_by_its_body(tmp_path: Path) -> None:
    text = "import functools\n@functools.lru_cache\ndef helper(a): return a + {}\ndef f(a): return helper(a)\n"
    assert printed(tmp_path, text.format(1)) != printed(tmp_path, text.format(2))


def test_a_class_of_the_project_counts_with_its_methods_and_what_they_use(tmp_path: Path) -> None:
    text = 'K = {}\nclass A:\n    """{}"""\n    def g(self): return K\ndef f(): return A().g()\n'
    assert printed(tmp_path, text.format(1, "a")) == printed(tmp_path, text.format(1, "b"))
    assert printed(tmp_path, text.format(1, "a")) != printed(tmp_path, text.format(2, "a"))


def test_recursion_and_mutual_recursion_end(tmp_path: Path) -> None:
    text = "def even(n): return n == 0 or odd(n - 1)\ndef odd(n): return n != 0 and even(n - {})\nf = even\n"
    assert printed(tmp_path, text.format(1)) == printed(tmp_path, text.format(1))
    assert printed(tmp_path, text.format(1)) != printed(tmp_path, text.format(2))


def test_a_list_that_holds_itself_ends(tmp_path: Path) -> None:
    text = "LOOP = [1]\nLOOP.append(LOOP)\ndef f(): return LOOP\n"
    assert printed(tmp_path, text) == printed(tmp_path, text)


def test_lambdas_on_one_line_are_told_apart(tmp_path: Path) -> None:
    first, second, third = declared(tmp_path, "f = [lambda a: a + 1, lambda a: a + 2, lambda a: (lambda b: a + b)]\n")
    assert len({fingerprint_function(one) for one in (first, second, third, third(1))}) == 4
    assert fingerprint_function(first) == printed(tmp_path, "f = lambda a: (a+1)\n")


def test_a_function_of_a_notebook_cell_is_read_from_its_cell() -> None:
    text = "def f(a):\n    # a comment\n    return a + 1\n"
    linecache.cache["<cell 7>"] = (len(text), None, text.splitlines(keepends=True), "<cell 7>")
    cell: dict[str, Any] = {}
    exec(compile(text, "<cell 7>", "exec"), cell)  # noqa: S102 - as a notebook does
    assert source_text(cell["f"]) == text
    assert used_text(cell["f"]) == ""


def test_a_function_without_source_is_known_by_its_code() -> None:
    def made(body: str) -> Callable[..., Any]:
        names: dict[str, Any] = {"K": 3}
        exec(f"def f(a):\n    {body}\n", names)  # noqa: S102 - the point: there is no source
        return names["f"]  # type: ignore[no-any-return]

    assert source_text(made("return a")) == ""
    assert fingerprint_function(made("return a + K")) == fingerprint_function(made("return a + K  # words"))
    assert fingerprint_function(made("return a + 1")) != fingerprint_function(made("return a + 2"))
    assert fingerprint_function(made("return a + K")) != fingerprint_function(made("return a - K"))


def test_a_value_whose_content_cannot_be_told_is_refused(tmp_path: Path) -> None:
    function = declared(tmp_path, "import threading\nLOCK = threading.Lock()\ndef f(a): return LOCK, a\n")
    with pytest.raises(DefinitionError, match="type lock, whose content cannot be told"):
        fingerprint_function(function)


def test_display_text_shows_helpers_and_constants(tmp_path: Path) -> None:
    function = declared(tmp_path, "RATE = 3\ndef g(a):\n    return a * RATE\ndef f(a):\n    return g(a)\n")
    assert source_text(function) == "def f(a):\n    return g(a)\n"
    assert used_text(function) == "def g(a):\n    return a * RATE\n\nRATE = 3\n"


def test_a_helper_in_another_module_counts_however_it_is_reached(tmp_path: Path) -> None:
    helper = "def scale(a): return a * {}\ndef unused(a): return {}\n"
    head = "import rates\nfrom featurestore.definition import feature\n"
    through = f"{head}@feature\ndef f(a: float) -> float: return rates.scale(a)\n"
    first = project_print(tmp_path / "one", rates=helper.format(2, 0), use=through)
    assert project_print(tmp_path / "two", rates=helper.format(2, 9), use=through) == first
    assert project_print(tmp_path / "three", rates=helper.format(3, 0), use=through) != first


def test_a_helper_that_moves_to_another_module_changes_nothing(tmp_path: Path) -> None:
    helper, body = "def scale(a): return a * 2\n", "@feature\ndef f(a: float) -> float: return scale(a)\n"
    head = "from featurestore.definition import feature\n"
    here = project_print(tmp_path / "one", use=f"{head}{helper}{body}")
    assert project_print(tmp_path / "two", rates=helper, use=f"{head}from rates import scale\n{body}") == here


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("ge=0", "gt=0"),
        ('event_time="at"', 'event_time="at", delay="5m"'),
        ('event_time="at"', 'event_time="at", inclusive=True'),
        ('event_time="at"', 'event_time="at", key="customer_id"'),
        ('event_time="at"', 'event_time="at", known_at="at"'),
        ("amount: float = Field(ge=0)", "amount: float | None = Field(ge=0)"),
        ("amount: float = Field(ge=0)", "amount: int = Field(ge=0)"),
        ("amount: float = Field(ge=0)", "amount: float = Field(ge=0, default=1)"),
        ("amount: float = Field(ge=0)", "amount: float = Field(ge=0)\n    extra: str | None = None"),
        (
            "amount: float = Field(ge=0)",
            "amount: float = Field(ge=0)\n    @field_validator('amount')\n    def half(cls, v): return v / 2",
        ),
    ],
)
def test_another_rule_of_the_source_is_another_source_and_another_feature(tmp_path: Path, old: str, new: str) -> None:
    text = HEAD + "@feature(payments, by=customer)\ndef f(tx): return tx.amount.mean()\n"
    before, after = declared(tmp_path, text), declared(tmp_path, text.replace(old, new))
    assert fingerprint_source(before.view.source) != fingerprint_source(after.view.source)
    assert fingerprint_feature(before, {}) != fingerprint_feature(after, {})


def test_where_data_lies_and_words_of_a_schema_are_no_rules(tmp_path: Path) -> None:
    other = HEAD.replace('path="a.parquet"', 'query="select 1"').replace("ge=0", "ge=0, description='USD'")
    assert fingerprint_source(declared(tmp_path, HEAD, "payments")) == fingerprint_source(
        declared(tmp_path, other, "payments")
    )


def test_a_window_more_in_a_family_leaves_the_others_as_they_are(tmp_path: Path) -> None:
    text = HEAD + "@feature(payments, by=customer, windows={})\ndef f(tx): return tx.count()\n"
    two = fingerprint_outputs(declared(tmp_path, text.format(["1h", "1d"])), {})
    three = fingerprint_outputs(declared(tmp_path, text.format(["1h", "1d", "7d"])), {})
    assert list(three) == ["f_1h", "f_1d", "f_7d"]
    assert {name: three[name] for name in two} == two
    assert len(set(three.values())) == 3


def test_window_and_offset_count(tmp_path: Path) -> None:
    text = HEAD + "@feature(payments, by=customer, {})\ndef f(tx): return tx.count()\n"
    kinds = ["window='1d'", "window='2d'", "window='1d', offset='1d'", "window=None"]
    assert len({fingerprint_feature(declared(tmp_path, text.format(kind)), {}) for kind in kinds}) == 4
    day, hours = (declared(tmp_path, text.format(kind)) for kind in ("window='1d'", "window='24h'"))
    assert fingerprint_feature(day, {}) == fingerprint_feature(hours, {})


def test_a_plain_reduction_counts_by_column_and_reduction(tmp_path: Path) -> None:
    text = (
        HEAD + "f = aggregations(payments.by(customer), columns=['amount'], functions=['min', 'max'], windows=['1d'])\n"
    )
    low, high = declared(tmp_path, text)
    again, _ = declared(tmp_path, text)
    assert fingerprint_feature(low, {}) == fingerprint_feature(again, {}) != fingerprint_feature(high, {})
    assert source_text(low.function) == "window['amount'].min()\n"


def test_inputs_role_and_returned_type_of_a_row_feature_count(tmp_path: Path) -> None:
    text = "from featurestore.definition import feature\n@feature\ndef f(a: float, b: float) -> {}: return a\n"
    row = declared(tmp_path, text.format("float"))
    prints = {fingerprint_feature(row, inputs) for inputs in ({}, {"a": "1"}, {"a": "2"}, {"b": "1"})}
    assert len(prints) == 4
    assert fingerprint_feature(declared(tmp_path, text.format("int")), {}) not in prints


def test_a_role_counts(tmp_path: Path) -> None:
    text = HEAD + "@feature(payments, by=customer)\ndef g(tx): return tx.count()\n(f,) = on('{}', g)\n"
    buyer, seller = (declared(tmp_path, text.format(role)) for role in ("buyer", "seller"))
    assert list(fingerprint_outputs(buyer, {})) == ["buyer__g"]
    assert len({fingerprint_feature(one, {}) for one in (buyer, seller, buyer.feature)}) == 3


def test_the_canonical_form_is_written_down() -> None:
    assert canonical(ast.parse("x.y[1:] = -2.5", mode="exec").body[0]) == (
        '(Assign targets=[(Subscript slice=(Slice lower=i1) value=(Attribute attr="y" value=(Name id="x")))] '
        "value=(UnaryOp op=(USub) operand=f0x1.4000000000000p+1))"
    )


def test_an_f_string_is_one_however_it_is_split() -> None:
    forms = ["f'a{x}b'", "f'a' f'{x}' 'b'", "f'a{x:}b'", "('a' f'{x}b')"]
    assert len({canonical(ast.parse(form, mode="eval").body) for form in forms}) == 1
