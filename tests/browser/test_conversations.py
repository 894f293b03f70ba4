"""Conversations on the page: asking on, what is kept and deleted, and connections that break."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, Request, expect

from browser.cutting_proxy import cutting_proxy
from browser.test_page import QUESTION, OpenPage, ask
from ragstone.engine import Ragstone
from ragstone.types import Embedder
from server.live import DrippingModel, LiveService, running, wait_until

pytestmark = pytest.mark.browser

WATCH_DOUBLES = """() => {
  window.most = 0;
  const text = document.getElementById("answer-text");
  const look = () => (window.most = Math.max(window.most, text.textContent.split("John").length - 1));
  new MutationObserver(look).observe(text, { childList: true, subtree: true, characterData: true });
}"""
FOLLOW_UP = "When was it taken down?"


def go_to(page: Page, view: str) -> None:
    page.get_by_role("navigation").get_by_role("link", name=view).click()


def kept(page: Page) -> object:
    return page.evaluate("JSON.parse(localStorage.getItem('ragstone.conversations') ?? '[]')")


def test_a_second_question_takes_the_first_and_its_answer_along(
    service: LiveService, open_page: OpenPage
) -> None:
    page = open_page(service.url)
    ask(page)
    first = page.locator("#answer-text").text_content() or ""
    expect(page.locator("#question")).to_have_value("")
    expect(page.locator("#asked")).to_have_text(QUESTION)
    with page.expect_request("**/api/ask/stream") as sent:
        ask(page, FOLLOW_UP)
    history = json.loads(sent.value.post_data or "")["history"]
    assert [turn["role"] for turn in history] == ["user", "assistant"]
    assert history[0]["text"] == QUESTION
    assert "1759" in history[1]["text"]
    earlier = page.locator("#turns > li")
    expect(earlier).to_have_count(1)
    expect(earlier.locator("h3")).to_have_text(QUESTION)
    assert (earlier.locator(".prose").text_content() or "").split() == first.split()
    earlier.locator(".citation").first.click()
    expect(page.locator("#passage")).to_be_visible()


def test_a_new_conversation_takes_nothing_along(service: LiveService, open_page: OpenPage) -> None:
    page = open_page(service.url)
    ask(page)
    page.click("#fresh")
    expect(page.locator("#answer")).to_be_hidden()
    expect(page.locator("#results")).to_be_hidden()
    expect(page.locator("#question")).to_be_focused()
    with page.expect_request("**/api/ask/stream") as sent:
        ask(page, FOLLOW_UP)
    assert "history" not in json.loads(sent.value.post_data or "")
    assert len(kept(page)) == 2  # type: ignore[arg-type]


def test_conversations_outlive_the_page_are_taken_up_and_deleted_one_by_one(
    service: LiveService, open_page: OpenPage
) -> None:
    page = open_page(service.url)
    ask(page)
    page.click("#fresh")
    ask(page, "When was the Forth Bridge opened?")
    page.reload()
    go_to(page, "History")
    rows = page.locator("#view-history .rows > li")
    expect(rows).to_have_count(2)
    page.get_by_role("button", name=QUESTION, exact=True).click()
    expect(page.locator("#turns h3")).to_have_text([QUESTION])
    expect(page.locator("#turns .citation").first).to_be_visible()
    go_to(page, "History")
    page.get_by_role("button", name=f"Delete the conversation: {QUESTION}").click()
    expect(rows).to_have_count(1)
    expect(rows.locator(".link")).to_have_text("When was the Forth Bridge opened?")
    go_to(page, "Ask")
    expect(page.locator("#earlier")).to_be_hidden()
    go_to(page, "History")
    page.get_by_role("button", name="Delete all").click()
    expect(rows).to_have_count(1)  # it asks first
    page.get_by_role("button", name="Really delete all?").click()
    expect(rows).to_have_count(0)
    assert kept(page) == []


def test_conversations_are_kept_nowhere_if_the_reader_does_not_want_that(
    service: LiveService, open_page: OpenPage
) -> None:
    page = open_page(service.url)
    ask(page)
    go_to(page, "Settings")
    page.get_by_label("Keep conversations in this browser").uncheck()
    assert page.evaluate("localStorage.getItem('ragstone.conversations')") is None
    go_to(page, "Ask")
    ask(page, FOLLOW_UP)
    assert page.evaluate("localStorage.getItem('ragstone.conversations')") is None


@pytest.mark.parametrize(
    "found",
    ["{", "7", "null", '[null, 7, {"turns": 3}]', '[{"id": 1, "turns": [{"question": 1}, null]}]'],
)
def test_a_broken_storage_does_not_keep_the_page_from_working(
    service: LiveService, open_page: OpenPage, found: str
) -> None:
    page = open_page(service.url)
    for place in ("conversations", "settings"):
        page.evaluate("([place, text]) => localStorage.setItem(`ragstone.${place}`, text)", [place, found])
    page.reload()
    ask(page)
    expect(page.locator("#answer-text")).to_contain_text("Smeaton")
    assert len(kept(page)) == 1  # type: ignore[arg-type]


def test_typing_searches_below_the_answer_and_its_sources_come_back(
    service: LiveService, open_page: OpenPage
) -> None:
    page = open_page(service.url)
    ask(page)
    expect(page.locator("#results-title")).to_have_text("Sources")
    page.fill("#question", "waggle dance")
    expect(page.locator("#results-title")).to_contain_text("passage")
    expect(page.locator("#answer-text")).to_contain_text("Smeaton")
    page.fill("#question", "")
    expect(page.locator("#results-title")).to_have_text("Sources")


def test_a_cut_stream_is_taken_up_without_doubling_its_text(
    data_dir: Path, embedder: Embedder, open_page: OpenPage
) -> None:
    model = DrippingModel(pause_s=0.2)
    with (
        Ragstone(data_dir, embedder=embedder, chat_model=model) as engine,
        running(engine) as live,
        cutting_proxy(live.port) as proxy,
    ):
        page = open_page(f"http://127.0.0.1:{proxy.port}/")
        page.fill("#question", QUESTION)
        page.press("#question", "Enter")
        text = page.locator("#answer-text")
        expect(text).to_contain_text("Smeaton finished")
        page.evaluate(WATCH_DOUBLES)
        proxy.cut()
        expect(page.locator("#answer-meta")).to_contain_text("The connection was lost; asking again (1)")
        expect(text).to_contain_text("Smeaton finished")  # it stays until there are new words
        expect(text).to_have_attribute("aria-busy", "false")
        assert re.sub(r"\s+", " ", text.text_content() or "").strip() == (
            "John Smeaton finished the third lighthouse in 1759 1."
        )
        assert page.evaluate("window.most") == 1
        assert model.calls == 2
        page.goto("about:blank")


def test_a_service_that_comes_back_is_asked_again(
    data_dir: Path, embedder: Embedder, open_page: OpenPage
) -> None:
    model = DrippingModel(pause_s=0.2)
    with Ragstone(data_dir, embedder=embedder, chat_model=model) as engine:
        with running(engine) as live:
            page = open_page(live.url)
            page.fill("#question", QUESTION)
            page.press("#question", "Enter")
            expect(page.locator("#answer-text")).to_contain_text("Smeaton finished")
        expect(page.locator("#connection")).to_be_visible(timeout=10_000)
        with running(engine, port=live.port):
            expect(page.locator("#answer-meta")).to_contain_text("1 source", timeout=20_000)
            expect(page.locator("#connection")).to_be_hidden()
            page.goto("about:blank")


def test_stop_ends_the_wait_for_another_try(data_dir: Path, embedder: Embedder, open_page: OpenPage) -> None:
    model = DrippingModel(pause_s=0.05, repeat=100)
    asked: list[Request] = []
    with (
        Ragstone(data_dir, embedder=embedder, chat_model=model) as engine,
        running(engine) as live,
        cutting_proxy(live.port) as proxy,
    ):
        page = open_page(f"http://127.0.0.1:{proxy.port}/")
        page.on("request", lambda request: asked.append(request) if "/api/ask" in request.url else None)
        page.fill("#question", QUESTION)
        page.press("#question", "Enter")
        expect(page.locator("#answer-text")).to_contain_text("Smeaton finished")
        proxy.cut()
        expect(page.locator("#answer-meta")).to_contain_text("asking again")
        page.click("#go")
        expect(page.locator("#answer-meta")).to_contain_text("Stopped after")
        wait_until(model.stopped.is_set, "the model stopped")
        page.wait_for_timeout(1000)  # longer than the pause that was to follow
        assert len(asked) == 1
        page.goto("about:blank")
