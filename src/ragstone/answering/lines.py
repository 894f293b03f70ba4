"""How lines look: prose, headings, rules, rows and fields, and what a run of them is.

Knows the forms in which readers leave tables and records (`a | b`, `name: value; …`, `name: value`), Markdown,
reStructuredText and plain text. Patterns over single lines, in linear time; keeps nothing from one to the next.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise, zip_longest
from typing import TypeAlias

Span: TypeAlias = tuple[int, int]

# A label (a heading, a signature) is one or two lines of few words without a full stop.
LABEL_WORDS_MAX = 12
LABEL_CHARS_MAX = 96  # where words have no spaces between them
LABEL_LINES_MAX = 2
INDENT_MAX = 2  # what is set further in is quoted or code
# Lines that end before they are full are lines on purpose (a recipe, subtitles): most of at least three do.
SHORT_LINES_MIN = 3
SHORT_LINES_SHARE = 0.6
CODE_SHARE = 0.2  # of a program's lines many look like nothing ("else", "break")
# A line with bars or names and a longer stretch between them is prose: "Rome (Latin: Roma; Greek: Rhome) is …".
CELL_CHARS_MAX = 300


class Shape(StrEnum):
    """How a line looks."""

    PROSE = "prose"
    HASH = "hash"  # Markdown heading
    RULE = "rule"  # drawn with characters: an underline, a fence, a table's border
    BARS = "bars"  # a | b
    COLUMNS = "columns"  # cells two spaces apart, between borders
    PAIRS = "pairs"  # name: value; name: value
    PAIR = "pair"  # name: value


@dataclass(frozen=True, slots=True)
class Line:
    """`text` without the white space around it, at `start:end` of the whole, `indent` characters into its line."""

    start: int
    end: int
    indent: int
    text: str
    shape: Shape


_HASH = re.compile(r"#{1,6}[^\S\n]+(?=\S)")
_RULE = re.compile(r"(?:[=~^*+\"_#.:`|-]++[^\S\n]*+)++\Z")
_FENCE = re.compile(r"(?:```|~~~)[\w-]{0,20}\Z")
_BORDER = re.compile(r"[=-]{2,}+(?:[^\S\n]++[=-]{2,}+)+\Z")
ITEM = re.compile(r"(?:[-*+•‣–]|\(?\d{1,3}[.)])[^\S\n]")
# A name of one to four words, `:name:` in reStructuredText.
_NAME = r"[\w.()/%-]{1,40}+(?:,?[ ][\w.()/%-]{1,40}+){0,3}+"
_PAIR = re.compile(rf":?(?P<name>{_NAME}):(?=\s)")
_FIELD = re.compile(rf"{_NAME}:(?=\s|\Z)")  # within a record, where the last may be empty
STOP = re.compile(r"[.!?…][\"'”’»)\]*_]{0,3}(?=\s|\Z)|[。！？।؟]")
_GAP = re.compile(r"[^\S\n]{2,}")
BOILERPLATE = re.compile(
    r"(?:©|\(c\) |copyright\b|all rights reserved|page \d{1,6} of \d{1,6}\Z|unsubscribe\b)", re.IGNORECASE
)
_CODE_START = re.compile(
    r"(?:\$ |>>> |</?\w|[@}\])]|//|/\*|import |from [\w.]{1,80} import "
    r"|(?:def|class|return|const|let|var|if|for) .*[:;({]\Z)"
)
_CODE_INSIDE = re.compile(r"[;{}(\[=\\]\Z|\w\(\)| (?:=|==|=>|::=|:=|->|\|\|) |\w\.\w+\(")
_TAG = re.compile(r"</?\w[^<>]{0,200}>\Z")
_DIRECTIVE = re.compile(r"\.\. [\w:-]{1,40}::\Z")  # reStructuredText's, alone on its line
# What only says something about a document, where reStructuredText and mails put it.
_ABOUT = frozenset(
    {"author", "authors", "date", "title", "subject", "from", "to", "cc", "bcc", "reply-to", "tags", "language"}
)  # fmt: skip


def lines_of(text: str) -> list[Line]:
    """The lines of `text`, blank ones too."""
    lines: list[Line] = []
    position = 0
    for raw in text.split("\n"):
        stripped = raw.strip()
        indent = len(raw) - len(raw.lstrip()) if stripped else 0
        start = position + indent
        lines.append(Line(start, start + len(stripped), indent, stripped, shape_of(stripped)))
        position += len(raw) + 1
    return lines


def shape_of(line: str) -> Shape:
    """How a line without white space around it looks; never `COLUMNS`, which takes the borders to know."""
    if len(line) > 2 and (_RULE.match(line) or _FENCE.match(line)):
        return Shape.RULE
    if _HASH.match(line) and not line.endswith("."):  # with a full stop it is a comment in code
        return Shape.HASH
    if line.startswith("|"):
        return Shape.BARS
    pair = _PAIR.match(line)
    barred = " | " in line
    if not (pair or barred) or is_code(line):
        return Shape.PROSE
    if barred and max(map(len, line.split(" | "))) <= CELL_CHARS_MAX:
        return Shape.BARS
    if pair is None or ITEM.match(line) or pair["name"].count("(") != pair["name"].count(")"):
        return Shape.PROSE
    found = fields(line)
    if len(found) > 1:
        return Shape.PAIRS if max(end - start for start, end in found) <= CELL_CHARS_MAX else Shape.PROSE
    return Shape.PAIR


def is_code(line: str) -> bool:
    """Whether a line looks like one of a program or a command, as most of a program's lines do."""
    return _CODE_START.match(line) is not None or _CODE_INSIDE.search(line) is not None


def cells(row: str) -> list[str]:
    """The cells of a row written with bars, or with two spaces between them; a row may go over several lines."""
    lines = [
        line.strip().strip("|").split("|") if "|" in line else _GAP.split(line.strip())
        for line in row.strip().split("\n")
    ]
    return [" ".join(" ".join(parts).split()) for parts in zip_longest(*lines, fillvalue="")]


def fields(row: str) -> list[Span]:
    """Spans of the fields of a record on one line, `name: value; name: value`; the whole if there are none."""
    starts = [0]
    position = row.find("; ")
    while position >= 0:
        if _FIELD.match(row, position + 2):
            starts.append(position + 2)
        position = row.find("; ", position + 2)
    return [(begin, end - 2) for begin, end in pairwise([*starts, len(row) + 2])]


def field_name(text: str) -> str:
    """The name of a field written `name: value` or `:name: value`, in lower case; empty if it is none."""
    match = _PAIR.match(text)
    return match["name"].lower() if match else ""


def asks(words: str) -> bool:
    """Whether a stretch is a question."""
    return words.rstrip(" *_\"'»”)").endswith(("?", "？", "؟"))


def below(header: str, words: str) -> str:
    """A stretch on one line with what heads it."""
    mark = "" if asks(header) or header.endswith((":", "：")) else ":"
    return " ".join(f"{header}{mark} {words}".split())


def is_about(line: Line) -> bool:
    """Whether the line is a field that only says something about its document."""
    return line.shape is Shape.PAIR and field_name(line.text) in _ABOUT


def is_label(block: Sequence[Line], below: Sequence[Line] | None) -> bool:
    """A line or two of few words without a stop, other than an item, a row, or a field among others."""
    words = " ".join(line.text for line in block)
    hashed = len(block) == 1 and block[0].shape is Shape.HASH
    if hashed or BOILERPLATE.match(words) or _DIRECTIVE.match(words) or _TAG.match(words):
        return True
    if block[0].indent > INDENT_MAX or is_code(words):
        return False
    shapes = {line.shape for line in block}
    if len(block) == 1 and below is not None and not _is_record(below[0]):
        shapes.discard(Shape.PAIR)  # "Route 1: Hollin" above its timetable
    if len(block) > LABEL_LINES_MAX or shapes - {Shape.PROSE}:
        return False
    item = ITEM.match(words)
    listed = item is not None and not words[0].isdigit()
    if listed or len(words.split()) > LABEL_WORDS_MAX or len(words) > LABEL_CHARS_MAX:
        return False
    # the stop in "2. Dogs" ends no sentence
    return asks(words) or not STOP.search(words, item.end() if item else 0)


def heads(block: Sequence[Line]) -> bool:
    """Whether a label is a heading, other than a salutation or what is printed on every page."""
    words = block[-1].text
    printed = BOILERPLATE.match(words) or _DIRECTIVE.match(words) or _TAG.match(words)
    return not printed and not words.endswith((",", "，"))


def _is_record(line: Line) -> bool:
    return line.shape is Shape.PAIRS or (line.shape is Shape.PAIR and not STOP.search(line.text))


def heading_span(first: Line, last: Line) -> Span:
    """The span of a heading's words, without Markdown's marks."""
    match = _HASH.match(first.text)
    return first.start + (match.end() if match else 0), last.end


def reshaped(block: Sequence[Line]) -> list[Line]:
    """The block with lines between borders as columns, and one `name: value` among prose as prose."""
    bordered = _BORDER.match(block[0].text) is not None
    shaped: list[Line] = []
    for number, line in enumerate(block):
        shape = line.shape
        if bordered and shape in {Shape.PROSE, Shape.PAIR} and _GAP.search(line.text):
            shape = Shape.COLUMNS
        elif shape is Shape.PAIR and len(block) > 1:
            beside = [*block[max(0, number - 1) : number], *block[number + 1 : number + 2]]
            if all(other.shape is Shape.PROSE for other in beside):
                shape = Shape.PROSE
        shaped.append(line if shape is line.shape else replace(line, shape=shape))
    return shaped


def is_underlined(block: Sequence[Line], position: int) -> bool:
    """Whether the line is a heading of reStructuredText or Markdown: alone above a rule of one character."""
    if block[position].shape is not Shape.PROSE or position + 1 >= len(block):
        return False
    rule = block[position + 1]
    begins = position == 0 or block[position - 1].shape is Shape.RULE
    drawn = rule.shape is Shape.RULE and len(set(rule.text)) == 1 and rule.text[0] not in "|`"
    return begins and drawn and (rule.text[0] in "=-" or len(rule.text) >= len(block[position].text))


def are_names(row: Sequence[str]) -> bool:
    """Whether cells can name columns: different ones, with letters."""
    filled = [cell for cell in row if cell]
    return len(set(filled)) == len(filled) > 1 and all(any(map(str.isalpha, cell)) for cell in filled)


def are_short_lines(run: Sequence[Line]) -> bool:
    """Whether most lines end before they are full: the next word would have fitted the longest line."""
    if len(run) < SHORT_LINES_MIN or any(ITEM.match(line.text) for line in run):
        return False
    if sum(is_code(line.text) for line in run) > CODE_SHARE * len(run):
        return False
    full = max(len(line.text) for line in run)
    early = sum(
        len(line.text) + 1 + len(below.text.split(None, 1)[0]) <= full for line, below in pairwise(run)
    )
    return early >= SHORT_LINES_SHARE * (len(run) - 1)
