"""What sort of thing a question asks for, and whether a passage holds one: person, time, number, place, reason.

Small tables of question words in English, German and Chinese; expressions of time and number in the same. A question
in another language is of no particular kind, which costs it nothing.
"""

from __future__ import annotations

import re
from enum import StrEnum


class AnswerKind(StrEnum):
    """What sort of thing answers a question."""

    PERSON = "person"
    TIME = "time"
    NUMBER = "number"
    PLACE = "place"
    REASON = "reason"
    OTHER = "other"


# In this order: "how long" is a number though "wie lange" may ask for a time, "what year" a time though it is one.
_ASKED: tuple[tuple[AnswerKind, re.Pattern[str]], ...] = (
    (
        AnswerKind.REASON,
        re.compile(
            r"\b(?:why|warum|wieso|weshalb)\b|为什么|为何|\bwhat (?:was the |is the )?cause", re.IGNORECASE
        ),
    ),
    (
        AnswerKind.NUMBER,
        re.compile(
            r"\bhow (?:many|much|old|long|far|big|large|tall|high|deep|fast|often)\b"
            r"|\bwie ?(?:viele?|oft|lange?|hoch|alt|weit|groß)\b|\b(?:cost|costs|price|fare|kostet|kosten|preis)\b"
            r"|\b(?:percentage|percent|number of|population|prozent(?:satz)?|anzahl)\b"
            r"|几(?![点时月号])|多(?:少|大|高|长|久|远|深)",
            re.IGNORECASE,
        ),
    ),
    (
        AnswerKind.TIME,
        re.compile(
            r"\b(?:when|wann)\b|\b(?:what|which|welche[mnrs]?) (?:\w+ )?"
            r"(?:time|year|date|day|month|century|decade|jahr|datum|tag|monat|jahrhundert)\b|\bjahre?\b"
            r"|什么时候|何时|几[点时月号]|哪[天年]",
            re.IGNORECASE,
        ),
    ),
    (AnswerKind.PERSON, re.compile(r"\b(?:who|whom|whose|wer|wem|wen|wessen)\b|谁", re.IGNORECASE)),
    (
        AnswerKind.PLACE,
        re.compile(
            r"\b(?:where|wo|woher|wohin)\b|\b(?:what|which|welche[mnrs]?) (?:\w+ )?"
            r"(?:city|country|town|state|place|location|stadt|land|ort)\b|哪[里儿]|什么地方",
            re.IGNORECASE,
        ),
    ),
)

_TIME = re.compile(
    r"\b(?:1\d{3}|20\d{2}|\d{1,4}\s?(?:BCE?|AD|CE)\b|\d+(?:st|nd|rd|th)\b|\d{1,2}:\d{2}\b|\d{1,2}\s?(?:[ap]\.?m\b|Uhr\b))"
    r"|\b(?:January|February|March|April|May|June|July|August|September|October|November|December"
    r"|Januar|Februar|März|Mai|Juni|Juli|Oktober|Dezember|century|Jahrhundert"
    r"|(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)days?|(?:Mon|Diens|Donners|Frei|Sams|Sonn)tags?|Mittwochs?)\b"
    r"|[\d〇一二三四五六七八九十]{1,4}[年月日点号]"
)
_NUMBER = re.compile(
    r"[^\W_]*\d[^\W_]*|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|(?:thir|four|fif|six|seven|eigh|nine)teen"
    r"|(?:twen|thir|for|fif|six|seven|eigh|nine)ty|dozen|hundred|thousand|million|billion|half|third|quarter|twice"
    r"|eins?|zwei|drei|vier|fünf|sechs|sieben|acht|neun|zehn|elf|zwölf|(?:drei|vier|fünf|sech|sieb|acht|neun)zehn"
    r"|(?:zwan|vier|fünf|sech|sieb|acht|neun)zig|dreißig|hundert|tausend|Millionen|Milliarden|Hälfte|Drittel|Viertel)\b"
    r"|[一二三四五六七八九十百千万两]+",
    re.IGNORECASE,
)
_REASON = re.compile(
    r"\b(?:because|due to|owing to|caused?|causes|reasons?|since|so that|therefore|thus"
    r"|weil|denn|wegen|aufgrund|deshalb|daher|damit|Grund)\b|因为|由于|因此|所以",
    re.IGNORECASE,
)
_CAPITALISED = re.compile(r"(?<=[^\s.!?:;\"“] )[A-ZÄÖÜ][^\W\d_]+")
_WORD = re.compile(r"[^\W_]+(?:['’.\-][^\W_]+)*")
# Characters into a passage within which its first name is looked for.
_BEGINNING = 60


def asked_kind(question: str) -> AnswerKind:
    """The kind of thing that `question` asks for."""
    return next((kind for kind, pattern in _ASKED if pattern.search(question)), AnswerKind.OTHER)


def expressions(kind: AnswerKind, passage: str) -> list[str]:
    """The stretches of `passage` that are of that kind, as far as their looks tell; none for `OTHER`."""
    if kind is AnswerKind.TIME:
        return _TIME.findall(passage)
    if kind is AnswerKind.NUMBER:
        return _NUMBER.findall(passage)
    if kind is AnswerKind.REASON:
        return _REASON.findall(passage)
    if kind in {AnswerKind.PERSON, AnswerKind.PLACE}:
        beginning = (word for word in _WORD.findall(passage[:_BEGINNING]) if word[0].isupper())
        return _CAPITALISED.findall(passage) or list(beginning)
    return []
