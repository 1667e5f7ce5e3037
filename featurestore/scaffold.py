"""A new project: declarations to change, made data, a test, and what to do next.

The declarations are the project's own ``definitions/payments.py``, carried by the wheel as a template. It is copied as
text and never imported.
"""

from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from featurestore.errors import OperationError, RequestError
from featurestore.simulate import Simulated, simulate

_TEMPLATES = {
    "pyproject.toml": "pyproject.toml.txt",
    ".gitignore": "gitignore.txt",
    "README.md": "README.md.txt",
    "tests/test_payments.py": "test_payments.py.txt",
    "definitions/payments.py": "payments.py",
}


@dataclass(frozen=True)
class Project:
    """A project that was made: its folder, its files in it (without those of ``data``), and its made payments."""

    folder: Path
    files: tuple[str, ...]
    data: Simulated


def check_free(folder: Path) -> None:
    """Refuse a folder that cannot become a project.

    Raises
    ------
    RequestError
        If it is a file, or holds anything.
    """
    if folder.exists() and not folder.is_dir():
        raise RequestError(f"{folder} is a file: choose another name for the project's folder.")
    if folder.is_dir() and (held := sorted(one.name for one in folder.iterdir())):
        raise RequestError(
            f"{folder} is not empty (it holds {held[0]!r}{' and more' if held[1:] else ''}): "
            "choose a new folder. Nothing was written."
        )


def create(folder: Path, *, events: int, seed: int = 7, end: Any = None) -> Project:
    """Make a project in a new or empty folder; see :func:`featurestore.simulate.simulate` for the data.

    Raises
    ------
    RequestError
        If the folder holds anything, or ``events`` is out of range.
    """
    check_free(folder)
    data = simulate(folder / "data", events=events, seed=seed, end=end)
    facts = {"name": folder.resolve().name, "payments": f"{data.payments:,}"}
    for name, template in _TEMPLATES.items():
        text = _text(template)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        filled = Template(text).substitute(facts) if template == "README.md.txt" else text
        (folder / name).write_text(filled, encoding="utf-8")
    return Project(folder, tuple(_TEMPLATES), data)


def _text(template: str) -> str:
    package = resources.files("featurestore")
    found = package / "templates" / template
    if found.is_file():
        return found.read_text(encoding="utf-8")
    beside = Path(str(package)).parent / "definitions" / template  # an editable install runs from the repository
    if beside.is_file():
        return beside.read_text(encoding="utf-8")
    raise OperationError(f"This installation lacks the template {template!r}: install featurestore again.")
