"""Files that a program hands over under names of its own: an upload lies under a random name and then goes away."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from ragstone.chunking.chunker import chunk_document
from ragstone.collection import Collection
from ragstone.documents.pool import ReaderPool
from ragstone.errors import CancelledError, DocumentError
from ragstone.filling import Prepared, commit_documents, embed_queue, identity_of, seal_tail
from ragstone.store import storing
from ragstone.types import Embedder, FailedDocument, IndexProgress, IndexReport, ParsedDocument


@dataclass(frozen=True, slots=True)
class GivenFile:
    """A file at `path`, to be known as `uri`; `name` is what people call it, and gives a title where the text has
    none. The extension of `path` says what reads it."""

    path: Path
    uri: str
    name: str


def add_files(
    collection: Collection,
    files: Sequence[GivenFile],
    *,
    embedder: Embedder,
    pool: ReaderPool,
    chunk_tokens: int | None,
    progress: Callable[[IndexProgress], None],
    cancelled: Callable[[], bool],
) -> IndexReport:
    """Read, commit and embed files; each is durable and found by keyword once `progress` names its uri.

    Raises `CancelledError` when `cancelled()` turns true; what was acknowledged is kept.
    """
    started_s = time.monotonic()
    max_tokens = min(chunk_tokens or embedder.max_tokens, embedder.max_tokens)
    failed: list[FailedDocument] = []
    indexed = chunks = 0
    with collection.writing():
        collection.catalog.settle_identity(identity_of(embedder))
        for file, outcome in _read(files, pool):
            if cancelled():
                raise CancelledError("indexing was stopped", hint="hand the remaining files over again")
            try:
                prepared = _prepared(file, outcome, embedder, max_tokens)
            except DocumentError as error:
                failed.append(FailedDocument(file.uri, error.code, error.message))
                continue
            chunks += commit_documents(collection, [prepared])
            indexed += 1
            progress(IndexProgress("read", indexed + len(failed), len(files), file.uri))
        embedded = embed_queue(collection, embedder, progress=progress, cancelled=cancelled)
        seal_tail(collection)
    return IndexReport(
        indexed=indexed,
        unchanged=0,
        removed=0,
        failed=tuple(failed),
        chunks=chunks,
        embedded=embedded,
        seconds=time.monotonic() - started_s,
    )


def _read(
    files: Sequence[GivenFile], pool: ReaderPool
) -> Iterator[tuple[GivenFile, ParsedDocument | DocumentError]]:
    outcomes = pool.read_many(file.path for file in files)
    for file, (_, outcome) in zip(files, outcomes, strict=True):
        yield file, outcome


def _prepared(
    file: GivenFile, outcome: ParsedDocument | DocumentError, embedder: Embedder, max_tokens: int
) -> Prepared:
    if isinstance(outcome, DocumentError):
        raise outcome
    if outcome.title == file.path.stem:  # the reader found none and took the file's own name
        outcome = replace(outcome, title=PurePath(file.name).stem)
    chunks = chunk_document(outcome, tokens=embedder, max_tokens=max_tokens)
    if not chunks:
        raise DocumentError("holds no text", code="no_text")
    with file.path.open("rb") as content:
        sha256 = hashlib.file_digest(content, "sha256").digest()
    size_bytes = file.path.stat().st_size
    return Prepared(storing.Source(file.uri, size_bytes, time.time_ns(), sha256), outcome, chunks)
