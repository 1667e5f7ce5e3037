"""What the names in a function's code stand for, as far as that can be told without running it."""

import ast
import builtins
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

from featurestore.impure import Symbol

UNKNOWN = object()
_Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_NAMED = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.ExceptHandler | ast.MatchAs | ast.MatchStar
_ATTRIBUTE = 2  # arguments of getattr


@dataclass(frozen=True)
class Made:
    """A value that the code makes, of which only the class is known."""

    kind: type


@dataclass(frozen=True)
class Scope:
    """Names as the code of one function sees them: its own with their values, then those around it.

    ``outer`` are names that it declares global or nonlocal, and that are not of a function around it.
    """

    local: Mapping[str, Any]
    look: Callable[[str], Any]
    outer: frozenset[str] = frozenset()

    def value(self, node: ast.AST) -> Any:
        """Value of an expression: itself where it is there already, else ``Made``, ``Symbol`` or ``UNKNOWN``."""
        if isinstance(node, ast.Name):
            return self.local[node.id] if node.id in self.local else self.look(node.id)
        if isinstance(node, ast.Attribute):
            return attribute(self.value(node.value), node.attr)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            left = self.value(node.left)
            kind = left.kind if isinstance(left, Made) else type(left)
            return Made(kind) if issubclass(kind, PurePath) else UNKNOWN
        return self._called(node) if isinstance(node, ast.Call) else UNKNOWN

    def within(self, node: _Function, given: Mapping[str, Any]) -> "Scope":
        """Scope of the body of a function that stands in this one; ``given`` are parameters whose values are known."""
        names = list(_bound(node))
        declared = {name for one in _inside(node) if isinstance(one, ast.Global | ast.Nonlocal) for name in one.names}
        everywhere = {name for one in _inside(node) if isinstance(one, ast.Global) for name in one.names}
        outer = frozenset(name for name in declared if name in everywhere or name not in self.local)
        local = {**self.local, **dict.fromkeys(set(names) - declared, UNKNOWN), **given}
        made = replace(self, local={name: one for name, one in local.items() if name not in outer}, outer=outer)
        for one in _inside(node):
            told = dict(_imported(one)) if isinstance(one, ast.Import | ast.ImportFrom) else dict(made.assigned(one))
            fresh = {name: value for name, value in told.items() if made.local.get(name) is UNKNOWN}
            made = replace(made, local={**made.local, **fresh}) if fresh else made
        return made

    def assigned(self, node: ast.AST) -> Iterator[tuple[str, Any]]:
        """Name that a plain assignment binds, with its value."""
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            yield node.targets[0].id, self.value(node.value)
        if isinstance(node, ast.NamedExpr):
            yield node.target.id, self.value(node.value)

    def _called(self, node: ast.Call) -> Any:
        made = self.value(node.func)
        if made is getattr and len(node.args) >= _ATTRIBUTE and isinstance(node.args[1], ast.Constant):
            return attribute(self.value(node.args[0]), str(node.args[1].value))
        return Made(made) if isinstance(made, type) else UNKNOWN


def is_there(value: Any) -> bool:
    """Whether it is a value that was there before the call, and stays after it."""
    return value is not UNKNOWN and not isinstance(value, (Made, Symbol))


def attribute(owner: Any, name: str) -> Any:
    """Attribute of a value; of an instance no property is run."""
    if owner is UNKNOWN:
        return UNKNOWN
    if isinstance(owner, Symbol):
        return Symbol(f"{owner.name}.{name}")
    if isinstance(owner, Made):
        return _got(owner.kind, name)
    if isinstance(owner, (types.ModuleType, type)):
        return _got(owner, name)
    if name in getattr(owner, "__dict__", {}):
        return owner.__dict__[name]
    found = _got(type(owner), name)
    return types.MethodType(found, owner) if isinstance(found, types.FunctionType) else found


def names_around(function: types.FunctionType) -> Callable[[str], Any]:
    """Where a function finds names that are not its own: its closure, its module, Python's."""
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))

    def look(name: str) -> Any:
        if name not in cells:
            return function.__globals__.get(name, getattr(builtins, name, UNKNOWN))
        try:
            return cells[name].cell_contents
        except ValueError:
            return UNKNOWN

    return look


def _got(owner: Any, name: str) -> Any:
    try:
        return getattr(owner, name, UNKNOWN)
    except Exception:  # noqa: BLE001 - a module's own __getattr__ may raise anything
        return UNKNOWN


def _bound(node: _Function) -> Iterator[str]:
    """Names that a function binds: parameters, assignments, imports, functions and classes in it."""
    arguments = node.args
    for one in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg):
        if one is not None:
            yield one.arg
    for inner in _inside(node):
        if isinstance(inner, ast.Name) and not isinstance(inner.ctx, ast.Load):
            yield inner.id
        elif isinstance(inner, ast.Import | ast.ImportFrom):
            yield from (alias.asname or alias.name.partition(".")[0] for alias in inner.names)
        elif isinstance(inner, _NAMED):
            yield inner.name or ""


def _inside(node: _Function) -> Iterator[ast.AST]:
    """Nodes of a function's body, in order; a function in it by itself, without its body."""
    body = node.body if isinstance(node.body, list) else [node.body]
    waiting: list[ast.AST] = list(reversed(body))
    while waiting:
        one = waiting.pop()
        yield one
        if not isinstance(one, _Function | ast.ClassDef):
            waiting += reversed(list(ast.iter_child_nodes(one)))


def _imported(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, Any]]:
    """Names that an import inside a function binds; nothing is imported to find out."""
    for alias in node.names:
        if isinstance(node, ast.ImportFrom):
            if node.module and not node.level:
                yield alias.asname or alias.name, attribute(_module(node.module), alias.name)
        else:
            bound = alias.name if alias.asname else alias.name.partition(".")[0]
            yield alias.asname or bound, _module(bound)


def _module(name: str) -> Any:
    return sys.modules.get(name, Symbol(name))
