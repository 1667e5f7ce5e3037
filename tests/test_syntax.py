"""Canonical text of code: equal for code that computes the same (S11)."""

import ast
from pathlib import Path

import pytest
from declaring import printed

from featurestore.syntax import canonical, shape


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


@pytest.mark.parametrize("body", ["x: int", "if a:\n        x: int", "'words'", "..."])
def test_a_body_of_words_and_annotations_is_an_empty_one(tmp_path: Path, body: str) -> None:
    nothing = "if a:\n        pass" if body.startswith("if") else "pass"
    assert printed(tmp_path, f"def f(a):\n    {body}\n") == printed(tmp_path, f"def f(a):\n    {nothing}\n")


def test_an_annotation_in_a_class_counts_but_not_in_its_methods(tmp_path: Path) -> None:
    text = "class A:\n    x: {}\n    def g(self, v: {}): w: {} = v; return w\ndef f(): return A\n"
    assert printed(tmp_path, text.format("int", "int", "int")) == printed(tmp_path, text.format("int", "str", "str"))
    assert printed(tmp_path, text.format("int", "int", "int")) != printed(tmp_path, text.format("str", "int", "int"))


def test_taking_the_shape_of_a_tree_leaves_it_as_it_is() -> None:
    tree = ast.parse('@d\ndef f(a: int = 1) -> int:\n    """Words."""\n    return f"{a}"\n').body[0]
    before = ast.dump(tree, include_attributes=True)
    assert shape(tree).names == {}
    assert ast.dump(tree, include_attributes=True) == before


def test_names_from_around_come_with_the_paths_they_are_read_by() -> None:
    tree = ast.parse("def f(a):\n    b = m.n.g(a)\n    return [m for m in b] + K + m.h\n").body[0]
    assert shape(tree).names == {"m": {("n", "g"), ("h",), ()}, "K": {()}}


def test_the_canonical_form_is_written_down() -> None:
    assert canonical(ast.parse("x.y[1:] = -2.5", mode="exec").body[0]) == (
        '(Assign targets=[(Subscript slice=(Slice lower=i1) value=(Attribute attr="y" value=(Name id="x")))] '
        "value=(UnaryOp op=(USub) operand=f0x1.4000000000000p+1))"
    )


def test_an_f_string_is_one_however_it_is_split() -> None:
    forms = ["f'a{x}b'", "f'a' f'{x}' 'b'", "f'a{x:}b'", "('a' f'{x}b')"]
    assert len({canonical(ast.parse(form, mode="eval").body) for form in forms}) == 1
