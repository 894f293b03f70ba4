"""Prompt templates: one per kind of question, replaceable by text files of the same names.

A template is the user's message with `$sources` and `$question` in it, each exactly once; `system.txt` replaces the
manner of speaking only. The rules that keep documents data and answers cited are added by `prompt`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from string import Template
from types import MappingProxyType

from ragstone.errors import InputError, NotFoundError

# A template is instructions, not a document: 16 KiB is some 4,000 tokens, half the default context.
TEMPLATE_BYTES_MAX = 16 << 10

_FRAME = "$sources\n\nQuestion: $question\n\n"
_SYSTEM = (
    "You answer questions about the user's documents, in the language of the question, briefly and plainly."
)

_BUILT_IN: Mapping[str, str] = MappingProxyType(
    {
        "fact": _FRAME + "Answer in one or two sentences.",
        "how_to": _FRAME
        + "Answer with the steps in order, as a numbered list with one citation or more in each step.",
        "comparison": _FRAME
        + "Say what is the same and what differs, point by point, with a citation for each side.",
        "list": _FRAME + "Answer with a list, one line for each item, each with its citation.",
        "summary": _FRAME + "Summarise what the sources say about this in at most eight sentences.",
        "default": _FRAME + "Answer in as few sentences as the question needs.",
    }
)

_TYPES: tuple[tuple[str, re.Pattern[str]], ...] = (
    (
        "comparison",
        re.compile(
            r"\b(?:compare[ds]?|comparison|differences?|differ|versus|vs|vergleiche?|unterschiede?|unterscheide[nt]?)\b",
            re.IGNORECASE,
        ),
    ),
    (
        "summary",
        re.compile(r"\b(?:summar\w+|overview|outline|zusammenfass\w*|überblick|fasse)\b", re.IGNORECASE),
    ),
    (
        "how_to",
        re.compile(
            r"\bhow (?:do|can|should|would|could|to)\b|\bwie (?:kann|soll|muss|mache|man)\b|\bsteps? to\b",
            re.IGNORECASE,
        ),
    ),
    (
        "list",
        re.compile(
            r"^\s*(?:list|name|enumerate|give me|nenne|welche\b.*\bgibt es)\b|\b(?:what|which) are (?:all|the)\b",
            re.IGNORECASE,
        ),
    ),
    (
        "fact",
        re.compile(
            r"\b(?:who|whom|whose|when|where|which|how (?:many|much|old|long|far)"
            r"|what (?:year|date|is the name)|wer|wem|wen|wann|wo|wie viele?)\b",
            re.IGNORECASE,
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class Templates:
    """A system text and a user template per question type; every built-in type is present."""

    system: str
    by_type: Mapping[str, str]

    def fill(self, question_type: str, *, sources: str, question: str) -> str:
        """The user's message. Dollar signs in `sources` and `question` stay as they are."""
        return Template(self.by_type[question_type]).substitute(sources=sources, question=question)


BUILT_IN = Templates(system=_SYSTEM, by_type=_BUILT_IN)


def question_type(question: str) -> str:
    """`comparison`, `summary`, `how_to`, `list`, `fact` or `default`: the first whose cue words occur."""
    for name, pattern in _TYPES:
        if pattern.search(question):
            return name
    return "default"


def load_templates(path: Path) -> Templates:
    """The built-in templates with those of `path` in their place.

    `path` is a folder of `<type>.txt` and `system.txt`, or one file that replaces the template of every type.
    Raises `NotFoundError` if it does not exist and `InputError` if a name or a placeholder is not known.
    """
    if path.is_file():
        text = _read(path)
        _validate(text, path)
        return Templates(system=_SYSTEM, by_type=dict.fromkeys(_BUILT_IN, text))
    if not path.is_dir():
        raise NotFoundError(f"no prompt templates at {path}", hint="give a folder of .txt files or one file")
    system, by_type = _SYSTEM, dict(_BUILT_IN)
    for file in sorted(path.glob("*.txt")):
        if file.stem == "system":
            system = _read(file)
        elif file.stem in by_type:
            by_type[file.stem] = _read(file)
            _validate(by_type[file.stem], file)
        else:
            near = get_close_matches(file.stem, ["system", *by_type], n=1)
            raise InputError(
                f"{file} is no template that ragstone uses",
                hint=f"did you mean {near[0]}.txt?" if near else f"known: system, {', '.join(by_type)}",
            )
    return Templates(system=system, by_type=by_type)


def _read(path: Path) -> str:
    size = path.stat().st_size
    if size > TEMPLATE_BYTES_MAX:
        raise InputError(f"{path} has {size} bytes; a template has at most {TEMPLATE_BYTES_MAX}")
    try:
        return path.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text", hint="save it as UTF-8") from error


def _validate(text: str, path: Path) -> None:
    template = Template(text)
    if not template.is_valid():
        raise InputError(f"{path} has a lone $", hint="write $$ for a dollar sign")
    names = [m.group("named") or m.group("braced") for m in Template.pattern.finditer(text)]
    used = [name for name in names if name]
    if unknown := sorted(set(used) - {"sources", "question"}):
        raise InputError(f"{path} uses ${unknown[0]}", hint="a template may use $sources and $question")
    for name in ("sources", "question"):
        if used.count(name) != 1:
            raise InputError(f"{path} holds ${name} {used.count(name)} times", hint="use it exactly once")
