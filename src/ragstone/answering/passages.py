"""The passages of the hits, scored against a question: what both the extractive answer and grounding read.

Functions over hits, an analysed question and an embedder; knows nothing of chat models or thresholds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from ragstone.answering.kinds import AnswerKind
from ragstone.answering.lines import Span, asks, below, cells, field_name, fields
from ragstone.answering.structure import Role, Stretch, stretches
from ragstone.answering.terms import Question, holds_kind, spoken_dates, stems
from ragstone.types import Embedder, Hit, Vector

# 8 of some 20 sentences: 4 to 24 gave xquad-en the same answers to half a point, and among 8 is nearly always the
# nearest in meaning of all (mean loss .001); each costs some 2 ms.
EMBEDDED_MAX = 8
# A passage is quoted in full up to here; a longer one is embedded and matched by its first part only.
PASSAGE_CHARS_MAX = 1000
# A record of more words is quoted in part: the field that names it and those that the question speaks of.
RECORD_WORDS_MAX = 40
# A heading of more words is not quoted with the sentence below it.
HEADER_WORDS_MAX = 20

# Chosen on the odd questions of xquad-en; the even ones then find their answer in 91 % of 60-word answers. Without
# coverage 89.1, context 89.7, cosine 89.9, place 89.4, kind 90.6. `missing` is worth one of the sample documents'
# questions and costs the odd ones of xquad-en one in 595.
WEIGHTS: Mapping[str, float] = {
    "coverage": 0.75,
    "context": 0.35,
    "cosine": 1.0,
    "kind": 0.15,
    "place": 0.35,
    "missing": -0.35,
}

# Which words of a question ask for a field about the document itself, such as its author.
_ASKS_ABOUT: Mapping[str, frozenset[str]] = {
    name: frozenset(words.split())
    for names, words in (
        (
            "author authors from",
            "author wrote written writes sent sender autor verfasser verfasste schrieb geschickt",
        ),
        ("date", "date dated written sent published datum geschrieben veröffentlicht"),
        ("to", "recipient recipients addressed empfänger"),
        ("language", "language sprache"),
    )
    for name in names.split()
}
# What means little without its document's title.
_UNTITLED = frozenset({Role.ROW, Role.FIELD, Role.ABOUT})
_WORD = re.compile(r"[^\W\d_]+")
# A sentence that begins so goes on about what the one before it said.
_LEANS = re.compile(
    r"(?:it|its|he|his|she|her|they|their|this|these|that|there|er|sie|es|dies\w{0,2}|ihre?|seine?)\b|[他她它这]",
    re.IGNORECASE,
)
Terms: TypeAlias = frozenset[str]


@dataclass(frozen=True, slots=True)
class Passage:
    """A sentence, row or field `document[start:end]` of hit number `hit` (0-based) with its features in [0, 1].

    `quotes` are the spans of the document to show for it, in reading order: what heads it, if that matters, and
    itself. `leans` is True for a sentence that goes on about the one before it, `stands` is False for what says
    nothing by itself, such as a heading. `said` is what was embedded. `coverage` is the weighted share of the
    question's terms in it (for a row or field its column names and title counted), `context` the same with its
    hit's title, headings and neighbours counted; `cosine` (clipped at 0) is 0 for passages that were not embedded;
    `kind` is 1 if it holds something of the asked kind; `place` is 1 for the best hit, falling with rank;
    `missing` is the weighted share of the question's numbers that its hit does not hold.
    """

    hit: int
    start: int
    end: int
    role: Role
    quotes: tuple[Span, ...]
    leans: bool
    stands: bool
    said: str
    coverage: float
    context: float
    cosine: float
    kind: float
    place: float
    missing: float
    score: float


def score_passages(
    question: Question, hits: Sequence[Hit], *, embedder: Embedder, query_vector: Vector | None = None
) -> list[Passage]:
    """Every passage of `hits`, best first (ties in reading order of the hits), those that do not stand last.

    Only the `EMBEDDED_MAX` best by their words are embedded; the others follow with cosine 0.
    """
    found = [p for number, hit in enumerate(hits) for p in _lexical(question, number, hit, len(hits))]
    found.sort(key=lambda p: (not p.stands, -p.score))
    head, tail = found[:EMBEDDED_MAX], found[EMBEDDED_MAX:]
    if head:
        vector = embedder.embed_query(question.text) if query_vector is None else query_vector
        cosines = embedder.embed_documents([p.said for p in head]) @ vector  # (n,)
        head = [_with_cosine(p, float(c)) for p, c in zip(head, np.clip(cosines, 0.0, 1.0), strict=True)]
        head.sort(key=lambda p: (not p.stands, -p.score, p.hit, p.start))
    return head + tail


def _lexical(question: Question, number: int, hit: Hit, count: int) -> Iterator[Passage]:
    """The passages of a hit, by their words only."""
    found = stretches(hit.text, opens=hit.start == 0)
    own = [_own_terms(question, s.role, hit.text[s.start : s.end]) for s in found]
    title = frozenset(stems(" ".join((hit.title, *hit.headings))))
    headers = {s.header: _stems_of(hit.text, s.header) for s in found}
    sections = {s.section: title.union(stems(s.section)) for s in found}
    place = 1.0 - number / max(count, 1)
    missing = question.numbers_missing(title.union(*own))
    for i, stretch in enumerate(found):
        text = hit.text[stretch.start : stretch.end]
        above, header = sections[stretch.section], headers[stretch.header]
        answered = _answered(question, stretch.role, own=own[i], header=header, above=above)
        features = {
            "coverage": question.coverage(answered),
            "context": question.coverage(above.union(header, *own[max(0, i - 1) : i + 2])),
            "kind": float(holds_kind(question.kind, text[:PASSAGE_CHARS_MAX], question.terms)),
            "place": place,
            "missing": missing,
        }
        quotes = _quotes(question, hit.text, stretch, header - own[i])
        asked = stretch.role is not Role.ABOUT or bool(_asking_words(question, text))
        yield Passage(
            hit=number,
            start=hit.start + stretch.start,
            end=hit.start + stretch.end,
            role=stretch.role,
            quotes=tuple((hit.start + begin, hit.start + end) for begin, end in quotes),
            leans=stretch.role is Role.SENTENCE and _LEANS.match(text) is not None,
            stands=stretch.role is not Role.LABEL and asked,
            said=_said(hit, stretch, titled=above <= answered)[:PASSAGE_CHARS_MAX],
            cosine=0.0,
            score=sum(WEIGHTS[name] * value for name, value in features.items()),
            **features,
        )


def _own_terms(question: Question, role: Role, text: str) -> Terms:
    """The terms of a passage, its dates as people name them; for a field about the document what asks for it, too."""
    own = stems(text) + spoken_dates(text)
    return frozenset(own + stems(" ".join(_asking_words(question, text))) if role is Role.ABOUT else own)


def _stems_of(text: str, span: Span | None) -> Terms:
    return frozenset(stems(text[slice(*span)])) if span else frozenset()


def _answered(question: Question, role: Role, *, own: Terms, header: Terms, above: Terms) -> Terms:
    """The terms a passage answers for: its own, those of what heads it, and for a row or field its title's.

    A title counts for a row or field with a word of the question only: else each line of a document would answer all
    that its title is about.
    """
    named = own | header
    return named | above if role in _UNTITLED and not named.isdisjoint(question.terms) else named


def _quotes(question: Question, text: str, stretch: Stretch, added: Terms) -> Iterator[Span]:
    """What to show: a row's header, a question, or a heading that has words of the question (`added`); then itself."""
    if stretch.header is not None:
        header = text[slice(*stretch.header)]
        useful = asks(header) or not added.isdisjoint(question.terms)
        if stretch.role is Role.ROW or (useful and len(header.split()) <= HEADER_WORDS_MAX):
            yield stretch.header
    body = text[stretch.start : stretch.end]
    if stretch.role is not Role.ROW or len(body.split()) <= RECORD_WORDS_MAX:
        yield stretch.start, stretch.end
        return
    for i, (start, end) in enumerate(fields(body)):
        if i == 0 or not question.terms.keys().isdisjoint(stems(body[start:end])):
            yield stretch.start + start, stretch.start + end


def _asking_words(question: Question, text: str) -> frozenset[str]:
    """The words of the question that ask for this field about the document, such as "wrote" for its author."""
    name = field_name(text)
    unasked = {AnswerKind.PERSON, AnswerKind.PLACE} if name == "date" else {AnswerKind.TIME, AnswerKind.PLACE}
    if question.kind in unasked:
        return frozenset()
    return _ASKS_ABOUT.get(name, frozenset()).intersection(_WORD.findall(question.text.lower()))


def _said(hit: Hit, stretch: Stretch, *, titled: bool) -> str:
    """A passage in words that mean something by themselves, for the embedder."""
    text = hit.text[stretch.start : stretch.end]
    header = hit.text[slice(*stretch.header)] if stretch.header else ""
    if stretch.role in _UNTITLED:
        named = paired(header, text) if header else text
        return f"{' '.join((hit.title, stretch.section)).strip()}: {named}" if titled else named
    return below(header, text) if header else text


def paired(header: str, row: str) -> str:
    """A row with what heads it, on one line: `column: value; …` for a table, else the one before the other."""
    names, values = cells(header), cells(row)
    if len(names) == len(values) > 1:
        return "; ".join(f"{n}: {v}" if n else v for n, v in zip(names, values, strict=True) if v)
    return " ".join(f"{header}; {row}".split())


def _with_cosine(passage: Passage, cosine: float) -> Passage:
    return replace(passage, cosine=cosine, score=passage.score + WEIGHTS["cosine"] * cosine)
