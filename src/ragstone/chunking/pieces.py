"""Blocks cut into pieces: the stretches that are never divided again, and how good a cut between them is.

A block that fits a chunk is one piece. One that does not is cut by what it is: code at lines, lists at items,
prose at sentences, then at clauses and words, and inside a word only at the tokenizer's own boundaries.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise
from typing import TypeAlias

from ragstone.chunking.counting import Ruler
from ragstone.chunking.sentences import sentences
from ragstone.types import BlockKind

# Overlong words are offered to the packer in this many parts of a budget, so that it can fill and balance chunks.
WORD_PARTS = 4


class Gap(IntEnum):
    """How good a cut before a piece is; higher is better. GLUED is never cut."""

    GLUED = 0
    TOKEN = 1
    WORD = 2
    CLAUSE = 3
    LINE = 4  # a sentence, or a line of code
    STANZA = 5  # a blank line in code, a list item, a row, a cue
    BLOCK = 6
    SECTION = 7  # before a heading


@dataclass(frozen=True, slots=True)
class Piece:
    """`text[start:end]`, no white space at its ends; `cost` in tokens of budget; `gap` lies before it."""

    start: int
    end: int
    cost: int
    gap: Gap


def cut_block(text: str, piece: Piece, kind: BlockKind, ruler: Ruler, *, limit: int) -> list[Piece]:
    """The pieces of a block, each of at most `limit` cost, the first with the block's own gap."""
    levels = (
        _CODE_LEVELS if kind is BlockKind.CODE else _LIST_LEVELS if kind is BlockKind.LIST else _PROSE_LEVELS
    )
    return [
        Piece(start, end, ruler.cost(start, end), piece.gap if start == piece.start else gap)
        for start, end, gap in _cut(text, piece.start, piece.end, ruler, limit, levels)
    ]


def _cut(
    text: str, start: int, end: int, ruler: Ruler, limit: int, levels: Sequence[_Level]
) -> Iterator[tuple[int, int, Gap]]:
    """Spans and the gap before each; goes down one level for every stretch that is over `limit`."""
    if not levels:
        yield from _token_parts(text, start, end, ruler, limit)
        return
    level, *finer = levels
    for begin, stop, gap in level(text, start, end):
        if ruler.cost(begin, stop) <= limit:
            yield begin, stop, gap
        else:
            inner = _cut(text, begin, stop, ruler, limit, finer)
            first_begin, first_stop, _ = next(inner)
            yield first_begin, first_stop, gap
            yield from inner


def _token_parts(text: str, start: int, end: int, ruler: Ruler, limit: int) -> Iterator[tuple[int, int, Gap]]:
    """A word over the limit, in parts of a quarter of the limit, never before a combining mark."""
    parts = -(-ruler.cost(start, end) // max(1, limit // WORD_PARTS))
    bounds = [start]
    for position in ruler.cuts(start, end, parts):
        position = _before_mark(text, position, end)
        if bounds[-1] < position < end:
            bounds.append(position)
    for begin, stop in pairwise([*bounds, end]):
        yield begin, stop, Gap.TOKEN


def _before_mark(text: str, position: int, end: int) -> int:
    """`position`, moved right past combining marks and joiners (at most 8: no script stacks more)."""
    for _ in range(8):
        if position >= end or not _joins(text[position - 1], text[position]):
            break
        position += 1
    return position


def _joins(left: str, right: str) -> bool:
    return left == "\u200d" or right == "\u200d" or unicodedata.category(right)[0] == "M"


_LINE = re.compile(r"[^\n]+")
_BLANK_LINE = re.compile(r"\n[^\S\n]*\n")
_ITEM = re.compile(r"^[^\S\n]*(?:[-*+•‣–]|\(?\d{1,4}[.)]|\(?[a-z][.)])[^\S\n]", re.MULTILINE)
# A word, or a run up to and including a full-width mark, where clauses end without a space.
_WORD = re.compile(r"[^\s，、；：。！？]*+[，、；：。！？]++|[^\s，、；：。！？]++")
_CLAUSE_ENDS = tuple(",;:)]}>，、；：。！？—–|")


def _stanzas(text: str, start: int, end: int) -> Iterator[tuple[int, int, Gap]]:
    """Stretches between blank lines."""
    position = start
    for match in _BLANK_LINE.finditer(text, start, end):
        yield from _trimmed(text, position, match.start(), Gap.STANZA)
        position = match.end()
    yield from _trimmed(text, position, end, Gap.STANZA)


def _lines(text: str, start: int, end: int) -> Iterator[tuple[int, int, Gap]]:
    for match in _LINE.finditer(text, start, end):
        yield from _trimmed(text, match.start(), match.end(), Gap.LINE)


def _items(text: str, start: int, end: int) -> Iterator[tuple[int, int, Gap]]:
    """List items, nested ones too; what lies before the first marker is one of them."""
    bounds = [start, *(m.start() for m in _ITEM.finditer(text, start, end) if m.start() > start), end]
    for begin, stop in pairwise(bounds):
        yield from _trimmed(text, begin, stop, Gap.STANZA)


def _sentences(text: str, start: int, end: int) -> Iterator[tuple[int, int, Gap]]:
    for begin, stop in sentences(text[start:end]):
        yield start + begin, start + stop, Gap.LINE


def _words(text: str, start: int, end: int) -> Iterator[tuple[int, int, Gap]]:
    gap = Gap.WORD
    for match in _WORD.finditer(text, start, end):
        yield match.start(), match.end(), gap
        gap = Gap.CLAUSE if match.group().endswith(_CLAUSE_ENDS) else Gap.WORD


def _trimmed(text: str, start: int, end: int, gap: Gap) -> Iterator[tuple[int, int, Gap]]:
    """The stretch without the white space around it; nothing if it holds nothing else."""
    stretch = text[start:end]
    left = len(stretch) - len(stretch.lstrip())
    if left < len(stretch):
        yield start + left, start + len(stretch.rstrip()), gap


_Level: TypeAlias = Callable[[str, int, int], Iterator[tuple[int, int, Gap]]]
_PROSE_LEVELS: tuple[_Level, ...] = (_stanzas, _sentences, _words)
_LIST_LEVELS: tuple[_Level, ...] = (_items, _sentences, _words)
_CODE_LEVELS: tuple[_Level, ...] = (_stanzas, _lines, _words)
