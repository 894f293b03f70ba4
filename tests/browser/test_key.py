"""The page of a service that asks for a key: it asks, keeps it for the tab, and says when it is not valid."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from server.keyed import HOURS, fill, keyed

pytestmark = pytest.mark.browser


def test_the_page_asks_for_the_key_and_searches_with_it(
    tmp_path: Path, open_page: Callable[..., Page]
) -> None:
    fill(tmp_path, {"default": [HOURS]})
    with keyed(tmp_path) as service:
        secret = service.key("reader")
        page = open_page(service.live.url)
        expect(page.locator("#key")).to_be_visible()
        page.fill("#key-value", "rgs_wrong")
        page.press("#key-value", "Enter")
        expect(page.locator("#key-said")).to_contain_text("not valid")
        page.fill("#key-value", secret)
        page.press("#key-value", "Enter")
        expect(page.locator("#key")).to_be_hidden()
        page.fill("#question", "observatory")
        expect(page.locator("#results")).to_contain_text("opens at nine")
        assert secret not in page.url
        page.reload()
        expect(page.locator("#counts")).to_contain_text("1")
        expect(page.locator("#key")).to_be_hidden()
