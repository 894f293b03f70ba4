"""Acronyms where a text defines them: "optical character recognition (OCR)" and "OCR (optical character recognition)".

After Schwartz and Hearst, "A simple algorithm for identifying abbreviation definitions in biomedical text" (2003): the
letters of the short form are looked for in the words beside it, from right to left, and its first letter must begin a
word. Stricter here in what a short form is, because a wrong pair widens every query that has the word: two capitals,
or one and a digit. Knows no store and no scores. Each bracket costs a bounded look at what stands before it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

# Raised whenever `definitions` gives something else: collections then collect their acronyms anew.
ACRONYMS_VERSION = 1
# Both as in the paper.
SHORT_CHARS_MAX = 10
_EXTRA_WORDS = 5
# "TCP/IP", "TGF-β", "R&D", "I.B.M."; the paper also takes two words, which in prose are mostly remarks.
_SHORT = re.compile(r"[^\W_](?:[\w&/.+-]{0,8}[\w+.])\Z")
LONG_CHARS_MAX = 120
# A document that defines more is a glossary of that many lines; the rest of its terms are found as they are written.
DEFINITIONS_MAX = 512

_BRACKETS = re.compile(r"[(（]([^()（）\[\]\n]{2,160})[)）]")
# A definition gives no more than one remark behind the short form: "(OCR; see below)", "(OCR, also text recognition)".
_REMARK = re.compile(r"[;,]")
_SENTENCE_END = re.compile(r"[.!?;:\n](?=\s)|\n")
_LAST_WORD = re.compile(r"[^\s(),;:\"“”„'‘’\[\]]{2,12}\Z")
_QUOTES = " \t\"“”„'‘’"


class Definition(NamedTuple):
    """A short form with what it stands for, as written; `also_a_word` if the text has the short form in small letters
    as well, as a text about the "Clean Air Transport (CAT)" that mentions a cat."""

    short: str
    long: str
    also_a_word: bool = False


def definitions(text: str) -> list[Definition]:
    """The acronyms that a text defines, each pair once, in reading order; at most `DEFINITIONS_MAX`."""
    found: dict[tuple[str, str], None] = {}
    for short, long in _pairs(text):
        found.setdefault((short, " ".join(long.split())))
        if len(found) == DEFINITIONS_MAX:
            break
    if not found:
        return []
    words = {short.lower() for short, _ in found}
    small = words & set(re.findall(r"(?<![\w-])[^\W\d_]{2,10}(?![\w-])", text))
    return [Definition(short, long, short.lower() in small) for short, long in found]


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    for brackets in _BRACKETS.finditer(text):
        inside = _REMARK.split(brackets.group(1), maxsplit=1)[0].strip(_QUOTES)
        before = text[max(0, brackets.start() - LONG_CHARS_MAX) : brackets.start()].rstrip()
        if is_short_form(inside):
            sentence = _SENTENCE_END.split(before)[-1].rstrip(_QUOTES)
            long = _long_form(inside, sentence)
        else:
            word = _LAST_WORD.search(before)
            inside, outside = (word.group() if word else ""), brackets.group(1).strip(_QUOTES)
            if not is_short_form(inside):
                continue
            long = _whole_form(inside, outside)
        if long:
            yield inside, long


def is_short_form(word: str) -> bool:
    """Whether a word could be an acronym: at most ten characters, with two capitals, or one and a digit."""
    if len(word) > SHORT_CHARS_MAX or not _SHORT.match(word):
        return False
    capitals = sum(map(str.isupper, word))
    return capitals >= 2 or (capitals == 1 and any(map(str.isdigit, word)))


def _long_form(short: str, before: str) -> str:
    """The shortest end of `before` that has the letters of `short`, beginning at a word's start; empty if none."""
    letters = _letters(short)
    words = min(len(letters) + _EXTRA_WORDS, 2 * len(letters))
    starts = [word.start() for word in re.finditer(r"\S+", before)][-words:]
    if not starts:
        return ""
    start = _start_of(letters, before[starts[0] :])
    return "" if start is None else _checked(short, before[starts[0] + start :])


def _whole_form(short: str, inside: str) -> str:
    """What stands in brackets behind a short form, if its first words are what the letters stand for."""
    letters = _letters(short)
    if len(inside.split()) > min(len(letters) + _EXTRA_WORDS, 2 * len(letters)):
        inside = _REMARK.split(inside, maxsplit=1)[0]
    return _checked(short, inside) if _start_of(letters, inside) == 0 else ""


def singular(short: str) -> str:
    """A short form without the plural's letter, which no word of the long form has: "PCRs", "MRIs"."""
    return short[:-1] if short.endswith("s") and short[:-1].isupper() else short


def _letters(short: str) -> str:
    return "".join(char for char in singular(short) if char.isalnum()).lower()


def _start_of(letters: str, text: str) -> int | None:
    """Where in `text` the match of `letters` begins, found from right to left as in the paper; None without one."""
    lower = text.lower()
    if len(lower) != len(text):  # a few letters have a small form of two characters
        return None
    at = len(lower)
    for position, letter in reversed(list(enumerate(letters))):
        at = lower.rfind(letter, 0, at)
        while position == 0 and at > 0 and lower[at - 1].isalnum():
            at = lower.rfind(letter, 0, at)
        if at < 0:
            return None
    return at


def _checked(short: str, long: str) -> str:
    """The long form, or nothing where it is none: hardly longer, with the short form in it, across another bracket.
    Brackets inside a word are part of it: "poly(ADP-ribose) polymerase"."""
    long = long.strip(_QUOTES + ",")
    words = [word.strip(_QUOTES + ",.-").lower() for word in long.split()]
    if len(long) <= len(short) + 1 or len(long) > LONG_CHARS_MAX or short.lower() in words:
        return ""
    if " (" in long or long.count("(") != long.count(")"):
        return ""
    return long
