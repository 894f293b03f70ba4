"""What documents are called, and where queries and texts call them so.

A name is a title in one form: words without case, accents kept, no articles in front. Texts are searched only where
a name may stand, which is what a script tells: a word with a capital or a digit in scripts with capitals, any
character in scripts that are written without spaces. Knows no store and no scores. Text is scanned once, forwards.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Container, Sequence
from itertools import islice
from typing import NamedTuple

# Raised whenever `names_of` or `name_key` gives something else: collections then collect their names anew.
NAMES_VERSION = 1
# Titles of more words are sentences or paths, which no text repeats; on the development sets 2 % of the titles.
NAME_WORDS_MAX = 8
TITLE_CHARS_MAX = 200
# A query is searched at every word, so its length decides what it costs: 64 words are 500 look-ups.
QUERY_WORDS_MAX = 64
# A chunk of 256 tokens has about 1,500; a chunk with a vector of the caller's own may be a whole book.
TEXT_CHARS_MAX = 8_000
# An English passage has 60, a German one 55. Where any character or word may begin a name this is what is read of a
# passage: 70 characters of Chinese, 60 words of Arabic.
PLACES_MAX = 512
# Small words inside a name ("Bridge on the River Kwai"): no more than two in a row, or it is a sentence.
_LINKS_MAX = 2
# What stands between two words of a name: mostly a space; a hyphen, a comma and a space, three characters at most.
_USUAL_GAPS = frozenset({"", " ", "-", ", "})
_GAP_MAX = 3
_BREAK = re.compile(r"[\n;!?]")
_SHORT_WORD = 2  # letters of an abbreviation
# Longer titles with a comma are headlines, not places.
_PLACE_WORDS_MAX = 6

# Scripts written without spaces between words, and Hangul, whose particles stick to the noun: each character a word.
UNSPACED = (
    "\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3100-\u312f\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
)
# Accents and vowel signs that stand behind their letter: combining marks, Hebrew and Arabic points, the Indic blocks
# without their full stops.
_MARKS = (
    "\u0300-\u036f\u0483-\u0487\u0591-\u05bd\u05bf-\u05c7\u0610-\u061a\u064b-\u065f\u0670"
    "\u0900-\u0963\u0966-\u0dff"
)
_LETTERS = rf"(?:(?![{UNSPACED}])(?:[^\W_]|[{_MARKS}]))++"
_WORD = re.compile(rf"[{UNSPACED}]|{_LETTERS}(?:['’]{_LETTERS})*+")
# The same where there is nothing else, in half the time.
_ASCII_WORD = re.compile(r"[A-Za-z0-9]++(?:'[A-Za-z0-9]++)*+")
_IN_BRACKETS = re.compile(r"\s*[(（][^()（）]*[)）]\s*\Z")

_ARTICLES = frozenset({"the", "a", "an"})
# Small words that stand inside names, in the languages of western Europe.
_LINKS_TEXT = """
a al am an and at bin da das de del den der des di die do dos du el et for ibn im in la las le les los of on or the to
und van von with y zu zum zur
"""
_LINKS = frozenset(_LINKS_TEXT.split())
# Titles of such words only ("It", "Who", "Them") would be found in every text.
_FUNCTION_TEXT = """
about after again all also although am an and another any are as at auch be because been before being between both but
by can could did do does du during each er es every few first for from had has have he her here him his how however i
ich if ihr in into is it its man many may me might most my new nicht no not of on one only or other our over second she
should sie since so some such than that the their them then there these they third this those to two under until us
wann was we were what when where which while who why wie will wir with wo would wer yes you your
"""
FUNCTION_WORDS = frozenset(_FUNCTION_TEXT.split())


class Place(NamedTuple):
    """Where a name may stand: its one form, and `text[start:end]`. A tuple, because a passage has sixty."""

    name: str
    start: int
    end: int


def names_of(title: str) -> tuple[str, ...]:
    """The names that a title gives a document, the fullest first; none for an empty one or a whole sentence.

    `Rush (band)` is also `rush`, and a place's name counts without its region: `Leland, North Carolina`.
    """
    if len(title) > TITLE_CHARS_MAX:
        return ()
    plain = _IN_BRACKETS.sub("", title).strip() or title
    head, comma, _ = plain.partition(",")
    forms = [title, plain] if plain != title else [title]
    if comma:
        words = _words(plain)
        if len(words) <= _PLACE_WORDS_MAX and all(_like_a_name(w) or w.lower() in _LINKS for w in words):
            forms.append(head)
    names = (_name([_folded(word) for word in _words(form)]) for form in forms)
    return tuple(dict.fromkeys(name for name in names if name))


def places_in_text(text: str) -> list[Place]:
    """Where names may stand in a text, by first word, the longest first."""
    return _places(text[:TEXT_CHARS_MAX], everywhere=False)


def places_in_query(query: str) -> list[Place]:
    """The same for a query, in which people do not care for capitals: at any of its first words."""
    return _places(query, everywhere=True)


def chosen(places: Sequence[Place], known: Container[str]) -> list[Place]:
    """The places that hold a known name, one for each name: from the left, the longest, no character twice."""
    found: dict[str, Place] = {}
    free_from = 0
    for place in places:
        if place.start >= free_from and place.name in known:
            found.setdefault(place.name, place)
            free_from = place.end
    return list(found.values())


def name_key(name: str) -> int:
    """64 bits for a name, signed: what a store keeps of it. Of a million names no two have the same, most likely."""
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def _places(text: str, *, everywhere: bool) -> list[Place]:
    words = list(islice(_pattern(text).finditer(text), QUERY_WORDS_MAX if everywhere else None))
    written = [word.group() for word in words]
    folded = [_folded(word) for word in written]
    like = [True] * len(words) if everywhere else _like_names(written)
    places: list[Place] = []
    for first, word in enumerate(words):
        # A name has no article in front, so a place that begins with one is that of the next word.
        if not like[first] or folded[first] in _ARTICLES:
            continue
        if len(places) >= PLACES_MAX:
            break
        start, name, links, telling = word.start(), "", 0, False
        here: list[Place] = []
        for last in range(first, min(first + NAME_WORDS_MAX, len(words))):
            added = folded[last]
            goes_on = like[last] or (links < _LINKS_MAX and added in _LINKS)
            if not goes_on or (last > first and not everywhere and _ends(text, words[last - 1], words[last])):
                break
            name = f"{name} {added}" if name else added
            telling = telling or not (added in FUNCTION_WORDS or added.isdigit())
            if like[last]:
                links = 0
                if telling and len(name) > 1:
                    here.append(Place(name, start, words[last].end()))
            else:
                links += 1
        places += reversed(here)
    return places


def _ends(text: str, before: re.Match[str], after: re.Match[str]) -> bool:
    """Whether no name can go on from one word to the next, because a sentence or a line ends between them."""
    end = before.end()
    gap = text[end : after.start()]
    if gap in _USUAL_GAPS:
        return False
    # "U.S. Army" and "St. Louis" go on behind the full stop; a longer word before it ends a sentence.
    goes_on = "." not in gap or gap == "." or end - before.start() <= _SHORT_WORD
    return not goes_on or len(gap) > _GAP_MAX or _BREAK.search(gap) is not None


def _name(folded: Sequence[str]) -> str:
    """Folded words as a name; empty where they make none."""
    start = 0
    while start < len(folded) and folded[start] in _ARTICLES:
        start += 1
    words = folded[start:]
    if not 0 < len(words) <= NAME_WORDS_MAX or all(
        word in FUNCTION_WORDS or word.isdigit() for word in words
    ):
        return ""
    name = " ".join(words)
    return name if len(name) > 1 else ""


def _words(text: str) -> list[str]:
    return _pattern(text).findall(text)


def _pattern(text: str) -> re.Pattern[str]:
    return _ASCII_WORD if text.isascii() else _WORD


def _folded(word: str) -> str:
    folded = word.lower() if word.isascii() else unicodedata.normalize("NFKC", word).casefold()
    return folded[:-2] if folded.endswith(("'s", "’s")) else folded


def _like_names(words: Sequence[str]) -> list[bool]:
    # Most words are plain letters, for which the first question is the only one.
    return [
        word != word.lower() if word.isascii() and word.isalpha() else _like_a_name(word) for word in words
    ]


def _like_a_name(word: str) -> bool:
    """Whether it has a capital or a digit, or could not have one: `Rush`, `iPhone`, `useEffect`, `x86`, `京`."""
    return word != word.lower() or word == word.upper() or any(map(str.isdigit, word))
