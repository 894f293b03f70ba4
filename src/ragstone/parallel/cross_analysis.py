"""Conclusions from what several sources found, by rules: no model, so the same facts always give the same sentences."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ragstone.errors import InputError
from ragstone.parallel.sources import Found, Request, texts_of

FACTS = "facts"
OTHER_FACTS = "other_facts"
_FALLBACK = "en"
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Rule:
    """A conclusion and what it is drawn from.

    `mentions` says, for each source by name (and for `facts` and `other_facts`), what it has to mention: one word or
    several in a row, without regard to case. `says` is the conclusion by language; `themes`, when there are any, are
    those it is for. Raises `InputError` where it can never apply or has nothing to say.
    """

    mentions: Mapping[str, str]
    says: Mapping[str, str]
    themes: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        """Raises `InputError`."""
        if not self.mentions or not all(map(_words, self.mentions.values())):
            raise InputError(
                "a rule has nothing to go by", hint="say what some source or the facts must mention"
            )
        if not any(self.says.values()):
            raise InputError(f"the rule on {dict(self.mentions)} says nothing")

    def applies(self, theme: str, texts: Mapping[str, str]) -> bool:
        """Whether everything is mentioned. `texts` are the words of each source, joined by single spaces."""
        if self.themes and theme not in self.themes:
            return False
        return all(
            f" {_words(phrase)} " in f" {texts.get(place, '')} " for place, phrase in self.mentions.items()
        )

    def sentence(self, locale: str) -> str:
        """What it says in the locale, else in its language, in English, or in whichever language comes first."""
        language = re.split("[-_]", locale)[0]
        for wanted in (locale, language, _FALLBACK):
            if self.says.get(wanted):
                return self.says[wanted]
        return next(text for text in self.says.values() if text)


class CrossAnalysis:
    """Applies rules in their order to facts and findings; a sentence a line, each once."""

    def __init__(self, rules: Sequence[Rule], *, name: str = "cross") -> None:
        self._rules = tuple(rules)
        self.name = name

    def analyse(self, request: Request, found: Mapping[str, Found]) -> Found:
        """The sentences of the rules that apply. A source that did not answer mentions nothing."""
        texts = {name: _text_of(answer) for name, answer in found.items()}
        texts[FACTS] = _words(" ".join(texts_of(request.facts)) or request.query)
        texts[OTHER_FACTS] = _words(" ".join(texts_of(request.other_facts)))
        sentences = tuple(
            dict.fromkeys(
                rule.sentence(request.locale) for rule in self._rules if rule.applies(request.theme, texts)
            )
        )
        return Found(text="\n".join(sentences))


def _text_of(found: Found) -> str:
    return _words(" ".join([*(item.text for item in found.items), found.text, *found.rules]))


def _words(text: str) -> str:
    return " ".join(_WORD.findall(text.casefold()))
