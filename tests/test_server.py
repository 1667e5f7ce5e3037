"""The real server process: same bytes as the store, acknowledged means seen, keys, limits, an orderly stop."""

import json
import random
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from served import Running, running, write_project

from featurestore import FeatureStore, times
from featurestore.apikeys import ApiKeys

ROW = {"customer": 1, "shop": "a", "amount": 12.5}
PAYMENT = {"id": "p1", "customer": 1, "shop": "a", "event_time": "2026-01-01T10:00:00Z", "amount": 5.0}

NO_KEYS = [b"", b"Bearer", b"Bearer \xff\xfe", b"Bearer fs_x_y", b"Bearer " + b"a" * 10_000, b"Basic !!!", b"fs_1_2"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write_project(tmp_path)


@pytest.fixture
def server(project: Path) -> Iterator[Running]:
    with running(project) as one:
        yield one


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server for tests that leave nothing behind."""
    with running(write_project(tmp_path_factory.mktemp("shared"))) as one:
        yield one


def exactly(value: Any) -> Any:
    """Bytes of a float, an instant as JSON has it, a map in order, anything else with its type."""
    if isinstance(value, float):
        return struct.pack(">d", value)
    if isinstance(value, dict):
        return [(key, exactly(one)) for key, one in value.items()]
    if isinstance(value, datetime):
        return str, times.isoformat(times.to_micros(value))
    return type(value), value


def payments(count: int, seed: int, name: str = "p") -> list[dict[str, Any]]:
    """Payments of a few customers in a few shops, with nulls, ties and integers that no double holds."""
    drawn = random.Random(seed)
    return [
        {
            "id": f"{name}{number}",
            "customer": drawn.choice([1, 2, 3, 2**60 + 1, None]),
            "shop": drawn.choice(["a", "b", "ü", None]),
            "event_time": times.isoformat(1_767_000_000_000_000 + drawn.randrange(10**6) * 10**6),
            "amount": drawn.choice([None, 0.1, 1e-300, drawn.random() * 1e5]),
            "units": drawn.choice([None, 2**53 + 1, -(2**63), 2**63 - 1]),
            "online": drawn.random() < 0.5,
        }
        for number in range(count)
    ]


def test_http_answers_with_the_bytes_of_the_store(shared: Running) -> None:
    assert shared.post("/events/payments", {"rows": payments(400, seed=1)}).json()["rows"] == 400
    drawn = random.Random(2)
    now = datetime.now(UTC)
    with FeatureStore.open(shared.project) as store:
        for _ in range(300):
            row = {
                "customer": drawn.choice([1, 2, 3, 4, 2**60 + 1, None]),
                "shop": drawn.choice(["a", "b", "ü", "never", None]),
                "amount": drawn.random() * 1e6,
                "units": drawn.choice([2**53 + 1, -5, 2**61 + 1]),
                "urgent": drawn.random() < 0.5,
            }
            as_of = now - timedelta(seconds=drawn.random() * 20)
            told = shared.post("/features/fraud", row, params={"as_of": as_of.isoformat()}).json()
            vector = store.lookup("fraud", row, as_of=as_of)
            assert list(told["features"]) == list(vector)
            assert [exactly(one) for one in told["features"].values()] == [exactly(one) for one in vector.values()]
            assert (told["as_of"], told["position"]) == (times.isoformat(times.to_micros(as_of)), vector.position)
            assert told["fingerprint"] == vector.fingerprint


def test_a_batch_gives_what_its_rows_give_one_by_one(shared: Running) -> None:
    shared.post("/events/payments", {"rows": payments(50, seed=3, name="batch")})
    rows = [ROW | {"customer": number % 5} for number in range(200)]
    at = {"as_of": times.isoformat(times.system_clock())}
    batch = shared.post("/features/fraud/batch", {"rows": rows}, params=at).json()["rows"]
    assert batch == [shared.post("/features/fraud", row, params=at).json() for row in rows]
    assert shared.post("/features/fraud/batch", {"rows": []}).json() == {"rows": []}


def test_events_are_answered_for_and_counted_once(shared: Running) -> None:
    event = PAYMENT | {"id": "e1", "customer": 77}
    first = shared.post("/events/payments", event).json()
    again = shared.post("/events/payments", {"rows": [event, event | {"id": "e2"}]}).json()
    assert (first["rows"], first["duplicates"]) == (1, 0)
    assert (again["rows"], again["duplicates"], again["position"]) == (1, 1, first["position"] + 1)
    conflict = shared.post("/events/payments", {"rows": [event | {"id": "e2"}, event | {"amount": 6.0}]})
    assert (conflict.status_code, conflict.json()["error"]["code"]) == (409, "conflict")
    assert [(one["row"], one["field"]) for one in conflict.json()["error"]["fields"]] == [(2, "id")]
    assert shared.post("/features/counts", {"customer": 77}).json()["features"] == {"payments_made": 2}
    refused = shared.post("/events/payments", {"rows": [event | {"id": "e3"}, event | {"id": "e4", "amount": -7654}]})
    (field,) = refused.json()["error"]["fields"]
    assert (refused.status_code, field["row"], field["field"], field["rule"][:4]) == (422, 2, "amount", "ge=0")
    assert "7654" not in refused.text


def test_what_one_worker_acknowledged_every_worker_sees(project: Path) -> None:
    command = [str(Path(sys.executable).with_name("featurestore")), "materialize", "--project", str(project)]
    with running(project, workers=2) as server:
        for number in range(1, 101):
            if number == 30:
                loading = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
            with httpx.Client(base_url=server.url, timeout=30) as one:  # a connection each: any worker may take it
                told = one.post("/events/payments", json=PAYMENT | {"id": f"p{number}"}).json()
            with httpx.Client(base_url=server.url, timeout=30) as other:
                seen = other.post("/features/counts", json={"customer": 1}).json()
            assert seen["features"]["payments_made"] == number
            assert seen["position"] >= told["position"]
        assert loading.wait(60) == 0
        total = 'featurestore_requests_total{method="POST",route="/features/counts",status="200"} 100.0'
        assert total in server.client.get("/metrics").text
        assert server.stop() == 0
    assert len({line["pid"] for line in server.log if line["event"] == "request"}) == 2
    assert sum(line["event"] == "stopped" for line in server.log) == 2


def test_keys_open_what_their_scopes_say_and_nothing_once_revoked(server: Running) -> None:
    keys = ApiKeys(server.project / "store" / "keys.json")
    now = times.system_clock()
    made = {scope: keys.create(scope, [scope], now=now) for scope in ("read", "ingest", "predict", "admin")}
    bearer = {scope: {"Authorization": f"Bearer {secret}"} for scope, (_, secret) in made.items()}

    def status(path: str, document: Any, headers: Any) -> int:
        return server.post(path, document, headers=headers).status_code

    assert status("/features/fraud", ROW, {}) == 401
    assert [status("/features/fraud", ROW, bearer[one]) for one in bearer] == [200, 403, 403, 200]
    assert [status("/events/payments", PAYMENT, bearer[one]) for one in bearer] == [403, 200, 403, 200]
    assert [status("/predict/none", ROW, bearer[one]) for one in bearer] == [403, 403, 404, 404]
    assert status("/features/fraud", ROW, {"X-API-Key": made["read"][1]}) == 200
    assert server.client.get("/docs", auth=("anyone", made["read"][1])).status_code == 200
    assert server.client.get("/docs").headers["www-authenticate"].startswith("Basic ")
    assert server.client.get("/health/live").status_code == 200
    for given in NO_KEYS:
        answer = server.client.post("/features/fraud", json=ROW, headers=[(b"authorization", given)])
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthorized")
    for path in ("//features/fraud", "/features/fraud/", "/FEATURES/fraud", "/%2e%2e/features/fraud", "/features/../x"):
        assert status(path, ROW, {}) in {401, 404}
    keys.revoke(made["read"][0].id, now=now)
    assert status("/features/fraud", ROW, bearer["read"]) == 401
    assert not any(secret in json.dumps(server.log) for _, secret in made.values())


def test_a_key_for_one_name_opens_that_and_nothing_else(server: Running) -> None:
    scopes = ["read:fraud", "ingest:payments", "predict:risk"]
    _, secret = ApiKeys(server.project / "store" / "keys.json").create("shop", scopes, now=times.system_clock())
    headers = {"Authorization": f"Bearer {secret}"}

    def status(path: str, document: Any) -> int:
        return server.post(path, document, headers=headers).status_code

    assert [status(f"/features/fraud{end}", row) for end, row in (("", ROW), ("/batch", {"rows": [ROW]}))] == [200, 200]
    assert [status(f"/features/{name}", {"customer": 1}) for name in ("counts", "counts/batch", "none")] == [403] * 3
    assert status("/events/payments", PAYMENT) == 200
    assert [status(f"/predict/{name}", ROW) for name in ("risk", "risk@v1", "risk/batch")] == [404] * 3
    assert [status(f"/predict/{name}", ROW) for name in ("other", "other@risk", "risk%40v1@x/batch")] == [403, 403, 404]
    told = [server.client.get(path, headers=headers).status_code for path in ("/registry", "/metrics", "/docs")]
    assert told == [403] * 3


def test_a_key_with_a_rate_is_told_to_wait_and_others_are_not(server: Running) -> None:
    keys = ApiKeys(server.project / "store" / "keys.json")
    rates = {"slow": 0.001, "free": None}
    made = {name: keys.create(name, ["read"], now=times.system_clock(), rate=rate)[1] for name, rate in rates.items()}

    def ask(name: str) -> httpx.Response:
        return server.post("/features/fraud", ROW, headers={"Authorization": f"Bearer {made[name]}"})

    assert ask("slow").status_code == 200
    refused = ask("slow")
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate")
    assert 900 <= int(refused.headers["Retry-After"]) <= 1000
    assert [ask("free").status_code for _ in range(5)] == [200] * 5


def test_a_foreign_host_name_is_not_answered_to(shared: Running) -> None:
    assert shared.post("/features/fraud", ROW, headers={"Host": "evil.example"}).status_code == 421
    assert shared.post("/features/fraud", ROW, headers={"Host": "localhost:80"}).status_code == 200


def test_every_answer_has_the_headers_that_protect_it(shared: Running) -> None:
    answers = [
        shared.post("/features/fraud", ROW),
        shared.post("/features/fraud", {}),
        shared.post("/features/none", ROW),
        shared.client.get("/none"),
        shared.client.get("/features/fraud"),
        shared.client.get("/docs"),
        shared.client.get("/metrics"),
        shared.client.get("/registry"),
    ]
    assert [one.status_code for one in answers] == [200, 422, 404, 404, 405, 200, 200, 200]
    for one in answers:
        assert one.headers["x-content-type-options"] == "nosniff"
        assert one.headers["cache-control"] == "no-store"
        assert one.headers["content-security-policy"].startswith("default-src 'none'")
        assert "access-control-allow-origin" not in one.headers
        assert one.headers["x-request-id"]
    assert shared.client.get("/none", headers={"X-Request-ID": "mine-1"}).json()["error"]["request_id"] == "mine-1"


def test_the_log_has_a_line_for_each_request_and_no_value(server: Running) -> None:
    server.post("/features/fraud", ROW | {"shop": "canary-7"})
    server.post("/features/fraud", {"canary-7": "canary-7"})
    server.post("/features/canary-7", {})
    assert server.stop() == 0
    lines = [line for line in server.log if line["event"] == "request"]
    assert [(line["route"], line["status"]) for line in lines] == [
        ("/features/fraud", 200),
        ("/features/fraud", 422),
        ("/features/{service}", 404),
    ]
    assert all(line["latency_ms"] > 0 and line["request_id"] for line in lines)
    assert "canary-7" not in json.dumps(server.log)


def test_the_docs_page_shows_real_fields_and_asks_for_nothing_else(shared: Running) -> None:
    page = shared.client.get("/docs").text
    described = ("What the customer is about to pay.", "Mean payment in the shop.", "This payment against the month")
    for shown in ("spent_30d", "shop_mean", "/events/payments", "one of", "≤ 1000000<", *described):
        assert shown in page
    assert "<script" not in page
    assert "src=" not in page
    assert page.count("http://127.0.0.1:8000/") == page.count("http")


def test_registry_lists_every_declaration_with_its_fingerprint(shared: Running) -> None:
    told = shared.client.get("/registry").json()
    assert [one["name"] for one in told["services"]] == ["fraud", "counts"]
    assert {len(one["fingerprint"]) for kind in told.values() for one in kind} == {64}


def test_sizes_are_capped(shared: Running) -> None:
    huge = ROW | {"shop": "x" * (1 << 20)}
    assert shared.post("/features/fraud", huge).status_code == 413
    assert shared.post("/features/fraud/batch", {"rows": [ROW] * 1001}).json()["error"]["code"] == "too_many_rows"
    assert shared.post("/events/payments", {"rows": [PAYMENT] * 10_001}).json()["error"]["code"] == "too_many_rows"

    def endless() -> Iterator[bytes]:
        for _ in range(300):
            yield b" " * 8192

    chunked = shared.client.post("/features/fraud", content=endless(), headers={"Content-Type": "application/json"})
    assert chunked.status_code == 413
    packed = shared.client.post(
        "/features/fraud", content=b"{}", headers={"Content-Type": "application/json", "Content-Encoding": "gzip"}
    )
    assert packed.status_code == 415


@pytest.mark.slow
def test_what_takes_too_long_is_told_so(project: Path) -> None:
    with running(project, deadline_s=0.001) as server:
        late = server.post("/features/fraud/batch", {"rows": [ROW] * 1000})
        assert (late.status_code, late.json()["error"]["code"]) == (504, "deadline")
        assert late.headers["x-content-type-options"] == "nosniff"


def connect(server: Running, sent: bytes = b"") -> socket.socket:
    client = socket.create_connection(("127.0.0.1", server.port))
    client.settimeout(20)
    client.sendall(sent)
    return client


def everything(client: socket.socket) -> bytes:
    """What comes until the server closes; a reset is an end too."""
    received = b""
    with client:
        try:
            while part := client.recv(65536):
                received += part
        except ConnectionResetError:
            pass
    return received


def test_head_and_body_of_an_answer_arrive_together(shared: Running) -> None:
    body = json.dumps(ROW).encode()
    head = b"POST /features/fraud HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    with connect(shared) as client:
        for _ in range(20):
            client.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            answered, _, vector = client.recv(65536).partition(b"\r\n\r\n")
            assert answered.startswith(b"HTTP/1.1 200 ")
            assert json.loads(vector)["features"]


@pytest.mark.slow
def test_slow_clients_are_cut_off(project: Path) -> None:
    half = b"POST /features/fraud HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    with running(project, head_s=0.5, body_s=0.5) as server:
        silent, head, body = (
            connect(server),
            connect(server, half),
            connect(server, half + b"Content-Length: 9\r\n\r\n{"),
        )
        assert everything(silent) == b""
        assert everything(head) == b""
        assert everything(body).startswith(b"HTTP/1.1 408 ")
        assert server.post("/features/fraud", ROW).status_code == 200


@pytest.mark.slow
def test_who_never_reads_the_answers_is_cut_off(project: Path) -> None:
    body = json.dumps({"rows": [ROW] * 1000}).encode()
    asked = b"POST /features/fraud/batch HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    with running(project, read_s=1.0) as server, connect(server) as client:

        def ask_for_ever() -> None:
            while True:
                client.sendall(asked + b"Content-Length: %d\r\n\r\n" % len(body) + body)

        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            ask_for_ever()
        assert server.post("/features/fraud", ROW).status_code == 200


@pytest.mark.slow
def test_heads_have_a_size_and_connections_a_number(project: Path) -> None:
    with running(project, connections=3) as server:
        endless = connect(server, b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 12_000)
        endless.sendall(b"X: " + b"y" * 60_000 + b"\r\n")
        assert everything(endless).startswith(b"HTTP/1.1 431 ")
        assert everything(connect(server, b"no http at all\r\n\r\n")).startswith(b"HTTP/1.1 400 ")
        held = [connect(server) for _ in range(3)]
        refused = everything(connect(server))
        assert refused.startswith(b"HTTP/1.1 503 ")
        assert b"x-content-type-options: nosniff" in refused
        for one in held:
            one.close()


def test_a_stop_answers_what_was_begun_and_says_first_that_it_is_not_ready(project: Path) -> None:
    with running(project, drain_s=1.0, body_s=3.0) as server:
        wrong: list[object] = []
        draining = threading.Event()

        def ask() -> None:
            with httpx.Client(base_url=server.url, timeout=30) as client:
                while True:
                    try:
                        status = client.post("/features/fraud", json=ROW).status_code
                    except httpx.HTTPError as error:
                        if not isinstance(error, (httpx.ConnectError, httpx.RemoteProtocolError, httpx.ReadError)):
                            wrong.append(error)
                        return
                    if status != 200:
                        wrong.append(status)
                    if draining.is_set() and client.get("/health/ready").status_code == 503:
                        return  # as a balancer does: it sends no more

        asking = [threading.Thread(target=ask) for _ in range(4)]
        for one in asking:
            one.start()
        begun = connect(
            server, b"POST /features/fraud HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        )
        whole = json.dumps(ROW).encode()
        begun.sendall(b"Content-Length: %d\r\n\r\n" % len(whole) + whole[:5])
        server.process.send_signal(signal.SIGTERM)
        while server.client.get("/health/ready").status_code == 200:
            pass
        draining.set()
        begun.sendall(whole[5:])
        assert b'{"features":' in everything(begun)
        for one in asking:
            one.join()
        assert server.wait() == 0
        assert wrong == []


@pytest.mark.slow
def test_a_second_signal_does_not_wait_for_a_stuck_client(project: Path) -> None:
    with running(project, drain_s=30.0, body_s=30.0, grace_s=30.0) as server:
        stuck = connect(
            server, b"POST /features/fraud HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        )
        stuck.sendall(b"Content-Length: 9\r\n\r\n{")
        server.process.send_signal(signal.SIGTERM)
        while server.client.get("/health/ready").status_code == 200:
            pass
        server.process.send_signal(signal.SIGTERM)
        assert server.wait() == 0
        stuck.close()
