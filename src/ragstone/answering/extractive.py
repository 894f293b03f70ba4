"""The answer without a chat model: the best one to three sentences, quoted word for word and cited.

Works on scored sentences; whether the documents hold the answer at all is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence

from ragstone.answering.passages import Sentence
from ragstone.types import Citation, Hit

# What a person reads at a glance, and what the acceptance tests allow.
WORDS_MAX = 60
SENTENCES_MAX = 3


def extract(hits: Sequence[Hit], ranked: Sequence[Sentence]) -> tuple[str, tuple[Citation, ...]]:
    """An answer of at most `WORDS_MAX` words and its citations, each quote verbatim in its document.

    The text is the quotes with white space evened out, each followed by its number. Neighbouring sentences become
    one quote. Empty if there is no sentence.
    """
    spans = _merged(_choose(hits, ranked), hits)
    citations = tuple(_citation(hits, number, start, end) for number, start, end in spans)
    text = " ".join(f"{' '.join(c.quote.split())} [{c.n}]" for c in citations)
    return text, citations


def _choose(hits: Sequence[Hit], ranked: Sequence[Sentence]) -> list[tuple[int, int, int]]:
    """(hit, start, end) of the sentences to quote, best first, within the word budget."""
    chosen: list[tuple[int, int, int]] = []
    left = WORDS_MAX
    said: set[str] = set()
    for sentence in ranked:
        if len(chosen) == SENTENCES_MAX or left < 1:
            break
        quote = hits[sentence.hit].text[sentence.start - hits[sentence.hit].start :][
            : sentence.end - sentence.start
        ]
        same = " ".join(quote.lower().split())
        words = len(quote.split())
        if same in said:
            continue
        if words > left:
            if chosen:
                continue
            end = sentence.start + _end_of_words(quote, left)
        else:
            end = sentence.end
        said.add(same)
        chosen.append((sentence.hit, sentence.start, end))
        left -= words
    return chosen


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
