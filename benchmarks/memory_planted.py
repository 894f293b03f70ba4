"""A memory store with faults planted in it, made from a seed: what `memory audit` is measured on.

Genuine entries are facts from forms with made-up people, places and things, many of one form, so that they look alike,
and sentences from abstracts (scifact), where that data set is. Among them are planted near-duplicates, answers of
ours that repeat facts, and newer statements that contradict older ones.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["genuine", "duplicate", "loop", "contradiction"]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


SYLLABLES = _words("ba ke li mo nu ra sho ti vu ze da fen gor hal jin kor lam mer nol per")
FIRST = _words(
    "Anna Boris Clara David Emma Felix Greta Hugo Ida Jonas Karin Leo Mara Nils Olga Paul Rosa Stefan Tina Viktor"
    " Alice Bruno Carla Dora Erik Fiona Georg Hanna Ivan Julia"
)
DAYS = _words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
MONTHS = _words("January February March April May June July August September October November December")
THINGS = _words("printer kettle boiler router scanner freezer projector camera heater mixer")
FOODS = _words("oysters rhubarb lentils gingerbread herring pancakes plums walnuts barley soup pumpkin pie")

# {p}: person, {c}: place, {j}: project, {t}: thing; {v} a value that another fact of the same subject may replace.
FORMS: tuple[tuple[str, str], ...] = (
    ("{p} lives in {v}.", "place"),
    ("{p}'s birthday is on {v}.", "date"),
    ("The ferry to {c} leaves at {v}.", "time"),
    ("{p} works for {v}.", "company"),
    ("The deadline of project {j} is {v}.", "date"),
    ("The {t} in {c} costs {v} euros.", "number"),
    ("The weekly meeting of project {j} is on {v}.", "day"),
    ("{p}'s phone number is {v}.", "phone"),
    ("The owner of the {t} in {c} is {v}.", "person"),
    ("The library in {c} opens at {v}.", "time"),
)
EVENTS: tuple[str, ...] = (
    "{p} likes {food}.",
    "{p} visited {c} with {p2} in {month}.",
    "{p} bought a {t} for the office in {c}.",
    "{p} and {p2} went to school together in {c}.",
    "The {t} in {c} was repaired by {p} in {month}.",
    "{p} told {p2} about project {j} during lunch.",
    "The museum in {c} has a painting of {p}.",
    "{p} is allergic to {food}.",
    "Project {j} needs a new {t} before {month}.",
    "{p} prefers to travel to {c} by train.",
)
PROMISES: tuple[str, ...] = (
    "I will send the report on project {j} to {p} on {day}.",
    "I have booked a table in {c} for {p} on {day}.",
    "I suggested that {p} should ask {p2} about the {t}.",
)
SYNONYMS = {
    "lives in": "resides in",
    "leaves at": "departs at",
    "works for": "is employed by",
    "bought": "purchased",
    "repaired": "fixed",
    "likes": "enjoys",
    "prefers to": "would rather",
    "needs": "requires",
    "told": "informed",
    "weekly meeting": "weekly session",
    "during lunch": "over lunch",
    "show": "demonstrate",
    "shows": "demonstrates",
    "increased": "elevated",
    "important": "significant",
    "however": "yet",
    "used": "employed",
}
FILLERS = (
    "Note: {}",
    "Please remember that {}",
    "Just so you know, {}",
    "{} Really.",
    "Well, {}",
    "Oh, and {}",
)
LEAD_INS = (
    "As you told me earlier, {}",
    "I recall that {}",
    "Assistant: {}",
    "Based on our previous conversation, {}",
    "According to my notes, {}",
    "You mentioned before that {}",
    "The answer is: {}",
    "As I said before, {} Let me know if you need anything else!",
    "To answer your question, {} I hope this helps.",
    "Assistant: As I mentioned, I remember that {}",
)


@dataclass(frozen=True, slots=True)
class Planted:
    """An entry to store, and what it is; `of` is the place of the entry it repeats or contradicts, else -1."""

    text: str
    source: str
    kind: Kind
    of: int


def planted(*, seed: int, count: int, share: float = 0.05, sentences: Sequence[str] = ()) -> list[Planted]:
    """`count` entries, a `share` of them duplicates, as many loops, and half as many contradictions.

    Every fault comes after what it is about. `sentences` are mixed in as genuine entries, up to a third.
    """
    choice = random.Random(seed)
    faults = {
        "duplicate": int(share * count),
        "loop": int(share * count),
        "contradiction": int(share * count / 2),
    }
    genuine = count - sum(faults.values())
    facts = _facts(choice, genuine - min(len(sentences), genuine // 3))
    facts += [(text, text, "") for text in choice.sample(list(sentences), min(len(sentences), genuine // 3))]
    choice.shuffle(facts)
    entries: list[tuple[float, Planted]] = []
    for place, (text, _, _) in enumerate(facts):
        promised = text.startswith("I ")
        entries.append((float(place), Planted(text, "assistant" if promised else "user", "genuine", -1)))
    about: dict[int, int] = {}
    free = list(range(genuine))
    choice.shuffle(free)
    for kind, number in faults.items():
        for _ in range(number):
            place = next(p for p in free if p not in about and (kind != "contradiction" or facts[p][2]))
            about[place] = 1
            free.remove(place)
            other = facts[free[choice.randrange(len(free))]][0]
            made = _fault(choice, kind, facts[place], other)
            source = choice.choice(("assistant", "user")) if kind == "loop" else "user"
            if kind == "loop" and not any(made.startswith(lead[:8]) for lead in LEAD_INS):
                source = "assistant"  # nothing else shows that it is ours
            entries.append((genuine + choice.random() * genuine, Planted(made, source, kind, place)))  # type: ignore[arg-type]
    entries.sort(key=lambda pair: pair[0])
    return [entry for _, entry in entries]


def scifact_sentences(corpus: Path) -> list[str]:
    """The first sentence of each abstract, 40 to 300 characters, each once."""
    found: dict[str, None] = {}
    for line in corpus.read_text(encoding="utf-8").splitlines():
        sentence = re.split(r"(?<=[.!?])\s+(?=[A-Z])", json.loads(line)["text"])[0].strip()
        if 40 <= len(sentence) <= 300:
            found[sentence] = None
    return list(found)


def _facts(choice: random.Random, count: int) -> list[tuple[str, str, str]]:
    """(text, form with `{v}`, kind of value) of distinct facts, no two of the same subject's attribute."""
    seen: set[str] = set()
    facts: list[tuple[str, str, str]] = []
    while len(facts) < count:
        drawn = choice.random()
        kind = ""
        if drawn < 0.6:
            form, kind = choice.choice(FORMS)
        else:
            form = choice.choice(PROMISES if drawn > 0.96 else EVENTS)
        form = _filled(choice, form)
        if form in seen:
            continue
        seen.add(form)
        facts.append((form.replace("{v}", _value(choice, kind)) if kind else form, form, kind))
    return facts


def _fault(choice: random.Random, kind: str, fact: tuple[str, str, str], other: str) -> str:
    text, form, value = fact
    if kind == "duplicate":
        return _again(choice, text)
    return _answer(choice, text, other) if kind == "loop" else _contradiction(choice, text, form, value)


def _contradiction(choice: random.Random, text: str, form: str, kind: str) -> str:
    made = text
    while made == text:
        made = form.replace("{v}", _value(choice, kind))
    return made


def _filled(choice: random.Random, form: str) -> str:
    return (
        form.replace("{p2}", _person(choice))
        .replace("{p}", _person(choice))
        .replace("{c}", _name(choice, 2))
        .replace("{j}", _name(choice, 3))
        .replace("{t}", choice.choice(THINGS))
        .replace("{food}", choice.choice(FOODS))
        .replace("{month}", choice.choice(MONTHS))
        .replace("{day}", choice.choice(DAYS))
    )


def _value(choice: random.Random, kind: str) -> str:
    match kind:
        case "place":
            return _name(choice, 2)
        case "date":
            return f"{choice.randint(1, 28)} {choice.choice(MONTHS)}"
        case "time":
            return f"{choice.randint(5, 22)}:{choice.randint(0, 59):02d}"
        case "company":
            return f"{_name(choice, 2)} Systems"
        case "number":
            return str(choice.randint(11, 990))
        case "day":
            return choice.choice(DAYS)
        case "phone":
            return f"{choice.randint(200, 999)} {choice.randint(1000, 9999)}"
        case _:
            return _person(choice)


def _person(choice: random.Random) -> str:
    return f"{choice.choice(FIRST)} {_name(choice, 2)}"


def _name(choice: random.Random, syllables: int) -> str:
    return "".join(choice.choice(SYLLABLES) for _ in range(syllables)).capitalize()


def _again(choice: random.Random, text: str) -> str:
    """The same said again: one change, sometimes two."""
    for _ in range(choice.choice((1, 1, 2))):
        text = choice.choice((_case, _filler, _synonym, _typo, _no_article, _punctuation))(choice, text)
    return text


def _case(choice: random.Random, text: str) -> str:
    return text.upper() if choice.random() < 0.3 else text.lower()


def _filler(choice: random.Random, text: str) -> str:
    return choice.choice(FILLERS).format(text)


def _synonym(choice: random.Random, text: str) -> str:
    fitting = [(old, new) for old, new in SYNONYMS.items() if re.search(rf"\b{old}\b", text)]
    if not fitting:
        return _punctuation(choice, text)
    old, new = choice.choice(fitting)
    return re.sub(rf"\b{old}\b", new, text, count=1)


def _typo(choice: random.Random, text: str) -> str:
    """Two neighbouring letters of a long lower-case word exchanged."""
    words = list(re.finditer(r"\b[a-z]{6,}\b", text))
    if not words:
        return _filler(choice, text)
    match = choice.choice(words)
    at = match.start() + choice.randint(1, len(match.group()) - 3)
    return text[:at] + text[at + 1] + text[at] + text[at + 2 :]


def _no_article(choice: random.Random, text: str) -> str:
    shorter = re.sub(r"\b[Tt]he ", "", text)
    return shorter if shorter != text else _punctuation(choice, text)


def _punctuation(choice: random.Random, text: str) -> str:
    return choice.choice((text.rstrip(".") + "!", text.rstrip("."), f"  {text}  ", f"“{text}”"))


def _answer(choice: random.Random, fact: str, other: str) -> str:
    """An answer of ours that repeats one fact or two, in one of the ways answers do."""
    if choice.random() < 0.25:
        fact = f"{fact} Also, {other}"
    answer = fact if choice.random() < 0.15 else choice.choice(LEAD_INS).format(fact)
    return choice.choice(LEAD_INS).format(answer) if choice.random() < 0.15 else answer
