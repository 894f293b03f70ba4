"""What a question asks for: its weighted terms, the names and numbers among them, the kind of answer.

Terms are those of the keyword index, so "registered" and "register" agree here as they do in the search.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ragstone.answering.kinds import AnswerKind, asked_kind, expressions
from ragstone.store.analysis import analyse

Idf = Callable[[Sequence[str]], npt.NDArray[np.float32]]  # analysed terms (n,) -> idf (n,) ≥ 0

_WORD = re.compile(r"[^\W_]+(?:['’.\-][^\W_]+)*")

# Words that shape a question and rarely stand in its answer, in the languages with enough of them to matter
# for questions we measured (xquad English and German) and their close relatives.
_SCAFFOLD_TEXT = """
a about an and any are as at be been being between by can could did do does during for from get give gave given
had has have he her him his how i if in into is it its itself kind list long make many may me much must my name
named called no not of on one or other our out over please say see shall she should show so some sort such tell
than that the their them then there these they this those through to too type under up us use used using versus
was we were what when where which while who whom whose why will with within would you your happen happened mean
means according anyone aber alle als am an auch auf aus bei beim bis da das dass dem den der des die dies diese
dieser dieses doch du durch ein eine einem einen einer eines er es für gab gibt haben hat hatte hatten heißt ich
ihr ihre im in ins ist kann kein keine mit nach nicht noch nur ob oder sich sie sind so über um und uns unter
viel viele vom von vor wann war warum waren was welche welchem welchen welcher welches wem wen wenn wer werden
wessen wie wir wird wo wofür woher wohin womit worden wurde wurden zu zum zur zwischen
"""


# Terms agree in their first 7 letters: the analyzer stems English only, and German inflects at the end. On
# xquad-de this takes false refusals from 9.7 to 7.1 % and costs the other sets nothing; 5 and 6 do no better.
_TERM_LETTERS = 7


@dataclass(frozen=True, slots=True)
class Question:
    """A question after analysis.

    `terms` maps each content term, as `stems` gives it, to its weight (idf in the collection, > 0); `names` are
    those that stand for a name, a number or an identifier; `kind` is the sort of answer asked for.
    """

    text: str
    terms: Mapping[str, float]
    names: frozenset[str]
    kind: AnswerKind

    @property
    def weight(self) -> float:
        """Sum of the terms' weights; 0 for a question without content."""
        return sum(self.terms.values())

    def coverage(self, terms: Iterable[str]) -> float:
        """Weighted share of the question's terms that are among `terms`, in [0, 1]; 0 without content."""
        present = set(terms)
        total = self.weight
        return sum(w for term, w in self.terms.items() if term in present) / total if total else 0.0

    def numbers_missing(self, terms: Iterable[str]) -> float:
        """Weighted share of the question's numbers (a year, a part's number) that are not among `terms`, in [0, 1]."""
        numbers = {term: weight for term, weight in self.terms.items() if any(map(str.isdigit, term))}
        present = set(terms)
        total = sum(numbers.values())
        return sum(w for term, w in numbers.items() if term not in present) / total if total else 0.0


def analyse_question(text: str, *, idf: Idf | None = None) -> Question:
    """`Question` for `text`. Without `idf` all content terms weigh the same.

    A question of scaffold words only ("Who are you?") keeps them, so that it is not empty.
    """
    names: set[str] = set()
    content: dict[str, None] = {}
    scaffold: dict[str, None] = {}
    for position, match in enumerate(_WORD.finditer(text)):
        word = match.group()
        terms = analyse(word)
        plain = word.lower() in _SCAFFOLD
        (scaffold if plain else content).update(dict.fromkeys(terms))
        capital = word[0].isupper() and (position > 0 or not word[1:].islower())
        if not plain and (capital or any(c.isdigit() for c in word) or any(c in "._" for c in word)):
            names.update(terms)
    chosen = list(content or scaffold)
    weights = idf(chosen) if idf is not None and chosen else np.ones(len(chosen), np.float32)
    return Question(
        text=text,
        terms={
            _shortened(term): max(float(weight), 1e-6) for term, weight in zip(chosen, weights, strict=True)
        },
        names=frozenset(_shortened(name) for name in names),
        kind=asked_kind(text),
    )


def stems(text: str) -> list[str]:
    """The terms of a text in the form in which `Question.terms` holds them, in reading order."""
    return [_shortened(term) for term in analyse(text)]


_ISO_DATE = re.compile(r"(?<!\d)(\d{4})-(0[1-9]|1[0-2])-([0-3]\d)(?!\d)")
_MONTHS = (
    "january januar", "february februar", "march märz", "april", "may mai", "june juni", "july juli", "august",
    "september", "october oktober", "november", "december dezember",
)  # fmt: skip


def spoken_dates(text: str) -> list[str]:
    """The terms by which people name the ISO dates of a text: year, month in English and German, day."""
    found = _ISO_DATE.findall(text) if "-" in text else []  # most texts have none, and analysis costs 4 µs
    spoken = [f"{year} {_MONTHS[int(month) - 1]} {int(day)}" for year, month, day in found]
    return stems(" ".join(spoken)) if spoken else []


def _shortened(term: str) -> str:
    return term[:_TERM_LETTERS] if term.isalpha() else term


def holds_kind(kind: AnswerKind, passage: str, question_terms: Mapping[str, float]) -> bool:
    """Whether `passage` has something of the asked kind that the question does not already name."""
    return any(term not in question_terms for found in expressions(kind, passage) for term in stems(found))


_DIGITS = re.compile(r"\d+(?:[.,]\d+)*")
_THOUSANDS = re.compile(r"[.,](?=\d{3}(?:\D|$))")
_NUMBER_VALUES = {
    word: str(value)
    for words in (
        "zero one two three four five six seven eight nine ten eleven twelve",
        "null eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf",
    )
    for value, word in enumerate(words.split())
}


def numbers(text: str) -> frozenset[str]:
    """Numbers of a text in one form: "1,888", "04" and "four" are 1888, 4 and 4."""
    words = (
        _NUMBER_VALUES[word] for word in re.findall(r"[^\W\d_]+", text.lower()) if word in _NUMBER_VALUES
    )
    return stated_numbers(text).union(words)


def stated_numbers(text: str) -> frozenset[str]:
    """The numbers that a text states in digits, in the form of `numbers`."""
    return frozenset(_THOUSANDS.sub("", number).lstrip("0") or "0" for number in _DIGITS.findall(text))


def shingles(text: str) -> set[int]:
    """Hashes of the word triples of a text (of its words if it has fewer than three)."""
    words = [w.lower() for w in _WORD.findall(text)]
    if len(words) < 3:
        return {hash(w) for w in words}
    return {hash((words[i], words[i + 1], words[i + 2])) for i in range(len(words) - 2)}


_SCAFFOLD = frozenset(_SCAFFOLD_TEXT.split())
