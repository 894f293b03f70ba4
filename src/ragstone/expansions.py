"""The words added to a query: what the collection's own texts say that its acronyms stand for, and a user's synonyms.

Nothing is kept between queries: acronyms are rows of the documents that define them, so a new definition counts
the moment it is committed, and a deleted one no longer.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal, NamedTuple

import apsw

from ragstone.graph.names import FUNCTION_WORDS, name_key
from ragstone.store import acronyms, documents
from ragstone.store.acronyms import Acronym
from ragstone.store.analysis import analyse
from ragstone.types import Expansion, QueryTokens
from ragstone.vocabulary.acronyms import ACRONYMS_VERSION, definitions, is_short_form, singular
from ragstone.vocabulary.synonyms import TERMS_MAX, Synonyms, Terms

# As in the graph of names: of a longer query the first words are looked up.
QUERY_TERMS_MAX = 64
# An acronym of many meanings gets those that at least half as many documents mean as the most usual one.
MEANINGS_MAX = 3
MEANING_SHARE = 0.5
# What an added word counts beside the one it stands for (LAB, "Acronyms and synonyms").
ADDED_WEIGHT = 0.9
# Nearly every two small letters are a word somewhere.
_SMALL_LETTERS_MIN = 3

_TOKEN = re.compile(r"[^\W_](?:[\w&/.+-]*[\w+])?")
_PART = re.compile(r"\w+")
_EDGES = " \t\n,.;:!?()[]\"'“”„‘’"


class _Term(NamedTuple):
    """A term of a query, and the span of the word it comes from."""

    text: str
    start: int
    end: int


class _Other(NamedTuple):
    """What may stand for a phrase, as written, with its terms."""

    written: str
    terms: Terms
    origin: Literal["collection", "synonyms"]


def expansions_of(db: apsw.Connection | None, query: str, synonyms: Synonyms) -> list[Expansion]:
    """What may stand for words of a query, in their order; of overlapping ones the longer is taken.

    `db` is a collection's catalog; None leaves out what its texts define. .1 ms for ten words, 1 ms for sixty.
    """
    terms = _terms(query)
    texts = tuple(term.text for term in terms)
    grams = {gram for size in range(1, TERMS_MAX + 1) for gram in zip(*_shifted(texts, size), strict=False)}
    others: defaultdict[Terms, list[_Other]] = defaultdict(list)
    for gram in grams & synonyms.keys():
        others[gram] += [_Other(written, found, "synonyms") for written, found in synonyms[gram].items()]
    if db is not None:
        for own, other in chain(_meanings(db, query), _short_forms(db, grams)):
            if all(other.terms != known.terms for known in others[own]):
                others[own].append(other)
    found: list[Expansion] = []
    at = 0
    while at < len(terms):
        end = next(
            (end for end in range(min(len(terms), at + TERMS_MAX), at, -1) if texts[at:end] in others), 0
        )
        if end:
            written = query[terms[at].start : terms[end - 1].end].strip(_EDGES)
            found += [
                Expansion(written, other.written, other.origin, texts[at:end], other.terms, ADDED_WEIGHT)
                for other in others[texts[at:end]]
                if other.terms and other.terms not in grams  # none in a damaged row; the query says it itself
            ]
        at = end or at + 1
    return list(dict.fromkeys(found))


@dataclass(frozen=True, slots=True)
class ExpandedText:
    """A query with added words behind those they stand for; `added`: their spans in `text`, ascending, brackets too."""

    text: str
    added: Sequence[tuple[int, int]]

    def tokens_of_query(self, tokens: QueryTokens) -> QueryTokens:
        """Of the tokens of `text` those of the query itself, with the spans they have there."""
        if not self.added:
            return tokens
        kept: list[int] = []
        spans: list[tuple[int, int]] = []
        for number, (start, end) in enumerate(tokens.spans):
            if not any(start < last and end > first for first, last in self.added):
                before = sum(last - first for first, last in self.added if last <= start)
                kept.append(number)
                spans.append((start - before, end - before))
        return QueryTokens(tokens.signs[kept], spans)


def expanded_text(query: str, expansions: Iterable[Expansion]) -> ExpandedText:
    """A query as its writer might define its words, "the HRU (Harbour Radar Unit)": for a model that knows neither."""
    text = ""
    added: list[tuple[int, int]] = []
    at = 0
    for _, end, words in _places(query, expansions):
        text += query[at:end]
        defined = f" ({words})"
        added.append((len(text), len(text) + len(defined)))
        text += defined
        at = end
    return ExpandedText(text + query[at:], added)


def reworded(query: str, expansions: Iterable[Expansion]) -> str:
    """The query in the added words, "the Harbour Radar Unit"; the same where there are none."""
    text, at = "", 0
    for start, end, words in _places(query, expansions):
        text += query[at:start] + words
        at = end
    return text + query[at:]


def _places(query: str, expansions: Iterable[Expansion]) -> Iterator[tuple[int, int, str]]:
    """Where each word stands first, ascending, and what is added to it; of several meanings the most usual one."""
    at = 0
    done = set[str]()
    for expansion in expansions:
        start = _word_at(query, expansion.written, at)
        if start >= 0 and expansion.written not in done:
            done.add(expansion.written)
            at = start + len(expansion.written)
            yield start, at, expansion.added


def _word_at(query: str, written: str, start: int) -> int:
    """Where words stand first from `start` on: as words, else (unspaced scripts) anywhere, else -1."""
    found = re.compile(rf"(?<!\w){re.escape(written)}(?!\w)").search(query, start)
    return query.find(written, start) if found is None else found.start()


def _terms(query: str) -> list[_Term]:
    """The first terms of a query; nothing in their analysis reaches across white space."""
    words = re.finditer(r"\S+", query)
    found = (_Term(text, *word.span()) for word in words for text in analyse(word.group()))
    return [term for term, _ in zip(found, range(QUERY_TERMS_MAX), strict=False)]


def _shifted(texts: Terms, size: int) -> Iterator[Terms]:
    return (texts[start:] for start in range(size))


# -- acronyms --------------------------------------------------------------------------------------------------


def acronyms_of(text: str) -> list[Acronym]:
    """What a document's text says that words stand for, with the keys they are found by."""
    found: dict[tuple[int, int], Acronym] = {}
    for short, long, also_a_word in definitions(text):
        terms = tuple(analyse(long))
        if 0 < len(terms) <= TERMS_MAX and analyse(short):
            keys = _short_key(short), _long_key(terms)
            found.setdefault(keys, Acronym(*keys, short, long, int(also_a_word)))
    return list(found.values())


def _short_key(short: str) -> int:
    return name_key(singular(short).casefold())


def _long_key(terms: Terms) -> int:
    return name_key(" ".join(terms))


def _meanings(db: apsw.Connection, query: str) -> Iterator[tuple[Terms, _Other]]:
    """What acronyms in the query stand for."""
    tokens = {token for token in _tokens(query) if analyse(token)}
    keys = {token: _short_key(token) for token in tokens}
    shouted = query.isupper()
    known = acronyms.known(db, list(set(keys.values())), column="short_key")
    for token, key in keys.items():
        rows = known.get(key, [])
        if rows and (_written_as_one(token, rows) if not shouted else _no_word(token, rows)):
            for long in _usual((row.long_key, row.long) for row in rows):
                yield tuple(analyse(token)), _Other(long, tuple(analyse(long)), "collection")


def _tokens(query: str) -> Iterator[str]:
    """Words as written, "TCP/IP" and "OCR-based" both whole and in their parts."""
    for token in _TOKEN.findall(query)[:QUERY_TERMS_MAX]:
        yield token
        yield from _PART.findall(token)


def _written_as_one(token: str, rows: Sequence[Acronym]) -> bool:
    """Whether a word of a query means an acronym, and not the word in small letters that looks like it."""
    if is_short_form(token) or any(singular(token) == singular(row.short) for row in rows):
        return True
    return _no_word(token, rows)


def _no_word(token: str, rows: Sequence[Acronym]) -> bool:
    known_word = token.lower() in FUNCTION_WORDS or any(row.also_a_word for row in rows)
    return len(token) >= _SMALL_LETTERS_MIN and not known_word


def _short_forms(db: apsw.Connection, grams: Iterable[Terms]) -> Iterator[tuple[Terms, _Other]]:
    """What phrases of the query are shortened to."""
    keys = {_long_key(gram): gram for gram in grams if len(gram) > 1}
    for key, rows in acronyms.known(db, list(keys), column="long_key").items():
        for short in _usual((row.short_key, row.short) for row in rows):
            yield keys[key], _Other(short, tuple(analyse(short)), "collection")


def _usual(found: Iterable[tuple[int, str]]) -> list[str]:
    """Of keys with their words as written by one document each: the most usual, each in its most usual form."""
    written: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for key, form in found:
        written[key][form] += 1
    # By number, then by the words, so that the same collection always gives the same.
    ranked = sorted(written.values(), key=lambda forms: (-forms.total(), min(forms)))[:MEANINGS_MAX]
    least = ranked[0].total() * MEANING_SHARE
    return [min(forms, key=lambda form: (-forms[form], form)) for forms in ranked if forms.total() >= least]


# -- what is stored ------------------------------------------------------------------------------------------


def expected_acronyms(db: apsw.Connection) -> Iterator[tuple[int, list[Acronym]]]:
    """What the table must hold: for each document with some, by its id ascending, what its text defines."""
    for document_id, text in documents.texts(db):
        found = acronyms_of(text)
        if found:
            yield document_id, found


def are_current(db: apsw.Connection) -> bool:
    """Whether the acronyms were collected by the rules of this version."""
    return acronyms.version(db) == ACRONYMS_VERSION


def differing(db: apsw.Connection) -> int:
    """In how many documents the table is not what their texts say."""
    expected = {document_id: set(found) for document_id, found in expected_acronyms(db)}
    held = dict(acronyms.of_documents(db))
    return sum(expected.get(id_) != held.get(id_) for id_ in expected.keys() | held.keys())


def rebuild(db: apsw.Connection) -> None:
    """Collect all acronyms anew from the texts; inside a transaction."""
    acronyms.replace_all(db, expected_acronyms(db), version=ACRONYMS_VERSION)
