"""What features use that they may not (S14): found in the syntax trees of their functions and of the project's helpers.

A name is looked up where the function would find it (its closure, its module, its own imports), so that an alias is
found and a column called ``now`` is not. What is installed is judged by its name and not read; what hides from this is
left to the check that runs the features.
"""

import ast
import functools
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, MutableSequence, MutableSet
from collections.abc import Iterator as Steps
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from featurestore import written
from featurestore.definition import Feature, Label
from featurestore.impure import CLOCK, HASH, RANDOM, STATE, Impurity, Symbol, impurity_of, impurity_of_call
from featurestore.scopes import UNKNOWN, Scope, attribute, is_there, names_around

_MUTABLE = (MutableSequence, MutableSet, MutableMapping, np.ndarray)
_ATOMS = (str, bytes, bool, int, float, complex, type(None))
# fmt: off
_CHANGING = frozenset({
    "append", "appendleft", "extend", "extendleft", "insert", "remove", "pop", "popleft", "popitem", "clear", "add",
    "discard", "update", "setdefault", "sort", "reverse", "rotate", "fill", "put", "itemset", "resize", "partition",
    "subtract", "move_to_end", "difference_update", "intersection_update", "symmetric_difference_update",
    "__setitem__", "__delitem__",
})
# fmt: on
_OF_CONSTANTS = (CLOCK, RANDOM, HASH)  # what a file or the environment says is in the constant, and fingerprinted
_SHOWN = 3
_Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


@dataclass(frozen=True)
class Finding:
    """One place in the code that may not be there, and through which helper a feature gets to it."""

    file: str
    line: int
    code: str
    does: str
    impurity: Impurity
    through: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.code} {self.does}"


@dataclass(frozen=True)
class _Used:
    """A function to be read; ``given`` are parameters that hold what outlives a call: defaults, a global instance."""

    function: types.FunctionType
    through: str
    given: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class _Reader:
    """Reads one piece of code: ``file`` it stands in, ``through`` which helper; gathers the helpers that it uses."""

    file: str
    through: str
    helpers: list[_Used] = field(default_factory=list)

    def within(self, node: _Function, around: Scope, given: Mapping[str, Any]) -> Iterator[Finding]:
        """Findings in a function or lambda: its defaults where it stands, its body in a scope of its own."""
        for default in (*node.args.defaults, *node.args.kw_defaults):
            if default is not None:
                yield from self.visit(default, around)
        scope = around.within(node, given)
        for one in node.body if isinstance(node.body, list) else [node.body]:
            yield from self.visit(one, scope)

    def visit(self, node: ast.AST, scope: Scope, *, called: bool = False) -> Iterator[Finding]:
        """Findings in any node."""
        if isinstance(node, _Function):
            yield from self.within(node, scope, {})
            return
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load):
            found = self._judged(node, scope, called=called)
            if found is not None:
                yield found
                return
        elif isinstance(node, ast.Call):
            yield from self._called(node, scope)
        yield from self._changed(node, scope)
        for name, child in ast.iter_fields(node):
            if name not in ("annotation", "returns", "decorator_list"):
                for one in child if isinstance(child, list) else [child]:
                    if isinstance(one, ast.AST):
                        yield from self.visit(one, scope, called=isinstance(node, ast.Call) and one is node.func)

    def _judged(self, node: ast.expr, scope: Scope, *, called: bool) -> Finding | None:
        """Judge what a name, with its attributes, stands for; follow it where it is the project's own."""
        value = scope.value(node)
        if value is UNKNOWN:
            return None
        used = list(functions_of(value, self.through or getattr(value, "__name__", "")))
        self.helpers.extend(used)
        impurity = None if used else impurity_of(value) or _by_path(node, value, scope)
        text = ast.unparse(node) + "()" * called
        return None if impurity is None else self._found(node, text, impurity)

    def _called(self, node: ast.Call, scope: Scope) -> Iterator[Finding]:
        """Findings in the call itself; those in its function and arguments are theirs."""
        function = scope.value(node.func)
        if function is UNKNOWN:
            function = None
        first = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else None
        impurity = impurity_of_call(function, len(node.args) + len(node.keywords), first)
        if function is getattr and (reached := scope.value(node)) is not UNKNOWN:
            self.helpers.extend(functions_of(reached, self.through))
            impurity = impurity_of(reached)
        if impurity is not None:
            yield self._found(node, ast.unparse(node), impurity)
        if function is next and node.args and isinstance(scope.value(node.args[0]), Steps):
            yield self._kept(node, ast.unparse(node.args[0]))
        if isinstance(node.func, ast.Attribute) and node.func.attr in _CHANGING:
            owner, value = _owner(node.func.value, scope)
            if isinstance(value, _MUTABLE) or (is_there(value) and written.is_own_class(type(value))):
                yield self._kept(node, ast.unparse(owner))

    def _changed(self, node: ast.AST, scope: Scope) -> Iterator[Finding]:
        """Findings in an assignment or deletion: of a global name, or of a part of what was there before."""
        if not isinstance(node, ast.Name | ast.Attribute | ast.Subscript) or isinstance(node.ctx, ast.Load):
            return
        if isinstance(node, ast.Name):
            if node.id in scope.outer:
                yield self._kept(node, node.id)
            return
        owner, value = _owner(node.value, scope)
        if is_there(value):
            yield self._kept(node, ast.unparse(owner))

    def _kept(self, node: ast.AST, what: str) -> Finding:
        return self._found(node, ast.unparse(node), replace(STATE, does=f"changes {what}, which outlives the call"))

    def _found(self, node: ast.AST, code: str, impurity: Impurity) -> Finding:
        return Finding(self.file, getattr(node, "lineno", 0), code, impurity.does, impurity, self.through)


def problems(features: Iterable[Feature | Label]) -> Iterator[tuple[Feature | Label, str]]:
    """Each place that may not be there, once: the first feature that gets to it, and words that name them all."""
    places: dict[str, list[tuple[Feature | Label, Finding]]] = {}
    for feature in features:
        for one in findings(feature.function):
            places.setdefault(str(one), []).append((feature, one))
    for place, those in places.items():
        names = [f"{one.name!r}" + f" through {found.through}()" * bool(found.through) for one, found in those]
        names = list(dict.fromkeys(names))
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        what = those[0][0].what if len(names) == 1 else "features"
        feature, found = those[0]
        yield feature, f"{place}, in {what} {', '.join(names[:_SHOWN])}{more}. {found.impurity.instead}"


def findings(function: Callable[..., Any]) -> list[Finding]:
    """What a function, and what it uses of its own project, may not do."""
    waiting = list(functions_of(function, ""))
    read: set[tuple[int, tuple[str, ...]]] = set()
    found: list[Finding] = []
    while waiting:
        used = waiting.pop(0)
        known = id(used.function), tuple(used.given)
        if known not in read:
            read.add(known)
            found += _read(used, waiting)
    return list({str(one): one for one in reversed(found)}.values())[::-1]


def functions_of(value: Any, through: str) -> Iterator[_Used]:
    """Functions of the project's own that a value stands for."""
    given: dict[str, Any] = {}
    if isinstance(value, Feature):
        value = value.function
    if isinstance(value, functools.partial):
        for part in (value.func, *value.args, *value.keywords.values()):
            yield from functions_of(part, through or getattr(part, "__name__", ""))
    elif isinstance(value, type):
        for method in written.methods(value) if written.is_own_class(value) else ():
            yield _Used(method, through, {})
    elif isinstance(value, types.MethodType | types.FunctionType):
        plain = getattr(value, "__func__", value)
        if isinstance(plain, types.FunctionType) and written.is_own_file(plain.__code__.co_filename):
            names = plain.__code__.co_varnames[: plain.__code__.co_argcount]
            given |= zip(reversed(names), reversed(plain.__defaults__ or ()), strict=False)
            given |= plain.__kwdefaults__ or {}
            given = {name: one for name, one in given.items() if isinstance(one, _MUTABLE)}
            given |= {names[0]: value.__self__} if isinstance(value, types.MethodType) and names else {}
            yield _Used(plain, through, given)
    wrapped = None if isinstance(value, type) else getattr(value, "__wrapped__", None)
    if callable(value) and isinstance(wrapped, types.FunctionType):
        yield from functions_of(wrapped, through)


def _read(used: _Used, helpers: list[_Used]) -> Iterator[Finding]:
    code = used.function.__code__
    file = written.file_of(code.co_filename)
    passage = file.function(code)
    if passage is None or not isinstance(passage.node, _Function):
        return
    look = names_around(used.function)
    yield from _Reader(code.co_filename, used.through, helpers).within(passage.node, Scope({}, look), used.given)
    if used.function.__globals__.get("__file__") == code.co_filename:
        for name in sorted(passage.shape.names):
            constant = file.assignments.get(name)
            if constant is not None and not callable(look(name)) and name not in code.co_freevars:
                made = _Reader(code.co_filename, used.through).visit(constant.node, Scope({}, look))
                yield from (one for one in made if one.impurity in _OF_CONSTANTS)


def _owner(node: ast.expr, scope: Scope) -> tuple[ast.expr, Any]:
    """Innermost part of ``a.b[c]`` that is known, with its value: of what is got out of it, it is the owner."""
    value = scope.value(node)
    while value is UNKNOWN and isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
        value = scope.value(node)
    return node, value


def _by_path(node: ast.expr, value: Any, scope: Scope) -> Impurity | None:
    """Judge an attribute of a module by the name it is asked for: ``sys.argv`` is but a list."""
    module = scope.value(node.value) if isinstance(node, ast.Attribute) else None
    if not isinstance(module, types.ModuleType) or not isinstance(node, ast.Attribute) or isinstance(value, _ATOMS):
        return None
    return impurity_of(attribute(Symbol(module.__name__), node.attr))
