"""``featurestore serve`` and ``featurestore keys``, as they are typed."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from served import begun, running, write_project

from featurestore.cli import main
from featurestore.server.options import Options

COMMAND = str(Path(sys.executable).with_name("featurestore"))
ROW = {"customer": 1, "shop": "a", "amount": 12.5}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write_project(tmp_path)


def test_serve_answers_until_it_is_told_to_stop(project: Path) -> None:
    with begun(
        [COMMAND, "serve", "--project", str(project), "--port", "0", "--workers", "2"], project, workers=2
    ) as server:
        assert server.post("/features/fraud", ROW).status_code == 200
        assert server.client.get("/health/ready").json() == {"status": "ready"}
        assert server.stop() == 0
    assert any("Ctrl-C stops it" in line.get("text", "") for line in server.log)
    with pytest.raises(httpx.ConnectError):
        httpx.get(server.url + "/health/live")


def test_workers_end_when_the_process_that_started_them_is_killed(project: Path) -> None:
    with running(project, workers=2) as server:
        workers = [line["pid"] for line in server.log if line["event"] == "started"]
        os.kill(server.process.pid, signal.SIGKILL)
        assert server.wait() == -signal.SIGKILL  # the log is at its end once nobody holds it any more
        assert sorted(line["pid"] for line in server.log if line["event"] == "stopped") == sorted(workers)


def test_a_key_made_while_serving_is_asked_for_at_once(project: Path) -> None:
    with begun([COMMAND, "serve", "--project", str(project), "--port", "0"], project) as server:
        assert server.post("/features/fraud", ROW).status_code == 200
        made = subprocess.run(
            [COMMAND, "keys", "create", "me", "--project", str(project), "--json"], capture_output=True, check=True
        )
        key = json.loads(made.stdout)
        bearer = {"Authorization": f"Bearer {key['key']}"}
        assert server.post("/features/fraud", ROW).status_code == 401
        assert server.post("/features/fraud", ROW, headers=bearer).status_code == 200
        assert server.post("/events/payments", {}, headers=bearer).status_code == 403
        subprocess.run([COMMAND, "keys", "revoke", key["id"], "--project", str(project)], check=True)
        assert server.post("/features/fraud", ROW, headers=bearer).status_code == 401


def test_others_are_not_served_without_a_key(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--project", str(project), "--host", "0.0.0.0", "--port", "0"]) == 3  # noqa: S104 - refused
    assert "keys create NAME" in capsys.readouterr().err


def test_a_port_that_is_taken_is_said_to_be_so(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with begun([COMMAND, "serve", "--project", str(project), "--port", "0"], project) as server:
        assert main(["serve", "--project", str(project), "--port", str(server.port)]) == 3
    assert f"port {server.port}" in capsys.readouterr().err


def test_wrong_definitions_are_named_and_nothing_is_served(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "definitions" / "payments.py").write_text("import nothing_of_that_name\n")
    assert main(["serve", "--project", str(project), "--port", "0"]) == 1
    assert "payments.py" in capsys.readouterr().err


def test_keys_are_made_listed_and_revoked(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def told(*arguments: str, code: int = 0) -> dict[str, object]:
        assert main(["keys", *arguments, "--project", str(project), "--json"]) == code
        document: dict[str, object] = json.loads(capsys.readouterr().out)
        return document

    made = told("create", "loader", "--scope", "ingest", "--scope", "read", "--expires", "90d")
    assert str(made["key"]).startswith(f"fs_{made['id']}_")
    assert made["scopes"] == ["read", "ingest"]
    assert told("list")["keys"] == [{name: value for name, value in made.items() if name != "key"}]
    assert told("revoke", str(made["id"]))["revoked_at"] is not None
    assert told("create", "x", "--scope", "root", code=1)["error"]
    assert told("revoke", "nobody", code=1)["error"]


def test_keys_are_shown_as_a_table(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "list", "--project", str(project)]) == 0
    assert "no keys yet" in capsys.readouterr().out
    assert main(["keys", "create", "loader", "--project", str(project)]) == 0
    assert "fs_" in capsys.readouterr().out
    assert main(["keys", "list", "--project", str(project)]) == 0
    out = capsys.readouterr().out
    assert "loader" in out
    assert "fs_" not in out


def test_an_expiry_that_is_no_duration_is_a_usage_error(project: Path) -> None:
    assert main(["keys", "create", "x", "--expires", "soon", "--project", str(project)]) == 2


def test_options_come_through_the_environment_as_they_went(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATURESTORE_SERVER", "")
    options = Options(project="/somewhere", port=0, workers=3, deadline_s=0.5, log=False)
    options.export()
    assert Options.from_environment() == options


def test_without_the_extra_it_is_named(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert main(["serve", "--project", str(project), "--port", "0"]) == 3
    assert "pip install 'featurestore[serve]'" in capsys.readouterr().err
