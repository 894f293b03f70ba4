"""The answer without a chat model: the best one to three sentences, quoted word for word and cited.

Works on scored sentences; whether the documents hold the answer at all is decided elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ragstone.answering.passages import Sentence
from ragstone.types import Citation, Hit

# What a person reads at a glance, and what the acceptance tests allow.
WORDS_MAX = 60
SENTENCES_MAX = 3
# A second or third sentence has to be this good beside the best one, or it only distracts: on 119 questions of
# xquad-en answers fell from 55 to 40 words and as many (87 %) held the gold answer.
SHARE_OF_BEST = 0.75

_MARKUP_STARTS = ("#", "---", "===", "|", "```", "<!--", "::", "..")
_HEADER_FIELD = re.compile(
    r"(?:title|author|date|tags|from|to|cc|subject|sort_rank|id|sidebar_label): ", re.IGNORECASE
)


def extract(hits: Sequence[Hit], ranked: Sequence[Sentence]) -> tuple[str, tuple[Citation, ...]]:
    """An answer of at most `WORDS_MAX` words and its citations, each quote verbatim in its document.

    The text is the quotes with white space evened out, each followed by its number. Neighbouring sentences become
    one quote. Empty if there is no sentence.
    """
    statements = [sentence for sentence in ranked if is_statement(_quoted(hits, sentence))]
    spans = _merged(_choose(hits, statements or ranked), hits)
    citations = tuple(_citation(hits, number, start, end) for number, start, end in spans)
    text = " ".join(f"{' '.join(c.quote.split())} [{c.n}]" for c in citations)
    return text, citations


def _choose(hits: Sequence[Hit], ranked: Sequence[Sentence]) -> list[tuple[int, int, int]]:
    """(hit, start, end) of the sentences to quote, best first, within the word budget."""
    chosen: list[tuple[int, int, int]] = []
    left = WORDS_MAX
    best = 0.0
    said: set[str] = set()
    for sentence in ranked:
        if len(chosen) == SENTENCES_MAX or left < 2:
            break
        quote = _quoted(hits, sentence)
        same = " ".join(quote.lower().split())
        words = len(quote.split()) + 1  # its number counts
        if same in said:
            continue
        if chosen and sentence.score < SHARE_OF_BEST * best:
            break
        best = max(best, sentence.score)
        if words > left:
            if chosen:
                continue
            end = sentence.start + _end_of_words(quote, left - 1)
        else:
            end = sentence.end
        said.add(same)
        chosen.append((sentence.hit, sentence.start, end))
        left -= words
    return chosen


def _quoted(hits: Sequence[Hit], sentence: Sentence) -> str:
    hit = hits[sentence.hit]
    return hit.text[sentence.start - hit.start : sentence.end - hit.start]


def is_statement(quote: str) -> bool:
    """Whether a stretch of text says something by itself: no heading, question, header field or front matter."""
    first, *rest = quote.lstrip().splitlines() or [""]
    if first.startswith(_MARKUP_STARTS) and not any(line.strip() for line in rest):
        return False
    if _HEADER_FIELD.match(first.lstrip("- ")) or first.startswith("---"):
        return False
    return not quote.rstrip(" *_\"'»”").endswith("?")


def _end_of_words(text: str, count: int) -> int:
    """Where the first `count` words of `text` end."""
    position = 0
    for word in text.split()[:count]:
        position = text.index(word, position) + len(word)
    return position


def _merged(spans: Sequence[tuple[int, int, int]], hits: Sequence[Hit]) -> list[tuple[int, int, int]]:
    """Spans grouped by hit in order of the hit's best, in reading order within it, neighbours joined."""
    order = list(dict.fromkeys(number for number, _, _ in spans))
    merged: list[tuple[int, int, int]] = []
    for number, start, end in sorted(spans, key=lambda span: (order.index(span[0]), span[1])):
        if merged and merged[-1][0] == number:
            hit = hits[number]
            between = hit.text[merged[-1][2] - hit.start : start - hit.start]
            if not between.strip():
                merged[-1] = (number, merged[-1][1], end)
                continue
        merged.append((number, start, end))
    return merged


def _citation(hits: Sequence[Hit], number: int, start: int, end: int) -> Citation:
    hit = hits[number]
    return Citation(
        n=number + 1,
        uri=hit.uri,
        title=hit.title,
        page=hit.page,
        time_s=hit.time_s,
        start=start,
        end=end,
        quote=hit.text[start - hit.start : end - hit.start],
    )
