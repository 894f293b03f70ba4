"""Memory in figures: consolidation of 1,000 entries (T12), adding and recalling, and what the audit finds.

    python -m benchmarks.memory [--entries 10000] [--seed 2026] [--data ../shared/data] [--audit-only]
    python -m benchmarks.memory --redis redis://localhost:6379/9    the times of a memory in that Redis; it is emptied

The audit is measured on a store with planted faults (`memory_planted`): the share of the planted duplicates and loops
that it finds, and of the genuine entries that it takes for one. Its rules were written with seeds 1 to 3.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from benchmarks import report
from benchmarks.memory_planted import Planted, planted, scifact_sentences
from ragstone.embedding import load_embedder
from ragstone.memory.audit import Audit
from ragstone.memory.shared_store import SharedMemoryStore
from ragstone.memory.store import MemoryStore
from ragstone.memory.tiers import TIERS, Policy, Tier
from ragstone.types import Embedder

ROOMY = tuple(Tier(tier.name, tier.ttl_s, 100_000) for tier in TIERS)
PASSES = 20


def main() -> None:
    """Measure, print, write `results/memory.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument(
        "--audit-only", action="store_true", help="print the audit's figures as JSON, write nothing"
    )
    parser.add_argument("--redis", metavar="URL", help="time a memory there; write memory_redis.json")
    arguments = parser.parse_args()
    corpus = arguments.data / "scifact" / "corpus.jsonl"
    sentences = scifact_sentences(corpus) if corpus.is_file() else []
    with tempfile.TemporaryDirectory() as folder:
        embedder = load_embedder(cache_dir=Path(folder) / "models")
        entries = planted(seed=arguments.seed, count=arguments.entries, sentences=sentences)
        texts = [entry.text for entry in entries if entry.kind == "genuine"]
        if arguments.redis:
            with emptied(arguments.redis):
                times = timed(lambda name: in_redis(Path(folder) / name, embedder, arguments.redis), texts)
            report.table([(name, str(times[name]), "") for name in times])
            print("written to", report.write("memory_redis", times))
            return
        found = audited(Path(folder), embedder, entries)
        if arguments.audit_only:
            sys.stdout.write(json.dumps(found) + "\n")
            return
        figures = {
            "audit": {"entries": len(entries), "seed": arguments.seed, "sentences": len(sentences), **found},
            **timed(lambda name: on_disk(Path(folder) / name, embedder), texts),
        }
    report.table(
        [
            (f"audit of {len(entries):,}", f"{found['seconds']:.1f} s", ""),
            ("  planted duplicates found", f"{found['duplicates_found']:.1%}", "≥ 95 %"),
            ("  planted loops found", f"{found['loops_found']:.1%}", "≥ 95 %"),
            ("  planted contradictions found", f"{found['contradictions_found']:.1%}", ""),
            ("  genuine taken for either", f"{found['false_alarms']:.2%}", "≤ 2 %"),
            ("  genuine taken for contradicted", f"{found['false_contradictions']:.2%}", ""),
            ("T12 consolidating 1,000", _shown(figures["consolidate_1000_ms"]), "≤ 100 ms"),
            ("add, durable, 10,000 there", _shown(figures["add_ms"]), ""),
            ("recall among 10,000", _shown(figures["recall_ms"]), ""),
            ("search among 10,000", _shown(figures["search_ms"]), ""),
            ("forget one of 10,000", f"{figures['forget_ms']:.0f} ms", ""),
        ]
    )
    print("written to", report.write("memory", figures))


def audited(folder: Path, embedder: Embedder, entries: list[Planted]) -> dict[str, float]:
    """What the audit of a store filled past the gate finds: shares, and its seconds."""
    with MemoryStore(folder / "planted", embedder=embedder, policy=Policy(tiers=ROOMY)) as store:
        ids = store.take_over([entry.text for entry in entries], sources=[entry.source for entry in entries])
        started_s = time.perf_counter()
        found = store.audit()
        seconds = time.perf_counter() - started_s
    return {**scored(entries, ids, found), "seconds": seconds}


def scored(entries: list[Planted], ids: list[str], found: Audit) -> dict[str, float]:
    """Recall of each kind of fault and false alarms, shares of 1."""
    lines = dict(zip(ids, found.lines, strict=True))
    of_kind = {
        kind: [lines[id_] for id_, entry in zip(ids, entries, strict=True) if entry.kind == kind]
        for kind in ("genuine", "duplicate", "loop")
    }
    contradicted = {line.superseded_by for line in found.lines} - {None}
    contradicting = [id_ for id_, entry in zip(ids, entries, strict=True) if entry.kind == "contradiction"]
    either = [line.duplicate_of is not None or line.repeats is not None for line in of_kind["genuine"]]
    genuine = {line.entry.id for line in of_kind["genuine"]}
    return {
        "duplicates_found": _share(line.duplicate_of is not None for line in of_kind["duplicate"]),
        "loops_found": _share(line.repeats is not None for line in of_kind["loop"]),
        "contradictions_found": _share(id_ in contradicted for id_ in contradicting),
        "false_alarms": _share(either),
        "false_contradictions": _share(line.superseded_by in genuine for line in of_kind["genuine"]),
    }


def on_disk(folder: Path, embedder: Embedder) -> MemoryStore:
    """A new memory on this machine."""
    return MemoryStore(folder, embedder=embedder, policy=Policy(tiers=ROOMY))


def in_redis(folder: Path, embedder: Embedder, url: str) -> MemoryStore:
    """A new memory in Redis, named as the folder that holds its copy."""
    return SharedMemoryStore(
        folder, url=url, name=folder.name, embedder=embedder, policy=Policy(tiers=ROOMY), turn_s=60
    )


@contextmanager
def emptied(url: str) -> Iterator[None]:
    """That database of Redis without anything in it, before and after."""
    from redis import Redis

    with Redis.from_url(url) as client:
        client.flushdb()
        yield
        client.flushdb()


def timed(opened: Callable[[str], MemoryStore], texts: list[str]) -> dict[str, object]:
    """Milliseconds of each operation; percentiles over many."""
    with opened("small") as store:
        consolidating = []
        for tier in ("working", "short_term"):
            store.take_over(texts[:1_000], tier=tier, importance=1.0)
            consolidating += [_ms(store.consolidate) for _ in range(3)]  # all 1,000 of them go up each time
            store.forget([entry.id for entry in store.entries()])
        store.take_over(texts[:1_000], importance=0.3)
        consolidating += [_ms(store.consolidate) for _ in range(PASSES)]
    with opened("large") as store:
        store.take_over(texts[:-500])
        adding = [_ms(lambda text=text: store.add(text)) for text in texts[-500:]]  # type: ignore[misc]
        queries = [" ".join(text.split()[-6:]) for text in texts[:300]]
        recalling = [_ms(lambda query=query: store.recall(query)) for query in queries]  # type: ignore[misc]
        searching = [_ms(lambda query=query: store.search(f"about {query}")) for query in queries]  # type: ignore[misc]
        one = store.entries()[17].id
        forgetting = _ms(lambda: store.forget([one]))
    return {
        "consolidate_1000_ms": _percentiles(consolidating),
        "add_ms": _percentiles(adding),
        "recall_ms": _percentiles(recalling),
        "search_ms": _percentiles(searching),
        "forget_ms": forgetting,
    }


def _share(values: object) -> float:
    listed = list(values)  # type: ignore[call-overload]
    return float(np.mean(listed)) if listed else 0.0


def _ms(work: Callable[[], object]) -> float:
    started_s = time.perf_counter()
    work()
    return (time.perf_counter() - started_s) * 1e3


def _percentiles(values: list[float]) -> dict[str, float]:
    p50, p95 = np.percentile(values, [50, 95]).tolist()
    return {"p50": p50, "p95": p95, "max": max(values)}


def _shown(figures: object) -> str:
    assert isinstance(figures, dict)
    return f"p50 {figures['p50']:.1f}, p95 {figures['p95']:.1f}, max {figures['max']:.1f} ms"


if __name__ == "__main__":
    main()
