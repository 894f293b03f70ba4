"""The async names of document 003, on the embedded store."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from hashing_embedder import HashingEmbedder
from memory.conftest import NOON, Clock
from ragstone import MemoryBackend, MemoryConsolidator, Settings
from ragstone.errors import DocumentError, InputError, NotFoundError
from redis_server import HOST, RedisServer

Make = Callable[..., MemoryBackend]
STOP_S = 1.0


@pytest.fixture
def make(tmp_path: Path, embedder: HashingEmbedder, clock: Clock) -> Make:
    def new(**options: Any) -> MemoryBackend:
        settings = Settings(data_dir=tmp_path / "data")
        return MemoryBackend(settings=settings, embedder=embedder, clock=clock, **options)

    return new


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """`work()` in an event loop; nothing may be left running after it."""

    async def checked() -> None:
        await work()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(checked(), debug=True)
    assert not [t for t in threading.enumerate() if t.name.startswith("memory")]


def test_the_documented_calls_run(make: Make, tmp_path: Path, clock: Clock) -> None:
    async def work() -> None:
        backend = make()
        if not await backend.initialize():
            raise AssertionError("the embedded store is always there")
        kept = await backend.store_memory("The boiler was serviced in May.", "long_term", 0.8, ["house"])
        await backend.store_memory("Bread is baked at night.", memory_type="working")
        (found,) = await backend.recall_memories("boiler serviced", limit=1)
        assert (found.id, found.tags) == (kept, ("house",))
        assert [e.text for e in await backend.search_memories("bread", min_importance=0.6)] == [found.text]
        assert len(await backend.recall_memories("bread", memory_type="working")) == 1
        stats = await backend.get_memory_stats()
        assert (stats["total"], stats["long_term"], stats["working"], stats["semantic"]) == (2, 1, 1, 0)
        assert stats["limits"]["working"] == {"ttl_s": 900, "capacity": 15}
        assert backend.get_embedding("text").shape == (backend.embedding_model.dim,)
        clock.now_s += 901
        cleaned = await backend.cleanup_expired()
        assert (cleaned, (await backend.get_memory_stats())["total"]) == (1, 1)
        assert (await backend.audit()).counts["entries"] == 1
        assert await backend.forget([str(kept)]) == 1
        await backend.close()
        await backend.close()
        with pytest.raises(InputError, match="not open"):
            await backend.get_memory_stats()

    run(work)


def test_a_document_is_remembered_piece_by_piece(make: Make, tmp_path: Path) -> None:
    file = tmp_path / "handbook.md"
    file.write_text(
        "\n\n".join(f"# Part {n}\n\n" + f"Herons{n} nest on pier{n} daily. " * 12 for n in range(6))
    )
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.4 broken")

    async def work() -> None:
        backend = make()
        await backend.initialize()
        stored = await backend.ingest_document(file)
        entries = backend.store.entries()
        assert stored == len(entries) > 5
        assert {entry.source for entry in entries} == {f"document:{file}"}
        assert {entry.tier for entry in entries} == {"long_term"}
        assert await backend.ingest_document(str(file)) == 0
        with pytest.raises(DocumentError):
            await backend.ingest_document(tmp_path / "broken.pdf")
        await backend.close()

    run(work)


def test_a_refused_text_has_no_id(make: Make) -> None:
    async def work() -> None:
        backend = make()
        await backend.initialize()
        await backend.store_memory("The ferry to Holm leaves at noon.")
        answer = "As I said, the ferry to Holm leaves at noon."
        assert await backend.store_memory(answer) is None
        assert (await backend.store_with_verdict(answer)).outcome == "refused"
        await backend.close()

    run(work)


def test_a_redis_that_is_not_there_is_said_as_documented(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> None:
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))  # and does not listen
            backend = make(redis_host="127.0.0.1", redis_port=nobody.getsockname()[1])
            assert await backend.initialize() is False
        with pytest.raises(InputError, match="not open"):
            await backend.get_memory_stats()
        await backend.close()

    run(work)
    assert "cannot be reached (ConnectionError)" in caplog.text
    for host, port in (("", 6380), ("a/b", 6380), ("localhost", 0)):
        with pytest.raises(InputError, match="no Redis can be"):
            make(redis_host=host, redis_port=port)


def test_two_backends_share_a_redis(make: Make, tmp_path: Path, redis_server: RedisServer) -> None:
    async def work() -> None:
        at = {"redis_host": HOST, "redis_port": redis_server.port, "collection": tmp_path.name[-20:]}
        one, two = make(**at), make(**at, data_dir=tmp_path / "other")
        assert await one.initialize() and await two.initialize()
        kept = await one.store_memory("The boiler was serviced in May.", "working", 1.0)
        (found,) = await two.recall_memories("boiler serviced", limit=1)
        assert found.id == kept
        assert await MemoryConsolidator(two).run_consolidation() == 1
        assert (await one.get_memory_stats())["short_term"] == 1
        await one.close()
        await two.close()

    run(work)


def test_each_collection_has_a_memory_of_its_own(make: Make) -> None:
    async def work() -> None:
        one, other = make(), make(collection="papers")
        await one.initialize()
        await other.initialize()
        await one.store_memory("herons nest on the pier")
        assert await other.recall_memories("herons") == []
        await one.close()
        await other.close()

    run(work)


def test_consolidation_by_hand_and_its_statistics(make: Make) -> None:
    async def work() -> None:
        backend = make()
        await backend.initialize()
        consolidator = MemoryConsolidator(backend)
        assert consolidator.get_stats()["last_consolidation"] is None
        for n in range(3):
            await backend.store_memory(f"heron{n} nests alone", "working", 1.0)
        await backend.store_memory("swans", "working", 0.1)
        assert [e.importance for e in await consolidator.analyze_candidates("working")] == [1.0] * 3
        assert await consolidator.run_consolidation() == 3
        assert await consolidator.promote_memory("m4", "short_term")
        with pytest.raises(InputError):
            await consolidator.promote_memory("m4", "working")
        with pytest.raises(NotFoundError):
            await consolidator.promote_memory("m9", "semantic")
        with pytest.raises(InputError):
            await consolidator.analyze_candidates("eternal")
        assert await consolidator.run_consolidation() == 3
        stats = consolidator.get_stats()
        assert (stats["total_consolidations"], stats["total_promotions"]) == (2, 7)
        assert stats["promotions_by_tier"] == {"short_term": 4, "long_term": 3}
        assert stats["avg_consolidation_time_ms"] > 0
        assert stats["last_consolidation"] == NOON
        await backend.close()
        with pytest.raises(InputError):
            await consolidator.run_consolidation()
        assert consolidator.get_stats()["errors"] == 1

    run(work)


def test_the_background_stops_within_a_second_whatever_its_interval(make: Make) -> None:
    async def work() -> None:
        backend = make()
        await backend.initialize()
        consolidator = MemoryConsolidator(backend)
        await consolidator.start_background_task(interval=300)
        await consolidator.start_background_task(interval=300)  # a second start replaces the first
        assert consolidator.get_stats()["running"]
        await asyncio.sleep(0)
        started_s = time.perf_counter()
        await consolidator.stop_background_task()
        await backend.close()
        assert time.perf_counter() - started_s < STOP_S
        await consolidator.stop_background_task()
        assert not consolidator.get_stats()["running"]
        with pytest.raises(InputError):
            await consolidator.start_background_task(interval=0)

    run(work)


def test_a_pass_at_work_does_not_keep_the_background_from_stopping(make: Make) -> None:
    async def work() -> None:
        backend = make(enable_background_tasks=False)
        await backend.initialize()
        consolidator = MemoryConsolidator(backend)
        held, release = threading.Event(), threading.Event()
        catalog = backend.store._collection.catalog

        def hold() -> None:
            with catalog.transaction():
                held.set()
                release.wait(10)

        holder = threading.Thread(target=hold)
        holder.start()
        held.wait(10)
        await consolidator.start_background_task(interval=0.001)
        await asyncio.sleep(0.05)  # it is in its pass and waits for the holder
        started_s = time.perf_counter()
        await consolidator.stop_background_task()
        assert time.perf_counter() - started_s < STOP_S
        release.set()
        holder.join()
        await backend.close()

    run(work)


def test_the_background_survives_a_failing_pass(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        backend = make(enable_background_tasks=False)
        consolidator = MemoryConsolidator(backend)
        await consolidator.start_background_task(interval=0.001)  # not open yet: every pass fails
        async with asyncio.timeout(10):
            while consolidator.get_stats()["errors"] < 2:
                await asyncio.sleep(0.001)
            await backend.initialize()
            await backend.store_memory("herons", "working", 1.0)
            while consolidator.get_stats()["total_promotions"] < 4:
                await asyncio.sleep(0.001)
        await consolidator.stop_background_task()
        assert backend.store.entries()[0].tier == "semantic"
        await backend.close()

    run(work)
    assert "memory consolidation failed; it goes on" in caplog.text


@pytest.mark.parametrize(
    ("enabled", "consolidates", "cleaned", "tier"),
    [(True, True, 1, "semantic"), (True, False, 1, "working"), (False, True, 0, "working")],
)
def test_the_backends_own_tasks_do_what_was_asked(
    make: Make, clock: Clock, *, enabled: bool, consolidates: bool, cleaned: int, tier: str
) -> None:
    async def work() -> None:
        backend = make(enable_background_tasks=enabled, auto_consolidate=consolidates, cleanup_interval=0.001)
        opened = make(enable_background_tasks=False)
        await opened.initialize()
        await opened.store_memory("swans", "working", 0.1)
        clock.now_s += 600
        await opened.store_memory("herons", "working", 1.0)
        clock.now_s += 301
        await opened.close()
        await backend.initialize()
        catalog = backend.store._collection.catalog

        def rows() -> list[tuple[Any, ...]]:
            with catalog.reading() as db:
                return db.execute("SELECT tier FROM memory_entries ORDER BY document_id").fetchall()

        expected = [("working",)] * (1 - cleaned) + [(tier,)]
        async with asyncio.timeout(10):
            while rows() != expected:
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.02)  # and nothing more happens
        assert rows() == expected
        await backend.close()

    run(work)


def test_a_threshold_and_a_decay_that_were_set_are_used(make: Make, tmp_path: Path, clock: Clock) -> None:
    async def work() -> None:
        backend = make(consolidation_threshold=0.5)
        await backend.initialize()
        await backend.store_memory("herons", "working", 0.4)  # .2 + .3
        assert await MemoryConsolidator(backend).run_consolidation() == 1
        await backend.close()

    run(work)
    settings = Settings(data_dir=tmp_path / "other", memory_importance_decay_rate=1.0)

    async def decays() -> None:
        backend = MemoryBackend(settings=settings, embedder=HashingEmbedder(), clock=clock)
        await backend.initialize()
        await backend.store_memory("herons", "long_term", 1.0)
        clock.now_s += 86_400
        assert backend.store.relevance(backend.store.entries()[0]) == pytest.approx(0.5)
        await backend.close()

    run(decays)
