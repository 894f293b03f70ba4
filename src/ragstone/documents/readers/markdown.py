"""Markdown: front matter, headings, fences, lists, tables; the rest is paragraphs. The text stays as it is."""

from __future__ import annotations

import re
from typing import Final

from ragstone.documents.decode import decode
from ragstone.documents.draft import Draft, Outline
from ragstone.documents.readers.front_matter import front_matter
from ragstone.documents.readers.lines import LineBlocks, indent
from ragstone.documents.readers.source import Source

_HEADING: Final = re.compile(r" {0,3}(#{1,6})(?:[ \t]|$)")
_UNDERLINE: Final = re.compile(r" {0,3}(?:=+|-{2,})[ \t]*$")
_FENCE: Final = re.compile(r"[ \t]*(`{3,}|~{3,})")
_ITEM: Final = re.compile(r"[ \t]*(?:[-*+]|\d{1,9}[.)])(?:[ \t]|$)")
_DELIMITER: Final = re.compile(r"[ \t]*\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-*:?[ \t]*)*$")
_RULE: Final = re.compile(r" {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$")
_COMMENT_ID: Final = re.compile(r"\{/\*[^{}]{0,200}\*/\}|\{#[\w-]{1,100}\}")
_LINK: Final = re.compile(r"!?\[([^\[\]]{0,300})\]\([^()\s]{0,1000}\)")


def read(source: Source) -> Draft:
    """The text as it is, with its blocks, title and front matter."""
    text = decode(source.data)
    outline = Outline(text)
    start, metadata = front_matter(text)
    if start:
        outline.mark("paragraph", 0, start)
    outline.metadata = {name: value for name, value in metadata.items() if name != "title"}
    first_heading = scan(outline, start)
    outline.title = str(metadata.get("title", "")) or first_heading
    return outline.draft()


def scan(outline: Outline, start: int = 0) -> str:
    """Mark the blocks from the character `start` on; the first heading of the highest level, else nothing."""
    found = _Scan(outline, start)
    found.run()
    return found.title


def plain_title(line: str) -> str:
    """A heading's words without marks, ids and link targets."""
    words = _LINK.sub(r"\1", _COMMENT_ID.sub("", line.strip().strip("#").strip()))
    return words.replace("`", "").replace("**", "").strip()


class _Scan:
    """One pass over the lines; every line is looked at a bounded number of times."""

    def __init__(self, outline: Outline, start: int) -> None:
        self.title = ""
        self._level = 7  # of `title`: the first heading of the highest level among the first few wins
        blocks = LineBlocks(outline, start)
        self._lines, self._mark = blocks.lines, blocks.mark

    def run(self) -> None:
        at, last = 0, len(self._lines)
        while at < last:
            line = self._lines[at]
            if not line or line.isspace():
                at += 1
            elif match := _FENCE.match(line):
                at = self._mark("code", at, self._fence_end(at, match.group(1)))
            elif match := _HEADING.match(line):
                at = self._heading(at, at + 1, len(match.group(1)))
            elif self._is_table(at):
                at = self._table(at)
            elif _ITEM.match(line) and not _RULE.match(line):
                at = self._item(at)
            elif line.startswith(("    ", "\t")) and (at == 0 or not self._lines[at - 1].strip()):
                at = self._mark("code", at, self._indented_end(at))
            else:
                at = self._paragraph(at)

    def _heading(self, first: int, end: int, level: int) -> int:
        self._mark("heading", first, end, level=level)
        words = plain_title(self._lines[first])
        if words and level < self._level:
            self.title, self._level = words, level
        return end

    def _fence_end(self, first: int, fence: str) -> int:
        """The line behind a fence's closing line; an unclosed fence ends with the text."""
        for at in range(first + 1, len(self._lines)):
            line = self._lines[at].strip()
            if line.startswith(fence) and not line.strip(fence[0]):
                return at + 1
        return len(self._lines)

    def _indented_end(self, first: int) -> int:
        end = first + 1
        for at in range(first + 1, len(self._lines)):
            line = self._lines[at]
            if line.startswith(("    ", "\t")):
                end = at + 1
            elif line.strip():
                break
        return end

    def _is_table(self, at: int) -> bool:
        if "|" not in self._lines[at] or at + 1 >= len(self._lines):
            return False
        return "|" in self._lines[at + 1] and _DELIMITER.match(self._lines[at + 1]) is not None

    def _table(self, first: int) -> int:
        at = self._mark("table_row", first, first + 2)  # the header and the line below it
        while at < len(self._lines) and "|" in self._lines[at]:
            at = self._mark("table_row", at, at + 1)
        return at

    def _item(self, first: int) -> int:
        """One top-level item with everything below it, up to the next item of its depth."""
        depth = indent(self._lines[first])
        at = first + 1
        while at < len(self._lines):
            line = self._lines[at]
            if not line.strip():
                after = self._next_text(at)
                if after == len(self._lines) or indent(self._lines[after]) <= depth:
                    break
                at = after
                continue
            deeper = indent(line) > depth
            if _FENCE.match(line) or (not deeper and (_ITEM.match(line) or _HEADING.match(line))):
                break
            at += 1
        return self._mark("list", first, at)

    def _next_text(self, at: int) -> int:
        while at < len(self._lines) and not self._lines[at].strip():
            at += 1
        return at

    def _paragraph(self, first: int) -> int:
        """Running lines up to a blank one or something else; an underline makes them a heading."""
        at = first + 1
        while at < len(self._lines):
            line = self._lines[at]
            if not line.strip() or _HEADING.match(line) or _FENCE.match(line) or self._is_table(at):
                break
            if _UNDERLINE.match(line):
                return self._heading(first, at + 1, 1 if "=" in line else 2)
            if _ITEM.match(line):
                break
            at += 1
        return self._mark("paragraph", first, at)
