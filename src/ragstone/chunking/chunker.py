"""Documents into chunks: exact spans of the text, along its structure, within the model's token budget.

The straight line, for one window of a document after the other: blocks under their headings → what each costs in
tokens → pieces (blocks, or parts of those too long for a chunk) → runs of pieces that make a chunk → chunks with their
context, counted as the model will see them. Windows leave no trace. Knows nothing of models and files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ragstone.chunking.columns import Chunks
from ragstone.chunking.context import Context, embedding_text, fitting_contexts, opens_with
from ragstone.chunking.counting import Ruler, TokenCounter, count_in_batches, stretch_cost
from ragstone.chunking.outline import Placed, outline
from ragstone.chunking.packing import Place, looked_back, pack
from ragstone.chunking.pieces import Gap, Piece, cut_block
from ragstone.errors import InputError
from ragstone.types import BlockKind, Chunk, ParsedDocument

__all__ = ["CHUNKER_VERSION", "MIN_BUDGET", "MIN_TOKENS", "TokenCounter", "chunk_document", "embedding_text"]

# Raise it whenever the same document gives other chunks than before: stores chunk again then.
CHUNKER_VERSION = 1

# Sections below this are joined with their siblings. 64 to 128 find as well as each other and a little better than
# 32 (LAB 2026-11-21); the least of them cites most narrowly.
MIN_TOKENS = 64

# A chunk needs room for a little context and a few words beside the model's own tokens; 16 is a short sentence.
MIN_BUDGET = 16

# The context takes at most one part in this many of a chunk; so do headings kept with what follows them.
CONTEXT_SHARE = 4

# What is cut and packed at a time. A document of 100 MB is two million pieces: were they held at once, the interpreter
# would stand still for seconds whenever it collects garbage.
WINDOW_CHARS = 50_000

_RUNS = (BlockKind.TABLE_ROW, BlockKind.CUE, BlockKind.LIST)


def chunk_document(
    document: ParsedDocument, *, tokens: TokenCounter, max_tokens: int, min_tokens: int = MIN_TOKENS
) -> Sequence[Chunk]:
    """The chunks of `document`, ascending and disjoint; everything but white space lies in exactly one.

    A chunk's `tokens` is `tokens.count_tokens([embedding_text])[0]` and never over `max_tokens` (special
    tokens and context included). A chunk lies within one page, begins at a heading wherever `min_tokens` lie
    before it, and divides a code fence, table row, list item or cue only if that alone is too long. Sections under
    `min_tokens` join their siblings. An edit changes the chunks around it, not those behind.
    Raises `InputError` if `max_tokens` leaves no room for text. Cost: the text is tokenised twice, in bounded
    batches; blocks longer than a chunk once more.
    """
    budget = _budget(tokens, max_tokens)
    contexts = fitting_contexts(
        document.title,
        (path for item in outline(document) for path in (item.section.above, item.section.path)),
        tokens=tokens,
        overhead=max_tokens - budget,
        budget=budget // CONTEXT_SHARE,
    )
    cutting = _Cutting(document.text, contexts, tokens, max_tokens=max_tokens, budget=budget)
    least = min(min_tokens, budget // 2)
    chunks = Chunks(document.text, contexts)
    pieces: list[Piece] = []
    owners: list[Placed] = []  # of each piece, the block that it is of
    first = 0  # where the first chunk that is still open begins
    for placed, ended in _windows(outline(document)):
        for piece, owner in cutting.pieces(placed):
            pieces.append(piece)
            owners.append(owner)
        places = _places(document.text, pieces, owners, contexts, budget)
        starts = pack(document.text, pieces, places, min_tokens=least, first=first, ended=ended)
        stops = [*starts[1:], len(pieces)] if ended else starts[1:]
        drafts = [
            _Draft(pieces[start:stop], owners[start], _headings(pieces[start], owners[start]))
            for start, stop in zip(starts, stops, strict=ended)
        ]
        for draft, count in _counted(document.text, drafts, contexts, tokens, max_tokens):
            block = draft.owner.block
            chunks.append(
                draft.start,
                draft.end,
                headings=draft.headings,
                page=block.page,
                time_s=block.time_s,
                tokens=count,
            )
        if not ended:
            done = looked_back(pieces, starts[-1], min_tokens=least)
            first = starts[-1] - done
            del pieces[:done], owners[:done]
    return chunks


def _windows(placed: Iterable[Placed]) -> Iterator[tuple[list[Placed], bool]]:
    """The blocks in stretches of `WINDOW_CHARS` characters and more, each with whether it is the last."""
    window: list[Placed] = []
    chars = 0
    for item in placed:
        if chars >= WINDOW_CHARS:
            yield window, False
            window, chars = [], 0
        window.append(item)
        chars += item.block.end - item.block.start
    if window:
        yield window, True


def _budget(tokens: TokenCounter, max_tokens: int) -> int:
    """Tokens of a chunk that are left for context and text."""
    overhead = tokens.count_tokens([""])[0]
    if max_tokens - overhead < MIN_BUDGET:
        raise InputError(
            f"chunks of {max_tokens} tokens are too small: the model takes {overhead} of them for itself",
            hint=f"use at least {overhead + MIN_BUDGET} tokens",
        )
    return max_tokens - overhead


class _Cutting:
    """Blocks into pieces, one stretch of a document after the other."""

    def __init__(
        self,
        text: str,
        contexts: dict[tuple[str, ...], Context],
        tokens: TokenCounter,
        *,
        max_tokens: int,
        budget: int,
    ) -> None:
        self._text = text
        self._contexts = contexts
        self._tokens = tokens
        self._overhead = max_tokens - budget
        self._budget = budget
        self._before: Placed | None = None
        self._glued = 0  # cost of the headings right before the next block, which stay with it

    def pieces(self, placed: Sequence[Placed]) -> Iterator[tuple[Piece, Placed]]:
        """The pieces of the blocks that come next, each with the block it is of."""
        text = self._text
        counts = count_in_batches(self._tokens, [text[item.block.start : item.block.end] for item in placed])
        for item, count in zip(placed, counts, strict=True):
            for piece in self._cut(item, count):
                yield piece, item
            self._before = item

    def _cut(self, item: Placed, count: int) -> list[Piece]:
        block, text, budget = item.block, self._text, self._budget
        gap = _gap(text, self._before, item, glued=self._glued > 0)
        glued = self._glued if gap is Gap.GLUED else 0
        cost = stretch_cost(count - self._overhead, block.end - block.start)
        whole = Piece(block.start, block.end, cost, gap)
        costs = (self._contexts[item.section.above].cost, self._contexts[item.section.path].cost)
        limit = budget - max(costs) - glued
        # a paragraph nearly as long as a chunk is offered in sentences, for when a stub precedes it
        most = limit - MIN_TOKENS if block.kind is BlockKind.PARAGRAPH else limit
        keeps = block.kind is BlockKind.HEADING and glued + whole.cost <= budget // CONTEXT_SHARE
        self._glued = glued + whole.cost if keeps else 0
        if whole.cost <= most:
            return [whole]
        ruler = Ruler(self._tokens.token_spans(text[block.start : block.end]), block.start)
        return cut_block(text, whole, block.kind, ruler, limit=limit)


def _gap(text: str, before: Placed | None, item: Placed, *, glued: bool) -> Gap:
    """How good a cut between two blocks is; `glued` if headings directly before want to stay with `item`."""
    kind = item.block.kind
    if before is not None and before.block.page == item.block.page:
        if glued:
            return Gap.GLUED
        if kind is not BlockKind.HEADING:
            if before.block.kind is kind and kind in _RUNS:
                return Gap.STANZA
            # "Run this:" belongs to what follows
            return Gap.LINE if text[before.block.end - 1] in ":：" else Gap.BLOCK
    return Gap.SECTION if kind is BlockKind.HEADING else Gap.BLOCK


def _places(
    text: str,
    pieces: Sequence[Piece],
    owners: Sequence[Placed],
    contexts: dict[tuple[str, ...], Context],
    budget: int,
) -> list[Place]:
    places = []
    for piece, owner in zip(pieces, owners, strict=True):
        context = contexts[_headings(piece, owner)]
        # a title that the text opens with is not repeated above it
        repeated = not context.headings and opens_with(text[piece.start : piece.end], context.title)
        places.append(
            Place(
                level=owner.section.level if piece.gap is Gap.SECTION else None,
                section_level=owner.section.level,
                page=owner.block.page,
                budget=budget - (0 if repeated else context.cost),
            )
        )
    return places


def _headings(first: Piece, owner: Placed) -> tuple[str, ...]:
    """The path of headings above a chunk that begins with `first`: not the heading that it opens with."""
    opens = owner.block.kind is BlockKind.HEADING and first.start == owner.block.start
    return owner.section.above if opens else owner.section.path


@dataclass(frozen=True, slots=True)
class _Draft:
    """A chunk before its tokens are counted."""

    pieces: Sequence[Piece]
    owner: Placed  # of the first piece
    headings: tuple[str, ...]

    @property
    def start(self) -> int:
        return self.pieces[0].start

    @property
    def end(self) -> int:
        return self.pieces[-1].end


def _counted(
    text: str,
    drafts: Sequence[_Draft],
    contexts: dict[tuple[str, ...], Context],
    tokens: TokenCounter,
    max_tokens: int,
) -> list[tuple[_Draft, int]]:
    """The drafts with their tokens, ascending; one that is over `max_tokens` after all is divided.

    That happens to tokenizers for which the parts of a text cost less than the whole, and to words cut in
    two. Each round halves what is over, so there are few.
    """
    fitting: list[tuple[_Draft, int]] = []
    while drafts:
        texts = [contexts[draft.headings].above(text[draft.start : draft.end]) for draft in drafts]
        over: list[_Draft] = []
        for draft, count in zip(drafts, count_in_batches(tokens, texts), strict=True):
            if count > max_tokens:
                over += _halves(text, draft, tokens)
            else:
                fitting.append((draft, count))
        drafts = over
    return sorted(fitting, key=lambda counted: counted[0].start)


def _halves(text: str, draft: _Draft, tokens: TokenCounter) -> Iterator[_Draft]:
    """Two or more drafts in place of one, divided at the best cut near its middle."""
    pieces = draft.pieces
    if len(pieces) == 1:
        (piece,) = pieces
        if piece.end - piece.start == 1:
            raise InputError(
                f"the character {text[piece.start]!r} alone has more tokens than a chunk may have",
                hint="use larger chunks",
            )
        ruler = Ruler(tokens.token_spans(text[piece.start : piece.end]), piece.start)
        pieces = cut_block(text, piece, draft.owner.block.kind, ruler, limit=max(1, piece.cost // 2))
    half = sum(piece.cost for piece in pieces) / 2
    # what lies before each piece, as distance from the middle; ties to the better gap
    position = 0
    ranked: list[tuple[float, int]] = []
    for index, piece in enumerate(pieces):
        if index:
            ranked.append((abs(position - half) / (1 + piece.gap), index))
        position += piece.cost
    _, middle = min(ranked)
    path = draft.owner.section.path
    yield _Draft(pieces[:middle], draft.owner, draft.headings)
    yield _Draft(pieces[middle:], draft.owner, path)
