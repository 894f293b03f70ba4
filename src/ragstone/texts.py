"""Texts given by a program: checked, chunked or taken with their vectors, committed."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ragstone.chunking.chunker import CHUNKER_VERSION, chunk_document
from ragstone.collection import SEAL_ROWS, Collection
from ragstone.errors import InputError
from ragstone.expansions import acronyms_of
from ragstone.filling import Prepared, commit_documents, embed_queue, identity_of, seal_tail
from ragstone.index.segment_files import METRIC
from ragstone.links import name_keys
from ragstone.store import documents, storing, vectors
from ragstone.store.catalog import Identity
from ragstone.types import (
    Block,
    BlockKind,
    Chunk,
    Embedder,
    Matrix,
    Metadata,
    ParsedDocument,
    Precision,
)

COMMIT_TEXTS = 4_096  # per commit; at the usual 1–2 KB each, what a commit of files holds


@dataclass(frozen=True, slots=True)
class Text:
    """A text to add without a file; `uri` names it, and replaces what had that name."""

    uri: str
    title: str
    text: str
    metadata: Metadata


def add_texts(
    collection: Collection, texts: Sequence[Text], *, embedder: Embedder, chunk_tokens: int | None
) -> None:
    """Chunk, commit and embed texts. Durable and searchable in every mode when it returns."""
    max_tokens = min(chunk_tokens or embedder.max_tokens, embedder.max_tokens)
    with collection.writing():
        collection.catalog.settle_identity(identity_of(embedder))
        for start in range(0, len(texts), COMMIT_TEXTS):
            batch = [_prepared(text, embedder, max_tokens) for text in texts[start : start + COMMIT_TEXTS]]
            commit_documents(collection, batch)
        embed_queue(collection, embedder, progress=lambda _: None, cancelled=lambda: False)
        seal_tail(collection)


def _prepared(text: Text, embedder: Embedder, max_tokens: int) -> Prepared:
    document = plain_document(text)
    chunks = chunk_document(document, tokens=embedder, max_tokens=max_tokens)
    return Prepared(_source_of(text), document, chunks)


def add_vectors(
    collection: Collection, texts: Sequence[Text], rows: Matrix, *, model_id: str, precision: Precision
) -> None:
    """Commit texts, one chunk each, with (n, dim) unit vectors computed elsewhere.

    `precision` holds for the whole collection from its first write on.
    """
    with collection.writing():
        collection.catalog.settle_identity(
            Identity(model_id, rows.shape[1], METRIC, CHUNKER_VERSION, precision)
        )
        for start in range(0, len(texts), SEAL_ROWS):
            part = slice(start, start + SEAL_ROWS)
            _commit_with_vectors(collection, texts[part], rows[part])
            if start + SEAL_ROWS < len(texts):
                collection.seal()
        seal_tail(collection)


def _commit_with_vectors(collection: Collection, texts: Sequence[Text], rows: Matrix) -> None:
    with collection.catalog.transaction() as db:
        for text, row in zip(texts, rows, strict=True):
            # Removed first: a new vector for the same text must not leave the old one in its place.
            storing.delete_documents(db, documents.known_ids(db, [text.uri]))
            document = plain_document(text)
            chunk = Chunk(0, len(document.text), (), None, None, 0, f"{text.title}\n{document.text}")
            stored = storing.put_document(
                db,
                _source_of(text),
                document,
                [chunk],
                names=name_keys(text.title),
                acronyms=acronyms_of(document.text),
            )
            vectors.add_vectors(db, stored.new_chunks, [stored.document_id], row[None])
    collection.follow_changes()


def plain_document(text: Text) -> ParsedDocument:
    """A text as a document whose blocks are its paragraphs (stretches between blank lines)."""
    blocks: list[Block] = []
    start = end = -1
    position = 0
    for line in text.text.splitlines(keepends=True):
        if line.strip():
            if start < 0:
                start = position + len(line) - len(line.lstrip())
            end = position + len(line.rstrip())
        elif start >= 0:
            blocks.append(Block(BlockKind.PARAGRAPH, start, end))
            start = -1
        position += len(line)
    if start >= 0:
        blocks.append(Block(BlockKind.PARAGRAPH, start, end))
    if not blocks:
        raise InputError(f"text {text.uri!r} is empty", hint="leave it out; there is nothing to find in it")
    return ParsedDocument(text.text, tuple(blocks), text.title, "text", text.metadata)


def _source_of(text: Text) -> storing.Source:
    data = text.text.encode("utf-8", "surrogatepass")
    return storing.Source(text.uri, len(data), time.time_ns(), hashlib.sha256(data).digest())


def checked_texts(
    texts: Sequence[str],
    uris: Sequence[str] | None,
    titles: Sequence[str] | None,
    metadata: Sequence[Metadata] | None,
) -> list[Text]:
    """The texts of one call. Raises `InputError` that names the first one at fault; then nothing is written."""
    for name, values in (("uris", uris), ("titles", titles), ("metadata", metadata)):
        if values is not None and len(values) != len(texts):
            raise InputError(f"{len(texts)} texts, but {len(values)} {name}", hint="one for each text")
    given = []
    for number, text in enumerate(texts):
        if not text.isprintable() and any("\ud800" <= char <= "\udfff" for char in text):
            raise InputError(f"text number {number} holds half a character (a lone surrogate)")
        if not text.strip():
            raise InputError(f"text number {number} is empty", hint="leave it out; there is nothing to find")
        uri = uris[number] if uris else text_uri(text)
        entry = metadata[number] if metadata else {}
        for key, value in entry.items():
            if not isinstance(value, str | int | float | bool):
                raise InputError(
                    f"metadata {key!r} of text number {number} is {type(value).__name__}",
                    hint="values are str, int, float or bool",
                )
        given.append(Text(uri, titles[number] if titles else "", text, entry))
    return given


def text_uri(text: str) -> str:
    """What a text without a name is called; equal texts have equal names."""
    return "text:" + hashlib.sha256(text.encode()).hexdigest()[:16]


def unit_rows(vectors: npt.ArrayLike, count: int) -> Matrix:
    """(count, dim) float32 rows scaled to unit length. Raises `InputError` that names the fault."""
    rows = np.asarray(vectors, dtype=np.float32)
    if rows.ndim != 2 or len(rows) != count or not rows.shape[1]:
        raise InputError(f"vectors have shape {rows.shape}, not ({count}, dim)", hint="one row per text")
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    bad = np.flatnonzero(~np.isfinite(lengths[:, 0]) | (lengths[:, 0] == 0))
    if len(bad):
        raise InputError(f"vector number {bad[0]} is zero or not finite", hint="leave that text out")
    scaled: Matrix = rows / lengths
    return scaled
