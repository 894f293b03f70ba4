"""Dense search over a snapshot: sealed segments and the tail of vectors not yet sealed.

A snapshot never changes, so a search sees one state however much is written meanwhile. Knows no SQL.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ragstone.index.products import products
from ragstone.index.segment import Segment
from ragstone.index.selection import Selection, of_documents
from ragstone.index.tail import Tail
from ragstone.types import Ids, Matrix, Scores, Vector

EXACT = 1.0  # a recall that no approximation promises


class DenseIndex:
    """Cosine search over one snapshot of a collection. Immutable, thread-safe."""

    def __init__(self, segments: Sequence[Segment], tail: Tail, tombstones: Ids) -> None:
        """`tombstones`: ascending chunk ids that the segments hold and nobody may see. Searches are exact."""
        self.recall = EXACT
        self.segments = tuple(segments)
        self.tail = tail
        self._live = tuple(_live_rows(segment, tombstones) for segment in segments)
        # The tail's rows come in order of commit; looked up by chunk id they need an order of their own.
        self._tail_order = np.argsort(tail.chunk_ids, kind="stable")
        self._tail_sorted = tail.chunk_ids[self._tail_order]

    @property
    def count(self) -> int:
        """Vectors that a search can return."""
        sealed = sum(
            segment.count if live is None else live.size
            for segment, live in zip(self.segments, self._live, strict=True)
        )
        return sealed + len(self.tail)

    @property
    def is_exact(self) -> bool:
        """Whether searches compare every vector: asked to, or for want of fast indexes."""
        return self.recall >= EXACT or all(segment.fast is None for segment in self.segments)

    def at_recall(self, recall: float) -> DenseIndex:
        """The same index, searched until on average that share (above 0, to 1.0: exactly) of the nearest is found."""
        view = copy.copy(self)
        view.recall = recall
        return view

    def search(self, vector: Vector, *, top_k: int, allowed: Ids | None) -> tuple[Ids, Scores]:
        """The `top_k` nearest chunks (all, if fewer) and their cosines, best first, ties by id, ascending.

        `allowed`: ascending ids of the documents whose chunks may be given; None for all.
        """
        ids: list[Ids] = []
        scores: list[Scores] = []
        for segment, live in zip(self.segments, self._live, strict=True):
            among = live
            if allowed is not None:
                ordered = segment.in_document_order
                among = of_documents(segment.document_ids, allowed, ordered=ordered).within(live)
            rows, found = segment.search(vector, top_k=top_k, among=among, recall=self.recall)
            ids.append(segment.chunk_ids[rows])
            scores.append(found)
        if len(self.tail):
            rows, found = self.tail.search(vector, top_k=top_k, among=self._tail_rows(allowed))
            ids.append(self.tail.chunk_ids[rows])
            scores.append(found)
        if not ids:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        return _best(np.concatenate(ids), np.concatenate(scores), top_k)

    def _tail_rows(self, allowed: Ids | None) -> npt.NDArray[np.int64] | None:
        return None if allowed is None else of_documents(self.tail.document_ids, allowed, ordered=False).rows

    def sample(self, limit: int) -> Matrix:
        """(≤ limit, dim) float32 vectors, spread evenly over everything a search can return."""
        parts: list[Matrix] = []
        share = min(1.0, limit / max(1, self.count))
        for segment, live in zip(self.segments, self._live, strict=True):
            rows = np.arange(segment.count) if live is None else live.rows
            parts.append(segment.gather(_spread(rows, share)))
        parts.append(self.tail.gather(_spread(np.arange(len(self.tail)), share)))
        return np.concatenate(parts)[:limit]

    def score(self, vector: Vector, ids: Ids) -> Scores:
        """(n,) cosine of each chunk in `ids`; NaN for a chunk that has no vector (yet)."""
        scores = np.full(len(ids), np.nan, dtype=np.float32)
        for place, gathered in self._located(ids):
            scores[place] = products(gathered, vector)
        return scores

    def vectors(self, ids: Ids) -> Matrix:
        """(n, dim) vector of each chunk in `ids`; rows of NaN for a chunk that has none (yet)."""
        dim = self.tail.dim
        found = np.full((len(ids), dim), np.nan, dtype=np.float32)
        for place, gathered in self._located(ids):
            found[place] = gathered
        return found

    def _located(self, ids: Ids) -> list[tuple[npt.NDArray[np.int64], Matrix]]:
        """(positions in `ids`, their vectors), per segment and for the tail."""
        parts: list[tuple[npt.NDArray[np.int64], Matrix]] = []
        for segment, live in zip(self.segments, self._live, strict=True):
            place, rows = _lookup(segment.chunk_ids, ids)
            if live is not None:
                alive = live.mask[rows]
                place, rows = place[alive], rows[alive]
            if len(place):
                parts.append((place, segment.gather(rows)))
        place, rows = _lookup(self._tail_sorted, ids)
        if len(place):
            parts.append((place, self.tail.gather(self._tail_order[rows])))
        return parts


def _lookup(ascending: Ids, wanted: Ids) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(positions in `wanted` that occur in `ascending`, where they occur there)."""
    if not len(ascending) or not len(wanted):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    rows = np.minimum(np.searchsorted(ascending, wanted), len(ascending) - 1)
    place = np.flatnonzero(ascending[rows] == wanted)
    return place, rows[place]


def _live_rows(segment: Segment, tombstones: Ids) -> Selection | None:
    """The rows of a segment that are not deleted; None when all are there."""
    _, dead = _lookup(segment.chunk_ids, tombstones)
    if not len(dead):
        return None
    live = np.ones(segment.count, dtype=bool)
    live[dead] = False
    return Selection(segment.count, mask=live)


def _spread(rows: npt.NDArray[np.int64], share: float) -> npt.NDArray[np.int64]:
    """About `share` of `rows`, evenly."""
    wanted = math.ceil(share * len(rows))
    return rows[np.linspace(0, len(rows) - 1, wanted).astype(np.int64)] if wanted else rows[:0]


def _best(ids: Ids, scores: Scores, top_k: int) -> tuple[Ids, Scores]:
    if len(ids) > 4 * top_k:  # a partial sort first: the tail can be long
        threshold = np.partition(scores, len(scores) - top_k)[len(scores) - top_k]
        keep = scores >= threshold
        ids, scores = ids[keep], scores[keep]
    order = np.lexsort((ids, -scores))[:top_k]
    return ids[order], scores[order]
