"""The engine: turns settings into objects and gives the two journeys, index and ask, one entrance each.

The only place that knows both `Settings` and the domain. Thread-safe; opened in milliseconds, because nothing
heavy is loaded before the first call that needs it.
"""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Concatenate, ParamSpec, TypeVar

import numpy as np
import numpy.typing as npt

from ragstone import deadlines, ingest, maintenance, naming, searching
from ragstone.answering.answer import answer_events
from ragstone.answering.chat_model import ChatModel
from ragstone.answering.prompt import standalone_question
from ragstone.backup.restoring import RestoreReport, restore
from ragstone.backup.writing import BackupReport, back_up
from ragstone.caches import EngineCaches
from ragstone.collection import MEMORY_SUFFIX, Collection, documents_only
from ragstone.documents.limits import ReadLimits
from ragstone.documents.pool import ReaderPool
from ragstone.embedding.batch_embedder import BatchEmbedder
from ragstone.engine_models import OPENAI_BASE_URL, EngineModels, model_name
from ragstone.errors import NotFoundError, RagstoneError
from ragstone.expansions import reworded
from ragstone.given_files import GivenFile, add_files
from ragstone.index.plans import Plan
from ragstone.maintenance import VerifyReport
from ragstone.monitoring.monitor import PerformanceMonitor
from ragstone.monitoring.timing import PerformanceTimer
from ragstone.open_collections import OpenCollections
from ragstone.queries import Query
from ragstone.retrieval.merge import merge
from ragstone.searching import search_collection
from ragstone.settings import Settings
from ragstone.stats import MissedSources, Stats, collection_stats
from ragstone.store import documents, votes
from ragstone.store.votes import Vote
from ragstone.texts import add_texts, add_vectors, checked_texts, unit_rows
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
    Metadata,
    Precision,
    Reranker,
    Scores,
    SearchMode,
    SearchResult,
    Turn,
)

EXTERNAL_MODEL = "external"

P = ParamSpec("P")
T = TypeVar("T")

logger = logging.getLogger("ragstone")


def _timed(method: Callable[Concatenate[Ragstone, P], T]) -> Callable[Concatenate[Ragstone, P], T]:
    """The method, told to the engine's monitor under its own name."""

    @functools.wraps(method)
    def timed(self: Ragstone, /, *args: P.args, **kwargs: P.kwargs) -> T:
        with PerformanceTimer(method.__name__, self.monitor):
            return method(self, *args, **kwargs)

    return timed


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
        self._open = OpenCollections(self._settings.data_dir, recall=self._settings.recall)
        self._caches = _caches(self._settings)
        self._missed = MissedSources()
        self._closing = threading.Event()
        self._checker: threading.Thread | None = None
        self._starting = threading.Lock()
        self.monitor = monitor or PerformanceMonitor(folder=self._settings.data_dir)
        self.monitor.add_gauges(self._open.gauges)

    # -- index a folder ----------------------------------------------------------------------------------

    @_timed
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
        roots = [Path(path).expanduser().resolve() for path in paths]
        for root in roots:
            if not root.exists():
                raise NotFoundError(f"no file or folder {root}", hint="check the path; nothing was changed")
        asks = self._settings.graph_extractor == "llm" if llm is None else llm
        namer = self._models.namer() if asks else None
        with self._readers() as pool:
            return ingest.index_files(
                self._writable(collection),
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

    @_timed
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
        with self._readers() as pool:
            return add_files(
                self._writable(collection),
                files,
                embedder=self._models.embedder(),
                pool=pool,
                chunk_tokens=self._settings.chunk_tokens,
                progress=progress or (lambda _: None),
                cancelled=cancelled or (lambda: False),
            )

    @_timed
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
        given = checked_texts(texts, uris, titles, metadata)
        if not given:
            return []
        if vectors is not None:
            rows = unit_rows(vectors, len(given))
            add_vectors(self._writable(collection), given, rows, model_id=model, precision=precision)
        else:
            add_texts(
                self._writable(collection),
                given,
                embedder=self._models.embedder(),
                chunk_tokens=self._settings.chunk_tokens,
            )
        return [text.uri for text in given]

    @_timed
    def delete(self, uris: Sequence[str], *, collection: str | None = None) -> int:
        """Remove documents; how many. Raises `NotFoundError` for an unknown uri and then removes none."""
        home = self._collection(documents_only(collection or self._settings.collection))
        with home.writing():
            with home.catalog.transaction() as db:
                ids = documents.document_ids(db, list(dict.fromkeys(uris)))
                documents.delete_documents(db, ids)
            home.follow_changes()
        return len(ids)

    @_timed
    def drop(self, collection: str) -> int:
        """Remove a whole collection with its folder; how many documents it had. There is no way back.

        Searches that run in it meanwhile may fail with `StoreError`. Raises `NotFoundError`, `LockedError`,
        `InputError` for a memory (`forget` empties those), and `StoreError` when a shared cache does not answer.
        """
        name = documents_only(collection)
        self._collection(name)
        self._caches.forget()
        return self._open.drop(name)

    @_timed
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
        names = list(dict.fromkeys(map(documents_only, collections or [self._settings.collection])))
        memories = [name + MEMORY_SUFFIX for name in names]
        kept = [name for name in memories if (self._open.folder / name / "catalog.sqlite").is_file()]
        return back_up(
            [self._collection(name) for name in (*names, *kept)],
            Path(path).expanduser().absolute(),
            progress=progress or (lambda done, total: None),
            cancelled=cancelled or (lambda: False),
        )

    @_timed
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
        return restore(
            Path(path).expanduser().absolute(),
            self._open,
            collection=collection,
            replace=replace,
            progress=progress or (lambda done, total: None),
            cancelled=cancelled or (lambda: False),
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
        with PerformanceTimer("search", self.monitor) as timer:
            asked = Query.checked(
                query,
                top_k=self._settings.top_k if top_k is None else top_k,
                mode=mode,
                filter=filter,
                vector=vector,
                recall=self._settings.recall if recall is None else recall,
                graph="on" if (self._settings.graph if graph is None else graph) else "off",
                rerank=self._models.rerank_depth(wanted=rerank),
                acronyms=self._settings.acronyms,
            )
            return self._searched(asked, collections, timer)

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
        with PerformanceTimer("search", self.monitor) as timer:
            asked = Query.checked(
                query,
                top_k=top_k,
                mode="hybrid",
                filter=filter,
                vector=None,
                recall=self._settings.recall,
                graph="only",
                acronyms=self._settings.acronyms,
            )
            return self._searched(asked, collections, timer)

    def _searched(
        self, asked: Query, collections: Sequence[str] | None, timer: PerformanceTimer
    ) -> SearchResult:
        names = list(collections) if collections else [self._settings.collection]
        if asked.vector is None:
            found = self._caches.searches.found(
                (asked, *names), lambda: self.version(names), lambda: self._search(asked, names)
            )
        else:
            found = self._search(asked, names)
        self._missed.note(found.degraded)
        timer.stages_ms = found.timings_ms
        stages_ms = found.timings_ms if len(names) == 1 else {}
        return replace(found, timings_ms={**stages_ms, "total": timer.elapsed_ms})

    def _search(self, asked: Query, names: Sequence[str]) -> SearchResult:
        results = [
            search_collection(
                self._collection(name),
                asked,
                self._models.embedder,
                self._open.recall_keeper(name),
                self._models.reranker,
                synonyms=self._models.synonyms(),
            )
            for name in names
        ]
        if len(results) == 1:
            return results[0]
        return SearchResult(
            hits=tuple(merge([r.hits for r in results], top_k=asked.top_k, score=lambda hit: hit.score)),
            degraded=tuple(dict.fromkeys(entry for r in results for entry in r.degraded)),
            timings_ms=_summed([r.timings_ms for r in results]),
            names=tuple(name for r in results for name in r.names),
            expansions=tuple(dict.fromkeys(entry for r in results for entry in r.expansions)),
        )

    def ask(
        self,
        question: str,
        *,
        top_k: int | None = None,
        filter: str | None = None,  # noqa: A002  - the word users know
        collections: Sequence[str] | None = None,
        history: Sequence[Turn] = (),
    ) -> Answer:
        """An answer from the documents, with checked citations; see `ask_stream`."""
        for event in self.ask_stream(
            question, top_k=top_k, filter=filter, collections=collections, history=history
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
        cancelled: Callable[[], bool] | None = None,
    ) -> Iterator[AnswerEvent]:
        """The events of an answer: the sources, pieces of text, and last the whole with checked citations.

        `top_k` chunks (the setting `answer_k` if not given) may be cited. When the documents do not hold
        the answer it says so and calls no model. Closing the iterator, or `cancelled()`, stops the model.
        Raises `InputError`, `NotFoundError`, and `ModelError` when the chat model fails midway.
        """
        with PerformanceTimer("ask", self.monitor) as timer:
            asked = standalone_question(question, history)
            found = self.search(
                asked,
                top_k=top_k or self._settings.answer_k,
                filter=filter,
                collections=collections,
            )
            events = answer_events(
                question,
                hits=found.hits,
                degraded=found.degraded,
                search_timings_ms=found.timings_ms,
                chat_model=self._models.chat_model(),
                embedder=self._models.embedder(),
                idf=self._idf(collections or [self._settings.collection]),
                history=history,
                reworded=reworded(asked, found.expansions) if found.expansions else None,
                templates=self._models.templates(),
                timeout_s=deadlines.left_s(self._settings.chat_timeout_s),
                max_context_tokens=self._settings.max_context_length,
                kept=self._caches.answers,
                cancelled=cancelled,
            )
            with closing(events):
                for event in events:
                    if isinstance(event, AnswerDone):
                        timer.stages_ms = _beside(found.timings_ms, event.answer.timings_ms)
                        break
                    yield event
        yield event  # who has the whole answer stops reading: it is recorded by then

    # -- say what was right ------------------------------------------------------------------------------

    def vote(self, query: str, chunk_id: int, value: float = 1.0, *, collection: str | None = None) -> int:
        """Say that a hit was right for a query (1) or wrong (-1), or anything between; the vote's id.

        It moves the chunk's score by at most 15 %, for this query and those that ask the same in other words, and goes
        with the chunk. The latest 4,096 count. Raises `InputError`, `NotFoundError`.
        """
        name = collection or self._settings.collection
        return searching.vote(self._collection(name), query, chunk_id, value, self._models.embedder)

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
        names = list(collections) if collections else [self._settings.collection]
        return tuple((name, self._collection(name).catalog.version()) for name in names)

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
            degraded=self._missed.counts(),
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

    @_timed
    def verify(self) -> VerifyReport:
        """Read every byte of the collection and compare its parts; changes nothing."""
        return maintenance.verify(self._collection())

    @_timed
    def repair(self) -> VerifyReport:
        """Mend what `verify` finds, embedding again what was lost. Raises `LockedError`."""
        collection = self._collection()
        report = maintenance.repair(collection)
        with collection.catalog.reading() as db:
            waiting = documents.counts(db).unembedded
        if waiting:
            self.embed_waiting()
        return report

    @_timed
    def embed_waiting(self) -> int:
        """Embed the chunks that wait for a vector (after a repair or a stopped run); how many."""
        collection, embedder = self._collection(), self._models.embedder()
        with collection.writing():
            collection.catalog.settle_identity(ingest.identity_of(embedder))
            return ingest.embed_queue(
                collection, embedder, progress=lambda _: None, cancelled=self._closing.is_set
            )

    @_timed
    def name_documents(self) -> tuple[Degraded, ...]:
        """Ask the chat model for the names of documents it was not asked about (added by a program, or left by a run
        that failed); what it could not be asked about. Raises `InputError` without one, `LockedError`.
        """
        collection, namer = self._collection(), self._models.namer()
        with collection.writing():
            return naming.name_documents(
                collection,
                namer,
                timeout_s=self._settings.chat_timeout_s,
                progress=lambda _: None,
                cancelled=self._closing.is_set,
            )

    @_timed
    def compact(self) -> None:
        """Rewrite the collection's segments as one, without deleted rows, with the index that suits its size."""
        collection = self._collection()
        with collection.writing():
            collection.compact()

    @_timed
    def purge(self) -> None:
        """Leave nothing of deleted documents on disk, in any file of the collection; costs a rewrite of it.

        Nor in a shared cache. Raises `LockedError`; `StoreError` while another process still reads an older state, or
        the shared cache does not answer.
        """
        collection = self._collection()
        with collection.writing():
            collection.purge()
        self._caches.forget()

    @_timed
    def apply_plan(self, plan: Plan, *, recall: float, collection: str | None = None) -> None:
        """Switch the collection to an index plan (from `ragstone.index.plans.make_plan`) and keep it.

        The new index is built beside the old one, measured, and only then swapped in; searches go on meanwhile.
        Raises `MismatchError`, changing nothing, when it does not reach `recall`; `LockedError`.
        """
        home = self._collection(documents_only(collection or self._settings.collection))
        with home.writing():
            home.apply_plan(plan, recall=recall)

    def rollback_plan(self, *, collection: str | None = None) -> Plan | None:
        """Return to the plan before the one applied last; None: the collection chooses by its size again.

        Raises `InputError` when none was applied, `LockedError`.
        """
        home = self._collection(documents_only(collection or self._settings.collection))
        with home.writing():
            return home.roll_back_plan()

    def warm_up(self) -> None:
        """Load the models, open the collection and search it once, and check its files in the background."""
        embedder = self._models.embedder()
        embedder.embed_query("warm up")
        if self._models.has_reranker:
            self._models.reranker()
        if self._settings.collection in self.collections():
            self._collection().snapshot()
            with suppress(RagstoneError):  # what is wrong will be said to who searches
                self._warm_search()
            with self._starting:
                if self._checker is None and not self._closing.is_set():
                    self._checker = threading.Thread(
                        target=self._check_in_background, name="ragstone-verify", daemon=True
                    )
                    self._checker.start()

    def _warm_search(self) -> None:
        """The first search maps files and starts threads; nobody waits for this one, and nobody counts it."""
        asked = Query.checked(
            "warm up",
            top_k=self._settings.top_k,
            mode="hybrid",
            filter=None,
            vector=None,
            recall=self._settings.recall,
            graph="on" if self._settings.graph else "off",
        )
        self._search(asked, [self._settings.collection])

    def _check_in_background(self) -> None:
        try:
            report = maintenance.verify(self._collection(), stopped=self._closing)
            if report.problems and not self._closing.is_set():
                for problem in report.problems:
                    logger.warning("%s: %s", problem.where, problem.message)
                self.repair()
        except RagstoneError as error:
            logger.warning("the background check stopped: %s", error)

    def close(self) -> None:
        """Let go of files, threads and models; calling it again does nothing."""
        if not self._closing.is_set():
            self.monitor.remove_gauges(self._open.gauges)
        with self._starting:  # a warm-up in another thread may be about to start it
            self._closing.set()
        if self._checker is not None:
            self._checker.join()
        self._open.close()
        self._caches.close()
        self._models.close()

    def __enter__(self) -> Ragstone:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- what settings name ---------------------------------------------------------------------------------

    def _readers(self) -> ReaderPool:
        limits = ReadLimits(file_bytes=self._settings.max_file_bytes)
        return ReaderPool(workers=self._settings.reader_workers, limits=limits)

    def _writable(self, name: str | None) -> Collection:
        """The collection for documents to go into, made if it is not there."""
        return self._collection(documents_only(name or self._settings.collection), create=True)

    def _collection(self, name: str | None = None, *, create: bool = False) -> Collection:
        return self._open.get(name or self._settings.collection, create=create)

    def _idf(self, names: Sequence[str]) -> Callable[[Sequence[str]], Scores]:
        """How rare words are in the collections searched: the mean of what each says."""
        indexes = [
            index for name in names if (index := self._collection(name).snapshot().keyword) is not None
        ]

        def idf(terms: Sequence[str]) -> Scores:
            found = [index.idf(terms) for index in indexes]
            mean: Scores = np.mean(found, axis=0) if found else np.ones(len(terms), np.float32)
            return mean

        return idf


def _beside(search_ms: Mapping[str, float], answer_ms: Mapping[str, float]) -> Mapping[str, float]:
    """The stages of an answer: its search as one of them, and what came after it."""
    after_ms = {stage: ms for stage, ms in answer_ms.items() if stage not in search_ms}
    return {"search": search_ms["total"], **after_ms}


def _summed(timings: Sequence[Mapping[str, float]]) -> Mapping[str, float]:
    """What stages took in all collections together."""
    return {
        stage: sum(taken.get(stage, 0.0) for taken in timings) for stage in dict.fromkeys(chain(*timings))
    }


def _caches(settings: Settings) -> EngineCaches:
    url = settings.cache_redis_url
    return EngineCaches(
        answers_s=settings.answer_cache_s,
        searches=settings.search_cache,
        redis_url=url.get_secret_value() if url else None,
        answers_of=settings.chat_base_url or OPENAI_BASE_URL,
    )
