"""Import a folder's files without leaving a trace in the program that asks.

Files are imported under names of their own (``project@1.definitions.payments``): two stores whose folders have one name
do not meet, the program's own ``import definitions`` stays what it was, and importing again after an edit gives the new
content. Inside such a file an import of a neighbour, by whatever name Python would know it, gives that copy.
"""

import builtins
import importlib.util
import itertools
import linecache
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

_NUMBER = itertools.count(1)  # no two imports of a folder in one process share a name


def files(folder: Path) -> Iterator[Path]:
    """Python files of a folder and its subfolders, sorted; one that begins with ``_`` counts only through others."""
    for path in sorted(folder.iterdir()):
        if path.is_dir() and path.name[0] not in "._" and not (path / "pyvenv.cfg").exists():
            yield from files(path)
        elif path.suffix == ".py" and (path.name[0] not in "._" or path.name == "__init__.py"):
            yield path


class _Loader(SourceFileLoader):
    """Compiles the file as it is now: a cached compilation may be older than an edit within the same second."""

    def get_code(self, fullname: str) -> Any:  # noqa: ARG002 - the loader's own signature
        linecache.cache.pop(self.path, None)
        return self.source_to_code(self.get_data(self.path), self.path)

    def exec_module(self, module: ModuleType) -> None:
        exec(self.get_code(module.__name__), vars(module))  # noqa: S102 - this is what importing a module is


class Project:
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
