"""The pages in a real browser: without scripts, within their policy, by keyboard, on a phone, in the dark."""

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from paged import AT, EVIL, ROW, query, site, written
from playwright.sync_api import Browser, BrowserContext, Dialog, Page, Request, sync_playwright
from served import Running

pytestmark = pytest.mark.slow
PAGES = (
    "/ui",
    "/ui?q=" + EVIL,
    "/ui/features/spent",
    "/ui/features/share",
    "/ui/services/fraud",
    query(ROW, as_of=AT, explain="share"),
    query(ROW, as_of=AT, explain="last_note"),
    "/ui/sources/payments",
    "/ui/models/risk",
    "/ui/health",
)
# Contrast of every text with what lies behind it, as WCAG counts it; gives those below 4.5.
CONTRAST = """() => {
  const channel = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const c = numbers(getComputedStyle(e).backgroundColor);
      if (c.length < 4 || c[3] > 0) return c;
    }
    return [255, 255, 255];
  };
  const found = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const e = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || !e.checkVisibility() || e.closest("svg")) continue;
    const [a, b] = [light(numbers(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) found.push(e.tagName + "." + e.className + ": " + walk.currentNode.data.trim());
  }
  return found;
}"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with site(tmp_path_factory.mktemp("site")) as one:
        yield one


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None and os.environ.get("FEATURESTORE_CI") != "1":
        pytest.skip("There is no Chromium: apt-get install chromium.")
    assert found, "There is no Chromium, and CI must have one."
    with sync_playwright() as playwright:
        one = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield one
        one.close()


class Watched:
    """A page in a browser's window, and all that it said or asked for."""

    def __init__(self, context: BrowserContext, server: Running) -> None:
        self.page: Page = context.new_page()
        self.said: list[str] = []
        self._url = server.url
        self.page.on("console", lambda one: self.said.append(one.text))
        self.page.on("dialog", self._dialog)
        self.page.on("pageerror", lambda one: self.said.append(str(one)))
        self.page.on("requestfailed", lambda one: self.said.append(f"failed: {one.url}: {one.failure}"))
        self.page.on("request", self._request)

    def open(self, path: str) -> Page:
        # until nothing is asked for: left earlier, a page's icon would be given up, and count as failed
        answer = self.page.goto(self._url + path, wait_until="networkidle")
        assert answer is not None
        assert answer.status == 200
        return self.page

    def _dialog(self, dialog: Dialog) -> None:
        self.said.append(dialog.message)
        dialog.dismiss()

    def _request(self, request: Request) -> None:
        if not request.url.startswith(self._url + "/"):
            self.said.append(f"elsewhere: {request.url}")


@pytest.fixture
def watched(browser: Browser, server: Running) -> Iterator[Watched]:
    """A window without scripts."""
    context = browser.new_context(java_script_enabled=False)
    yield Watched(context, server)
    context.close()


@pytest.mark.parametrize("scripts", [False, True])
def test_no_page_runs_anything_asks_elsewhere_or_breaks_its_policy(
    browser: Browser, server: Running, *, scripts: bool
) -> None:
    context = browser.new_context(java_script_enabled=scripts)
    one = Watched(context, server)
    for path in PAGES:
        page = one.open(path)
        assert page.locator("script").count() == 0
        assert page.locator("img[src=x]").count() == 0
        styled = page.locator("body").evaluate("e => getComputedStyle(e).margin")
        assert styled == "0px", "the stylesheet was not let in"
    assert one.said == []
    context.close()


def test_the_watch_sees_what_breaks_the_policy(browser: Browser, server: Running) -> None:
    context = browser.new_context()
    one = Watched(context, server)
    page = one.open("/ui")
    page.evaluate("""() => {
        document.body.setAttribute("style", "color: red");
        const script = document.createElement("script");
        script.textContent = "alert(1)";
        document.body.append(script);
        const image = new Image();
        image.src = "http://elsewhere.example/x.png";
    }""")
    page.wait_for_function("() => true")
    for words in ("inline style", "inline script", "elsewhere.example"):
        assert [said for said in one.said if words in said], words
    context.close()


def test_a_form_filled_in_by_keyboard_answers_what_post_features_does(watched: Watched, server: Running) -> None:
    page = watched.open("/ui/services/fraud")
    told = {"amount": "12.5", "units": "3", "customer": EVIL, "as_of": AT}
    for name, text in told.items():
        page.get_by_label(name).first.focus()
        page.keyboard.press("Control+A")
        page.keyboard.type(text)
    page.get_by_label("channel").select_option("app")
    page.get_by_label("as_of").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**asked=1**")
    row = {"customer": EVIL, "amount": 12.5, "units": 3, "channel": "app"}
    answer = server.post("/features/fraud", row, params={"as_of": AT}).json()
    names = page.locator("table.answer tbody th").all_inner_texts()
    values = page.locator("table.answer tbody td").all_inner_texts()
    assert {name: written(value) for name, value in zip(names, values, strict=True)} == answer["features"]
    assert page.get_by_label("customer").input_value() == EVIL
    page.get_by_role("link", name="spent_30d").first.click()
    assert page.locator("h2#explained").inner_text() == "Why spent_30d is 42.5"
    assert watched.said == []


def test_each_event_has_a_mark_that_can_be_seen(watched: Watched) -> None:
    page = watched.open(query(ROW, as_of=AT, explain="spent_30d"))
    chart = page.get_by_role("img", name="Events in the window of spent_30d")
    around = chart.bounding_box()
    marks = chart.locator("svg.mark")
    assert marks.count() == page.locator("#step-spent_30d tbody tr").count() == 7
    assert around is not None
    for number in range(marks.count()):
        box = marks.nth(number).bounding_box()
        assert box is not None
        assert box["width"] > 5
        assert around["x"] <= box["x"] < around["x"] + around["width"]
        assert around["y"] <= box["y"] < around["y"] + around["height"]


def test_what_is_wrong_is_told_beside_its_field(watched: Watched) -> None:
    page = watched.open("/ui/services/fraud")
    page.get_by_label("amount").fill("much")
    page.get_by_role("button", name="Look up").click()
    field = page.get_by_label("amount")
    described = field.get_attribute("aria-describedby")
    error = page.locator(f"#{described}")
    assert error.inner_text() == "must be a number"
    below, above = error.bounding_box(), field.bounding_box()
    assert below is not None
    assert above is not None
    assert 0 <= below["y"] - (above["y"] + above["height"]) < 20


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_every_page_fits_its_window_and_has_contrast(
    browser: Browser, server: Running, width: int, scheme: Any
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    one = Watched(context, server)
    grounds = set()
    for path in PAGES:
        page = one.open(path)
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert (path, wide) == (path, 0)
        assert (path, page.evaluate(CONTRAST)) == (path, [])
        grounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    page.evaluate("document.querySelector('h1').style.color = getComputedStyle(document.body).backgroundColor")
    assert page.evaluate(CONTRAST) == ["H1.: Health"]
    assert grounds == {"rgb(18, 21, 27)" if scheme == "dark" else "rgb(247, 248, 250)"}
    context.close()


def test_the_keyboard_comes_first_to_the_content_and_then_through_the_pages(watched: Watched) -> None:
    page = watched.open("/ui")
    page.keyboard.press("Tab")
    assert page.locator(":focus").inner_text() == "To the content"
    for name in ("featurestore", "Catalogue", "Health", "API"):
        page.keyboard.press("Tab")
        assert page.locator(":focus").inner_text() == name
