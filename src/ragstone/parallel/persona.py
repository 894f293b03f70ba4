"""What is remembered of a person as a source, by trait."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Protocol

from ragstone.parallel.sources import Found, Item, Request

PERSONA_TOP_K = 20  # so that four groups may fill their five places


class Remembered(Protocol):
    """An entry of a memory, as `ragstone.memory` keeps it."""

    @property
    def id(self) -> str:
        """Unique in its memory."""

    @property
    def text(self) -> str:
        """The statement."""

    @property
    def tier(self) -> str:
        """`working`, `short_term`, `long_term`, `episodic` or `semantic`."""

    @property
    def importance(self) -> float:
        """0 to 1."""

    @property
    def tags(self) -> Sequence[str]:
        """Whatever it was tagged with."""


class Recollection(Protocol):
    """A found entry and its score, higher for better."""

    @property
    def entry(self) -> Remembered:
        """What was found."""

    @property
    def score(self) -> float:
        """How well it fits."""


class Memory(Protocol):
    """What can be searched for entries: `ragstone.memory.store.MemoryStore` is one."""

    def search(self, query: str, *, limit: int) -> Sequence[Recollection]:
        """The entries that fit best, best first; counts nothing, so that looking changes nothing."""


class PersonaSource:
    """Searches a memory. An entry's group is its first tag, or its tier where it has none."""

    def __init__(
        self,
        memory: Memory,
        *,
        name: str = "persona",
        top_k: int = PERSONA_TOP_K,
        version: Callable[[], Hashable | None] = lambda: None,
    ) -> None:
        """`version` is the memory's; without one nothing that it took part in is kept: what is forgotten stays so."""
        self._memory = memory
        self.name = name
        self._top_k = top_k
        self.version = version

    def fetch(self, request: Request) -> Found:
        """The entries that fit the query."""
        found = self._memory.search(request.query, limit=self._top_k)
        return Found(tuple(_item(recollection) for recollection in found))


def _item(found: Recollection) -> Item:
    entry = found.entry
    return Item(
        id=entry.id,
        text=entry.text,
        score=found.score,
        group=entry.tags[0] if entry.tags else entry.tier,
        details={"tier": entry.tier, "importance": entry.importance, "tags": list(entry.tags)},
    )
