"""What axe-core finds in every view, in both schemes: nothing serious."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from browser.test_conversations import go_to
from browser.test_page import OpenPage, ask
from browser.test_views import VIEWS, manuals, wait_filled
from server.live import LiveService

__all__ = ["manuals"]

pytestmark = pytest.mark.browser

SERIOUS = {"serious", "critical"}


def findings(page: Page) -> list[str]:
    """What is wrong and where, in a line each."""
    found = Axe().run(page).response["violations"]
    assert len(page.locator("main").all()) == 1
    return [
        f"{entry['id']} ({entry['impact']}): {node['html'][:120]}"
        for entry in found
        if entry["impact"] in SERIOUS
        for node in entry["nodes"]
    ]


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1440, "light")])
def test_nothing_serious_is_found_in_any_view(
    manuals: LiveService, open_page: OpenPage, scheme: str, width: int
) -> None:
    page = open_page(manuals.url, scheme=scheme, width=width)
    expect(page.locator("#welcome")).to_be_visible()
    assert findings(page) == []
    page.fill("#question", "granite")
    expect(page.locator(".card").first).to_be_visible()
    page.click("#options summary")
    assert findings(page) == []
    ask(page)
    ask(page, "How long does charging from 20 to 80 per cent take?")
    expect(page.locator("#earlier")).to_be_visible()
    assert findings(page) == []
    page.locator("#answer .citation").first.click()
    expect(page.locator("#passage")).to_be_visible()
    assert findings(page) == []
    page.keyboard.press("Escape")
    for view in VIEWS:
        go_to(page, view)
        wait_filled(page, view)
        assert findings(page) == []


def test_the_dialog_that_asks_for_a_key_and_problems_have_none_either(
    service: LiveService, open_page: OpenPage
) -> None:
    page = open_page(service.url)
    page.fill("#question", "bridge")
    expect(page.locator(".card").first).to_be_visible()
    page.click("#options summary")
    page.fill("#filter", 'author:"open')
    expect(page.locator("#results-notes .bad")).to_be_visible()
    assert findings(page) == []
    page.route("**/api/**", lambda route: route.fulfill(status=401, json={"code": "key_required"}))
    page.reload()
    expect(page.locator("#key")).to_be_visible()
    assert findings(page) == []
