"""The served log: exact values, many writers, torn tails, limits, and a kill that loses less than a second."""

import fcntl
import json
import os
import signal
import stat
import struct
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import httpx
import pytest
from served import running, write_project
from shop import Clock

from featurestore import FeatureStore, times
from featurestore.cli import main
from featurestore.errors import OperationError, StoreDamaged
from featurestore.lookup import Vector
from featurestore.models import Prediction
from featurestore.monitoring import retention, spool
from featurestore.monitoring.recorder import Keeping, Recorder
from featurestore.monitoring.served import ServiceOrigin
from featurestore.monitoring.served_log import ServedLog, Wanted

ROW = {"customer": 1, "shop": "a", "amount": 12.5}
AT = datetime(2026, 5, 1, 12, 0, 0, 1, tzinfo=UTC)
KINDS: dict[str, Any] = {"f": "float", "i": "int", "b": "bool", "s": "str", "t": "datetime", "n": "float"}
SERVICES = {"shop": ServiceOrigin("print", {"key": "str", "at": "datetime"}, KINDS, dict.fromkeys(KINDS, "abc"))}
LIBRARIES = {"python": "3.11.0", "numpy": "2.1.0"}
FEATURES = {"f": 0.1, "i": 2**63 - 1, "b": True, "s": "2026-05-01T00:00:00Z", "t": AT, "n": None}
ALL = Keeping()
Record = Callable[..., Recorder]


def vector(at: datetime = AT, **features: Any) -> Vector:
    return Vector(FEATURES | features, at, 7, "print")


def wait_for(what: Callable[..., Any], *given: Any) -> Any:
    """What it gives, once that is something."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if found := what(*given):
            return found
        time.sleep(0.02)  # another process or thread is at work
    raise AssertionError("it did not come")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "served"


@pytest.fixture
def record(folder: Path) -> Iterator[Record]:
    made: list[Recorder] = []

    def begin(keeping: Keeping = ALL, **told: Any) -> Recorder:
        made.append(Recorder(folder, keeping, LIBRARIES, SERVICES, **told))
        return made[-1]

    yield begin
    for one in made:
        one.close()


def test_values_come_back_with_their_bits_and_types(folder: Path, record: Record) -> None:
    floats = [0.1, 1 / 3, 5e-324, 1.7976931348623157e308, 2.2250738585072014e-308, 1e16, 1e22, 123456789.123456789]
    inputs = [{"key": text, "at": AT} for text in ("é\u2028", "\x00", '"\\', "\ud800", "2026-05-01", "", "a\nb", "x")]
    writer = record()
    writer.record("shop", "r1", inputs, [vector(f=one) for one in floats])
    writer.close()
    rows = list(ServedLog(folder).read())
    assert [struct.pack("<d", one.features["f"]) for one in rows] == [struct.pack("<d", one) for one in floats]
    assert [one.inputs for one in rows] == inputs
    for one in rows:
        assert {name: one.features[name] for name in "ibstn"} == {name: FEATURES[name] for name in "ibstn"}
        assert (type(one.features["i"]), type(one.features["b"])) == (int, bool)
        assert (one.as_of, one.position, one.fingerprint, one.service) == (AT, 7, "print", "shop")
        assert (one.model, one.label, one.value, one.decision, one.probabilities) == (None,) * 5
        assert one.origin.libraries == LIBRARIES
        assert one.origin.services == SERVICES
    assert [(one.request_id, one.row) for one in rows] == [("r1", number) for number in range(8)]


def test_a_prediction_is_kept_with_its_model(folder: Path, record: Record) -> None:
    told = {"true": 0.30000000000000004, "false": 0.7}
    made = Prediction("risk", "v2", True, told, None, False, "print", AT, 7, {"f": 0.5})
    number = Prediction("cost", "v1", None, None, 1e16, None, "print", AT, 7, {"f": None})
    writer = record()
    writer.record("shop", "r1", [{"key": "a"}], [made])
    writer.record("shop", "r2", [{"key": "a"}], [number])
    writer.close()
    one, other = ServedLog(folder).read()
    assert (one.model, one.version, one.label, one.probabilities, one.decision) == ("risk", "v2", True, told, False)
    assert one.features == {"f": 0.5}
    assert (other.label, other.probabilities, other.value, other.decision) == (None, None, 1e16, None)


def test_rows_are_found_by_service_time_model_and_request(folder: Path, record: Record, clock: Clock) -> None:
    writer = record(clock=lambda: times.to_micros(clock.now))
    begin = clock.now
    for number in range(6):
        writer.record("shop", f"r{number}", [{"key": "a"}], [vector(i=number)])
        clock.advance(hours=1)
    writer.close()
    log = ServedLog(folder)

    def found(**wanted: Any) -> list[int]:
        last = wanted.pop("last", None)
        return [one.features["i"] for one in log.read(Wanted(**wanted), last=last)]

    third = times.to_micros(begin + timedelta(hours=3))
    assert found(since=third) == [3, 4, 5]
    assert found(until=third) == [0, 1, 2]
    assert found(since=third, until=third + 1) == [3]
    assert found(since=third, last=2) == [4, 5]
    assert found(request_id="r4") == [4]
    assert (found(service="none"), found(model="risk"), found(service="shop", last=1)) == ([], [], [5])
    assert [one.features["i"] for one in log.rows(Wanted(until=third))] == [0, 1, 2]


def test_writers_at_once_each_have_their_file_and_readers_see_all(folder: Path, record: Record) -> None:
    writers = [record() for _ in range(3)]
    for number, one in enumerate(writers):
        one.record("shop", f"w{number}", [{"key": "a"}] * 40, [vector(i=row) for row in range(40)])
    log = ServedLog(folder)
    wait_for(lambda: len(log.read()) == 120)
    assert len(list(folder.glob("*.jsonl"))) == 3  # read while they are written
    for one in writers:
        one.close()
    assert [path.suffix for path in folder.iterdir()] == [".parquet"] * 3
    found = log.read()
    assert sorted((one.request_id, one.row) for one in found) == [(f"w{w}", row) for w in range(3) for row in range(40)]
    assert (found.lost, found.damaged, len(found.origins)) == (0, (), 3)


def test_files_are_parquet_for_any_tool_and_their_owners_alone(folder: Path, record: Record) -> None:
    writer = record()
    writer.record("shop", "r1", [{"key": "a"}], [vector()])
    wait_for(lambda: list(folder.glob("*.jsonl")))
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    writer.close()
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    query = f"select request_id, (features->>'$.f')::double, epoch_us(as_of) from '{folder}/*.parquet'"
    assert duckdb.execute(query).fetchall() == [("r1", 0.1, times.to_micros(AT))]


def left_behind(folder: Path, record: Record, rows: int = 20) -> tuple[Path, bytes]:
    """A spool as a killed process leaves it, and its bytes."""
    writer = record()
    writer.record("shop", "r", [{"key": "a"}] * rows, [vector(i=row) for row in range(rows)])
    wait_for(lambda: len(ServedLog(folder).read()) == rows)
    (path,) = folder.glob("*.jsonl")
    content = path.read_bytes()
    writer.close()
    for one in folder.iterdir():
        one.unlink()
    return path, content


def test_a_spool_cut_off_anywhere_keeps_its_whole_lines(folder: Path, record: Record) -> None:
    path, content = left_behind(folder, record, rows=3)
    begin = content.index(b"\n") + 1
    for cut in range(begin, len(content), 7):
        path.write_bytes(content[:cut])
        found = ServedLog(folder).read()
        whole = content[begin:cut].count(b"\n")
        assert [one.features["i"] for one in found] == list(range(whole))
        assert found.lost == (content[cut - 1 : cut] != b"\n")
    path.write_bytes(content[:-1])
    assert spool.seal(path)
    found = ServedLog(folder).read()
    assert ([path.suffix for path in folder.iterdir()], len(found), found.lost) == ([".parquet"], 2, 1)


def test_a_damaged_line_is_counted_and_the_others_are_read(folder: Path, record: Record) -> None:
    path, content = left_behind(folder, record)
    lines = content.split(b"\n")
    lines[5] = lines[5][:40] + b"\x00\xff" + lines[5][42:]
    lines[9] = b'{"row": "nine"}'
    path.write_bytes(b"\n".join(lines))
    found = ServedLog(folder).read()
    assert [one.features["i"] for one in found] == [row for row in range(20) if row not in (4, 8)]
    assert found.lost == 2


def test_a_file_that_cannot_be_read_is_named_and_the_others_are(folder: Path, record: Record) -> None:
    path, content = left_behind(folder, record)
    spool_path = path.with_name("0-1-a.jsonl")
    spool_path.write_bytes(content)
    assert spool.seal(spool_path)
    sealed = path.with_name("0-2-b.parquet")
    sealed.write_bytes(spool_path.with_suffix(".parquet").read_bytes()[:-9])
    path.write_bytes(b"x" + content)
    log = ServedLog(folder)
    found = log.read()
    assert (len(found), len(found.damaged)) == (20, 2)
    assert all(str(one) in "".join(found.damaged) for one in (path, sealed))
    with pytest.raises(StoreDamaged, match="Restore it from a backup"):
        list(log.rows())
    assert not spool.seal(path)  # it is set aside for a person, not thrown away
    assert path.with_suffix(".damaged").read_bytes() == b"x" + content


def test_a_spool_is_sealed_when_its_process_is_gone_and_not_before(folder: Path, record: Record) -> None:
    path, content = left_behind(folder, record)
    path.write_bytes(content)
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert not spool.seal(path)
        assert path.exists()
    assert spool.seal(path)
    assert not spool.seal(path)
    assert len(ServedLog(folder).read()) == 20


def test_a_seal_that_was_killed_is_done_again_and_doubles_nothing(folder: Path, record: Record) -> None:
    path, content = left_behind(folder, record)
    path.write_bytes(content)
    path.with_name(f".{path.stem}.parquet").write_bytes(b"PAR1 half")
    assert spool.seal(path)
    path.write_bytes(content)  # as if the kill had come between the Parquet file and the spool's end
    assert len(ServedLog(folder).read()) == 20
    assert spool.seal(path)
    assert [one.name for one in folder.iterdir()] == [path.with_suffix(".parquet").name]


def test_an_empty_spool_of_a_killed_process_goes(folder: Path) -> None:
    folder.mkdir()
    (folder / "1-1-a.jsonl").touch()
    assert len(ServedLog(folder).read()) == 0
    assert spool.seal(folder / "1-1-a.jsonl")
    assert list(folder.iterdir()) == []


def test_old_files_go_and_the_oldest_beyond_the_size(folder: Path, record: Record, clock: Clock) -> None:
    for day in range(4):
        writer = record(clock=lambda: times.to_micros(clock.now))
        noise = [os.urandom(200_000).hex() for _ in range(3)]  # 0.6 MB that zstd makes no smaller than that
        writer.record("shop", f"day{day}", [{"key": one} for one in noise], [vector()] * 3)
        writer.close()
        clock.advance(days=1)
    log = ServedLog(folder)

    def days() -> list[str]:
        return sorted({one.request_id for one in log.read()})

    assert days() == ["day0", "day1", "day2", "day3"]
    retention.keep_up(folder, "3d", 1000, times.to_micros(clock.now))
    assert days() == ["day1", "day2", "day3"]
    assert sum(path.stat().st_size for path in folder.iterdir()) > 1_500_000
    retention.keep_up(folder, "3d", 1, times.to_micros(clock.now))
    assert days() == ["day3"]


def test_a_spool_that_is_full_or_old_makes_way(folder: Path, record: Record, clock: Clock) -> None:
    writer = record(Keeping(max_mb=1), clock=lambda: times.to_micros(clock.now))
    log = ServedLog(folder)
    for number in range(3):
        writer.record("shop", f"r{number}", [{"key": "k" * 300_000}], [vector()])
        wait_for(lambda so_many: len(log.read()) == so_many, number + 1)
    clock.advance(days=1)
    writer.record("shop", "r3", [{"key": "a"}], [vector()])
    wait_for(lambda: len(log.read()) == 4)
    assert len({one.origin.id for one in log.read()}) == 4


def test_a_sample_is_a_share_of_the_rows(folder: Path, record: Record) -> None:
    half, none = record(Keeping(sample=0.5)), record(Keeping(sample=0.0))
    half.record("shop", "half", [{"key": "a"}] * 4000, [vector()] * 4000)
    none.record("shop", "none", [{"key": "a"}] * 4000, [vector()] * 4000)
    half.close()
    none.close()
    found = [one.request_id for one in ServedLog(folder).read()]
    assert "none" not in found
    assert 1700 < len(found) < 2300  # nine standard deviations


def test_what_does_not_fit_the_queue_is_dropped_and_counted_and_nobody_waits(folder: Path, record: Record) -> None:
    counted = {"written": 0, "dropped": 0}
    writer = record(count=lambda outcome, rows: counted.update({outcome: counted[outcome] + rows}))
    for _ in range(30):
        writer.record("shop", "r", [{"key": "a"}] * 1000, [vector()] * 1000)
    writer.close()
    assert counted["written"] + counted["dropped"] == 30_000
    assert counted["written"] == len(ServedLog(folder).read()) >= 20_000
    assert counted["dropped"] > 0


def test_a_disk_that_takes_nothing_costs_rows_and_no_request(tmp_path: Path, record: Record) -> None:
    (tmp_path / "served").write_text("a file where the folder should be")
    said: list[str] = []
    counted: list[tuple[str, int]] = []
    writer = record(problem=said.append, count=lambda *one: counted.append(one))
    for number in range(3):
        writer.record("shop", f"r{number}", [{"key": "secret"}], [vector()])
        wait_for(lambda so_many: len(counted) == so_many, number + 1)
    assert counted == [("dropped", 1)] * 3
    assert len([one for one in said if "not written down" in one]) == 1  # said once, not with each row
    assert "secret" not in "".join(said)
    (tmp_path / "served").unlink()
    writer.record("shop", "later", [{"key": "a"}], [vector()])
    wait_for(lambda: len(ServedLog(tmp_path / "served").read()) == 1)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [({"sample": 1.5}, "served_sample"), ({"retain": "soon"}, "served_retain"), ({"max_mb": 0}, "served_max_mb")],
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(OperationError, match=words):
        Keeping(**wrong)


def test_the_server_writes_down_what_it_answers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = write_project(tmp_path)
    rows = [ROW | {"customer": number, "due": "2026-03-01T00:00:00Z"} for number in range(3)]
    with running(project) as server, FeatureStore.open(project) as store:
        one = server.post("/features/fraud", ROW, headers={"X-Request-Id": "single"}).json()
        many = server.post("/features/fraud/batch", {"rows": rows}, headers={"X-Request-Id": "batch"}).json()["rows"]
        server.post("/features/fraud", ROW | {"amount": -1}, headers={"X-Request-Id": "refused"})
        wait_for(lambda: len(store.served()) == 4)
        assert 'featurestore_served_log_rows_total{outcome="written"} 4.0' in server.client.get("/metrics").text
        assert server.stop() == 0
        found = list(store.served("fraud"))
        assert [(row.request_id, row.row) for row in found] == [("single", 0), ("batch", 0), ("batch", 1), ("batch", 2)]
        for row, answer, asked in zip(found, [one, *many], [ROW, *rows], strict=True):
            again = store.lookup("fraud", row.inputs, as_of=row.as_of)
            assert dict(row.features) == dict(again)
            assert answer["as_of"] == times.isoformat(times.to_micros(row.as_of))
            assert (row.position, row.fingerprint) == (answer["position"], answer["fingerprint"])
            assert row.inputs["customer"] == asked["customer"]
            known = row.origin.services["fraud"]
            assert known.fingerprints == {name: store.registry.fingerprints[name] for name in row.features}
            assert {"python", "numpy", "featurestore", "platform"} <= row.origin.libraries.keys()
        assert found[1].inputs["due"] == datetime(2026, 3, 1, tzinfo=UTC)
    assert main(["log", "--project", str(project), "--request-id", "batch", "--last", "2", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [row["row"] for row in told["rows"]] == [1, 2]
    assert told["rows"][0]["features"] == many[1]["features"]
    assert main(["log", "--project", str(project)]) == 0
    assert "spent_1d" in capsys.readouterr().out
    assert main(["log", "--project", str(project), "--model", "none"]) == 0
    assert "nothing of that kind" in capsys.readouterr().out


def test_settings_say_how_much_is_written_down(tmp_path: Path) -> None:
    project = write_project(tmp_path)
    (project / "pyproject.toml").write_text((project / "pyproject.toml").read_text() + "served_sample = 0\n")
    with running(project) as server:
        assert server.post("/features/fraud", ROW).status_code == 200
    assert not (project / "store" / "served").exists()


def answered_until_killed(url: str, seconds: float, kill: Callable[[], None]) -> dict[str, float]:
    """Request ids that were answered, with the seconds between answer and kill."""
    answered: dict[str, float] = {}

    def ask(name: str) -> None:
        with httpx.Client(base_url=url, timeout=30) as client:
            for number in range(100_000):
                try:
                    told = client.post("/features/fraud", json=ROW, headers={"X-Request-Id": f"{name}-{number}"})
                except httpx.TransportError:
                    return
                if told.status_code == 200:
                    answered[f"{name}-{number}"] = time.monotonic()

    threads = [threading.Thread(target=ask, args=(f"c{number}",)) for number in range(3)]
    for one in threads:
        one.start()
    wait_for(lambda: len(answered) > 40)
    time.sleep(seconds)  # the random moment, not a synchronisation
    killed = time.monotonic()
    kill()
    for one in threads:
        one.join()
    return {name: killed - at for name, at in answered.items()}


def check_kills(project: Path, kills: int) -> None:
    answered: dict[str, float] = {}
    for number in range(kills):
        with running(project) as server:
            kill = lambda one=server: os.kill(one.process.pid, signal.SIGKILL)  # noqa: E731
            found = answered_until_killed(server.url, 0.37 * number, kill)
            answered |= {f"{number}-{name}": age for name, age in found.items()}
            server.wait()
        with FeatureStore.open(project) as store:
            there = store.served()
            assert there.damaged == ()
            names = {f"{number}-{row.request_id}" for row in there if row.origin.pid == server.process.pid}
        missing = [age for name, age in answered.items() if name.startswith(f"{number}-") and name not in names]
        assert len(found) > 40
        assert max(missing, default=0.0) < 1.0, sorted(missing)
    with running(project):  # seals what the killed ones have left
        folder = project / "store" / "served"
        wait_for(lambda: len(list(folder.glob("*.parquet"))) == kills and not list(folder.glob("*.jsonl")))


def test_a_killed_server_loses_less_than_the_last_second(tmp_path: Path) -> None:
    check_kills(write_project(tmp_path), kills=1)


@pytest.mark.slow
def test_ten_killed_servers_lose_less_than_their_last_second(tmp_path: Path) -> None:
    check_kills(write_project(tmp_path), kills=10)
