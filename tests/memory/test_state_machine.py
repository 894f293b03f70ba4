"""Any sequence of storing, recalling, promoting, expiring, forgetting and reopening leaves what a dict would hold."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from hashing_embedder import HashingEmbedder
from memory.conftest import Clock
from ragstone.memory.shared_store import SharedMemoryStore
from ragstone.memory.store import MemoryStore
from ragstone.memory.tiers import DAY_S, Policy, Tier
from redis_server import RedisServer

POLICY = Policy(
    tiers=(
        Tier("working", 900, 3),
        Tier("short_term", 3_600, 2),
        Tier("long_term", 30 * DAY_S, 4),
        Tier("episodic", 7 * DAY_S, 2),
        Tier("semantic", None, 3),
    )
)
NAMES = [tier.name for tier in POLICY.tiers]


@dataclasses.dataclass
class Known:
    """What the model holds of an entry."""

    text: str
    tier: str
    importance: float
    created_s: float
    expires_s: float | None
    accesses: int = 0


class Tiers(RuleBasedStateMachine):
    """The store against a dict of what was acknowledged."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = Clock()
        self.embedder = HashingEmbedder()
        self.known: dict[str, Known] = {}
        self.words = 0

    @initialize()
    def open(self) -> None:
        self.stores = [self.opened(Path(self.folder.name) / name) for name in self.copies]
        self.turns = 0

    copies: tuple[str, ...] = ("m",)

    def opened(self, folder: Path) -> MemoryStore:
        return MemoryStore(folder, embedder=self.embedder, policy=POLICY, clock=self.clock)

    @property
    def store(self) -> MemoryStore:
        """Each copy in turn."""
        self.turns += 1
        return self.stores[self.turns % len(self.stores)]

    def close(self) -> None:
        for store in self.stores:
            store.close()

    def teardown(self) -> None:
        self.close()
        self.folder.cleanup()

    def live(self) -> dict[str, Known]:
        now_s = self.clock.now_s
        return {i: k for i, k in self.known.items() if k.expires_s is None or k.expires_s > now_s}

    def in_tier(self, name: str) -> list[str]:
        return [id_ for id_, known in self.live().items() if known.tier == name]

    def worth(self, known: Known) -> float:
        age_days = (self.clock.now_s - known.created_s) / DAY_S
        recency = max(0.0, 1 - 0.1 * age_days)
        return min(1.0, 0.5 * known.importance + 0.3 * recency + 0.2 * min(1.0, known.accesses / 10))

    def deserves(self, known: Known) -> bool:
        return self.worth(known) >= (0.6 if known.accesses >= 5 else 0.75)

    @rule(tier=st.sampled_from(NAMES), importance=st.sampled_from([0.0, 0.3, 0.5, 0.9, 1.0]))
    def add(self, tier: str, importance: float) -> None:
        self.words += 1
        text = f"kestrel{self.words}x osprey{self.words}y falcon{self.words}z"
        stored = self.store.add(text, tier=tier, importance=importance)
        assert stored.outcome == "added" and stored.id is not None
        room = POLICY.tier(tier)
        there = sorted(self.in_tier(tier), key=lambda i: (self.worth(self.known[i]), int(i[1:])))
        evicted = there[: max(0, len(there) + 1 - room.capacity)]
        assert list(stored.evicted) == evicted
        for id_ in evicted:
            del self.known[id_]
        expires_s = None if room.ttl_s is None else self.clock.now_s + room.ttl_s
        self.known[stored.id] = Known(text, tier, importance, self.clock.now_s, expires_s)

    @rule(data=st.data())
    @precondition(lambda self: self.live())
    def say_again(self, data: st.DataObject) -> None:
        id_ = data.draw(st.sampled_from(sorted(self.live())))
        known = self.known[id_]
        assert self.store.add(known.text.upper(), tier="semantic", importance=0.4).id == id_
        known.importance = max(known.importance, 0.4)
        ttl_s = POLICY.tier(known.tier).ttl_s
        if ttl_s is None or known.expires_s is None:
            known.expires_s = None
        else:
            known.expires_s = max(known.expires_s, self.clock.now_s + ttl_s)

    @rule(tier=st.sampled_from([None, *NAMES]), times=st.integers(1, 5))
    def recall(self, tier: str | None, times: int) -> None:
        expected = {i for i, k in self.live().items() if tier in (None, k.tier)}
        for _ in range(times):
            found = self.store.recall("kestrel1x", tier=tier, limit=1_000)
            assert {item.entry.id for item in found} == expected
            assert [item.score for item in found] == sorted((i.score for i in found), reverse=True)
        for id_ in expected:
            self.known[id_].accesses += times

    @rule(seconds=st.sampled_from([1.0, 500.0, 1_000.0, 4_000.0, 2 * DAY_S, 9 * DAY_S]))
    def wait(self, seconds: float) -> None:
        self.clock.now_s += seconds

    @rule()
    def clean_up(self) -> None:
        live = self.live()
        removed = self.store.cleanup_expired()
        assert removed <= len(self.known) - len(live)  # some went when others were stored
        self.known = live
        assert self.store.cleanup_expired() == 0

    @rule()
    def consolidate(self) -> None:
        live = self.live()
        room = {name: POLICY.tier(name).capacity - len(self.in_tier(name)) for name in NAMES}
        expected: dict[str, str] = {}
        for rank in range(len(NAMES) - 2, -1, -1):
            up = [id_ for id_, known in live.items() if known.tier == NAMES[rank] and self.deserves(known)]
            up.sort(key=lambda i: (-self.worth(live[i]), int(i[1:])))
            for id_ in up[: max(0, room[NAMES[rank + 1]])]:
                expected[id_] = NAMES[rank + 1]
                room[NAMES[rank]] += 1
        done = self.store.consolidate()
        assert {p.id: p.to_tier for p in done.promoted} == expected
        for id_, tier in expected.items():
            self.move(id_, tier)

    @rule(data=st.data(), tier=st.sampled_from(NAMES))
    @precondition(lambda self: self.live())
    def promote(self, data: st.DataObject, tier: str) -> None:
        id_ = data.draw(st.sampled_from(sorted(self.live())))
        if NAMES.index(tier) <= NAMES.index(self.known[id_].tier):
            return
        room = POLICY.tier(tier).capacity - len(self.in_tier(tier))
        assert self.store.promote(id_, tier) == (room > 0)
        if room > 0:
            self.move(id_, tier)

    def move(self, id_: str, tier: str) -> None:
        known, ttl_s = self.known[id_], POLICY.tier(tier).ttl_s
        known.tier = tier
        if ttl_s is None or known.expires_s is None:
            known.expires_s = None
        else:
            known.expires_s = max(known.expires_s, self.clock.now_s + ttl_s)

    @rule(data=st.data())
    @precondition(lambda self: self.live())
    def forget(self, data: st.DataObject) -> None:
        id_ = data.draw(st.sampled_from(sorted(self.live())))
        assert self.store.forget([id_]) == 1
        word = self.known.pop(id_).text.split()[1].encode()
        for store in self.stores:
            store.entries()  # the other copies hear of it
        for path in Path(self.folder.name).rglob("*"):
            assert not path.is_file() or word + b" " not in path.read_bytes(), path

    @rule()
    def reopen(self) -> None:
        self.close()
        self.open()

    @invariant()
    def holds_what_was_acknowledged(self) -> None:
        if not hasattr(self, "stores"):
            return
        found = {
            entry.id: Known(
                entry.text,
                entry.tier,
                entry.importance,
                entry.created_s,
                entry.expires_s,
                entry.access_count,
            )
            for entry in self.store.entries()
        }
        assert found == self.live()
        for tier in POLICY.tiers:
            assert sum(known.tier == tier.name for known in found.values()) <= tier.capacity


TestTiers = Tiers.TestCase
TestTiers.settings = settings(
    max_examples=10, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)


def test_two_copies_in_redis_by_turns_are_one_memory(redis_server: RedisServer) -> None:
    class SharedTiers(Tiers):
        copies = ("one", "two")

        def opened(self, folder: Path) -> MemoryStore:
            return SharedMemoryStore(
                folder,
                url=redis_server.url,
                name=self.folder.name,
                embedder=self.embedder,
                policy=POLICY,
                clock=self.clock,
            )

    run_state_machine_as_test(
        SharedTiers,
        settings=settings(
            max_examples=5, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
