"""Each benchmark runs, small, and its document has the figures that its page shows."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from benchmarks import agreement, data, ours, report
from benchmarks.training_sets import TWENTY

BENCHMARKS = Path(__file__).with_name("benchmarks")


def document(script: str, *words: str) -> Any:
    command = [sys.executable, str(BENCHMARKS / script), "--json", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_one_row_is_split_into_its_parts() -> None:
    told = document("one_row.py", "--events", "3000", "--requests", "100")
    for kind, model in (("lookup", False), ("prediction", True)):
        parts = told["microseconds"][kind]
        assert set(parts) == {"parse", "read", "evaluate", "model", "answer", "between", "HTTP", "inside", "whole"}
        assert all(parts[name]["p50"] > 0 for name in ("parse", "read", "evaluate", "answer", "between", "whole"))
        assert (parts["model"]["p50"] > 0) == model


@pytest.mark.slow
def test_every_benchmark_runs_small_and_its_figures_fill_the_page(tmp_path: Path) -> None:
    results, page = tmp_path / "results.json", tmp_path / "README.md"
    command = [sys.executable, str(BENCHMARKS), "all", "--events", "3000", "--rows", "300", "--entities", "30"]
    command += ["--rounds", "1", "--requests", "100", "--seconds", "0.2", "--workers", "1", "--clients", "1"]
    command += ["--rivals", "polars_packed", "--steps", "1", "--axes", "events"]
    done = subprocess.run([*command, "--out", str(results)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(results.read_text())
    assert list(told) == ["training-set", "hot-key", "lookup", "http", "startup", "growth"]
    assert all(
        len(row) == len(section["columns"]) and row[0] and row[-1]
        for section in told.values()
        for row in section["rows"]
    )
    page.write_text((BENCHMARKS / "README.md").read_text())
    report.write_page(results, page)
    assert page.read_text().count("\nMeasured ") == len(told)
    assert {path.name for path in tmp_path.glob("*.svg")} == {"growth-events.svg"}


@pytest.mark.slow
def test_all_tools_compute_the_same(tmp_path: Path) -> None:
    made = data.made(tmp_path, data.Size(3_000, 300, 30))
    ours.loaded(made, "plain")
    agreed = agreement.check(made, TWENTY, patience_s=120)
    assert agreed == dict.fromkeys([*TWENTY, "plain Python"], "equal")
