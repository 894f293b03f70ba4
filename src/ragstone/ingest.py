"""Index a folder, top to bottom: walk, compare, read, chunk, commit text, embed, commit vectors, seal.

Text is committed first, for the whole folder: it can be found by keyword within seconds, and the catalog
itself is the bounded queue of what is still to embed. Killed anywhere, what was acknowledged is there and the
same call does the rest.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ragstone.answering.chat_model import ChatModel
from ragstone.chunking.chunker import chunk_document
from ragstone.collection import Collection
from ragstone.documents.pool import ReaderPool
from ragstone.documents.walk import FileEntry, walk
from ragstone.errors import DocumentError, InputError
from ragstone.filling import (
    Prepared,
    Progress,
    commit_documents,
    embed_queue,
    identity_of,
    seal_tail,
    stopped,
)
from ragstone.naming import forget_names, name_documents
from ragstone.store import documents, storing
from ragstone.types import (
    Degraded,
    Embedder,
    FailedDocument,
    IndexProgress,
    IndexReport,
)

# A commit of text: often enough to be found at once and to lose little, rarely enough that the fsyncs and
# the keyword index's own commit (≈ 20 ms) stay under 2 % of the time.
COMMIT_SECONDS = 1.0
COMMIT_CHARS = 8_000_000
# Failures that may pass by themselves are tried again at each run.
PASSING_FAILURES = frozenset({"timeout", "unreadable"})


@dataclass(slots=True)
class _Tally:
    """What a run has done so far."""

    indexed: int = 0
    unchanged: int = 0
    removed: int = 0
    failed: list[FailedDocument] = field(default_factory=list)
    chunks: int = 0
    embedded: int = 0
    degraded: tuple[Degraded, ...] = ()
    started_s: float = field(default_factory=time.monotonic)

    def report(self) -> IndexReport:
        return IndexReport(
            indexed=self.indexed,
            unchanged=self.unchanged,
            removed=self.removed,
            failed=tuple(self.failed),
            chunks=self.chunks,
            embedded=self.embedded,
            seconds=time.monotonic() - self.started_s,
            degraded=self.degraded,
        )


@dataclass(frozen=True, slots=True)
class _Plan:
    """What the walk found, against the catalog: files to look into, and documents whose files are gone."""

    changed: tuple[FileEntry, ...]
    known: dict[str, documents.DocumentState]
    vanished: tuple[int, ...]


def index_files(
    collection: Collection,
    roots: Sequence[Path],
    *,
    embedder: Embedder,
    pool: ReaderPool,
    max_file_bytes: int,
    chunk_tokens: int | None,
    progress: Progress,
    cancelled: Callable[[], bool],
    namer: ChatModel | None = None,
    namer_timeout_s: float = 60.0,
    titles_only: bool = False,
) -> IndexReport:
    """Bring the collection in step with files and folders; documents below `roots` that are gone are removed.

    `namer` is asked what each document of the collection is about, `namer_timeout_s` at most for each; without one
    what was found before stays, unless it is to be `titles_only`.
    Raises `LockedError`, `MismatchError`, `NotFoundError` before anything is written, `CancelledError` when
    `cancelled()` turns true, `DiskFullError` when the disk does; what was acknowledged is kept.
    """
    tally = _Tally()
    max_tokens = min(chunk_tokens or embedder.max_tokens, embedder.max_tokens)
    with collection.writing():
        plan = _compare(collection, roots, max_file_bytes, tally, progress)
        if not (plan.changed or plan.known or tally.failed):
            raise InputError(
                f"no documents in {', '.join(map(str, roots))}",
                hint="name a folder that holds some; hidden files, ignored files and media are passed over",
            )
        collection.catalog.settle_identity(identity_of(embedder))
        entries = _changed_content(collection, plan, tally)
        prepared = _read(entries, pool, embedder, max_tokens, collection, tally, cancelled)
        _commit_all(collection, prepared, total=len(plan.changed), tally=tally, progress=progress)
        _remove(collection, plan.vanished, tally)
        collection.sync_keyword()  # also with what a stopped run committed and did not get to
        tally.embedded = embed_queue(collection, embedder, progress=progress, cancelled=cancelled)
        if cancelled():
            raise stopped()
        progress(IndexProgress("seal", 0, 1))
        seal_tail(collection)
        if (tally.embedded or tally.removed) and collection.compaction_due():
            collection.compact()
        progress(IndexProgress("seal", 1, 1))
        if titles_only:
            forget_names(collection)
        if namer is not None:
            tally.degraded = name_documents(
                collection, namer, timeout_s=namer_timeout_s, progress=progress, cancelled=cancelled
            )
    return tally.report()


# -- what is new, changed, gone ----------------------------------------------------------------------------


def _compare(
    collection: Collection, roots: Sequence[Path], max_file_bytes: int, tally: _Tally, progress: Progress
) -> _Plan:
    known: dict[str, documents.DocumentState] = {}
    failures: dict[str, documents.KnownFailure] = {}
    with collection.catalog.reading() as db:
        for root in roots:
            uri = str(root)
            known |= documents.states_below(db, uri)
            failures |= documents.failures_below(db, uri)
    changed: list[FileEntry] = []
    present: set[str] = set()
    unreadable: list[str] = []
    seen = 0
    for item in walk(roots, max_bytes=max_file_bytes):
        seen += 1
        if not isinstance(item, FileEntry):
            tally.failed.append(FailedDocument(item.path, item.code, item.message))
            unreadable.append(item.path)
            continue
        present.add(item.uri)
        state, failure = known.get(item.uri), failures.get(item.uri)
        looks = (item.size_bytes, item.mtime_ns)
        if state is not None and looks == (state.size_bytes, state.modified_ns):
            tally.unchanged += 1
        elif failure is not None and looks == (failure.size_bytes, failure.modified_ns):
            tally.failed.append(FailedDocument(item.uri, failure.code, failure.message))
        else:
            changed.append(item)
        if seen % 1000 == 0:
            progress(IndexProgress("scan", seen, 0))
    progress(IndexProgress("scan", seen, seen))
    # A folder or file that could not be looked at says nothing about what is in it.
    vanished = [
        state.id
        for uri, state in known.items()
        if uri not in present and not any(uri == bad or uri.startswith(bad + "/") for bad in unreadable)
    ]
    return _Plan(tuple(changed), known, tuple(vanished))


def _changed_content(
    collection: Collection, plan: _Plan, tally: _Tally
) -> Iterator[tuple[FileEntry, storing.Source]]:
    """The files whose content differs from what the catalog has; those merely touched are noted as such."""
    touched: list[tuple[int, storing.Source]] = []
    for entry in plan.changed:
        try:
            sha256 = _file_sha256(entry.path)
        except OSError as error:
            message = f"cannot be read: {error.strerror}"
            tally.failed.append(FailedDocument(entry.uri, "unreadable", message))
            continue
        source = storing.Source(entry.uri, entry.size_bytes, entry.mtime_ns, sha256)
        state = plan.known.get(entry.uri)
        if state is not None and state.content_sha256 == sha256:
            tally.unchanged += 1
            touched.append((state.id, source))
        else:
            yield entry, source
    with collection.catalog.transaction() as db:
        for document_id, source in touched:
            storing.touch_document(db, document_id, source)


def _file_sha256(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _remove(collection: Collection, document_ids: Sequence[int], tally: _Tally) -> None:
    if not document_ids:
        return
    with collection.catalog.transaction() as db:
        storing.delete_documents(db, document_ids)
    tally.removed = len(document_ids)


# -- text ----------------------------------------------------------------------------------------------------


def _read(
    entries: Iterator[tuple[FileEntry, storing.Source]],
    pool: ReaderPool,
    embedder: Embedder,
    max_tokens: int,
    collection: Collection,
    tally: _Tally,
    cancelled: Callable[[], bool],
) -> Iterator[Prepared]:
    """Documents read and chunked, in the order of their files; failures are noted and passed over."""
    sources: dict[Path, storing.Source] = {}

    def paths() -> Iterator[Path]:
        for entry, source in entries:
            sources[entry.path] = source
            yield entry.path

    for path, outcome in pool.read_many(paths()):
        if cancelled():
            raise stopped()
        source = sources.pop(path)
        try:
            if isinstance(outcome, DocumentError):
                raise outcome
            chunks = chunk_document(outcome, tokens=embedder, max_tokens=max_tokens)
            if not chunks:
                raise DocumentError("holds no text", code="no_text")
            yield Prepared(source, outcome, chunks)
        except DocumentError as error:
            tally.failed.append(FailedDocument(source.uri, error.code, error.message))
            if error.code not in PASSING_FAILURES:
                with collection.catalog.transaction() as db:
                    storing.put_failure(db, source.uri, source.size_bytes, source.modified_ns, error)


def _commit_all(
    collection: Collection, prepared: Iterator[Prepared], *, total: int, tally: _Tally, progress: Progress
) -> None:
    """Commit documents in batches; each is acknowledged once it is durable and can be found by keyword."""
    batch: list[Prepared] = []
    chars = 0
    last_commit_s = time.monotonic()

    def commit() -> None:
        nonlocal chars, last_commit_s
        tally.chunks += commit_documents(collection, batch)
        for item in batch:
            tally.indexed += 1
            progress(IndexProgress("read", tally.indexed, total, item.source.uri))
        batch.clear()
        chars, last_commit_s = 0, time.monotonic()

    try:
        for item in prepared:
            batch.append(item)
            chars += len(item.document.text)
            if chars >= COMMIT_CHARS or time.monotonic() - last_commit_s >= COMMIT_SECONDS:
                commit()
    finally:
        if batch:  # also when cancelled: what has been read is worth keeping
            commit()
