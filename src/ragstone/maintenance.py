"""Checking a collection against itself, and mending what can be mended.

Everything but the catalog is derived, so every fault outside it has a cure: damaged segments are rewritten
from their intact blocks, a damaged keyword index is rebuilt, lost vectors are queued for embedding.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ragstone import expansions, links
from ragstone.collection import SEGMENTS_FOLDER, Collection
from ragstone.collection_keyword import KEYWORD_FOLDER
from ragstone.errors import DamagedError, RagstoneError
from ragstone.index.segment import Segment
from ragstone.index.segment_files import read_manifest, verify_files
from ragstone.store import change_log, documents, names, vectors
from ragstone.store.keyword import KeywordIndex, damaged_files
from ragstone.trust import trust
from ragstone.types import Ids

# A damaged segment hides what else is wrong: rows are compared only when all can be read. Two rounds mend that.
REPAIR_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault: where it is, a stable `code`, and what is wrong."""

    where: str
    code: str
    message: str

    @property
    def repairable(self) -> bool:
        """Whether `repair` can mend it."""
        return self.code in _MENDERS


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What a check read and found; `repaired` holds problems that were mended by this call."""

    problems: tuple[Problem, ...]
    repaired: tuple[Problem, ...]
    segments: int
    chunks: int
    bytes_read: int

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong (any more)."""
        return not self.problems


def verify(collection: Collection, *, stopped: threading.Event | None = None) -> VerifyReport:
    """Read every byte of a collection and compare its parts; changes nothing.

    ≈ 1.5 GB/s for segments; the catalog's own check walks its pages. `stopped` ends it early.
    """
    problems = _catalog_problems(collection)
    bytes_read = collection.catalog.path.stat().st_size
    if problems:  # nothing it says can be relied on
        return VerifyReport(tuple(problems), (), 0, 0, bytes_read)
    with collection.catalog.reading() as db:
        rows = vectors.segments(db)
        counts = documents.counts(db)
        known = _KnownVectors(
            vectors.chunks_expected_in_segments(db), vectors.tombstones(db), *vectors.waiting_chunks(db)
        )
    sealed: list[Ids] = []
    for row in rows:
        found, size = _check_segment(collection, row, problems, stopped)
        if problems and not collection.segments.named(
            row
        ):  # merged into another by a writer while it was read
            return verify(collection, stopped=stopped)
        sealed.append(found)
        bytes_read += size
        if stopped is not None and stopped.is_set():
            return VerifyReport(tuple(problems), (), len(rows), counts.chunks, bytes_read)
    if not problems:
        _compare_vectors(np.concatenate([np.empty(0, np.int64), *sealed]), known, problems)
    _check_keyword(collection, problems)
    _check_graph(collection, problems)
    _check_acronyms(collection, problems)
    return VerifyReport(tuple(problems), (), len(rows), counts.chunks, bytes_read)


def repair(collection: Collection) -> VerifyReport:
    """Mend what `verify` finds and check again. Raises `LockedError` if another process is writing."""
    seen: dict[tuple[str, str], Problem] = {}
    with collection.writing():
        report = verify(collection)
        for _ in range(REPAIR_ROUNDS):
            if not any(problem.repairable for problem in report.problems):
                break
            for problem in report.problems:
                seen[problem.where, problem.code] = problem
                mend = _MENDERS.get(problem.code)
                if mend is not None:
                    mend(collection, problem)
            report = verify(collection)
    remaining = {(problem.where, problem.code) for problem in report.problems}
    repaired = tuple(problem for key, problem in seen.items() if key not in remaining)
    return replace(report, repaired=repaired)


# -- checks ----------------------------------------------------------------------------------------------------


def _catalog_problems(collection: Collection) -> list[Problem]:
    try:
        with collection.catalog.reading() as db:
            found = [str(text) for (text,) in db.execute("PRAGMA integrity_check(10)")]
            if found == ["ok"]:
                found = documents.altered_chunks(db)
    except DamagedError as error:
        found = [error.message]
    hint = "restore the collection from a backup"
    return [Problem("catalog.sqlite", "catalog_damaged", f"{text}; {hint}") for text in found]


def _check_segment(
    collection: Collection,
    row: vectors.SegmentRow,
    problems: list[Problem],
    stopped: threading.Event | None,
) -> tuple[Ids, int]:
    """The chunk ids a segment holds and its size; its faults are added to `problems`."""
    folder = collection.segments.path(row)
    where = f"{SEGMENTS_FOLDER}/{row.name}"
    try:
        manifest = read_manifest(folder, manifest_sha256=row.manifest_sha256)
        verify_files(folder, manifest, stopped=stopped)
        segment = Segment(folder, manifest)
    except DamagedError as error:
        problems.append(Problem(where, "segment_damaged", error.message))
        return np.empty(0, np.int64), 0
    except RagstoneError as error:
        problems.append(Problem(where, "segment_unreadable", str(error)))
        return np.empty(0, np.int64), 0
    if stopped is None or not stopped.is_set():
        trust(folder)
    return np.asarray(segment.chunk_ids), segment.bytes


@dataclass(frozen=True, slots=True)
class _KnownVectors:
    """Chunk ids, each ascending: with a vector in a segment, deleted since, in the tail, waiting for a vector."""

    expected: Ids
    dead: Ids
    pending: Ids
    queued: Ids


def _compare_vectors(sealed: Ids, known: _KnownVectors, problems: list[Problem]) -> None:
    """What segments and catalog say differently of the same chunks; `sealed` has the ids of all rows."""

    def found(ids: Ids, code: str, message: str) -> None:
        if len(ids):
            problems.append(Problem(SEGMENTS_FOLDER, code, f"{len(ids):,} {message}"))

    found(np.setdiff1d(known.expected, sealed), "vectors_lost", "chunks have a vector in no segment")
    waiting = np.union1d(known.pending, known.queued)
    unknown = np.setdiff1d(np.setdiff1d(np.setdiff1d(sealed, known.expected), known.dead), waiting)
    found(unknown, "tombstones_missing", "rows of segments belong to no chunk and have no tombstone")
    living = np.union1d(known.expected, waiting)
    found(np.intersect1d(known.dead, living), "tombstones_wrong", "chunks have a tombstone and exist")
    ids, times = np.unique(np.concatenate([sealed, known.pending, known.queued]), return_counts=True)
    found(ids[times > 1], "rows_doubled", "chunks have a vector, or wait for one, in two places")


def _check_keyword(collection: Collection, problems: list[Problem]) -> None:
    with collection.catalog.reading() as db:
        if not change_log.last(db):
            return
    folder = collection.folder / KEYWORD_FOLDER
    # Read twice where something is wrong: a writer may have replaced the files it names while they were read.
    damaged = damaged_files(folder) and set(damaged_files(folder)) & set(damaged_files(folder))
    for path in damaged:
        problems.append(Problem(f"{KEYWORD_FOLDER}/{path.name}", "keyword_damaged", "fails its checksum"))
        return
    try:
        index = KeywordIndex.open(folder, writable=False)
    except RagstoneError as error:
        problems.append(Problem(KEYWORD_FOLDER, "keyword_damaged", error.message))
        return
    message = _keyword_difference(collection, index)
    if message:
        index.refresh()  # a writer may have been faster than we are
        message = _keyword_difference(collection, index)
    if message:
        problems.append(Problem(KEYWORD_FOLDER, "keyword_differs", message))


def _keyword_difference(collection: Collection, index: KeywordIndex) -> str:
    """What is wrong with a state of the keyword index, given the changes that it is known to lack; empty if nothing."""
    held, stands = index.chunk_ids(), index.waiting_noted()
    with collection.catalog.reading() as db:
        chunks, newest = documents.chunk_ids(db), change_log.last(db)
        changes = change_log.since(db, index.sequence, newest)
    if changes is None or stands > newest:
        return f"it stands at change {stands:,}, the catalog at {newest:,}, and no log leads there"
    followed = np.union1d(np.setdiff1d(held, changes.deleted), changes.added)
    if np.array_equal(followed, chunks):
        return ""
    differing = len(np.setxor1d(followed, chunks))
    return f"it holds {len(held):,} chunks, the catalog {len(chunks):,}; {differing:,} differ"


def _check_graph(collection: Collection, problems: list[Problem]) -> None:
    with collection.catalog.reading() as db:
        if not links.are_current(db):
            problems.append(Problem("graph", "graph_differs", "its names were collected by other rules"))
            return
        differing = len(links.expected_edges(db) ^ names.edges(db))
    if differing:
        message = f"{differing:,} edges are not what the titles of documents say"
        problems.append(Problem("graph", "graph_differs", message))


def _check_acronyms(collection: Collection, problems: list[Problem]) -> None:
    with collection.catalog.reading() as db:
        if not expansions.are_current(db):
            problems.append(Problem("acronyms", "acronyms_differ", "they were collected by other rules"))
            return
        differing = expansions.differing(db)
    if differing:
        message = f"the acronyms of {differing:,} documents are not what their texts say"
        problems.append(Problem("acronyms", "acronyms_differ", message))


# -- cures -----------------------------------------------------------------------------------------------------


def _mend_segment(collection: Collection, problem: Problem) -> None:
    identity = collection.catalog.identity()
    with collection.catalog.reading() as db:
        rows = vectors.segments(db)
    for row in rows:
        if identity is not None and problem.where.endswith(row.name):
            collection.segments.mend(row, identity, DamagedError(problem.message))


def _rebuild_keyword(collection: Collection, problem: Problem) -> None:
    collection.rebuild_keyword()


def _rebuild_graph(collection: Collection, problem: Problem) -> None:
    collection.rebuild_names()


def _rebuild_acronyms(collection: Collection, problem: Problem) -> None:
    collection.rebuild_acronyms()


def _queue_lost(collection: Collection, problem: Problem) -> None:
    collection.segments.queue_lost_chunks()


def _bury(collection: Collection, problem: Problem) -> None:
    with collection.catalog.transaction() as db:
        sealed = collection.segments.sealed_chunk_ids()
        vectors.add_missing_tombstones(db, sealed)


def _unbury(collection: Collection, problem: Problem) -> None:
    with collection.catalog.transaction() as db:
        vectors.drop_wrong_tombstones(db)


def _keep_one(collection: Collection, problem: Problem) -> None:
    with collection.catalog.transaction() as db:
        sealed = collection.segments.sealed_chunk_ids()
        vectors.drop_doubled(db, sealed)
    if len(np.unique(sealed)) < len(sealed):
        collection.compact()  # merging takes each chunk once


_MENDERS: dict[str, Callable[[Collection, Problem], None]] = {
    "segment_damaged": _mend_segment,
    "vectors_lost": _queue_lost,
    "tombstones_missing": _bury,
    "tombstones_wrong": _unbury,
    "rows_doubled": _keep_one,
    "keyword_damaged": _rebuild_keyword,
    "keyword_differs": _rebuild_keyword,
    "graph_differs": _rebuild_graph,
    "acronyms_differ": _rebuild_acronyms,
}
