"""Gather declarations from a module, a folder, a file or a list, each with the place where it is declared."""

import ast
import importlib
import inspect
import pkgutil
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from featurestore import project, written
from featurestore.definition import (
    Entity,
    Feature,
    FeatureService,
    Label,
    Listed,
    RoleFeature,
    Source,
    SourceBy,
    WindowFeature,
)
from featurestore.errors import DefinitionError
from featurestore.project import Project

_DECLARED = (Entity, Source, Feature, Label, RoleFeature, FeatureService)
Declared = Entity | Source | Feature | Label | RoleFeature | FeatureService


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
    labels: tuple[Label, ...]
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
        labels=tuple(one for one in finds.objects if isinstance(one, Label)),
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
        self.projects: dict[Path, Project] = {}
        self._guessed: set[int] = set()

    def add(self, declared: Declared, place: Place, *, guessed: bool = False) -> None:
        """Take one object and all that it uses; where it is named itself beats where it is used."""
        if self._is_placed(declared):
            return
        known = id(declared) in self.places
        own = _place_of(declared)
        guess = own is None and (guessed or not place.file)
        if not known:
            self.objects.append(declared)
        if not known or not guess:
            self.places[id(declared)] = own or place
            (self._guessed.add if guess else self._guessed.discard)(id(declared))
        if not known:
            for one in _uses(declared):
                named = None if self._is_placed(one) else _place_within(declared, one)
                self.add(one, named or own or place, guessed=named is None)

    def add_module(self, module: ModuleType) -> None:
        """Take what the attributes of a module hold."""
        for name, value in list(vars(module).items()):
            for declared in _flat(value):
                self.add(declared, _place_in(vars(module), name), guessed=declared is not value)

    def _is_placed(self, declared: Declared) -> bool:
        return id(declared) in self.places and id(declared) not in self._guessed


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
            f"Definitions are asked for at {path}, but {there}. Name a folder of .py files, or one "
            "file; `featurestore init NAME` makes a project that has one."
        )
    folder = path if path.is_dir() else path.parent
    home = finds.projects.setdefault(folder, Project(folder, None if root is None else root.resolve()))
    for file in project.files(path) if path.is_dir() else [path]:
        try:
            finds.add_module(home.load(file))
            finds.problems += _hidden(file)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a definition file raises is its author's problem
            finds.problems.append(_problem(error, file, folder))


def _hidden(file: Path) -> Iterator[str]:
    """Name decorated functions that a later one of the same name hides; Python itself says nothing."""
    lines: dict[str, int] = {}
    for node in ast.parse(file.read_bytes()).body:
        if isinstance(node, ast.FunctionDef) and node.decorator_list:
            if node.name in lines:
                where = f"{file}:{lines[node.name]}"
                yield f"{where}: {node.name!r} is hidden by another of its name in line {node.lineno}."
            lines[node.name] = node.lineno


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


def _flat(value: Any) -> Iterator[Declared]:
    if isinstance(value, _DECLARED):
        yield value
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _flat(one)
    elif isinstance(value, SourceBy):
        yield from (value.source, value.entity)  # declared elsewhere, as its place says then


def _uses(declared: Declared) -> tuple[Declared, ...]:
    """Return what a declaration holds."""
    if isinstance(declared, FeatureService):
        return declared.features
    if isinstance(declared, RoleFeature):
        return (declared.feature,)
    return (declared.view.source, declared.view.entity) if isinstance(declared, (WindowFeature, Label)) else ()


def _place_of(declared: Declared) -> Place | None:
    """Tell a function's own place; anything else is found by the statement that names it."""
    if not isinstance(declared, (Feature, Label)):
        return None
    code = getattr(inspect.unwrap(declared.function), "__code__", None)
    if code is None:
        return None
    return Place(code.co_filename, code.co_firstlineno, written.source_text(declared.function))


def _place_within(user: Declared, used: Declared) -> Place | None:
    """Place of what a window feature or label uses, as far as its own module tells it."""
    around = (
        getattr(inspect.unwrap(user.function), "__globals__", {}) if isinstance(user, (WindowFeature, Label)) else {}
    )
    name = next((name for name, value in list(around.items()) if value is used), "")
    place = _place_in(around, name)
    return place if place.file else None


def _place_in(around: Mapping[str, Any], name: str) -> Place:
    """Place of the statement that gives a module's name its value; an import is not where something is declared."""
    filename = str(around.get("__file__") or "")
    found = written.file_of(filename).assignments.get(name) if filename else None
    return Place() if found is None else Place(filename, found.line, found.text)
