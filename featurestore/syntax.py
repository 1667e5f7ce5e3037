"""Canonical text of Python code (S11): equal for code that computes the same, and equal on every supported Python.

Out of a definition go comments, docstrings, annotations, its own decorators and its defaults: they compute nothing, are
used up, or are values by now. What stays is written as text, with the names that the definition takes from around it.
"""

import ast
import dis
import functools
import json
import symtable
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_UNSAID = frozenset({"ctx", "kind", "type_comment", "type_ignores", "simple"})  # fields that follow from the rest
_ANNOTATIONS = {ast.arg: "annotation", ast.FunctionDef: "returns", ast.AsyncFunctionDef: "returns"}
_Function = ast.FunctionDef | ast.AsyncFunctionDef
Names = Mapping[str, set[tuple[str, ...]]]


@dataclass(frozen=True)
class Shape:
    """Canonical text of a definition, and the names it uses with the attribute paths that each is read by."""

    text: str
    names: Names


def shape(node: ast.AST) -> Shape:
    """Shape of a function, a lambda or a class; the tree stays as it is."""
    bare = _headless(_bare(node))
    return Shape(canonical(bare), _names(bare))


def module_text(tree: ast.Module) -> str:
    """Canonical text of a whole module; the tree stays as it is."""
    return canonical(_bare(tree))


def canonical(node: object) -> str:
    """Text of a syntax tree that is the same on every supported Python; ``ast.dump`` is not.

    Examples
    --------
    >>> canonical(ast.parse("rate*0x10", mode="eval").body)
    '(BinOp left=(Name id="rate") op=(Mult) right=i10)'
    """
    if isinstance(node, ast.Constant):
        return constant(node.value)
    if isinstance(node, ast.JoinedStr):
        return f"(JoinedStr{_joined(node)})"
    if isinstance(node, list):
        return f"[{' '.join([canonical(item) for item in node])}]"
    if not isinstance(node, ast.AST):
        return constant(node)
    said = [(name, getattr(node, name, None)) for name in _said(node._fields)]
    if isinstance(node, ast.FormattedValue) and not _has_format(node):
        said = [(name, value) for name, value in said if name != "format_spec"]  # f"{x:}": empty on some versions only
    shown = [f" {name}={canonical(value)}" for name, value in said if value is not None and value != []]
    return f"({type(node).__name__}{''.join(shown)})"


def constant(value: Any) -> str:
    """Text of a constant; a float by its bits, so that ``1e3`` is ``1000.0`` and ``0.0`` is not ``-0.0``."""
    if isinstance(value, (bool, type(None), type(...), type(NotImplemented))):
        return repr(value)
    if isinstance(value, str):
        return json.dumps(str(value))
    if isinstance(value, bytes):
        return f"b{value.hex()}"
    if isinstance(value, int):
        return f"i{int(value):x}"
    return f"f{value.hex()}" if isinstance(value, float) else f"c{value.real.hex()},{value.imag.hex()}"


def names_in_code(code: types.CodeType) -> set[str]:
    """Names that a code object takes from around it, for where there is no source text."""
    found = {one.argval for one in dis.get_instructions(code) if one.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    inner = [const for const in code.co_consts if isinstance(const, types.CodeType)]
    return found.union(*(names_in_code(one) for one in inner))


@functools.cache
def _said(fields: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(set(fields) - _UNSAID))


def _has_format(node: ast.FormattedValue) -> bool:
    return isinstance(node.format_spec, ast.JoinedStr) and bool(_joined(node.format_spec))


def _joined(node: ast.JoinedStr) -> str:
    """Parts of an f-string; versions split its plain text differently."""
    parts: list[str] = []
    plain = ""
    for value in node.values:
        if isinstance(value, ast.Constant):
            plain += str(value.value)
            continue
        parts += [constant(plain)] * bool(plain) + [canonical(value)]
        plain = ""
    return "".join(f" {part}" for part in parts + [constant(plain)] * bool(plain))


def _bare(node: Any, *, in_class: bool = False) -> Any:
    """Copy a tree without what computes nothing: lone constants, ``pass``, annotations outside of class bodies."""
    if isinstance(node, list):
        kept = [_bare(one, in_class=in_class) for one in node if not _is_idle(one, in_class=in_class)]
        return kept or [ast.Pass() for one in node[:1] if isinstance(one, ast.stmt)]
    if not isinstance(node, ast.AST):
        return node
    if isinstance(node, ast.AnnAssign) and not in_class:
        return ast.Assign([_bare(node.target)], _bare(node.value), lineno=1)
    inside = isinstance(node, ast.ClassDef) or (in_class and not isinstance(node, _Function))
    dropped = _ANNOTATIONS.get(type(node))
    fields = [name for name in node._fields if name != dropped and hasattr(node, name)]
    copied = type(node)(**{name: _bare(getattr(node, name), in_class=inside) for name in fields})
    if isinstance(copied, ast.stmt):
        copied.lineno = 1  # unparsing wants one
    return copied


def _is_idle(node: Any, *, in_class: bool) -> bool:
    if isinstance(node, ast.AnnAssign):
        return node.value is None and not in_class
    return isinstance(node, ast.Pass) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))


def _headless(node: ast.AST) -> ast.AST:
    """Take name, decorators and defaults off a function: used up, or values by now."""
    if isinstance(node, _Function):
        node.name, node.decorator_list = "function", []
    if isinstance(node, _Function | ast.Lambda):
        node.args.defaults, node.args.kw_defaults = [], [None for _ in node.args.kw_defaults]
    return node


class _Spread(ast.NodeTransformer):
    """Turns f-strings into tuples of what they hold: unparsing them fails for some quotes.

    A name that is nonlocal becomes global: what it is bound in is not part of the definition.
    """

    def visit_Nonlocal(self, node: ast.Nonlocal) -> ast.AST:
        return ast.Global(node.names)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        self.generic_visit(node)
        return ast.Tuple([value for value in node.values if not isinstance(value, ast.Constant)], ast.Load())

    def visit_FormattedValue(self, node: ast.FormattedValue) -> ast.AST:
        self.generic_visit(node)
        return node.value if node.format_spec is None else ast.Tuple([node.value, node.format_spec], ast.Load())


def _names(tree: ast.AST) -> Names:
    """Names that a bare definition takes from around it. Uses the tree up."""
    spread = _Spread().visit(tree)
    statement = ast.Expr(spread) if isinstance(spread, ast.expr) else spread
    module = statement if isinstance(statement, ast.Module) else ast.Module([statement], [])
    tables = [symtable.symtable(ast.unparse(module), "<definition>", "exec")]
    for table in tables:  # grows while it is read: children of children
        tables += table.get_children()
    symbols = (symbol for table in tables for symbol in table.get_symbols())
    free = {symbol.get_name() for symbol in symbols if symbol.is_global() and symbol.is_referenced()}
    paths: dict[str, set[tuple[str, ...]]] = {name: set() for name in free}
    for name, path in _paths(module):
        if name in free:
            paths[name].add(path)
    return paths


def _paths(node: ast.AST) -> Iterator[tuple[str, tuple[str, ...]]]:
    inner, path = node, []
    while isinstance(inner, ast.Attribute):
        path.append(inner.attr)
        inner = inner.value
    if isinstance(inner, ast.Name):
        yield inner.id, tuple(reversed(path))
        return
    for child in ast.iter_child_nodes(node):
        yield from _paths(child)
