"""One state of a `FAISSIndex`: a built base, the rows added since, and which rows are gone. Never changes.

Row numbers ascend in order of insertion. Searches compare the rows of the tail one by one and ask the base for
candidates; whatever is found is ranked by its exact vectors, ties by row.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from ragstone.faiss_index.base import Base, build_base, costs, extended_base, scan
from ragstone.faiss_index.columns import BoolArray, Column, Identifier, Json, ValueIndex, Vectors
from ragstone.faiss_index.options import AUTO, Options
from ragstone.index.plans import Effort, Metric
from ragstone.index.threads import one_thread
from ragstone.types import Ids, Matrix, Vector

logger = logging.getLogger("ragstone.faiss_index")

Record: TypeAlias = Mapping[str, Json]  # the metadata of one row
Filter: TypeAlias = Callable[[Record], bool] | Mapping[str, Json]

# Up to so many rows are compared one by one: 0.1 ms at 384 dimensions, what a walk over a small graph takes.
TAIL_ROWS = 1024
# Of larger indexes a thirty-second may wait in the tail: a tenth of a scan of everything costs more than a walk,
# and at most 33 copies of the base are made while an index grows e-fold.
_TAIL_SHARE = 1 / 32
# More than half of the rows gone: what is rebuilt has been paid for by as many removals.
_BURIED_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Found:
    """Rows, best first, and their costs (`faiss_base`)."""

    rows: Ids
    costs: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Rows 0 to n: those of `base`, then those of `tail`. `dead` marks rows that are gone (None: no row is).

    `values` and `growing` are shared with the snapshots that came before: see `faiss_columns`.
    """

    metric: Metric
    base: Base | None
    tail: Matrix
    ids: Column[Identifier]
    metadata: Column[Record]
    dead: BoolArray | None
    growing: Vectors
    values: ValueIndex = field(default_factory=ValueIndex)

    @property
    def base_rows(self) -> int:
        """Rows of the base, dead ones too."""
        return 0 if self.base is None else self.base.count

    @property
    def buried(self) -> int:
        """Rows that are gone but still take space."""
        return 0 if self.dead is None else int(self.dead.sum())

    @property
    def count(self) -> int:
        """Rows that a search can return."""
        return len(self.ids) - self.buried

    @property
    def live_rows(self) -> Ids:
        """(count,) rows that are there, ascending."""
        return np.arange(len(self.ids)) if self.dead is None else np.flatnonzero(~self.dead)

    def gather(self, rows: Ids) -> Matrix:
        """(len(rows), dim) exact float32 vectors of rows in any order."""
        if self.base is None:
            return self.tail[rows]
        in_base = rows < self.base.count
        if in_base.all():
            return self.base.gather(rows)
        gathered = np.empty((len(rows), self.tail.shape[1]), np.float32)
        gathered[in_base] = self.base.gather(rows[in_base])
        gathered[~in_base] = self.tail[rows[~in_base] - self.base.count]
        return gathered

    def matching(self, condition: Filter) -> BoolArray:
        """(n,) whether each row's metadata passes a filter; dead rows may be among them."""
        if isinstance(condition, Mapping):
            return self.values.equal(self.metadata, condition)
        passing = np.zeros(len(self.ids), bool)
        for row in self.live_rows.tolist():
            passing[row] = bool(condition(MappingProxyType(self.metadata[row])))
        return passing

    def search(
        self, queries: Matrix, *, top_k: int, effort: Effort | None, passing: BoolArray | None = None
    ) -> list[Found]:
        """For each of the (q, dim) queries the best `top_k` of the live rows that pass, all where fewer do.

        Without an effort the search is exact.
        """
        live = passing if self.dead is None else ~self.dead if passing is None else passing & ~self.dead
        with one_thread():
            from_base = self._from_base(queries, top_k, effort, live)
            from_tail = self._from_tail(queries, top_k, live)
            return [
                self._ranked(query, np.concatenate([base, tail]), top_k)
                for query, base, tail in zip(queries, from_base, from_tail, strict=True)
            ]

    def _from_base(
        self, queries: Matrix, top_k: int, effort: Effort | None, live: BoolArray | None
    ) -> list[Ids]:
        base = self.base
        if base is None:
            return [np.empty(0, np.int64)] * len(queries)
        allowed = None if live is None else live[: base.count]
        if allowed is not None and allowed.all():
            allowed = None
        if effort is None:
            rows = None if allowed is None else np.flatnonzero(allowed)
            return [base.nearest(query, top_k, rows) for query in queries]
        return base.search(queries, top_k=top_k, effort=effort, live=allowed)

    def _from_tail(self, queries: Matrix, top_k: int, live: BoolArray | None) -> list[Ids]:
        first = self.base_rows
        if live is None:
            return [rows + first for rows in scan(queries, self.tail, top_k, metric=self.metric)]
        rows = np.flatnonzero(live[first:])
        return [rows[best] + first for best in scan(queries, self.tail[rows], top_k, metric=self.metric)]

    def _ranked(self, query: Vector, rows: Ids, top_k: int) -> Found:
        cost = costs(query, self.gather(rows), metric=self.metric)
        best = np.lexsort((rows, cost))[:top_k]
        return Found(rows[best], cost[best])

    def added(self, vectors: Matrix, ids: Sequence[Identifier], metadata: Sequence[Record]) -> Snapshot:
        """A snapshot with (n, dim) more rows behind these. For the newest snapshot of a lineage, by one writer."""
        return replace(
            self,
            tail=self.growing.extended(len(self.tail), vectors),
            ids=self.ids.extended(ids),
            metadata=self.metadata.extended(metadata),
            dead=None if self.dead is None else np.concatenate([self.dead, np.zeros(len(vectors), bool)]),
        )

    def removed(self, rows: Sequence[int]) -> Snapshot:
        """A snapshot in which these rows are gone."""
        if not rows:
            return self
        dead = np.zeros(len(self.ids), bool) if self.dead is None else self.dead.copy()
        dead[np.asarray(rows, np.int64)] = True
        return replace(self, dead=dead)

    def settled(self, options: Options) -> Snapshot:
        """This snapshot, or one whose base took in a tail that grew too long or lost rows that were too many."""
        rows = len(self.ids)
        if rows > TAIL_ROWS and self.buried > _BURIED_SHARE * rows:
            return self.rebuilt(options)
        if len(self.tail) <= max(TAIL_ROWS, int(_TAIL_SHARE * rows)):
            return self
        if self.base is None or self._wants_another(self.base, options):
            return self.rebuilt(options)
        return self._extended(self.base, options)

    def _wants_another(self, base: Base, options: Options) -> bool:
        count = self.count
        plan, reason = options.plan(count)
        if plan == base.plan:
            return base.outgrown(count)
        # What was asked for is possible now, or what small data allows has changed with twice the data.
        possible_now = reason is None and options.index_type != AUTO
        return possible_now or count >= 2 * base.trained

    def _extended(self, base: Base, options: Options) -> Snapshot:
        beside = (
            np.concatenate([base.all_vectors(), self.tail])
            if base.vectors is not None and base.keeps_vectors_beside
            else None
        )
        extended = extended_base(base, self.tail, beside, device=options.device)
        empty = np.empty((0, self.tail.shape[1]), np.float32)
        return replace(self, base=extended, tail=empty, growing=Vectors(empty))

    def rebuilt(self, options: Options) -> Snapshot:
        """A snapshot of the live rows alone, renumbered, over a base that is built anew if they are enough."""
        live = self.live_rows
        vectors = self.tail if self.base is None and self.dead is None else self.gather(live)
        unchanged = self.dead is None
        ids = self.ids if unchanged else self.ids.taken(live)
        metadata = self.metadata if unchanged else self.metadata.taken(live)
        fresh = first_snapshot(options, vectors, ids, metadata)
        return replace(fresh, values=self.values) if unchanged else fresh


def first_snapshot(
    options: Options, vectors: Matrix, ids: Column[Identifier], metadata: Column[Record]
) -> Snapshot:
    """A snapshot of (n, dim) vectors with their ids and metadata, built as the options say; all rows live."""
    count = len(vectors)
    if count <= TAIL_ROWS:
        if count:
            logger.info("%s: %s vectors are compared one by one, nothing is built", options.index_type, count)
        return Snapshot(options.metric, None, vectors, ids, metadata, None, Vectors(vectors))
    plan, reason = options.plan(count)
    logger.info("building %s over %s vectors%s", plan, count, f": {reason}" if reason else "")
    base = build_base(plan, vectors, metric=options.metric, device=options.device)
    empty = np.empty((0, options.dim), np.float32)
    return Snapshot(options.metric, base, empty, ids, metadata, None, Vectors(empty))
