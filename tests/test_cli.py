"""Every command, run as a user runs it, in a project of its own."""

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from featurestore.cli import main
from featurestore.cli.app import COMMANDS
from featurestore.cli.failure import exit_code
from featurestore.errors import DataError, DefinitionError, OperationError, RequestError, UnknownService

PROJECT = """
[tool.featurestore]
definitions = "definitions"
home = "store"
"""
DEFINITIONS = '''
from datetime import datetime

from pydantic import BaseModel, Field

from featurestore import Entity, FeatureService, Source, feature


class Payment(BaseModel):
    payment_id: str
    customer_id: int
    event_time: datetime
    amount: float = Field(ge=0)
    units: int | None = None


class Request(BaseModel):
    asked: float
    urgent: bool = False


customer = Entity("customer", key="customer_id")
payments = Source(
    "payments", schema=Payment, path="data/*.csv", event_time="event_time", key="payment_id", delay="5m"
)


@feature(payments, by=customer, windows=["1h", "1d"])
def spend(tx):
    """Money spent."""
    return tx.amount.sum()


@feature(payments, by=customer)
def last_units(tx):
    """Units of the last payment."""
    return tx.units.last()


@feature
def share(asked: float, spend_1d: float, urgent: bool) -> float:
    """What is asked against the day's spending; 0 without any, or in a hurry."""
    return 0.0 if urgent or spend_1d == 0 else asked / spend_1d


fraud = FeatureService("fraud", features=[spend, last_units, share], request=Request)
'''
ROWS = """payment_id,customer_id,event_time,amount,units
p1,1,2026-01-01T10:00:00Z,10.0,9007199254740993
p2,1,2026-01-01T11:00:00Z,6.0,
p3,2,2026-01-01T11:00:00Z,7.0,3
p3,2,2026-01-01T11:00:00Z,7.0,3
"""
SPINE = """customer_id,event_time,asked
1,2026-01-01T10:30:00Z,2.0
2,2026-01-01T12:00:00Z,3.5
"""
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's folder, which is the working directory."""
    (tmp_path / "definitions").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    (tmp_path / "definitions" / "payments.py").write_text(DEFINITIONS)
    (tmp_path / "data" / "first.csv").write_text(ROWS)
    (tmp_path / "spine.csv").write_text(SPINE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(project: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command in the project: exit code, stdout, stderr."""
    assert project.is_dir()

    def started(*arguments: str) -> tuple[int, str, str]:
        code = main(arguments)
        out, err = capsys.readouterr()
        return code, out, err

    return started


def told(run: Run, *arguments: str, code: int = 0) -> Any:
    """The document that a command gives with ``--json``; nothing but it is printed."""
    found, out, err = run(*arguments, "--json")
    assert (found, err) == (code, "")
    return json.loads(out)


def change(project: Path, old: str, new: str) -> None:
    """Edit the definitions."""
    assert old in DEFINITIONS
    (project / "definitions" / "payments.py").write_text(DEFINITIONS.replace(old, new))


def test_help_lists_every_command(run: Run) -> None:
    code, out, _ = run("--help")
    assert code == 0
    listed = {word for line in out.splitlines() for word in line.split()}
    assert set(COMMANDS) <= listed


def test_check_asks_the_features_and_quick_does_not(project: Path, run: Run) -> None:
    found, out, err = run("check")
    assert (found, err) == (0, "asking the features\nNext: featurestore plan (what would change)\n")
    assert "on made-up events gave the same bits in every way of asking, another process among them." in out
    asked = told(run, "check")["asked"]
    assert (asked["services"], asked["in_another_process"], asked["unmade"]) == (1, True, [])
    batch = "\n\n@feature\ndef over(asked: np.ndarray) -> np.ndarray:\n    return asked - asked.mean()\n\n\nfraud ="
    change(project, "\n\nfraud =", batch)
    declared = (project / "definitions" / "payments.py").read_text()
    text = declared.replace("[spend, ", "[over, spend, ").replace(
        "from datetime", "import numpy as np\nfrom datetime", 1
    )
    (project / "definitions" / "payments.py").write_text(text)
    found = told(run, "check", code=1)["error"]
    assert found["type"] == "DefinitionProblems"
    assert "feature 'over' is no function of its row alone: asked in two halves, row " in found["problems"][0]
    assert told(run, "check", "--quick")["asked"] is None


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_has_help_and_takes_the_shared_options(run: Run, name: str) -> None:
    code, out, _ = run(name, "--help")
    assert code == 0
    assert {"--project", "--json", "--debug"} <= set(out.split())


def test_check_counts_what_is_declared(run: Run) -> None:
    counts = {"entities": 1, "sources": 1, "features": 3, "outputs": 4, "labels": 0, "services": 1}
    assert told(run, "check", "--quick") == {**counts, "asked": None}
    code, out, err = run("check", "--quick")
    assert code == 0
    assert "3 features with 4 outputs" in out
    assert err == "Next: featurestore plan (what would change)\n"


def test_check_gives_every_problem_with_file_and_line(run: Run, project: Path) -> None:
    (project / "definitions" / "double.py").write_text(DEFINITIONS)
    (project / "definitions" / "other.py").write_text("import nothing_of_that_name\n")
    error = told(run, "check", code=1)["error"]
    assert error["type"] == "DefinitionProblems"
    for place in ("double.py:", "other.py:1: ModuleNotFoundError"):
        assert any(place in problem for problem in error["problems"])
    code, out, err = run("check")
    assert (code, out) == (1, "")
    assert "other.py:1" in err


def test_plan_and_apply_follow_an_edit(run: Run, project: Path) -> None:
    assert {one["action"] for one in told(run, "plan")["changes"]} == {"added"}
    assert told(run, "apply")["number"] == 1
    assert told(run, "plan") == {"changes": []}
    change(project, "tx.amount.sum()", "tx.amount.max()")
    _, out, _ = run("plan")
    assert "~ feature spend changed\n" in out
    assert "-    return tx.amount.sum()\n" in out
    assert "~ feature share changed, because of feature spend" in out
    assert told(run, "apply")["number"] == 2
    assert [one["number"] for one in told(run, "history")["applied"]] == [1, 2]


def test_applying_nothing_new_says_so(run: Run) -> None:
    run("apply")
    code, out, err = run("apply")
    assert (code, out) == (0, "Nothing has changed since apply 1.\n")
    assert err.startswith("Next: featurestore materialize")


def test_list_gives_all_kinds_or_one(run: Run) -> None:
    listed = told(run, "list")
    assert list(listed) == ["entities", "sources", "features", "labels", "services"]
    assert {one["name"] for one in listed["features"]} == {"spend", "last_units", "share"}
    assert list(told(run, "list", "services")) == ["services"]
    _, out, _ = run("list", "features")
    assert "Money spent." in out
    assert "definitions/payments.py:" in out


def test_show_finds_the_feature_of_an_output(run: Run) -> None:
    shown = told(run, "show", "spend_1h")
    assert [(one["kind"], one["name"]) for one in shown["declarations"]] == [("feature", "spend")]
    assert shown["upstream"] == ["customer", "payments"]
    _, out, _ = run("show", "share")
    assert "def share(asked: float, spend_1d: float, urgent: bool) -> float:" in out


def test_a_name_that_is_nothing_gets_a_suggestion(run: Run) -> None:
    error = told(run, "show", "spent", code=1)["error"]
    assert error["type"] == "UnknownService"
    assert "Did you mean 'spend'?" in error["message"]
    assert told(run, "lineage", "spend") == {
        "name": "spend",
        "upstream": ["customer", "payments"],
        "downstream": ["fraud", "share"],
    }


def test_materialize_says_what_it_did_and_by_which_rule(run: Run) -> None:
    done = told(run, "materialize")
    assert (done["position"], done["rows"], done["taken_over"]) == (1, 3, 0)
    assert done["sources"] == [
        {
            "source": "payments",
            "rows": 3,
            "duplicates": 1,
            "quarantined": 0,
            "vanished": [],
            "known_at": "event_time + 5m",
            "forgotten": 0,
        }
    ]
    assert list(done["filled"]) == ["payments_by_customer"]
    assert told(run, "materialize")["rows"] == 0


def test_materialize_shows_its_progress_and_the_vanished_files(run: Run, project: Path) -> None:
    code, out, err = run("materialize")
    assert code == 0
    assert out.startswith("3 new events. Position 1.\n")
    assert "reading payments\n" in err
    (project / "data" / "first.csv").rename(project / "data" / "second.csv")
    _, out, _ = run("materialize")
    assert "payments: gone since they were loaded, their events stay: data/first.csv\n" in out


def test_rows_from_a_file_that_is_not_there_are_asked_for_in_words(run: Run) -> None:
    for name in ("none.json", "none.csv"):
        words = told(run, "ingest", "payments", name, code=1)["error"]["message"]
        assert words == f"There is no file {name}. Rows come from .json, .jsonl, .csv or .parquet, or - for stdin."


def test_a_folder_without_a_project_says_how_to_begin(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    assert "`featurestore init NAME` makes a project" in told(run, "check", code=1)["error"]["message"]


def test_a_changed_delay_says_what_it_needs_where_it_is_found(run: Run, project: Path) -> None:
    assert told(run, "materialize")["notes"] == []  # nothing was applied: nothing has changed
    run("apply")
    path = project / "definitions" / "payments.py"
    path.write_text(path.read_text().replace('delay="5m"', 'delay="2d"'))
    words = "payments: delay='2d' holds for what is loaded from now on; events in the store keep their known_at."
    for command in ("plan", "materialize"):
        code, out, _ = run(command)
        assert code == 0
        assert f"{words} To give them a new one: materialize --rebuild --history" in " ".join(out.split())
    assert told(run, "materialize", "--rebuild", "--history")["notes"] == []
    assert words in " ".join(run("apply")[1].split())


def test_rows_against_the_schema_stop_a_load_and_are_listed(run: Run, project: Path) -> None:
    (project / "data" / "bad.csv").write_text(f"{ROWS.splitlines()[0]}\np9,1,2026-01-01T10:00:00Z,-1.0,\n")
    error = told(run, "materialize", code=1)["error"]
    assert error["type"] == "InvalidRows"
    assert [(one["file"], one["row"], one["column"], one["value"]) for one in error["rows"]] == [
        ("data/bad.csv", 1, "amount", "-1.0")
    ]
    assert told(run, "status")["position"] == 0


def test_rows_that_were_set_aside_are_listed(run: Run, project: Path) -> None:
    (project / "data" / "bad.csv").write_text(f"{ROWS.splitlines()[0]}\np9,1,2026-01-01T10:00:00Z,-1.0,\n")
    assert told(run, "quarantined", "payments")["count"] == 0
    _, _, err = run("materialize", "--on-invalid", "quarantine")
    assert "Next: featurestore quarantined payments" in err
    found = told(run, "quarantined", "payments")
    assert found["count"] == 1
    assert found["rows"][0]["column"] == "amount"
    assert "data/bad.csv" in run("quarantined", "payments")[1]


def test_json_lines_are_ingested_and_seen_next(run: Run, project: Path) -> None:
    run("materialize")
    rows = '{"payment_id": "i1", "customer_id": 7, "event_time": "2026-01-02T10:00:00Z", "amount": 4, "units": 5}\n\n'
    (project / "new.jsonl").write_text(rows)
    done = told(run, "ingest", "payments", "new.jsonl")
    assert (done["rows"], done["duplicates"], done["position"]) == (1, 0, 2)
    assert done["known_at"].endswith("Z")
    assert told(run, "lookup", "fraud", "customer_id=7", "asked=1")["features"]["last_units"] == 5
    assert told(run, "ingest", "payments", "new.jsonl")["duplicates"] == 1


def test_an_array_on_stdin_is_ingested(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"payment_id": "i1", "customer_id": 7, "event_time": "2026-01-02T10:00:00Z", "amount": 4.5}]
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(rows, indent=1)))
    assert told(run, "ingest", "payments", "-")["rows"] == 1
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(rows[0], indent=1)))
    assert told(run, "ingest", "payments", "-")["duplicates"] == 1


def test_csv_and_parquet_files_are_ingested_by_the_schema(run: Run, project: Path) -> None:
    (project / "new.csv").write_text(ROWS)
    assert told(run, "ingest", "payments", "new.csv")["rows"] == 3
    table = pa.table(
        {"payment_id": ["q1"], "customer_id": [2], "event_time": ["2026-01-02T10:00:00Z"], "amount": [1.5]}
    )
    times = table.column("event_time").cast(pa.timestamp("us", tz="UTC"))
    pq.write_table(table.set_column(2, "event_time", times), project / "new.parquet")
    assert told(run, "ingest", "payments", "new.parquet")["rows"] == 1
    (project / "bad.csv").write_text(ROWS.replace("10.0", "ten"))
    assert told(run, "ingest", "payments", "bad.csv", code=1)["error"]["type"] == "InvalidRows"


def test_a_broken_line_of_json_is_named(run: Run, project: Path) -> None:
    (project / "new.jsonl").write_text('{"payment_id": "i1"}\n{"payment_id": \n')
    error = told(run, "ingest", "payments", "new.jsonl", code=1)["error"]
    assert error["type"] == "SourceUnreadable"
    assert error["message"].startswith("new.jsonl line 2 is no JSON")
    assert told(run, "ingest", "payments", "none.csv", code=1)["error"]["type"] == "SourceUnreadable"


def test_an_infinite_number_is_refused_and_shown_in_words(run: Run, project: Path) -> None:
    row = '{"payment_id": "i1", "customer_id": 7, "event_time": "2026-01-02T10:00:00Z", "amount": Infinity}'
    (project / "new.json").write_text(row)
    error = told(run, "ingest", "payments", "new.json", code=1)["error"]
    assert (error["type"], error["rows"][0]["column"]) == ("InvalidRows", "amount")
    assert error["rows"][0]["value"] == "inf"


def test_a_training_set_is_written_and_listed(run: Run, project: Path) -> None:
    run("materialize")
    made = told(run, "training-set", "fraud", "spine.csv", "--name", "first", "--output", "out.parquet")
    assert (made["name"], made["rows"], made["output"]) == ("first", 2, "out.parquet")
    rows = pq.read_table(project / "out.parquet").to_pydict()
    assert rows["asked"] == [2.0, 3.5]
    assert rows["spend_1h"] == [10.0, 7.0]
    assert rows["last_units"] == [9007199254740993, 3]
    assert rows["share"] == [0.2, 0.5]
    assert [one["name"] for one in told(run, "training-sets")["training_sets"]] == ["first"]


def test_a_spine_goes_into_a_training_set_with_a_label(run: Run, project: Path) -> None:
    file = project / "definitions" / "payments.py"
    label = "\n\n@label(payments, by=customer, horizon='1h')\ndef coming(tx):\n    return tx.count()\n"
    file.write_text(file.read_text().replace("import Entity,", "import label, Entity,") + label)
    run("materialize")
    made = told(run, "spine", "payments", "spine.parquet")
    assert (made["rows"], made["columns"][:2]) == (3, SPINE_KEYS)
    query = "select customer_id, event_time, 1.0 as asked from 'spine.parquet'"
    kept = told(run, "training-set", "fraud", query, "--label", "coming", "--immature", "keep")
    dropped = told(run, "training-set", "fraud", query, "--label", "coming")
    assert [one["name"] for one in dropped["labels"]] == ["coming"]
    assert (dropped["rows"], dropped["immature"]["rows"], kept["rows"]) == (1, 2, 3)  # known up to 11:05
    assert "left out" in run("training-set", "fraud", query, "--label", "coming")[1]
    assert told(run, "spine", "customer", "weekly.csv", "--every", "7d")["columns"] == SPINE_KEYS
    assert told(run, "spine", "payments", "weekly.csv", code=1)["error"]["type"] == "RequestError"
    assert [one["name"] for one in told(run, "list", "labels")["labels"]] == ["coming"]
    assert told(run, "show", "coming")["declarations"][0]["kind"] == "label"


SPINE_KEYS = ["customer_id", "event_time"]


def test_a_file_is_not_written_over_unasked(run: Run, project: Path) -> None:
    run("materialize")
    assert run("training-set", "fraud", "spine.csv", "--output", "out.csv")[0] == 0
    first = (project / "out.csv").read_text().splitlines()[0]
    assert first == '"customer_id","event_time","asked","spend_1h","spend_1d","last_units","share"'
    assert (
        told(run, "training-set", "fraud", "spine.csv", "--output", "out.csv", code=1)["error"]["type"]
        == "RequestError"
    )
    assert run("training-set", "fraud", "spine.csv", "--output", "out.csv", "--replace")[0] == 0
    assert (
        told(run, "training-set", "fraud", "spine.csv", "--output", "out.xlsx", code=2)["error"]["type"] == "UsageError"
    )
    assert not list(project.glob(".out*"))


def test_a_spine_may_be_sql_and_a_position_chosen(run: Run) -> None:
    run("materialize")
    query = "select 1 as customer_id, timestamp '2026-01-01 10:30:00' as at, 2.0::double as asked"
    made = told(run, "training-set", "fraud", query, "--time", "at", "--position", "1")
    assert (made["rows"], made["position"]) == (1, 1)
    error = told(run, "training-set", "fraud", query, "--time", "at", "--position", "9", code=1)["error"]
    assert "the newest is 1" in error["message"]


def test_a_lookup_reads_values_as_they_are_declared(run: Run) -> None:
    run("materialize")
    given = ("lookup", "fraud", "customer_id=1", "asked=2", "--as-of", "2026-01-01T10:30:00Z")
    vector = told(run, *given)
    assert vector["features"] == {"spend_1h": 10.0, "spend_1d": 10.0, "last_units": 9007199254740993, "share": 0.2}
    assert (vector["as_of"], vector["position"]) == ("2026-01-01T10:30:00.000000Z", 1)
    assert told(run, *given, "urgent=true")["features"]["share"] == 0.0
    assert "9007199254740993" in run(*given)[1]


def test_a_lookup_takes_a_json_object(run: Run) -> None:
    run("materialize")
    row = '{"customer_id": 1, "asked": 2, "urgent": false}'
    vector = told(run, "lookup", "fraud", "--json-row", row, "--as-of", "2026-01-01T10:30:00Z")
    assert vector["features"]["share"] == 0.2
    assert told(run, "lookup", "fraud", "--json-row", "[1]", code=2)["error"]["type"] == "UsageError"
    assert told(run, "lookup", "fraud", code=2)["error"]["type"] == "UsageError"


def test_an_explanation_shows_the_events_that_count_and_those_that_do_not(run: Run) -> None:
    run("materialize")
    given = ("explain", "fraud", "share", "customer_id=1", "asked=2", "--as-of", "2026-01-01T11:00:00Z")
    document = told(run, *given)
    share, spend = document["steps"]
    assert (document["value"], share["operands"]["spend_1d"]) == (0.2, 10.0)
    assert spend["look"]["begin"] == "2025-12-31T11:00:00.000000Z"
    assert [(one["columns"]["payment_id"], one["why"]) for one in spend["look"]["events"]] == [
        ("p1", None),
        ("p2", "at_end"),
    ]
    printed = run(*given)[1]
    for words in ("share = 0.2", "from 2025-12-31T11:00:00.000000Z (in it) to 2026-01-01T11:00:00.000000Z (not in it)"):
        assert words in printed
    assert [line.split()[2:] for line in printed.splitlines() if line.startswith("2026")] == [
        ["p1", "10.0", "counts"],
        ["p2", "6.0", "at", "the", "window's", "end,", "which", "is", "open"],
    ]
    assert (
        told(run, "explain", "fraud", "shares", "customer_id=1", "asked=2", code=1)["error"]["type"] == "UnknownService"
    )


def test_a_never_seen_entity_has_nulls_not_errors(run: Run) -> None:
    run("materialize")
    features = told(run, "lookup", "fraud", "customer_id=99", "asked=2")["features"]
    assert features == {"spend_1h": 0.0, "spend_1d": 0.0, "last_units": None, "share": 0.0}
    assert told(run, "lookup", "fraud", "customer_id=", "asked=2")["features"] == features


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (("lookup", "froud", "customer_id=1"), "UnknownService"),
        (("lookup", "fraud", "customer_id=one", "asked=2"), "InvalidRequest"),
        (("lookup", "fraud", "customer_id=1"), "InvalidRequest"),
        (("lookup", "fraud", "customer_id=1", "asked=2", "--as-of", "2999-01-01"), "AsOfError"),
        (("lookup", "fraud", "customer_id=1", "asked=2", "--as-of", "soon"), "RequestError"),
        (("training-set", "fraud", "nowhere.csv"), "SpineError"),
        (("quarantined", "payment"), "UnknownService"),
    ],
)
def test_what_was_asked_wrong_ends_with_1(run: Run, arguments: tuple[str, ...], kind: str) -> None:
    assert told(run, *arguments, code=1)["error"]["type"] == kind


@pytest.mark.parametrize(
    "arguments",
    [
        ("lookup", "fraud", "customer_id"),
        ("lookup", "fraud", "asked=1", "asked=2"),
        ("check", "--project", "nowhere"),
        ("materialize", "--on-invalid", "shrug"),
        ("no-such-command",),
        ("list", "everything"),
        ("ingest", "payments"),
    ],
)
def test_a_wrong_command_line_ends_with_2(run: Run, arguments: tuple[str, ...]) -> None:
    assert told(run, *arguments, code=2)["error"]["type"] == "UsageError"
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert "Usage: featurestore" in err


def test_status_says_what_is_there_and_what_to_do(run: Run, project: Path) -> None:
    empty = told(run, "status")
    assert (empty["position"], empty["unapplied"]) == (0, 6)
    run("apply")
    assert "Next: featurestore materialize" in run("status")[2]
    run("materialize")
    (project / "new.csv").write_text(ROWS.splitlines()[0] + "\nx1,1,2026-01-03T10:00:00Z,1.0,\n")
    run("ingest", "payments", "new.csv")
    found = told(run, "status")
    assert (found["position"], found["log_position"], found["waiting"], found["unapplied"]) == (2, 1, 1, 0)
    assert [(one["source"], one["rows"], one["segments"]) for one in found["sources"]] == [("payments", 3, 1)]
    assert found["views"] == [{"view": "payments_by_customer", "filled": True, "runs": 1, "since": None}]


def test_a_flipped_byte_in_the_log_ends_with_3(run: Run, project: Path) -> None:
    run("materialize")
    assert told(run, "verify-log") == {"segments": 1}
    (segment,) = (project / "store" / "log" / "segments").glob("*/*.parquet")
    content = bytearray(segment.read_bytes())
    content[len(content) // 2] ^= 1
    segment.write_bytes(content)
    assert told(run, "verify-log", code=3)["error"]["type"] == "StoreDamaged"


def test_compact_merges_the_segments_of_a_source(run: Run, project: Path) -> None:
    run("materialize")
    (project / "data" / "second.csv").write_text(ROWS.splitlines()[0] + "\nx1,1,2026-01-03T10:00:00Z,1.0,\n")
    run("materialize")
    assert told(run, "compact")["merged"] == {"payments": 2}
    assert told(run, "compact", "payments")["merged"] == {"payments": 0}
    found = told(run, "status")["sources"][0]
    assert (found["rows"], found["segments"]) == (4, 1)


def test_shared_options_may_stand_before_the_command(run: Run, project: Path) -> None:
    code, out, err = run("--project", str(project), "--json", "check")
    assert (code, err) == (0, "")
    assert json.loads(out)["features"] == 3
    assert run("check", "--project", "definitions", "--json")[0] == 1


def test_the_next_step_names_the_project_as_it_was_given(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("data")
    code, _, err = run("check", "--quick", "--project", "..")
    assert (code, err) == (0, "Next: featurestore plan --project .. (what would change)\n")


def test_definitions_that_print_leave_the_document_alone(run: Run, project: Path) -> None:
    (project / "definitions" / "noise.py").write_text("print('loading')\n")
    code, out, err = run("check", "--json")
    assert (code, err) == (0, "loading\n")
    assert json.loads(out)["features"] == 3


def test_an_unforeseen_error_is_words_and_with_debug_a_traceback(run: Run, project: Path) -> None:
    (project / "store").mkdir()
    (project / "store" / "log").write_text("a file where a folder should be")
    code, out, err = run("materialize")
    assert (code, out) == (3, "")
    assert "error: " in err
    assert "Traceback" not in err
    assert "Traceback" in run("materialize", "--debug")[2]
    code, out, err = run("materialize", "--debug", "--json")
    assert "Traceback" in err
    assert json.loads(out)["error"]["type"] == "NotADirectoryError"


def test_ctrl_c_says_in_which_state_the_store_is(run: Run, project: Path) -> None:
    (project / "definitions" / "slow.py").write_text("raise KeyboardInterrupt\n")
    code, out, err = run("materialize")
    assert (code, out) == (130, "")
    assert "A load counts wholly or not at all" in err
    assert told(run, "check", code=130) == {"error": {"type": "Interrupted", "message": "Nothing was changed."}}


def test_every_family_of_errors_has_its_exit_code() -> None:
    codes = {
        DefinitionError("x"): 1,
        DataError("x"): 1,
        UnknownService("x"): 1,
        RequestError("x"): 1,
        OperationError("x"): 3,
    }
    assert [exit_code(error) for error in codes] == list(codes.values())
    assert exit_code(PermissionError("x")) == 3
    assert exit_code(ZeroDivisionError("x")) == 3


def test_help_needs_none_of_the_heavy_libraries() -> None:
    code = (
        "import featurestore, sys; there = set(sys.modules); import featurestore.cli; print(*set(sys.modules) - there)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "typer" in loaded
    assert not loaded & {"rich", "numpy", "pyarrow", "duckdb", "pydantic", "pandas"}


def test_the_command_is_installed_and_survives_a_closed_pipe(project: Path) -> None:
    command = Path(sys.executable).with_name("featurestore")
    done = subprocess.run([command, "check", "--json"], cwd=project, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["services"] == 1
    piped = subprocess.run(
        ["sh", "-c", f"{command} list | head -n 1"], cwd=project, capture_output=True, text=True, check=True
    )
    assert piped.stdout.split() == ["kind", "name", "what", "where"]
    assert "Traceback" not in piped.stderr
