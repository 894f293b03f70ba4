"""The five tiers, their limits, and the formulas that say what a memory is worth. Plain functions of plain numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from ragstone.errors import InputError

Clock: TypeAlias = Callable[
    [], float
]  # Unix seconds: what is kept outlives the process, so no monotonic clock

DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Tier:
    """How long entries live, in seconds (None: for ever), and how many there may be."""

    name: str
    ttl_s: float | None
    capacity: int


# Document 003's, lowest first: a promotion goes one up.
TIERS = (
    Tier("working", 900, 15),
    Tier("short_term", 3_600, 100),
    Tier("long_term", 2_592_000, 10_000),
    Tier("episodic", 604_800, 5_000),
    Tier("semantic", None, 50_000),
)


@dataclass(frozen=True, slots=True)
class Policy:
    """Every number of the memory. Defaults are document 003's, those it does not give are said where they stand.

    `decay_per_day` is its `importance_decay_rate`. Raises `InputError` for values out of range.
    """

    tiers: tuple[Tier, ...] = TIERS
    importance_weight: float = 0.5
    recency_weight: float = 0.3
    access_weight: float = 0.2
    decay_per_day: float = 0.1
    full_accesses: int = 10  # so many recalls count as all that can be had
    consolidation_threshold: float = 0.75
    # 003 promotes what was recalled five times, but under a condition that never held. Here such an entry needs
    # only .8 of the threshold: .6, which importance .5 reaches for a day and a half.
    frequent_accesses: int = 5
    frequent_share: float = 0.8
    superseded_factor: float = (
        0.5  # of its rank, for what a newer statement contradicts: found, but behind it
    )
    # What an answer of ours may be worth when a person insists on storing it: recalled after what people said.
    loop_importance: float = 0.3

    def __post_init__(self) -> None:
        """Raises `InputError`."""
        shares = {
            "importance_weight": self.importance_weight,
            "recency_weight": self.recency_weight,
            "access_weight": self.access_weight,
            "consolidation_threshold": self.consolidation_threshold,
            "frequent_share": self.frequent_share,
            "superseded_factor": self.superseded_factor,
            "loop_importance": self.loop_importance,
        }
        for name, value in shares.items():
            if not 0 <= value <= 1:
                raise InputError(f"{name} is {value}, the range is 0 to 1")
        if not self.decay_per_day >= 0 or not math.isfinite(self.decay_per_day):
            raise InputError(f"importance_decay_rate is {self.decay_per_day}, the least is 0")
        if self.full_accesses < 1 or self.frequent_accesses < 1:
            raise InputError("full_accesses and frequent_accesses are at least 1")
        if not self.tiers or len({tier.name for tier in self.tiers}) < len(self.tiers):
            raise InputError("there is at least one tier, and each has a name of its own")
        for tier in self.tiers:
            if tier.capacity < 1 or (tier.ttl_s is not None and not tier.ttl_s > 0):
                raise InputError(f"tier {tier.name} has room for {tier.capacity} and {tier.ttl_s} s")

    @property
    def names(self) -> tuple[str, ...]:
        """The tiers' names, lowest first."""
        return tuple(tier.name for tier in self.tiers)

    def tier(self, name: str) -> Tier:
        """The tier of that name. Raises `InputError`."""
        for tier in self.tiers:
            if tier.name == name:
                return tier
        raise InputError(f"no tier {name!r}", hint=f"one of {', '.join(self.names)}")

    def rank(self, name: str) -> int:
        """How high a tier is, 0 the lowest. Raises `InputError`."""
        return self.names.index(self.tier(name).name)

    def above(self, name: str) -> Tier | None:
        """The next higher tier; None above the highest. Raises `InputError`."""
        rank = self.rank(name) + 1
        return self.tiers[rank] if rank < len(self.tiers) else None

    def relevance(self, importance: float, *, age_s: float, access_count: int) -> float:
        """What an entry is worth keeping for, 0 to 1: `clamp(.5·importance + .3·max(0, 1 − .1·age in days) +
        .2·min(1, accesses/10))`. Source: document 003."""
        recency = min(1.0, max(0.0, 1 - self.decay_per_day * age_s / DAY_S))
        accesses = min(1.0, access_count / self.full_accesses)
        worth = (
            self.importance_weight * importance
            + self.recency_weight * recency
            + self.access_weight * accesses
        )
        return min(1.0, max(0.0, worth))

    def deserves_promotion(self, relevance: float, access_count: int) -> bool:
        """Whether an entry goes up: relevant enough, or recalled often and nearly so."""
        threshold = self.consolidation_threshold
        if access_count >= self.frequent_accesses:
            threshold *= self.frequent_share
        return relevance >= threshold

    def expiry(self, tier: Tier, *, now_s: float, at_least_s: float | None = 0.0) -> float | None:
        """When an entry put into `tier` now ends (None: never), not before `at_least_s` (None: never)."""
        if tier.ttl_s is None or at_least_s is None:
            return None
        return max(now_s + tier.ttl_s, at_least_s)
