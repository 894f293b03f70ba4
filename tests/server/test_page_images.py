"""Pictures of pages over HTTP: of indexed PDFs only, and of the very files that were indexed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from documents.test_page_image import MANUAL, pixels
from ragstone.engine import Ragstone
from ragstone.types import Embedder
from server.live import LiveService, Reply, running


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("manuals")
    shutil.copy(MANUAL, folder / "manual.pdf")
    shutil.copy(MANUAL, folder / "changing.pdf")
    (folder / "note.md").write_text("# A note\n\nThe manual lies beside it.\n")
    return folder


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, folder: Path, embedder: Embedder) -> Iterator[LiveService]:
    with Ragstone(tmp_path_factory.mktemp("data"), embedder=embedder) as engine:
        assert engine.index([folder]).failed == ()
        shutil.copy(MANUAL, folder / "later.pdf")  # on the disk, and not indexed
        with running(engine) as service:
            yield service


def picture(live: LiveService, uri: Path | str, **asked: object) -> Reply:
    return live.get("/api/page-image?" + urlencode({"uri": str(uri), "page": 1, **asked}))


def test_a_page_of_an_indexed_pdf_is_a_picture(live: LiveService, folder: Path) -> None:
    reply = picture(live, folder / "manual.pdf", page=2, width=400)
    assert (reply.status, reply.headers["content-type"]) == (200, "image/png")
    assert reply.headers["cache-control"] == "no-store"
    assert pixels(reply.body)[0] == 400
    assert picture(live, folder / "manual.pdf", page=2, width=400).body == reply.body


@pytest.mark.parametrize("name", ["later.pdf", "note.md", "../manuals/manual.pdf", "none.pdf"])
def test_what_is_not_an_indexed_pdf_has_no_picture(live: LiveService, folder: Path, name: str) -> None:
    assert picture(live, f"{folder}/{name}").status == 404
    assert picture(live, MANUAL).status == 404


def test_a_file_that_has_changed_is_not_shown_for_the_one_that_was_indexed(
    live: LiveService, folder: Path
) -> None:
    path = folder / "changing.pdf"
    assert picture(live, path).status == 200
    os.utime(path, (1, 1))
    reply = picture(live, path)  # also what was kept of it
    assert (reply.status, reply.json()["code"]) == (404, "no_picture")
    path.unlink()
    path.symlink_to("/dev/zero")
    assert picture(live, path).status == 404


@pytest.mark.parametrize(
    "asked",
    [{"page": 0}, {"page": "x"}, {"width": 99}, {"width": 1601}, {"more": 1}, {"collection": "no/name"}],
)
def test_a_wrong_request_is_refused(live: LiveService, folder: Path, asked: dict[str, object]) -> None:
    assert picture(live, folder / "manual.pdf", **asked).status == 422


def test_a_page_behind_the_last_is_named(live: LiveService, folder: Path) -> None:
    reply = picture(live, folder / "manual.pdf", page=99)
    assert reply.status == 422
    assert "no page 99" in reply.json()["detail"]
