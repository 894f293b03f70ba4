"""Check every citation of a model's answer against the text it cites; what fails is taken out and reported.

The check is lexical: a sentence is supported if a source sentence holds enough of its words and all of its numbers.
It cannot see a statement turned around with the same words; it does see made-up numbers, names and sources.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ragstone.answering.terms import analyse_question, numbers
from ragstone.chunking.sentences import sentences
from ragstone.store.analysis import analyse
from ragstone.types import Citation, Hit

# Share of a claim's content words that the cited source must hold, and its best sentences too.
SUPPORT_MIN = 0.5
# Sentences of a source joined to one quote: a claim often condenses two.
QUOTED_SENTENCES_MAX = 2

# [1], [1, 2], [1-3] is not used by prompts of ours and stays text. Full-width brackets come from Chinese models.
_MARKER = re.compile(r"[ \t]*[\[【]\s*(\d{1,4}(?:\s*[,;、]\s*\d{1,4})*)\s*[\]】]")
_NUMBER = re.compile(r"\d{1,4}")


@dataclass(frozen=True, slots=True)
class CheckedText:
    """The answer with only the citations that hold; `removed` says for each other one what was wrong."""

    text: str
    citations: tuple[Citation, ...]
    removed: tuple[str, ...]


def check_citations(text: str, sources: Sequence[Hit]) -> CheckedText:
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
            citation = _supported(claim, n, sources[n - 1])
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
        claims.append((m, " ".join(plain[start:end].split())))
    return claims


def _supported(claim: str, n: int, source: Hit) -> Citation | None:
    """The citation with the source's best sentences as its quote, or None if they do not support `claim`."""
    wanted = frozenset(analyse_question(claim).terms)
    if not wanted:
        return None
    context = set(analyse(" ".join((source.title, *source.headings))))
    spans = sentences(source.text)
    best: tuple[float, int, int] | None = None
    for size in range(1, QUOTED_SENTENCES_MAX + 1):
        for i in range(len(spans) - size + 1):
            start, end = spans[i][0], spans[i + size - 1][1]
            quote = source.text[start:end]
            terms = set(analyse(quote))
            if not terms & wanted:
                continue
            missing = numbers(claim) - numbers(quote)
            share = len(wanted & (terms | context)) / len(wanted)
            value = share - len(missing)  # a quote with all numbers goes before one with more words
            if best is None or value > best[0] + 0.1 * (size > 1):
                best = (value, start, end)
    if best is None or best[0] < SUPPORT_MIN:
        return None
    return Citation(
        n=n,
        uri=source.uri,
        title=source.title,
        page=source.page,
        time_s=source.time_s,
        start=source.start + best[1],
        end=source.start + best[2],
        quote=source.text[best[1] : best[2]],
    )


def _short(claim: str) -> str:
    return claim if len(claim) <= 80 else claim[:79] + "…"
