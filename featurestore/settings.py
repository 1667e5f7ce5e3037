"""Where things live: ``[tool.featurestore]`` in pyproject.toml, then ``FEATURESTORE_*`` in the environment."""

import os
import tomllib
from pathlib import Path
from typing import Any

from featurestore.errors import OperationError, suggest
from featurestore.memory import size
from featurestore.times import duration

NAMES = ("definitions", "home", "retain", "served_sample", "served_retain", "served_max_mb", "memory")


def load(root: Path) -> dict[str, Any]:
    """Settings of the project in ``root``: ``definitions`` and ``home`` as paths, ``retain`` in microseconds.

    ``definitions`` is the folder or file of declarations (default ``definitions``); ``home`` the store's own folder
    (default ``.featurestore``); ``retain`` how far back a lookup's ``as_of`` may lie (default ``None``: as far as
    there are events); ``served_sample``, ``served_retain`` and ``served_max_mb`` are what the server's log keeps, see
    :class:`featurestore.monitoring.recorder.Keeping`. ``memory`` is what a training set or a load may take while it
    is made, in bytes (default ``None``: half of what the machine, or its container, has).

    Raises
    ------
    OperationError
        If pyproject.toml cannot be read, or has a setting that is unknown or of a wrong type.
    """
    from pydantic_settings import BaseSettings, SettingsConfigDict

    class Settings(BaseSettings):
        model_config = SettingsConfigDict(env_prefix="FEATURESTORE_", extra="ignore")

        definitions: Path = Path("definitions")
        home: Path = Path(".featurestore")
        retain: str | None = None
        served_sample: float = 1.0
        served_retain: str = "30d"
        served_max_mb: int = 1000
        memory: str | None = None

    given = {name: value for name, value in _project(root).items() if not _in_environment(name)}
    try:
        settings = Settings(**given)
        retain = None if settings.retain is None else duration(settings.retain)
        memory = None if settings.memory is None else size(settings.memory)
    except ValueError as error:
        raise OperationError(f"[tool.featurestore] in {root / 'pyproject.toml'}, or FEATURESTORE_*: {error}") from error
    served = {name: getattr(settings, name) for name in NAMES if name.startswith("served_")}
    paths = {"definitions": root / settings.definitions, "home": root / settings.home}
    return {**paths, "retain": retain, "memory": memory, **served}


def _in_environment(name: str) -> bool:
    return f"FEATURESTORE_{name.upper()}" in os.environ


def _project(root: Path) -> dict[str, Any]:
    path = root / "pyproject.toml"
    if not path.exists():
        return {}
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8")).get("tool", {}).get("featurestore", {})
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise OperationError(f"{path} cannot be read: {error}") from error
    unknown = sorted(set(table) - set(NAMES))
    if unknown:
        raise OperationError(
            f"[tool.featurestore] in {path} has {unknown[0]!r}, which is no setting.{suggest(unknown[0], NAMES)}"
        )
    return dict(table)
