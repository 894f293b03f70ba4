"""Real documents, beside the checkout: each is read, or refused with the code that is right for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ragstone.documents.blocks import check_blocks
from ragstone.documents.pool import ReaderPool
from ragstone.documents.walk import FileEntry, walk
from ragstone.types import ParsedDocument

pytestmark = pytest.mark.data


def test_each_document_is_read_or_has_its_code(shared_data: Path, pool: ReaderPool) -> None:
    entries = list(walk([shared_data / "documents"], max_bytes=50_000_000))
    assert len(entries) == 45
    failed = {Path(entry.path).name: entry.code for entry in entries if not isinstance(entry, FileEntry)}
    for path, document in pool.read_many(entry.path for entry in entries if isinstance(entry, FileEntry)):
        if isinstance(document, ParsedDocument):
            check_blocks(document)
        else:
            failed[path.name] = document.code
    assert failed == {
        "msg_with_attachment.msg": "unsupported",
        "test_outlook_msg.msg": "unsupported",
        "pdf_scanned_invoice.pdf": "no_text",
        "libreoffice-writer-password.pdf": "encrypted",
        "unreadablemetadata.pdf": "malformed",
    }


@pytest.mark.parametrize(
    ("name", "words", "page"),
    [
        ("markitdown/REPAIR-2022-INV-001_multipage.pdf", "Bruce Wayne", 2),
        ("markitdown/SPARSE-2024-INV-1234_borderless_table.pdf", "Extended Inventory Review", 2),
        ("sample-files/GeoTopo-komprimiert.pdf", "Inhaltsverzeichnis", 4),
        ("sample-files/GeoTopo-komprimiert.pdf", "Danksagungen", 2),
        ("markitdown/test.pptx", "2cdda5c8-e50e-4db4-b5f0-9722a649f455", 2),
        ("markitdown/test.pptx", "1b92870d-e3b5-4e65-8153-919f4ff45592", 3),
        ("markitdown/test.pptx", "a3f6004b-6f4f-4ea8-bee3-3741f4dc385f", 4),
        ("markitdown/test.xlsx", "6ff4173b-42a5-4784-9b19-f49caff4d93d", 1),
        ("markitdown/test.docx", "49e168b7-d2ae-407f-a055-2167576f39a1", None),
        ("markitdown/test_with_comment.docx", "55yiyi-asd09", None),
        ("markitdown/test_mskanji.csv", "三木英子", None),
    ],
)
def test_words_stand_on_their_page(
    shared_data: Path, pool: ReaderPool, name: str, words: str, page: int | None
) -> None:
    document = pool.read(shared_data / "documents" / name)
    found = [block for block in document.blocks if words in document.text[block.start : block.end]]
    assert found
    assert found[0].page == page


def _letters(text: str) -> str:
    return "".join(character for character in text if character.isalnum())


def test_pages_of_a_long_pdf_are_those_of_its_page_objects(shared_data: Path, pool: ReaderPool) -> None:
    """Oracle: the library asked for one page at a time; every long line must be on the page it is found on."""
    import pypdfium2

    path = shared_data / "documents" / "sample-files" / "GeoTopo-komprimiert.pdf"
    document = pool.read(path)
    raw = pypdfium2.PdfDocument(path)
    pages = [_letters(page.get_textpage().get_text_range()) for page in raw]
    checked = 0
    for block in document.blocks:
        letters = _letters(document.text[block.start : block.end])[:40]
        if len(letters) == 40 and block.page is not None:
            checked += 1
            assert letters in pages[block.page - 1], (block.page, letters)
    assert checked > 500
    raw.close()


@pytest.mark.parametrize("folder", ["prometheus-docs", "python3.11-doc-rst", "react.dev-docs"])
def test_documentation_trees_are_read_without_a_failure(
    shared_data: Path, pool: ReaderPool, folder: str
) -> None:
    entries = list(walk([shared_data / "folders" / folder], max_bytes=50_000_000))
    assert all(isinstance(entry, FileEntry) for entry in entries)
    documents = [
        document for _, document in pool.read_many(e.path for e in entries if isinstance(e, FileEntry))
    ]
    assert all(isinstance(document, ParsedDocument) for document in documents)
    headed = [
        d for d in documents if isinstance(d, ParsedDocument) and any(block.level for block in d.blocks)
    ]
    assert len(headed) > 0.7 * len(documents)  # the rest are stubs and short pages
