"""`MemoryConsolidator`: promotion of memories by hand, in passes, or in the background, with statistics."""

from __future__ import annotations

from collections import Counter
from typing import Any

from ragstone.memory.backend import MemoryBackend
from ragstone.memory.background import Repeating
from ragstone.memory.entries import MemoryEntry

INTERVAL_S = 300.0  # document 003's


class MemoryConsolidator:
    """Moves what proved worth keeping up through the tiers, one tier a pass. `stop_background_task` before closing."""

    def __init__(self, backend: MemoryBackend) -> None:
        """`backend` is opened and closed by its owner."""
        self._backend = backend
        self._background = Repeating("memory consolidation", self.run_consolidation)
        self._passes = 0
        self._seconds = 0.0
        self._last_s: float | None = None
        self._no_room = 0
        self._errors = 0
        self._promoted: Counter[str] = Counter()

    async def run_consolidation(self) -> int:
        """One pass; how many entries went up. Each went one tier, all in one transaction, none lives shorter.

        A failure is counted and raised.
        """
        try:
            done = await self._backend.run(lambda store: store.consolidate())
        except Exception:
            self._errors += 1
            raise
        self._passes += 1
        self._seconds += done.seconds
        self._last_s = self._backend.store.now_s()
        self._no_room += done.no_room
        self._promoted.update(promotion.to_tier for promotion in done.promoted)
        return len(done.promoted)

    async def start_background_task(self, interval: float = INTERVAL_S) -> None:
        """A pass every `interval` seconds until it is stopped; a failing one is counted and the next one comes."""
        await self._background.start(interval)

    async def stop_background_task(self) -> None:
        """Stop the passes; returns within a second."""
        await self._background.stop()

    async def analyze_candidates(self, tier: str) -> list[MemoryEntry]:
        """The entries of a tier that the next pass would move up, most relevant first. Raises `InputError`."""
        return await self._backend.run(lambda store: store.candidates(tier))

    async def promote_memory(self, entry_id: str, to_tier: str) -> bool:
        """Move one entry up; False when the tier is full. Raises `NotFoundError` for an unknown entry and
        `InputError` for an unknown tier or one that is not higher."""
        promoted = await self._backend.run(lambda store: store.promote(entry_id, to_tier))
        if promoted:
            self._promoted[to_tier] += 1
        return promoted

    def get_stats(self) -> dict[str, Any]:
        """Passes, promotions (also by the tier they led to), mean time of a pass in milliseconds, Unix time of the last
        pass (None before the first), promotions that found no room, failed passes."""
        return {
            "total_consolidations": self._passes,
            "total_promotions": self._promoted.total(),
            "promotions_by_tier": dict(self._promoted),
            "avg_consolidation_time_ms": self._seconds * 1e3 / self._passes if self._passes else 0.0,
            "last_consolidation": self._last_s,
            "no_room": self._no_room,
            "errors": self._errors,
            "running": self._background.running,
        }
