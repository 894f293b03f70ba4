"""Pages of PDFs as pictures, drawn in the reading child."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pytest

from ragstone.documents.blocks import image_from
from ragstone.documents.page_image import MAX_PIXELS, PNG_START, draw
from ragstone.documents.pool import ReaderPool
from ragstone.errors import DocumentError

MANUAL = Path(__file__).parents[2] / "examples/sample-docs/ships/orra-light-manual.pdf"


def pixels(png: bytes) -> tuple[int, int, list[bytes]]:
    """Width, height and the rows of RGB; checks every chunk on the way."""
    assert png.startswith(PNG_START)
    at, bodies = len(PNG_START), {}
    while at < len(png):
        (length,) = struct.unpack_from(">I", png, at)
        name, body = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", png, at + 8 + length) == (zlib.crc32(name + body),)
        bodies[name] = body
        at += 12 + length
    width, height, *rest = struct.unpack(">IIBBBBB", bodies[b"IHDR"])
    assert rest == [8, 2, 0, 0, 0]
    raw = zlib.decompress(bodies[b"IDAT"])
    row = 1 + 3 * width
    assert len(raw) == row * height
    assert {raw[at] for at in range(0, len(raw), row)} == {0}
    return width, height, [raw[at + 1 : at + row] for at in range(0, len(raw), row)]


def pdf(body: str, *, box: str = "0 0 200 100") -> bytes:
    """A PDF of one page that paints `body`; pdfium finds the objects without a table of them."""
    return (
        f"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n"
        f"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[{box}]/Contents 4 0 R>>endobj\n"
        f"4 0 obj<</Length {len(body)}>>stream\n{body}\nendstream endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"
    ).encode()


def test_colours_and_places_are_those_of_the_page() -> None:
    # The left half is red, in a PDF's own coordinates; an odd width has rows that are padded in memory.
    width, height, rows = pixels(draw(pdf("1 0 0 rg 0 0 100 100 re f"), page=1, width_px=201))
    assert (width, height) == (201, 101)
    assert rows[50][:3] == b"\xff\x00\x00"
    assert rows[50][-3:] == b"\xff\xff\xff"


def test_a_page_of_a_real_manual_is_drawn_by_the_child(pool: ReaderPool) -> None:
    width, height, rows = pixels(pool.page_image(MANUAL, page=2, width_px=800))
    assert width == 800
    assert 1.2 < height / width < 1.5
    dark = sum(row.count(0) for row in rows)
    assert 1_000 < dark < width * height  # letters on paper
    assert pool.read(MANUAL).format == "pdf"  # the same child goes on reading


@pytest.mark.parametrize("box", ["0 0 10 100000", "0 0 100000 10", "0 0 14400 14400"])
def test_no_page_makes_a_picture_beyond_the_limit(box: str) -> None:
    width, height, _ = pixels(draw(pdf("0 g 0 0 5 5 re f", box=box), page=1, width_px=1600))
    assert 0 < width * height <= MAX_PIXELS * 1.01 + width + height


@pytest.mark.parametrize("page", [0, -1, 99])
def test_a_page_that_is_not_there_is_named(pool: ReaderPool, page: int) -> None:
    with pytest.raises(DocumentError, match=f"no page {page}"):
        pool.page_image(MANUAL, page=page, width_px=800)


@pytest.mark.parametrize("content", [b"%PDF-1.7 and nothing", b"", b"plain text"])
def test_what_is_no_pdf_is_refused(pool: ReaderPool, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.pdf"
    path.write_bytes(content)
    with pytest.raises(DocumentError, match="cannot be drawn"):
        pool.page_image(path, page=1, width_px=800)
    with pytest.raises(DocumentError, match="cannot be read"):
        pool.page_image(tmp_path / "missing.pdf", page=1, width_px=800)


@pytest.mark.parametrize("reply", [{}, [], {"png": 7}, {"png": "not base64!"}, {"png": "AAAA"}, None])
def test_a_reply_that_is_no_picture_is_not_believed(reply: object) -> None:
    with pytest.raises(DocumentError):
        image_from(reply)
