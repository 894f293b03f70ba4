"""How the scores of several sources become one score in [0, 1].

The weights were chosen on scifact-train, cranfield (odd ids) and xquad-en; LAB, "What hybrid search is made of".
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ragstone.retrieval.signals import Scores, TextSignals
from ragstone.types import Matrix

# .6/.4: mean nDCG@10 of the development sets .7555, against .7540 for .5/.5 and .7537 for .7/.3.
KEYWORD_WEIGHT = 0.6
DENSE_WEIGHT = 0.4
# Added on top and divided out again; .15 to .3 and .05 to .15 lie within .0015 of each other.
COVERAGE_WEIGHT = 0.2
ORDER_WEIGHT = 0.1
# With late interaction they count half: .7697 against .7691 for the whole, .7642 without it; .3 to .8 for it lie within
# .0015 (LAB, "Late interaction").
SIMILARITY_WEIGHT = 0.5
_BESIDE_SIMILARITY = 0.5
# Five neighbours, up to .8/5 of a score from each; 3 and 10 neighbours are worse, .5 and 1.0 hardly different.
NEIGHBOURS = 5
DIFFUSION = 0.8
# Of English questions 98 % have more of their words in English texts, of German ones nine in ten less than .55 (LAB,
# "Questions in another language").
_KNOWN_ENOUGH = 0.75
# How far the nearest stand out of the dense source's hits, from where the words begin to give way to where they do.
_UNDECIDED, _DECIDED = 0.4, 0.6
# Hits of the dense source. A collection that has fewer knows few words of any language: judged by them, a search of 43
# texts for acronyms loses recall@5 1.00 -> .956.
_JUDGED_BY = 100


def words_weight(known: float, cosine: Scores) -> float:
    """What the words of a query count, in [0, 1]: less where its collection knows few of them and its vector decides.

    `known` is the share of the query's words that the collection has. What few words a text has in common with a
    question in another language are names, or words that only look the same ("was", "die"). How decided the vector is
    says the drop from the best of `cosine` (n,) to the tenth, measured by the drop to the median of the best hundred: a
    model that does not know the language finds nothing that stands out, and then names are the best there is.
    """
    if known >= _KNOWN_ENOUGH or cosine.size < _JUDGED_BY:
        return 1.0
    nearest = np.sort(cosine)[::-1][:_JUDGED_BY]
    best, tenth, median = nearest[0], nearest[9], np.median(nearest)
    drop = float((best - tenth) / (best - median)) if best > median else 0.0
    decided = min(1.0, max(0.0, (drop - _UNDECIDED) / (_DECIDED - _UNDECIDED)))
    return 1 - decided * (1 - (known / _KNOWN_ENOUGH) ** 3)


def fuse(bm25: Scores, cosine: Scores, *, bm25_bound: float, words: float = 1.0) -> Scores:
    """`.6 · words · BM25 / bound + .4 · cosine`, (n,) in [0, 1], for candidates that have both scores.

    `bm25_bound` is the highest BM25 the query could reach (0 when it has no terms), which makes scores of
    different queries and collections comparable; min-max over the candidates does not. `words` is what `words_weight`
    gives. A NaN cosine (no vector yet) counts as the mean of the known ones: neither a gain nor a loss against its
    neighbours.
    """
    keyword = np.minimum(bm25, bm25_bound) / bm25_bound if bm25_bound > 0 else np.zeros_like(bm25)
    known = ~np.isnan(cosine)
    stand_in = float(cosine[known].mean()) if known.any() else 0.0
    dense = np.clip(np.where(known, cosine, stand_in), 0.0, 1.0)
    return _in_range(KEYWORD_WEIGHT * words * keyword + DENSE_WEIGHT * dense)


def with_signals(scores: Scores, signals: TextSignals) -> Scores:
    """Fused scores with word coverage, word order and late interaction added, (n,) in [0, 1]."""
    by_words = COVERAGE_WEIGHT * signals.coverage + ORDER_WEIGHT * signals.order
    weight = COVERAGE_WEIGHT + ORDER_WEIGHT
    if signals.similarity is None:
        return _in_range((scores + by_words) / (1 + weight))
    total = scores + _BESIDE_SIMILARITY * by_words + SIMILARITY_WEIGHT * signals.similarity
    return _in_range(total / (1 + _BESIDE_SIMILARITY * weight + SIMILARITY_WEIGHT))


def diffused(scores: Scores, vectors: Matrix) -> Scores:
    """Scores (n,) drawn towards those of each candidate's nearest neighbours among the candidates.

    A neighbour takes part by its squared cosine, so a candidate that is like no other keeps its score
    (plain averaging lost .012 on multi-hop questions, whose documents are unlike each other). `vectors` (n, dim) are
    unit rows, NaN for a candidate without one, which keeps its score. After Diaz, "Regularizing ad hoc
    retrieval scores" (2005).
    """
    count = min(NEIGHBOURS, len(scores) - 1)
    if count < 1:
        return scores
    rows = np.nan_to_num(vectors)
    similarity = np.clip(rows @ rows.T, 0.0, 1.0)
    np.fill_diagonal(similarity, -1.0)
    nearest = np.argpartition(-similarity, count - 1, axis=1)[:, :count]
    weights = np.take_along_axis(similarity, nearest, axis=1) ** 2 * (DIFFUSION / NEIGHBOURS)
    drawn = (1 - weights.sum(axis=1)) * scores + (weights * scores[nearest]).sum(axis=1)
    return _in_range(drawn)


def _in_range(scores: npt.NDArray[np.floating]) -> Scores:
    """The same without what rounding put outside [0, 1]."""
    clipped: Scores = np.clip(scores, 0.0, 1.0).astype(np.float32)
    return clipped
