"""The views beside the question: figures, documents, settings, the key, and pages of PDFs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from browser.test_conversations import go_to
from browser.test_page import CONTRAST, QUESTION, TOO_WIDE, OpenPage, ask
from documents.test_page_image import MANUAL
from hashing_embedder import HashingEmbedder
from ragstone.engine import Ragstone
from ragstone.types import Embedder
from server.keyed import HOURS, fill, keyed
from server.live import LiveService, running
from server.uploading import finished

pytestmark = pytest.mark.browser

VIEWS = ["History", "Documents", "Status", "Settings"]


@pytest.fixture(scope="module")
def manuals(
    tmp_path_factory: pytest.TempPathFactory, library: Path, embedder: Embedder
) -> Iterator[LiveService]:
    """A service over the library and a PDF."""
    folder = tmp_path_factory.mktemp("manuals")
    shutil.copy(MANUAL, folder / "manual.pdf")
    with Ragstone(tmp_path_factory.mktemp("data"), embedder=embedder) as engine:
        assert engine.index([folder, library]).failed == ()
        with running(engine) as live:
            yield live


def at(told: Any, key: str) -> Any:
    """`latencies_ms.search.embed.p50`: the figure under a path whose names may have dots."""
    if not key:
        return told
    names = [name for name in told if key == name or key.startswith(f"{name}.")]
    longest = max(names, key=len)
    return at(told[longest], key[len(longest) + 1 :])


def test_the_dashboard_shows_the_front_of_the_tuning_and_what_is_applied_after_a_reload(
    tmp_path: Path, open_page: OpenPage
) -> None:
    with Ragstone(tmp_path, embedder=HashingEmbedder()) as engine, running(engine) as service:
        service.wait_ready()
        texts = [{"text": f"Keeper number {n} polished lens {n * 7}."} for n in range(600)]
        service.post("/api/texts", {"texts": texts})
        tuned = finished(service, service.post("/api/tune", {"recall": 0.9, "budget_s": 1}))
        page = open_page(f"{service.url}/#/status")
        rows = page.locator("#status-tuning tbody tr")
        expect(rows).to_have_count(len(tuned["result"]["front"]))
        # A plan may be there several times, searched more and less hard.
        names = rows.locator("th").all_inner_texts()
        assert len(set(names)) == len(names)
        expect(page.locator("#status-tuning tr.whole")).to_have_count(1)
        expect(page.locator("#status-tuning > p")).to_contain_text("Nothing is applied")
        page.reload()
        expect(rows).to_have_count(len(tuned["result"]["front"]))
        finished(service, service.post(f"/api/tune/{tuned['id']}/apply", {}))
        best = tuned["result"]["best"]["index_type"]
        expect(page.locator("#status-tuning > p")).to_contain_text(f"{best}")
        expect(page.locator("#status-tuning > p")).to_contain_text("is applied.")


def test_every_figure_on_the_dashboard_is_that_of_the_stats(
    service: LiveService, open_page: OpenPage
) -> None:
    for word in ("bridge", "kraken", "waggle dance", "granite blocks of the lighthouse"):
        service.get("/api/search?q=" + quote(word))
    page = open_page(service.url)
    ask(page)
    go_to(page, "Status")
    expect(page.locator("#status-latencies table")).not_to_have_count(0)
    with page.expect_response("**/api/stats") as response:
        pass
    told = response.value.json()
    page.wait_for_function(
        "(calls) => document.querySelector('[data-key=\"latencies_ms.search.count\"]').dataset.value === calls",
        arg=str(told["latencies_ms"]["search"]["count"]),
    )
    shown = page.eval_on_selector_all(
        "[data-key]",
        "(nodes) => nodes.map((node) => [node.dataset.key, node.dataset.value, node.textContent])",
    )
    assert len(shown) > 60
    for key, value, _ in shown:
        assert json.loads(value) == at(told, key), key
    texts = {key: text for key, _, text in shown}
    assert texts["documents"] == str(told["documents"])
    p50_ms = told["latencies_ms"]["search"]["p50"]
    assert texts["latencies_ms.search.p50"] == (f"{p50_ms:.1f} ms" if p50_ms < 10 else f"{p50_ms:.0f} ms")
    for operation, found in told["latencies_ms"].items():
        for figure in found:
            assert f"latencies_ms.{operation}.{figure}" in texts
    for cache in told["caches"]:
        assert f"caches.{cache}.hits" in texts


def test_the_dashboard_moves_with_the_service_and_keeps_the_focus(
    service: LiveService, open_page: OpenPage
) -> None:
    page = open_page(service.url)
    ask(page)
    go_to(page, "Status")
    calls = page.locator('[data-key="latencies_ms.search.count"]')
    before = int(calls.text_content() or "")
    page.locator(".scrolled").first.focus()
    service.get("/api/search?q=bridge")
    expect(calls).not_to_have_text(str(before), timeout=5_000)
    expect(page.locator(".scrolled").first).to_be_focused()


def test_a_passage_of_a_pdf_stands_beside_its_page(manuals: LiveService, open_page: OpenPage) -> None:
    page = open_page(manuals.url, width=1440)
    ask(page, "How long does charging from 20 to 80 per cent take?")
    page.locator(".citation").first.click()
    canvas = page.locator("#reader-page canvas")
    expect(canvas).to_be_visible()
    expect(canvas).to_have_attribute("aria-label", "Page 2")
    dark = canvas.evaluate(
        "(node) => node.getContext('2d').getImageData(0, 0, node.width, node.height).data.filter((v) => v < 64).length"
    )
    assert dark > 1_000
    expect(page.locator("#passage")).to_contain_text("38 minutes")
    text, drawn = page.locator("#reader-text").bounding_box(), canvas.bounding_box()
    assert text is not None
    assert drawn is not None
    assert text["x"] + text["width"] <= drawn["x"]


def test_on_a_phone_the_page_is_a_button_away(manuals: LiveService, open_page: OpenPage) -> None:
    page = open_page(manuals.url, width=360, height=740)
    ask(page, "How long does charging from 20 to 80 per cent take?")
    page.locator(".citation").first.click()
    expect(page.locator("#passage")).to_be_visible()
    expect(page.locator("#reader-page")).to_be_hidden()
    page.get_by_role("button", name="Show the page").click()
    expect(page.locator("#reader-page canvas")).to_be_visible()
    expect(page.locator("#reader-text")).to_be_hidden()
    assert page.evaluate(TOO_WIDE) == []
    page.get_by_role("button", name="Show the text").click()
    expect(page.locator("#passage")).to_be_visible()


def test_a_text_has_no_page_beside_it(manuals: LiveService, open_page: OpenPage) -> None:
    page = open_page(manuals.url)
    ask(page)
    page.locator(".citation").first.click()
    expect(page.locator("#passage")).to_be_visible()
    expect(page.locator("#reader-page")).to_be_hidden()


def test_the_documents_are_listed_and_open(manuals: LiveService, open_page: OpenPage) -> None:
    page = open_page(manuals.url)
    go_to(page, "Documents")
    expect(page.locator("#documents-list > li")).to_have_count(5)
    expect(page.locator("#documents-notes")).to_have_text("5 documents")
    page.get_by_role("button", name="Forth Bridge", exact=True).click()
    expect(page.locator("#reader-text")).to_contain_text("4 March 1890")


def test_settings_are_kept_and_used(service: LiveService, open_page: OpenPage) -> None:
    page = open_page(service.url)
    go_to(page, "Settings")
    page.get_by_label("Colours").select_option("dark")
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    assert page.evaluate(ground) == "rgb(22, 22, 20)"
    page.get_by_label("Search by", exact=True).select_option("keyword")
    page.get_by_label("Passages for an answer").select_option("2")
    page.goto(service.url)
    page.reload()
    assert page.evaluate(ground) == "rgb(22, 22, 20)"
    with page.expect_request("**/api/search*") as searched:
        page.fill("#question", "bridge")
    assert "mode=keyword" in searched.value.url
    with page.expect_request("**/api/ask/stream") as asked:
        ask(page)
    assert json.loads(asked.value.post_data or "")["k"] == 2
    expect(page.locator(".card")).to_have_count(2)


def test_a_key_stays_in_its_tab_and_is_forgotten_on_demand(open_page: OpenPage, tmp_path: Path) -> None:
    fill(tmp_path, {"default": [HOURS]})
    with keyed(tmp_path) as keyed_service:
        secret = keyed_service.key("reader")
        page = open_page(keyed_service.live.url)
        page.fill("#key-value", "with a space")
        page.press("#key-value", "Enter")
        expect(page.locator("#key")).to_be_visible()  # it could not stand in a header
        page.fill("#key-value", secret)
        page.press("#key-value", "Enter")
        expect(page.locator("#key")).to_be_hidden()
        ask(page, "When does the observatory open?")
        kept = "Object.keys(localStorage).map((name) => localStorage[name]).join()"
        assert secret not in page.evaluate(kept)
        go_to(page, "Settings")
        page.get_by_role("button", name="Forget the key").click()
        expect(page.locator("#key")).to_be_visible()
        page.get_by_role("button", name="Cancel").click()
        expect(page.locator("#key")).to_be_hidden()
        assert page.evaluate("sessionStorage.length") == 0


def test_the_views_work_by_keyboard_and_say_where_they_are(service: LiveService, open_page: OpenPage) -> None:
    page = open_page(service.url)
    for view in VIEWS:
        link = page.get_by_role("navigation").get_by_role("link", name=view)
        link.focus()
        page.keyboard.press("Enter")
        heading = page.get_by_role("heading", level=1)
        expect(heading).to_be_focused()
        expect(link).to_have_attribute("aria-current", "page")
        assert page.title().endswith(" · ragstone")
    page.keyboard.press("/")
    expect(page.locator("#question")).to_be_focused()
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_have_text("Settings")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_views_fit_a_phone_and_have_contrast(
    service: LiveService, open_page: OpenPage, scheme: str, tmp_path: Path
) -> None:
    page = open_page(service.url, width=360, height=740, scheme=scheme)
    ask(page, QUESTION)
    for view in VIEWS:
        go_to(page, view)
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        wait_filled(page, view)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        inside = TOO_WIDE.replace(".unseen", ".unseen, .scrolled *")
        assert page.evaluate(inside) == []
        assert page.evaluate(CONTRAST) == []
        page.screenshot(path=tmp_path / f"{view}-{scheme}.png", full_page=True)


def wait_filled(page: Page, view: str) -> None:
    filled = {
        "History": ".rows li",
        "Documents": "#documents-list li",
        "Status": ".tile",
        "Settings": "select",
    }
    expect(page.locator(f"#view-{view.lower()} {filled[view]}").first).to_be_visible()
