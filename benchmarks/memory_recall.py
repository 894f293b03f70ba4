"""Recall of memories from long conversations: R@5, R@10 and nDCG@10 on locomo-ir-a, by kind of search.

Each conversation is a memory of its own; every turn is added through the write gate, in order, twenty seconds after the
one before it, each session on a day of its own. Questions search inside their conversation. A turn that the gate merged
into an older one counts as not found. What search is made of was chosen on FriendsQA (`--friends`), not here.

    python -m benchmarks.memory_recall [../shared/data/locomo-ir-a]
    python -m benchmarks.memory_recall --friends PATH-OF-A-CLONE-OF-emorynlp/FriendsQA
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np

from benchmarks import report
from benchmarks.memory_dialogues import Dialogue, friends, locomo
from ragstone.embedding import load_embedder
from ragstone.evaluation.metrics import ndcg, recall
from ragstone.memory import entries, recalling
from ragstone.memory.store import MemoryStore
from ragstone.memory.tiers import DAY_S, TIERS, Policy, Tier
from ragstone.retrieval import hybrid
from ragstone.types import Embedder

ROOMY = Policy(tiers=tuple(Tier(tier.name, None, 100_000) for tier in TIERS))
TOP_K = 10
TURN_S = 20.0

Search: TypeAlias = Callable[[MemoryStore, Embedder, str], list[str]]  # ids of entries, best first


class Clock:
    """Unix seconds that stand still until they are moved."""

    now_s = 1_700_000_000.0

    def __call__(self) -> float:
        """The time."""
        return self.now_s


def _as_documents(store: MemoryStore, embedder: Embedder, query: str) -> list[str]:
    """As documents are searched: what memories add to that is left out."""
    snapshot, asked = store._collection.snapshot(), recalling.asked(query, "hybrid", embedder)
    ranking = hybrid.search(
        query,
        asked.vector,
        mode="hybrid",
        top_k=TOP_K,
        dense=recalling.built(snapshot.dense),
        keyword=recalling.built(snapshot.keyword),
        load_terms=snapshot.terms,
        tokens=asked.tokens,
        load_signs=store._signs,
    )
    with store._collection.catalog.reading() as db:
        found = entries.by_chunks(db, ranking.ids.tolist(), store.now_s())
    return [found[chunk].id for chunk in ranking.ids.tolist()]


SEARCHES: dict[str, Search] = {
    "keyword": lambda store, _, query: _ids(store.search(query, mode="keyword", limit=TOP_K)),
    "dense": lambda store, _, query: _ids(store.search(query, mode="dense", limit=TOP_K)),
    "hybrid, as documents": _as_documents,
    "full memory (search_memories)": lambda store, _, query: _ids(store.search(query, limit=TOP_K)),
    "cosine × importance (recall_memories)": lambda store, _, query: _ids(store.recall(query, limit=TOP_K)),
}


def main() -> None:
    """Fill a memory per conversation, ask, print; for locomo write `results/memory_recall.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path, nargs="?", default=Path("../shared/data/locomo-ir-a"))
    parser.add_argument("--friends", type=Path, help="measure on FriendsQA instead, write nothing")
    arguments = parser.parse_args()
    dialogues = friends(arguments.friends) if arguments.friends else locomo(arguments.dataset)
    scores: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    taken_ms: dict[str, list[float]] = defaultdict(list)
    outcomes: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as place:
        embedder = load_embedder(cache_dir=Path(place) / "models")
        for number, dialogue in enumerate(dialogues.values()):
            clock = Clock()
            with MemoryStore(
                Path(place) / f"{number}", embedder=embedder, policy=ROOMY, clock=clock
            ) as store:
                turn_of = _fill(store, clock, dialogue, outcomes)
                _ask(store, embedder, dialogue, turn_of, scores, taken_ms)
        embedder.close()
    figures: dict[str, object] = {"outcomes": dict(outcomes)}
    rows = []
    for name, values in scores.items():
        r5, r10, n10 = np.mean(values, axis=0).tolist()
        p50_ms = float(np.median(taken_ms[name]))
        figures[name] = {
            "recall@5": r5,
            "recall@10": r10,
            "ndcg@10": n10,
            "p50_ms": p50_ms,
            "questions": len(values),
        }
        rows.append((name, f"R@5 {r5:.3f}  R@10 {r10:.3f}  nDCG@10 {n10:.4f}", f"{p50_ms:.1f} ms"))
    report.table(rows)
    if not arguments.friends:
        print("written to", report.write("memory_recall", figures))


def _fill(store: MemoryStore, clock: Clock, dialogue: Dialogue, outcomes: Counter[str]) -> dict[str, str]:
    """Entry id → turn id; the first turn of those that one entry stands for."""
    turn_of: dict[str, str] = {}
    session = ""
    for turn in dialogue.turns:
        clock.now_s += DAY_S if turn.session != session else TURN_S
        session = turn.session
        stored = store.add(turn.text, tier="long_term")
        outcomes[stored.outcome] += 1
        outcomes["superseding"] += len(stored.superseded)
        if stored.id is not None:
            turn_of.setdefault(stored.id, turn.id)
    return turn_of


def _ask(
    store: MemoryStore,
    embedder: Embedder,
    dialogue: Dialogue,
    turn_of: dict[str, str],
    scores: dict[str, list[tuple[float, float, float]]],
    taken_ms: dict[str, list[float]],
) -> None:
    for question_id, question in dialogue.questions.items():
        wanted = dialogue.relevant[question_id]
        for name, search in SEARCHES.items():
            started_s = time.perf_counter()
            found = search(store, embedder, question)
            taken_ms[name].append((time.perf_counter() - started_s) * 1e3)
            ranked = [turn_of[id_] for id_ in found]
            scores[name].append(
                (recall(ranked, wanted, k=5), recall(ranked, wanted, k=10), ndcg(ranked, wanted, k=10))
            )


def _ids(found: list[recalling.Recalled]) -> list[str]:
    return [item.entry.id for item in found]


if __name__ == "__main__":
    main()
