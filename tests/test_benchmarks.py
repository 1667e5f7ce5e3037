"""Each benchmark runs, small, and its document has the figures that its page shows."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from benchmarks import agreement, command, data, materialize, one_row, ours, processes, proof, report
from benchmarks.processes import Task
from benchmarks.rivals import DAYS, FUNCTIONS, named
from benchmarks.training_sets import TWENTY

BENCHMARKS = Path(__file__).with_name("benchmarks")


@pytest.fixture(autouse=True)
def little_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is so small needs no memory at hand."""
    monkeypatch.setenv("BENCHMARKS_TOUCHED", str(1 << 20))


def document(script: str, *words: str) -> Any:
    asked = [sys.executable, str(BENCHMARKS / script), "--json", *words]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_one_row_is_split_into_its_parts(tmp_path: Path) -> None:
    told = one_row.one_row(tmp_path, 3000, 100).raw["seconds"]
    for kind, model in (("lookup", False), ("prediction", True)):
        parts = told[kind]
        assert set(parts) == {*one_row.PARTS, "inside"}
        assert all(parts[name]["p50"] > 0 for name in ("parse", "read", "evaluate", "answer", "between", "whole"))
        assert (parts["model"]["p50"] > 0) == model


def test_a_count_that_is_off_by_one_and_a_sum_that_is_off_by_more_than_rounding_are_told() -> None:
    right = {named(function, days): [2.0, None] for function in FUNCTIONS for days in DAYS}
    empty = {named(function, days): [2.0, 0.0] for function in ("count", "sum") for days in DAYS}
    ours_, theirs = pa.table(right | empty), pa.table(right)
    assert agreement.compared(ours_, theirs) == "equal"
    assert agreement.compared(ours_, pa.table(right | {"amount_count_7d": [3.0, 0.0]})) == (
        "amount_count_7d differs in 1 of 2 rows"
    )
    assert agreement.compared(ours_, pa.table(right | {"amount_sum_1d": [2.0 + 1e-12, 0.0]})) == "equal"
    assert agreement.compared(ours_, pa.table(right | {"amount_sum_1d": [2.0 + 1e-6, 0.0]})) != "equal"
    assert agreement.compared(ours_, theirs.slice(1)) == "1 rows, not 2"


def test_a_table_is_written_between_its_markers_and_can_be_written_again() -> None:
    told: dict[str, Any] = {
        "measured": "2026-11-21",
        "machine": "2 cores",
        "name": "lookup",
        "about": "Of one row.",
        "raw": {},
    }
    told |= {"columns": ["", "p50"], "rows": [["ours", "80 µs"]], "after": "Equal."}
    page = "Before\n<!-- figures: lookup -->\nold\n<!-- end of figures -->\nAfter"
    filled = report.filled(page, {"lookup": told, "http": told})
    table = "Of one row.\n\n|  | p50 |\n| --- | ---: |\n| ours | 80 µs |\n\nEqual."
    measured = "Measured 2026-11-21 on 2 cores."
    assert filled == f"Before\n<!-- figures: lookup -->\n{table}\n\n{measured}\n<!-- end of figures -->\nAfter"
    assert report.filled(filled, {"lookup": told}) == filled


def test_times_have_three_figures_and_a_unit() -> None:
    given = (0.000_014_21, 0.000_741, 0.0213, 1.234, 406.4)
    assert [report.duration(one) for one in given] == ["14.2 µs", "741 µs", "21.3 ms", "1.23 s", "406 s"]
    assert (report.ratio(3.0, 2.0), report.ratio(60.0, 2.0), report.ratio(None, 2.0)) == ("1.50", "30", "")


def test_a_run_that_fails_or_takes_too_long_is_told_and_not_repeated() -> None:
    tasks = {"fails": Task("rivals:nothing"), "lacks": Task("rivals:asof", {"folder": "nowhere"})}
    measured = processes.in_turn(tasks, 2, patience_s=60)
    assert measured["fails"].seconds is None
    assert "nothing" in str(measured["fails"].failure)
    assert "nowhere" in str(measured["lacks"].failure)
    assert processes.run(Task("rivals:asof", {"folder": "nowhere"}), 0.01) == processes.Failure("more than 0.01 s")


def test_what_takes_seconds_is_run_more_often_in_each_round(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def ran(task: Task, _: float) -> processes.Run:
        asked.append(task.function)
        return processes.Run({"a": 1.0, "b": 11.0, "c": 61.0}[task.function], 1.0, {}, 0.0)

    monkeypatch.setattr(processes, "run", ran)
    measured = processes.in_turn({name: Task(name) for name in "abc"}, 2, 60, passes=3)
    assert "".join(asked) == "abcaaabaa"
    assert [len(one.runs) for one in measured.values()] == [6, 2, 1]


@pytest.mark.slow
def test_every_benchmark_runs_small_and_its_figures_fill_the_page(tmp_path: Path) -> None:
    results, page = tmp_path / "results.json", tmp_path / "README.md"
    words = [sys.executable, str(BENCHMARKS), "all", "--events", "3000", "--rows", "300", "--entities", "30"]
    words += ["--rounds", "1", "--requests", "100", "--seconds", "0.2", "--workers", "1", "--clients", "1"]
    words += ["--rivals", "polars_packed", "--steps", "1", "--axes", "events"]
    done = subprocess.run([*words, "--out", str(results)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(results.read_text())
    assert len(told["training-set"]["raw"]["agreement"]) == 2
    assert list(told) == [name for name in command.BENCHMARKS if name != "feast"]
    assert all(
        len(row) == len(section["columns"]) and row[0] and row[-1]
        for section in told.values()
        for row in section["rows"]
    )
    page.write_text(
        re.sub(r"(<!-- figures: .*? -->).*?(?=<!-- end)", r"\1\n", report.PAGE.read_text(), flags=re.DOTALL)
    )
    report.write_page(results, page)
    assert page.read_text().count("\nMeasured ") == len(told)
    assert {path.name for path in tmp_path.glob("*.svg")} == {"growth-events.svg"}


@pytest.mark.slow
def test_all_tools_compute_the_same(tmp_path: Path) -> None:
    made = data.made(tmp_path, data.Size(3_000, 300, 30))
    ours.loaded(made, "plain")
    agreed = agreement.check(made, TWENTY, patience_s=120)
    assert agreed == dict.fromkeys([*TWENTY, "plain Python"], "equal")


@pytest.mark.slow
def test_training_sets_that_were_measured_are_verified(tmp_path: Path) -> None:
    section = proof.proof(tmp_path, data.Size(3_000, 300, 30), 1, 120)
    assert [row[1:5] for row in section.rows] == [("300", "0", "6,000", "0"), ("300", "0", "5,100", "0")]
    row = proof._row(
        "",
        processes.Measured(
            [processes.Run(3.0, 1.0, dict.fromkeys(("rows", "skipped", "values", "differing"), 2), 0.0)]
        ),
    )
    assert row[1:] == ("2", "2", "2", "2", "3 s", "1.5 s")


@pytest.mark.slow
def test_the_largest_load_is_made_once_and_loaded_as_often_as_it_is_measured(tmp_path: Path) -> None:
    size = data.Size(5_000, 0, 50)
    told = [materialize.many(str(tmp_path), vars(size))() for _ in range(2)]
    assert [one["events"] for one in told] == [5_000, 5_000]
    assert [one.name for one in tmp_path.iterdir()] == [f"keyed-{size.name}.parquet"]


@pytest.mark.slow
def test_every_way_in_is_timed_and_every_event_counted() -> None:
    told = document("materialize.py", "--events", "3000", "--entities", "100", "--new", "200", "--requests", "20")
    events = {name: step["events"] for name, step in told["steps"].items()}
    assert events["materialize"] == 3000
    assert events["materialize what is new"] == 200
    assert events["materialize nothing new"] == 0
    assert events["ingest by 1000"] == events["HTTP ingest by 1000"] == 2000
    assert events["HTTP ingest by 1000, 4 clients"] == 2000
    # in process, over HTTP, and of several clients, each with its warming up: three batches and 21 single events
    assert events["materialize what was ingested"] == 3 * (3 * 1000 + 21)
    assert all(step["seconds"] > 0 and step["peak_mb"] > 0 for step in told["steps"].values())
