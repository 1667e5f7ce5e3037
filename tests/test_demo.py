"""``featurestore demo``: the story is true, and no server outlives it."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from featurestore import FeatureStore
from featurestore.cli import main
from featurestore.demo import proof
from featurestore.demo.client import ServerProcess
from featurestore.demo.story import check_extras
from featurestore.errors import MissingExtra, OperationError
from featurestore.verify.bits import in_bytes

COMMAND = [sys.executable, "-c", "import sys; from featurestore.cli import main; sys.exit(main())"]
EVENTS = ["--events", "5000"]


def listens(url: str) -> bool:
    host, port = url.removeprefix("http://").split(":")
    with socket.socket() as asking:
        return asking.connect_ex((host, int(port))) == 0


def url_in(folder: Path) -> str:
    found = re.search(r"serving on (\S+)", (folder / ".featurestore" / "server.log").read_text())
    assert found is not None
    return found.group(1)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one run told, with its chapters by title."""
    root = tmp_path_factory.mktemp("demo")
    ran = subprocess.run(
        [*COMMAND, "demo", "--json", *EVENTS], cwd=root, capture_output=True, text=True, check=False, timeout=300
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stderr == ""
    document = json.loads(ran.stdout)
    chapters = {one["title"]: one for one in document["chapters"]}
    return {**chapters, "titles": list(chapters), "folder": root / document["folder"], "seconds": document["seconds"]}


@pytest.mark.slow
def test_the_whole_loop_is_told_in_order(told: dict[str, Any]) -> None:
    loop = ["Simulate", "Declare", "Materialize", "Build", "Train", "Serve", "Same bytes", "Ingest", "Stop"]
    assert told["titles"] == loop
    assert told["Materialize"]["rows"] == told["Simulate"]["payments"] == 5000
    assert told["Materialize"]["duplicates"] == told["Simulate"]["doubled"] == 50


@pytest.mark.slow
def test_a_thousand_training_rows_were_the_bytes_that_http_answered(told: dict[str, Any]) -> None:
    assert (told["Same bytes"]["rows"], told["Same bytes"]["different"]) == (1000, 0)
    assert told["Same bytes"]["values"] == 1000 * told["Build"]["features"] == 23_000
    assert told["Ingest"]["different"] == 0


@pytest.mark.slow
def test_four_ingested_payments_move_the_features(told: dict[str, Any]) -> None:
    moved, before = told["Ingest"]["moved"], told["Materialize"]["position"]
    assert told["Ingest"]["position"] == before + 1
    assert moved["txn_count_1h"][1] - moved["txn_count_1h"][0] == 4
    assert moved["amount_sum_1h"][1] - moved["amount_sum_1h"][0] == 5.5
    assert told["Ingest"]["probability"][1] > told["Ingest"]["probability"][0]


@pytest.mark.slow
def test_the_server_has_stopped(told: dict[str, Any]) -> None:
    assert told["Serve"]["url"] == url_in(told["folder"])
    assert not listens(told["Serve"]["url"])


@pytest.mark.slow
def test_the_folder_is_left_to_play_with(told: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert told["folder"].name == "featurestore-demo"
    assert main(["--project", str(told["folder"]), "--json", "training-sets"]) == 0
    listed = json.loads(capsys.readouterr().out)["training_sets"]
    assert [one["name"] for one in listed] == ["fraud_30d", "fraud_one_row"]
    with FeatureStore.open(told["folder"]) as store:
        asked = told["Serve"]["asked"]
        assert store.predict("fraud", asked).to_dict()["probabilities"]["true"] <= 1


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_is_stopped_stops_its_server(tmp_path: Path, how: signal.Signals) -> None:
    with subprocess.Popen([*COMMAND, "demo", *EVENTS], cwd=tmp_path, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        for line in running.stderr:
            if line.startswith("comparing"):
                break
        url = url_in(tmp_path / "featurestore-demo")
        assert listens(url)
        os.kill(running.pid, how)
        rest = running.stderr.read()
        assert running.wait() == 130
    assert "has stopped" in rest
    assert not listens(url)


@pytest.mark.slow
def test_a_server_that_does_not_come_up_is_told_with_the_end_of_its_log(tmp_path: Path) -> None:
    (tmp_path / "definitions").mkdir()
    (tmp_path / "definitions" / "wrong.py").write_text("import nothing_of_that_name\n")
    (tmp_path / ".featurestore").mkdir()
    server = ServerProcess(tmp_path)
    with pytest.raises(OperationError, match="nothing_of_that_name"):
        server.start()
    server.stop()
    assert server.process is not None
    assert server.process.poll() == 1


def test_a_folder_that_is_not_empty_is_refused_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    assert main(["--project", str(tmp_path), "demo", "--folder", "."]) == 1
    assert "is not empty (it holds 'mine.txt')" in capsys.readouterr().err
    assert [one.name for one in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("missing", "extras"), [("sklearn", "ml"), ("uvicorn", "serve"), ("sklearn uvicorn", "ml,serve")]
)
def test_a_missing_extra_is_named_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], missing: str, extras: str
) -> None:
    for name in missing.split():
        monkeypatch.setitem(sys.modules, name, None)  # what Python itself puts there for a module that is not to be had
    with pytest.raises(MissingExtra, match=re.escape(f"pip install 'featurestore[{extras}]'")):
        check_extras()
    assert main(["--project", str(tmp_path), "demo"]) == 3
    assert missing.replace(" ", ", ") in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_was_never_started_can_be_stopped(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path)
    server.stop()
    server.stop()
    with pytest.raises(OperationError, match="has not been started"):
        server.post("/features/fraud", {})


def test_bytes_tell_apart_what_compares_equal() -> None:
    kinds = [1, 1.0, True, "1", None, 0.0, -0.0]
    assert len({in_bytes(one) for one in kinds}) == len(kinds)
    assert in_bytes(0.1 + 0.2) != in_bytes(0.3)
    assert in_bytes({"a": 1, "b": 2}) != in_bytes({"b": 2, "a": 1})


def test_an_instant_is_the_text_that_http_gives_for_it() -> None:
    instant = datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert in_bytes(instant) == in_bytes("2026-01-31T12:00:00.000000Z")


def test_an_answer_of_another_position_or_fingerprint_is_not_the_same() -> None:
    manifest = {"features": ["count"], "position": 3, "fingerprint": "f"}
    row = {"customer_id": "c1", "count": 2}
    answer = {"features": {"count": 2}, "position": 3, "fingerprint": "f"}
    assert proof.same(row, manifest, answer)
    assert not proof.same(row, manifest, {**answer, "position": 4})
    assert not proof.same(row, manifest, {**answer, "fingerprint": "g"})
    assert not proof.same(row, manifest, {**answer, "features": {"count": 2.0}})


def test_one_row_that_differs_ends_the_story() -> None:
    proof.must_be_none(0, 1000)
    with pytest.raises(OperationError, match="1 of 1,000 rows differ"):
        proof.must_be_none(1, 1000)
