"""The write gate: what becomes of a text that is to be remembered, given what is remembered already.

A near-duplicate refreshes the old entry. An answer of ours is no fact: what repeats memories, or an answer given
before, is refused, or marked where a person insists. A newer statement that puts another value in an older one's place
supersedes it. Plain functions; `statements` holds the rules of language.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from ragstone.memory.entries import MemoryEntry
from ragstone.memory.statements import COVERED, Statement, covered_by, same_statement, supersedes

Outcome: TypeAlias = Literal["added", "refreshed", "marked", "refused"]
PairHashes: TypeAlias = npt.NDArray[np.uint64]  # (n,) ascending, each once

USER = "user"
ASSISTANT = "assistant"  # what we said ourselves

# A text with so much of one of our answers in it is that answer; shorter ones than four pairs are anybody's.
_OUR_ANSWER = 0.8
_FEWEST_PAIRS = 4
ANSWERS_KEPT = 1_000  # the latest: months of one person's questions, 1 MB


@dataclass(frozen=True, slots=True)
class Near:
    """An entry like the new text; `cosine` of their vectors."""

    entry: MemoryEntry
    statement: Statement
    cosine: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do with a text and why. `same` is the entry to refresh, or the one that a loop repeats, if it is one;
    `superseded` are the entries that it contradicts."""

    outcome: Outcome
    because: str
    same: MemoryEntry | None = None
    superseded: tuple[MemoryEntry, ...] = ()


def judge(statement: Statement, source: str, near: Sequence[Near], *, ours: bool) -> Verdict:
    """The verdict on a text. `near` are the entries most like it, best first; `ours`: an answer of ours holds it."""
    repeated = _repeats(statement, source, near)
    if repeated is not None or ours:
        because = "it is an answer of ours" if ours else "it repeats what is remembered"
        if source == USER and not statement.quotes_us and repeated is None:
            return Verdict("marked", f"{because}; kept because a person asked for it")
        return Verdict("refused", because, same=repeated)
    superseded = tuple(
        other.entry
        for other in near
        if other.entry.superseded_by is None and supersedes(statement, other.statement, other.cosine)
    )
    for other in near:
        if same_statement(statement, other.statement, other.cosine):
            return Verdict("refreshed", f"{other.entry.id} says the same", other.entry, superseded)
    return Verdict("added", "it is new", superseded=superseded)


def _repeats(statement: Statement, source: str, near: Sequence[Near]) -> MemoryEntry | None:
    """The entry that a text of ours, or one that begins as our answers do, only repeats."""
    if source != ASSISTANT and not statement.quotes_us:
        return None
    share, best = covered_by(statement, [other.statement for other in near])
    return near[best].entry if share >= COVERED else None


def pair_hashes(statement: Statement) -> PairHashes:
    """A text's word pairs as numbers: enough to know it again, nothing to read."""
    numbers = [
        int.from_bytes(hashlib.blake2b("\0".join(pair).encode(), digest_size=8).digest(), "little")
        for pair in statement.core.pairs
    ]
    return np.unique(np.array(numbers, dtype=np.uint64))


def is_answer(hashes: PairHashes, answers: Sequence[PairHashes]) -> bool:
    """Whether one of our answers holds nearly all of a text."""
    return len(hashes) >= _FEWEST_PAIRS and any(
        len(np.intersect1d(hashes, answer, assume_unique=True)) >= _OUR_ANSWER * len(hashes)
        for answer in answers
    )
