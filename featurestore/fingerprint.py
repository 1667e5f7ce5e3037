"""Fingerprints (S11): a hash of what a declaration computes, not of how it is written or where data lies.

A function is hashed as its canonical syntax tree (without comments, docstrings, annotations, its own decorators and
defaults) together with the values that it uses: defaults, closures, globals and, through them, functions, classes and
modules of the same project, each by its content and numbered in order of first use, so that recursion ends and a moved
helper changes nothing. Whatever else is installed is known by its name. A function without source text is known by its
code object.
"""

import ast
import copyreg
import dis
import enum
import functools
import hashlib
import inspect
import json
import linecache
import pprint
import symtable
import sys
import sysconfig
import textwrap
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path, PurePath
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import numpy as np
from pydantic import BaseModel

from featurestore.definition import (
    Entity,
    Feature,
    FeatureService,
    Listed,
    RoleFeature,
    RowFeature,
    Source,
    WindowFeature,
)
from featurestore.errors import DefinitionError
from featurestore.schema import schema_of

_FORMAT = "fingerprint 1"  # goes into every hash: a change of the canonical form is a change of this number
_UNSAID = frozenset({"ctx", "kind", "type_comment", "type_ignores", "simple"})  # fields that follow from the rest
_MODEL_RULES = (
    "extra",
    "strict",
    "str_strip_whitespace",
    "str_to_lower",
    "str_to_upper",
    "str_min_length",
    "str_max_length",
)
_VALIDATORS = ("validators", "field_validators", "root_validators", "model_validators")
_PLAIN = (bool, int, float, complex, str, bytes, tuple, list, dict, set, frozenset, type(None))
_MISSING = object()
_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
_Look = Callable[[str], Any]
_Names = dict[str, set[tuple[str, ...]]]  # what a definition uses, each with the attribute paths it is read by


def fingerprint_function(function: Callable[..., Any]) -> str:
    """SHA-256 (hex) of what a function computes.

    Raises
    ------
    DefinitionError
        If it uses a value whose content cannot be told, such as an open file or a connection.
    """
    content = _Content()
    return content.digest(content.token(function))


def fingerprint_schema(model: type[BaseModel]) -> str:
    """SHA-256 (hex) of a pydantic model's columns: names, kinds, nullability, defaults, constraints and validators."""
    content = _Content()
    return content.digest(content.schema(model))


def fingerprint_source(source: Source) -> str:
    """SHA-256 (hex) of a source's rules; its path, query or frame say where data lies, which is no rule."""
    content = _Content()
    return content.digest(content.token(source))


def fingerprint_entity(entity: Entity) -> str:
    """SHA-256 (hex) of an entity's name and key."""
    content = _Content()
    return content.digest("entity", content.token((entity.name, entity.key)))


def fingerprint_service(service: FeatureService, outputs: Mapping[str, str]) -> str:
    """SHA-256 (hex) of a service's outputs in order, given their fingerprints by name, and of its request schema."""
    request = "" if service.request is None else fingerprint_schema(service.request)
    return _Content().digest("service", request, *(f"{name}={outputs[name]}" for name in service.outputs))


def fingerprint_outputs(listed: Listed, inputs: Mapping[str, str]) -> dict[str, str]:
    """Fingerprint of each output of a feature, in order.

    An output of a family depends on its own window alone: another window beside it changes nothing.

    Parameters
    ----------
    listed
        A feature, or a feature in a role.
    inputs
        Fingerprint of each parameter of a row feature that is a feature's output; the caller gives the others.
    """
    content = _Content()
    if isinstance(listed, RoleFeature):
        role = listed.columns if isinstance(listed.columns, str) else sorted(listed.columns.items())
        said = content.token(role)
        inner = fingerprint_outputs(listed.feature, inputs).values()
        return {name: content.digest("role", said, one) for name, one in zip(listed.outputs, inner, strict=True)}
    body = content.token(listed.function)
    if isinstance(listed, RowFeature):
        given = [f"{name}={inputs.get(name, 'given')}" for name in listed.parameters]
        returns = f"{listed.kind} {listed.nullable} {listed.on_arrays}"
        return {listed.name: content.digest("row", body, returns, *given)}
    if not isinstance(listed, WindowFeature):
        raise DefinitionError(f"{listed!r} is neither a window feature nor a row feature, so it has no fingerprint.")
    view = f"{listed.view.name} {listed.view.entity.key} {fingerprint_source(listed.view.source)}"
    pairs = zip(listed.outputs, listed.windows, strict=True)
    return {name: content.digest("window", body, view, f"{window} {listed.offset}") for name, window in pairs}


def fingerprint_feature(listed: Listed, inputs: Mapping[str, str]) -> str:
    """Fingerprint of a whole feature: that of its only output, or of all outputs of a family with their names."""
    return combined(fingerprint_outputs(listed, inputs))


def combined(outputs: Mapping[str, str]) -> str:
    """Fingerprint of a whole feature, given those of its outputs by name."""
    if len(outputs) == 1:
        return next(iter(outputs.values()))
    return _Content().digest("family", *(f"{name}={one}" for name, one in outputs.items()))


def source_text(function: Callable[..., Any]) -> str:
    """Source of a function or class as written, decorators included, without indentation; empty if there is none."""
    if isinstance(function, type):
        kind = _find_class(function)
        return "" if kind is None else kind.text
    if isinstance(function, Feature):
        return source_text(function.function)
    if (plain := _reduction(function)) is not None:
        return f"window[{plain[0]!r}].{plain[1]}()\n"
    code = getattr(inspect.unwrap(function), "__code__", None)
    found = _find_function(code) if isinstance(code, types.CodeType) else None
    return "" if found is None else found.text


def used_text(function: Callable[..., Any]) -> str:
    """Source of the project's own helpers, and the constants, that a function uses, in order of first use."""
    content = _Content()
    content.token(function)
    own = source_text(function)
    return "\n".join(text for text in dict.fromkeys(content.texts) if text not in ("", own))


def canonical(node: object) -> str:
    """Text of a syntax tree that is the same on every supported Python (S11); ``ast.dump`` is not.

    Examples
    --------
    >>> canonical(ast.parse("rate*0x10", mode="eval").body)
    '(BinOp left=(Name id="rate") op=(Mult) right=i10)'
    """
    if isinstance(node, ast.Constant):
        return _constant(node.value)
    if isinstance(node, ast.JoinedStr):
        return f"(JoinedStr{_joined(node)})"
    if isinstance(node, list):
        return f"[{' '.join(canonical(item) for item in node)}]"
    if not isinstance(node, ast.AST):
        return _constant(node)
    said = {name: getattr(node, name, None) for name in sorted(set(node._fields) - _UNSAID)}
    if (
        isinstance(node, ast.FormattedValue)
        and isinstance(node.format_spec, ast.JoinedStr)
        and not _joined(node.format_spec)
    ):
        said["format_spec"] = None  # f"{x:}": an empty specification is there on some versions only
    shown = [f" {name}={canonical(value)}" for name, value in said.items() if value is not None and value != []]
    return f"({type(node).__name__}{''.join(shown)})"


class _Content:
    """Canonical text of values. Functions and classes of the project are numbered, and their content is kept aside."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._contents: list[str] = []
        self._numbers: dict[int, int] = {}
        self._kept: list[object] = []  # a number belongs to an id, so what has one must stay alive
        self._open: list[int] = []

    def digest(self, *parts: str) -> str:
        return hashlib.sha256(json.dumps([_FORMAT, parts, self._contents]).encode()).hexdigest()

    def token(self, value: object) -> str:
        """Text of one value; equal content gives equal text."""
        if id(value) in self._numbers:
            return f"#{self._numbers[id(value)]}"
        if id(value) in self._open:
            return f"(within {len(self._open) - self._open.index(id(value))})"
        self._open.append(id(value))
        try:
            return self._enum(value) if isinstance(value, enum.Enum) else self._token(value)
        finally:
            self._open.pop()

    def schema(self, model: type[BaseModel]) -> str:
        """Columns and rules of a pydantic model; its name, titles and descriptions are words."""
        columns = []
        for column in schema_of(model).fields:
            info = model.model_fields[column.name]
            default = (
                info.default_factory or column.default
            )  # a factory by its content: what it gives may differ each time
            rules = [_rule(self, one) for one in info.metadata]
            told = [
                column.kind,
                column.nullable,
                column.required,
                self.token(default),
                self._annotation(info.annotation),
            ]
            columns.append(f"{column.name} {told} {self.token(info.validation_alias)} {rules}")
        config = {name: model.model_config.get(name) for name in _MODEL_RULES if name in model.model_config}
        return f"(schema {columns} {self.token(config)} {list(self._validators(model))})"

    @functools.singledispatchmethod
    def _token(self, value: Any) -> str:
        if (plain := _reduction(value)) is not None:
            return f"(reduction {plain[0]} {plain[1]})"
        if callable(value) and hasattr(value, "__wrapped__") and not _of_project_class(type(value)):
            return f"(wrapped {_known(type(value))} {self.token(value.__wrapped__)})"
        if isinstance(value, np.ufunc):
            return _known(value)
        if get_origin(value) in (Union, types.UnionType):  # two classes until Python 3.13, one after it
            return f"(any {' '.join(self.token(arm) for arm in get_args(value))})"
        return self._reduced(value)

    @_token.register(bool)
    @_token.register(int)
    @_token.register(float)
    @_token.register(complex)
    @_token.register(str)
    @_token.register(bytes)
    @_token.register(type(None))
    @_token.register(type(...))
    @_token.register(type(NotImplemented))
    def _(self, value: Any) -> str:
        exact = type(value) in _PLAIN or value in (..., NotImplemented)
        return _constant(value) if exact else f"({self.token(type(value))} {_constant(value)})"

    @_token.register(tuple)
    @_token.register(list)
    @_token.register(set)
    @_token.register(frozenset)
    @_token.register(dict)
    @_token.register(types.MappingProxyType)
    def _(self, value: Any) -> str:
        if isinstance(value, Mapping):
            inside: Iterable[str] = [f"{self.token(key)}:{self.token(item)}" for key, item in value.items()]
        else:
            inside = [self.token(item) for item in value]
        name = type(value).__name__ if type(value) in (*_PLAIN, types.MappingProxyType) else self.token(type(value))
        return f"({name} {' '.join(sorted(inside) if isinstance(value, (set, frozenset)) else inside)})"

    @_token.register(np.generic)
    @_token.register(np.ndarray)
    def _(self, value: Any) -> str:
        if value.dtype.hasobject:
            return f"(array {value.shape} {self.token(value.tolist())})"
        data = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        return f"(array {type(value).__name__} {value.dtype.str} {value.shape} {data})"

    @_token.register(types.FunctionType)
    def _(self, value: types.FunctionType) -> str:
        return self._numbered(value, self._function) if _of_project(value.__code__.co_filename) else _known(value)

    @_token.register(type)
    def _(self, value: type) -> str:
        return self._numbered(value, self._class) if _of_project_class(value) else _known(value)

    @_token.register(types.ModuleType)
    def _(self, value: types.ModuleType) -> str:
        if not _of_project_module(value):
            return f"(module {value.__name__})"
        return self._numbered(
            value, lambda module: canonical(_bare(_parsed(str(module.__file__)) or ast.Module([], [])))
        )

    @_token.register(PurePath)
    def _(self, value: PurePath) -> str:
        return f"(path {value.as_posix()})"  # taken apart differently from Python 3.12 on

    @_token.register(types.MethodType)
    def _(self, value: types.MethodType) -> str:
        return f"(method {self.token(value.__self__)} {self.token(value.__func__)})"

    @_token.register(types.BuiltinFunctionType)
    def _(self, value: types.BuiltinFunctionType) -> str:
        owner = value.__self__
        bound = owner is not None and not isinstance(owner, (types.ModuleType, type))
        return f"(method {self.token(owner)} {value.__name__})" if bound else _known(value)

    @_token.register(staticmethod)
    @_token.register(classmethod)
    def _(self, value: Any) -> str:
        return f"({type(value).__name__} {self.token(value.__func__)})"

    @_token.register(property)
    def _(self, value: property) -> str:
        return f"(property {self.token((value.fget, value.fset, value.fdel))})"

    @_token.register(types.CodeType)
    def _(self, value: types.CodeType) -> str:
        inside = self.token(value.co_consts)
        return f"(code {value.co_code.hex()} {value.co_names} {value.co_varnames} {value.co_freevars} {inside})"

    @_token.register(Feature)
    def _(self, value: Feature) -> str:
        return self.token(value.function)

    @_token.register(Source)
    def _(self, value: Source) -> str:
        rules = [value.event_time, value.known_at, value.delay, value.key, value.inclusive]
        return f"(source {value.name} {rules} {sorted(value.keys.items())} {self.schema(value.schema)})"

    def _enum(self, member: enum.Enum) -> str:
        return f"(member {self.token(type(member))} {self.token(member.value)})"

    def _numbered(self, value: Any, content: Callable[[Any], str]) -> str:
        number = len(self._kept)
        self._numbers[id(value)] = number
        self._kept.append(value)
        self._contents.append("")
        self._contents[number] = content(value)
        return f"#{number}"

    def _function(self, function: types.FunctionType) -> str:
        code = function.__code__
        closure = dict(zip(code.co_freevars, function.__closure__ or (), strict=True))

        def look(name: str) -> Any:
            if name in closure:
                return _cell(closure[name])
            return function.__globals__.get(name, _MISSING)

        given = f"{self.token(function.__defaults__)} {self.token(function.__kwdefaults__)}"
        found = _find_function(code)
        if found is None:
            doc = code.co_consts[:1] == (function.__doc__,)
            consts = (None, *code.co_consts[1:]) if doc else code.co_consts
            names: _Names = {name: {()} for name in {*_names_in_code(code), *closure}}
            return f"{self.token(code.replace(co_consts=consts))} {given} {self._uses(names, look)}"
        self.texts.append(found.text)
        shape, names = _shape(found.node)
        return f"{shape} {given} {self._uses(names, look)}"

    def _class(self, kind: type) -> str:
        found = _find_class(kind)
        if found is None:
            members = {name: vars(kind).get(name) for name in sorted(vars(kind)) if not name.startswith("__")}
            told = {
                name: member for name, member in members.items() if isinstance(member, (*_PLAIN, types.FunctionType))
            }
            return f"{kind.__qualname__} {self.token(kind.__bases__)} {self.token(told)}"
        self.texts.append(found.text)
        shape, names = _shape(found.node)
        return f"{shape} {self._uses(names, _look_of(kind))}"

    def _uses(self, names: _Names, look: _Look) -> str:
        """Tell what names stand for; those of builtins, and those that nothing defines yet, say it themselves."""
        told = []
        for name in sorted(names):
            value = look(name)
            if value is _MISSING:
                continue
            if isinstance(value, types.ModuleType) and _of_project_module(value):
                told += [f"{name}.{'.'.join(path)}={self._through(value, path)}" for path in sorted(names[name])]
                continue
            if isinstance(value, _PLAIN):
                self.texts.append(f"{name} = {pprint.pformat(value, width=100)}\n")
            told.append(f"{name}={self.token(value)}")
        return f"[{' '.join(told)}]"

    def _through(self, module: types.ModuleType, path: tuple[str, ...]) -> str:
        """Tell what ``module.a.b`` stands for, followed while it stays among the project's modules."""
        value: Any = module
        for name in path:
            if not (isinstance(value, types.ModuleType) and _of_project_module(value)):
                break
            value = getattr(value, name, None)
        return self.token(value)

    def _reduced(self, value: Any) -> str:
        """Take an instance apart as pickle would; nothing is ever put together from it."""
        try:
            reduce = copyreg.dispatch_table.get(type(value))
            made: Any = value.__reduce_ex__(4) if reduce is None else reduce(value)
        except Exception as error:
            raise DefinitionError(
                f"A feature uses a value of type {type(value).__qualname__}, whose content cannot be told ({error}). "
                "Give it what it needs of it as a constant, or through a helper function."
            ) from error
        if isinstance(made, str):
            return f"(global {_known(value)} {made})"
        maker, arguments, state, items, pairs = (*made[:5], *[None] * (5 - len(made)))[:5]
        rest = [state, None if items is None else list(items), None if pairs is None else list(pairs)]
        return f"(made {self.token(maker)} {self.token(arguments)} {' '.join(self.token(part) for part in rest)})"

    def _annotation(self, annotation: Any) -> str:
        """Tell a column's type in so far as it rules: choices, members and rules inside ``Annotated``."""
        origin, arms = get_origin(annotation), get_args(annotation)
        if origin in (Union, types.UnionType):
            return f"(any {sorted(self._annotation(arm) for arm in arms)})"
        if origin is Literal:
            return f"(choice {sorted(self.token(arm) for arm in arms)})"
        if origin is Annotated:
            return f"(ruled {self._annotation(arms[0])} {[_rule(self, arm) for arm in arms[1:]]})"
        if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
            return f"(choice {sorted(self.token(member.value) for member in annotation)})"
        return str(getattr(annotation, "__name__", annotation))

    def _validators(self, model: type[BaseModel]) -> Iterator[str]:
        for group in _VALIDATORS:
            for name, one in getattr(model.__pydantic_decorators__, group, {}).items():
                function = getattr(one.func, "__func__", one.func)
                about = (getattr(one.info, "fields", ()), getattr(one.info, "mode", ""))
                yield f"{group} {name} {about} {self.token(function)}"


def _rule(content: _Content, rule: Any) -> str:
    """One constraint of a column, by its name and numbers: the classes behind it are pydantic's own affair."""
    if is_dataclass(rule) and not isinstance(rule, type):
        said = {field.name: getattr(rule, field.name) for field in fields(rule)}
        return f"{type(rule).__name__} {content.token(said)}"
    return content.token(vars(rule)) if hasattr(rule, "__dict__") and not callable(rule) else content.token(rule)


def _constant(value: Any) -> str:
    if isinstance(value, (bool, type(None), type(...), type(NotImplemented))):
        return repr(value)
    if isinstance(value, str):
        return json.dumps(str(value))
    if isinstance(value, bytes):
        return f"b{value.hex()}"
    if isinstance(value, int):
        return f"i{int(value):x}"
    return f"f{value.hex()}" if isinstance(value, float) else f"c{value.real.hex()},{value.imag.hex()}"


def _joined(node: ast.JoinedStr) -> str:
    """Parts of an f-string; versions split its plain text differently."""
    parts: list[str] = []
    plain = ""
    for value in node.values:
        if isinstance(value, ast.Constant):
            plain += str(value.value)
            continue
        parts += [_constant(plain)] * bool(plain) + [canonical(value)]
        plain = ""
    return "".join(f" {part}" for part in parts + [_constant(plain)] * bool(plain))


class _Bare(ast.NodeTransformer):
    """Takes out what computes nothing: docstrings, lone constants, ``pass``, annotations outside of class bodies."""

    def __init__(self) -> None:
        self._in_class = False

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        for name in ("body", "orelse", "finalbody"):
            body = getattr(node, name, None)
            if isinstance(body, list):
                kept = [one for one in body if not _is_idle(one)]
                setattr(node, name, kept or [ast.Pass()] * bool(body))
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._inside(node, in_class=False)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._inside(node, in_class=False)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        return self._inside(node, in_class=True)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        if self._in_class:
            return self.generic_visit(node)
        if node.value is None:
            return None
        return self.generic_visit(ast.copy_location(ast.Assign([node.target], node.value), node))

    def _inside(self, node: _Definition, *, in_class: bool) -> ast.AST:
        outer, self._in_class = self._in_class, in_class
        if not isinstance(node, ast.ClassDef):
            node.returns = None
        bare = self.generic_visit(node)
        self._in_class = outer
        return bare


def _bare(tree: ast.AST) -> ast.AST:
    return _Bare().visit(_copied(tree))  # type: ignore[no-any-return]


def _copied(node: Any) -> Any:
    """Copy a syntax tree, its places aside; ``copy.deepcopy`` takes five times as long."""
    if isinstance(node, list):
        return [_copied(item) for item in node]
    if not isinstance(node, ast.AST):
        return node
    return type(node)(**{name: _copied(getattr(node, name)) for name in node._fields if hasattr(node, name)})


@functools.lru_cache(maxsize=4096)
def _shape(node: ast.AST) -> tuple[str, _Names]:
    """Canonical form of a definition and the names it uses; the same helper is asked for by many features."""
    bare = _bare(_headless(node))
    return canonical(bare), _names(bare)


def _is_idle(statement: ast.AST) -> bool:
    return isinstance(statement, ast.Pass) or (
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    )


def _headless(node: ast.AST) -> ast.AST:
    """Copy a definition; of a function without name, decorators and defaults: used up, or values by now."""
    bare: ast.AST = _copied(node)
    if isinstance(bare, (ast.FunctionDef, ast.AsyncFunctionDef)):
        bare.name, bare.decorator_list = "function", []
    if isinstance(bare, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
        bare.args.defaults, bare.args.kw_defaults = [], [None for _ in bare.args.kw_defaults]
    return bare


class _Spread(ast.NodeTransformer):
    """Turns f-strings into tuples of what they hold: unparsing them fails for some quotes."""

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        self.generic_visit(node)
        return ast.Tuple([value for value in node.values if not isinstance(value, ast.Constant)], ast.Load())

    def visit_FormattedValue(self, node: ast.FormattedValue) -> ast.AST:
        self.generic_visit(node)
        return node.value if node.format_spec is None else ast.Tuple([node.value, node.format_spec], ast.Load())


def _names(tree: ast.AST) -> _Names:
    """Names that a definition takes from around it, each with the attribute paths that it is read by (or ``()``)."""
    spread = _Spread().visit(_copied(tree))
    statement = ast.Expr(spread) if isinstance(spread, ast.expr) else spread
    module = ast.fix_missing_locations(statement if isinstance(statement, ast.Module) else ast.Module([statement], []))
    tables = [symtable.symtable(ast.unparse(module), "<definition>", "exec")]
    for table in tables:  # grows while it is read: children of children
        tables += table.get_children()
    symbols = (symbol for table in tables for symbol in table.get_symbols())
    free = {symbol.get_name() for symbol in symbols if symbol.is_global() and symbol.is_referenced()}
    paths: _Names = {name: set() for name in free}
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


def _names_in_code(code: types.CodeType) -> set[str]:
    found = {one.argval for one in dis.get_instructions(code) if one.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    inner = [const for const in code.co_consts if isinstance(const, types.CodeType)]
    return found.union(*(_names_in_code(one) for one in inner))


@dataclass(frozen=True)
class _Found:
    """A definition in its file: syntax tree and text."""

    node: ast.AST
    text: str


def _find_function(code: types.CodeType) -> _Found | None:
    tree = _parsed(code.co_filename)
    if tree is None:
        return None
    if code.co_name == "<lambda>":
        return _find_lambda(tree, code)
    node = _functions_of(tree).get((code.co_name, code.co_firstlineno))
    return None if node is None else _found(node, code.co_filename)


@functools.lru_cache(maxsize=64)
def _functions_of(tree: ast.Module) -> dict[tuple[str, int], ast.AST]:
    """Functions of a file by name and first line: a file of many features is walked once."""
    nodes = (node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))
    return {(node.name, _first_line(node)): node for node in nodes}


def _find_lambda(tree: ast.AST, code: types.CodeType) -> _Found | None:
    """Find the lambda on that line whose body holds every instruction of the code: the smallest of these."""
    spots = {(line, column) for line, _, column, _ in code.co_positions() if line is not None and column}
    bodies = [node for node in ast.walk(tree) if isinstance(node, ast.Lambda) and node.lineno == code.co_firstlineno]
    fitting = [node for node in bodies if all(_start(node.body) <= spot < _end(node.body) for spot in spots)]
    if not spots or not fitting:
        return _found(bodies[0], code.co_filename) if len(bodies) == 1 else None
    return _found(
        max(fitting, key=lambda node: (_start(node.body), tuple(-part for part in _end(node.body)))), code.co_filename
    )


def _find_class(kind: type) -> _Found | None:
    filename = _file_of(kind)
    tree: ast.AST | None = None if filename is None else _parsed(filename)
    for name in kind.__qualname__.split("."):
        if name == "<locals>" or tree is None:
            continue
        inner = [
            node for node in ast.walk(tree) if isinstance(node, _Definition) and node.name == name and node is not tree
        ]
        tree = inner[-1] if inner else None
    return _found(tree, filename) if isinstance(tree, ast.ClassDef) and filename is not None else None


def _found(node: ast.AST, filename: str) -> _Found:
    first = _first_line(node)
    lines = linecache.getlines(filename)[first - 1 : getattr(node, "end_lineno", first)]
    return _Found(node, textwrap.dedent("".join(lines)))


def _first_line(node: Any) -> int:
    return min(int(one.lineno) for one in (node, *getattr(node, "decorator_list", ())))


def _start(node: ast.expr) -> tuple[int, int]:
    return node.lineno, node.col_offset


def _end(node: ast.expr) -> tuple[int, int]:
    return node.end_lineno or node.lineno, node.end_col_offset or 0


def _parsed(filename: str) -> ast.Module | None:
    linecache.checkcache(filename)
    return _parse("".join(linecache.getlines(filename)))


@functools.lru_cache(maxsize=64)
def _parse(text: str) -> ast.Module | None:
    try:
        return ast.parse(text) if text else None
    except (SyntaxError, ValueError):
        return None  # not Python: a template, a changed file; the code object remains


def _cell(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return _MISSING  # a name that is assigned later, or never


def _methods(kind: type) -> list[types.FunctionType]:
    members = (getattr(member, "__func__", getattr(member, "fget", member)) for member in vars(kind).values())
    return [
        member for member in members if isinstance(member, types.FunctionType) and member.__module__ == kind.__module__
    ]


def _look_of(kind: type) -> _Look:
    """Where a class finds names: the closures of its methods, then its module."""
    methods = _methods(kind)
    cells = {
        name: cell
        for one in methods
        for name, cell in zip(one.__code__.co_freevars, one.__closure__ or (), strict=True)
    }
    around = methods[0].__globals__ if methods else vars(sys.modules.get(kind.__module__, types.ModuleType("")))

    def look(name: str) -> Any:
        return _cell(cells[name]) if name in cells else around.get(name, _MISSING)

    return look


def _file_of(kind: type) -> str | None:
    module = sys.modules.get(kind.__module__)
    files = [one.__code__.co_filename for one in _methods(kind) if linecache.getlines(one.__code__.co_filename)]
    return files[0] if files else getattr(module, "__file__", None)


def _of_project_class(kind: type) -> bool:
    module = sys.modules.get(kind.__module__)
    if module is None or kind.__module__ == "__main__":
        return True
    return _of_project_module(module)


def _of_project_module(module: types.ModuleType) -> bool:
    places = [module.__file__] if getattr(module, "__file__", None) else list(getattr(module, "__path__", ()))
    return any(_of_project(str(place)) for place in places)


@functools.lru_cache(maxsize=4096)
def _of_project(filename: str) -> bool:
    """Whether a file is the user's own: neither installed, nor Python's, nor this package's."""
    if filename.startswith("<frozen "):
        return False
    path = Path(filename).resolve()
    if {"site-packages", "dist-packages"} & set(path.parts):
        return False
    outside = [sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), str(Path(__file__).parent)]
    return not any(path.is_relative_to(Path(folder).resolve()) for folder in outside)


def _known(value: Any) -> str:
    """Name of something installed: package and qualified name, not the module within, which moves between releases."""
    owner = value if hasattr(value, "__qualname__") or hasattr(value, "__name__") else type(value)
    package = str(getattr(owner, "__module__", None) or type(value).__module__).partition(".")[0].lstrip("_")
    return f"(known {package}:{getattr(owner, '__qualname__', None) or owner.__name__})"


def _reduction(function: Any) -> tuple[str, str] | None:
    """Column and reduction of what ``aggregations`` makes."""
    made = type(function).__module__ == Source.__module__ and not isinstance(function, Feature)
    return (function.column, function.reduction) if made and hasattr(function, "reduction") else None
