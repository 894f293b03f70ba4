"""The answer without a chat model: the best one to three passages, quoted word for word and cited.

Works on scored passages; whether the documents hold the answer at all is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ragstone.answering.citations import citation
from ragstone.answering.lines import Span, below
from ragstone.answering.passages import Passage, paired
from ragstone.answering.structure import Role
from ragstone.types import Citation, Hit

# What a person reads at a glance, and what the acceptance tests allow.
WORDS_MAX = 60
PASSAGES_MAX = 3
# A second or third passage has to be this good beside the best one, or it only distracts: on 119 questions of
# xquad-en answers fell from 55 to 40 words and as many (87 %) held the gold answer.
SHARE_OF_BEST = 0.75
# The rows of one table share their title and columns, so the wrong ones come close.
SHARE_OF_BEST_ROW = 0.95


@dataclass(frozen=True, slots=True)
class _Piece:
    """A stretch of the answer and the spans of the document it comes from."""

    hit: int
    role: Role
    text: str
    spans: tuple[Span, ...]


def extract(hits: Sequence[Hit], ranked: Sequence[Passage]) -> tuple[str, tuple[Citation, ...]]:
    """An answer of at most `WORDS_MAX` words and its citations, each quote verbatim in its document.

    The text is the quotes with white space evened out, each followed by its number; the values of a table's row stand
    behind their columns' names, with one citation for the row and one for the names. Neighbouring sentences become
    one quote. Passages that say nothing by themselves are used only where there are no others.
    Empty if there is no passage.
    """
    standing = [passage for passage in ranked if passage.stands]
    pieces = list(_pieces(hits, _choose(hits, _with_follower(hits, standing or ranked))))
    citations = tuple(
        citation(hits[piece.hit], piece.hit + 1, *span) for piece in pieces for span in piece.spans
    )
    return " ".join(f"{piece.text} [{piece.hit + 1}]" for piece in pieces), citations


def _with_follower(hits: Sequence[Hit], ranked: Sequence[Passage]) -> Sequence[Passage]:
    """`ranked` with the sentence behind the best one moved up beside it where that has what is asked for.

    "A cello was found. It belongs to Noor.": the one has the words of the question, the other the name. On the odd
    questions of xquad-en this changes nothing (86.7 % before and after, .2 words more).
    """
    best = ranked[0] if ranked else None
    if best is None or best.role is not Role.SENTENCE:
        return ranked
    follower = min((p for p in ranked if p.hit == best.hit and p.start >= best.end), key=_start, default=None)
    if follower is None or follower.role is not Role.SENTENCE:
        return ranked
    gap = _slice(hits, best.hit, (best.end, follower.start))
    wanted = follower.kind > 0 and (follower.leans or not best.kind)
    if not wanted or gap.strip() or gap.count("\n") > 1:
        return ranked
    others = [passage for passage in ranked[1:] if passage is not follower]
    return [best, replace(follower, score=best.score), *others]


def _start(passage: Passage) -> int:
    return passage.start


def _choose(hits: Sequence[Hit], ranked: Sequence[Passage]) -> list[Passage]:
    """The passages to quote, best first, within the word budget; the best is cut to it."""
    chosen: list[Passage] = []
    said: set[str] = set()
    left = WORDS_MAX
    for passage in ranked:
        if len(chosen) == PASSAGES_MAX or left < 2:
            break
        if chosen and passage.score < _share(hits, passage, chosen[0]) * chosen[0].score:
            if passage.role is Role.ROW:
                continue
            break
        same = " ".join(_slice(hits, passage.hit, (passage.start, passage.end)).lower().split())
        words = sum(len(_slice(hits, passage.hit, span).split()) for span in passage.quotes)
        if same in said or (chosen and words >= left):
            continue
        said.add(same)
        chosen.append(passage if words < left else _cut(hits, passage, left - 1))
        left -= words + 1  # its number counts
    return chosen


def _share(hits: Sequence[Hit], passage: Passage, best: Passage) -> float:
    rows = passage.role is best.role is Role.ROW and hits[passage.hit].uri == hits[best.hit].uri
    return SHARE_OF_BEST_ROW if rows else SHARE_OF_BEST


def _cut(hits: Sequence[Hit], passage: Passage, words: int) -> Passage:
    """The passage without what heads it, and no more than its first `words` words."""
    quote = _slice(hits, passage.hit, (passage.start, passage.end))
    position = 0
    for word in quote.split()[:words]:
        position = quote.index(word, position) + len(word)
    return replace(passage, quotes=((passage.start, passage.start + position),))


def _pieces(hits: Sequence[Hit], chosen: Sequence[Passage]) -> Iterator[_Piece]:
    """The answer's stretches grouped by hit in order of the hit's best, in reading order within it."""
    order = list(dict.fromkeys(passage.hit for passage in chosen))
    last: _Piece | None = None
    cited: set[tuple[int, Span]] = set()
    for passage in sorted(chosen, key=lambda p: (order.index(p.hit), p.start)):
        number = passage.hit
        fresh = tuple(span for span in passage.quotes if (number, span) not in cited)
        cited.update((number, span) for span in fresh)
        shown = passage.quotes if passage.role is Role.ROW else fresh
        text = _text([_slice(hits, number, span) for span in shown], passage.role)
        spans = _joined(hits, number, fresh)
        if last is not None and last.hit == number and passage.role is last.role is Role.SENTENCE:
            together = _joined(hits, number, (*last.spans, *spans))
            if len(together) < len(last.spans) + len(spans):
                last = _Piece(number, passage.role, f"{last.text} {text}", together)
                continue
        if last is not None:
            yield last
        last = _Piece(number, passage.role, text, spans)
    if last is not None:
        yield last


def _text(quotes: Sequence[str], role: Role) -> str:
    """A passage's quotes on one line, itself behind what heads it."""
    parts = [" ".join(quote.split()) for quote in quotes]
    if role is Role.ROW:
        return paired(*quotes) if len(quotes) == 2 else "; ".join(parts)
    return below(*parts) if len(parts) == 2 else parts[0]


def _joined(hits: Sequence[Hit], number: int, spans: Sequence[Span]) -> tuple[Span, ...]:
    """Spans in their order, neighbours with nothing but white space between them made one."""
    joined: list[Span] = []
    for start, end in spans:
        if joined and joined[-1][1] <= start and not _slice(hits, number, (joined[-1][1], start)).strip():
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return tuple(joined)


def _slice(hits: Sequence[Hit], number: int, span: Span) -> str:
    hit = hits[number]
    return hit.text[span[0] - hit.start : span[1] - hit.start]
