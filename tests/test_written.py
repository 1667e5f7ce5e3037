"""Where functions, classes and assignments are written."""

import linecache
from pathlib import Path
from typing import Any

import pytest
from declaring import declared, printed

from featurestore.fingerprint import fingerprint_function
from featurestore.used import used_text
from featurestore.written import file_of, is_own_class, is_own_file, is_own_module, source_text


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


def test_a_file_is_parsed_once_until_its_text_changes(tmp_path: Path) -> None:
    path = tmp_path / "m.py"
    path.write_text("RATE = 1\n")
    first = file_of(str(path))
    linecache.cache.pop(str(path))
    assert file_of(str(path)) is first
    path.write_text("RATE = 22\n")
    assert file_of(str(path)).assignments["RATE"].text == "RATE = 22\n"


def test_an_edit_that_keeps_the_code_shows_its_new_text(tmp_path: Path) -> None:
    text = "def f(a):\n    return a  # {}\n"
    function = declared(tmp_path, text.format("one"))
    assert source_text(function) == text.format("one")
    Path(function.__code__.co_filename).write_text(text.format("another"))
    assert source_text(function) == text.format("another")


def test_assignments_are_the_modules_own(tmp_path: Path) -> None:
    path = tmp_path / "m.py"
    path.write_text("x = 1\nif x:\n    y: int = 2\nclass A:\n    x: str = 'a'\ndef f():\n    y = 3\na, b = 1, 2\n")
    found = file_of(str(path)).assignments
    assert {name: (one.line, one.text) for name, one in found.items()} == {
        "x": (1, "x = 1\n"),
        "y": (3, "y: int = 2\n"),
        "a": (8, "a, b = 1, 2\n"),
        "b": (8, "a, b = 1, 2\n"),
    }


def test_a_file_that_is_no_python_has_nothing_in_it(tmp_path: Path) -> None:
    path = tmp_path / "page.txt"
    path.write_text("Dear {{ name }},\n")
    assert (file_of(str(path)).tree, dict(file_of(str(path)).assignments)) == (None, {})
    assert file_of(str(tmp_path / "nowhere.py")).tree is None


def test_the_last_class_of_a_name_is_the_class_within_its_own(tmp_path: Path) -> None:
    inner = "    class B:\n        def g(self): return {}\n"
    text = f"class A:\n{inner.format(1)}{inner.format(2)}class C:\n{inner.format(3)}f = A.B\n"
    assert source_text(declared(tmp_path, text)) == "class B:\n    def g(self): return 2\n"


def test_what_is_installed_is_not_the_projects_own() -> None:
    assert [is_own_file(name) for name in (__file__, pytest.__file__, linecache.__file__)] == [True, False, False]
    assert [is_own_module(one) for one in (linecache, pytest)] == [False, False]
    assert not is_own_class(Path)
    assert not is_own_file("<frozen importlib._bootstrap>")
