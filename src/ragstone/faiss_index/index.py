"""`FAISSIndex`: vectors with ids and metadata, searched by any of FAISS's forms, usable on its own.

State is one immutable snapshot; a search takes it once and sees nothing else. Writers take turns, work on a copy and
put it in the snapshot's place, so a call that fails has changed nothing.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ragstone.errors import InputError, NotFoundError
from ragstone.faiss_index.base import gpus
from ragstone.faiss_index.calibration import measured, sampled
from ragstone.faiss_index.columns import Column, Identifier
from ragstone.faiss_index.files import read_saved, save
from ragstone.faiss_index.hits import VectorHit, vector_hits
from ragstone.faiss_index.input import (
    checked_ids,
    checked_metadata,
    checked_queries,
    checked_query,
    checked_search,
    checked_vectors,
    identifiers,
)
from ragstone.faiss_index.options import Options, make_options, tuned
from ragstone.faiss_index.snapshot import Filter, Record, Snapshot, first_snapshot
from ragstone.faiss_index.state import MEASURED_TOP_K, Closed, Opened, require_fit
from ragstone.faiss_index.stats import describe
from ragstone.index.plans import Effort, Plan
from ragstone.types import Matrix

logger = logging.getLogger("ragstone.faiss_index")

_TIMES_KEPT = 1000  # FEATURES: the monitor's window


@dataclass(frozen=True, slots=True)
class Optimized:
    """What `optimize` did: recall@10 against comparing all, before and after; the plan now built (None: too few
    vectors to build one); what a search of ten hits spends. `kept` says that the old index was better and stays."""

    recall_before: float
    recall_after: float
    plan: Plan | None
    effort: Effort | None
    kept: bool


class FAISSIndex:
    """An index of `dimension`-dimensional vectors. Thread-safe: searches run beside every other call."""

    def __init__(
        self,
        dimension: int = 384,
        index_type: str = "HNSW",
        nlist: int = 100,
        nprobe: int = 10,
        device: str = "cpu",
        config: Mapping[str, int] | None = None,
        *,
        metric: str = "l2",
        rerank: int | None = None,
        model_id: str = "",
    ) -> None:
        """An empty index.

        `index_type`: one of `plans.INDEX_TYPES`, or `auto`, which chooses by the number of vectors. `nlist` and
        `nprobe` matter to IVF types. `config`: parameters of the type, in snake_case or camelCase. `rerank`: how many
        candidates are ranked by their exact vectors for each hit (None: as the type needs; 0: only the hits).
        Raises `InputError` naming what cannot be.
        """
        options = make_options(
            dimension,
            index_type,
            nlist=nlist,
            nprobe=nprobe,
            device=device,
            config=config,
            metric=metric,
            rerank=rerank,
            model_id=model_id,
        )
        if options.device == "gpu" and not gpus():
            logger.warning(
                "FAISS sees no GPU (faiss-gpu and a device are needed): %s stays on the CPU", index_type
            )
            options = replace(options, device="cpu")
        self._writing = threading.RLock()
        self._opening = threading.Lock()
        self._state: Opened | Closed = Opened(options, _empty(options))
        self._row_of: dict[Identifier, int] | None = {}
        self._times_s: deque[float] = deque(maxlen=_TIMES_KEPT)

    @classmethod
    def from_tuning_result(
        cls,
        dimension: int,
        tuning_result: object,
        *,
        metric: str = "l2",
        device: str = "cpu",
        model_id: str = "",
    ) -> FAISSIndex:
        """An empty index with a tuning result's plan and effort: a `TuningResult`, its JSON as a mapping, or a file."""
        index_type, config, effort = tuned(tuning_result)
        index = cls(dimension, index_type, device=device, config=config, metric=metric, model_id=model_id)
        if effort is not None:
            opened = index._opened()
            index._state = replace(opened, options=opened.options.with_effort(effort))
        return index

    def __len__(self) -> int:
        """Vectors that a search can return."""
        return self._opened().snapshot.count

    def __contains__(self, id_: object) -> bool:
        """Whether the id has a vector."""
        with self._writing:
            return id_ in self._rows(self._opened().snapshot)

    @property
    def id_map(self) -> dict[int, Identifier]:
        """Row → id of every vector, in order of insertion."""
        snapshot = self._opened().snapshot
        return {row: snapshot.ids[row] for row in snapshot.live_rows.tolist()}

    @property
    def metadata(self) -> dict[Identifier, Record]:
        """Id → metadata of every vector, in order of insertion."""
        snapshot = self._opened().snapshot
        return {snapshot.ids[row]: dict(snapshot.metadata[row]) for row in snapshot.live_rows.tolist()}

    def vectors(self, ids: Sequence[Identifier] | None = None) -> Matrix:
        """(n, dimension) float32 vectors of some ids, or of all in order of insertion; unit rows for cosine.

        Raises `NotFoundError` for an id without a vector.
        """
        if ids is None:
            snapshot = self._opened().snapshot
            return snapshot.gather(snapshot.live_rows).copy()
        with self._writing:
            snapshot = self._opened().snapshot
            row_of = self._rows(snapshot)
            try:
                rows = np.array([row_of[id_] for id_ in ids], np.int64)
            except KeyError as error:
                raise NotFoundError(f"no vector has the id {error.args[0]!r}") from error
        return snapshot.gather(rows).copy()

    def add_embeddings(
        self,
        embeddings: npt.ArrayLike,
        ids: Iterable[Identifier],
        metadata: Sequence[Record | None] | Mapping[Identifier, Record] | None = None,
    ) -> None:
        """Add (n, dimension) vectors, or replace those of ids that are there (they count as inserted now).

        `metadata`: a record for each, in a list or by id; what JSON can keep. All of it is there when this returns;
        when it raises `InputError` (shape, dtype, NaN, infinity, length, an id twice) nothing has changed.
        """
        with self._writing:
            opened = self._opened()
            options, snapshot = opened.options, opened.snapshot
            vectors = checked_vectors(embeddings, dim=options.dim, metric=options.metric)
            names = checked_ids(ids, len(vectors))
            records = checked_metadata(metadata, names)
            row_of = self._rows(snapshot)
            replaced = [row_of[name] for name in names if name in row_of]
            grown = snapshot.removed(replaced).added(vectors, names, records)
            settled = grown.settled(options)
            self._state = Opened(options, settled)
            if settled.ids is grown.ids:
                row_of.update(zip(names, range(len(snapshot.ids), len(grown.ids)), strict=True))
            else:  # rebuilt without the rows that were gone
                self._row_of = None

    def remove(self, ids: Iterable[Identifier] | Identifier) -> int:
        """Remove vectors for good; how many were there. Their space is taken back when they are half of all rows."""
        names = identifiers(ids)
        with self._writing:
            opened = self._opened()
            row_of = self._rows(opened.snapshot)
            present = dict.fromkeys(name for name in names if name in row_of)
            shrunk = opened.snapshot.removed([row_of[name] for name in present])
            settled = shrunk.settled(opened.options)
            self._state = Opened(opened.options, settled)
            if settled.ids is shrunk.ids:
                for name in present:
                    del row_of[name]
            else:
                self._row_of = None
            return len(present)

    def remove_alerts(self, alert_ids: Iterable[Identifier] | Identifier) -> int:
        """`remove`, under the name of the reference document."""
        return self.remove(alert_ids)

    def search(
        self,
        query: npt.ArrayLike,
        k: int = 10,
        threshold: float = 0.0,
        *,
        filter: Filter | None = None,  # noqa: A002  - the documented name
        recall: float | None = None,
    ) -> list[VectorHit]:
        """The `k` best vectors for one (dimension,) or (1, dimension) query, best first, ties by insertion.

        `filter`: a function of the metadata, or values that it must have; as many hits as match, up to `k`.
        `threshold`: the lowest score of a hit; 0 keeps all. `recall`: the share of the true nearest that is to be
        found on average; the first such search measures what that takes. Raises `InputError`.
        """
        started = time.perf_counter()
        checked_search(k, threshold, recall)
        opened = self._opened()
        asked = checked_query(query, dim=opened.options.dim, metric=opened.options.metric)
        (found,) = opened.found(asked, k, filter, recall)
        hits = vector_hits(opened.snapshot, found, threshold)
        self._times_s.append(time.perf_counter() - started)
        return hits

    def batch_search(
        self,
        queries: npt.ArrayLike,
        k: int = 10,
        threshold: float = 0.0,
        *,
        filter: Filter | None = None,  # noqa: A002  - the documented name
        recall: float | None = None,
    ) -> list[list[VectorHit]]:
        """What `search` gives for each of (q, dimension) queries, all on the same state."""
        started = time.perf_counter()
        checked_search(k, threshold, recall)
        opened = self._opened()
        checked = checked_queries(queries, dim=opened.options.dim, metric=opened.options.metric)
        found = opened.found(checked, k, filter, recall)
        hits = [vector_hits(opened.snapshot, one, threshold) for one in found]
        self._times_s.extend([(time.perf_counter() - started) / max(len(hits), 1)] * len(hits))
        return hits

    def save_index(self, path: str | os.PathLike[str]) -> None:
        """Make this state what the folder `path` holds; durable when this returns, the old state stays until then."""
        opened = self._opened()
        save(opened.snapshot, opened.options, Path(path))

    def load_index(self, path: str | os.PathLike[str]) -> None:
        """Take over what was saved at `path`, with its type and parameters, in place of what is here.

        Reads the manifest alone; the first search or change maps the files. Raises `NotFoundError`, `MismatchError`
        for another dimension, metric or model, and `DamagedError` (also on first use) naming the file.
        """
        with self._writing:
            before = self._state.options
            saved = read_saved(Path(path), device=before.device)
            require_fit(before, saved.options, Path(path))
            with self._opening:
                self._state = Closed(Path(path), saved)
                self._row_of = None

    def get_stats(self) -> dict[str, Any]:
        """What the index is, holds and takes; query times in ms over the last 1,000 searches. See the guide."""
        opened = self._opened()
        return describe(opened.options, opened.snapshot, tuple(self._times_s))

    def optimize(self, recall: float | None = None) -> Optimized:
        """Build the index anew from the vectors that are there, and measure what it finds.

        IVF learns its lists again, graphs lose removed rows, `auto` chooses again. With `recall`, searches from now on
        spend what reaches it. Without, recall@10 on a sample of 200 queries is not lower afterwards (by more than
        0.001): more is spent, or the old index stays.
        """
        checked_search(1, 0.0, recall)
        with self._writing:
            before = self._opened()
            sample = sampled(before.snapshot, MEASURED_TOP_K)
            recall_before = before.recall(sample)
            wish = before.options if recall is None else replace(before.options, recall=recall)
            wanted = recall_before if recall is None else min(recall, recall_before)
            rebuilt = Opened(wish, before.snapshot.rebuilt(wish)).reaching(wanted, sample)
            after = rebuilt or replace(before, options=wish)
            self._state, self._row_of = after, None
            base = after.snapshot.base
            return Optimized(
                recall_before=round(recall_before, 5),
                recall_after=round(after.recall(sample), 5),
                plan=None if base is None else base.plan,
                effort=after.effort(MEASURED_TOP_K),
                kept=rebuilt is None,
            )

    def reindexed(
        self, index_type: str, *, config: Mapping[str, int] | None = None, min_recall: float = 0.95
    ) -> FAISSIndex:
        """A new index of another type with the vectors, ids and metadata of this one, which stays as it is.

        Its recall@10 is at least `min_recall`, or that of this index if lower: more is spent where needed. Raises
        `InputError` if nothing the type can spend reaches that.
        """
        opened = self._opened()
        old, options = opened.snapshot, opened.options
        new = FAISSIndex(
            options.dim,
            index_type,
            device=options.device,
            config=config,
            metric=options.metric,
            model_id=options.model_id,
        )
        live = old.live_rows
        wish = new._opened().options
        copy = first_snapshot(wish, old.gather(live).copy(), old.ids.taken(live), old.metadata.taken(live))
        sample = sampled(old, MEASURED_TOP_K)
        wanted = min(min_recall, opened.recall(sample))
        verified = Opened(wish, copy).reaching(wanted, sample)
        if verified is None:
            best = measured(copy, sample)[-1]
            raise InputError(
                f"{index_type} finds {best.recall:.3f} of the nearest here at most, not {wanted:.3f}",
                hint="give it a larger config, or accept a lower min_recall",
            )
        new._state, new._row_of = verified, None
        return new

    def _opened(self) -> Opened:
        state = self._state
        if isinstance(state, Opened):
            return state
        with self._opening:
            if isinstance(self._state, Closed):
                self._state = self._state.opened()
            return self._state

    def _rows(self, snapshot: Snapshot) -> dict[Identifier, int]:
        """Id → live row; made when first needed. For writers."""
        if self._row_of is None:
            self._row_of = {snapshot.ids[row]: row for row in snapshot.live_rows.tolist()}
        return self._row_of


def _empty(options: Options) -> Snapshot:
    return first_snapshot(options, np.empty((0, options.dim), np.float32), Column([]), Column([]))
