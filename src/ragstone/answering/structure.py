"""What the lines of a found text are: sentences, rows of tables and records, fields, and what only labels them.

Lines gathered into blocks, each read under what stands above it. Functions over one text, in linear time; knows
nothing of questions or scores.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import groupby

from ragstone.answering.lines import (
    BOILERPLATE,
    ITEM,
    LABEL_CHARS_MAX,
    LABEL_WORDS_MAX,
    STOP,
    Line,
    Shape,
    Span,
    are_names,
    are_short_lines,
    asks,
    cells,
    heading_span,
    heads,
    is_about,
    is_label,
    is_underlined,
    lines_of,
    reshaped,
    shape_of,
)
from ragstone.chunking.sentences import sentences

# Headings right below each other are gathered up to here: three of them.
SECTION_CHARS_MAX = 3 * LABEL_CHARS_MAX
# Sentences that a question within running text is taken to head.
ANSWER_SENTENCES = 2


class Role(StrEnum):
    """What a stretch of text is good for."""

    SENTENCE = "sentence"
    ROW = "row"  # of a table, or a record on one line
    FIELD = "field"  # of a form, or a line of a list: means something under its title only
    ABOUT = "about"  # of front matter or a mail's head: says something about the document itself
    LABEL = "label"  # heading, question, column names, navigation, signature: nothing by itself


@dataclass(frozen=True, slots=True)
class Stretch:
    """`text[start:end]`, no white space at its ends.

    `header` is what it has to be read with: the names of a row's columns, the field that names a record, the
    heading, question or introduction above. `section` holds the words of the headings above, outermost first.
    """

    start: int
    end: int
    role: Role
    header: Span | None = None
    section: str = ""


def stretches(text: str, *, opens: bool) -> list[Stretch]:
    """The stretches of `text`, ascending and disjoint; what is only drawn (rules, fences) lies in none.

    `opens` says that the text is the beginning of its document: front matter stands nowhere else, and the first
    row of a table that another chunk began does not name its columns.
    """
    reading = _Reading(text)
    if "\n" not in text and shape_of(text.strip()) is Shape.PROSE:  # most passages of most collections
        _add_sentences(sentences(text), reading)
        return reading.found
    lines = lines_of(text)
    first = _read_front(lines, reading) if opens else 0
    blocks = [list(run) for blank, run in groupby(lines[first:], key=lambda line: not line.text) if not blank]
    for number, block in enumerate(blocks):
        below = blocks[number + 1] if number + 1 < len(blocks) else None
        if len(blocks) == 1 or not is_label(block, below):
            _read_block(reshaped(block), reading, opens=opens)
        elif below is not None and heads(block):
            reading.head(*heading_span(block[0], block[-1]))
        else:
            reading.add(block[0].start, block[-1].end, Role.LABEL)
    return reading.found


@dataclass(slots=True)
class _Reading:
    """What has been found so far, and what stands above the next stretch."""

    text: str
    found: list[Stretch] = field(default_factory=list)
    section: str = ""
    label: Span | None = None  # heading, question or introduction right above
    record: Span | None = None  # a field on its own, which names the rows below it

    def add(self, start: int, end: int, role: Role, header: Span | None = None) -> None:
        self.found.append(Stretch(start, end, role, header, self.section))

    def head(self, start: int, end: int) -> None:
        """A heading; the section gathers headings that stand right below each other."""
        below_another = self.label is not None and self.label == self._last()
        words = self.text[start:end]
        fits = below_another and len(self.section) + len(words) < SECTION_CHARS_MAX
        self.section = f"{self.section} {words}" if fits else words
        self.add(start, end, Role.LABEL)
        self.label, self.record = (start, end), None

    def _last(self) -> Span | None:
        return (self.found[-1].start, self.found[-1].end) if self.found else None


def _read_front(lines: Sequence[Line], reading: _Reading) -> int:
    """How many lines at the head are front matter or a mail's head; their fields are `ABOUT`."""
    fence = lines[0].text
    if fence in {"---", "+++"}:
        close = next((n for n, line in enumerate(lines[1:], 1) if line.text in {fence, "..."}), 0)
        head, count = lines[1:close], close + 1 if close else 0
    else:
        count = next((n for n, line in enumerate(lines) if not is_about(line)), len(lines))
        if count < 2 or (count < len(lines) and lines[count].text):
            return 0  # one such line, or one among others, is no mail's head
        head = lines[:count]
    for line in head:
        if line.text:
            reading.add(line.start, line.end, Role.ABOUT)
    return count


def _read_block(block: Sequence[Line], reading: _Reading, *, opens: bool) -> None:
    """Lines without a blank one among them, in runs of one shape; a table's borders belong to its run."""
    position = 0
    while position < len(block):
        line = block[position]
        if line.shape is Shape.RULE:
            position += 1
        elif line.shape is Shape.HASH:
            reading.head(*heading_span(line, line))
            position += 1
        elif is_underlined(block, position):
            reading.head(line.start, line.end)
            position += 2
        elif line.shape in _TABLES:
            own = {line.shape, Shape.RULE}
            end = next((n for n in range(position, len(block)) if block[n].shape not in own), len(block))
            # else the table may have begun in the chunk before
            begins = opens or line.start > 0
            above_records = end < len(block) and block[end].shape is Shape.PAIRS
            _read_table(block[position:end], reading, begins=begins, above_records=above_records)
            position = end
        else:
            end = next(
                (n for n in range(position, len(block)) if block[n].shape is not line.shape), len(block)
            )
            _READERS[line.shape](block[position:end], reading)
            position = end


def _read_table(run: Sequence[Line], reading: _Reading, *, begins: bool, above_records: bool) -> None:
    """Rows, under the first if that names the columns; a lone one of short cells without a figure is navigation."""
    rows, named = _table_rows(run, begins=begins)
    header: Span | None = None
    for number, (start, end) in enumerate(rows):
        words = reading.text[start:end]
        lone = len(rows) == 1
        if (number == 0 and named and not lone) or (lone and (above_records or _navigates(words))):
            reading.add(start, end, Role.LABEL)
            header = (start, end)
        else:
            bare = Role.ROW if run[0].shape is Shape.BARS else Role.FIELD
            reading.add(start, end, Role.ROW if header else bare, header)
    reading.label = None


def _table_rows(run: Sequence[Line], *, begins: bool) -> tuple[list[Span], bool]:
    """The rows' spans, and whether the first names the columns.

    Between borders that begin with `+` a row may go over several lines, and one of `=` stands below the names.
    """
    if any(line.text.startswith("+") for line in run):
        groups = [
            list(lines)
            for ruled, lines in groupby(run, key=lambda line: line.shape is Shape.RULE)
            if not ruled
        ]
        names = [line for line in run if line.text.startswith("+=")]
        named = bool(names and groups and groups[0][-1].end < names[0].start)
        return [(lines[0].start, lines[-1].end) for lines in groups], named
    rows = [line for line in run if line.shape is not Shape.RULE]
    ruled = len(run) > 1 and run[1].shape is Shape.RULE
    plain = rows[0].shape is Shape.BARS and begins and are_names(cells(rows[0].text))
    return [(line.start, line.end) for line in rows], ruled or plain


def _navigates(row: str) -> bool:
    """Whether a lone row is a line of links: three or more, of a word or three, and no figures."""
    parts = cells(row)
    short = len(parts) > 2 and all(len(part.split()) <= 3 for part in parts)
    return short and not row.startswith("|") and not any(map(str.isdigit, row))


def _read_prose(run: Sequence[Line], reading: _Reading) -> None:
    """Sentences, or lines that are lines on purpose."""
    if not are_short_lines(run):
        start = run[0].start
        spans = sentences(reading.text[start : run[-1].end])
        _add_sentences([(start + begin, start + end) for begin, end in spans], reading)
        return
    for line in run:
        if STOP.search(line.text):
            spans = [(line.start + begin, line.start + end) for begin, end in sentences(line.text)]
            _add_sentences(spans, reading)
        else:
            reading.add(line.start, line.end, Role.FIELD, reading.label)


def _add_sentences(spans: Sequence[Span], reading: _Reading) -> None:
    """Sentences under the label above them; a question or an introduction heads what follows."""
    header, left = reading.label, len(spans)
    for number, (start, end) in enumerate(spans):
        words = reading.text[start:end]
        introduces = words.endswith((":", "：")) and (
            number + 1 == len(spans) or ITEM.match(reading.text, spans[number + 1][0]) is not None
        )
        if asks(words) or introduces:
            header, left = (start, end), len(spans) if introduces else ANSWER_SENTENCES
            says = introduces and len(words.split()) > LABEL_WORDS_MAX
            reading.add(start, end, Role.SENTENCE if says else Role.LABEL)
        else:
            role = Role.LABEL if BOILERPLATE.match(words) else Role.SENTENCE
            reading.add(start, end, role, header if left > 0 else None)
            left -= 1
    labels_next = bool(spans) and header == spans[-1]
    reading.label = header if labels_next else None


def _read_pairs(run: Sequence[Line], reading: _Reading) -> None:
    """Records on a line each, under the field that names them all."""
    for line in run:
        reading.add(line.start, line.end, Role.ROW, reading.record)


def _read_pair(run: Sequence[Line], reading: _Reading) -> None:
    """A form's fields; one on its own may name the records below it, or be a sentence."""
    if len(run) == 1 and STOP.search(run[0].text):
        _read_prose(run, reading)
        return
    for line in run:
        about = line.text.startswith(":") and is_about(line)
        reading.add(line.start, line.end, Role.ABOUT if about else Role.FIELD)
    reading.record = (run[0].start, run[0].end) if len(run) == 1 else None
    reading.label = None


_TABLES = frozenset({Shape.BARS, Shape.COLUMNS})
_READERS: Mapping[Shape, Callable[[Sequence[Line], _Reading], None]] = {
    Shape.PROSE: _read_prose,
    Shape.PAIRS: _read_pairs,
    Shape.PAIR: _read_pair,
}
