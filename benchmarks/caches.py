"""What caches and batches gain: hits of each cache, and many callers of one embedding model.

The built-in model, abstracts of scifact in `../shared/data` (or the folder given). One by one is `embed_documents` with
a single text, on one thread; callers of `embed_text` run on one event loop, 8 at a time. Hits are medians of 1,000.

    python -m benchmarks.caches [--texts 512] [--data ../shared/data]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import report
from ragstone import BatchEmbedder, QueryOptimizer, Ragstone, Settings
from ragstone.answering.chat_model import ChatDelta, Message
from ragstone.types import Embedder

CALLERS = 8
HITS = 1_000


class Quoting:
    """A chat model that takes no time: what is left is ours."""

    name = "quoting"

    def stream(self, messages: Sequence[Message], **options: object) -> Iterator[ChatDelta]:
        """The first sentence of the first source."""
        source = messages[-1].content.split(">>\n", 1)[1]
        yield ChatDelta(f"{source.split('. ')[0]} [1].")


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=512)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    arguments = parser.parse_args()
    texts = _abstracts(arguments.data, arguments.texts)
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(data_dir=Path(folder), search_cache=2_000)
        with Ragstone(settings=settings, chat_model=Quoting()) as engine:
            figures = {
                "texts": len(texts),
                **_batches(engine.embedder(), texts),
                **_hits(engine.embedder(), texts),
                **_engine(engine, texts),
            }
    for name, value in figures.items():
        print(f"{name:<40} {value}")
    print("written to", report.write("caches", figures))


def _abstracts(data: Path, count: int) -> list[str]:
    path = next(data.glob("**/scifact*/corpus.jsonl"))
    with path.open(encoding="utf-8") as lines:
        found = [json.loads(line)["text"] for line in lines]
    return list(dict.fromkeys(found))[:count]


def _batches(model: Embedder, texts: list[str]) -> dict[str, Any]:
    """Texts per second three ways, and how long callers waited."""

    async def callers(embedder: BatchEmbedder) -> list[float]:
        waiting, waited_ms = iter(texts), []

        async def call() -> None:
            for text in waiting:
                started_s = time.perf_counter()
                await embedder.embed_text(text)
                waited_ms.append((time.perf_counter() - started_s) * 1e3)

        await embedder.start_background_processor()
        await asyncio.gather(*(call() for _ in range(CALLERS)))
        await embedder.stop_background_processor()
        return waited_ms

    model.embed_documents(texts[:8])
    started_s = time.perf_counter()
    for text in texts:
        model.embed_documents([text])
    one_by_one_s = time.perf_counter() - started_s
    started_s = time.perf_counter()
    asyncio.run(BatchEmbedder(model, cache_size=0).embed_batch(texts))
    batch_s = time.perf_counter() - started_s
    started_s = time.perf_counter()
    waited_ms = sorted(asyncio.run(callers(BatchEmbedder(model, cache_size=0))))
    queue_s = time.perf_counter() - started_s
    return {
        "one_by_one_per_s": round(len(texts) / one_by_one_s),
        "batch_per_s": round(len(texts) / batch_s),
        "queue_per_s": round(len(texts) / queue_s),
        "queue_callers": CALLERS,
        "queue_p95_ms": round(waited_ms[int(0.95 * len(waited_ms))], 1),
    }


def _hits(model: Embedder, texts: list[str]) -> dict[str, Any]:
    """Medians of a hit of each cache, milliseconds."""

    async def embedder() -> float:
        batches = BatchEmbedder(model)
        known = texts[:100]
        await batches.embed_batch(known)
        return await _median_ms(lambda number: batches.embed_text(known[number % 100]))

    async def optimizer() -> float:
        queries = QueryOptimizer(version=lambda: 1)
        for number in range(100):
            await queries.execute_query(f"query {number}", _nothing)
        return await _median_ms(lambda number: queries.execute_query(f"query {number % 100}", _nothing))

    return {"text_hit_ms": asyncio.run(embedder()), "query_hit_ms": asyncio.run(optimizer())}


async def _nothing() -> None:
    """A query without a result."""


async def _median_ms(call: Callable[[int], Any]) -> float:
    taken_ms = []
    for number in range(HITS):
        started_s = time.perf_counter()
        await call(number)
        taken_ms.append((time.perf_counter() - started_s) * 1e3)
    return round(median(taken_ms), 4)


def _engine(engine: Ragstone, texts: list[str]) -> dict[str, Any]:
    """Medians of a search and an answer, computed and kept, milliseconds."""
    engine.add(texts)
    queries = [text.split(". ")[0][:200] for text in texts[:100]]
    engine.search("warm up")
    found: dict[str, Any] = {}
    for state in ("computed", "kept"):
        found[f"search_{state}_ms"] = _timed_ms(engine.search, queries)
    for state in ("computed", "kept"):
        found[f"answer_{state}_ms"] = _timed_ms(engine.ask, queries)
    return {**found, "caches": engine.stats().caches}


def _timed_ms(call: Callable[[str], object], queries: list[str]) -> float:
    taken_ms = []
    for query in queries:
        started_s = time.perf_counter()
        call(query)
        taken_ms.append((time.perf_counter() - started_s) * 1e3)
    return round(median(taken_ms), 4)


if __name__ == "__main__":
    main()
