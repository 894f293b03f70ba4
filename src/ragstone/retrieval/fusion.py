"""How the scores of several sources become one score in [0, 1]."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.float32]  # (n,)

# .6/.4: best on the development sets, against .5/.5 and .7/.3 (LAB, "What hybrid search is made of").
KEYWORD_WEIGHT = 0.6
DENSE_WEIGHT = 0.4


def fuse(bm25: Scores, cosine: Scores, *, bm25_bound: float) -> Scores:
    """`.6 · BM25 / bound + .4 · cosine`, (n,) in [0, 1], for candidates that have both scores.

    `bm25_bound` is the highest BM25 the query could reach (0 when no term of it is known), which makes scores of
    different queries and collections comparable; min-max over the candidates does not. A NaN cosine
    (no vector yet) counts as the mean of the known ones: neither a gain nor a loss against its neighbours.
    """
    keyword = np.clip(bm25 / bm25_bound, 0.0, 1.0) if bm25_bound > 0 else np.zeros_like(bm25)
    known = ~np.isnan(cosine)
    stand_in = float(cosine[known].mean()) if known.any() else 0.0
    dense = np.clip(np.where(known, cosine, stand_in), 0.0, 1.0)
    return (KEYWORD_WEIGHT * keyword + DENSE_WEIGHT * dense).astype(np.float32)
