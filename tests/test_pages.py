"""The pages over HTTP: each of them, what it shows, that it is text, who may see it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx
import pytest
from paged import AT, EVIL, ROW, Page, query, site, written
from served import Running, running, write_project

from featurestore import times
from featurestore.apikeys import ApiKeys

POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
ASKED = query(ROW, as_of=AT)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server for tests that leave nothing behind."""
    with site(tmp_path_factory.mktemp("site")) as one:
        yield one


def page(server: Running, path: str, status: int = 200) -> Page:
    """A page, with the headers that every page has."""
    answer = server.client.get(path)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    protected(answer)
    return Page(answer.text)


def protected(answer: httpx.Response) -> None:
    assert answer.headers.get_list("content-security-policy") == [POLICY]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-store"


def test_every_link_leads_to_a_page_and_none_leaves(shared: Running) -> None:
    waiting, seen = ["/ui", ASKED], set()
    while waiting:
        path = waiting.pop().partition("#")[0]
        if path in seen or path == "/docs":
            continue
        seen.add(path)
        if path.startswith(("/ui/style.css", "/ui/icon.svg")):
            answer = shared.client.get(path)
            assert answer.status_code == 200
            protected(answer)
            continue
        assert path.startswith("/ui"), path
        waiting += [urljoin(path, one) for one in page(shared, path).links]
    names = ("spent", "last_note", "payments_made", "share", "asked_for")
    assert {f"/ui/features/{name}" for name in names} < seen
    assert {"/ui", "/ui/health", "/ui/services/fraud", "/ui/sources/payments", "/ui/models/risk"} < seen
    assert sum(one.startswith("/ui/services/fraud?") for one in seen) == 1 + 7  # as it was asked, and each value


def test_words_and_values_are_shown_as_text(shared: Running) -> None:
    for path in ("/ui", "/ui/features/spent", "/ui/sources/payments", "/ui/services/fraud", ASKED):
        assert EVIL in page(shared, path).text, path
    assert EVIL in str(page(shared, "/ui?q=" + EVIL).fields["q"]["value"])
    assert EVIL in str(page(shared, ASKED).fields["row.customer"]["value"])
    asked = page(shared, query({f"a{EVIL}": EVIL, "customer": EVIL}, as_of=EVIL), 422)
    assert asked.fields["as_of"]["value"] == EVIL
    assert f"a{EVIL}"[:64] in asked.text
    assert EVIL in page(shared, query(ROW, explain=EVIL), 422).text
    assert page(shared, "/ui/features/%3Cscript%3E", 404).text.count("<script>") == 1


def test_the_catalogue_lists_what_the_registry_answers(shared: Running) -> None:
    told = shared.client.get("/registry").json()
    links = page(shared, "/ui").links
    for kind in ("services", "features", "sources"):
        assert [one for one in links if one.startswith(f"/ui/{kind}/")] == [
            f"/ui/{kind}/{one['name']}" for one in told[kind]
        ]
    assert "/ui/models/risk" in links


def test_the_search_finds_names_and_names_of_values_in_any_case(shared: Running) -> None:
    def found(text: str) -> list[str]:
        return [one for one in page(shared, f"/ui?q={text}").links if one.count("/") == 3]

    assert found("PENT_30") == ["/ui/features/spent"]
    assert found("pay") == ["/ui/features/payments_made", "/ui/sources/payments"]
    assert found("nothing") == []


def test_a_feature_shows_code_lineage_and_history(shared: Running) -> None:
    spent = page(shared, "/ui/features/spent_30d")
    for words in ("return tx.amount.sum() + 1.0", "spent_1d, spent_30d", "definitions/payments.py:", "1d, 30d"):
        assert words in spent.text
    assert {"/ui/sources/payments", "/ui/features/share", "/ui/services/fraud", "/ui/models/risk"} < set(spent.links)
    assert "Changed since it was applied" in spent.text
    for line in (
        "-    return tx.amount.sum() + 0.0",
        "+    return tx.amount.sum() + 1.0",
        "+    return tx.amount.sum()",
    ):
        assert line in spent.text
    assert spent.text.index("apply 2") < spent.text.index("apply 1")


def test_a_model_shows_its_scores_and_that_its_features_have_changed(shared: Running) -> None:
    shown = page(shared, "/ui/models/risk").text
    for words in (
        "LogisticRegression for fraud",
        "champion",
        "accuracy",
        "10 rows",
        "have changed since it was trained",
    ):
        assert words in shown


def test_health_says_what_is_there(shared: Running) -> None:
    shown = page(shared, "/ui/health")
    assert "every online view is filled" in shown.text
    assert "3 declarations differ from what was applied" in shown.text  # spent, share that needs it, fraud
    assert ["payments", "7"] in [row[:2] for row in shown.rows]
    assert ["payments_by_customer", "yes"] in [row[:2] for row in shown.rows]


def answered(shown: Page) -> dict[str, Any]:
    """Values of the answer's table, read as the JSON that they are."""
    begin = shown.rows.index(["choose a value to see why", "it is"])
    count = 7
    return {name: written(value) for name, value in shown.rows[begin + 1 : begin + 1 + count]}


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"units": 3, "urgent": True, "due": "2026-02-01T10:00:00+01:00", "channel": "app"},
        {"customer": "nobody", "amount": 0, "urgent": False},
        {"customer": None, "amount": 1e-7, "units": -(2**63)},
    ],
)
def test_the_form_answers_what_post_features_does(shared: Running, given: dict[str, Any]) -> None:
    row = ROW | given
    told = shared.post("/features/fraud", row, params={"as_of": AT}).json()
    texts = {name: "" if one is None else one if isinstance(one, str) else json.dumps(one) for name, one in row.items()}
    shown = page(shared, query(texts, as_of=AT))
    assert answered(shown) == told["features"]
    assert f"position {told['position']}." in shown.text
    assert "As of 2026-03-01 00:00:00 UTC" in shown.text


def test_an_empty_field_is_its_default_and_an_empty_instant_is_now(shared: Running) -> None:
    before = times.system_clock()
    shown = page(shared, query({"customer": EVIL, "amount": "1", "channel": "web", "units": "", "due": ""}, as_of=""))
    assert answered(shown)["asked_for"] == "1 False None web"
    at = shown.text.split("As of ")[1].partition(" UTC")[0]
    assert before <= times.to_micros(at) <= times.system_clock()


def test_what_is_wrong_stands_beside_its_field(shared: Running) -> None:
    wrong = {"customer": EVIL, "amount": "-5", "units": "1.5", "urgent": "perhaps", "due": "soon", "zip": "1"}
    shown = page(shared, query(wrong, as_of="tomorrow"), 422)
    for name, rule in {
        "units": "must be an integer",
        "urgent": "must be a boolean",
        "due": "must be an ISO 8601 instant such as 2026-01-31T12:00:00Z",
        "channel": "required",
    }.items():
        field = shown.fields[f"row.{name}"]
        assert (field["aria-invalid"], field["aria-describedby"]) == ("true", f"field-{name}-error")
        assert rule in shown.text
    assert shown.fields["as_of"]["aria-invalid"] == "true"
    assert "zip: no such field" in shown.text
    assert "aria-invalid" not in shown.fields["row.customer"]
    assert shown.fields["row.amount"]["value"] == "-5"
    by_the_store = page(shared, query({"customer": EVIL, "amount": "-5", "channel": "fax"}), 422)
    assert by_the_store.fields["row.amount"]["aria-invalid"] == "true"
    assert by_the_store.fields["row.channel"]["aria-invalid"] == "true"
    assert "ge=0" in by_the_store.text
    future = page(shared, query(ROW, as_of="2999-01-01"), 422)
    assert "is in the future" in future.text
    for twice in ("&row.amount=1&row.amount=2", "&as-of=1"):
        assert page(shared, ASKED + twice, 422).marks == []


def test_the_chart_has_a_mark_for_each_event_and_so_has_the_table(shared: Running) -> None:
    shown = page(shared, query(ROW, as_of=AT, explain="spent_30d"))
    assert sorted(shown.marks) == ["mark counts"] * 3 + ["mark outside"] * 3 + ["mark unknown"]
    events = [row for row in shown.rows if row and row[0].startswith("20")]
    assert [(row[1], row[-1]) for row in events] == [
        ('"p1"', "no: before the window"),
        ('"p2"', "yes"),
        ('"p3"', "yes"),
        ('"p7"', "no: in the window, but not known yet"),
        ('"p4"', "yes"),
        ('"p5"', "no: at the window's end, which is open"),
        ('"p6"', "no: after the window"),
    ]
    assert "Why spent_30d is 42.5" in shown.text
    assert "3 events count." in shown.text


def test_a_row_feature_is_explained_by_its_operands(shared: Running) -> None:
    shown = page(shared, query(ROW, as_of=AT, explain="share"))
    assert "The function was called with" in shown.text
    assert "amount = 12.5" in shown.text
    assert "spent_30d = 42.5" in shown.text
    assert "step-spent_30d" in shown.ids
    assert len(shown.marks) == 7


def test_a_map_is_shown_key_by_key(shared: Running) -> None:
    shown = page(shared, query(ROW, as_of=AT, explain="notes"))
    assert "Why notes is what it is" in shown.text
    assert shown.text.count(f"{EVIL} = 3") == 2  # in the answer and where it is explained
    empty = page(shared, query(ROW | {"customer": "nobody"}, as_of=AT, explain="notes"))
    assert answered(empty)["notes"] == {}


def test_nothing_to_draw_is_no_chart(shared: Running) -> None:
    shown = page(shared, query(ROW | {"customer": "nobody"}, as_of=AT, explain="spent_30d"))
    assert shown.marks == []
    assert "0 events of payments" in shown.text


def test_what_is_not_there_has_a_page_that_says_so(shared: Running) -> None:
    assert "Did you mean 'spent'?" in page(shared, "/ui/features/spend", 404).text
    for path in ("/ui/services/none", "/ui/sources/none", "/ui/models/none", "/ui/models/%2e%2e"):
        assert shared.client.get(path).status_code == 404, path
    for path in ("/ui/services/none", "/ui/sources/none", "/ui/models/none"):
        assert "There are" in page(shared, path, 404).text or "Did you mean" in page(shared, path, 404).text


def test_with_keys_a_page_asks_for_one_and_a_browser_can_give_it(tmp_path: Path) -> None:
    with running(write_project(tmp_path)) as server:
        keys = ApiKeys(server.project / "store" / "keys.json")
        now = times.system_clock()
        read, ingest, admin = (keys.create(scope, [scope], now=now)[1] for scope in ("read", "ingest", "admin"))
        for path in ("/ui", "/ui/health", "/ui/services/fraud?asked=1", "/ui/features/spent", "/ui/style.css"):
            refused = server.client.get(path)
            assert (refused.status_code, "Basic" in refused.headers["www-authenticate"]) == (401, True)
            assert server.client.get(path, auth=("me", ingest)).status_code == 403
            assert server.client.get(path, auth=("me", "fs_x_y")).status_code == 401
            assert server.client.get(path, auth=("me", read)).status_code in {200, 422}
            assert server.client.get(path, headers={"Authorization": f"Bearer {read}"}).status_code in {200, 422}
        assert server.client.get("/ui", auth=("me", read), headers={"Host": "evil.example"}).status_code == 200
        asked = "/ui/services/counts?asked=1&row.customer=1"
        for key, explained in ((read, False), (admin, True)):
            answer = server.client.get(asked, auth=("me", key))
            assert "payments_made" in answer.text
            assert ("a key with the scope" in answer.text) != explained
            assert ('id="explained"' in answer.text) == explained
        assert read not in json.dumps(server.log)


def test_pages_answer_to_names_of_this_machine_alone(shared: Running) -> None:
    assert shared.client.get("/ui", headers={"Host": "evil.example"}).status_code == 421


def test_a_store_that_is_not_filled_says_what_to_do(tmp_path: Path) -> None:
    definitions = write_project(tmp_path) / "definitions" / "payments.py"
    told = definitions.read_text().replace(
        'event_time="event_time", key', 'path="none.csv", event_time="event_time", key'
    )
    definitions.write_text(told)
    with running(tmp_path) as server:
        assert "featurestore materialize" in page(server, "/ui/health").text
        asked = "/ui/services/fraud?asked=1&row.customer=1&row.amount=1"
        assert "featurestore materialize" in page(server, asked, 503).text


def test_no_value_of_a_form_gets_into_the_log(tmp_path: Path) -> None:
    with running(write_project(tmp_path)) as server:
        server.client.get("/ui/services/fraud?asked=1&row.customer=1&row.shop=canary-7&row.amount=1")
        server.client.get("/ui/services/fraud?asked=1&row.customer=canary-7")
        server.client.get("/ui/features/canary-7")
        assert server.stop() == 0
    assert "canary-7" not in json.dumps(server.log)
