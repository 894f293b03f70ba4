"""What a source is asked and what it gives: the protocol that built-in sources and your own share."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from ragstone.errors import InputError
from ragstone.types import Degraded

Facts: TypeAlias = Mapping[str, Any]  # JSON values by name, nested as deep as they come

MAX_THEME_CHARS = 100
MAX_QUERY_CHARS = 1_000  # of a query made from facts: what a question may have (FEATURES "Service")
_MAX_DEPTH = 16
# A language and what narrows it down: en, pt-BR, zh_Hans.
_LOCALE = re.compile(r"[A-Za-z]{2,8}([-_][A-Za-z0-9]{1,8}){0,4}")


@dataclass(frozen=True, slots=True)
class Request:
    """What all sources are asked. `query` is the same for all, so that it is embedded once.

    `facts` and `other_facts` are as given; `theme` may be empty. `timeout_s` is how long a source has: one that asks
    the network should wait no longer, as nobody listens after that.
    """

    query: str
    facts: Facts = field(default_factory=dict)
    other_facts: Facts = field(default_factory=dict)
    theme: str = ""
    locale: str = "en"
    timeout_s: float = 5.0


@dataclass(frozen=True, slots=True)
class Item:
    """One thing found. `id` is the same wherever the same thing is found; `score` is higher for better.

    `group` is for sources that sort what they find (a persona's traits); `details` are JSON values.
    """

    id: str
    text: str
    score: float
    group: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Found:
    """What a source found: `items`, best first, and for sources that have them a connected `text` and `rules`.

    `degraded` says what could not take part inside the source.
    """

    items: tuple[Item, ...] = ()
    text: str = ""
    rules: tuple[str, ...] = ()
    degraded: tuple[Degraded, ...] = ()


class Source(Protocol):
    """Something to ask. `fetch` runs on a thread of its own, several at once when several callers ask."""

    @property
    def name(self) -> str:
        """Unique among a retriever's sources; `graph`, `corpus`, `persona` and `domain` fill the documented keys."""

    def fetch(self, request: Request) -> Found:
        """What fits the request. May raise anything: it is reported, and the other sources answer."""

    def version(self) -> Hashable | None:
        """Something that differs from before whenever `fetch` may give something else; None: not known, keep nothing.

        Called on a thread, before `fetch`, and each time a kept result might be used: in microseconds.
        """


class Analysis(Protocol):
    """Draws conclusions from what the sources found; runs after them, with a deadline of its own."""

    @property
    def name(self) -> str:
        """Unique among the sources and this; `cross` fills the documented key."""

    def analyse(self, request: Request, found: Mapping[str, Found]) -> Found:
        """Its `text` is the analysis. `found` holds the sources that answered, by name, in their order."""


def prepare(
    facts: str | Facts,
    other_facts: Facts | None,
    *,
    theme: str,
    locale: str,
    concepts: Mapping[str, str],
    timeout_s: float,
) -> Request:
    """The request for a question, or for facts: then the query is the theme, its `concepts` (words by theme) and every
    text among the facts, in order, each once, up to 1,000 characters.

    Raises `InputError` for an empty query, a locale that is none, and a theme of more than 100 characters.
    """
    if not _LOCALE.fullmatch(locale):
        raise InputError(f"no locale {locale!r}", hint="a language such as en, pt-BR or zh_Hans")
    if len(theme) > MAX_THEME_CHARS:
        raise InputError(f"the theme has {len(theme)} characters, the limit is {MAX_THEME_CHARS}")
    words = [theme.replace("_", " "), concepts.get(theme, "")]
    known: Facts = {} if isinstance(facts, str) else facts
    if isinstance(facts, str):
        query = facts.strip()
    else:
        query = _joined([*words, *texts_of(facts), *texts_of(other_facts or {})])
    if not query:
        raise InputError(
            "there is nothing to ask for", hint="give a question, or facts with some text in them"
        )
    return Request(query, known, other_facts or {}, theme, locale, timeout_s)


def texts_of(value: object, *, depth: int = 0) -> list[str]:
    """Every text among nested facts, in their order; names, numbers and truth values are none."""
    if depth > _MAX_DEPTH:
        raise InputError(f"the facts are nested more than {_MAX_DEPTH} deep")
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        return [text for inner in value.values() for text in texts_of(inner, depth=depth + 1)]
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [text for inner in value for text in texts_of(inner, depth=depth + 1)]
    return []


def _joined(texts: Sequence[str]) -> str:
    """The texts, each once, as many as fit."""
    query = ""
    for text in dict.fromkeys(" ".join(text.split()) for text in texts):
        longer = f"{query} {text}".strip()
        if len(longer) > MAX_QUERY_CHARS:
            return query or longer[:MAX_QUERY_CHARS]
        query = longer
    return query
