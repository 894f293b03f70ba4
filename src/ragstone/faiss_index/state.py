"""The state of a `FAISSIndex` between two changes: options and a snapshot, or a saved generation not yet opened."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from ragstone.errors import DamagedError, MismatchError
from ragstone.faiss_index.calibration import (
    ENOUGH,
    TOLERANCE,
    Sample,
    cheapest,
    measured,
    recall_of,
    sampled,
    table_size,
)
from ragstone.faiss_index.files import Saved, open_saved, read_saved
from ragstone.faiss_index.input import TOP_K_MAX
from ragstone.faiss_index.options import Options
from ragstone.faiss_index.snapshot import Filter, Found, Record, Snapshot
from ragstone.index.plans import Effort, fitted_effort
from ragstone.types import Matrix

logger = logging.getLogger("ragstone.faiss_index")

MEASURED_TOP_K = 10  # recall@10, as everywhere
# A filter function is first tried on so many times the hits wanted; a common condition is met there.
_WIDER = 4
_WIDER_MIN = 64
_OPENING_TRIES = 5  # each lost to a save that came between reading the manifest and opening its files


@dataclass(frozen=True, slots=True)
class Opened:
    """A snapshot and what is wished of it. Never changes, but for efforts measured when they are first asked for."""

    options: Options
    snapshot: Snapshot

    def found(self, queries: Matrix, k: int, condition: Filter | None, recall: float | None) -> list[Found]:
        """For each of the (q, dim) queries the best `k` rows that pass the condition."""
        snapshot = self.snapshot
        if condition is None or not len(queries):
            return snapshot.search(queries, top_k=k, effort=self.effort(k, recall))
        early: list[Found | None] = [None] * len(queries)
        if not isinstance(condition, Mapping):
            wider = min(max(_WIDER * k, _WIDER_MIN), TOP_K_MAX)
            around = snapshot.search(queries, top_k=wider, effort=self.effort(wider, recall))
            early = [_passing(snapshot, found, condition, k) for found in around]
        if all(early):
            return [found for found in early if found]
        passing = snapshot.matching(condition)
        effort = self.effort(k, recall)
        return [
            found or snapshot.search(query[None], top_k=k, effort=effort, passing=passing)[0]
            for query, found in zip(queries, early, strict=True)
        ]

    def effort(self, k: int, recall: float | None = None) -> Effort | None:
        """What a search for `k` hits spends; None: it compares all vectors.

        Without a recall, the one that `optimize` was asked for counts, or what the options say.
        """
        base, options = self.snapshot.base, self.options
        recall = options.recall if recall is None else recall
        if base is None:
            return Effort()
        if recall is None:
            return options.effort(base.plan, top_k=k, count=base.count)
        size = table_size(k)
        if size is None:
            return None
        with base.measuring:
            if size not in base.tables:
                base.tables[size] = measured(self.snapshot, sampled(self.snapshot, size))
        effort = cheapest(base.tables[size], recall)
        return None if effort is None else fitted_effort(base.plan, effort, top_k=k, count=base.count)

    def recall(self, sample: Sample) -> float:
        """The recall of usual searches on a sample of this snapshot."""
        return recall_of(self.snapshot, self.effort(sample.top_k), sample)

    def reaching(self, recall: float, sample: Sample) -> Opened | None:
        """This state, spending as much as reaches `recall` on the sample; None if nothing does.

        Where only comparing all vectors would, a recall within `TOLERANCE` of it will do.
        """
        base = self.snapshot.base
        if base is None:
            return self
        table = measured(self.snapshot, sample, enough=max(recall, ENOUGH))
        base.tables[sample.top_k] = table
        if self.recall(sample) >= recall:
            return self
        effort = cheapest(table, recall, margin=0.0) or cheapest(table, recall, margin=-TOLERANCE)
        if effort is None:
            return None
        return replace(self, options=replace(self.options.with_effort(effort), recall=None))


@dataclass(frozen=True, slots=True)
class Closed:
    """What a manifest names, to be opened when it is first needed."""

    path: Path
    saved: Saved

    @property
    def options(self) -> Options:
        """As they were saved."""
        return self.saved.options

    def opened(self) -> Opened:
        """The generation with its files mapped, or the newer one that another process put in its place."""
        saved = self.saved
        for _ in range(_OPENING_TRIES):
            try:
                snapshot = open_saved(saved)
            except DamagedError:
                latest = read_saved(self.path, device=saved.options.device)
                if latest.folder == saved.folder:
                    raise
                require_fit(saved.options, latest.options, self.path)
                saved = latest
            else:
                logger.info("opened %s vectors from %s", f"{snapshot.count:,}", self.path)
                return Opened(saved.options, snapshot)
        raise DamagedError(
            f"{self.path} was saved anew {_OPENING_TRIES} times while it was opened", hint="try again"
        )


def require_fit(here: Options, saved: Options, path: Path) -> None:
    """Raise `MismatchError` if what was saved has another dimension, metric or named model."""
    for name, ours, theirs in (
        ("dimension", here.dim, saved.dim),
        ("metric", here.metric, saved.metric),
        ("model", here.model_id, saved.model_id),
    ):
        if ours != theirs and ours and theirs:
            raise MismatchError(
                f"{path} has the {name} {theirs}, this index {ours}", hint="load it into an index made to fit"
            )


def _passing(snapshot: Snapshot, found: Found, condition: Callable[[Record], bool], k: int) -> Found | None:
    """The best `k` of the found rows that pass; None if fewer do."""
    kept: list[int] = []
    for place, row in enumerate(found.rows.tolist()):
        if condition(MappingProxyType(snapshot.metadata[row])):
            kept.append(place)
            if len(kept) == k:
                return Found(found.rows[kept], found.costs[kept])
    return None
