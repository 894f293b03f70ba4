"""What fills a collection, however documents come to it: text committed, the queue embedded, the tail sealed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ragstone.chunking.chunker import CHUNKER_VERSION
from ragstone.collection import SEAL_ROWS, TAIL_ROWS, Collection
from ragstone.errors import CancelledError
from ragstone.expansions import acronyms_of
from ragstone.index.segment_files import METRIC
from ragstone.links import name_keys
from ragstone.store import documents, storing, vectors
from ragstone.store.catalog import Identity
from ragstone.types import Chunk, Embedder, IndexProgress, ParsedDocument, TokenEmbedder

# Chunks embedded and committed together. The embedder's workers wait for each other once per slice:
# 512 long texts take 3.6 s on two cores, the wait at most one batch in 64.
EMBED_SLICE = 512
# Chunks read from the queue and sorted by tokens: padding costs 1.11× sorted against 1.95× as they come.
EMBED_WINDOW = 4_096

Progress = Callable[[IndexProgress], None]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A document ready to be committed."""

    source: storing.Source
    document: ParsedDocument
    chunks: Sequence[Chunk]


def identity_of(embedder: Embedder) -> Identity:
    """What a collection filled with `embedder` has in common."""
    return Identity(embedder.model_id, embedder.dim, METRIC, CHUNKER_VERSION)


def commit_documents(collection: Collection, batch: Sequence[Prepared]) -> int:
    """Commit documents and make them findable by keyword; the number of chunks new to the catalog.

    Text that the collection already has a vector for (a renamed file, say) takes it over.
    """
    written = 0
    snapshot = collection.snapshot()
    with collection.catalog.transaction() as db:
        first_new = documents.last_chunk_id(db) + 1
        for item in batch:
            stored = storing.put_document(
                db,
                item.source,
                item.document,
                item.chunks,
                names=name_keys(item.document.title),
                acronyms=acronyms_of(item.document.text),
            )
            written += len(stored.new_chunks)
        twins = vectors.twins_with_vectors(db, first_new)
        if twins and snapshot.dense is not None:
            found = snapshot.dense.vectors(np.array([twin for _, _, twin in twins], dtype=np.int64))
            known = ~np.isnan(found[:, 0])
            taken = [twin for twin, is_known in zip(twins, known, strict=True) if is_known]
            vectors.add_vectors(
                db,
                [chunk for chunk, _, _ in taken],
                [document for _, document, _ in taken],
                found[known],
                vectors.token_signs(db, [twin for _, _, twin in taken]),
            )
    collection.follow_changes()
    return written


def embed_queue(
    collection: Collection, embedder: Embedder, *, progress: Progress, cancelled: Callable[[], bool]
) -> int:
    """Embed every chunk that waits for it; how many vectors were computed. The caller holds the lock."""
    with collection.catalog.reading() as db:
        counts = documents.waiting(db)
    total, done, pending, last_id = counts.unembedded, 0, counts.pending, 0
    while True:
        with collection.catalog.reading() as db:
            window = vectors.queued_chunks(db, last_id, EMBED_WINDOW)
        if not window:
            return done
        last_id = window[-1].id
        window.sort(key=lambda chunk: chunk.tokens)
        for start in range(0, len(window), EMBED_SLICE):
            if cancelled():
                raise stopped()
            part = window[start : start + EMBED_SLICE]
            texts = [chunk.embedding_text for chunk in part]
            signs: list[bytes] = []
            if isinstance(embedder, TokenEmbedder):
                rows, signs = embedder.embed_documents_and_tokens(texts)
            else:
                rows = embedder.embed_documents(texts)
            with collection.catalog.transaction() as db:
                ids, owners = [chunk.id for chunk in part], [chunk.document_id for chunk in part]
                pending += vectors.add_vectors(db, ids, owners, rows, signs)
            done += len(part)
            progress(IndexProgress("embed", done, max(total, done)))
            if pending >= SEAL_ROWS:
                collection.seal()
                pending = 0


def seal_tail(collection: Collection) -> None:
    """Seal what waits, unless it is so little that opening reads it from the catalog as fast."""
    with collection.catalog.reading() as db:
        pending = documents.waiting(db).pending
    if pending >= TAIL_ROWS:
        collection.seal()
        collection.catalog.give_back_pages()


def stopped() -> CancelledError:
    """What is raised when a run is to end early."""
    return CancelledError("indexing was stopped", hint="the same command goes on from here")
