"""The engine: turns settings into objects and gives the two journeys, index and ask, one entrance each.

The only place that knows both `Settings` and the domain. Thread-safe; opened in milliseconds, because nothing
heavy is loaded before the first call that needs it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

from ragstone.answering.chat_model import ChatModel
from ragstone.asking import Asking
from ragstone.backup.restoring import RestoreReport
from ragstone.backup.writing import BackupReport
from ragstone.caches import EngineCaches
from ragstone.care import Care
from ragstone.changes import Changes
from ragstone.collection import Collection
from ragstone.embedding.batch_embedder import BatchEmbedder
from ragstone.engine_models import OPENAI_BASE_URL, EngineModels, model_name
from ragstone.given_files import GivenFile
from ragstone.index.plans import Plan
from ragstone.maintenance import VerifyReport
from ragstone.monitoring.monitor import PerformanceMonitor
from ragstone.open_collections import OpenCollections
from ragstone.searches import Searches
from ragstone.settings import Settings
from ragstone.stats import SearchFigures, Stats, collection_stats
from ragstone.store import documents, votes
from ragstone.store.votes import Vote
from ragstone.types import (
    Answer,
    AnswerDone,
    AnswerEvent,
    Degraded,
    DocumentInfo,
    Embedder,
    IndexProgress,
    IndexReport,
    Matrix,
    Memory,
    Metadata,
    Precision,
    Reranker,
    SearchMode,
    SearchResult,
    Turn,
)

EXTERNAL_MODEL = "external"


class Ragstone:
    """Collections of documents in one data directory: index, search, ask.

    Use as a context manager, or call `close`. Every method may be called from any thread.
    """

    def __init__(
        self,
        data_dir: str | Path | None = None,
        *,
        collection: str | None = None,
        settings: Settings | None = None,
        embedder: Embedder | None = None,
        chat_model: ChatModel | None = None,
        reranker: Reranker | None = None,
        monitor: PerformanceMonitor | None = None,
    ) -> None:
        """Open a data directory; nothing is created or loaded until it is needed.

        `settings` defaults to `Settings.load()`; `data_dir` and `collection` win over it. `embedder`, `chat_model`
        and `reranker` take the place of those the settings name, and are closed by their owner; a `monitor` given
        is started and stopped by its owner. Raises `SettingsError`.
        """
        given = {"data_dir": data_dir, "collection": collection}
        if settings is None:
            self._settings = Settings.load(overrides=given)
        else:
            changed = {name: value for name, value in given.items() if value is not None}
            self._settings = Settings.model_validate({**dict(settings), **changed})
        self._models = EngineModels(
            self._settings, embedder=embedder, chat_model=chat_model, reranker=reranker
        )
        self._open = OpenCollections(
            self._settings.data_dir, default=self._settings.collection, recall=self._settings.recall
        )
        self._caches = _caches(self._settings)
        self.monitor = monitor or PerformanceMonitor(folder=self._settings.data_dir)
        self.monitor.add_gauges(self._open.gauges)
        parts = (self._settings, self._models, self._open)
        self._changes = Changes(*parts, self.monitor)
        self._searches = Searches(*parts, self._caches.searches, self.monitor)
        self._asking = Asking(*parts, self._searches, self._caches.answers, self.monitor)
        self._care = Care(*parts, self._caches, self.monitor)

    # -- index a folder ----------------------------------------------------------------------------------

    def index(
        self,
        paths: Sequence[str | Path],
        *,
        collection: str | None = None,
        llm: bool | None = None,
        progress: Callable[[IndexProgress], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> IndexReport:
        """Bring a collection, the engine's own if none is named, in step with files and folders; says what was done.

        Unchanged files cost one `stat`; only changed chunks are embedded; documents whose files are gone
        from `paths` are removed. Calling it again resumes. Files that cannot be read are in the report. `llm` (the
        setting `graph_extractor` if not given): whether the chat model is asked what each document is about; False also
        forgets what it said before.
        Raises `NotFoundError`, `InputError` (nothing there), `LockedError`, `MismatchError`, `ModelError`,
        `DiskFullError`, and `CancelledError` once `cancelled()` is true; what was acknowledged is kept.
        """
        return self._changes.index(
            paths, collection=collection, llm=llm, progress=progress, cancelled=cancelled
        )

    def add_files(
        self,
        files: Sequence[GivenFile],
        *,
        collection: str | None = None,
        progress: Callable[[IndexProgress], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> IndexReport:
        """Add files under uris of the caller's choice, whatever they are called on disk; they may go afterwards.

        A file replaces the document with the same uri, and none is ever removed because its file is gone. Files that
        cannot be read are in the report, by uri. Raises the errors of `index`.
        """
        return self._changes.add_files(files, collection=collection, progress=progress, cancelled=cancelled)

    def add(
        self,
        texts: Sequence[str],
        *,
        collection: str | None = None,
        uris: Sequence[str] | None = None,
        titles: Sequence[str] | None = None,
        metadata: Sequence[Metadata] | None = None,
        vectors: npt.ArrayLike | None = None,
        model: str = EXTERNAL_MODEL,
        precision: Precision = "float16",
    ) -> list[str]:
        """Add texts without files; their uris, in order. A text replaces the one with the same uri.

        `uris` default to `text:` and a hash of the text, `titles` to nothing. With `vectors`, (n, dim)
        finite and not zero, each text is one chunk and nothing is embedded; they are scaled to unit length,
        and `model` names what made them. `precision` is how a collection keeps vectors, decided by its first
        write: half precision moves a cosine by less than .0005. Durable and searchable when it returns.
        Raises `InputError`, changing nothing, and the errors of `index`.
        """
        return self._changes.add(
            texts,
            collection=collection,
            uris=uris,
            titles=titles,
            metadata=metadata,
            vectors=vectors,
            model=model,
            precision=precision,
        )

    def delete(self, uris: Sequence[str], *, collection: str | None = None) -> int:
        """Remove documents; how many. Raises `NotFoundError` for an unknown uri and then removes none."""
        return self._changes.delete(uris, collection=collection)

    def drop(self, collection: str) -> int:
        """Remove a whole collection with its folder; how many documents it had. There is no way back.

        Searches that run in it meanwhile may fail with `StoreError`. Raises `NotFoundError`, `LockedError`,
        `InputError` for a memory (`forget` empties those), and `StoreError` when a shared cache does not answer.
        """
        return self._care.drop(collection)

    def backup(
        self,
        path: str | Path,
        *,
        collections: Sequence[str] | None = None,
        progress: Callable[[int, int], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> BackupReport:
        """Write collections, the engine's own if none is named, with their memories into one new file.

        Each as it is at one moment, also while it is read and written. Keys, settings and a memory in Redis are not in
        it. `progress` is told bytes done and in all. Raises `NotFoundError`, and as `backup.writing.back_up`.
        """
        return self._care.backup(path, collections=collections, progress=progress, cancelled=cancelled)

    def restore(
        self,
        path: str | Path,
        *,
        collection: str | None = None,
        replace: bool = False,
        progress: Callable[[int, int], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> RestoreReport:
        """Put the collections of a backup in place, checked first, under their names or the only one as `collection`.

        A collection of that name is kept unless it is to be replaced, and then until the new one has been opened and
        checked. Raises as `backup.restoring.restore`.
        """
        return self._care.restore(
            path, collection=collection, replace=replace, progress=progress, cancelled=cancelled
        )

    # -- ask a question ----------------------------------------------------------------------------------

    def search(
        self,
        query: str,
        *,
        top_k: int | None = None,
        mode: SearchMode = "hybrid",
        filter: str | None = None,  # noqa: A002  - the word users know
        collections: Sequence[str] | None = None,
        vector: npt.ArrayLike | None = None,
        recall: float | None = None,
        graph: bool | None = None,
        rerank: bool | None = None,
    ) -> SearchResult:
        """The best chunks for a query, best first.

        `top_k` is 1 to 1,000 (the setting `top_k` if not given); `filter` is the language of
        `ragstone.store.filters` and always leaves `top_k` hits where so many match; several `collections`
        are merged by score; `vector` (dim,) stands in for the query's embedding; `recall`, above 0 and up to
        1.0 (exact), is the share of the true nearest chunks to find where an index is approximate; `graph` (the
        setting if not given): whether hybrid mode follows the names of documents; `rerank`: whether the reranker
        judges the best of hybrid mode, which it does if there is one and nothing is said. What could not take part is
        in `degraded`. Raises `InputError`, `NotFoundError`, `MismatchError`.
        """
        return self._searches.search(
            query,
            top_k=top_k,
            mode=mode,
            filter=filter,
            collections=collections,
            vector=vector,
            recall=recall,
            graph=graph,
            rerank=rerank,
        )

    def graph_search(
        self,
        query: str,
        *,
        top_k: int = 8,
        filter: str | None = None,  # noqa: A002  - the word users know
        collections: Sequence[str] | None = None,
    ) -> SearchResult:
        """Only what the graph of names leads to: chunks of documents that the query names, or that the passages which
        fit it best name; best first, and in `names` which they were. Otherwise like `search`.
        """
        return self._searches.search(
            query, top_k=top_k, filter=filter, collections=collections, rerank=False, by_names_alone=True
        )

    def ask(
        self,
        question: str,
        *,
        top_k: int | None = None,
        filter: str | None = None,  # noqa: A002  - the word users know
        collections: Sequence[str] | None = None,
        history: Sequence[Turn] = (),
        memories: Sequence[Memory] = (),
    ) -> Answer:
        """An answer from the documents, with checked citations; see `ask_stream`."""
        for event in self.ask_stream(
            question,
            top_k=top_k,
            filter=filter,
            collections=collections,
            history=history,
            memories=memories,
        ):
            if isinstance(event, AnswerDone):
                return event.answer
        raise AssertionError("an answer ends with AnswerDone")

    def ask_stream(
        self,
        question: str,
        *,
        top_k: int | None = None,
        filter: str | None = None,  # noqa: A002  - the word users know
        collections: Sequence[str] | None = None,
        history: Sequence[Turn] = (),
        memories: Sequence[Memory] = (),
        cancelled: Callable[[], bool] | None = None,
    ) -> Generator[AnswerEvent, None, None]:
        """The events of an answer: the sources, pieces of text, and last the whole with checked citations.

        `top_k` chunks (the setting `answer_k` if not given) may be cited. When the documents do not hold
        the answer it says so and calls no model. `memories` that fit the question, best first, go to the chat model
        beside the documents (`memory.answering` finds them). Closing the iterator, or `cancelled()`, stops the model.
        Raises `InputError`, `NotFoundError`, and `ModelError` when the chat model fails midway.
        """
        return self._asking.events(
            question,
            top_k=top_k,
            filter=filter,
            collections=collections,
            history=history,
            memories=memories,
            cancelled=cancelled,
        )

    # -- say what was right ------------------------------------------------------------------------------

    def vote(self, query: str, chunk_id: int, value: float = 1.0, *, collection: str | None = None) -> int:
        """Say that a hit was right for a query (1) or wrong (-1), or anything between; the vote's id.

        It moves the chunk's score by at most 15 %, for this query and those that ask the same in other words, and goes
        with the chunk. The latest 4,096 count. Raises `InputError`, `NotFoundError`.
        """
        return self._searches.vote(collection, query, chunk_id, value)

    def votes(self, *, collection: str | None = None) -> list[Vote]:
        """The votes of the collection, oldest first."""
        with self._collection(collection).catalog.reading() as db:
            return votes.every(db)

    def take_back_votes(self, ids: Sequence[int] | None = None, *, collection: str | None = None) -> int:
        """Undo votes, all of them if no ids are given; how many there were."""
        with self._collection(collection).catalog.transaction() as db:
            return votes.remove(db, ids)

    # -- look -----------------------------------------------------------------------------------------------

    def documents(
        self,
        *,
        filter: str | None = None,  # noqa: A002  - the word users know
        collection: str | None = None,
    ) -> list[DocumentInfo]:
        """The documents (that pass a filter) of a collection, the engine's own if none is named, by uri."""
        with self._collection(collection).catalog.reading() as db:
            return documents.list_documents(db, filter_text=filter)

    def document(self, uri: str, *, collection: str | None = None) -> tuple[DocumentInfo, str]:
        """A document and its whole text, into which spans of hits and citations point.

        `collection` is a hit's, where it is not the engine's own. Raises `NotFoundError`.
        """
        catalog = self._collection(collection).catalog
        with catalog.reading() as db:
            (document_id,) = documents.document_ids(db, [uri])
            return documents.document_info(db, document_id), documents.document_text(db, document_id)

    @property
    def settings(self) -> Settings:
        """What the engine was opened with."""
        return self._settings

    def embedder(self) -> Embedder:
        """The engine's embedding model, loaded now if it was not; the engine closes it. Raises `ModelError`."""
        return self._models.embedder()

    def reranker(self) -> Reranker | None:
        """What judges the best hits, loaded now if it was not; None where none is set. Raises `ModelError`."""
        return self._models.reranker() if self._models.has_reranker else None

    @property
    def collection(self) -> str:
        """The name of the collection that is meant where none is named."""
        return self._settings.collection

    def collections(self) -> list[str]:
        """The names of the collections of documents in the data directory; memories are not among them."""
        return self._open.names()

    @property
    def model(self) -> str:
        """What clients call the embedding model."""
        return model_name(self._settings)

    def version(self, collections: Sequence[str] | None = None) -> tuple[tuple[str, int], ...]:
        """What differs from before whenever anybody has written to the collections (the engine's own if not given).

        Means something to this engine only; some microseconds each. Raises `NotFoundError`.
        """
        return self._open.versions(self._open.chosen(collections))

    def stats(self, *, collection: str | None = None) -> Stats:
        """The collection in numbers; zeros for the engine's own before the first write.

        Raises `NotFoundError` for another collection that is not there.
        """
        name, names = collection or self._settings.collection, tuple(self.collections())
        if collection is not None and collection not in {*names, self._settings.collection}:
            raise self._open.missing(collection)
        return replace(
            collection_stats(self._collection(name) if name in names else None, name),
            collections=names,
            recall=self._open.recall_keeper(name).summary(),
            latencies_ms=self.monitor.latencies(),
            caches=self._caches.stats(self._models.loaded_embedder),
            degraded=self._searches.missed.counts(),
        )

    def search_figures(self) -> SearchFigures:
        """What the searches of this engine have come to; some microseconds, and asks nobody."""
        return SearchFigures(
            caches=self._caches.search_stats(self._models.loaded_embedder),
            recall=self._open.observed(),
            degraded=self._searches.missed.counts(),
        )

    def batch_embedder(
        self,
        batch_size: int = 32,
        cache_size: int = 1000,
        queue_timeout: float = 0.1,
        *,
        p95_ms: float | None = None,
    ) -> BatchEmbedder:
        """The engine's model for many callers at once, its vectors shared where a Redis is set; see `BatchEmbedder`.

        The caller stops it before the engine is closed. Raises `ModelError`.
        """
        return BatchEmbedder(
            self._models.embedder(),
            batch_size,
            cache_size,
            queue_timeout,
            p95_ms=p95_ms,
            shared=self._caches.shared,
        )

    def forget_caches(self) -> None:
        """Drop every kept answer and search result, in a shared cache too. Raises `StoreError` when that is away."""
        self._caches.forget()

    def metrics_text(self) -> str:
        """What the engine's monitor has seen, in Prometheus's text format."""
        return self.monitor.to_prometheus()

    def sample_vectors(self, limit: int, *, collection: str | None = None) -> Matrix:
        """(≤ limit, dim) float32 unit vectors, spread evenly over the collection's; (0, 0) when it is empty."""
        dense = self._collection(collection).snapshot().dense
        return np.empty((0, 0), np.float32) if dense is None else dense.sample(limit)

    # -- care -----------------------------------------------------------------------------------------------

    def verify(self) -> VerifyReport:
        """Read every byte of the collection and compare its parts; changes nothing."""
        return self._care.verify()

    def repair(self) -> VerifyReport:
        """Mend what `verify` finds, embedding again what was lost. Raises `LockedError`."""
        return self._care.repair()

    def embed_waiting(self) -> int:
        """Embed the chunks that wait for a vector (after a repair or a stopped run); how many."""
        return self._care.embed_waiting()

    def name_documents(self) -> tuple[Degraded, ...]:
        """Ask the chat model for the names of documents it was not asked about (added by a program, or left by a run
        that failed); what it could not be asked about. Raises `InputError` without one, `LockedError`.
        """
        return self._care.name_documents()

    def compact(self) -> None:
        """Rewrite the collection's segments as one, without deleted rows, with the index that suits its size."""
        self._care.compact()

    def purge(self) -> None:
        """Leave nothing of deleted documents on disk, in any file of the collection; costs a rewrite of it.

        Nor in a shared cache. Raises `LockedError`; `StoreError` while another process still reads an older state, or
        the shared cache does not answer.
        """
        self._care.purge()

    def apply_plan(self, plan: Plan, *, recall: float, collection: str | None = None) -> None:
        """Switch the collection to an index plan (from `ragstone.index.plans.make_plan`) and keep it.

        The new index is built beside the old one, measured, and only then swapped in; searches go on meanwhile.
        Raises `MismatchError`, changing nothing, when it does not reach `recall`; `LockedError`.
        """
        self._care.apply_plan(plan, recall=recall, collection=collection)

    def rollback_plan(self, *, collection: str | None = None) -> Plan | None:
        """Return to the plan before the one applied last; None: the collection chooses by its size again.

        Raises `InputError` when none was applied, `LockedError`.
        """
        return self._care.rollback_plan(collection=collection)

    def applied_plan(self, *, collection: str | None = None) -> Plan | None:
        """The index plan that was applied last; None: the collection chooses by its size."""
        return self._collection(collection).segments.applied_plan()

    def warm_up(self, *, check: bool = True) -> None:
        """Load the models, open the collection and search it once; `check`: verify, and mend, its files in the
        background."""
        self._models.embedder().embed_query("warm up")
        if self._models.has_reranker:
            self._models.reranker()
        if self._settings.collection in self.collections():
            self._collection().snapshot()
            self._searches.warm_up()
            if check:
                self._care.check_in_background()

    def close(self) -> None:
        """Let go of files, threads and models; calling it again does nothing."""
        if not self._care.closing.is_set():
            self.monitor.remove_gauges(self._open.gauges)
        self._care.close()
        self._open.close()
        self._caches.close()
        self._models.close()

    def __enter__(self) -> Ragstone:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _collection(self, name: str | None = None, *, create: bool = False) -> Collection:
        return self._open.get(name, create=create)


def _caches(settings: Settings) -> EngineCaches:
    url = settings.cache_redis_url
    return EngineCaches(
        answers_s=settings.answer_cache_s,
        searches=settings.search_cache,
        redis_url=url.get_secret_value() if url else None,
        answers_of=settings.chat_base_url or OPENAI_BASE_URL,
    )
