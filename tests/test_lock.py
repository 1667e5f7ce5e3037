"""The lock file pins everything that pyproject.toml asks for, within what it asks."""

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ASKED = [*PROJECT["dependencies"], *(one for extra in PROJECT["optional-dependencies"].values() for one in extra)]


def locked() -> dict[str, list[str]]:
    versions: dict[str, list[str]] = {}
    for line in (ROOT / "requirements.lock").read_text().splitlines():
        pin = Requirement(line)
        versions.setdefault(pin.name.lower(), []).append(str(pin.specifier).removeprefix("=="))
    return versions


@pytest.mark.parametrize("text", [one for one in ASKED if not one.startswith("featurestore")])
def test_locked_versions_are_what_is_asked(text: str) -> None:
    asked = Requirement(text)
    assert all(asked.specifier.contains(version) for version in locked()[asked.name.lower()])


def test_every_line_pins_one_version() -> None:
    assert all(version and "," not in version for versions in locked().values() for version in versions)
