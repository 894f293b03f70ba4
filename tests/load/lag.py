"""How late the event loop is while a large file is indexed and searches run (RELIABILITY B10, FEATURES R29).

    python -m tests.load.lag [--megabytes 100] [--most-ms 50] [--search-processes 2] [--hashing]

The service and the indexing are in this process, and so are its searches unless they have processes of their own; a
probe on the service's own loop asks to be woken every 5 ms and notes how much later it was. With `--hashing` words are
hashed where the model would read them: of 100 MB everything else is done in minutes, and an hour of the model, which
leaves the interpreter to others, is left out.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from hashing_embedder import HashingEmbedder
from ragstone.engine import Ragstone
from ragstone.server.serving import favouring_the_loop
from ragstone.settings import Settings
from server.live import LiveService, running

PROBE_S = 0.005
CLIENTS = 4
FILE_MB = 45.0  # a document holds up to 50 million characters
WORDS = [
    f"{first}{second}"
    for first in ("ba", "do", "ke", "li", "mu", "ra", "so", "te")
    for second in ("n", "r", "st", "m")
]


async def probe(lags_s: list[float]) -> None:
    """Note how late each wake-up is, until cancelled."""
    while True:
        due_s = time.perf_counter() + PROBE_S
        await asyncio.sleep(PROBE_S)
        lags_s.append(time.perf_counter() - due_s)


def measured(service: LiveService, *, indexing: bool, searches: int) -> tuple[list[float], Sequence[float]]:
    """Seconds of lag of each probe, and of each search, until so many were answered and the indexing has ended."""
    lags_s: list[float] = []
    loop = service.app.state.service.loop
    task = asyncio.run_coroutine_threadsafe(probe(lags_s), loop)

    def search(number: int) -> float:
        words = random.Random(number).sample(WORDS, 3)
        started_s = time.perf_counter()
        assert service.get(f"/api/search?q={'+'.join(words)}").status in {200, 503}
        return time.perf_counter() - started_s

    took_s: list[float] = []
    with ThreadPoolExecutor(CLIENTS) as threads:
        while True:
            took_s += threads.map(search, range(len(took_s), len(took_s) + CLIENTS * 4))
            progress = service.get("/api/index/progress").json()
            if len(took_s) >= searches and progress["state"] in (
                {"done", "failed"} if indexing else {"idle"}
            ):
                break
    task.cancel()
    assert progress["state"] in {"idle", "done"}, progress
    assert not progress["failures"], progress["failures"]
    return lags_s, took_s


def write_text(path: Path, megabytes: float) -> None:
    """Sentences of made-up words."""
    choice = random.Random(1)
    with path.open("w", encoding="utf-8") as out:
        for _ in range(round(megabytes * 10)):
            words = choice.choices(WORDS, k=100_000 // 5)
            lines = [" ".join(words[at : at + 12]) for at in range(0, len(words), 12)]
            out.write(".\n".join(lines) + ".\n\n")


def main() -> int:
    """Measure and print; 1 if the loop was later than it may be."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megabytes", type=float, default=100.0)
    parser.add_argument("--most-ms", type=float, default=50.0)
    parser.add_argument("--search-processes", type=int, default=0)
    parser.add_argument("--hashing", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home)
        (folder / "documents").mkdir()
        left = given.megabytes
        while left > 0:
            write_text(folder / "documents" / f"large-{left:g}.txt", min(left, FILE_MB))
            left -= FILE_MB
        settings = Settings(data_dir=folder / "data", max_file_bytes=round(given.megabytes * 2e6))
        embedder = HashingEmbedder() if given.hashing else None
        with Ragstone(settings=settings, embedder=embedder) as engine:
            engine.add(["Small to begin with: ban kest dor."])
            with (
                favouring_the_loop(),  # as `serve` does
                running(
                    engine, paths=[folder / "documents"], search_processes=given.search_processes
                ) as service,
            ):
                service.wait_ready()
                lags_s, took_s = measured(service, indexing=True, searches=50)
    lags_ms = np.percentile(lags_s, [50, 99, 99.9, 100]) * 1e3
    print(f"{len(took_s)} searches, p99 {np.percentile(took_s, 99) * 1e3:.1f} ms")
    shown = ", ".join(
        f"{name} {ms:.1f}" for name, ms in zip(("p50", "p99", "p99.9", "most"), lags_ms, strict=True)
    )
    print(f"{len(lags_s)} probes, ms late: {shown}")
    return 0 if lags_ms[2] <= given.most_ms else 1


if __name__ == "__main__":
    sys.exit(main())
