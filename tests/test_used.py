"""What a function uses counts as its own content (S11)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from declaring import declared, printed, project_print

from featurestore.errors import DefinitionError
from featurestore.fingerprint import fingerprint_function
from featurestore.used import used_text
from featurestore.written import source_text


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
