"""Check every citation of a model's answer against the text it cites; what fails is taken out and reported.

A statement is supported if one or two sentences of the source hold all of its numbers and enough of its words, or mean
nearly the same. A statement turned around with the same words passes; made-up numbers and sources do not.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ragstone.answering.terms import analyse_question, numbers, stated_numbers, stems
from ragstone.chunking.sentences import sentences
from ragstone.types import Citation, Embedder, Hit

# A claim is supported by a passage with half its content words or this near in meaning. On 250 scifact claims: 74 % of
# the abstracts written as their evidence pass, 34 % of other abstracts on the subject, none of 250 random ones.
SHARE_MIN = 0.5
COSINE_MIN = 0.65
# A second sentence joins the quote if it brings 3 of 10 words: less is mostly a repeated subject.
SECOND_SENTENCE_GAIN = 0.3
# Sentences of a source joined to one quote: a claim often condenses two.
QUOTED_SENTENCES_MAX = 2

# [1] and [1, 2]; [1-3] stays text: no prompt of ours asks for it. Full-width brackets come from Chinese models.
_MARKER = re.compile(r"[ \t]*[\[【]\s*(\d{1,4}(?:\s*[,;、]\s*\d{1,4})*)\s*[\]】]")
_NUMBER = re.compile(r"\d{1,4}")
_LIST_MARKER = re.compile(r"\A\s*(?:\d{1,3}[.)]|[-*+•#]+)\s+")  # its number is no statement


@dataclass(frozen=True, slots=True)
class CheckedText:
    """The answer with only the citations that hold; `removed` says for each other one what was wrong."""

    text: str
    citations: tuple[Citation, ...]
    removed: tuple[str, ...]


def check_citations(text: str, sources: Sequence[Hit], *, embedder: Embedder) -> CheckedText:
    """`text` with every `[n]` checked; `sources[n - 1]` is source `n`.

    A citation belongs to the sentence it stands in or after. Markers inside code stay as they are.
    """
    pieces: list[str] = []
    citations: dict[tuple[int, int, int], Citation] = {}
    removed: list[str] = []
    position = 0
    for marker, claim in _claims(text):
        pieces.append(text[position : marker.start()])
        position = marker.end()
        kept: list[int] = []
        for n in dict.fromkeys(int(digits) for digits in _NUMBER.findall(marker.group(1))):
            if not 1 <= n <= len(sources):
                removed.append(f"[{n}] names no source (1 to {len(sources)} exist)")
                continue
            citation = _supported(claim, n, sources[n - 1], embedder)
            if citation is None:
                removed.append(f"[{n}] does not hold: {_short(claim)}")
                continue
            kept.append(n)
            citations[(n, citation.start, citation.end)] = citation
        if kept:
            lead = " " if marker.group().startswith((" ", "\t")) else ""
            pieces.append(lead + "".join(f"[{n}]" for n in kept))
    pieces.append(text[position:])
    return CheckedText("".join(pieces).strip(), tuple(citations.values()), tuple(removed))


def _claims(text: str) -> list[tuple[re.Match[str], str]]:
    """Each marker outside code with the statement it stands for, markers taken out."""
    code = [m.span() for m in re.finditer(r"```.*?(?:```|\Z)|`[^`\n]*`", text, re.DOTALL)]
    markers = [m for m in _MARKER.finditer(text) if not any(a <= m.start(1) < b for a, b in code)]
    if not markers:
        return []
    # Sentences are found in the text with its markers blanked out, so that offsets agree.
    blank = list(text)
    for m in markers:
        blank[m.start() : m.end()] = " " * (m.end() - m.start())
    plain = "".join(blank)
    spans = sentences(plain)
    claims = []
    for m in markers:
        before = [(a, b) for a, b in spans if a < m.start()]
        start, end = before[-1] if before else (spans[0] if spans else (0, 0))
        claims.append((m, " ".join(_LIST_MARKER.sub("", plain[start:end]).split())))
    return claims


def _supported(claim: str, n: int, source: Hit, embedder: Embedder) -> Citation | None:
    """The citation with the source's best sentences as its quote, or None if they do not support `claim`."""
    passages = _passages(claim, source)
    if not passages:
        return None
    best = max(passages, key=lambda p: p.share - SECOND_SENTENCE_GAIN * p.joined)
    if best.share < SHARE_MIN:  # other words may say the same; embedding costs more, so it comes second
        texts = [source.text[p.start : p.end] for p in passages]
        cosines = embedder.embed_documents(texts) @ embedder.embed_query(claim)  # (n,)
        if float(cosines.max()) < COSINE_MIN:
            return None
        best = passages[int(cosines.argmax())]
    return citation(source, n, source.start + best.start, source.start + best.end)


def citation(source: Hit, n: int, start: int, end: int) -> Citation:
    """The citation of source `n` (from 1) that quotes characters `start` to `end` of its document."""
    return Citation(
        n=n,
        uri=source.uri,
        title=source.title,
        page=source.page,
        time_s=source.time_s,
        start=start,
        end=end,
        quote=source.text[start - source.start : end - source.start],
    )


@dataclass(frozen=True, slots=True)
class _Passage:
    """`source.text[start:end]`: a sentence with `joined` more; `share` is that of the claim's words in it."""

    start: int
    end: int
    share: float
    joined: int


def _passages(claim: str, source: Hit) -> list[_Passage]:
    """Passages that hold every number the claim states, the longer ones only where they add enough."""
    wanted = frozenset(analyse_question(claim).terms)
    if not wanted:
        return []
    context = set(stems(" ".join((source.title, *source.headings))))
    spans = sentences(source.text)
    stated = stated_numbers(claim)
    found = []
    for size in range(1, QUOTED_SENTENCES_MAX + 1):
        for i in range(len(spans) - size + 1):
            start, end = spans[i][0], spans[i + size - 1][1]
            quote = source.text[start:end]
            if stated <= numbers(quote) | numbers(source.title):
                share = len(wanted & context.union(stems(quote))) / len(wanted)
                found.append(_Passage(start, end, share, joined=size - 1))
    return found


def _short(claim: str) -> str:
    return claim if len(claim) <= 80 else claim[:79] + "…"
