"""How well entries fit a query: their meaning and words, token by token, and what was said right before and after.

Memories are shorter than passages of documents and come in conversations, so the weights are not those of
`retrieval.fusion`. They were chosen on questions about scripted dialogues (FriendsQA); LAB, "Recall of memories".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ragstone.retrieval.fusion import COVERAGE_WEIGHT, ORDER_WEIGHT, fuse
from ragstone.retrieval.hybrid import POOL, DenseSource, KeywordSource, union
from ragstone.retrieval.late_interaction import similarity, token_weights
from ragstone.retrieval.signals import text_signals
from ragstone.types import Ids, QueryTokens, Scores, Vector

Seconds = npt.NDArray[np.float64]  # (n,) Unix time

# .8 to 2.0 lie within .0025 of each other; documents get .5, which loses .007 here.
SIMILARITY_WEIGHT = 1.2
# Of the scores of those one and two turns away; half and twice as much are .002 and .006 worse, none .011.
BESIDE = ((1, 0.1), (2, 0.05))
SESSION_S = 3_600.0  # further apart is another conversation
# Short turns (`Thanks, you too!`) match by chance; half of this is reached with ten terms.
LENGTH_WEIGHT = 0.08
LENGTH_HALF = 10


@dataclass(frozen=True, slots=True)
class Fit:
    """Candidates, ascending: (n,) chunk ids, (n,) scores in [0, 1], (n,) cosines, (n,) BM25 (0: no word matches)."""

    ids: Ids
    scores: Scores
    cosines: Scores
    bm25: Scores


def fit(
    query: str,
    vector: Vector,
    tokens: QueryTokens | None,
    *,
    dense: DenseSource,
    keyword: KeywordSource,
    load_terms: Callable[[Ids], Sequence[Sequence[str]]],
    load_signs: Callable[[Ids], Sequence[bytes]],
    chunks: Ids,
    documents: Ids,
    said_s: Seconds,
    pool: int = POOL,
) -> Fit:
    """The best `pool` entries by meaning and the best `pool` by words, each scored by all that is known of it.

    `chunks` (n,) ascending, `documents` (n,) and `said_s` (n,) are the entries that may be found, in the order they
    were said. `tokens` are the query's, None where the model gives none.
    """
    by_meaning, _ = dense.search(vector, top_k=pool, allowed=documents)
    by_words, values = keyword.search(query, top_k=pool, allowed=documents)
    ids = union([by_meaning, by_words])
    if not ids.size:
        nothing = np.empty(0, np.float32)
        return Fit(ids, nothing, nothing, nothing)
    cosines = dense.score(vector, ids)
    if len(by_words) < pool:  # it gave all that match
        bm25 = np.zeros(ids.size, np.float32)
        bm25[np.searchsorted(ids, by_words)] = values
    else:
        bm25 = keyword.score(query, ids)
    weighed = keyword.weigh(query)
    fused = fuse(bm25, cosines, bm25_bound=weighed.bound)
    terms = load_terms(ids)
    signals = text_signals(terms, words=weighed.words, idf=weighed.idf)
    scores = fused + COVERAGE_WEIGHT * signals.coverage + ORDER_WEIGHT * signals.order
    most = 1 + COVERAGE_WEIGHT + ORDER_WEIGHT
    if tokens is not None:
        weights = token_weights(query, tokens.spans, keyword.idf_of_words)
        scores = scores + SIMILARITY_WEIGHT * similarity(tokens, weights, load_signs(ids))
        most += SIMILARITY_WEIGHT
    lowest = float(fused.min()) / most
    scores = scores / most + beside(ids, scores / most - lowest, chunks, said_s)
    lengths = np.array([len(each) for each in terms], np.float32)
    scores = scores + LENGTH_WEIGHT * lengths / (lengths + LENGTH_HALF)
    highest = 1 + 2 * sum(share for _, share in BESIDE) + LENGTH_WEIGHT
    return Fit(ids, np.clip(scores / highest, 0.0, 1.0).astype(np.float32), cosines, bm25)


def beside(ids: Ids, scores: Scores, chunks: Ids, said_s: Seconds) -> Scores:
    """(n,) what the entries said right before and after each of `ids` add to its score.

    `ids` (n,) and their `scores` are some of `chunks` (m,), ascending, said at `said_s` (m,). Entries of one instant
    were taken over together: nothing says that one answers the other, and strangers as neighbours lose .007.
    """
    places = np.searchsorted(chunks, ids)
    whole = np.zeros(len(chunks), np.float32)
    whole[places] = scores
    added = np.zeros(len(chunks), np.float32)
    for distance, share in BESIDE:
        apart_s = np.abs(said_s[distance:] - said_s[:-distance])
        together = (apart_s > 0) & (apart_s <= SESSION_S)
        added[distance:] += share * np.where(together, whole[:-distance], 0)
        added[:-distance] += share * np.where(together, whole[distance:], 0)
    of_ids: Scores = added[places]
    return of_ids
