"""What a reader makes of a file, inside the child: text and marks. Standard library only.

Two ways to make one: `Extraction` collects text from formats that are not text themselves; `Outline` marks
stretches of a text that is kept as it is. Both keep the promise of `types.ParsedDocument`: marks ascend, do not
overlap, and only white space lies between them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, TypeAlias

from ragstone.errors import DocumentError

Kind: TypeAlias = Literal["heading", "paragraph", "list", "code", "table_row", "cue"]
Value: TypeAlias = str | int | float | bool

# Characters that no text means: C0 controls but tab and line feed, DEL, lone surrogates, non-characters.
_NO_TEXT: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
# Marks of layout inside words: zero-width spaces and joiners, soft hyphen, byte order mark, function application.
_INVISIBLE: Final = re.compile("[\u00ad\u200b\u2060-\u2064\ufeff]")
_RULE: Final = re.compile(r"([-=_*#~.])\1{2,}")  # a line drawn with characters
_BLANK_LINES: Final = re.compile(r"\n[ \t\f\v]*(?=\n)")
_INNER_SPACE: Final = re.compile(r"[ \t\xa0\u2007\u202f\f\v]+")

# 300 characters: the longest title of the real documents has 190; 2,000: a mail's recipients, a subject line.
MAX_TITLE_CHARS = 300
MAX_VALUE_CHARS = 2_000
MAX_METADATA = 64


class Mark(NamedTuple):
    """A `types.Block` before it crosses to the parent."""

    kind: Kind
    start: int
    end: int
    level: int = 0
    page: int | None = None
    time_s: float | None = None


@dataclass(slots=True)
class Draft:
    """A file's text, marks, own title ('' if it names none) and what it says about itself."""

    text: str
    marks: list[Mark]
    title: str = ""
    metadata: dict[str, Value] = field(default_factory=dict)


def clean(text: str) -> str:
    """`text` without characters that are no text; each becomes one space, so offsets stay."""
    return _NO_TEXT.sub(" ", text) if _NO_TEXT.search(text) else text


def one_line(text: str) -> str:
    """`text` on one line with single spaces."""
    return " ".join(text.split())


def tidy(metadata: dict[str, Value]) -> dict[str, Value]:
    """`metadata` with names and texts of bounded length, on one line, and no empty values."""
    tidied: dict[str, Value] = {}
    for name, value in metadata.items():
        if isinstance(value, str):
            value = one_line(clean(value[: 2 * MAX_VALUE_CHARS]))[:MAX_VALUE_CHARS]
            if not value:
                continue
        if len(tidied) < MAX_METADATA:
            tidied[one_line(clean(name[:100]))] = value
    return tidied


class Extraction:
    """Text collected block by block, one blank line between blocks (one line end between rows and items)."""

    def __init__(self, *, text_chars: int) -> None:
        self.page: int | None = None  # given to each block from now on
        self.title = ""
        self.metadata: dict[str, Value] = {}
        self._parts: list[str] = []
        self._marks: list[Mark] = []
        self._length = 0
        self._text_chars = text_chars

    @property
    def is_empty(self) -> bool:
        """True as long as no block has been added."""
        return not self._marks

    def heading(self, text: str, level: int) -> None:
        """A heading on one line; `level` is brought into 1–6."""
        self._add("heading", one_line(text), level=min(max(level, 1), 6))

    def paragraph(self, text: str) -> None:
        """Running text; line ends are kept, inner spaces become single."""
        self._add("paragraph", _lines(text))

    def item(self, text: str, *, marker: str = "- ", depth: int = 0) -> None:
        """One list item, two spaces of indentation for each level above it."""
        body = _lines(text)
        if body:
            self._add("list", f"{marker}{body}", indent="  " * min(depth, 10))

    def code(self, text: str) -> None:
        """Code, its spaces and line ends kept."""
        self._add("code", text.strip("\n").rstrip())

    def row(self, text: str) -> None:
        """One row of a table, on one line."""
        self._add("table_row", one_line(text))

    def cue(self, text: str, *, time_s: float) -> None:
        """One subtitle cue."""
        self._add("cue", _lines(text), time_s=time_s)

    def _add(
        self, kind: Kind, text: str, *, level: int = 0, time_s: float | None = None, indent: str = ""
    ) -> None:
        text = clean(_INVISIBLE.sub("", text))
        lead = len(text) - len(text.lstrip())  # code may start with spaces: they become part of the gap
        if lead == len(text):
            return
        gap = ""
        if self._marks:
            previous = self._marks[-1]
            tight = (
                kind == previous.kind and kind in {"table_row", "list", "cue"} and self.page == previous.page
            )
            gap = "\n" if tight else "\n\n"
        gap += indent
        start = self._length + len(gap) + lead
        self._parts += (gap, text)
        self._length += len(gap) + len(text)
        if self._length > self._text_chars:
            raise too_much_text(self._text_chars)
        end = self._length - (len(text) - len(text.rstrip()))
        self._marks.append(Mark(kind, start, end, level, self.page, time_s))

    def draft(self) -> Draft:
        """Everything added so far."""
        return Draft("".join(self._parts), self._marks, self.title, self.metadata)


class Outline:
    """Marks over a text that stays as it is; what no one marks becomes paragraphs at blank lines."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.title = ""
        self.metadata: dict[str, Value] = {}
        self._marks: list[Mark] = []

    def mark(self, kind: Kind, start: int, end: int, *, level: int = 0) -> None:
        """`text[start:end]` without the white space around it; must start behind the last mark."""
        stretch = self.text[start:end]
        stripped = stretch.strip()
        if stripped:
            start += len(stretch) - len(stretch.lstrip())
            self._marks.append(Mark(kind, start, start + len(stripped), level))

    def draft(self) -> Draft:
        """The text with every stretch of it under a mark."""
        marks: list[Mark] = []
        position = 0
        for mark in self._marks:
            marks += _paragraphs(self.text, position, mark.start)
            marks.append(mark)
            position = mark.end
        marks += _paragraphs(self.text, position, len(self.text))
        return Draft(self.text, marks, self.title, self.metadata)


def coarsen(marks: list[Mark], limit: int) -> list[Mark]:
    """At most about `limit` marks: runs of neighbours that differ in their span only are merged."""
    if len(marks) <= limit:
        return marks
    run = -(-len(marks) // limit) + 1
    merged: list[Mark] = []
    count = 0
    for mark in marks:
        last = merged[-1] if merged else None
        alike = (
            last is not None and (last.kind, last.page) == (mark.kind, mark.page) and mark.kind != "heading"
        )
        if last is not None and alike and count < run:
            merged[-1] = last._replace(end=mark.end)
            count += 1
        else:
            merged.append(mark)
            count = 1
    return merged


def too_much_text(limit: int) -> DocumentError:
    """The error for a file that holds more than `limit` characters of text."""
    return DocumentError(
        f"the file holds more than {limit:,} characters of text",
        hint="split it, or raise the text limit",
        code="too_large",
    )


def _lines(text: str) -> str:
    lines = (_INNER_SPACE.sub(" ", line).strip() for line in text.split("\n"))
    return "\n".join(line for line in lines if line and not _RULE.fullmatch(line))


def _paragraphs(text: str, start: int, end: int) -> Iterator[Mark]:
    """The stretches of `text[start:end]` between blank lines, white space trimmed."""
    position = start
    while position < end:
        gap = _BLANK_LINES.search(text, position, end)
        stop = gap.start() if gap else end
        stretch = text[position:stop]
        stripped = stretch.strip()
        if stripped:
            first = position + len(stretch) - len(stretch.lstrip())
            yield Mark("paragraph", first, first + len(stripped))
        position = gap.end() if gap else end
