"""What a memory holds and why: every entry with what keeps it, and what ought not to be there.

Works on a list of entries and their vectors, so it judges a store that never had a gate as well. Duplicates are looked
for among all pairs of like vectors, loops by the word pairs of what is older, contradictions among entries that begin
alike. 10,000 entries take seconds; nothing is changed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ragstone.memory.entries import MemoryEntry
from ragstone.memory.gate import ASSISTANT
from ragstone.memory.promotion import relevance
from ragstone.memory.statements import (
    CONTRADICTION_COSINE,
    COVERED,
    LISTED_COSINE,
    Statement,
    covered_by,
    same_statement,
    supersedes,
)
from ragstone.memory.tiers import DAY_S, Policy
from ragstone.types import Matrix

EXPIRING_SHARE = 0.1  # of a tier's lifetime: what ends within it is listed as expiring
_BLOCK = 1_024  # rows compared with all at once: 40 MB for 10,000 entries
_LOOP_SOURCES = 40  # older entries that share most word pairs with an answer
_SHORT = 40  # content words: of longer ones vectors speak
_ALIKE = 200  # entries with one beginning that one of them is compared with, the most similar ones


@dataclass(frozen=True, slots=True)
class AuditLine:
    """An entry, what it is worth (0 to 1), why it is kept in a sentence, and what is wrong with it.

    `duplicate_of` is the oldest entry that says the same, `repeats` the one that an answer of ours was made from,
    `superseded_by` a newer statement that contradicts it; None where there is none. `expiring`: nearly over.
    """

    entry: MemoryEntry
    relevance: float
    because: str
    duplicate_of: str | None
    repeats: str | None
    superseded_by: str | None
    expiring: bool


@dataclass(frozen=True, slots=True)
class Audit:
    """All live entries, oldest first."""

    lines: tuple[AuditLine, ...]

    @property
    def counts(self) -> dict[str, int]:
        """How many entries there are, and how many of each fault."""
        return {
            "entries": len(self.lines),
            "duplicates": sum(line.duplicate_of is not None for line in self.lines),
            "loops": sum(line.repeats is not None or line.entry.loop for line in self.lines),
            "superseded": sum(line.superseded_by is not None for line in self.lines),
            "expiring": sum(line.expiring for line in self.lines),
        }


def audit(listed: Sequence[MemoryEntry], vectors: Matrix, policy: Policy, now_s: float) -> Audit:
    """The audit of entries, oldest first, with their (n, dim) unit vectors (NaN for one without: then words decide)."""
    statements = [Statement(entry.text) for entry in listed]
    rows = np.nan_to_num(vectors)
    repeats = _loops(listed, statements)
    duplicates = _duplicates(statements, rows, set(repeats))
    superseded = _superseded(listed, statements, rows, {*repeats, *duplicates})
    lines = []
    for place, entry in enumerate(listed):
        worth = relevance(entry, policy, now_s)
        newer = superseded.get(place)
        lines.append(
            AuditLine(
                entry=entry,
                relevance=worth,
                because=_because(entry, worth, now_s),
                duplicate_of=_id(listed, duplicates.get(place)),
                repeats=_id(listed, repeats.get(place)),
                superseded_by=entry.superseded_by or _id(listed, newer),
                expiring=_expiring(entry, policy, now_s),
            )
        )
    return Audit(tuple(lines))


def _id(listed: Sequence[MemoryEntry], place: int | None) -> str | None:
    return None if place is None else listed[place].id


def _loops(listed: Sequence[MemoryEntry], statements: Sequence[Statement]) -> dict[int, int]:
    """Place of each entry that only repeats older ones → the place of the one it has most from."""
    holders: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    found: dict[int, int] = {}
    for place, (entry, statement) in enumerate(zip(listed, statements, strict=True)):
        if entry.source == ASSISTANT or statement.quotes_us:
            shared = Counter(holder for pair in statement.core.pairs for holder in holders[pair])
            older = sorted(holder for holder, _ in shared.most_common(_LOOP_SOURCES))
            share, best = covered_by(statement, [statements[holder] for holder in older])
            if share >= COVERED:
                found[place] = older[best]
        for pair in statement.core.pairs:
            holders[pair].append(place)
    return found


def _duplicates(statements: Sequence[Statement], rows: Matrix, left_out: set[int]) -> dict[int, int]:
    """Place of each entry that says what an older one says → the place of the oldest such."""
    found: dict[int, int] = {}
    for place, older in _pairs(statements, rows):
        if place in found or place in left_out or older in left_out:
            continue
        cosine = float(rows[place] @ rows[older])
        if same_statement(statements[place], statements[older], cosine, reworded=LISTED_COSINE):
            found[place] = found.get(older, older)
    return found


def _pairs(statements: Sequence[Statement], rows: Matrix) -> Iterator[tuple[int, int]]:
    """(newer, older) places of entries that may say the same: whose words are equal but for one, or vectors alike."""
    holders: defaultdict[object, list[int]] = defaultdict(list)
    for place, statement in enumerate(statements):
        content = sorted(statement.core.content)
        signs: set[object] = {statement.core.key, tuple(content)}
        if len(content) <= _SHORT:
            signs.update(tuple(content[:at] + content[at + 1 :]) for at in range(len(content)))
        for sign in signs:
            for older in holders[sign][:_ALIKE]:
                yield place, older
            holders[sign].append(place)
    for start in range(0, len(rows), _BLOCK):
        cosines = rows[start : start + _BLOCK] @ rows[: start + _BLOCK].T
        newer, older_rows = np.nonzero(cosines >= LISTED_COSINE)
        for row, other in zip(newer.tolist(), older_rows.tolist(), strict=True):
            if other < start + row:
                yield start + row, other


def _superseded(
    listed: Sequence[MemoryEntry], statements: Sequence[Statement], rows: Matrix, left_out: set[int]
) -> dict[int, int]:
    """Place of each entry that a newer one contradicts → the place of the newest such."""
    alike: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
    for place, statement in enumerate(statements):
        if place not in left_out:
            alike[statement.core.subject].append(place)
    found: dict[int, int] = {}
    for places in alike.values():
        for at, place in enumerate(places):
            newer = np.array(places[at + 1 :], np.int64)
            if not len(newer) or listed[place].superseded_by is not None:
                continue
            cosines = rows[newer] @ rows[place]
            for i in np.argsort(-cosines, kind="stable")[:_ALIKE].tolist():
                if cosines[i] < CONTRADICTION_COSINE:
                    break
                other = int(newer[i])
                if supersedes(statements[other], statements[place], float(cosines[i])):
                    found[place] = max(other, found.get(place, -1))
    return found


def _expiring(entry: MemoryEntry, policy: Policy, now_s: float) -> bool:
    ttl_s = policy.tier(entry.tier).ttl_s if entry.tier in policy.names else None
    return (
        entry.expires_s is not None
        and ttl_s is not None
        and entry.expires_s - now_s <= EXPIRING_SHARE * ttl_s
    )


def _because(entry: MemoryEntry, worth: float, now_s: float) -> str:
    """Why an entry is still there: `long_term for 12 days more, relevance 0.65, recalled 3 times, said by user`."""
    left = "for good" if entry.expires_s is None else f"for {_duration(entry.expires_s - now_s)} more"
    parts = [f"{entry.tier} {left}", f"relevance {worth:.2f}"]
    if entry.access_count:
        parts.append(f"recalled {entry.access_count} time{'s' * (entry.access_count > 1)}")
    if entry.refreshed:
        parts.append(f"said again {entry.refreshed} time{'s' * (entry.refreshed > 1)}")
    parts.append(f"said by {entry.source}")
    if entry.loop:
        parts.append("an answer of ours, kept on request")
    return ", ".join(parts)


def _duration(seconds: float) -> str:
    """`12 days`, `3 hours`, `5 minutes`; the largest unit there is one of."""
    for unit_s, unit in ((DAY_S, "day"), (3_600.0, "hour"), (60.0, "minute"), (1.0, "second")):
        if seconds >= unit_s:
            number = int(seconds / unit_s)
            return f"{number:,} {unit}{'s' * (number > 1)}"
    return "less than a second"
