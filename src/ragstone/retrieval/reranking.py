"""How a reranker's judgement moves the best candidates. Plain functions over numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

# Of the reranker in the score of what it judged.
RERANKER_WEIGHT = 0.5

Judge = Callable[[Sequence[int]], Mapping[int, float]]
"""From chunk ids, best first, to finite scores on a scale of the judge's own, higher for better; a chunk that is gone
has none."""


@dataclass(frozen=True, slots=True)
class Reranking:
    """Who judges, and how many of the best."""

    judge: Judge
    depth: int


@dataclass(frozen=True, slots=True)
class Reranked:
    """Scores in [0, 1] of all chunks as before, and the judgements of those that were judged."""

    scores: Mapping[int, float]
    judged: Mapping[int, float]


def rerank(scores: Mapping[int, float], reranking: Reranking) -> Reranked:
    """Let the best `depth` chunks be judged, and move them by it within the range that their scores span.

    The judgements are stretched over that range and mixed with the scores. So it does not matter on what scale a model
    judges, chunks that were not judged stay below, and scores stay comparable with those of other queries and
    collections. Equal judgements move nothing.
    """
    best = sorted(scores, key=lambda id_: (-scores[id_], id_))[: reranking.depth]
    if len(best) < 2:
        return Reranked(scores, {})
    judged = reranking.judge(best)
    if not judged:
        return Reranked(scores, {})
    worst, spread = min(judged.values()), max(judged.values()) - min(judged.values())
    if not spread:
        return Reranked(scores, judged)
    low, high = scores[best[-1]], scores[best[0]]
    moved = {
        id_: (1 - RERANKER_WEIGHT) * scores[id_]
        + RERANKER_WEIGHT * (low + (high - low) * (judgement - worst) / spread)
        for id_, judgement in judged.items()
    }
    return Reranked({**scores, **moved}, judged)
