"""PDF: the text of each page in the order it was written, as paragraphs, with headings by their size.

Knows nothing of pictures: a scanned PDF without a text layer is `no_text`.
"""

from __future__ import annotations

import ctypes
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import pypdfium2
import pypdfium2.raw as pdfium

from ragstone.documents.draft import Draft, Extraction, Value, one_line, too_much_text
from ragstone.documents.limits import ReadLimits
from ragstone.documents.readers.front_matter import normalised
from ragstone.documents.readers.source import Source
from ragstone.errors import DocumentError

# Sizes of type are compared in half points; a heading is this much larger than the text (LaTeX's \large is
# 1.2 times, Word's smallest larger heading 1.18 times the text).
_HEADING_RATIO: Final = 1.15
_HEADING_CHARS: Final = 200
# A gap between lines ends a paragraph beyond this many times the usual pitch of the document: LaTeX's \parskip of
# half a line makes 1.5, uneven lines of mathematics stay below 1.3.
_PARAGRAPH_PITCH: Final = 1.3
_USUAL_PITCH: Final = 1.2  # in sizes of type: LaTeX, Word; where a document has too few lines to say
_INDENT: Final = 0.8  # of the size of type: LaTeX indents by 1.5, a list by more
# A line is full, so that the next one goes on with it, from this share of its paragraph's longest line.
_FULL_SHARE: Final = 0.6
_FULL_CHARS: Final = 40
# A first or last line that stands on more than half of at least four pages, digits apart, is no text of the page.
_RUNNING_PAGES: Final = 4
_DIGITS: Final = re.compile(r"\d+")
_PDF_DATE: Final = re.compile(r"D:(\d{4})(\d{2})(\d{2})")
# What programs write where people wrote nothing.
_NO_NAME: Final = re.compile(
    r"\(?(?:anonymous|unspecified|untitled|unknown)\)?$|microsoft word - |.*\.(?:docx?|tex|dvi|pdf|indd|pptx?|html?)$",
    re.IGNORECASE,
)


# U+FFFE is pdfium's mark for a hyphen that only the end of a line made necessary; the line goes on behind it.
_HYPHEN: Final = "\ufffe"
_BROKEN_WORD: Final = re.compile(f"{_HYPHEN}(?=[A-ZÄÖÜ])")


@dataclass(frozen=True, slots=True)
class _Line:
    """One line of a page; lines that a hyphen ends are one with the next.

    In points, 0 where unknown: `left` edge, `base` of the first and `last_base` of the last line in it, `size` of
    its type. `last_chars` counts the characters of the last line in it.
    """

    text: str
    page: int
    left: float
    base: float
    last_base: float
    size: float
    last_chars: int


@dataclass(frozen=True, slots=True)
class _Layout:
    """What is usual in a document: sizes of headings, largest first, and line to line in sizes of type."""

    heading_sizes: list[float]
    pitch: float


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
    layout = _Layout(_heading_sizes(lines), _usual_pitch(lines))
    first_heading = ""
    for kind, text, page in _blocks(_without_running_lines(lines), layout):
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
            left, base = _origin(text_page, at)
            broken = words.rfind(_HYPHEN)
            last_base = _origin(text_page, at + broken + 1)[1] if broken >= 0 else base
            whole = _BROKEN_WORD.sub("-", words).replace(_HYPHEN, "")
            yield _Line(whole, page, left, base, last_base, _size(text_page, at), len(words) - broken - 1)
        position += len(line) + 2


def _origin(text_page: Any, index: int) -> tuple[float, float]:
    """Where a character stands on its line: left edge and base, from the lower left corner of the page."""
    x, y = ctypes.c_double(), ctypes.c_double()
    if not pdfium.FPDFText_GetCharOrigin(text_page, index, ctypes.byref(x), ctypes.byref(y)):
        return 0.0, 0.0
    return x.value, y.value


def _size(text_page: Any, index: int) -> float:
    """The size of a character's type as it appears on the page, in half points."""
    matrix = pdfium.FS_MATRIX()
    if not pdfium.FPDFText_GetMatrix(text_page, index, ctypes.byref(matrix)):
        return 0.0
    size: float = pdfium.FPDFText_GetFontSize(text_page, index) * math.hypot(matrix.c, matrix.d)
    return round(2 * size) / 2 if size < 1e6 else 0.0


def _heading_sizes(lines: list[_Line]) -> list[float]:
    """The sizes that headings have, largest first: at most six, all rarer than the text's own."""
    weights: Counter[float] = Counter()
    for line in lines:
        weights[line.size] += len(line.text)
    body, _ = weights.most_common(1)[0]
    if body <= 0:
        return []
    total = weights.total()
    larger = [size for size in weights if size >= _HEADING_RATIO * body and weights[size] < 0.2 * total]
    return sorted(larger, reverse=True)[:6]


def _usual_pitch(lines: list[_Line]) -> float:
    """Line to line in sizes of type, the most frequent of the document."""
    pitches = Counter(
        round((last.last_base - line.base) / line.size, 1)
        for last, line in pairwise(lines)
        if last.page == line.page and last.size == line.size > 0
    )
    usual = [pitch for pitch, count in pitches.most_common(3) if 0.9 <= pitch <= 3 and count > 1]
    return usual[0] if usual else _USUAL_PITCH


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


def _blocks(lines: list[_Line], layout: _Layout) -> Iterator[tuple[int, str, int]]:
    """(heading level or 0, text, page), in order."""
    block: list[_Line] = []
    for line in [*lines, None]:
        if block and (line is None or not _goes_on(block, line, layout)):
            level = _level(block, layout.heading_sizes)
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
    if block[0].size in sizes and chars <= _HEADING_CHARS and has_words:
        return sizes.index(block[0].size) + 1
    return 0


def _goes_on(block: list[_Line], line: _Line, layout: _Layout) -> bool:
    """True if `line` belongs to the block before it."""
    last = block[-1]
    if line.page != last.page:
        return False
    if line.size != last.size and not {line.size, last.size}.isdisjoint(layout.heading_sizes):
        return False
    if _is_beside(last, line):
        return True
    size = max(line.size, last.size)
    pitch = last.last_base - line.base
    if size <= 0:
        return True
    if pitch < -size:  # a column further up the page: a sentence may go on there
        return last.size == line.size and last.text[-1].islower() and line.text[0].islower()
    if pitch > _PARAGRAPH_PITCH * layout.pitch * size:
        return False
    indented = line.left - last.left > _INDENT * size
    return not (indented and last.text.endswith((".", "!", "?", ":", "”", '"')))


def _is_beside(last: _Line, line: _Line) -> bool:
    """True for an exponent, an index, or what goes on behind one: pdfium gives it a line of its own."""
    return max(last.size, line.size) > 0 and abs(last.last_base - line.base) < 0.6 * max(last.size, line.size)


def _joined(block: list[_Line]) -> str:
    """A paragraph's lines: running text on one line, what was set line by line on its own lines."""
    longest = max(line.last_chars for line in block)
    text = block[0].text
    for last, line in pairwise(block):
        is_full = last.last_chars >= max(_FULL_SHARE * longest, _FULL_CHARS)
        text += (" " if is_full or _is_beside(last, line) else "\n") + line.text
    return text


def _describe(document: Any, found: Extraction, pages: int) -> None:
    try:
        stated = document.get_metadata_dict()
    except pypdfium2.PdfiumError:
        stated = {}
    properties: dict[str, Value] = {"pages": pages}
    for key, name in (("Title", "title"), ("Author", "author"), ("Subject", "subject"), ("Keywords", "tags")):
        text = one_line(stated.get(key, ""))
        if text and not _NO_NAME.match(text):
            properties[name] = text
    found.title = str(properties.pop("title", ""))
    if match := _PDF_DATE.match(stated.get("CreationDate", "")):
        properties["date"] = "-".join(match.groups())
    found.metadata = normalised(properties)
