"""What two short statements have in common and where they differ, from their words alone.

The write gate and the audit ask three things: do they say the same, does the newer one put another value in the older
one's place, does one only repeat what others say? Each rule is for what can be seen without a language model, and says
no where it cannot tell: two entries too many cost a line in a list, a wrong merge costs a fact.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cached_property
from itertools import pairwise

from ragstone.memory.lexicon import (
    AUXILIARIES,
    CLOSING,
    COPULAS,
    FILLERS,
    INTERJECTION,
    LEAD_IN,
    NEGATIONS,
    SINGLE_VALUED,
    UPDATES,
    VALUE_KINDS,
)
from ragstone.store.analysis import analyse

# A word keeps what is inside it: 7:40, 3.5, don't, e-mail.
_WORD = re.compile(r"[^\W_]+(?:['’.:,/-][^\W_]+)*")
_SENTENCE_END = re.compile(r"[.!?:]\s+$|[\"“(]$")

_ALIKE = 0.6  # cosine: below it not even the same words in another order say the same
_EXTENDED = 0.85  # one side has some words more
_EXTENDED_SHARE, _REWORDED_SHARE = 0.6, 0.5  # of all content words, those that both have
# Other words in place of some: synonyms, or `bought` for `sold`, which vectors cannot tell apart. The gate merges, so
# it asks for much; the audit only lists.
REWORDED_COSINE, LISTED_COSINE = 0.94, 0.85
CONTRADICTION_COSINE = 0.6
_LONGEST_VALUE = 4  # words: a longer stretch that differs is another statement, not another value
_LONGEST_STATEMENT = 60  # words: what is longer is a passage, with more than one thing in it
_SOURCES_MAX = 4  # memories that one answer is made from
_QUOTED_SHARE = 0.6  # of a memory's word pairs: it is in the answer, not only its form
_LONG_QUOTE = 8  # word pairs: a stretch of a passage that nobody writes by chance
COVERED = 0.6  # of a text's word pairs: what our own answers hold of what they were made from

_LEAD_INS_MAX = 6  # an answer quoted in an answer quoted in an answer


@dataclass(frozen=True)  # no slots: cached_property keeps what is asked for more than once
class Statement:
    """A text, and its words as the rules see them."""

    text: str

    @cached_property
    def words(self) -> tuple[str, ...]:
        """All words in order, casefolded."""
        return tuple(match.group().casefold().replace("’", "'") for match in _WORD.finditer(self.text))

    @property
    def key(self) -> str:
        """Equal for texts that differ in case, spacing and punctuation only."""
        return " ".join(self.words)

    @cached_property
    def content(self) -> tuple[str, ...]:
        """Stems of the words that carry facts, in order."""
        return tuple(_stem(word) for word in self.words if word not in FILLERS and word not in UPDATES)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Stems of capitalised words inside a sentence, in order; none where all is in capitals."""
        found: list[str] = []
        if self.text.isupper():
            return ()
        for match in _WORD.finditer(self.text):
            word, before = match.group(), self.text[max(0, match.start() - 3) : match.start()]
            opens = not self.text[: match.start()].strip() or _SENTENCE_END.search(before)
            if word[0].isupper() and not opens and word.casefold() not in FILLERS and len(word) > 1:
                found.append(_stem(word.casefold()))
        return tuple(found)

    @property
    def first(self) -> str:
        """The stem of the first word that carries a fact; empty where none does."""
        return self.content[0] if self.content else ""

    @cached_property
    def pairs(self) -> frozenset[tuple[str, str]]:
        """Neighbouring content words; of a single one, that one twice."""
        content = self.content
        if len(content) == 1:
            return frozenset({(content[0], content[0])})
        return frozenset(pairwise(content))

    @cached_property
    def _quotation(self) -> tuple[str, bool]:
        """The text without interjections, lead-ins and closings, and whether one of them was an answer's."""
        text, ours = self.text, False
        for _ in range(_LEAD_INS_MAX):
            found = INTERJECTION.match(text)
            if not found:
                found = LEAD_IN.match(text)
                ours = ours or found is not None
            if not found or found.end() >= len(text):
                break
            text = text[found.end() :]
        for _ in range(_LEAD_INS_MAX):
            shortened = CLOSING.sub("", text)
            if not shortened.strip() or shortened == text:
                break
            text = shortened
        return text.strip(), ours

    @cached_property
    def core(self) -> Statement:
        """The same without what introduces a quotation of ourselves (`As I said, …`, `I recall that …`)."""
        text, _ = self._quotation
        return self if text == self.text else Statement(text)

    @property
    def quotes_us(self) -> bool:
        """Whether it begins as answers do that repeat what is remembered."""
        return self._quotation[1]

    @cached_property
    def subject(self) -> tuple[str, ...]:
        """The first two words that carry a fact or join one; what two statements about the same thing begin with."""
        return tuple(_stem(word) for word in self.words if _anchors(word))[:2]


def same_statement(
    one: Statement, other: Statement, cosine: float, *, reworded: float = REWORDED_COSINE
) -> bool:
    """Whether both say the same. Numbers, names, days, colours, negations and the like must be equal.

    `reworded` is the cosine from which other words in place of some are taken for synonyms.
    """
    one, other = one.core, other.core
    if one.key == other.key:
        return True
    if cosine < _ALIKE or not one.content or not other.content:
        return False
    mine, theirs = Counter(one.content), Counter(other.content)
    only_mine, only_theirs = mine - theirs, theirs - mine
    names = {*one.names, *other.names}
    only_mine, only_theirs = _without_misspellings(only_mine, only_theirs, names)
    if any(_tells(word, names) for word in (*only_mine, *only_theirs)):
        return False
    if _polarity(one) != _polarity(other):
        return False
    differing = only_mine.total() + only_theirs.total()
    shared = 1 - differing / (mine | theirs).total()
    if not only_mine and not only_theirs:
        common = (set(one.names) & set(other.names)) - _VALUES  # a month may stand anywhere
        order = [[name for name in s.names if name in common] for s in (one, other)]
        return order[0] == order[1]
    if not only_mine or not only_theirs:
        return cosine >= _EXTENDED and shared >= _EXTENDED_SHARE
    # Another first word may be another subject, and a name there cannot be told from any word.
    begins_alike = one.first == other.first or _one_slip(one.first, other.first)
    return cosine >= reworded and shared >= _REWORDED_SHARE and begins_alike


def supersedes(newer: Statement, older: Statement, cosine: float) -> bool:
    """Whether the newer statement puts another value in the older one's place.

    Both begin alike (the same thing is spoken of) and differ in one short stretch, which is negated in one of them,
    or holds values of one kind (numbers, days, colours, opposites), or belongs to an attribute of one value at a time.
    """
    if cosine < CONTRADICTION_COSINE or newer.key == older.key:
        return False
    new, old = _timeless(newer), _timeless(older)
    if not new or not old or max(len(new), len(old)) > _LONGEST_STATEMENT:
        return False
    if _polarity(newer) != _polarity(older):
        return _without_negation(new) == _without_negation(old)
    changes = [op for op in SequenceMatcher(None, old, new, autojunk=False).get_opcodes() if op[0] != "equal"]
    if len(changes) != 1 or changes[0][0] != "replace":
        return False
    _, old_start, old_end, new_start, new_end = changes[0]
    was, is_ = old[old_start:old_end], new[new_start:new_end]
    if max(len(was), len(is_)) > _LONGEST_VALUE:
        return False
    before, shared = old[:old_start], (*old[:old_start], *old[old_end:])
    if sum(map(_anchors, before)) < 2:
        return False  # the difference is in what is spoken of
    if not COPULAS & set(before) and COPULAS & set(old[old_end:]):
        return False  # likewise: `chapter 3 is …`, `chapter 4 is …`
    return _one_value_at_a_time(was, is_, shared)


def covered_by(statement: Statement, others: Sequence[Statement]) -> tuple[float, int]:
    """The share of a statement's word pairs that a few of the others hold, 0 to 1, and the place of the one with most.

    Only others that are in it nearly whole count, or with a long stretch: statements of one form share their form.
    (0, -1) where there are none.
    """
    missing = set(statement.core.pairs)
    if not missing:
        return 0.0, -1
    quoted = [
        place for place, other in enumerate(others) if _is_quoted(other.core.pairs, statement.core.pairs)
    ]
    best = -1
    for _ in range(_SOURCES_MAX):
        most, place = max(
            ((len(missing & others[place].core.pairs), -place) for place in quoted), default=(0, 0)
        )
        if not most:
            break
        best = -place if best < 0 else best
        missing -= others[-place].core.pairs
    return 1 - len(missing) / len(statement.core.pairs), best


def _is_quoted(pairs: frozenset[tuple[str, str]], text: frozenset[tuple[str, str]]) -> bool:
    shared = len(pairs & text)
    return shared >= _LONG_QUOTE or shared >= _QUOTED_SHARE * max(1, len(pairs))


def _one_value_at_a_time(was: tuple[str, ...], is_: tuple[str, ...], shared: tuple[str, ...]) -> bool:
    attribute = any(word in SINGLE_VALUED for word in shared)
    if attribute:
        return True
    if any(word.endswith("ed") and len(word) > 4 for word in shared):
        return False  # things that happened happen again: `she visited Holm on the 3rd`, `… on the 4th`
    return any(_kind(a) == _kind(b) is not None for a in was for b in is_ if a != b)


def _kind(word: str) -> int | None:
    """Which kind of value a word is; None for no such kind."""
    if any(character.isdigit() for character in word):
        return -1
    return next((number for number, words in enumerate(VALUE_KINDS) if word in words), None)


def _tells(stem: str, names: set[str]) -> bool:
    """Whether a content word that only one of two statements has makes them different facts."""
    return (
        stem in names
        or any(character.isdigit() for character in stem)
        or stem in NEGATIONS
        or stem in _VALUES
    )


def _without_misspellings(
    one: Counter[str], other: Counter[str], names: set[str]
) -> tuple[Counter[str], Counter[str]]:
    """What is left of the words that only one side has when those go that are one slip of the pen apart."""
    left, right = Counter(one), Counter(other)
    for word in one:
        twin = next((candidate for candidate in right if _one_slip(word, candidate)), None)
        if twin is not None and not _tells(word, names) and not _tells(twin, names):
            left[word] -= 1
            right[twin] -= 1
            left, right = +left, +right
    return left, right


def _one_slip(one: str, other: str) -> bool:
    """Whether two words differ by two neighbours exchanged, or from five letters on by one letter."""
    if min(len(one), len(other)) < 4 or abs(len(one) - len(other)) > 1 or not (one + other).isalpha():
        return False
    start = 0
    while start < min(len(one), len(other)) and one[start] == other[start]:
        start += 1
    end = 0
    while end < min(len(one), len(other)) - start and one[-1 - end] == other[-1 - end]:
        end += 1
    a, b = one[start : len(one) - end], other[start : len(other) - end]
    if len(a) == len(b) == 2:
        return a == b[::-1]
    return max(len(a), len(b)) <= 1 and min(len(one), len(other)) >= 5


def _polarity(statement: Statement) -> bool:
    return sum(word in NEGATIONS for word in statement.words) % 2 == 1


def _timeless(statement: Statement) -> tuple[str, ...]:
    return tuple(word for word in statement.core.words if word not in UPDATES)


def _without_negation(words: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(_stem(word) for word in words if word not in NEGATIONS and word not in AUXILIARIES)


def _anchors(word: str) -> bool:
    return word in COPULAS or (word not in FILLERS and word not in UPDATES)


def _stem(word: str) -> str:
    """The keyword index's stem of a word in one piece; one that holds digits or marks stays whole."""
    if not word.isalpha():
        return word.removesuffix("'s")
    found = analyse(word)
    return found[0] if len(found) == 1 else word


_VALUES = frozenset(_stem(word) for words in VALUE_KINDS for word in words)
