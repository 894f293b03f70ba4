"""PDF: the text of each page in the order it was written, as paragraphs, with headings by their size.

Knows nothing of pictures: a scanned PDF without a text layer is `no_text`.
"""

from __future__ import annotations

import ctypes
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import pypdfium2
import pypdfium2.raw as pdfium

from ragstone.documents.draft import Draft, Extraction, Value, one_line, too_much_text
from ragstone.documents.limits import ReadLimits
from ragstone.documents.readers.front_matter import normalised
from ragstone.documents.readers.source import Source
from ragstone.errors import DocumentError

# Heights of lines are compared in half points; a heading is this much higher than the text (LaTeX's \large is
# 1.2 times, Word's smallest larger heading 1.18 times the text).
_HEADING_RATIO: Final = 1.15
_HEADING_CHARS: Final = 200
# Line to line, in heights of the line: set solid is 1.0, LaTeX 1.2, Word 1.15–1.5; beyond it a paragraph ends.
_PARAGRAPH_PITCH: Final = 1.65
_INDENT: Final = 0.8  # of a line's height: LaTeX indents by 1.5, a list by more
# A line is full, so that the next one goes on with it, from this share of its paragraph's longest line.
_FULL_SHARE: Final = 0.6
_FULL_CHARS: Final = 40
# A first or last line that stands on more than half of at least four pages, digits apart, is no text of the page.
_RUNNING_PAGES: Final = 4
_DIGITS: Final = re.compile(r"\d+")
_PDF_DATE: Final = re.compile(r"D:(\d{4})(\d{2})(\d{2})")
_NO_TITLE: Final = re.compile(
    r"(?:untitled|microsoft word - |.*\.(?:docx?|tex|dvi|pdf|indd|pptx?|html?)$)", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class _Line:
    """One line of a page; `left`, `base` (bottom) and `height` in points, 0 where unknown."""

    text: str
    page: int
    left: float
    base: float
    height: float


def read(source: Source) -> Draft:
    """Every page's text. Raises `DocumentError`: `encrypted`, `malformed`, `no_text`, `too_large`."""
    try:
        document = pypdfium2.PdfDocument(source.data)
    except pypdfium2.PdfiumError as error:
        if "password" in str(error).lower() or "security" in str(error).lower():
            raise DocumentError(
                "the PDF is encrypted", hint="remove the password", code="encrypted"
            ) from error
        raise DocumentError(f"the PDF is damaged: {error}") from error
    found = Extraction(text_chars=source.limits.text_chars)
    pages = len(document)
    lines = list(_lines(document, pages, source.limits))
    if not lines:
        raise DocumentError(
            f"none of its {pages} pages has text; it may be scanned",
            hint="run OCR on it first",
            code="no_text",
        )
    sizes = _heading_sizes(lines)
    first_heading = ""
    for kind, text, page in _blocks(_without_running_lines(lines), sizes):
        found.page = page
        if kind:
            found.heading(text, kind)
            first_heading = first_heading or (text if kind == 1 else "")
        else:
            found.paragraph(text)
    _describe(document, found, pages)
    found.title = found.title or first_heading
    return found.draft()


def _lines(document: Any, pages: int, limits: ReadLimits) -> Iterator[_Line]:
    if pages > limits.pages:
        raise DocumentError(f"the PDF has {pages:,} pages, the limit is {limits.pages:,}", code="too_large")
    chars = 0
    for index in range(pages):
        try:
            page = document[index]
            text_page = page.get_textpage()
        except pypdfium2.PdfiumError:
            continue  # one page is damaged: the others are text all the same
        text = text_page.get_text_range()
        chars += len(text)
        if chars > limits.text_chars:
            raise too_much_text(limits.text_chars)
        yield from _page_lines(text_page, text, index + 1)
        text_page.close()
        page.close()


def _page_lines(text_page: Any, text: str, page: int) -> Iterator[_Line]:
    """The lines of one page. An offset into the text is the index of a character for pdfium."""
    position = 0
    for line in text.split("\r\n"):
        words = line.strip()
        if words:
            at = position + len(line) - len(line.lstrip())
            left, base, height = _place(text_page, at)
            # U+FFFE is pdfium's mark for a hyphen that only the end of a line made necessary
            yield _Line(words.replace("\ufffe", ""), page, left, base, height)
        position += len(line) + 2


def _place(text_page: Any, index: int) -> tuple[float, float, float]:
    """Left edge, bottom and height of the box of a character's font."""
    box = pdfium.FS_RECTF()
    if not pdfium.FPDFText_GetLooseCharBox(text_page, index, ctypes.byref(box)):
        return 0.0, 0.0, 0.0
    return box.left, box.bottom, round((box.top - box.bottom) * 2) / 2


def _heading_sizes(lines: list[_Line]) -> list[float]:
    """The heights that headings have, largest first: at most six, all rarer than the text's own."""
    weights: Counter[float] = Counter()
    for line in lines:
        weights[line.height] += len(line.text)
    body, _ = weights.most_common(1)[0]
    if body <= 0:
        return []
    total = weights.total()
    larger = [size for size in weights if size >= _HEADING_RATIO * body and weights[size] < 0.2 * total]
    return sorted(larger, reverse=True)[:6]


def _without_running_lines(lines: list[_Line]) -> list[_Line]:
    """Without the headers and footers that stand on most pages, and bare page numbers."""
    edges: set[int] = set()
    for index, line in enumerate(lines):
        first = index == 0 or lines[index - 1].page != line.page
        last = index == len(lines) - 1 or lines[index + 1].page != line.page
        if first or last:
            edges.add(index)
    pages = len({line.page for line in lines})
    counts = Counter(_DIGITS.sub("#", lines[index].text) for index in edges)
    running = {text for text, count in counts.items() if pages >= _RUNNING_PAGES and count > pages / 2}
    return [
        line
        for index, line in enumerate(lines)
        if index not in edges or _DIGITS.sub("#", line.text) not in running
    ]


def _blocks(lines: list[_Line], sizes: list[float]) -> Iterator[tuple[int, str, int]]:
    """(heading level or 0, text, page), in order."""
    block: list[_Line] = []
    for line in [*lines, None]:
        if block and (line is None or not _goes_on(block, line, sizes)):
            level = _level(block, sizes)
            yield (
                level,
                one_line(" ".join(part.text for part in block)) if level else _joined(block),
                block[0].page,
            )
            block = []
        if line is not None:
            block.append(line)


def _level(block: list[_Line], sizes: list[float]) -> int:
    chars = sum(len(line.text) for line in block)
    has_words = any(character.isalpha() for line in block for character in line.text)
    if block[0].height in sizes and chars <= _HEADING_CHARS and has_words:
        return sizes.index(block[0].height) + 1
    return 0


def _goes_on(block: list[_Line], line: _Line, sizes: list[float]) -> bool:
    """True if `line` belongs to the block before it."""
    last = block[-1]
    if line.page != last.page or (line.height != last.height and {line.height, last.height} & set(sizes)):
        return False
    height = max(line.height, last.height)
    pitch = last.base - line.base
    if height <= 0:
        return True
    if pitch < -height or pitch > _PARAGRAPH_PITCH * height:
        # a column further up, or a gap; a sentence may go on in the next column
        return (
            pitch < -height
            and last.height == line.height
            and last.text[-1:].islower()
            and line.text[:1].islower()
        )
    indented = line.left - last.left > _INDENT * height and len(block) > 1
    return not (indented and last.text.endswith((".", "!", "?", ":", "”", '"')))


def _joined(block: list[_Line]) -> str:
    """A paragraph's lines: running text on one line, what was set line by line on its own lines."""
    longest = max(len(line.text) for line in block)
    text = ""
    for line in block:
        text += line.text
        is_full = len(line.text) >= max(_FULL_SHARE * longest, _FULL_CHARS)
        text += " " if is_full else "\n"
    return text


def _describe(document: Any, found: Extraction, pages: int) -> None:
    try:
        stated = document.get_metadata_dict()
    except pypdfium2.PdfiumError:
        stated = {}
    title = one_line(stated.get("Title", ""))
    found.title = "" if _NO_TITLE.match(title) else title
    properties: dict[str, Value] = {"pages": pages}
    for key, name in (("Author", "author"), ("Subject", "subject"), ("Keywords", "tags")):
        if stated.get(key):
            properties[name] = stated[key]
    if match := _PDF_DATE.match(stated.get("CreationDate", "")):
        properties["date"] = "-".join(match.groups())
    found.metadata = normalised(properties)
