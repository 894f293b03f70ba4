"""The segments of one collection: opened, sealed, merged, mended and switched to another plan.

A segment is swapped in by one transaction that also retires those it replaces; searches go on with the snapshot
they have. Segments of similar size are merged as they come, cheaply; `compact` makes one of them all, with the
index that suits their number or that the user asked for.
"""

from __future__ import annotations

import json
import logging
import shutil
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path

import apsw
import numpy as np

from ragstone.errors import DamagedError, InputError, MismatchError
from ragstone.index.fast import needed
from ragstone.index.plans import Plan, is_exact, plan_from_json
from ragstone.index.recommending import FASTSCAN_VECTORS, suitable_plans
from ragstone.index.segment import Segment
from ragstone.index.segment_files import build_segment, read_manifest, salvage, verify_files
from ragstone.store import vectors
from ragstone.store.catalog import Catalog, Identity
from ragstone.store.vectors import SegmentRow
from ragstone.trust import forget, is_trusted, trust
from ragstone.types import Ids, StoredMatrix

# A segment is rewritten together with the new one unless it is this much larger: sizes then fall
# geometrically, so there are at most log2(n / TAIL_ROWS) of them and each vector is copied as often.
MERGE_RATIO = 2.0
# Larger ones are left to `compact`: up to here a merge takes about two seconds (110k × 384, codes and all).
MERGE_ROWS = 131_072
# Rows deleted from a segment before it is rewritten without them.
DEAD_SHARE = 0.3
# More segments than this, and a search pays for each: 0.2 ms for 100k vectors.
MAX_SEGMENTS = 6

logger = logging.getLogger("ragstone")


@dataclass(frozen=True, slots=True)
class Part:
    """Rows on their way into a segment: (n,) chunk ids, (n,) document ids, (n, dim) vectors."""

    chunk_ids: Ids
    document_ids: Ids
    vectors: StoredMatrix

    @classmethod
    def joined(cls, parts: Sequence[Part], identity: Identity) -> Part:
        """One part of several, stored as the collection stores its vectors; a chunk that two hold is taken once."""
        empty = np.empty((0, identity.dim), identity.precision)
        chunk_ids = np.concatenate([np.empty(0, np.int64), *(part.chunk_ids for part in parts)])
        document_ids = np.concatenate([np.empty(0, np.int64), *(part.document_ids for part in parts)])
        vectors = np.concatenate([empty, *(part.vectors for part in parts)])
        once = np.unique(chunk_ids, return_index=True)[1]
        if len(once) < len(chunk_ids):
            return cls(chunk_ids[once], document_ids[once], vectors[once])
        return cls(chunk_ids, document_ids, vectors)


@dataclass(frozen=True, slots=True)
class _Swap:
    """What one commit puts in the place of what; `plan_change` runs in the same transaction."""

    retired: list[SegmentRow]
    part: Part
    plans: Sequence[Plan]
    sealed_up_to: int = 0
    purged: Ids = field(default_factory=lambda: np.empty(0, np.int64))
    keep_damaged: bool = False
    accept: Callable[[Segment], None] = lambda _: None
    plan_change: Callable[[apsw.Connection], None] = lambda _: None


class SegmentStore:
    """The segments below one folder. Thread-safe; those that write need the collection's lock held."""

    def __init__(self, folder: Path, catalog: Catalog) -> None:
        """`folder` exists and holds what the catalog's segment rows name."""
        self.folder = folder
        self._catalog = catalog
        self._opened: dict[str, Segment] = {}
        self._swapping = threading.RLock()  # segments are swapped one at a time

    def path(self, row: SegmentRow) -> Path:
        """Where a segment's files are."""
        return self.folder / row.name

    def open(self, row: SegmentRow) -> Segment:
        """The segment, opened before or now. Raises `DamagedError`."""
        opened = self._opened.get(row.name)
        if opened is None:
            folder = self.path(row)
            manifest = read_manifest(folder, manifest_sha256=row.manifest_sha256)
            if not is_trusted(folder):
                verify_files(folder, manifest)
                trust(folder)
            opened = self._opened[row.name] = Segment(folder, manifest)
        return opened

    def keep_only(self, rows: Sequence[SegmentRow]) -> None:
        """Let go of segments that the catalog no longer names; snapshots keep what they use."""
        names = {row.name for row in rows}
        self._opened = {name: segment for name, segment in self._opened.items() if name in names}

    def named(self, row: SegmentRow) -> bool:
        """Whether the catalog still vouches for a segment; a writer may have merged it into another."""
        with self._catalog.reading() as db:
            return any(found.id == row.id for found in vectors.segments(db))

    def remove_orphans(self) -> None:
        """Remove what a killed writer left behind."""
        with self._catalog.reading() as db:
            named = {row.name for row in vectors.segments(db)}
        for path in self.folder.iterdir():
            name = path.name.split(".", 1)[0]
            if path.is_dir() and name not in named and ".damaged" not in path.name:
                shutil.rmtree(path)
            elif path.is_file() and name not in named:
                path.unlink()

    # -- sealing and merging -----------------------------------------------------------------------------

    def seal(self, identity: Identity) -> None:
        """Turn the pending vectors into a segment, then merge it with those of similar size.

        Two steps: a merge takes seconds in which every search compares each pending vector, and two thirds of a second
        make them a segment that is searched in a tenth of the time.
        """
        with self._swapping:
            self._rewrite(identity, _quick_plans, choose=lambda _: [])
            chosen = self._to_merge(*self._readable())
            if chosen:
                self._rewrite(identity, _quick_plans, choose=lambda _: chosen)

    def compaction_due(self, identity: Identity) -> bool:
        """Whether one segment in the place of all would be searched faster or take clearly less room."""
        rows, dead = self._readable()
        if not rows:
            return False
        total = sum(row.count for row in rows)
        largest = max(rows, key=lambda row: row.count)
        scattered = len(rows) > MAX_SEGMENTS or total >= (1 + 1 / MERGE_RATIO) * largest.count
        outdated = not _alike(_built_for(self.open(largest)), self.wanted_plan(total, identity.dim))
        return (len(rows) > 1 and scattered) or outdated or len(dead) > DEAD_SHARE * total

    def compact(self, identity: Identity) -> None:
        """Make one segment of everything, without deleted rows, with the plan that is wanted for its size."""
        self._rewrite(identity, _plans_of(self.applied_plan()))

    def apply(self, identity: Identity, plan: Plan, *, recall: float) -> None:
        """Rewrite everything to `plan`, for good: later compactions keep it.

        The new segment is built beside the old one and measured; unless it finds `recall` of the true nearest
        10 it is dropped, nothing changes, and `MismatchError` says what it reached.
        """

        def accept(segment: Segment) -> None:
            fast = segment.fast
            if fast is not None and fast.calibration.effort(10, recall) is None:
                best = max(measured.recall for measured in fast.calibration.by_top_k[10])
                raise MismatchError(
                    f"{plan} reaches recall {best:.3f} on a sample of this collection, "
                    f"{needed(recall):.3f} is needed to promise {recall:g}",
                    hint="nothing was changed; choose another plan (ragstone tune) or a lower recall",
                )

        def remember(db: apsw.Connection) -> None:
            vectors.push_plan(db, json.dumps(plan.to_json()), recall)

        self._rewrite(identity, _plans_of(plan), accept=accept, plan_change=remember)

    def roll_back(self, identity: Identity) -> Plan | None:
        """Go back to the plan before the one applied last; None when that is to choose by size.

        Raises `InputError` when none was applied.
        """
        with self._catalog.reading() as db:
            applied = vectors.plans(db)
        if not applied:
            raise InputError("no plan was applied to this collection, there is nothing to go back to")
        before = plan_from_json(applied[-2], dim=identity.dim) if len(applied) > 1 else None
        self._rewrite(identity, _plans_of(before), plan_change=vectors.pop_plan)
        return before

    def wanted_plan(self, count: int, dim: int) -> Plan:
        """What `count` vectors should be searched with: the plan applied last, else the one for their number."""
        applied = self.applied_plan()
        return applied or next(iter(_recommended(count, dim)), Plan("Flat,FP16"))

    def applied_plan(self) -> Plan | None:
        """The plan applied last; None: chosen by size."""
        with self._catalog.reading() as db:
            applied = vectors.plans(db)
            dim = vectors.dimension(db)
        return plan_from_json(applied[-1], dim=dim) if applied else None

    def _rewrite(
        self,
        identity: Identity,
        plans: Callable[[int, int], list[Plan]],
        *,
        choose: Callable[[list[SegmentRow]], list[SegmentRow]] = lambda rows: rows,
        accept: Callable[[Segment], None] = lambda _: None,
        plan_change: Callable[[apsw.Connection], None] = lambda _: None,
    ) -> None:
        """Make one segment of the pending vectors and the rows of those that `choose` takes, to `plans` for so many
        vectors of a dimension."""
        with self._swapping:
            rows, dead = self._readable()
            with self._catalog.reading() as db:
                pending = vectors.pending_vectors(db, identity.dim)
            rows = choose(rows)
            part = self._merged(identity, pending, rows, dead)
            self._swap(
                identity,
                _Swap(
                    retired=rows,
                    part=part,
                    plans=plans(len(part.chunk_ids), identity.dim),
                    sealed_up_to=pending.last_sequence,
                    purged=self._dead_rows(rows, dead),
                    accept=accept,
                    plan_change=plan_change,
                ),
            )

    def _readable(self) -> tuple[list[SegmentRow], Ids]:
        """The segments that open, and the tombstones; one that does not is left to be mended."""
        with self._catalog.reading() as db:
            rows = vectors.segments(db)
            dead = vectors.tombstones(db)
        readable = []
        for row in rows:
            try:
                self.open(row)
                readable.append(row)
            except DamagedError as error:
                logger.warning("%s", error.message)
        return readable, dead

    def _to_merge(self, rows: list[SegmentRow], dead: Ids) -> list[SegmentRow]:
        """The segments to make one of: the small ones, if there are several, and those mostly deleted."""
        chosen: list[SegmentRow] = []
        size, rewritten = 0, False
        for row in sorted(rows, key=lambda row: row.count):
            gone = len(np.intersect1d(self.open(row).chunk_ids, dead)) if len(dead) else 0
            mostly_deleted = gone > DEAD_SHARE * row.count
            if not chosen or mostly_deleted or row.count <= min(MERGE_RATIO * size, MERGE_ROWS):
                rewritten |= mostly_deleted or bool(chosen)
                chosen.append(row)
                size += row.count - gone
        return chosen if rewritten else []

    def _merged(
        self, identity: Identity, pending: vectors.PendingVectors, rows: list[SegmentRow], dead: Ids
    ) -> Part:
        parts = [Part(pending.chunk_ids, pending.document_ids, pending.vectors)]
        return Part.joined([*parts, *(_live_part(self.open(row), dead) for row in rows)], identity)

    def _dead_rows(self, rows: list[SegmentRow], dead: Ids) -> Ids:
        """Tombstones of rows that these segments hold."""
        return np.intersect1d(self._held(rows), dead)

    # -- mending -----------------------------------------------------------------------------------------

    def mend(self, row: SegmentRow, identity: Identity, error: DamagedError) -> None:
        """Rewrite a damaged segment from its undamaged blocks and queue the rest for embedding.

        The damaged folder is set aside.
        """
        with self._swapping:
            with self._catalog.reading() as db:
                dead = vectors.tombstones(db)
            saved = _salvaged(self.path(row), row, identity)
            live = ~np.isin(saved.chunk_ids, dead)
            kept = Part(saved.chunk_ids[live], saved.document_ids[live], saved.vectors[live])
            self._swap(
                identity,
                _Swap(
                    retired=[row],
                    part=kept,
                    plans=_quick_plans(len(kept.chunk_ids), identity.dim),
                    purged=np.intersect1d(saved.chunk_ids, dead),
                    keep_damaged=True,
                ),
            )
            queued = self.queue_lost_chunks()
        logger.warning(
            "%s; %s vectors saved, %s chunks queued for embedding again",
            error.message,
            f"{live.sum():,}",
            f"{queued:,}",
        )

    def queue_lost_chunks(self) -> int:
        """Queue for embedding the chunks whose vectors no file holds, and forget tombstones of lost rows; how many.

        None while another segment does not open: its turn to be mended comes, and what it holds is not lost yet.
        """
        with self._catalog.transaction() as db:
            readable, _ = self._readable()
            if len(readable) < len(vectors.segments(db)):
                return 0
            sealed = self._held(readable)
            vectors.drop_idle_tombstones(db, sealed)
            return vectors.queue_chunks_without_vector(db, sealed)

    def sealed_chunk_ids(self) -> Ids:
        """The chunk ids that the segments hold, of those that open."""
        readable, _ = self._readable()
        return self._held(readable)

    def _held(self, rows: Sequence[SegmentRow]) -> Ids:
        return np.concatenate([np.empty(0, np.int64), *(self.open(row).chunk_ids for row in rows)])

    # -- one commit --------------------------------------------------------------------------------------

    def _swap(self, identity: Identity, swap: _Swap) -> None:
        """Build a segment and put it in the place of others, in one commit."""
        name, manifest_sha256 = "", b""
        part = swap.part
        if len(part.chunk_ids):
            sealed = build_segment(
                self.folder,
                chunk_ids=part.chunk_ids,
                document_ids=part.document_ids,
                vectors=part.vectors,
                model_id=identity.model_id,
                plans=swap.plans,
            )
            name, manifest_sha256 = sealed.name, sealed.manifest_sha256
            try:  # opened as it will be, before anything depends on it
                manifest = read_manifest(self.folder / name, manifest_sha256=manifest_sha256)
                swap.accept(Segment(self.folder / name, manifest))
            except Exception:
                shutil.rmtree(self.folder / name, ignore_errors=True)
                raise
            trust(self.folder / name)
        with self._catalog.transaction() as db:
            vectors.replace_segments(
                db,
                retired=[row.id for row in swap.retired],
                name=name,
                chunk_ids=part.chunk_ids,
                manifest_sha256=manifest_sha256,
                sealed_up_to=swap.sealed_up_to,
                purged=swap.purged,
            )
            swap.plan_change(db)
        for row in swap.retired:  # processes that have them open keep their mapping
            forget(self.path(row))
            if swap.keep_damaged:
                with suppress(OSError):  # the catalog has moved on: what stays is removed as an orphan
                    set_aside(self.path(row))
            else:
                shutil.rmtree(self.path(row), ignore_errors=True)


def set_aside(folder: Path) -> None:
    """Keep one damaged copy of a derived folder, for whoever wants to know why, out of the way."""
    if folder.exists():
        kept = folder.with_name(f"{folder.name}.damaged")
        shutil.rmtree(kept, ignore_errors=True)
        folder.rename(kept)


def _recommended(count: int, dim: int) -> list[Plan]:
    """The plans for so many vectors, the one to try first first; none where they are searched exactly."""
    if not count:
        return []
    return list(takewhile(lambda plan: not is_exact(plan), suitable_plans(count, dim)))


def _plans_of(applied: Plan | None) -> Callable[[int, int], list[Plan]]:
    """The plan that was applied, for any number of vectors; without one, those for their number."""
    return _recommended if applied is None else lambda _count, _dim: [applied]


def _quick_plans(count: int, dim: int) -> list[Plan]:
    """Indexes built in seconds, for a segment that will be merged again; `compact` makes the better one."""
    return _recommended(min(count, FASTSCAN_VECTORS), dim)


def _built_for(segment: Segment) -> str:
    return segment.plan.index_type if segment.fast is None else segment.fast.wanted


def _alike(built_for: str, wanted: Plan) -> bool:
    """Whether a segment need not be rebuilt for a plan: numbers of lists differ with the number of rows."""
    return built_for == wanted.index_type or (built_for.startswith("Flat") and is_exact(wanted))


def _live_part(segment: Segment, dead: Ids) -> Part:
    live = ~np.isin(segment.chunk_ids, dead)
    return Part(segment.chunk_ids[live], segment.document_ids[live], segment.vectors[live])


def _salvaged(folder: Path, row: SegmentRow, identity: Identity) -> Part:
    try:
        manifest = read_manifest(folder, manifest_sha256=row.manifest_sha256)
    except DamagedError:  # without the manifest no block can be checked
        return Part.joined([], identity)
    return Part(*salvage(folder, manifest))
