"""How fast one collection is searched on this machine, as it is, and how much of the nearest its index finds.

Reads only. What an engine keeps is out of the way: kept results must be off, and the vectors of earlier queries are
dropped before each search. Percentiles are those of `PerformanceMonitor`: of the latest 1,000 searches of a kind.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Literal

import numpy as np

from ragstone.cache_levels import LRUCache
from ragstone.engine import Ragstone
from ragstone.errors import InputError, RagstoneError
from ragstone.index.dense import EXACT
from ragstone.index.fast import share_found
from ragstone.monitoring.monitor import PerformanceMonitor
from ragstone.monitoring.process import resident_bytes
from ragstone.monitoring.records import Latency
from ragstone.types import Degraded, Scores, SearchMode, SearchResult, Vector

MODES: tuple[SearchMode, ...] = ("hybrid", "dense", "keyword")
TOP_K = 10
QUERIES_MAX = 1_000  # as many as a window of the monitor holds
QUERY_WORDS = 8  # a question's length: scifact's have 12 words, xquad's 11, msmarco's 6
QUERY_CHARS_MAX = 100  # in scripts without spaces a paragraph is one word
WARM_UP = 5  # searches of each mode: the first one maps files and starts threads
# What of the time goes to single searches, to threads and to recall; the rest is for fresh processes.
LATENCY_UNTIL, THREADS_UNTIL, RECALL_UNTIL = 0.5, 0.7, 0.85
COLD_MOST = 5
COLD_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Cold:
    """`runs` fresh processes that each opened the collection and searched once, files in the page cache: milliseconds
    from start to exit, and those of the search itself, both the median."""

    runs: int
    process_ms: float
    search_ms: float


@dataclass(frozen=True, slots=True)
class Throughput:
    """Hybrid searches by `threads` at once, without a pause between them; `latency_ms` is what each caller waited."""

    threads: int
    searches: int
    per_second: float
    latency_ms: Latency


@dataclass(frozen=True, slots=True)
class FoundShare:
    """The mean share of the `top_k` exactly nearest that the index found, 0 to 1, over `samples`: queries or, where no
    model fits the collection, stored vectors, which find at least themselves."""

    mean: float
    top_k: int
    samples: int
    of: Literal["queries", "stored vectors"]


@dataclass(frozen=True, slots=True)
class SearchFigures:
    """What was measured. `latencies_ms` has for each mode `search`, the whole, and `search.STAGE`; `left_out` says why
    a mode has none. `bytes` are the collection's on disk, `resident_bytes` the memory of this process at the end, None
    where it is not known. `changed`: somebody wrote to the collection meanwhile. `recall` is None without vectors,
    `cold` where no command was given.
    """

    collection: str
    documents: int
    chunks: int
    bytes: int
    index_types: tuple[str, ...]
    queries: int
    latencies_ms: Mapping[str, Mapping[str, Latency]]
    left_out: Mapping[str, str]
    throughput: Throughput
    recall: FoundShare | None
    cold: Cold | None
    resident_bytes: int | None
    degraded: tuple[Degraded, ...]
    changed: bool
    seconds: float


def queries_of(engine: Ragstone, limit: int = 200) -> list[str]:
    """Up to `limit` stretches of `QUERY_WORDS` words from documents spread over the engine's collection, the same each
    time. Raises `InputError` where there is no word."""
    documents = engine.documents()
    chosen = [documents[int(at)] for at in np.linspace(0, len(documents) - 1, min(limit, len(documents)))]
    choice = random.Random(7)  # noqa: S311 - any fixed seed: the same queries each time
    found: dict[str, None] = {}
    for number in range(limit if chosen else 0):
        words = engine.document(chosen[number % len(chosen)].uri)[1].split()
        start = choice.randrange(max(1, len(words) - QUERY_WORDS + 1))
        found[" ".join(words[start : start + QUERY_WORDS])[:QUERY_CHARS_MAX]] = None
    found.pop("", None)
    if not found:
        raise InputError(f"the collection {engine.collection} is empty", hint="ragstone index PATH...")
    return list(found)


def measure_searches(
    engine: Ragstone,
    queries: Sequence[str],
    *,
    seconds: float = 20.0,
    threads: int = 4,
    cold_command: Sequence[str] | None = None,
    progress: Callable[[str], None] = lambda part: None,
    clock: Callable[[], float] = time.monotonic,
) -> SearchFigures:
    """Measure the engine's own collection for about `seconds`; each part takes one round at least.

    `cold_command` is a program that opens the collection, searches it and prints `ragstone search --json`. Raises
    `InputError` for no queries or an engine that keeps results, and the errors of `search`.
    """
    if not queries:
        raise InputError("there is no query to measure with", hint="one a line")
    if engine.settings.search_cache:
        raise InputError("kept results would be measured", hint="set search_cache to 0")
    if not 0 < seconds < threading.TIMEOUT_MAX or threads < 1:
        raise InputError(
            f"{seconds} seconds and {threads} threads", hint="above 0 seconds, at least 1 thread"
        )
    started_s = clock()

    def left(share: float) -> Iterator[None]:
        """Once, and again until that share of the time is over."""
        yield
        while clock() - started_s < share * seconds:
            yield

    asked = list(dict.fromkeys(queries))[:QUERIES_MAX]
    before, searches = engine.version(), _Searches(engine)
    progress("warming up")
    left_out, degraded = _warm_up(searches, asked)
    modes = [mode for mode in MODES if mode not in left_out]
    progress("single searches")
    latencies_ms = _latencies(searches, asked, modes, left(LATENCY_UNTIL))
    progress(f"{threads} threads")
    throughput = _throughput(searches, asked, threads, lambda: left(THREADS_UNTIL))
    progress("recall")
    recall = _recall(engine, asked, left(RECALL_UNTIL), embedded="dense" not in left_out)
    progress("fresh processes")
    cold = None if cold_command is None else _cold(cold_command, left(1.0))
    stats = engine.stats()
    return SearchFigures(
        collection=stats.collection,
        documents=stats.documents,
        chunks=stats.chunks,
        bytes=stats.bytes,
        index_types=stats.index_types,
        queries=len(asked),
        latencies_ms=latencies_ms,
        left_out=left_out,
        throughput=throughput,
        recall=recall,
        cold=cold,
        resident_bytes=resident_bytes(),
        degraded=degraded,
        changed=engine.version() != before,
        seconds=clock() - started_s,
    )


class _Searches:
    """Searches whose query has to be embedded each time."""

    def __init__(self, engine: Ragstone) -> None:
        self._engine = engine
        self._kept: object = None
        with suppress(RagstoneError):  # no model: hybrid searches say so in `degraded`
            self._kept = getattr(engine.embedder(), "query_cache", None)

    def search(self, query: str, mode: SearchMode = "hybrid") -> SearchResult:
        if isinstance(self._kept, LRUCache):
            self._kept.clear()
        return self._engine.search(query, top_k=TOP_K, mode=mode)


def _warm_up(searches: _Searches, queries: Sequence[str]) -> tuple[dict[str, str], tuple[Degraded, ...]]:
    """The modes that this collection cannot be searched in, with the reason, and what hybrid searches go without."""
    left_out: dict[str, str] = {}
    degraded: dict[Degraded, None] = {}
    for query in islice(cycle(queries), WARM_UP):
        degraded |= dict.fromkeys(searches.search(query).degraded)
        for mode in [mode for mode in MODES[1:] if mode not in left_out]:
            try:
                searches.search(query, mode)
            except RagstoneError as error:
                left_out[mode] = error.message
    return left_out, tuple(degraded)


def _latencies(
    searches: _Searches, queries: Sequence[str], modes: Sequence[SearchMode], rounds: Iterator[None]
) -> dict[str, dict[str, Latency]]:
    """The modes in turns, so that what else the machine does meanwhile befalls all of them."""
    monitors = {mode: PerformanceMonitor() for mode in modes}
    for query, _ in zip(cycle(queries), rounds, strict=False):
        for mode, monitor in monitors.items():
            stages_ms = dict(searches.search(query, mode).timings_ms)
            monitor.observe("search", stages_ms.pop("total"), stages_ms)
    return {mode: monitor.latencies() for mode, monitor in monitors.items()}


def _throughput(
    searches: _Searches, queries: Sequence[str], threads: int, rounds: Callable[[], Iterator[None]]
) -> Throughput:
    monitor = PerformanceMonitor()

    def caller(number: int) -> None:
        start = number * len(queries) // threads  # two that ask the same at once would share one embedding
        own = cycle([*queries[start:], *queries[:start]])
        for query, _ in zip(own, rounds(), strict=False):
            monitor.observe("search", searches.search(query).timings_ms["total"])

    started_s = time.perf_counter()
    with ThreadPoolExecutor(threads, thread_name_prefix="ragstone-bench") as pool:
        for done in [pool.submit(caller, number) for number in range(threads)]:
            done.result()
    took_s = time.perf_counter() - started_s
    count = monitor.snapshot().operations["search"].count
    return Throughput(threads, count, count / took_s, monitor.latencies()["search"])


def _recall(
    engine: Ragstone, queries: Sequence[str], rounds: Iterator[None], *, embedded: bool
) -> FoundShare | None:
    """By scores, so that of equally near chunks either will do."""
    stored = engine.sample_vectors(len(queries))
    if not len(stored):
        return None

    def scores(vector: Vector, recall: float | None) -> Scores:
        hits = engine.search("recall", mode="dense", vector=vector, top_k=TOP_K, recall=recall).hits
        return np.array([hit.score for hit in hits], np.float32)

    shares: list[float] = []
    for (number, query), _ in zip(enumerate(queries), rounds, strict=False):
        vector = engine.embedder().embed_query(query) if embedded else stored[number % len(stored)]
        shares.append(share_found(scores(vector, EXACT), scores(vector, None)))
    return FoundShare(float(np.mean(shares)), TOP_K, len(shares), "queries" if embedded else "stored vectors")


def _cold(command: Sequence[str], rounds: Iterator[None]) -> Cold:
    process_ms: list[float] = []
    search_ms: list[float] = []
    for _ in islice(rounds, COLD_MOST):
        started_s = time.perf_counter()
        try:
            done = subprocess.run(command, capture_output=True, timeout=COLD_TIMEOUT_S, check=True)
            search_ms.append(float(json.loads(done.stdout)["timings_ms"]["total"]))
        except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError) as error:
            raise RagstoneError(
                f"a search in a fresh process failed: {error}", hint="ragstone doctor"
            ) from error
        process_ms.append((time.perf_counter() - started_s) * 1e3)
    return Cold(len(process_ms), float(np.median(process_ms)), float(np.median(search_ms)))


def fresh_search(engine: Ragstone, query: str, *, config: str | None) -> list[str]:
    """The command line that searches the engine's collection in a process of its own."""
    home = ["--data-dir", str(engine.settings.data_dir), "--collection", engine.collection]
    given = [] if config is None else ["--config", config]
    return [sys.executable, "-m", "ragstone", *home, *given, "search", "--json", "--", query]
