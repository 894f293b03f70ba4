"""Which entries go a tier up, and how: one step, never a shorter life, never more than fits. Works on a connection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import apsw

from ragstone.memory import entries
from ragstone.memory.entries import MemoryEntry
from ragstone.memory.tiers import Policy


@dataclass(frozen=True, slots=True)
class Promotion:
    """An entry and the tier it went up to."""

    id: str
    from_tier: str
    to_tier: str


def relevance(entry: MemoryEntry, policy: Policy, now_s: float) -> float:
    """What an entry is worth keeping for at this moment, 0 to 1."""
    age_s = max(0.0, now_s - entry.created_s)
    return policy.relevance(entry.importance, age_s=age_s, access_count=entry.access_count)


def candidates(listed: Sequence[MemoryEntry], policy: Policy, now_s: float) -> list[MemoryEntry]:
    """Those of the entries that deserve the next higher tier, most relevant first, ties oldest first.

    What is superseded or a loop stays where it is and ends with its time.
    """
    top = policy.names[-1]
    worth = {entry.id: relevance(entry, policy, now_s) for entry in listed}
    deserving = [
        entry
        for entry in listed
        if entry.tier != top
        and entry.superseded_by is None
        and not entry.loop
        and policy.deserves_promotion(worth[entry.id], entry.access_count)
    ]
    return sorted(deserving, key=lambda entry: (-worth[entry.id], entry.document_id))


def promote(db: apsw.Connection, entry: MemoryEntry, to_tier: str, policy: Policy, now_s: float) -> bool:
    """Move a live entry up to `to_tier`; whether there was room. Its remaining life is never shortened.

    A full tier takes nobody in: pushing another entry out would shorten that one's life. The caller has checked that
    the tier is higher. Raises `InputError` for an unknown tier.
    """
    tier = policy.tier(to_tier)
    if entries.count(db, tier.name, now_s) >= tier.capacity:
        return False
    expires_s = policy.expiry(tier, now_s=now_s, at_least_s=entry.expires_s)
    entries.update(db, entry.document_id, tier=tier.name, expires_s=expires_s)
    return True


def consolidate(db: apsw.Connection, policy: Policy, now_s: float) -> tuple[list[Promotion], int]:
    """Move everything that deserves it one tier up, as it stands now; what moved, and how many found no room.

    The higher tiers go first, so that what leaves one makes room for what comes into it.
    """
    moved: list[Promotion] = []
    no_room = 0
    chosen = candidates(entries.live(db, now_s), policy, now_s)
    room = {tier.name: tier.capacity - entries.count(db, tier.name, now_s) for tier in policy.tiers}
    for entry in sorted(
        chosen, key=lambda entry: -policy.rank(entry.tier)
    ):  # stable: most relevant first in each
        tier = policy.above(entry.tier)
        if tier is None or room[tier.name] < 1:
            no_room += 1
            continue
        expires_s = policy.expiry(tier, now_s=now_s, at_least_s=entry.expires_s)
        entries.update(db, entry.document_id, tier=tier.name, expires_s=expires_s)
        room[tier.name] -= 1
        room[entry.tier] += 1
        moved.append(Promotion(entry.id, entry.tier, tier.name))
    return moved, no_room
