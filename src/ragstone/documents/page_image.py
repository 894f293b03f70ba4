"""A page of a PDF as a picture, drawn in the reading child. Knows pypdfium2 and the standard library only."""

from __future__ import annotations

import struct
import zlib
from typing import Any, Final

import pypdfium2

from ragstone.errors import DocumentError

# 6 MB of pixels; a page of A4 has as many at a width of 1,190. A page that is longer comes out narrower.
MAX_PIXELS: Final = 2_000_000
PNG_START: Final = b"\x89PNG\r\n\x1a\n"


def draw(data: bytes, *, page: int, width_px: int) -> bytes:
    """Page `page` (from 1) of the PDF, `width_px` wide, as PNG. Raises `DocumentError`."""
    try:
        document = pypdfium2.PdfDocument(data)
        if not 1 <= page <= len(document):
            raise DocumentError(f"there is no page {page}; the PDF has {len(document)}")
        drawn = document[page - 1]
        width, height = drawn.get_size()  # points
        if not (width > 0 and height > 0):
            raise DocumentError(f"page {page} has no size")
        scale = min(width_px / width, (MAX_PIXELS / (width * height)) ** 0.5)
        scale *= 1 - 1e-9  # pdfium rounds up, so that rounding here would make a pixel more
        return _png(
            drawn.render(scale=scale, rev_byteorder=True, force_bitmap_format=pypdfium2.raw.FPDFBitmap_BGR)
        )
    except pypdfium2.PdfiumError as error:
        raise DocumentError(f"page {page} cannot be drawn: {error}") from error


def _png(bitmap: Any) -> bytes:
    """RGB, eight bits, no filters: text on white packs well without; https://www.w3.org/TR/png-3/ 5, 7 and 9."""
    rows, row_bytes = memoryview(bitmap.buffer), 3 * bitmap.width
    raw = b"".join(
        b"\0" + rows[start : start + row_bytes]
        for start in range(0, bitmap.height * bitmap.stride, bitmap.stride)
    )
    header = struct.pack(">IIBBBBB", bitmap.width, bitmap.height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(raw, 3)), (b"IEND", b""))
    return PNG_START + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )
