"""Five scenarios: batches, memory, monitoring, query caching, and all of them together. The data are made up.

    python examples/rag_optimizations_example.py          # all five
    python examples/rag_optimizations_example.py 1 4      # some of them

Nothing is asked of any network, and everything is written to a temporary folder. With Redis on port 6380 the memories
go there: --redis localhost.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragstone import (
    BatchEmbedder,
    MemoryBackend,
    MemoryConsolidator,
    PerformanceMonitor,
    PerformanceTimer,
    QueryOptimizer,
    Ragstone,
)

NOTES = {
    "timetable": "The ferry to Skarholm leaves at 7:40 and at 16:10.",
    "fares": "A bicycle travels free on Sundays and costs 4 euros on other days.",
    "safety": "In a gale, force 8 and above, no ferry leaves Sandwick.",
    "kiosk": "Ginger biscuits are free at the bar when the swell is above one metre.",
}
QUESTIONS = ("When does the ferry leave?", "What does a bicycle cost?", "When does the ferry leave?")


@dataclass(frozen=True)
class Place:
    """Where a scenario may write, and the Redis for memories, None for the disk."""

    folder: Path
    redis_host: str | None


async def batches(place: Place) -> None:
    """Texts of concurrent callers share the model; equal ones are embedded once, known ones not at all."""
    with Ragstone(place.folder / "batches") as engine:
        embedder = engine.batch_embedder(batch_size=32)
        await embedder.start_background_processor()
        texts = [*NOTES.values(), *NOTES.values()]
        await asyncio.gather(*(embedder.embed_text(text) for text in texts))
        await embedder.embed_batch(list(NOTES.values()))
        await embedder.stop_background_processor()
        stats = embedder.get_stats()
        print(f"asked for {len(texts) + len(NOTES)} vectors, embedded {stats['total_embeddings']}")
        print(f"cache hit rate {stats['cache_hit_rate']:.0%}")


async def memory(place: Place) -> None:
    """What is recalled often moves up a tier; what is said twice is kept once."""
    backend = MemoryBackend(place.redis_host, data_dir=place.folder / "memory", enable_background_tasks=False)
    if not await backend.initialize():
        print("Redis does not answer")
        return
    consolidator = MemoryConsolidator(backend)
    await backend.store_memory("Mara signs the maintenance log.", "working", importance=1.0)
    await backend.store_memory("Mara signs the maintenance log!", "working", importance=1.0)
    await backend.store_memory("It rained this morning.", "working", importance=0.1)
    for _ in range(10):
        await backend.recall_memories("Who signs the log?", limit=1)
    promoted = await consolidator.run_consolidation()
    stats = await backend.get_memory_stats()
    print(f"{stats['total']} memories, {promoted} moved up")
    await backend.close()


async def monitoring(place: Place) -> None:
    """What each operation takes, by percentiles, and which one takes most."""
    monitor = PerformanceMonitor(enable_detailed=True)
    with Ragstone(place.folder / "monitoring", monitor=monitor) as engine:
        engine.add(list(NOTES.values()), uris=list(NOTES))
        for question in QUESTIONS:
            engine.search(question)
        with PerformanceTimer("report", monitor):
            report = await monitor.get_report()
    searches = report["operations"]["search"]
    print(f"{searches['count']} searches, each of them timed: {0 < searches['p50_ms'] <= searches['p99_ms']}")
    stages = [name for name in report["operations"] if name.startswith("search.")]
    print(f"stages: {', '.join(sorted(name.removeprefix('search.') for name in stages))}")


async def queries(place: Place) -> None:
    """Equal queries are asked once, until what they were made of changes."""
    with Ragstone(place.folder / "queries") as engine:
        engine.add(list(NOTES.values()), uris=list(NOTES))
        asked: list[str] = []

        async def best(question: str) -> str:
            asked.append(question)
            return (await asyncio.to_thread(engine.search, question, top_k=1)).hits[0].uri

        optimizer = QueryOptimizer(version=engine.version)
        found = [await optimizer.execute_query(f"best:{text}", best, text) for text in QUESTIONS]
        print(f"{len(found)} queries, {len(asked)} searches: {', '.join(found)}")
        engine.add(["The ferry to Skarholm leaves at 8:00 from now on."], uris=["timetable"])
        await optimizer.execute_query(f"best:{QUESTIONS[0]}", best, QUESTIONS[0])
        print(f"after a change {len(asked)} searches")
        await optimizer.close()


async def together(place: Place) -> None:
    """One model and one monitor for documents and memory: an answer, and what it took."""
    monitor = PerformanceMonitor()
    with Ragstone(place.folder / "together", monitor=monitor) as engine:
        engine.add(list(NOTES.values()), uris=list(NOTES))
        backend = MemoryBackend(
            place.redis_host, data_dir=place.folder / "together", enable_background_tasks=False
        )
        if not await backend.initialize():
            print("Redis does not answer")
            return
        embedder = BatchEmbedder(backend.embedding_model)
        await embedder.start_background_processor()
        await backend.store_memory("The reader travels with a bicycle.", "long_term", importance=0.9)
        answer = await asyncio.to_thread(engine.ask, "When does a bicycle travel free?")
        (remembered,) = await backend.recall_memories("How does the reader travel?", limit=1)
        await embedder.embed_text(answer.text)
        print(f"answer: {answer.text}")
        print(f"cited: {', '.join(citation.uri for citation in answer.citations)}")
        print(f"remembered: {remembered.text}")
        print(f"measured: {', '.join(sorted(name for name in monitor.latencies() if '.' not in name))}")
        await embedder.stop_background_processor()
        await backend.close()


SCENARIOS: Mapping[str, Callable[[Place], Coroutine[Any, Any, None]]] = {
    "batches": batches,
    "memory": memory,
    "monitoring": monitoring,
    "queries": queries,
    "together": together,
}


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description="Five scenarios over made-up notes of a ferry line.")
    parser.add_argument("number", nargs="*", type=int, help="which of 1 to 5; all if left out")
    parser.add_argument("--redis", metavar="HOST", help="keep memories in the Redis there, port 6380")
    options = parser.parse_args()
    if not set(options.number) <= set(range(1, len(SCENARIOS) + 1)):
        parser.error(f"scenarios are 1 to {len(SCENARIOS)}")
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder), options.redis)
        for number, (name, scenario) in enumerate(SCENARIOS.items(), start=1):
            if options.number and number not in options.number:
                continue
            print(f"{number}. {name}")
            started_s = time.perf_counter()
            asyncio.run(scenario(place))
            print(f"   {time.perf_counter() - started_s:.1f} s\n")


if __name__ == "__main__":
    main()
