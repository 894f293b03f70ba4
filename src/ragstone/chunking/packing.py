"""Which pieces go into a chunk together: whole sections where they fit, else stretches of even size.

The choice between equally good cuts falls by a checksum of the text after them, not by position, so that the
cuts behind an edit are the old ones again after a chunk or two. Knows costs and gaps, nothing of tokenizers.
"""

from __future__ import annotations

import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from ragstone.chunking.pieces import Gap, Piece

# Where a section has to be divided, chunks are at least this share of the budget: with one half, any text over
# one budget can be divided into chunks between half a budget and a whole one.
MIN_SHARE = 0.5

# Small sections are joined up to this many times `min_tokens`: the wider the choice, the sooner the cuts behind an
# edit are the old ones again. One new sentence in manuals of 100 small sections: with 2, up to 6 chunks change, with 3
# and 4 up to 3 (LAB 2026-11-21).
JOINED_SECTIONS = 3

# A cut depends on two budgets of what follows and a stub behind them; the rest is for pieces that are over a budget.
AHEAD = 8

_TOP_LEVEL = 0  # level of text before any heading


@dataclass(frozen=True, slots=True)
class Place:
    """Where a piece stands: `level` of the section it opens (None if it opens none), `section_level` of
    the section it is in (0 before any heading), `page`, and the `budget` of a chunk that begins with it."""

    level: int | None
    section_level: int
    page: int | None
    budget: int


def pack(
    text: str,
    pieces: Sequence[Piece],
    places: Sequence[Place],
    *,
    min_tokens: int,
    first: int = 0,
    ended: bool = True,
) -> list[int]:
    """Indices of the pieces that begin a chunk, ascending, from `first` on; empty for no pieces.

    `pieces[i]` stands at `places[i]`. A chunk's cost is within its budget wherever its first piece is. Unless the text
    has `ended` with the pieces, the last chunk is open: where it ends those decide that come after them. The same
    chunks are found as from all at once if the next call begins with it, and has what `looked_back` says before it.
    """
    walk = _Walk(text, pieces, places, min_tokens)
    ahead = 0 if ended else AHEAD * max((place.budget for place in places), default=0)
    starts: list[int] = []
    position = first
    while position < len(pieces) and walk.cost(position, len(pieces)) >= ahead:
        starts.append(position)
        position = walk.next_cut(position)
    return walk.without_stubs(starts, position) or ([] if ended else [first])


def looked_back(pieces: Sequence[Piece], start: int, *, min_tokens: int) -> int:
    """The index of the first piece that a walk from `start` looks at: behind the heading before it, `min_tokens` at the
    most."""
    cost = 0
    while start and cost < min_tokens and pieces[start].gap is not Gap.SECTION:
        start -= 1
        cost += pieces[start].cost
    return start


class _Walk:
    """The pieces of one document with what the walk over them looks up."""

    def __init__(self, text: str, pieces: Sequence[Piece], places: Sequence[Place], min_tokens: int) -> None:
        self.text = text
        self.pieces = pieces
        self.places = places
        self.min_tokens = min_tokens
        self.before = [0, *accumulate(piece.cost for piece in pieces)]  # cost of all pieces before i
        self.sections = [i for i, piece in enumerate(pieces) if piece.gap is Gap.SECTION]
        self.pages = [i for i in range(1, len(pieces)) if places[i].page != places[i - 1].page]

    def cost(self, start: int, stop: int) -> int:
        return self.before[stop] - self.before[start]

    def next_cut(self, start: int) -> int:
        """Index of the first piece of the chunk after the one that begins at `start`."""
        budget = self.places[start].budget
        fits = max(start + 1, bisect_right(self.before, self.before[start] + budget) - 1)
        page_end = _first_above(self.pages, start, len(self.pieces))
        section_cut = self._section_cut(start, min(fits, page_end))
        if section_cut is not None:
            return section_cut
        if fits >= page_end:
            return page_end
        section_end = min(_first_above(self.sections, fits, len(self.pieces)), page_end)
        return self._cut_within(start, fits, section_end, budget)

    def _section_cut(self, start: int, last: int) -> int | None:
        """Where the chunk ends before a heading, if it can.

        At the first that leaves the parent section; else at the first with `min_tokens` before it that borders
        on a section of so many itself; else, among small sections, at the one of least checksum of those
        with `min_tokens` to `JOINED_SECTIONS` times that before them; else, if the text goes on past
        `last`, at the last heading.
        """
        level = self._opening_level(start)
        first = bisect_right(self.sections, start)
        stop = bisect_right(self.sections, last)
        candidates: list[int] = []
        for number in range(first, stop):
            heading = self.sections[number]
            cost = self.cost(start, heading)
            if candidates and cost > JOINED_SECTIONS * self.min_tokens:
                break
            if (self.places[heading].level or _TOP_LEVEL) < level:
                return heading
            if cost >= self.min_tokens:
                if self._borders_on_large(number):
                    return heading
                candidates.append(heading)
        if candidates:
            return min(candidates, key=self._checksum)
        at_end = last == len(self.pieces) or last in self.pages
        # front matter or directives above the first heading are no chunk of their own
        preamble = level == _TOP_LEVEL
        return self.sections[stop - 1] if stop > first and not at_end and not preamble else None

    def _borders_on_large(self, number: int) -> bool:
        """Whether the section before or after the heading `sections[number]` has `min_tokens`."""
        heading = self.sections[number]
        begin = self.sections[number - 1] if number else 0
        end = self.sections[number + 1] if number + 1 < len(self.sections) else len(self.pieces)
        return max(self.cost(begin, heading), self.cost(heading, end)) >= self.min_tokens

    def _opening_level(self, start: int) -> int:
        place = self.places[start]
        return place.section_level if place.level is None else place.level

    def _cut_within(self, start: int, fits: int, section_end: int, budget: int) -> int:
        """The best cut of a stretch that goes on past the budget.

        In order: the best gap between blocks that leaves chunks of even size; one behind or before that range
        that leaves `min_tokens` on both sides; the best sentence or line end in the range; the last that fits.
        """
        least = int(budget * MIN_SHARE)
        rest = self.cost(start, section_end)
        most = max(least, min(budget, rest - least))
        low = max(start + 1, bisect_left(self.before, self.before[start] + least))
        high = min(fits, bisect_right(self.before, self.before[start] + most) - 1)
        # the last cut that leaves `min_tokens` for the next chunk
        roomy = min(fits, bisect_right(self.before, self.before[section_end] - self.min_tokens) - 1)
        early = max(start + 1, bisect_left(self.before, self.before[start] + self.min_tokens))
        cut = self._best(range(low, high + 1), Gap.STANZA)
        if cut is None:
            cut = self._best(range(high + 1, roomy + 1), Gap.STANZA)
        if cut is None:
            cut = self._last(range(early, min(low, fits + 1)), Gap.STANZA)
        if cut is None:
            cut = self._best(range(low, high + 1), Gap.TOKEN)
        if cut is None:
            cut = self._last(range(start + 1, fits + 1), Gap.TOKEN)
        return fits if cut is None else cut

    def _last(self, candidates: range, at_least: Gap) -> int | None:
        return next((i for i in reversed(candidates) if self._gap(i) >= at_least), None)

    def _gap(self, index: int) -> Gap:
        return self.pieces[index].gap

    def _best(self, candidates: range, at_least: Gap) -> int | None:
        """The candidate with the best gap; of several, the one with the least checksum of what follows."""
        gap = max((self._gap(i) for i in candidates), default=Gap.GLUED)
        if gap < at_least:
            return None
        return min((i for i in candidates if self._gap(i) is gap), key=self._checksum)

    def _checksum(self, index: int) -> int:
        piece = self.pieces[index]
        # 64 characters tell neighbouring sentences and rows apart
        return zlib.crc32(
            self.text[piece.start : min(piece.end, piece.start + 64)].encode("utf-8", "replace")
        )

    def without_stubs(self, starts: list[int], end: int) -> list[int]:
        """`starts` of chunks up to `end`, less those of chunks under `min_tokens` that fit into the chunk before them,
        if that is of the same page and the same parent section."""
        kept: list[int] = []
        for start, stop in zip(starts, [*starts[1:], end] if starts else [], strict=True):
            if kept and self.cost(start, stop) < self.min_tokens and self._may_join(kept[-1], start, stop):
                continue
            kept.append(start)
        return kept

    def _may_join(self, first: int, start: int, stop: int) -> bool:
        place = self.places[start]
        return (
            self.cost(first, stop) <= self.places[first].budget
            and self.places[first].page == place.page
            and (place.level is None or place.level >= max(self._opening_level(first), 1))
        )


def _first_above(ascending: Sequence[int], value: int, default: int) -> int:
    """The first entry greater than `value`."""
    index = bisect_right(ascending, value)
    return ascending[index] if index < len(ascending) else default
