"""A labelled set of documents that name the same thing in other words: acronyms defined somewhere, synonyms nowhere.

Of each thing there is a document that defines its acronym, one that has only the acronym and one that has only the long
form. Others share their words but not the thing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

# An acronym, what it stands for, and what three documents say: the definition, the acronym alone, the long form alone.
_THINGS = (
    ("HRU", "Harbour Radar Unit", "watches the strait", "was repaired after the storm", "needs a new aerial"),
    ("TLB", "Tidal Lagoon Board", "meets in the old customs house", "wants deep sluices", "was founded by fishermen"),
    ("NCP", "Night Crossing Permit", "costs forty crowns", "must be shown to the purser", "can be renewed by letter"),
    ("SVA", "Skell Voluntary Ambulance", "keeps two vans", "asked for more drivers", "answered ninety calls in May"),
    ("GKR", "Greater Kelp Reserve", "covers the northern bay", "is closed to trawlers", "shelters young cod"),
    ("BMD", "Berth Management Database", "lists every mooring", "failed for two days", "is copied each night"),
    ("ICL", "Island Cable Link", "carries telephones", "was cut by an anchor", "was laid in two summers"),
    ("PWF", "Pilots' Widows Fund", "pays a pension", "is managed by the bank", "was begun with a lottery"),
    ("EDS", "Emergency Dredging Squad", "clears the channel", "found a wreck", "works from a barge"),
    ("MOQ", "Marine Oil Quota", "caps the fuel of ships", "was lowered again", "applies to ferries as well"),
)  # fmt: skip
SYNONYMS = "ferry = steamer\nmate = first officer\ngalley = ship's kitchen\n"
# By words that the user's table makes one: a query's, and the only ones the documents have.
_OTHER_WORDS = (
    ("ferry", "steamer", "The steamer to Orra is painted green"),
    ("first officer", "mate", "The mate keeps the log of the watch"),
    ("galley", "ship's kitchen", "The ship's kitchen serves chowder on Fridays"),
)
_OTHERS = (
    "The harbour wall that faces the radar mast is granite",
    "A board of planks lies by the tidal gate",
    "A night in port needs no permit",
    "The reserve of kelp meal is low",
    "A link of the anchor chain was forged on the island",
    "The fund for the church roof was begun by two widows",
    "Marine paint and oil are sold at the chandler's",
    "The management of the fish market has no database",
    "An emergency exit of the hall was blocked by chairs",
    "The first bell rings at six and an officer reads the orders",
)


@dataclass(frozen=True, slots=True)
class Judged:
    """A query and the uris of the documents that answer it."""

    query: str
    relevant: frozenset[str]


def texts() -> dict[str, str]:
    """The documents by uri: 43."""
    found = {}
    for short, long, defined, by_short, by_long in _THINGS:
        found[f"{short}/defined"] = f"The {long} ({short}) {defined}."
        found[f"{short}/short"] = f"Minutes of the quarter: the {short} {by_short}."
        found[f"{short}/long"] = f"Minutes of the quarter: the {long} {by_long}."
    found |= {f"other-words/{word}": f"{text}." for word, _, text in _OTHER_WORDS}
    return found | {f"other/{number}": f"{text}." for number, text in enumerate(_OTHERS)}


def by_acronym() -> Iterator[Judged]:
    """Each thing asked for by its acronym, as it is written and in small letters, and by its long form."""
    for short, long, *_ in _THINGS:
        relevant = frozenset({f"{short}/defined", f"{short}/short", f"{short}/long"})
        for name in (short, short.lower(), long.lower()):
            yield Judged(f"what do we know of the {name}", relevant)


def by_synonym() -> Iterator[Judged]:
    """Things asked for by words that no document has."""
    for word, *_ in _OTHER_WORDS:
        yield Judged(f"tell me of the {word}", frozenset({f"other-words/{word}"}))
