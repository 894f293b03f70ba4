"""A Chromium and pages that note everything a page must not do."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Dialog, Page, Request, sync_playwright

from server.conftest import data_dir, embedder, library, models_dir, service

__all__ = ["data_dir", "embedder", "library", "models_dir", "service"]

CHROMIUM = Path(os.environ.get("CHROMIUM", "/usr/bin/chromium"))
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@dataclass
class Watched:
    """What happened in a page: script errors, dialogs, and requests to anywhere but loopback."""

    errors: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)

    def note_request(self, request: Request) -> None:
        if urlsplit(request.url).hostname != "127.0.0.1":
            self.outside.append(request.url)

    def note_dialog(self, dialog: Dialog) -> None:
        self.dialogs.append(dialog.message)
        dialog.dismiss()


# For this package only: Playwright keeps an event loop running in the main thread, and other tests start their own.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        pytest.skip(f"no Chromium at {CHROMIUM} (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens a page at an address; at the end no page may have failed, asked or called outside."""
    opened: list[tuple[Page, Watched]] = []

    def open_(url: str, *, width: int = 1200, height: int = 860, scheme: str = "light") -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if scheme == "dark" else "light",
            reduced_motion="reduce",
        )
        page, watched = context.new_page(), Watched()
        page.set_default_timeout(10_000)
        page.on("pageerror", lambda error: watched.errors.append(str(error)))
        page.on("dialog", watched.note_dialog)
        page.on("request", watched.note_request)
        page.goto(url)
        opened.append((page, watched))
        return page

    yield open_
    for page, watched in opened:
        page.context.close()
        assert watched == Watched()
