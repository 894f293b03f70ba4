"""A user's table of synonyms: a text file, each line some words or phrases that mean the same.

    # what our people call things
    car = automobile, vehicle
    sick note = certificate of incapacity

Whoever asks for one of a line also finds the others. Knows no store and no scores.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from ragstone.errors import InputError

# 10,000 lines of 80 characters: a thesaurus for specialists; read in 0.2 s.
FILE_BYTES_MAX = 1_000_000
LINES_MAX = 10_000
# A line of so many makes a query of one word one of seventeen.
WORDS_MAX = 16
TERMS_MAX = 10  # of one phrase

Terms: TypeAlias = tuple[str, ...]  # of a phrase, as searching sees it
Synonyms: TypeAlias = Mapping[
    Terms, Mapping[str, Terms]
]  # a phrase's terms → each other phrase, with its terms

NO_SYNONYMS: Synonyms = {}


def load_synonyms(path: Path, analyse: Callable[[str], Sequence[str]]) -> Synonyms:
    """The table in a file; `analyse` gives the terms of a phrase.

    Raises `InputError` that names the line at fault, or says why the file cannot be read.
    """
    table: dict[Terms, dict[str, Terms]] = {}
    lines = _text(path).splitlines()
    if len(lines) > LINES_MAX:
        raise InputError(f"{path} has {len(lines):,} lines of synonyms, the limit is {LINES_MAX:,}")
    for number, line in enumerate(lines, start=1):
        written = line.partition("#")[0].strip()
        if not written:
            continue
        try:
            phrases = _phrases(written, analyse)
        except ValueError as fault:
            raise InputError(
                f"{path} line {number}: {fault}", hint="write: car = automobile, vehicle"
            ) from fault
        for phrase, terms in phrases.items():
            others = {other: found for other, found in phrases.items() if found != terms and other != phrase}
            table.setdefault(terms, {}).update(others)
    return table


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
        if len(data) > FILE_BYTES_MAX:
            raise InputError(f"{path} is larger than {FILE_BYTES_MAX:,} bytes", hint="shorten the synonyms")
        return data.decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"the synonyms at {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8: {error.reason} at byte {error.start}") from error


def _phrases(line: str, analyse: Callable[[str], Sequence[str]]) -> dict[str, Terms]:
    """The phrases of a line with their terms; a `ValueError` says what is wrong."""
    head, equals, rest = line.partition("=")
    if not equals or "=" in rest:
        raise ValueError("is not of the form word = other, other")
    phrases = [" ".join(phrase.split()) for phrase in (head, *rest.split(","))]
    if len(phrases) > WORDS_MAX:
        raise ValueError(f"holds {len(phrases)} words or phrases, the limit is {WORDS_MAX}")
    found = {phrase: tuple(analyse(phrase)) for phrase in phrases}
    for phrase, terms in found.items():
        if not terms:
            raise ValueError(f"{phrase!r} holds no word")
        if len(terms) > TERMS_MAX:
            raise ValueError(f"{phrase!r} has {len(terms)} words, the limit is {TERMS_MAX}")
    return found
