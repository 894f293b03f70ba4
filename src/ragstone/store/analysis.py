"""How text becomes the terms of the keyword index, the same way for chunks and for queries.

Two steps. `prepare` rewrites what a word tokenizer cannot see: runs of a script written without
spaces become overlapping character pairs, combining marks go, and names in camelCase gain their parts. The
tantivy analyzer of `text_analyzer` then splits at all that is no letter or digit, lowercases, and stems.
Knows nothing of indexes, scores or storage.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import chain

import tantivy

# Scripts written without spaces between words (and Hangul, whose particles stick to the noun): Thai, Lao,
# Tibetan, Myanmar, Hangul Jamo, Khmer, kana, Bopomofo, Han with its extensions and compatibility forms.
_UNSPACED = (
    "\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u3005-\u3007\u3040-\u30ff"
    "\u3100-\u312f\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
)
_UNSPACED_RUN = re.compile(f"[{_UNSPACED}]+")

# Blocks that hold combining marks after NFKC, from the Latin ones to the Indic, Thai and vertical forms.
_MARKED = re.compile(
    "[\u0300-\u036f\u0483-\u0487\u0591-\u1aff\u1cd0-\u1dff\u20d0-\u20f0\u302a-\u309a\ua66f-\uabff\ufb1e\ufe20-\ufe2f]"
)
# Thai and Lao vowels below the line: the only marks with a combining class that are letters of a word.
_VOWEL_CLASSES = (103, 118)

# A hump needs two small letters before it or a capital run before a capitalised word, so that `useEffect`
# and `HTMLParser` split but `mRNA`, `pH` and `iPhone` stay whole.
# The capital comes first in the pattern so that the scan skips from capital to capital.
_HUMP = re.compile(r"[A-Z](?:(?<=[a-z][a-z0-9].)(?=[a-z])|(?<=[A-Z].)(?=[a-z]{2}))")
_ALPHANUMERIC = re.compile(r"[A-Za-z0-9]+")

# What makes most English text more than ASCII, and separates words like any punctuation: quotation marks, dashes,
# ellipsis, bullet, arrows, spaces of other widths.
_TYPOGRAPHY = re.compile("[\u00a0\u00ab\u00b7\u00bb\u2000-\u200b\u2010-\u2027\u2190-\u21ff\u2500-\u257f]")

# `os.path.join`, `--web.listen-address`, `std::vector`, `/etc/hosts`: parts that belong together in order.
_COMPOUND = re.compile(r"\b\w++(?:(?:[.\-/:@#\\]|::|->)\w++)++")
_QUOTED = re.compile(r'["“”„«]([^"“”„«»]{2,200})["“”»]')

# Terms of this many bytes and more are dropped: a SHA-256 in hexadecimal (64) stays findable.
_LONGEST_TERM = 65

# Of the 175,000 words of 28,000 chunks of documentation 65,000 come twice or more; these take about 10 MB.
_WORDS_KEPT = 50_000
_LONGEST_KEPT = 40  # a text without spaces is one "word", and comes once

# 256: ten times the longest query of the development sets (TREC-style narratives have about 100 words);
# the cost of a query grows with its terms, so a pasted document is cut here.
QUERY_TERMS_MAX = 256
_QUERY_PHRASES_MAX = 16  # a phrase costs about as much as its words again


@dataclass(frozen=True, slots=True)
class PreparedText:
    """`words` is for the word field, `characters` (space-separated) for the single-character field."""

    words: str
    characters: str


@dataclass(frozen=True, slots=True)
class QueryTerms:
    """A query after analysis, repeated terms kept, at most `QUERY_TERMS_MAX` of them.

    `words` are terms of the word field, `characters` of the single-character field; `phrases` are runs of
    two or more words that score again where they stand next to each other in this order.
    """

    words: tuple[str, ...]
    characters: tuple[str, ...]
    phrases: tuple[tuple[str, ...], ...]


@cache
def text_analyzer() -> tantivy.TextAnalyzer:
    """The analyzer of the word field: runs of letters and digits, lowercase, English stems.

    tantivy's regex tokenizer would know marks without the help of `prepare`, at 2.5 times the time.
    """
    return (
        tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
        .filter(tantivy.Filter.remove_long(_LONGEST_TERM))
        .filter(tantivy.Filter.lowercase())
        .filter(tantivy.Filter.stemmer("english"))
        .build()
    )


def prepare(text: str) -> PreparedText:
    """Text for the two fields of the index."""
    characters = ""
    if not text.isascii():
        text = _normal(text)
        characters = " ".join(" ".join(run) for run in _UNSPACED_RUN.findall(text))
        text = _UNSPACED_RUN.sub(_character_pairs, text)
    return PreparedText(words=_with_name_parts(text), characters=characters)


def analyse(text: str) -> list[str]:
    """Terms of the word field in reading order, as indexing sees them.

    Word by word, because nothing in the analysis reaches across white space, in ASCII not even across what is no letter
    or digit, and words come back: 15 µs for a passage against 45 µs for the whole at once.
    """
    if not text.isascii():
        text = _TYPOGRAPHY.sub(" ", text)
    words = _ALPHANUMERIC.findall(text) if text.isascii() else text.split()
    if max(map(len, words), default=0) <= _LONGEST_KEPT:
        return list(chain.from_iterable(map(_kept, words)))
    return list(
        chain.from_iterable(_kept(word) if len(word) <= _LONGEST_KEPT else _terms(word) for word in words)
    )


def _terms(text: str) -> tuple[str, ...]:
    return tuple(text_analyzer().analyze(prepare(text).words))


_kept = lru_cache(maxsize=_WORDS_KEPT)(_terms)


def analyse_query(query: str) -> QueryTerms:
    """Terms of a query. A lone character of an unspaced script is looked up among single characters."""
    normal = query if query.isascii() else _normal(query)
    words = tuple(analyse(normal)[:QUERY_TERMS_MAX])
    lone = tuple(run for run in _UNSPACED_RUN.findall(normal) if len(run) == 1)[:QUERY_TERMS_MAX]
    candidates = [match.group(1) for match in _QUOTED.finditer(normal)]
    candidates += _COMPOUND.findall(_QUOTED.sub(" ", normal))
    phrases = [tuple(analyse(candidate)[:QUERY_TERMS_MAX]) for candidate in candidates[:_QUERY_PHRASES_MAX]]
    return QueryTerms(words=words, characters=lone, phrases=tuple(p for p in phrases if len(p) > 1))


def is_character_pair(term: str) -> bool:
    """Whether a term of the word field is a pair of characters and no word: a question has pairs that
    join one word's end to the next one's beginning, and stand in no text."""
    return _UNSPACED_RUN.match(term) is not None


def _normal(text: str) -> str:
    """One form for compatible characters (NFKC), without accents that have no composed form, vowel points and
    tone marks: tantivy's tokenizer would cut words at them."""
    text = unicodedata.normalize("NFKC", text)
    if not _MARKED.search(text):
        return text
    return "".join(c for c in text if unicodedata.combining(c) in (0, *_VOWEL_CLASSES))


def _character_pairs(match: re.Match[str]) -> str:
    run = match.group()
    if len(run) == 1:  # the single-character field holds it
        return " "
    return " " + " ".join(run[i : i + 2] for i in range(len(run) - 1)) + " "


def _with_name_parts(text: str) -> str:
    """`text` with the parts of each camelCase name after the name: `useEffect use Effect`."""
    hump = _HUMP.search(text)
    if hump is None:
        return text
    pieces, done = [], 0
    while hump is not None:
        word = _word_at(text, hump.start(), done)
        pieces += [text[done : word[1]], " ", _HUMP.sub(r" \g<0>", text[word[0] : word[1]]), " "]
        done = word[1]
        hump = _HUMP.search(text, done)
    return "".join([*pieces, text[done:]])


def _word_at(text: str, inside: int, left: int) -> tuple[int, int]:
    start = inside
    while start > left and text[start - 1].isalnum() and text[start - 1].isascii():
        start -= 1
    match = _ALPHANUMERIC.match(text, start)
    assert match is not None  # noqa: S101 - `inside` is a letter
    return start, match.end()
