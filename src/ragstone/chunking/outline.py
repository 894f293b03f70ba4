"""A document's blocks under their headings, none too long to be handled at once. Knows no tokens."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

from ragstone.chunking.context import heading_text
from ragstone.types import Block, BlockKind, ParsedDocument

# Longer blocks (a log without blank lines, minified code) are divided first, so that tokenising one stays
# below 100 MB; at a line end chosen by content, so that an edit leaves the later divisions where they were.
MAX_BLOCK_CHARS = 65_536


@dataclass(frozen=True, slots=True)
class Section:
    """A heading's place: its `level` (0 for the text before any), the path of headings `above` it, outermost
    first and without the document's title, and the `path` with it."""

    level: int
    above: tuple[str, ...]
    path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Placed:
    """A block and the section it is in; a heading is in the section that it opens."""

    block: Block
    section: Section


def outline(document: ParsedDocument) -> Iterator[Placed]:
    """The blocks of `document` in order, with their sections; all text but white space lies in one of them."""
    section = Section(0, (), ())
    open_headings: list[tuple[int, str]] = []
    for block in _covering(document):
        if block.kind is BlockKind.HEADING:
            level = max(block.level, 1)
            while open_headings and open_headings[-1][0] >= level:
                open_headings.pop()
            above = tuple(words for _, words in open_headings if words)
            words = heading_text(document.text[block.start : block.end])
            open_headings.append((level, "" if words == document.title else words))
            section = Section(level, above, tuple(words for _, words in open_headings if words))
        yield Placed(block, section)


def _covering(document: ParsedDocument) -> Iterator[Block]:
    """The blocks trimmed of white space and divided where too long; text between them as paragraphs."""
    text = document.text
    position = 0
    for block in document.blocks:
        if text[position : block.start].strip():
            yield from _divided(text, Block(BlockKind.PARAGRAPH, position, block.start, page=block.page))
        yield from _divided(text, block)
        position = block.end
    yield from _divided(text, Block(BlockKind.PARAGRAPH, position, len(text)))


def _divided(text: str, block: Block) -> Iterator[Block]:
    start = block.start
    while block.end - start > MAX_BLOCK_CHARS:
        cut = _cut_by_content(text, start + MAX_BLOCK_CHARS // 2, start + MAX_BLOCK_CHARS)
        yield from _trimmed(text, replace(block, start=start, end=cut))
        start = cut
    yield from _trimmed(text, replace(block, start=start) if start > block.start else block)


def _trimmed(text: str, block: Block) -> Iterator[Block]:
    stretch = text[block.start : block.end]
    left, right = len(stretch) - len(stretch.lstrip()), len(stretch) - len(stretch.rstrip())
    if left == len(stretch):
        return
    yield replace(block, start=block.start + left, end=block.end - right) if left or right else block


def _cut_by_content(text: str, low: int, high: int) -> int:
    """A position after a line end (or space) in `low:high`, the one with the least checksum of what follows."""
    for mark in ("\n", " "):
        candidates = []
        position = text.find(mark, low, high)
        while position >= 0:
            candidates.append(position + 1)
            # 16: a few thousand candidates suffice, however short the lines
            position = text.find(mark, position + 16, high)
        if candidates:
            return min(candidates, key=lambda at: zlib.crc32(text[at : at + 64].encode("utf-8", "replace")))
    return high
