"""What is written where: the text and the syntax tree of functions, classes and assignments, found in their files.

A file is read and parsed once, until its text changes; a notebook's cell is a file too.
"""

import ast
import functools
import inspect
import linecache
import sys
import sysconfig
import textwrap
import threading
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from featurestore import syntax
from featurestore.definition import Feature, Reduction
from featurestore.syntax import Shape

_KEPT = 512  # files whose syntax trees are kept: more than a project has, so that none is parsed twice
_Function = ast.FunctionDef | ast.AsyncFunctionDef
_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass(frozen=True, eq=False)
class Passage:
    """A definition or an assignment in its file: syntax tree, first line (from 1) and text."""

    node: ast.AST
    line: int
    lines: Sequence[str] = field(repr=False)

    @functools.cached_property
    def text(self) -> str:
        """Text as written, decorators included, without indentation."""
        return textwrap.dedent("".join(self.lines))

    @functools.cached_property
    def shape(self) -> Shape:
        """Canonical text and used names: many features ask for those of one helper."""
        return syntax.shape(self.node)


class File:
    """One version of a file of Python code; empty where there is none or it cannot be parsed."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines
        self._classes: dict[str, Passage | None] = {}

    @functools.cached_property
    def tree(self) -> ast.Module | None:
        """Syntax tree; of something else than Python, such as a template, there is none."""
        try:
            return ast.parse("".join(self.lines)) if self.lines else None
        except (SyntaxError, ValueError):
            return None

    @functools.cached_property
    def content(self) -> str:
        """Canonical text of the whole file."""
        return syntax.module_text(self.tree or ast.Module([], []))

    def function(self, code: types.CodeType) -> Passage | None:
        """Definition of the function with that code."""
        if code.co_name == "<lambda>":
            return self._lambda(code)
        return self._functions.get((code.co_name, code.co_firstlineno))

    def class_(self, qualified: str) -> Passage | None:
        """Definition of the class with that qualified name; the last, if there are several."""
        if qualified not in self._classes:
            self._classes[qualified] = self._class(qualified)
        return self._classes[qualified]

    @functools.cached_property
    def assignments(self) -> Mapping[str, Passage]:
        """The last assignment of each name of the module itself."""
        found: dict[str, Passage] = {}
        for node in _statements(self.tree):
            passage = self._passage(node)
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = (inner for target in targets for inner in ast.walk(target) if isinstance(inner, ast.Name))
            found |= {inner.id: passage for inner in names}
        return found

    @functools.cached_property
    def _functions(self) -> dict[tuple[str, int], Passage]:
        passages = ((node.name, self._passage(node)) for node in self._nodes if isinstance(node, _Function))
        return {(name, passage.line): passage for name, passage in passages}

    @functools.cached_property
    def _nodes(self) -> list[_Definition | ast.Lambda]:
        found = () if self.tree is None else ast.walk(self.tree)
        return [node for node in found if isinstance(node, _Definition | ast.Lambda)]

    def _lambda(self, code: types.CodeType) -> Passage | None:
        """Find the lambda on that line whose body holds every instruction of the code: the smallest of these."""
        spots = {(line, column) for line, _, column, _ in code.co_positions() if line is not None and column}
        there = [node for node in self._nodes if isinstance(node, ast.Lambda) and node.lineno == code.co_firstlineno]
        fitting = [node for node in there if all(_start(node.body) <= spot < _end(node.body) for spot in spots)]
        if not spots or not fitting:
            return self._passage(there[0]) if len(there) == 1 else None
        return self._passage(
            max(fitting, key=lambda node: (_start(node.body), tuple(-part for part in _end(node.body))))
        )

    def _class(self, qualified: str) -> Passage | None:
        tree: ast.AST | None = self.tree
        for name in qualified.split("."):
            if name == "<locals>" or tree is None:
                continue
            inner = [one for one in ast.walk(tree) if isinstance(one, _Definition) and one.name == name]
            tree = next((one for one in reversed(inner) if one is not tree), None)
        return self._passage(tree) if isinstance(tree, ast.ClassDef) else None

    def _passage(self, node: _Definition | ast.Lambda | ast.Assign | ast.AnnAssign) -> Passage:
        first = min(one.lineno for one in (node, *getattr(node, "decorator_list", ())))
        return Passage(node, first, self.lines[first - 1 : node.end_lineno])


_files: dict[str, File] = {}
_files_lock = threading.Lock()


def file_of(filename: str) -> File:
    """File of that name as it is now."""
    linecache.checkcache(filename)
    lines = linecache.getlines(filename)
    with _files_lock:
        known = _files.get(filename)
        if known is None or (known.lines is not lines and known.lines != lines):
            known = _files[filename] = File(lines)
        known.lines = lines  # the same text, read again: the next comparison is one of identity
        if len(_files) > _KEPT:
            del _files[next(iter(_files))]
        return known


def find_function(function: Callable[..., Any]) -> Passage | None:
    """Definition of a function, or of the one that it wraps."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return file_of(code.co_filename).function(code) if isinstance(code, types.CodeType) else None


def find_class(kind: type) -> Passage | None:
    """Definition of a class."""
    files = [one.__code__.co_filename for one in methods(kind) if linecache.getlines(one.__code__.co_filename)]
    filename = files[0] if files else getattr(sys.modules.get(kind.__module__), "__file__", None)
    return None if filename is None else file_of(filename).class_(kind.__qualname__)


def methods(kind: type) -> list[types.FunctionType]:
    """Functions that a class itself defines, those behind properties and class methods too."""
    members = (getattr(member, "__func__", getattr(member, "fget", member)) for member in vars(kind).values())
    return [one for one in members if isinstance(one, types.FunctionType) and one.__module__ == kind.__module__]


def source_text(function: Callable[..., Any]) -> str:
    """Source of a function or class as written, decorators included, without indentation; empty if there is none."""
    if isinstance(function, Feature):
        return source_text(function.function)
    if (plain := reduction_of(function)) is not None:
        return f"window[{plain[0]!r}].{plain[1]}()\n"
    found = find_class(function) if isinstance(function, type) else find_function(function)
    return "" if found is None else found.text


def reduction_of(function: Any) -> tuple[str, str] | None:
    """Column and reduction of what ``aggregations`` makes."""
    return (function.column, function.reduction) if isinstance(function, Reduction) else None


@functools.lru_cache(maxsize=4096)
def is_own_file(filename: str) -> bool:
    """Whether a file is the user's own: neither installed, nor Python's, nor this package's."""
    if filename.startswith("<frozen "):
        return False
    path = Path(filename).resolve()
    if {"site-packages", "dist-packages"} & set(path.parts):
        return False
    outside = [sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), str(Path(__file__).parent)]
    return not any(path.is_relative_to(Path(folder).resolve()) for folder in outside)


def is_own_module(module: types.ModuleType) -> bool:
    """Whether a module lies in a file or folder of the user's own."""
    places = [module.__file__] if getattr(module, "__file__", None) else list(getattr(module, "__path__", ()))
    return any(is_own_file(str(place)) for place in places)


def is_own_class(kind: type) -> bool:
    """Whether a class is defined in a module of the user's own, in a notebook, or in a module that is gone."""
    module = sys.modules.get(kind.__module__)
    return module is None or kind.__module__ == "__main__" or is_own_module(module)


def _statements(tree: ast.AST | None) -> Iterator[ast.Assign | ast.AnnAssign]:
    """Assignments of a module, in order; a function's and a class's own are none of these."""
    for node in ast.iter_child_nodes(tree) if tree is not None else ():
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            yield node
        elif isinstance(node, (ast.stmt, ast.excepthandler, ast.match_case)) and not isinstance(node, _Definition):
            yield from _statements(node)


def _start(node: ast.expr) -> tuple[int, int]:
    return node.lineno, node.col_offset


def _end(node: ast.expr) -> tuple[int, int]:
    return node.end_lineno or node.lineno, node.end_col_offset or 0
