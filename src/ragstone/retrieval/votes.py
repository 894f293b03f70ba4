"""How votes on hits move later rankings: within a bound, for queries like the voted one, and back when taken back.

A score is multiplied by a factor between 1 - `BOUND` and 1 + `BOUND`, so a vote can lift what is nearly as good and
never what does not fit. Immutable; one for each state of the votes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ragstone.index.products import products
from ragstone.retrieval.hybrid import Ranking
from ragstone.types import Ids, Matrix, Scores, Vector

# On xquad-en neighbours among the first ten hits differ by .008 in the median, the first and the tenth by .28.
BOUND = 0.15
# One vote is a hint, three agree: tanh(1/3) = .32, tanh(1) = .76, ten give all but .3 % of the bound.
_SETTLED = 3.0
# Nine of ten paraphrases that we wrote lie at .8 or above; of the questions on one paragraph of xquad-en, which ask
# different things, 89 % lie below .75.
_ALIKE_FROM, _SAME_FROM = 0.75, 0.95
# A chunk can come up from so far below the last hit asked for.
REACH = 20


class Votes:
    """The votes of a collection, ready to be compared with queries."""

    def __init__(
        self, chunk_ids: Ids, queries: Sequence[str], vectors: Matrix, values: npt.NDArray[np.float32]
    ) -> None:
        """(n,) chunks, their queries as they were asked, (n, dim) query vectors (zeros: none), (n,) values -1 to 1."""
        self._chunks = chunk_ids
        self._queries = np.array([_plain(query) for query in queries], dtype=object)
        self._vectors = vectors
        self._values = values

    def __len__(self) -> int:
        """How many there are."""
        return len(self._chunks)

    def factors(self, query: str, vector: Vector | None, ids: Ids) -> Scores:
        """(n,) what the score of each chunk in `ids` is multiplied by for this query, 1 where nothing was said."""
        alike = (self._queries == _plain(query)).astype(np.float32)
        if vector is not None:
            cosine = products(self._vectors, vector)
            alike = np.maximum(alike, np.clip((cosine - _ALIKE_FROM) / (_SAME_FROM - _ALIKE_FROM), 0.0, 1.0))
        counted = np.flatnonzero(alike)
        place = {chunk: number for number, chunk in enumerate(ids.tolist())}
        said = np.zeros(len(ids), np.float32)
        for number in counted.tolist():
            at = place.get(int(self._chunks[number]))
            if at is not None:
                said[at] += alike[number] * self._values[number]
        factors: Scores = 1 + BOUND * np.tanh(said / _SETTLED)
        return factors


def voted(
    ranking: Ranking, votes: Votes, query: str, vector: Vector | None, *, top_k: int, most: float
) -> Ranking:
    """The best `top_k` of a ranking with the votes counted; scores stay up to `most`.

    What a vote moved says so in its sources: `votes`, the factor.
    """
    factors = votes.factors(query, vector, ranking.ids)
    scores = np.minimum(ranking.scores + np.abs(ranking.scores) * (factors - 1), most).astype(np.float32)
    order = np.lexsort((ranking.ids, -scores))[:top_k]
    sources = {
        id_: {**ranking.sources[id_], **({"votes": float(factor)} if factor != 1 else {})}
        for id_, factor in zip(ranking.ids[order].tolist(), factors[order], strict=True)
    }
    return replace(ranking, ids=ranking.ids[order], scores=scores[order], sources=sources)


NO_VOTES = Votes(np.empty(0, np.int64), (), np.empty((0, 0), np.float32), np.empty(0, np.float32))


def _plain(query: str) -> str:
    return " ".join(query.casefold().split())
