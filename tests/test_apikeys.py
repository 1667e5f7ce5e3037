"""API keys: hashed, scoped, revoked at once, kept whole whoever changes them."""

import json
import multiprocessing
import stat
from pathlib import Path

import pytest

from featurestore.apikeys import ApiKey, ApiKeys
from featurestore.errors import NewerFormat, RequestError, StoreDamaged

NOW = 1_780_000_000_000_000
DAY = 86_400_000_000


@pytest.fixture
def keys(tmp_path: Path) -> ApiKeys:
    return ApiKeys(tmp_path / "store" / "keys.json")


def test_a_key_is_found_by_itself_alone(keys: ApiKeys) -> None:
    made, secret = keys.create("loader", ["ingest", "read"], now=NOW)
    assert keys.find(secret.encode(), now=NOW) == made
    assert made.scopes == ("read", "ingest")
    other = "a" if secret[-1] != "a" else "q"
    for wrong in (
        secret[:-1] + other,
        secret + "a",
        secret[:-1],
        secret.upper(),
        "fs__",
        "",
        "\u00fc",
        "fs_" + "0" * 65,
    ):
        assert keys.find(wrong.encode(), now=NOW) is None
    assert keys.find(b"\xff\x00" + secret.encode(), now=NOW) is None


def test_the_file_holds_no_key_and_is_its_owners_alone(keys: ApiKeys) -> None:
    _, secret = keys.create("loader", ["read"], now=NOW)
    text = keys.path.read_text()
    assert secret not in text
    assert secret.rsplit("_", 1)[1] not in text
    assert stat.S_IMODE(keys.path.stat().st_mode) == 0o600


def test_two_keys_are_never_alike(keys: ApiKeys) -> None:
    made = [keys.create("same", ["read"], now=NOW) for _ in range(20)]
    assert len({one.id for one, _ in made}) == 20
    assert len({secret for _, secret in made}) == 20


def test_a_revoked_key_holds_no_more_for_whoever_has_the_file_open(keys: ApiKeys) -> None:
    made, secret = keys.create("loader", ["read"], now=NOW)
    elsewhere = ApiKeys(keys.path)
    assert elsewhere.find(secret.encode(), now=NOW) is not None
    keys.revoke(made.id, now=NOW + 1)
    assert elsewhere.find(secret.encode(), now=NOW + 1) is None
    assert keys.revoke(made.id, now=NOW + DAY).revoked_at == NOW + 1
    assert elsewhere.any()


def test_a_key_expires_at_its_instant(keys: ApiKeys) -> None:
    _, secret = keys.create("guest", ["read"], now=NOW, lifetime=DAY)
    assert keys.find(secret.encode(), now=NOW + DAY - 1) is not None
    assert keys.find(secret.encode(), now=NOW + DAY) is None


def test_admin_has_every_scope_and_others_their_own() -> None:
    admin = ApiKey("1", "a", ("admin",), "", NOW)
    reader = ApiKey("2", "b", ("read",), "", NOW)
    assert [admin.may(scope) for scope in ("read", "ingest", "predict", "admin")] == [True] * 4
    assert [reader.may(scope) for scope in ("read", "ingest", "predict", "admin")] == [True, False, False, False]


def test_a_scope_may_be_for_one_name_alone(keys: ApiKeys) -> None:
    made, _ = keys.create("shop", ["predict:risk", "read:fraud", "ingest"], now=NOW)
    assert made.scopes == ("read:fraud", "ingest", "predict:risk")
    assert (made.may("read", "fraud"), made.may("read", "fraud_2"), made.may("read"), made.may("read", None)) == (
        True,
        False,
        False,
        False,
    )
    assert (made.may("ingest", "payments"), made.may("ingest"), made.may("predict", "fraud")) == (True, True, False)


def test_what_is_shown_of_a_key_is_not_its_hash(keys: ApiKeys) -> None:
    made, _ = keys.create("guest", ["read"], now=0, lifetime=DAY)
    assert made.document() == {
        "id": made.id,
        "name": "guest",
        "scopes": ("read",),
        "created_at": "1970-01-01T00:00:00.000000Z",
        "expires_at": "1970-01-02T00:00:00.000000Z",
        "revoked_at": None,
        "rate": None,
    }


@pytest.mark.parametrize(
    ("name", "scopes", "said"),
    [
        ("", ["read"], "no name"),
        ("x\ny", ["read"], "no name"),
        ("x", [], "needs a scope"),
        ("x", ["root"], "'root'"),
        ("x", ["read:a b"], "read:a b"),
        ("x", ["admin:a"], "admin:a"),
    ],
)
def test_a_key_that_cannot_be_is_refused(keys: ApiKeys, name: str, scopes: list[str], said: str) -> None:
    with pytest.raises(RequestError, match=said):
        keys.create(name, scopes, now=NOW)
    assert not keys.any()


@pytest.mark.parametrize("rate", [0.0, -1.0, float("inf"), float("nan")])
def test_a_rate_that_is_none_is_refused(keys: ApiKeys, rate: float) -> None:
    with pytest.raises(RequestError, match="requests a second, above 0"):
        keys.create("x", ["read"], now=NOW, rate=rate)


def test_revoking_an_unknown_id_says_which_there_are(keys: ApiKeys) -> None:
    made, _ = keys.create("one", ["read"], now=NOW)
    with pytest.raises(RequestError, match=made.id):
        keys.revoke("nobody", now=NOW)


def test_a_damaged_or_newer_file_is_said_to_be_so(keys: ApiKeys) -> None:
    keys.create("one", ["read"], now=NOW)
    keys.path.write_text("{")
    with pytest.raises(StoreDamaged, match=r"keys\.json"):
        ApiKeys(keys.path).any()
    keys.path.write_text(json.dumps({"format": 2, "keys": []}))
    with pytest.raises(NewerFormat, match="format 2"):
        ApiKeys(keys.path).any()


def _create(path: Path, count: int) -> None:
    for _ in range(count):
        ApiKeys(path).create("worker", ["read"], now=NOW)


def test_processes_that_make_keys_at_once_lose_none(keys: ApiKeys) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_create, args=(keys.path, 10)) for _ in range(3)]
    for one in workers:
        one.start()
    for one in workers:
        one.join()
    assert [one.exitcode for one in workers] == [0, 0, 0]
    assert len(keys.all()) == 30
