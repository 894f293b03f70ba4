"""Hostile text through everything that the page shows: no script runs, nothing calls outside, all of it is text."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from browser.test_conversations import go_to
from browser.test_page import OpenPage
from echoing_model import Echoing
from hashing_embedder import HashingEmbedder
from ragstone.engine import Ragstone
from server.live import LiveService, running

pytestmark = pytest.mark.browser

OUTSIDE = "http://192.0.2.1"  # TEST-NET-1, RFC 5737: nobody is there
MARKUP = [
    "<script>{js}</script>",
    "<img src=x onerror={js}>",
    "<img src={url}/a.png>",
    "<svg onload={js}>",
    "<svg><script>{js}</script></svg>",
    "<iframe srcdoc='<script>{js}</script>'>",
    "<iframe src={url}></iframe>",
    "<object data={url}>",
    "<embed src={url}>",
    "<a href='javascript:{js}'>read on</a>",
    "<a href={url} ping={url}>read on</a>",
    "<body onload={js}>",
    "<details open ontoggle={js}>",
    "<input autofocus onfocus={js}>",
    "<video src={url} onerror={js}>",
    "<link rel=stylesheet href={url}/a.css>",
    "<style>@import '{url}/a.css';</style>",
    "<p style='background:url({url}/a.png)'>",
    "<meta http-equiv=refresh content='0;url={url}'>",
    "<base href={url}>",
    "<form action={url}><button autofocus>go</button></form>",
    "<math><mtext><table><mglyph><style><img src=x onerror={js}>",
    "<template shadowrootmode=open><script>{js}</script></template>",
    "<marquee onstart={js}>",
    "]]><![CDATA[<script>{js}</script>",
    "--><script>{js}</script><!--",
    "![picture]({url}/a.png)",
    "[read on](javascript:{js})",
    '[1]: {url} "title"',
    "{{{{constructor.constructor('{js}')()}}}}",
    "${{{js}}}",
    "\\u003cscript\\u003e{js}\\u003c/script\\u003e",
    "&lt;script&gt;{js}&lt;/script&gt;",
    "javascript:{js}",
    "data:text/html,<script>{js}</script>",
    "\u202e>tpircs/<{js}>tpircs<",
    "\u2028{js}\u2029",
    "__proto__",
]
BEFORE = ["", "\"'>", "</p></li></section>", "`-", "</title></textarea></script>", "[1] ", "【1】", "\x00"]
JS = "window.ran=(window.ran||0)+1;alert(1)"
PAYLOADS = [
    before + markup.format(js=JS, url=OUTSIDE) for before, markup in itertools.product(BEFORE, MARKUP)
]
assert len(PAYLOADS) >= 300

CREATED = """() => {
  const foreign = [
    "script:not([src^='/ui/'])", "link:not([href^='/ui/'])", "form:not(#ask):not([method=dialog])",
    "body svg:not(.bar):not(.curve)", "a:not([href^='#'])", "meta[http-equiv]", "img", "iframe", "object", "embed",
    "video", "style", "base", "template", "math", "marquee",
  ];
  const acts = ({ name }) => name.startsWith("on") || name === "style";
  return {
    ran: window.ran ?? 0,
    nodes: [...document.querySelectorAll(foreign.join(", "))].map((node) => node.outerHTML.slice(0, 100)),
    handlers: [...document.querySelectorAll("*")].filter((node) => [...node.attributes].some(acts)).length,
  };
}"""
INERT = {"ran": 0, "nodes": [], "handlers": 0}


@pytest.fixture(params=[pytest.param(60, id="60"), pytest.param(300, id="300", marks=pytest.mark.long)])
def payloads(request: pytest.FixtureRequest) -> Sequence[str]:
    """So many, spread over all of them."""
    wanted: int = request.param
    step = len(PAYLOADS) / wanted
    return [PAYLOADS[int(number * step)] for number in range(wanted)]


@pytest.fixture
def hostile(payloads: Sequence[str], tmp_path: Path) -> Iterator[LiveService]:
    """A service over documents of hostile names, titles and texts, whose chat model says hostile things."""
    folder = tmp_path / "library"
    folder.mkdir()
    for number, payload in enumerate(payloads):
        name = f"{number} {payload}".replace("/", "\u2215").replace("\x00", "")[:100]
        text = f"# {payload}\n\nWord w{number} stands here. {payload}\n\nThe end of w{number}.\n"
        (folder / f"{name}.md").write_text(text.replace("\x00", " "), encoding="utf-8")
    embedder = HashingEmbedder()
    with Ragstone(tmp_path / "data", embedder=embedder, chat_model=Echoing()) as engine:
        assert engine.index([folder]).failed == ()
        with running(engine) as live:
            yield live


def test_hostile_text_is_shown_as_text_wherever_it_stands(
    hostile: LiveService, payloads: Sequence[str], open_page: OpenPage
) -> None:
    page = open_page(hostile.url)
    shown = 0
    for number, payload in enumerate(payloads):
        page.fill("#question", f"Where does w{number} stand? {payload}"[:900])
        page.press("#question", "Enter")
        expect(page.locator("#answer-text")).to_have_attribute("aria-busy", "false")
        expect(page.locator("#asked")).to_contain_text(f"w{number} stand?")
        shown += len(page.locator(".card").all())
        assert page.evaluate(CREATED) == INERT, payload
        if number % 10 == 0:
            page.locator(".card h3 button").first.click()
            expect(page.locator("#passage")).to_be_visible()
            assert page.evaluate(CREATED) == INERT, payload
            page.keyboard.press("Escape")
    assert shown >= len(payloads)  # the documents were there to be shown
    for view in ("History", "Documents", "Status", "Settings"):
        go_to(page, view)
        page.wait_for_timeout(100)
        assert page.evaluate(CREATED) == INERT
    # `open_page` holds the page to: no dialog, no script error, no request to anywhere else


def test_hostile_words_of_the_service_and_of_the_storage_are_text_too(
    payloads: Sequence[str], hostile: LiveService, open_page: OpenPage
) -> None:
    page = open_page(hostile.url)
    told: dict[str, Any] = {}

    def poison(value: Any, payload: str) -> Any:
        if isinstance(value, str):
            return payload
        if isinstance(value, dict):
            return {name: poison(entry, payload) for name, entry in value.items()}
        return [poison(entry, payload) for entry in value] if isinstance(value, list) else value

    stats = hostile.get("/api/stats").json()
    problem = {"code": "x", "detail": "x", "hint": "x", "status": 500}
    for payload in payloads[::10]:
        told["stats"] = {
            **poison(stats, payload),
            "degraded": {payload: 2},
            "collections": [payload, "other"],
        }
        told["problem"] = poison(problem, payload)
        page.unroute_all()
        page.route("**/api/stats", lambda route: route.fulfill(json=told["stats"]))
        page.route("**/api/search*", lambda route: route.fulfill(status=500, json=told["problem"]))
        turn = {"question": payload, "answer": f"{payload} [1]", "citations": [poison_citation(payload)]}
        page.evaluate(
            "(text) => localStorage.setItem('ragstone.conversations', text)",
            json.dumps([{"id": payload, "turns": [turn]}]),
        )
        page.goto(f"{hostile.url}/#/status")
        page.reload()
        expect(page.locator("#status-degraded li")).to_have_count(1)
        expect(page.locator('[data-key="model"]')).to_be_visible()
        assert page.evaluate(CREATED) == INERT, payload
        go_to(page, "History")
        page.locator("#view-history .link").first.click()
        expect(page.locator("#turns li")).to_have_count(1)
        page.fill("#question", "anything")
        expect(page.locator("#results-notes .bad")).to_be_visible()
        assert page.evaluate(CREATED) == INERT, payload


def poison_citation(payload: str) -> dict[str, Any]:
    return {"n": 1, "uri": payload, "title": payload, "quote": payload, "start": 0, "end": 1, "page": payload}
