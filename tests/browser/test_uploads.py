"""Adding documents on the page: uploads with progress, cancelled and taken up again; memory and votes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from browser.test_accessibility import findings
from browser.test_conversations import go_to
from browser.test_page import OpenPage, ask
from ragstone.engine import Ragstone
from ragstone.types import Embedder
from server.live import LiveService, running, write_library

pytestmark = pytest.mark.browser

DROP = """([name, text]) => {
  const data = new DataTransfer();
  data.items.add(new File([text], name));
  const event = (kind) => new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true });
  document.body.dispatchEvent(event("dragover"));
  return document.body.dispatchEvent(event("drop"));
}"""


@pytest.fixture
def live(tmp_path: Path, embedder: Embedder) -> Iterator[LiveService]:
    """A service of its own, started with a folder."""
    folder = write_library(tmp_path / "library")
    with (
        Ragstone(tmp_path / "data", embedder=embedder) as engine,
        running(engine, paths=[folder]) as service,
    ):
        service.wait_ready()
        yield service


def upload(page: Page, *files: Path) -> None:
    go_to(page, "Documents")
    page.set_input_files("#files", [str(file) for file in files])


def test_an_uploaded_file_is_read_listed_and_answers(
    live: LiveService, open_page: OpenPage, tmp_path: Path
) -> None:
    note, broken = tmp_path / "harbour.md", tmp_path / "broken.pdf"
    note.write_text("# Harbour\n\nThe harbour master of Skell is Ines Varga.\n")
    broken.write_bytes(b"%PDF-1.7 and then nothing of use")
    page = open_page(live.url)
    upload(page, note, broken)
    job = page.locator("#jobs > li", has_text="harbour.md")
    expect(job).to_contain_text("done", timeout=20_000)
    job.locator("summary").click()
    expect(job).to_contain_text("broken.pdf")
    expect(page.get_by_role("button", name="Harbour", exact=True)).to_be_visible()
    assert findings(page) == []
    go_to(page, "Ask")
    ask(page, "Who is the harbour master of Skell?")
    expect(page.locator("#answer-text")).to_contain_text("Ines Varga")


def test_a_dropped_file_is_uploaded_from_every_view(live: LiveService, open_page: OpenPage) -> None:
    page = open_page(live.url)
    expect(page.locator("#counts")).to_contain_text("document")
    left_to_the_browser = page.evaluate(DROP, ["ferry.txt", "The ferry leaves at nine."])
    assert not left_to_the_browser
    expect(page.get_by_role("heading", level=1, name="Documents")).to_be_visible()
    expect(page.locator("#jobs > li", has_text="ferry.txt")).to_contain_text("done", timeout=20_000)
    expect(page.locator("#documents-list")).to_contain_text("ferry.txt")


def test_a_long_upload_shows_its_progress_is_cancelled_and_taken_up_again(
    live: LiveService, open_page: OpenPage, tmp_path: Path
) -> None:
    paragraph = "Granite is quarried in the hills and shipped along the coast to the towns. " * 12
    files = []
    for number in range(60):
        files.append(tmp_path / f"note-{number}.md")
        files[-1].write_text(f"# Note {number}\n\n{paragraph} Number {number}.\n" * 12)
    page = open_page(live.url)
    upload(page, *files)
    job = page.locator("#jobs > li", has_text="note-0.md")
    expect(job.locator("p.small")).to_contain_text(re.compile(r"\d+ of \d+"), timeout=20_000)
    job.get_by_role("button", name="Cancel").click()
    expect(job).to_contain_text("cancelled", timeout=20_000)
    job.get_by_role("button", name="Resume").click()
    expect(page.locator("#jobs > li", has_text="note-0.md")).to_have_count(2)
    expect(page.locator("#jobs > li").first).to_contain_text("done", timeout=60_000)
    expect(page.locator("#counts")).to_contain_text("64 documents", timeout=20_000)


def test_all_folders_are_indexed_at_a_press(live: LiveService, open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page(live.url)
    expect(page.locator("#counts")).to_contain_text("4 documents", timeout=20_000)
    (tmp_path / "library" / "new.md").write_text("# A new note\n\nSomething new.\n")
    go_to(page, "Documents")
    page.get_by_role("button", name="Index all folders now").click()
    expect(page.locator("#documents-list")).to_contain_text("new.md", timeout=20_000)


def test_a_document_is_deleted_after_a_second_press(live: LiveService, open_page: OpenPage) -> None:
    page = open_page(live.url)
    expect(page.locator("#counts")).to_contain_text("4 documents", timeout=20_000)
    go_to(page, "Documents")
    page.get_by_role("button", name="Delete Forth Bridge").click()
    expect(page.locator("#documents-list > li")).to_have_count(4)
    page.get_by_role("button", name="Really delete Forth Bridge?").click()
    expect(page.locator("#documents-list > li")).to_have_count(3)
    expect(page.locator("#documents-list")).not_to_contain_text("Forth Bridge")


def test_a_statement_is_remembered_shown_under_an_answer_and_forgotten(
    live: LiveService, open_page: OpenPage
) -> None:
    page = open_page(live.url)
    expect(page.locator("#counts")).to_contain_text("4 documents", timeout=20_000)
    go_to(page, "History")
    page.get_by_label("A statement to remember").fill("My grandmother was born beside the third lighthouse.")
    page.get_by_role("button", name="Remember").click()
    expect(page.locator("#memory-section .rows li")).to_have_count(1)
    expect(page.locator("#said")).to_have_text("Memory added: it is new.")
    go_to(page, "Ask")
    ask(page)
    expect(page.locator("#memories")).to_contain_text("My grandmother")
    page.click("#options summary")
    page.get_by_label("Use what is remembered").uncheck()
    ask(page)
    expect(page.locator("#remembered")).to_be_hidden()
    go_to(page, "History")
    page.get_by_role("button", name="Forget: My grandmother").click()
    expect(page.locator("#memory-section .rows li")).to_have_count(0)


def test_a_vote_reaches_the_service(live: LiveService, open_page: OpenPage) -> None:
    page = open_page(live.url)
    expect(page.locator("#counts")).to_contain_text("4 documents", timeout=20_000)
    ask(page)
    page.get_by_role("button", name="Helpful", exact=True).first.click()
    expect(page.get_by_role("button", name="Helpful", exact=True).first).to_have_attribute(
        "aria-pressed", "true"
    )
    (vote,) = live.get("/api/feedback").json()["votes"]
    assert vote["value"] == 1.0
