"""What changes the documents of an engine's collections: files, texts, deletions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy.typing as npt

from ragstone import ingest
from ragstone.documents.limits import ReadLimits
from ragstone.documents.pool import ReaderPool
from ragstone.engine_models import EngineModels
from ragstone.errors import NotFoundError
from ragstone.given_files import GivenFile, add_files
from ragstone.monitoring.monitor import PerformanceMonitor
from ragstone.monitoring.timing import timed
from ragstone.open_collections import OpenCollections
from ragstone.settings import Settings
from ragstone.store import documents, storing
from ragstone.texts import add_texts, add_vectors, checked_texts, unit_rows
from ragstone.types import IndexProgress, IndexReport, Metadata, Precision


class Changes:
    """What `settings` say of documents, put to collections. Thread-safe."""

    def __init__(
        self,
        settings: Settings,
        models: EngineModels,
        collections: OpenCollections,
        monitor: PerformanceMonitor,
    ) -> None:
        self._settings = settings
        self._models = models
        self._collections = collections
        self.monitor = monitor

    @timed
    def index(
        self,
        paths: Sequence[str | Path],
        *,
        collection: str | None,
        llm: bool | None,
        progress: Callable[[IndexProgress], None] | None,
        cancelled: Callable[[], bool] | None,
    ) -> IndexReport:
        """As `Ragstone.index`."""
        roots = [Path(path).expanduser().resolve() for path in paths]
        for root in roots:
            if not root.exists():
                raise NotFoundError(f"no file or folder {root}", hint="check the path; nothing was changed")
        asks = self._settings.graph_extractor == "llm" if llm is None else llm
        namer = self._models.namer() if asks else None
        with self._readers() as pool:
            return ingest.index_files(
                self._collections.of_documents(collection, create=True),
                roots,
                embedder=self._models.embedder(),
                pool=pool,
                max_file_bytes=self._settings.max_file_bytes,
                chunk_tokens=self._settings.chunk_tokens,
                progress=progress or (lambda _: None),
                cancelled=cancelled or (lambda: False),
                namer=namer,
                namer_timeout_s=self._settings.chat_timeout_s,
                titles_only=llm is False,
            )

    @timed
    def add_files(
        self,
        files: Sequence[GivenFile],
        *,
        collection: str | None,
        progress: Callable[[IndexProgress], None] | None,
        cancelled: Callable[[], bool] | None,
    ) -> IndexReport:
        """As `Ragstone.add_files`."""
        with self._readers() as pool:
            return add_files(
                self._collections.of_documents(collection, create=True),
                files,
                embedder=self._models.embedder(),
                pool=pool,
                chunk_tokens=self._settings.chunk_tokens,
                progress=progress or (lambda _: None),
                cancelled=cancelled or (lambda: False),
            )

    @timed
    def add(
        self,
        texts: Sequence[str],
        *,
        collection: str | None,
        uris: Sequence[str] | None,
        titles: Sequence[str] | None,
        metadata: Sequence[Metadata] | None,
        vectors: npt.ArrayLike | None,
        model: str,
        precision: Precision,
    ) -> list[str]:
        """As `Ragstone.add`."""
        given = checked_texts(texts, uris, titles, metadata)
        if not given:
            return []
        if vectors is not None:
            rows = unit_rows(vectors, len(given))
            home = self._collections.of_documents(collection, create=True)
            add_vectors(home, given, rows, model_id=model, precision=precision)
        else:
            home = self._collections.of_documents(collection, create=True)
            add_texts(home, given, embedder=self._models.embedder(), chunk_tokens=self._settings.chunk_tokens)
        return [text.uri for text in given]

    @timed
    def delete(self, uris: Sequence[str], *, collection: str | None) -> int:
        """As `Ragstone.delete`."""
        home = self._collections.of_documents(collection)
        with home.writing():
            with home.catalog.transaction() as db:
                ids = documents.document_ids(db, list(dict.fromkeys(uris)))
                storing.delete_documents(db, ids)
            home.follow_changes()
        return len(ids)

    def _readers(self) -> ReaderPool:
        limits = ReadLimits(file_bytes=self._settings.max_file_bytes)
        return ReaderPool(workers=self._settings.reader_workers, limits=limits)
