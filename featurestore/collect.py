"""Gather declarations from a module, a folder, a file or a list, without leaving a trace in the program that asks.

Files of a folder are imported under names of their own (``project@1.definitions.payments``): two stores whose
folders have one name do not meet, the program's own ``import definitions`` stays what it was, and collecting again
after an edit gives the new content. Inside such a file an import of a neighbour, by whatever name Python would know it,
gives that copy.
"""

import ast
import builtins
import functools
import importlib
import importlib.util
import inspect
import itertools
import linecache
import pkgutil
import sys
import textwrap
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from featurestore.definition import (
    Entity,
    Feature,
    FeatureService,
    Listed,
    RoleFeature,
    Source,
    SourceBy,
    WindowFeature,
)
from featurestore.errors import DefinitionError
from featurestore.fingerprint import source_text

_NUMBER = itertools.count(1)  # no two imports of a folder in one process share a name
_DECLARED = (Entity, Source, Feature, RoleFeature, FeatureService)
Declared = Entity | Source | Feature | RoleFeature | FeatureService


@dataclass(frozen=True)
class Place:
    """Where something is declared. ``line`` counts from 1; 0 and an empty ``file`` where that cannot be told."""

    file: str = ""
    line: int = 0
    code: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.file else "<unknown>"


@dataclass(frozen=True)
class Collected:
    """What was found, each object once, in file order; ``problems`` are files that could not be imported."""

    entities: tuple[Entity, ...]
    sources: tuple[Source, ...]
    features: tuple[Feature, ...]
    roles: tuple[RoleFeature, ...]
    services: tuple[FeatureService, ...]
    problems: tuple[str, ...]
    places: Mapping[int, Place] = field(repr=False)

    @property
    def listed(self) -> tuple[Listed, ...]:
        """Features, then features in a role."""
        return (*self.features, *self.roles)

    def place(self, declared: Declared) -> Place:
        """Return where one of the objects is declared."""
        return self.places.get(id(declared), Place())


def collect(definitions: Any, *, root: Path | None = None) -> Collected:
    """Gather all declarations that are module attributes, and what these use.

    Parameters
    ----------
    definitions
        A module or package, a folder or file (``str`` or ``Path``), or a list of declarations, lists and any of these.
    root
        Folder of the project: relative paths start there, and definitions may import its modules. Without it, relative
        paths start at the working directory, and definitions may import the folder's neighbours.

    Raises
    ------
    DefinitionError
        If there is no such folder or file, or an item is no declaration. A file that cannot be imported is one of
        ``problems`` instead.
    """
    finds = _Finds()
    _take(definitions, finds, root)
    return Collected(
        entities=tuple(one for one in finds.objects if isinstance(one, Entity)),
        sources=tuple(one for one in finds.objects if isinstance(one, Source)),
        features=tuple(one for one in finds.objects if isinstance(one, Feature)),
        roles=tuple(one for one in finds.objects if isinstance(one, RoleFeature)),
        services=tuple(one for one in finds.objects if isinstance(one, FeatureService)),
        problems=tuple(dict.fromkeys(finds.problems)),
        places=dict(finds.places),
    )


class _Finds:
    """What has been found so far."""

    def __init__(self) -> None:
        self.objects: list[Declared] = []
        self.places: dict[int, Place] = {}
        self.problems: list[str] = []
        self.projects: dict[Path, _Project] = {}
        self._guessed: set[int] = set()

    def add(self, declared: Declared, place: Place, *, guessed: bool = False) -> None:
        """Take one object and all that it uses; where it is named itself beats where it is used."""
        known = id(declared) in self.places
        own = _place_of(declared)
        guess = own is None and (guessed or not place.file)
        if not known:
            self.objects.append(declared)
        if not known or (id(declared) in self._guessed and not guess):
            self.places[id(declared)] = own or place
            (self._guessed.add if guess else self._guessed.discard)(id(declared))
        if not known:
            for one, named in _uses(declared):
                self.add(one, named or own or place, guessed=named is None)

    def add_module(self, module: ModuleType) -> None:
        """Take what the attributes of a module hold."""
        statements = _statements(vars(module))
        for name, value in list(vars(module).items()):
            place = statements.get(name, Place())
            for declared in _flat(value):
                self.add(declared, place, guessed=declared is not value)


def _take(definitions: Any, finds: _Finds, root: Path | None) -> None:
    if isinstance(definitions, ModuleType):
        for module in _package(definitions, finds):
            finds.add_module(module)
    elif isinstance(definitions, (str, Path)):
        _take_path((root or Path.cwd()) / definitions, finds, root)
    elif isinstance(definitions, _DECLARED):
        finds.add(definitions, Place())
    elif isinstance(definitions, Sequence):
        for one in definitions:
            _take(one, finds, root)
    elif isinstance(definitions, SourceBy):
        _take([definitions.source, definitions.entity], finds, root)
    else:
        raise DefinitionError(
            f"{definitions!r} is no declaration. Definitions are a module, a folder, a file, or a list of entities, "
            "sources, features and feature services."
        )


def _take_path(path: Path, finds: _Finds, root: Path | None) -> None:
    path = path.resolve()
    if not path.is_dir() and not (path.is_file() and path.suffix == ".py"):
        there = "it is no folder or .py file" if path.exists() else "nothing is there"
        raise DefinitionError(
            f"Definitions are asked for at {path}, but {there}. Name a folder of .py files, or one file."
        )
    folder = path if path.is_dir() else path.parent
    project = finds.projects.setdefault(folder, _Project(folder, None if root is None else root.resolve()))
    for file in _files(path) if path.is_dir() else [path]:
        try:
            finds.add_module(project.load(file))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a definition file raises is its author's problem
            finds.problems.append(_problem(error, file, folder))


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.is_dir() and path.name[0] not in "._" and not (path / "pyvenv.cfg").exists():
            yield from _files(path)
        elif path.suffix == ".py" and (path.name[0] not in "._" or path.name == "__init__.py"):
            yield path


def _package(module: ModuleType, finds: _Finds) -> Iterator[ModuleType]:
    """Yield a module and, of a package, its modules under their usual names."""
    yield module
    for one in pkgutil.walk_packages(getattr(module, "__path__", ()), f"{module.__name__}.", onerror=lambda _: None):
        if one.name.rpartition(".")[2].startswith("_"):
            continue
        try:
            yield importlib.import_module(one.name)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - as for files
            finds.problems.append(_problem(error, Path(one.name), Path(str(module.__path__[0]))))


def _problem(error: BaseException, file: Path, folder: Path) -> str:
    """Say ``file:line`` of the definition that failed, which an importing file is not."""
    if isinstance(error, SyntaxError):
        return f"{error.filename or file}:{error.lineno or 1}: SyntaxError: {error.msg}"
    frames = [one for one in traceback.extract_tb(error.__traceback__) if Path(one.filename).is_relative_to(folder)]
    where = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else f"{file}:1"
    if isinstance(error, DefinitionError):
        return str(error) if str(error).startswith(str(folder)) else f"{where}: {error}"
    return f"{where}: {type(error).__name__}: {error}"


class _Loader(SourceFileLoader):
    """Compiles the file as it is now: a cached compilation may be older than an edit within the same second."""

    def get_code(self, fullname: str) -> Any:  # noqa: ARG002 - the loader's own signature
        linecache.cache.pop(self.path, None)
        return self.source_to_code(self.get_data(self.path), self.path)

    def exec_module(self, module: ModuleType) -> None:
        exec(self.get_code(module.__name__), vars(module))  # noqa: S102 - this is what importing a module is


class _Project:
    """Modules of one folder and of the project around it, each file once, under names that nobody else has."""

    def __init__(self, folder: Path, root: Path | None) -> None:
        self.folder = folder
        self.base = root if root is not None and folder.is_relative_to(root) else folder.parent
        self.top = f"{self.base.name or 'root'}@{next(_NUMBER)}"
        self.failed: dict[str, BaseException] = {}
        self.builtins = {**vars(builtins), "__import__": self.find}

    def load(self, path: Path) -> ModuleType:
        """Import a file, or a folder as a package, after the packages around it."""
        home = path.parent if path.name == "__init__.py" else path
        parts = home.relative_to(self.base).with_suffix("").parts if home != self.base else ()
        return self._module(".".join((self.top, *parts)), home)

    def find(
        self,
        name: str,
        around: Mapping[str, Any] | None = None,
        inside: Mapping[str, object] | None = None,
        wanted: Sequence[str] | None = (),
        level: int = 0,
    ) -> Any:
        """Stand in for ``__import__`` in these modules: a neighbour is imported here, all else as usual."""
        package = str((around or {}).get("__package__") or "")
        path = self._relative(name, package, level) if level else self._absolute(name)
        if path is None:
            return builtins.__import__(name, around, inside, wanted or (), level)
        module = self.load(path)
        if wanted:
            self._import_wanted(module, wanted)
            return module
        for _ in name.split(".")[1:]:  # `import a.b` binds a
            module = sys.modules[module.__name__.rpartition(".")[0]]
        return module

    def _import_wanted(self, module: ModuleType, wanted: Sequence[str]) -> None:
        names = getattr(module, "__all__", ()) if "*" in wanted else wanted
        for name in names:
            path = (
                None
                if hasattr(module, name)
                else _inside([Path(one) for one in getattr(module, "__path__", ())], [name])
            )
            if path is not None:
                self.load(path)

    def _relative(self, name: str, package: str, level: int) -> Path | None:
        full = importlib.util.resolve_name("." * level + name, package)
        return _inside([self.base], full.split(".")[1:]) if full.partition(".")[0] == self.top else None

    def _absolute(self, name: str) -> Path | None:
        """File or folder of the project that a name means; the standard library and this package come first."""
        first, *rest = name.split(".")
        if first in sys.stdlib_module_names or first == __package__:
            return None
        if first == self.folder.name:
            found = _inside([self.folder], rest)
            if found is None:
                raise ModuleNotFoundError(
                    f"No module named {name!r}: {self.folder} has no {'/'.join(rest)}.py", name=name
                )
            return found
        return _inside([self.folder, self.base], [first, *rest])

    def _module(self, name: str, home: Path) -> ModuleType:
        if name in self.failed:
            raise self.failed[name]
        if name in sys.modules:
            return sys.modules[name]
        above, _, last = name.rpartition(".")
        parent = self._module(above, home.parent) if above else None
        if name in sys.modules:  # the package imported it while it was made
            return sys.modules[name]
        module = self._made(name, home)
        sys.modules[name] = module
        try:
            if module.__spec__ is not None and module.__spec__.loader is not None:
                module.__spec__.loader.exec_module(module)
        except BaseException as error:
            del sys.modules[name]
            self.failed[name] = error
            raise
        if parent is not None:
            setattr(parent, last, module)
        return module

    def _made(self, name: str, home: Path) -> ModuleType:
        file = home / "__init__.py" if home.is_dir() else home
        if name == self.top or not file.exists():  # the base may have an __init__.py that is not about definitions
            module = ModuleType(name)
            module.__path__ = [str(home)]
            module.__package__ = name
            return module
        places = [str(home)] if home.is_dir() else None
        loader = _Loader(name, str(file))
        spec = importlib.util.spec_from_file_location(name, file, loader=loader, submodule_search_locations=places)
        if spec is None:
            raise ModuleNotFoundError(f"{file} cannot be imported.")
        module = importlib.util.module_from_spec(spec)
        vars(module)["__builtins__"] = self.builtins
        return module


def _inside(folders: Sequence[Path], names: Sequence[str]) -> Path | None:
    """File or package of that dotted name in the first folder that has it."""
    for folder in folders:
        path = folder.joinpath(*names)
        file = path.parent / f"{path.name}.py"
        if path == folder or (path.is_dir() and next(path.glob("*.py"), None) is not None):
            return path
        if file.is_file():
            return file
    return None


def _flat(value: Any) -> Iterator[Declared]:
    if isinstance(value, _DECLARED):
        yield value
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _flat(one)
    elif isinstance(value, SourceBy):
        yield from (value.source, value.entity)  # declared elsewhere, as its place says then


def _uses(declared: Declared) -> Iterator[tuple[Declared, Place | None]]:
    """Yield what a declaration holds, with its place as far as the declaration's own module tells it."""
    if isinstance(declared, FeatureService):
        yield from ((one, None) for one in declared.features)
    elif isinstance(declared, RoleFeature):
        yield declared.feature, None
    elif isinstance(declared, WindowFeature):
        around = getattr(inspect.unwrap(declared.function), "__globals__", {})
        statements = _statements(around)
        for one in (declared.view.source, declared.view.entity):
            name = next((name for name, value in list(around.items()) if value is one), "")
            yield one, statements.get(name)


def _place_of(declared: Declared) -> Place | None:
    """Tell a function's own place; anything else is found by the statement that names it."""
    code = getattr(inspect.unwrap(declared.function), "__code__", None) if isinstance(declared, Feature) else None
    if code is None or not isinstance(declared, Feature):
        return None
    return Place(code.co_filename, code.co_firstlineno, source_text(declared.function))


def _statements(around: Mapping[str, Any]) -> dict[str, Place]:
    """Statement of each name that a module assigns; an import is not where something is declared."""
    filename = str(around.get("__file__") or "")
    return _assigned(filename, "".join(linecache.getlines(filename))) if filename else {}


@functools.lru_cache(maxsize=64)
def _assigned(filename: str, text: str) -> dict[str, Place]:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return {}
    lines = text.splitlines(keepends=True)
    places: dict[str, Place] = {}
    for node in ast.walk(tree):
        if not isinstance(node, (ast.Assign, ast.AnnAssign)):
            continue
        place = Place(filename, node.lineno, textwrap.dedent("".join(lines[node.lineno - 1 : node.end_lineno])))
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            places |= {inner.id: place for inner in ast.walk(target) if isinstance(inner, ast.Name)}
    return places
