"""What clients may send wrongly: every time a 4xx in the one form of errors, never the values, never a 5xx."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from served import write_project

from featurestore import FeatureStore, errors
from featurestore.errors import (
    DefinitionError,
    IntegerOverflow,
    KeyTypeMismatch,
    NotMaterialized,
    StoreBusy,
    StoreDamaged,
)
from featurestore.server.application import build
from featurestore.server.edge import Edge, to_nowhere
from featurestore.server.failure import verdict
from featurestore.server.options import Options

GOOD = '{"customer": 1, "shop": "a", "amount": 12.5}'
EVENT = '{"id": "p", "customer": 1, "event_time": "2026-01-01T00:00:00Z", "amount": 1.5}'
CANARY = "canary-77"
NO_JSON = [
    b"",
    b" ",
    b"\x00",
    b"\xef\xbb\xbf" + GOOD.encode(),
    GOOD.encode("utf-16"),
    b'{"shop": "\xff"}',
    b'{"shop": "\xed\xa0\x80"}',
    b'{"shop": "\xc0\xaf"}',
    *(text.encode() for text in ("{", "}", "[", "]", '"', "nul", "tru", "'a'", "{'a': 1}", "{a: 1}", "01", "+1", ".5")),
    *(text.encode() for text in ("1.", "1e", "0x10", "1_000", "--1", "\\", "//", "/* */ {}", GOOD + GOOD, GOOD + "x")),
    *(GOOD[:end].encode() for end in range(1, len(GOOD) - 1)),
    *(GOOD.replace("12.5", one).encode() for one in ("NaN", "Infinity", "-Infinity", "1e999", "-1e999", "9" * 5000)),
    *(GOOD.replace("12.5", one).encode() for one in ("012", "1,5", "1.5.5", "12.5e", "(1)", "1+1", "\u0661")),
    b'{"customer": 1, "customer": 1, "shop": "a", "amount": 1}',
    b'{"customer": 1, "c\\u0075stomer": 2, "shop": "a", "amount": 1}',
    b'{"shop": "a\nb"}',
    b'{"shop": "\\x"}',
    b'{"shop": "\\u12"}',
    b"[" * 100_000,
    b"[" * 100_000 + b"]" * 100_000,
    b'{"a":' * 100_000,
]
VALUES = [
    *('"1"', '"NaN"', '""', "true", "false", "[]", "[1]", "{}", '{"a": 1}', "1.5", "9223372036854775808"),
    *("-9223372036854775809", "1" + "0" * 400, "1" + "0" * 30),
]
NO_OBJECTS = ["null", "1", "1.5", "true", '"text"', "[]", f"[{GOOD}]", "{}", '{"rows": []}', '{"rows": 1}']


def with_field(document: str, name: str, value: str) -> bytes:
    given = {key: json.dumps(one) for key, one in json.loads(document).items()} | {name: value}
    return ("{" + ", ".join(f"{json.dumps(key)}: {one}" for key, one in given.items()) + "}").encode()


NO_INSTANTS = ['"no date"', "1", "1.5", "true", "[]", '"2026-13-01"', '"0001-01-01T00:00:00+14:00"', '"now"', '""']
NO_NAMES = [
    "nothing",
    "",
    "customer ",
    "CUSTOMER",
    "__known_at",
    "column_0",
    "model_config",
    CANARY,
    "\u0000",
    "\ud800",
]
WRONG_FIELDS: dict[tuple[str, str], list[str]] = {
    ("/features/fraud", "customer"): VALUES,
    ("/features/fraud", "shop"): ["1", "1.5", "true", "[]", "{}", '"\\ud800"', '"a\\udfff"'],
    ("/features/fraud", "amount"): [
        '"1"',
        "true",
        "[]",
        "{}",
        "null",
        "-1",
        "1000001",
        "1" + "0" * 400,
        "1e308",
        "-0.5",
    ],
    ("/features/fraud", "due"): NO_INSTANTS,
    ("/features/fraud", "urgent"): ['"1"', '"yes"', "2", "null", "[]", "0.5"],
    ("/features/fraud", "channel"): ['"post"', "1", "null", '"WEB"', '""'],
    ("/events/payments", "event_time"): NO_INSTANTS,
    ("/events/payments", "amount"): ["-1", '"1"', "true", "1" + "0" * 400, "[]"],
    ("/events/payments", "id"): ["null", "1", "true", '"\\ud800"'],
}
NO_BATCHES = [
    "null",
    "1",
    "[]",
    "{}",
    '{"rows": 1}',
    '{"rows": [1]}',
    '{"rows": [null]}',
    '{"rows": [[]]}',
    '{"rows": {}}',
]


def wrong_fields() -> Iterator[tuple[str, bytes]]:
    """Bodies that are JSON and wrong in one place, and where they go."""
    goods = {"/features/fraud": GOOD, "/events/payments": EVENT}
    for (path, name), values in WRONG_FIELDS.items():
        yield from ((path, with_field(goods[path], name, value)) for value in values)
    for path, good in goods.items():
        yield from ((path, with_field(good, name, f'"{CANARY}"')) for name in NO_NAMES)
    yield from (("/features/fraud", text.encode()) for text in NO_OBJECTS)
    for path in ("/events/payments", "/features/fraud/batch"):
        yield from ((path, text.encode()) for text in NO_BATCHES)
    for text in (f'{{"rows": [{GOOD}], "more": 1}}', f'{{"rows": [{GOOD}, {{}}]}}', GOOD, f"[{GOOD}]"):
        yield "/features/fraud/batch", text.encode()


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    project = write_project(tmp_path_factory.mktemp("project"))
    with FeatureStore.open(project) as store:
        yield build(store, Options(), to_nowhere)


def ask(app: Edge, path: str, body: bytes, query: bytes = b"", headers: Any = ()) -> tuple[int, Any]:
    """Status and document of one answer."""
    sent: list[Any] = []
    named = [(b"host", b"localhost"), (b"content-type", b"application/json"), *headers]

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": path, "query_string": query, "headers": named}
    asyncio.run(app(scope, receive, send))
    return sent[0]["status"], json.loads(sent[1]["body"])


def is_refused(told: tuple[int, Any]) -> bool:
    status, document = told
    error = document["error"]
    shaped = set(error) == {"code", "message", "request_id", "fields"} and CANARY not in error["message"]
    return 400 <= status < 500 and shaped


@pytest.mark.parametrize("path", ["/features/fraud", "/features/fraud/batch", "/events/payments"])
def test_what_is_no_json_is_refused(app: Edge, path: str) -> None:
    answered = {body[:60]: ask(app, path, body) for body in NO_JSON}
    assert len(answered) > 70
    assert {body: told for body, told in answered.items() if not is_refused(told)} == {}
    assert {told[0] for told in answered.values()} == {400}


def test_what_is_not_as_declared_is_refused(app: Edge) -> None:
    corpus = list(wrong_fields())
    assert len(corpus) > 120
    answered = [(path, body[:200], ask(app, path, body)) for path, body in corpus]
    assert [one for one in answered if not is_refused(one[2])] == []
    assert {one[2][0] for one in answered} <= {400, 422}


def test_wrong_fields_are_named_with_their_rule(app: Edge) -> None:
    status, told = ask(app, "/features/fraud", b'{"customer": "1", "amount": true, "shpo": "canary-77"}')
    assert status == 422
    assert {(one["field"], one["rule"]) for one in told["error"]["fields"]} == {
        ("customer", "must be an integer"),
        ("amount", "must be a number"),
        ("shop", "required"),
        ("shpo", "no such field"),
    }


@pytest.mark.parametrize(
    "query",
    [
        b"as_of=now",
        b"as_of=",
        b"as_of=1",
        b"as_of=NaN",
        b"asof=2026-01-01",
        b"as_of=2026-01-01&as_of=2026-01-02",
        b"as_of=%ff",
        b"as_of=%00",
        b"as_of=9999-12-31",
        b"as_of=99999-01-01",
        b"%00",
        b"as_of=2026-01-01T00:00:00+01:00",
    ],
)
def test_an_instant_that_is_none_is_refused(app: Edge, query: bytes) -> None:
    assert ask(app, "/features/fraud", GOOD.encode(), query)[0] == 422
    assert ask(app, "/features/fraud/batch", f'{{"rows": [{GOOD}]}}'.encode(), query)[0] == 422
    assert ask(app, "/events/payments", EVENT.encode(), query)[0] == 422


@pytest.mark.parametrize(
    "value",
    [
        b"text/plain",
        b"",
        b"application/x-www-form-urlencoded",
        b"multipart/form-data",
        b"application/json; charset=latin-1",
        b"\xff\xfe",
        b"application/jsonp",
        b"application/json, text/plain",
    ],
)
def test_only_json_by_name_is_taken(app: Edge, value: bytes) -> None:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": GOOD.encode(), "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", b"localhost"), (b"content-type", value)]
    scope = {"type": "http", "method": "POST", "path": "/features/fraud", "query_string": b"", "headers": headers}
    asyncio.run(app(scope, receive, send))
    assert sent[0]["status"] == 415


@pytest.mark.parametrize("name", ["none", "fraud%00", "..", "fra'ud", "\ufffd", "x" * 300, "{0.__class__}", "fraud;x"])
def test_unknown_names_are_not_found(app: Edge, name: str) -> None:
    for path in (f"/features/{name}", f"/features/{name}/batch", f"/events/{name}"):
        status, told = ask(app, path, b"{}")
        assert (status, set(told)) == (404, {"error"})


def test_strange_but_right_rows_are_answered(app: Edge) -> None:
    for name, value in (("shop", '"\\u0000"'), ("shop", '"\\ud83d\\ude00"'), ("amount", "1E2"), ("amount", "-0.0")):
        assert ask(app, "/features/fraud", with_field(GOOD, name, value))[0] == 200
    for name, value in (("customer", "1.0"), ("customer", "-0.0"), ("urgent", "1"), ("urgent", "0.0")):
        assert ask(app, "/features/fraud", with_field(GOOD, name, value))[0] == 200
    for name, value in (("customer", "-9223372036854775808"), ("customer", "null"), ("units", "9007199254740993")):
        assert ask(app, "/features/fraud", with_field(GOOD, name, value))[0] == 200
    units = ask(app, "/features/fraud", with_field(GOOD, "units", "4503599627370497003"))[1]["features"][
        "units_doubled"
    ]
    assert units == 9007199254740994006


class Failing:
    """What an operation raises that nobody foresaw."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __call__(self, *_: Any, **__: Any) -> Any:
        raise self.error


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (ZeroDivisionError(CANARY), 500, "internal"),
        (DefinitionError(CANARY), 500, "definition"),
        (StoreBusy(CANARY), 503, "busy"),
        (StoreDamaged(f"{CANARY} /some/path"), 503, "operation"),
        (NotMaterialized(CANARY), 503, "not_materialized"),
        (KeyTypeMismatch(CANARY), 422, "key_type"),
        (IntegerOverflow(CANARY), 422, "data"),
    ],
)
def test_errors_have_a_status_and_keep_their_values(
    app: Edge, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int, code: str
) -> None:
    monkeypatch.setattr(FeatureStore, "lookup", Failing(error))
    found, told = ask(app, "/features/fraud", GOOD.encode())
    assert (found, told["error"]["code"]) == (status, code)
    assert CANARY not in json.dumps(told)


def test_the_log_says_where_an_error_arose_and_not_what_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[dict[str, Any]] = []
    with FeatureStore.open(write_project(tmp_path)) as store:
        logged = build(store, Options(), lambda event, **facts: lines.append({"event": event, **facts}))
        monkeypatch.setattr(FeatureStore, "lookup", Failing(ZeroDivisionError(CANARY)))
        ask(logged, "/features/fraud", GOOD.encode())
        monkeypatch.setattr(FeatureStore, "lookup", Failing(StoreDamaged("the file is torn")))
        ask(logged, "/features/fraud", GOOD.encode())
    assert [(line["event"], line["type"], line["status"]) for line in lines] == [
        ("error", "ZeroDivisionError", 500),
        ("error", "StoreDamaged", 503),
    ]
    assert "test_malformed.py:" in lines[0]["at"][-1]
    assert lines[1]["message"] == "the file is torn"
    assert CANARY not in json.dumps(lines)


def test_every_error_of_the_package_has_a_verdict_of_its_family() -> None:
    families = {
        one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, errors.FeatureStoreError)
    }
    assert {one for one in families if verdict(one("x")).code == "internal"} == {errors.FeatureStoreError}
