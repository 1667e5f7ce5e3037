"""What a model was trained with, and whether this process may load it."""

import platform
from collections.abc import Mapping
from importlib import metadata
from typing import Any

from featurestore.errors import OperationError
from featurestore.models.parts import packages

_MINOR = ("python", "numpy", "scipy", "joblib")  # a patch release keeps their formats; golden rows tell the rest


def environment(estimator: Any) -> dict[str, str]:
    """Versions of Python, scikit-learn and what it stands on, of other packages in the estimator, and the platform."""
    found = {"python": platform.python_version(), "platform": f"{platform.system()}-{platform.machine()}"}
    for name in ("scikit-learn", "numpy", "scipy", "joblib", "featurestore"):
        found[name] = _version(name)
    for name in sorted(packages(estimator) - {"sklearn", "numpy", "scipy", "builtins"}):
        found.setdefault(name, _version(name))
    return found


def check(recorded: Mapping[str, str], model: str) -> None:
    """Refuse to load a model that was trained with other libraries, before anything of it is unpickled.

    scikit-learn and packages that bring estimators must be the same version; Python, numpy, scipy and joblib the same
    minor version.

    Raises
    ------
    OperationError
        Naming both versions of each that differs.
    """
    differ = []
    for name, trained in recorded.items():
        if name in ("platform", "featurestore"):
            continue
        here = platform.python_version() if name == "python" else _version(name)
        if (_minor(here) != _minor(trained)) if name in _MINOR else (here != trained):
            differ.append(f"{name} {trained} (here {here})")
    if differ:
        raise OperationError(
            f"Model {model} was trained with {', '.join(differ)}: nothing of it was loaded. Install the versions that "
            "it was trained with, or train a new version here."
        )


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "none"


def _minor(version: str) -> list[str]:
    return version.split(".")[:2]
