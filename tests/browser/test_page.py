"""The page as a person uses it, in a real browser over a real service."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from ragstone.engine import Ragstone
from ragstone.types import Embedder
from server.live import LIBRARY, DrippingModel, LiveService, running, wait_until

pytestmark = pytest.mark.browser

QUESTION = "Who finished the third lighthouse?"
OpenPage = Callable[..., Page]

CONTRAST = """() => {
  const light = (c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const luminance = ([r, g, b]) => 0.2126 * light(r) + 0.7152 * light(g) + 0.0722 * light(b);
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const ground = (node) => {
    for (; node; node = node.parentElement) {
      const colour = rgba(getComputedStyle(node).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return rgba(getComputedStyle(document.documentElement).backgroundColor);
  };
  const poor = [];
  for (const node of document.querySelectorAll("body *")) {
    const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
    if (!own || !node.checkVisibility() || node.closest(".unseen, .skip")) continue;
    const [a, b] = [luminance(rgba(getComputedStyle(node).color)), luminance(ground(node))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) poor.push(`${node.tagName}.${node.className} ${ratio.toFixed(2)}`);
  }
  return poor;
}"""
WATCH_SHIFTS = """() => {
  window.shifted = 0;
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shifted += entry.value;
  }).observe({ type: "layout-shift", buffered: false });
}"""


def test_the_interface_is_shown_route_by_route(service: LiveService, open_page: OpenPage) -> None:
    page = open_page(f"{service.url}/api/docs")
    route = page.locator("details.route", has_text="GET /api/search")
    route.locator("summary").click()
    expect(route).to_contain_text("q string, characters ≥ 1, characters ≤ 1,000")
    expect(route).to_contain_text("hits list of object")
    assert page.evaluate(CONTRAST) == []


def ask(page: Page, question: str = QUESTION) -> None:
    page.fill("#question", question)
    page.press("#question", "Enter")
    expect(page.locator("#answer-text")).to_have_attribute("aria-busy", "false")


def test_a_citation_opens_the_passage_highlighted_in_its_document(
    service: LiveService, open_page: OpenPage, tmp_path: Path
) -> None:
    page = open_page(service.url)
    ask(page)
    done = service.post("/api/ask", {"question": QUESTION}).json()
    assert done["citations"]
    expect(page.locator("#answer-text")).to_contain_text("Smeaton")
    expect(page.locator(".citation")).to_have_count(len(done["citations"]))
    passage = page.locator("#passage")
    for position, citation in enumerate(done["citations"]):
        page.locator(".citation").nth(position).click()
        expect(passage).to_be_visible()
        assert passage.text_content() == citation["quote"]
        page.keyboard.press("Escape")
    page.locator(".citation").last.click()
    expect(passage).to_be_visible()
    assert page.locator("#reader-text").text_content() == LIBRARY["lighthouse.md"]
    expect(page.locator("#reader-title")).to_have_text("Eddystone Lighthouse")
    box, pane = passage.bounding_box(), page.locator("#reader-text").bounding_box()
    assert box is not None
    assert pane is not None
    assert pane["y"] <= box["y"] <= pane["y"] + pane["height"]
    page.screenshot(path=tmp_path / "cited.png")


def test_offsets_hold_behind_characters_outside_the_basic_plane(
    service: LiveService, open_page: OpenPage
) -> None:
    page = open_page(service.url)
    ask(page, "How many workers does a honey bee colony hold in summer?")
    citation = service.post(
        "/api/ask", {"question": "How many workers does a honey bee colony hold in summer?"}
    ).json()["citations"][0]
    page.click(".citation >> nth=0")
    assert page.locator("#passage").text_content() == citation["quote"]
    expect(page.locator("#reader-notes")).to_be_empty()


def test_passages_appear_while_typing_with_the_words_marked(
    service: LiveService, open_page: OpenPage
) -> None:
    page = open_page(service.url)
    page.locator("#question").press_sequentially("waggle dan", delay=15)
    first = page.locator(".card").first
    expect(first.locator("h3")).to_contain_text("Bees")
    expect(first.locator("mark")).to_have_text(["waggle", "dance"])
    expect(first.locator(".path")).to_contain_text("bees.md")
    expect(first.locator(".score")).to_contain_text("score 0.")
    page.fill("#question", "")
    expect(page.locator("#results")).to_be_hidden()


def test_a_late_response_never_replaces_a_newer_one(service: LiveService, open_page: OpenPage) -> None:
    page = open_page(service.url)
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/api/search?q=kraken*", hold)
    page.fill("#question", "kraken")
    page.wait_for_timeout(400)
    page.fill("#question", "waggle dance")
    expect(page.locator(".card h3").first).to_contain_text("Bees")
    assert held
    for route in held:
        route.continue_()
    page.wait_for_timeout(300)
    expect(page.locator(".card h3").first).to_contain_text("Bees")


def test_text_arrives_word_by_word_without_moving_the_page_and_esc_stops_the_model(
    data_dir: Path, embedder: Embedder, open_page: OpenPage
) -> None:
    model = DrippingModel(pause_s=0.05, repeat=1000)
    with Ragstone(data_dir, embedder=embedder, chat_model=model) as engine, running(engine) as live:
        page = open_page(live.url)
        page.fill("#question", QUESTION)
        page.press("#question", "Enter")
        text = page.locator("#answer-text")
        expect(text).to_contain_text("Smeaton finished")
        page.evaluate(WATCH_SHIFTS)
        before = len(text.text_content() or "")
        expect(page.locator("#answer-meta")).to_contain_text("Writing")
        page.wait_for_timeout(600)
        assert len(text.text_content() or "") > before
        assert page.evaluate("window.shifted") < 0.01
        expect(page.locator("#go")).to_have_text("Stop")
        page.keyboard.press("Escape")
        assert wait_until(model.stopped.is_set, "the model stopped") < 1.0
        expect(page.locator("#answer-meta")).to_contain_text("Stopped after")
        expect(page.locator("#go")).to_have_text("Ask")


def test_hostile_names_titles_and_texts_are_shown_as_text(service: LiveService, open_page: OpenPage) -> None:
    page = open_page(service.url)
    page.fill("#question", "kraken")
    expect(page.locator(".card h3").first).to_contain_text("<script>alert('title')</script>")
    expect(page.locator(".path").first).to_contain_text("<img src=x onerror=alert(1)>.md")
    ask(page, "Where does the kraken sleep?")
    page.locator(".card h3 button").first.click()
    expect(page.locator("#reader-text")).to_contain_text("<svg onload=alert(3)>")
    assert page.locator("main img, main script, main svg, dialog img, dialog script, dialog a").count() == 0
    page.wait_for_timeout(200)  # what would run, would have run; `open_page` holds the page to that


def test_a_string_cannot_become_markup_even_by_mistake(service: LiveService, open_page: OpenPage) -> None:
    page = open_page(service.url)
    refused = page.evaluate(
        "() => { try { document.body.innerHTML = '<p>x</p>'; return false } catch { return true } }"
    )
    assert refused


def test_everything_works_by_keyboard(service: LiveService, open_page: OpenPage) -> None:
    page = open_page(service.url)
    page.locator("#question").blur()
    page.keyboard.press("/")
    expect(page.locator("#question")).to_be_focused()
    page.keyboard.type("lighthouse granite")
    expect(page.locator(".card h3").first).to_contain_text("Eddystone")
    page.keyboard.press("ArrowDown")
    first = page.locator(".card h3 button").first
    expect(first).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(page.locator(".card h3 button").nth(1)).to_be_focused()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    expect(page.locator("#passage")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#reader")).to_be_hidden()
    expect(first).to_be_focused()
    page.keyboard.press("ArrowUp")
    expect(page.locator("#question")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#answer-text")).to_have_attribute("aria-busy", "false")
    page.keyboard.press("Escape")
    expect(page.locator("#question")).to_have_value("")


def test_screen_readers_are_told_what_happens(service: LiveService, open_page: OpenPage) -> None:
    page = open_page(service.url)
    expect(page.get_by_role("search")).to_be_visible()
    expect(page.get_by_label("Ask a question or search your documents")).to_be_focused()
    ask(page)
    expect(page.get_by_role("status")).to_have_text(re.compile(r"Answer ready, \d+ sources?\."))
    expect(
        page.get_by_role("button", name=re.compile("Source 1: Eddystone Lighthouse")).first
    ).to_be_visible()
    page.click(".citation >> nth=0")
    expect(page.get_by_role("dialog", name="Eddystone Lighthouse")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast_in_both_schemes(
    service: LiveService, open_page: OpenPage, tmp_path: Path, scheme: str
) -> None:
    page = open_page(service.url, scheme=scheme)
    ground = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert ground == ("rgb(22, 22, 20)" if scheme == "dark" else "rgb(251, 250, 248)")
    assert page.evaluate(CONTRAST) == []
    ask(page)
    assert page.evaluate(CONTRAST) == []
    page.click(".citation >> nth=0")
    expect(page.locator("#passage")).to_be_visible()
    assert page.evaluate(CONTRAST) == []
    page.screenshot(path=tmp_path / f"{scheme}.png")


def test_nothing_is_wider_than_a_small_phone(service: LiveService, open_page: OpenPage) -> None:
    page = open_page(service.url, width=360, height=740)
    page.fill("#question", "kraken")
    expect(page.locator(".card").first).to_be_visible()
    page.click("#options summary")
    _assert_fits(page)
    ask(page)
    _assert_fits(page)
    page.click(".citation >> nth=0")
    expect(page.locator("#passage")).to_be_visible()
    _assert_fits(page)
    close = page.locator("#reader-close").bounding_box()
    assert close is not None
    assert close["x"] + close["width"] <= 360
    assert close["height"] >= 40


def test_a_lost_connection_is_said_and_mends_itself(
    data_dir: Path, embedder: Embedder, open_page: OpenPage
) -> None:
    with Ragstone(data_dir, embedder=embedder) as engine:
        with ExitStack() as first:
            live = first.enter_context(running(engine))
            page = open_page(live.url)
            page.fill("#question", "bridge")
            expect(page.locator(".card").first).to_be_visible()
        page.fill("#question", "waggle dance")
        lost = page.locator("#connection")
        expect(lost).to_contain_text("No connection to ragstone. Trying again in")
        expect(
            page.locator("#results")
        ).to_be_hidden()  # those of the earlier query say nothing about this one
        page.wait_for_timeout(700)
        expect(lost).to_be_visible()
        with running(engine, port=live.port):
            expect(page.locator(".card h3").first).to_contain_text("Bees")
            expect(lost).to_be_hidden()
            page.goto("about:blank")  # no poll may hit the service while it stops


def test_a_stream_that_breaks_is_asked_again_without_streaming(
    service: LiveService, open_page: OpenPage
) -> None:
    page = open_page(service.url)
    broken = b'event: token\ndata: {"text":"John Sm"}\n\nevent: tok'
    page.route(
        "**/api/ask/stream",
        lambda route: route.fulfill(status=200, body=broken, content_type="text/event-stream"),
    )
    with page.expect_request("**/api/ask"):
        ask(page)
    expect(page.locator("#answer-text")).to_contain_text("Smeaton finished the third lighthouse in 1759")
    expect(page.locator(".citation").first).to_be_visible()


def test_a_question_that_the_documents_do_not_answer(service: LiveService, open_page: OpenPage) -> None:
    page = open_page(service.url)
    ask(page, "What is the boiling point of tungsten?")
    expect(page.locator("#answer-text")).to_have_class(re.compile("refused"))
    expect(page.locator("#answer-meta")).to_contain_text("no document holds it")
    assert page.locator(".citation").count() == 0


def test_a_wrong_filter_is_explained(service: LiveService, open_page: OpenPage) -> None:
    page = open_page(service.url)
    page.fill("#question", "bridge")
    expect(page.locator(".card").first).to_be_visible()
    page.click("#options summary")
    page.fill("#filter", 'author:"open')
    expect(page.locator("#results-notes .bad")).to_contain_text(re.compile("quote|author"))
    page.fill("#filter", "path:**/bees.md")
    expect(page.locator("#results-notes .bad")).to_have_count(0)
    expect(page.locator(".path").first).to_contain_text("bees.md")


def test_an_empty_collection_says_how_to_begin(
    tmp_path: Path, embedder: Embedder, open_page: OpenPage
) -> None:
    with Ragstone(tmp_path / "empty", embedder=embedder) as engine, running(engine) as live:
        page = open_page(live.url)
        expect(page.locator("#welcome")).to_contain_text("Nothing to search yet")
        expect(page.locator("#welcome")).to_contain_text("ragstone index")
        page.fill("#question", "anything")
        page.wait_for_timeout(400)
        expect(page.locator("#welcome")).to_be_visible()


def test_indexing_is_shown_with_count_rate_and_what_failed(
    tmp_path: Path, embedder: Embedder, open_page: OpenPage
) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    paragraph = "Granite is quarried in the hills and shipped along the coast to the towns. " * 12
    for number in range(60):
        (folder / f"note-{number}.md").write_text(f"# Note {number}\n\n{paragraph} Number {number}.\n")
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7 and then nothing of use")
    with (
        Ragstone(tmp_path / "data", embedder=embedder) as engine,
        running(engine, paths=[folder]) as live,
    ):
        page = open_page(live.url)
        place = page.locator("#indexing")
        expect(place).to_contain_text(
            re.compile(r"(Reading|Embedding) \d+ of \d+ \w+ · [\d.]+/s"), timeout=20_000
        )
        expect(place).to_contain_text("1 file could not be read", timeout=60_000)
        expect(page.locator("#counts")).to_contain_text("60 documents")
        place.locator("summary").click()
        expect(place).to_contain_text("broken.pdf")


TOO_WIDE = """() => [...document.querySelectorAll("body *")]
  .filter((node) => node.checkVisibility() && !node.closest(".unseen, .skip"))
  .filter((node) => node.getBoundingClientRect().right > 361)
  .map((node) => node.outerHTML.slice(0, 80))"""


def _assert_fits(page: Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.evaluate(TOO_WIDE) == []
