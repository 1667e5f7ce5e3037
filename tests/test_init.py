"""``featurestore init`` makes a project that works at once, and never writes over anything."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from featurestore.cli import main

PROJECT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a project that nobody has touched; tests that use it load the same data again."""
    root = tmp_path_factory.mktemp("made")
    assert main(["--project", str(root), "init", "shop", "--events", "1000"]) == 0
    return root / "shop"


def run(folder: Path, *words: str) -> int:
    return main(["--project", str(folder), *words])


def answer(capsys: pytest.CaptureFixture[str], folder: Path, *words: str) -> dict[str, Any]:
    capsys.readouterr()
    assert run(folder, "--json", *words) == 0
    return dict(json.loads(capsys.readouterr().out))


def test_a_new_project_works_at_once(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert answer(capsys, made, "check")["outputs"] == 23
    assert answer(capsys, made, "materialize")["position"] == 1
    row = ("customer_id=c00001", "merchant=m0001", "amount=12.5", "channel=online")
    found = answer(capsys, made, "lookup", "fraud", *row)
    assert found["features"]["is_online"] is True
    assert found["position"] == 1


def test_a_training_set_can_be_built_of_its_labels(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(made, "materialize") == 0
    built = answer(capsys, made, "training-set", "fraud", str(made / "data" / "labels.parquet"), "--name", "first")
    assert (built["rows"], built["service"], len(built["features"])) == (1000, "fraud", 23)


def test_its_own_tests_pass(made: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=made, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "6 passed" in done.stdout


def test_its_code_is_tidy(made: Path) -> None:
    rules = ["--isolated", "--no-cache", "--line-length", "120", "--select", "E,F,B,UP,SIM,RET"]
    command = [sys.executable, "-m", "ruff", "check", *rules, "."]
    done = subprocess.run(command, cwd=made, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_commands_of_its_readme_are_there(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    readme = (made / "README.md").read_text()
    commands = re.findall(r"^featurestore (\S+)", readme, re.MULTILINE)
    assert readme.startswith("# shop\n")
    assert "1,000 made payments" in readme
    assert commands[:4] == ["check", "plan", "apply", "materialize"]
    for one in commands:
        assert main([one, "--help"]) == 0
    assert "Usage" in capsys.readouterr().out


def test_the_code_of_its_readme_runs(made: Path) -> None:
    code = re.findall(r"```python\n(.*?)```", (made / "README.md").read_text(), re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code[0]], cwd=made, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_its_definitions_are_the_projects_own(made: Path) -> None:
    own = PROJECT / "definitions" / "payments.py"
    assert (made / "definitions" / "payments.py").read_bytes() == own.read_bytes()


def test_the_wheel_carries_them() -> None:
    built = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert built["force-include"] == {"definitions/payments.py": "featurestore/templates/payments.py"}


def test_it_tells_what_it_made_and_what_comes_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "init", "my shop", "--events", "200") == 0
    printed = capsys.readouterr().out
    assert "definitions/payments.py" in printed
    assert f"Next: cd '{tmp_path / 'my shop'}' && featurestore check" in printed


def test_json_names_the_folder_and_its_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = answer(capsys, tmp_path, "init", "shop", "--events", "200")
    assert told["payments"] == 200
    assert told["folder"] == str(tmp_path / "shop")
    assert all((tmp_path / "shop" / name).is_file() for name in told["files"])
    assert pq.read_table(tmp_path / "shop" / "data" / "labels.parquet").num_rows == 200


def test_an_empty_folder_becomes_the_project(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    assert run(tmp_path, "init", "shop", "--events", "200") == 0
    assert run(tmp_path / "shop", "check") == 0


def test_a_folder_that_holds_anything_is_refused_and_untouched(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert run(tmp_path, "init", ".", "--events", "200") == 1
    assert "is not empty (it holds 'notes.txt')" in capsys.readouterr().err
    assert [one.name for one in tmp_path.iterdir()] == ["notes.txt"]


def test_a_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "shop").write_text("mine")
    assert run(tmp_path, "init", "shop") == 1
    assert "is a file" in capsys.readouterr().err
    assert (tmp_path / "shop").read_text() == "mine"


def test_too_few_payments_are_a_usage_error(tmp_path: Path) -> None:
    assert run(tmp_path, "init", "shop", "--events", "99") == 2
    assert not (tmp_path / "shop").exists()
