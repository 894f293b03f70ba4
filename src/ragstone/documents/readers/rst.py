"""reStructuredText: titles by their adornment, directives, literal blocks, lists, tables. The text stays."""

from __future__ import annotations

import re
from typing import Final

from ragstone.documents.decode import decode
from ragstone.documents.draft import Draft, Outline
from ragstone.documents.readers.front_matter import iso_date, normalised
from ragstone.documents.readers.lines import LineBlocks, indent
from ragstone.documents.readers.source import Source

_ADORNMENT: Final = re.compile(r"([!-/:-@\[-`{-~])\1+[ \t]*$")
_DIRECTIVE: Final = re.compile(r"[ \t]*\.\. ([A-Za-z][\w:.+-]{0,60})::(?:[ \t]|$)")
_ITEM: Final = re.compile(r"[ \t]*(?:[-*+•]|\(?(?:\d{1,9}|#|[A-Za-z])[.)])[ \t]+\S")
_GRID: Final = re.compile(r"[ \t]*\+[-=+]+\+[ \t]*$")
_SIMPLE: Final = re.compile(r"[ \t]*=+(?:[ \t]+=+)+[ \t]*$")
_FIELD: Final = re.compile(r":([A-Za-z][\w -]{0,40}):[ \t]+(\S.*)$")
_ROLE: Final = re.compile(r":[A-Za-z][\w:+-]{0,40}:`([^`]{1,300})`")
_CODE: Final = frozenset(
    {"code", "code-block", "sourcecode", "literalinclude", "parsed-literal", "productionlist", "doctest"}
    | {"testcode", "testsetup", "testoutput", "highlight", "math", "graphviz", "digraph", "prompt"}
    | {"code-cell", "ipython", "csv-table"}
)


def read(source: Source) -> Draft:
    """The text as it is, with its blocks."""
    return outline(decode(source.data)).draft()


def outline(text: str) -> Outline:
    """Blocks, title and field list of a reStructuredText."""
    found = Outline(text)
    _Scan(found).run()
    return found


class _Scan:
    """One pass over the lines; every line is looked at a bounded number of times."""

    def __init__(self, found: Outline) -> None:
        self.found = found
        blocks = LineBlocks(found)
        self._lines, self._mark = blocks.lines, blocks.mark
        self._in_body = False
        self._styles: list[str] = []  # adornments in order of first use: their index is the level

    def run(self) -> None:
        at = 0
        while at < len(self._lines):
            line = self._lines[at]
            if not line or line.isspace():
                at += 1
            elif end := self._title_end(at):
                at = self._title(at, end)
            elif match := _DIRECTIVE.match(line):
                at = self._directive(at, match.group(1).lower())
            elif _GRID.match(line):
                at = self._grid(at)
            elif _SIMPLE.match(line):
                at = self._simple_table(at)
            elif line.lstrip().startswith(">>>"):
                at = self._mark("code", at, self._blank(at))
            elif _ITEM.match(line):
                at = self._item(at)
            else:
                at = self._paragraph(at)

    def _line(self, at: int) -> str:
        return self._lines[at] if at < len(self._lines) else ""

    def _title_end(self, at: int) -> int:
        """The line behind the title that starts at `at`, 0 if none does."""
        line, second = self._line(at), self._line(at + 1)
        if _ADORNMENT.match(line):
            third = self._line(at + 2)
            framed = second.strip() and third.rstrip() == line.rstrip() and len(line.rstrip()) >= 3
            return at + 3 if framed else 0
        if line[:1].isspace() or not _ADORNMENT.match(second):
            return 0
        # docutils lets an underline be too short only with a warning; 3 characters rule out "..", "--".
        return at + 2 if len(second.rstrip()) >= min(3, len(line.rstrip())) else 0

    def _title(self, first: int, end: int) -> int:
        framed = end - first == 3
        words = self._line(first + framed).strip()
        style = self._line(end - 1)[0] * (2 if framed else 1)
        if style not in self._styles:
            self._styles.append(style)
        level = min(self._styles.index(style) + 1, 6)
        self._mark("heading", first, end, level=level)
        if not self.found.title:
            self.found.title = plain_title(words)
        return end

    def _directive(self, first: int, name: str) -> int:
        """A directive of code with its content; of any other, only its first lines: its content is prose."""
        depth = indent(self._lines[first])
        if name.rpartition(":")[2] in _CODE:
            return self._mark("code", first, self._indented_end(first, depth))
        end = first + 1  # arguments and options go on until a blank line
        while end < len(self._lines) and self._lines[end].strip() and indent(self._lines[end]) > depth:
            end += 1
        return self._mark("paragraph", first, end)

    def _indented_end(self, first: int, depth: int) -> int:
        """The line behind the block that is indented more than `depth`, without blank lines at its end."""
        end = first + 1
        for at in range(first + 1, len(self._lines)):
            if self._lines[at].strip():
                if indent(self._lines[at]) <= depth:
                    break
                end = at + 1
        return end

    def _grid(self, first: int) -> int:
        """A grid table; each rule between rows ends one."""
        at, row = first + 1, first
        while at < len(self._lines) and self._lines[at].lstrip()[:1] in {"|", "+"}:
            if _GRID.match(self._lines[at]):
                self._mark("table_row", row, at + 1)
                row = at + 1
            at += 1
        if row < at:
            self._mark("table_row", row, at)
        return at

    def _simple_table(self, first: int) -> int:
        """A simple table: header up to its second rule, then one row a line; deeper lines go on a row."""
        end = self._blank(first)
        rules = [at for at in range(first, end) if _SIMPLE.match(self._lines[at])]
        start = rules[1] + 1 if len(rules) > 2 else first + 1
        self._mark("table_row", first, start)
        depth = indent(self._lines[first])
        row = start
        for at in range(start + 1, end + 1):
            goes_on = at < end and (indent(self._lines[at]) > depth or at in rules[-1:])
            if not goes_on and row < end:
                self._mark("table_row", row, at)
                row = at
        return end

    def _item(self, first: int) -> int:
        """One item with what is indented below it, up to a directive or code in it."""
        depth = indent(self._lines[first])
        at = first + 1
        while at < len(self._lines):
            line = self._lines[at]
            if line.strip() and (
                indent(line) <= depth or _DIRECTIVE.match(line) or line.lstrip().startswith(">>>")
            ):
                break
            if not line.strip() and (
                self._lines[at - 1].rstrip().endswith("::") or self._outdents(at, depth)
            ):
                break
            at += 1
        self._mark("list", first, at)
        return self._literal(at, depth)

    def _outdents(self, at: int, depth: int) -> bool:
        """True if the next text after the blank line `at` is not deeper than `depth`, or too far away."""
        for after in range(at + 1, min(at + 4, len(self._lines))):
            if self._lines[after].strip():
                return indent(self._lines[after]) <= depth
        return True

    def _paragraph(self, first: int) -> int:
        at = first + 1
        while at < len(self._lines) and self._lines[at].strip() and not _DIRECTIVE.match(self._lines[at]):
            if self._title_end(at):
                break
            at += 1
        if self._lines[first].startswith(":"):
            self._fields(first, at)
        elif not self._lines[first].startswith(".."):  # targets and comments stand before titles, too
            self._in_body = True
        self._mark("paragraph", first, at)
        return self._literal(at, indent(self._lines[first]))

    def _fields(self, first: int, end: int) -> None:
        """A field list (":Author: …") describes the document if nothing but its title stands before it."""
        if self._in_body or len(self._styles) > 1:
            return
        found = {
            match.group(1): match.group(2) for line in self._lines[first:end] if (match := _FIELD.match(line))
        }
        for name, value in normalised({**found}).items():
            self.found.metadata.setdefault(name, iso_date(str(value)) if name == "date" else value)

    def _literal(self, at: int, depth: int) -> int:
        """The literal block behind a text that ends with `::`, if there is one; returns the line behind it."""
        if at == 0 or not self._lines[at - 1].rstrip().endswith("::"):
            return at
        end = self._indented_end(at - 1, depth)
        return self._mark("code", at, end) if end > at else at

    def _blank(self, at: int) -> int:
        while at < len(self._lines) and self._lines[at].strip():
            at += 1
        return at


def plain_title(words: str) -> str:
    """A title's words without roles and literal marks."""
    plain = _ROLE.sub(lambda match: match.group(1).split(" <", 1)[0].lstrip("!~"), words)
    return plain.replace("``", "").replace("\\ ", "").strip()
