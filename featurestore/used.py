"""What a function uses, as text (S11): defaults, closures, globals and, through them, the project's own helpers.

Functions, classes and modules of the same project count by their content. They are numbered in order of first use, so
that recursion ends and a moved helper changes nothing. Whatever else is installed is known by its name. A function
without source text is known by its code object.
"""

import copyreg
import enum
import functools
import hashlib
import json
import pprint
import re
import sys
import types
from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePath
from typing import Any, Union, get_args, get_origin

import numpy as np

from featurestore import syntax, written
from featurestore.constraints import schema_text
from featurestore.definition import Feature, Label, Source
from featurestore.errors import DefinitionError
from featurestore.syntax import Names

_FORMAT = "fingerprint 1"  # goes into every hash: a change of the canonical form is a change of this number
_ATOMS = frozenset({bool, int, float, complex, str, bytes, type(None), type(...), type(NotImplemented)})
_PLAIN = (bool, int, float, complex, str, bytes, tuple, list, dict, set, frozenset, type(None))
_MISSING = object()
_Look = Callable[[str], Any]

_FILE = re.compile(r"'([^']*/[^']*)'")


class Content:
    """Canonical text of values, and of what they use; ``texts`` shows helpers and constants as written."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._contents: list[str] = []
        self._numbers: dict[int, int] = {}
        self._kept: list[object] = []  # a number belongs to an id, so what has one must stay alive
        self._open: list[int] = []

    def digest(self, *parts: str) -> str:
        """SHA-256 (hex) of some texts and of all content met so far."""
        return hashlib.sha256(json.dumps([_FORMAT, parts, self._contents]).encode()).hexdigest()

    def token(self, value: object) -> str:
        """Text of one value; equal content gives equal text.

        Raises
        ------
        DefinitionError
            If the content of the value, or of one that it uses, cannot be told.
        """
        if type(value) in _ATOMS:
            return syntax.constant(value)
        if id(value) in self._numbers:
            return f"#{self._numbers[id(value)]}"
        if id(value) in self._open:
            return f"(within {len(self._open) - self._open.index(id(value))})"
        self._open.append(id(value))
        try:
            return self._member(value) if isinstance(value, enum.Enum) else self._token(value)
        finally:
            self._open.pop()

    def source(self, source: Source, *, until: str | None = None) -> str:
        """Text of a source's rules, with its schema in so far as its columns up to ``until`` can tell."""
        rules = [source.event_time, source.known_at, source.delay, source.key, source.inclusive]
        if source.query is not None:
            rules.append(_placeless(source.query))
        schema = schema_text(source.schema, self.token, until=until)
        return f"(source {source.name} {rules} {sorted(source.keys.items())} {schema})"

    @functools.singledispatchmethod
    def _token(self, value: Any) -> str:
        if (plain := written.reduction_of(value)) is not None:
            return f"(reduction {plain[0]} {plain[1]})"
        if callable(value) and hasattr(value, "__wrapped__") and not written.is_own_class(type(value)):
            return f"(wrapped {_known(type(value))} {self.token(value.__wrapped__)})"
        if isinstance(value, np.ufunc):
            return _known(value)
        if get_origin(value) in (Union, types.UnionType):  # two classes until Python 3.13, one after it
            return f"(any {' '.join(self.token(arm) for arm in get_args(value))})"
        return self._reduced(value)

    @_token.register(int)
    @_token.register(float)
    @_token.register(complex)
    @_token.register(str)
    @_token.register(bytes)
    def _(self, value: Any) -> str:
        return f"({self.token(type(value))} {syntax.constant(value)})"  # of a class of its own: else it is an atom

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
        own = written.is_own_file(value.__code__.co_filename)
        return self._numbered(value, self._function) if own else _known(value)

    @_token.register(type)
    def _(self, value: type) -> str:
        return self._numbered(value, self._class) if written.is_own_class(value) else _known(value)

    @_token.register(types.ModuleType)
    def _(self, value: types.ModuleType) -> str:
        own = written.is_own_module(value)
        return self._numbered(value, _module) if own else f"(module {value.__name__})"

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

    @_token.register(Label)
    def _(self, value: Label) -> str:
        raise DefinitionError(
            f"it uses the label {value.name!r}, which looks forward. What a label shares with others belongs in a "
            "function of its own, without @label."
        )

    @_token.register(Source)
    def _(self, value: Source) -> str:
        return self.source(value)

    def _member(self, member: enum.Enum) -> str:
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
        look = _look(closure, function.__globals__)
        given = f"{self.token(function.__defaults__)} {self.token(function.__kwdefaults__)}"
        found = written.file_of(code.co_filename).function(code)
        if found is None:
            doc = code.co_consts[:1] == (function.__doc__,)
            consts = (None, *code.co_consts[1:]) if doc else code.co_consts
            names: Names = {name: {()} for name in {*syntax.names_in_code(code), *closure}}
            return f"{self.token(code.replace(co_consts=consts))} {given} {self._uses(names, look)}"
        self.texts.append(found.text)
        return f"{found.shape.text} {given} {self._uses(found.shape.names, look)}"

    def _class(self, kind: type) -> str:
        found = written.find_class(kind)
        if found is None:
            members = {name: vars(kind)[name] for name in sorted(vars(kind)) if not name.startswith("__")}
            told = {name: one for name, one in members.items() if isinstance(one, (*_PLAIN, types.FunctionType))}
            return f"{kind.__qualname__} {self.token(kind.__bases__)} {self.token(told)}"
        self.texts.append(found.text)
        return f"{found.shape.text} {self._uses(found.shape.names, _look_of(kind))}"

    def _uses(self, names: Names, look: _Look) -> str:
        """Tell what names stand for; those of builtins, and those that nothing defines yet, say it themselves."""
        told = []
        for name in sorted(names):
            value = look(name)
            if value is _MISSING:
                continue
            if isinstance(value, types.ModuleType) and written.is_own_module(value):
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
            if not (isinstance(value, types.ModuleType) and written.is_own_module(value)):
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


def used_text(function: Callable[..., Any]) -> str:
    """Source of the project's own helpers, and the constants, that a function uses, in order of first use."""
    content = Content()
    content.token(function)
    own = written.source_text(function)
    return "\n".join(text for text in dict.fromkeys(content.texts) if text not in ("", own))


def _module(module: types.ModuleType) -> str:
    return written.file_of(str(module.__file__)).content


def _look(cells: Mapping[str, types.CellType], around: Mapping[str, Any]) -> _Look:
    """Where a function finds names: its closure, then its module."""
    return lambda name: _cell(cells[name]) if name in cells else around.get(name, _MISSING)


def _look_of(kind: type) -> _Look:
    """Where a class finds names: the closures of its methods, then its module."""
    methods = written.methods(kind)
    cells: dict[str, types.CellType] = {}
    for one in methods:
        cells |= zip(one.__code__.co_freevars, one.__closure__ or (), strict=True)
    module = sys.modules.get(kind.__module__, types.ModuleType(""))
    return _look(cells, methods[0].__globals__ if methods else vars(module))


def _cell(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return _MISSING  # a name that is assigned later, or never


def _known(value: Any) -> str:
    """Name of something installed: package and qualified name, not the module within, which moves between releases."""
    owner = value if hasattr(value, "__qualname__") or hasattr(value, "__name__") else type(value)
    package = str(getattr(owner, "__module__", None) or type(value).__module__).partition(".")[0].lstrip("_")
    return f"(known {package}:{getattr(owner, '__qualname__', None) or owner.__name__})"


def _placeless(query: str) -> str:
    """A query without where its files lie: what it computes is a rule of the source, where data lies is none."""
    return _FILE.sub(lambda found: f"'{PurePath(found[1]).name}'", " ".join(query.split()))
