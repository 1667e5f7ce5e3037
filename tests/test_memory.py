"""Sizes of memory, and what a container may have."""

from pathlib import Path

import pytest

from featurestore import memory, settings
from featurestore.errors import OperationError


@pytest.mark.parametrize(
    ("text", "expected"), [("500MB", 500_000_000), ("2GB", 2_000_000_000), (" 1.5 gb", 1_500_000_000)]
)
def test_a_size_is_a_number_and_a_unit(text: str, expected: int) -> None:
    assert memory.size(text) == expected


@pytest.mark.parametrize("text", ["2", "GB", "2 GiB", "-1GB", "", "99MB"])
def test_what_is_no_size_or_too_small_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a size|is too little"):
        memory.size(text)


def test_by_default_it_is_half_of_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_limits", lambda: iter([8_000_000_000, 600_000_000]))
    assert memory.usual() == 300_000_000


def test_the_limits_of_a_container_and_of_those_around_it_are_found(tmp_path: Path) -> None:
    groups, folder = tmp_path / "cgroup", tmp_path / "fs"
    groups.write_text("4:memory:/a/b\n3:cpu:/a\n0::/c/d\n")
    limits = {"memory/a/b/memory.limit_in_bytes": "7000", "c/memory.max": "9000", "c/d/memory.max": "max"}
    for name, text in limits.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{text}\n")
    assert sorted(memory._limits(groups, folder)) == [7000, 9000]
    assert list(memory._limits(tmp_path / "nothing", folder)) == []


def test_the_setting_is_a_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.load(tmp_path)["memory"] is None
    (tmp_path / "pyproject.toml").write_text('[tool.featurestore]\nmemory = "2GB"\n')
    assert settings.load(tmp_path)["memory"] == 2_000_000_000
    monkeypatch.setenv("FEATURESTORE_MEMORY", "much")
    with pytest.raises(OperationError, match="'much' is not a size"):
        settings.load(tmp_path)
