"""The engine: turns settings into objects and gives the two journeys, index and ask, one entrance each.

The only place that knows both `Settings` and the domain. Thread-safe; opened in milliseconds, because nothing
heavy is loaded before the first call that needs it.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

from ragstone import ingest, maintenance
from ragstone.answering.answer import answer_events
from ragstone.answering.chat_model import ChatModel, OpenAIChatModel
from ragstone.answering.prompt import standalone_question
from ragstone.collection import Collection, Snapshot
from ragstone.documents.limits import ReadLimits
from ragstone.documents.pool import ReaderPool
from ragstone.embedding import load_embedder
from ragstone.errors import InputError, MismatchError, NotFoundError, RagstoneError, StoreError
from ragstone.index.segment import INDEX_TYPE
from ragstone.maintenance import VerifyReport
from ragstone.retrieval import hybrid
from ragstone.retrieval.merge import merge
from ragstone.settings import Settings
from ragstone.store import documents, vectors
from ragstone.types import (
    Answer,
    AnswerDone,
    AnswerEvent,
    Degraded,
    DocumentInfo,
    Embedder,
    Hit,
    Ids,
    IndexProgress,
    IndexReport,
    Matrix,
    Metadata,
    SearchMode,
    SearchResult,
    Turn,
    Vector,
)

LATENCY_WINDOW = 1_000  # the last calls of each kind; FEATURES "Monitor window"
OPENAI_BASE_URL = "https://api.openai.com/v1"  # used only where the user named a model and no endpoint
EXTERNAL_MODEL = "external"
MAX_QUERY_CHARS = 10_000  # a query is a question or a passage, not a document
MAX_TOP_K = 1_000

COLLECTION_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")  # a folder's name on every file system

logger = logging.getLogger("ragstone")


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds of the last calls of one kind; `count` is how many of them the window holds."""

    count: int
    p50: float
    p90: float
    p95: float
    p99: float


@dataclass(frozen=True, slots=True)
class Stats:
    """A collection in numbers.

    `unembedded` chunks wait for a vector, `pending` vectors for a segment; `bytes` is what the collection
    takes on disk. `model` and `dim` are None before the first write. `latencies_ms` covers this process.
    """

    collection: str
    collections: tuple[str, ...]
    documents: int
    chunks: int
    unembedded: int
    pending: int
    segments: int
    tombstones: int
    bytes: int
    model: str | None
    dim: int | None
    index_types: tuple[str, ...]
    latencies_ms: Mapping[str, Latency]
    caches: Mapping[str, Mapping[str, int]]


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
    ) -> None:
        """Open a data directory; nothing is created or loaded until it is needed.

        `settings` defaults to `Settings.load()`; `data_dir` and `collection` win over it. `embedder` and
        `chat_model` take the place of those the settings name, and are closed by their owner.
        Raises `SettingsError`.
        """
        given = {"data_dir": data_dir, "collection": collection}
        if settings is None:
            self._settings = Settings.load(overrides=given)
        else:
            changed = {name: value for name, value in given.items() if value is not None}
            self._settings = Settings.model_validate({**dict(settings), **changed})
        self._given_embedder = embedder
        self._embedder = embedder
        self._chat_model = chat_model
        self._loading = threading.RLock()
        self._collections: dict[str, Collection] = {}
        self._latencies: dict[str, deque[float]] = {}
        self._closing = threading.Event()
        self._checker: threading.Thread | None = None

    # -- index a folder ----------------------------------------------------------------------------------

    def index(
        self,
        paths: Sequence[str | Path],
        *,
        progress: Callable[[IndexProgress], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> IndexReport:
        """Bring the collection in step with files and folders, and say what was done.

        Unchanged files cost one `stat`; only changed chunks are embedded; documents whose files are gone
        from `paths` are removed. Calling it again resumes. Files that cannot be read are in the report.
        Raises `NotFoundError`, `InputError` (nothing there), `LockedError`, `MismatchError`, `ModelError`,
        `DiskFullError`, and `CancelledError` once `cancelled()` is true; what was acknowledged is kept.
        """
        roots = [Path(path).expanduser().resolve() for path in paths]
        for root in roots:
            if not root.exists():
                raise NotFoundError(f"no file or folder {root}", hint="check the path; nothing was changed")
        limits = ReadLimits(file_bytes=self._settings.max_file_bytes)
        with ReaderPool(workers=self._settings.reader_workers, limits=limits) as pool:
            return ingest.index_files(
                self._collection(create=True),
                roots,
                embedder=self._embedding(),
                pool=pool,
                max_file_bytes=self._settings.max_file_bytes,
                chunk_tokens=self._settings.chunk_tokens,
                progress=progress or (lambda _: None),
                cancelled=cancelled or (lambda: False),
            )

    def add(
        self,
        texts: Sequence[str],
        *,
        uris: Sequence[str] | None = None,
        titles: Sequence[str] | None = None,
        metadata: Sequence[Metadata] | None = None,
        vectors: npt.ArrayLike | None = None,
        model: str = EXTERNAL_MODEL,
    ) -> list[str]:
        """Add texts without files; their uris, in order. A text replaces the one with the same uri.

        `uris` default to `text:` and a hash of the text, `titles` to nothing. With `vectors`, (n, dim)
        finite and not zero, each text is one chunk and nothing is embedded; they are scaled to unit length,
        and `model` names what made them. Durable and searchable when it returns.
        Raises `InputError`, changing nothing, and the errors of `index`.
        """
        given = _texts(texts, uris, titles, metadata)
        if not given:
            return []
        if vectors is not None:
            rows = _unit_rows(vectors, len(given))
            ingest.add_vectors(self._collection(create=True), given, rows, model_id=model)
        else:
            ingest.add_texts(
                self._collection(create=True),
                given,
                embedder=self._embedding(),
                chunk_tokens=self._settings.chunk_tokens,
            )
        return [text.uri for text in given]

    def delete(self, uris: Sequence[str]) -> int:
        """Remove documents; how many. Raises `NotFoundError` for an unknown uri and then removes none."""
        collection = self._collection()
        with collection.writing():
            with collection.catalog.transaction() as db:
                ids = documents.document_ids(db, list(dict.fromkeys(uris)))
                documents.delete_documents(db, ids)
            collection.sync_keyword()
        return len(ids)

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
    ) -> SearchResult:
        """The best chunks for a query, best first.

        `top_k` is 1 to 1,000 (the setting `top_k` if not given); `filter` is the language of
        `ragstone.store.filters` and always leaves `top_k` hits where so many match; several `collections`
        are merged by score; `vector` (dim,) stands in for the query's embedding. What could not take part
        is in `degraded`. Raises `InputError`, `NotFoundError`, `MismatchError`.
        """
        started_s = time.perf_counter()
        wanted = self._settings.top_k if top_k is None else top_k
        _check_query(query, wanted, mode)
        names = list(collections) if collections else [self._settings.collection]
        results = [
            self._search_one(self._collection(name), query, wanted, mode, filter, vector) for name in names
        ]
        took_ms = self._observe("search", started_s)
        if len(results) == 1:
            return replace(results[0], timings_ms={**results[0].timings_ms, "total": took_ms})
        return SearchResult(
            hits=tuple(merge([r.hits for r in results], top_k=wanted, score=lambda hit: hit.score)),
            degraded=tuple(dict.fromkeys(entry for r in results for entry in r.degraded)),
            timings_ms={"total": took_ms},
        )

    def _search_one(
        self,
        collection: Collection,
        query: str,
        top_k: int,
        mode: SearchMode,
        filter_text: str | None,
        given_vector: npt.ArrayLike | None,
    ) -> SearchResult:
        timings: dict[str, float] = {}
        with _timed(timings, "open"):
            snapshot = collection.snapshot()
        if snapshot.dense is None:
            return SearchResult((), snapshot.degraded, timings)  # nothing has been written yet
        keyword = snapshot.keyword
        if keyword is None:
            raise StoreError("the keyword index is being rebuilt", hint="try again in a moment")
        degraded = list(snapshot.degraded)
        with _timed(timings, "embed"):
            vector = self._query_vector(snapshot, query, mode, given_vector, degraded)
        with _timed(timings, "filter"):
            allowed = _allowed(collection, filter_text)
        ranking = hybrid.search(
            query,
            vector,
            mode=mode,
            top_k=top_k,
            dense=snapshot.dense,
            keyword=keyword,
            load_texts=lambda ids: _load_texts(collection, ids),
            allowed=allowed,
        )
        with _timed(timings, "load"), collection.catalog.reading() as db:
            chunks = documents.stored_chunks(db, ranking.ids.tolist())
        hits = tuple(
            Hit(
                id=chunk.id,
                uri=chunk.uri,
                title=chunk.title,
                text=chunk.text,
                score=float(score),
                start=chunk.start,
                end=chunk.end,
                page=chunk.page,
                time_s=chunk.time_s,
                headings=chunk.headings,
                sources=ranking.sources[chunk.id],
                metadata=chunk.metadata,
                collection=collection.name,
            )
            for id_, score in zip(ranking.ids.tolist(), ranking.scores.tolist(), strict=True)
            if (chunk := chunks.get(id_)) is not None  # deleted since the snapshot
        )
        return SearchResult(hits, (*degraded, *ranking.degraded), {**timings, **ranking.timings_ms})

    def _query_vector(
        self,
        snapshot: Snapshot,
        query: str,
        mode: SearchMode,
        given: npt.ArrayLike | None,
        degraded: list[Degraded],
    ) -> Vector | None:
        """The query's embedding; None where the mode needs none, or none can be had and keywords can do."""
        identity = snapshot.identity
        if mode == "keyword" or identity is None:
            return None
        if given is not None:
            rows = _unit_rows(np.asarray(given, dtype=np.float32)[None], 1)
            if rows.shape[1] != identity.dim:
                raise MismatchError(
                    f"the query's vector has {rows.shape[1]} dimensions, the collection {identity.dim}",
                    hint="embed the query with the model that made the collection's vectors",
                )
            row: Vector = rows[0]
            return row
        try:
            embedder = self._embedding()
            if embedder.model_id == identity.model_id:
                return embedder.embed_query(query)
            reason = f"its vectors were made by {identity.model_id}, the model set is {embedder.model_id}"
            error: RagstoneError = MismatchError(
                f"this collection cannot be searched by meaning: {reason}",
                hint="set that model, pass the query's vector, or search by keyword",
            )
        except RagstoneError as failure:
            error = failure
        if mode == "dense":
            raise error
        degraded.append(Degraded("dense", error.message))
        return None

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
        started_s = time.perf_counter()
        found = self.search(
            standalone_question(question, history),
            top_k=top_k or self._settings.answer_k,
            filter=filter,
            collections=collections,
        )
        keyword = self._collection(collections[0] if collections else None).snapshot().keyword
        yield from answer_events(
            question,
            hits=found.hits,
            degraded=found.degraded,
            search_timings_ms=found.timings_ms,
            chat_model=self._chatting(),
            embedder=self._embedding(),
            idf=keyword.idf if keyword else None,
            history=history,
            timeout_s=self._settings.chat_timeout_s,
            max_context_tokens=self._settings.max_context_length,
            cancelled=cancelled,
        )
        self._observe("ask", started_s)

    # -- look -----------------------------------------------------------------------------------------------

    def documents(self, *, filter: str | None = None) -> list[DocumentInfo]:  # noqa: A002
        """The documents (that pass a filter), by uri."""
        collection = self._collection()
        with collection.catalog.reading() as db:
            return documents.list_documents(db, filter_text=filter)

    def document(self, uri: str) -> tuple[DocumentInfo, str]:
        """A document and its whole text, into which spans of hits and citations point."""
        collection = self._collection()
        with collection.catalog.reading() as db:
            (document_id,) = documents.document_ids(db, [uri])
            return documents.document_info(db, document_id), documents.document_text(db, document_id)

    def collections(self) -> list[str]:
        """The names of the collections in the data directory."""
        home = self._settings.data_dir / "collections"
        if not home.is_dir():
            return []
        return sorted(path.name for path in home.iterdir() if (path / "catalog.sqlite").is_file())

    def stats(self) -> Stats:
        """The collection in numbers; zeros before the first write."""
        names = tuple(self.collections())
        latencies = {name: _latency(window.copy()) for name, window in self._latencies.copy().items()}
        empty = Stats(
            self._settings.collection, names, 0, 0, 0, 0, 0, 0, 0, None, None, (), latencies, self._caches()
        )
        if self._settings.collection not in names:
            return empty
        collection = self._collection()
        identity = collection.catalog.identity()
        with collection.catalog.reading() as db:
            counts = documents.counts(db)
            segments = len(vectors.segments(db))
        return replace(
            empty,
            documents=counts.documents,
            chunks=counts.chunks,
            unembedded=counts.unembedded,
            pending=counts.pending,
            segments=segments,
            tombstones=counts.tombstones,
            bytes=_bytes_on_disk(collection.folder),
            model=identity.model_id if identity else None,
            dim=identity.dim if identity else None,
            index_types=(INDEX_TYPE,) if segments else (),
        )

    def _caches(self) -> dict[str, dict[str, int]]:
        cache = getattr(self._embedder, "query_cache", None)
        return {"query_vectors": cache()} if callable(cache) else {}

    # -- care -----------------------------------------------------------------------------------------------

    def verify(self) -> VerifyReport:
        """Read every byte of the collection and compare its parts; changes nothing."""
        return maintenance.verify(self._collection())

    def repair(self) -> VerifyReport:
        """Mend what `verify` finds, embedding again what was lost. Raises `LockedError`."""
        collection = self._collection()
        report = maintenance.repair(collection)
        with collection.catalog.reading() as db:
            waiting = documents.counts(db).unembedded
        if waiting:
            self.embed_waiting()
        return report

    def embed_waiting(self) -> int:
        """Embed the chunks that wait for a vector (after a repair or a stopped run); how many."""
        collection, embedder = self._collection(), self._embedding()
        with collection.writing():
            collection.catalog.settle_identity(ingest.identity_of(embedder))
            return ingest.embed_queue(
                collection, embedder, progress=lambda _: None, cancelled=self._closing.is_set
            )

    def warm_up(self) -> None:
        """Load the model and open the collection now, and check its files in the background."""
        embedder = self._embedding()
        embedder.embed_query("warm up")
        if self._settings.collection in self.collections():
            self._collection().snapshot()
            with self._loading:
                if self._checker is None:
                    self._checker = threading.Thread(
                        target=self._check_in_background, name="ragstone-verify", daemon=True
                    )
                    self._checker.start()

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
        self._closing.set()
        if self._checker is not None:
            self._checker.join()
        with self._loading:
            for collection in self._collections.values():
                collection.close()
            self._collections.clear()
            if self._embedder is not None and self._given_embedder is None:
                self._embedder.close()
                self._embedder = None

    def __enter__(self) -> Ragstone:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- what settings name ---------------------------------------------------------------------------------

    def _collection(self, name: str | None = None, *, create: bool = False) -> Collection:
        name = name or self._settings.collection
        if not COLLECTION_NAME.fullmatch(name):
            raise InputError(f"{name!r} is no name for a collection", hint="letters, digits, dots, - and _")
        with self._loading:
            if self._closing.is_set():
                raise InputError("this engine is closed", hint="open another one")
            if name not in self._collections:
                folder = self._settings.data_dir / "collections" / name
                if not create and not (folder / "catalog.sqlite").is_file():
                    raise NotFoundError(
                        f"no collection {name!r} in {self._settings.data_dir}",
                        hint="make one with: ragstone index FOLDER",
                    )
                self._collections[name] = Collection(folder)
            return self._collections[name]

    def _embedding(self) -> Embedder:
        with self._loading:
            if self._embedder is None:
                settings = self._settings
                key = settings.embedding_api_key
                self._embedder = load_embedder(
                    settings.model,
                    cache_dir=settings.data_dir / "models",
                    threads=settings.model_threads,
                    background=True,  # documents yield to queries: searching stays fast while indexing (T10)
                    device=settings.device,
                    base_url=settings.embedding_base_url,
                    api_key=key.get_secret_value() if key else None,
                )
            return self._embedder

    def _chatting(self) -> ChatModel | None:
        with self._loading:
            settings = self._settings
            if self._chat_model is None and settings.chat_model is not None:
                key = settings.chat_api_key
                self._chat_model = OpenAIChatModel(
                    base_url=settings.chat_base_url or OPENAI_BASE_URL,
                    model=settings.chat_model,
                    api_key=key.get_secret_value() if key else "",
                    organization=settings.chat_organization or "",
                )
            return self._chat_model

    def _observe(self, operation: str, started_s: float) -> float:
        took_ms = (time.perf_counter() - started_s) * 1e3
        self._latencies.setdefault(operation, deque(maxlen=LATENCY_WINDOW)).append(took_ms)
        return took_ms


@contextmanager
def _timed(timings: dict[str, float], stage: str) -> Iterator[None]:
    started_s = time.perf_counter()
    yield
    timings[stage] = (time.perf_counter() - started_s) * 1e3


def _allowed(collection: Collection, filter_text: str | None) -> Ids | None:
    if not filter_text or not filter_text.strip():
        return None
    with collection.catalog.reading() as db:
        return documents.allowed_documents(db, filter_text)


def _load_texts(collection: Collection, ids: Ids) -> list[str]:
    with collection.catalog.reading() as db:
        found = {entry.chunk_id: entry.text for entry in documents.keyword_entries(db, ids.tolist())}
    return [found.get(id_, "") for id_ in ids.tolist()]  # deleted since the snapshot: no text, no signals


def _bytes_on_disk(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):  # merged away by a writer while we look
                total += (Path(parent) / name).stat().st_size
    return total


def _latency(window: deque[float]) -> Latency:
    values = np.array(window)
    p50, p90, p95, p99 = np.percentile(values, [50, 90, 95, 99]).tolist()
    return Latency(len(values), p50, p90, p95, p99)


def _check_query(query: str, top_k: int, mode: str) -> None:
    if not query.strip():
        raise InputError("the query is empty", hint="write a question or some words")
    if len(query) > MAX_QUERY_CHARS:
        raise InputError(f"the query has {len(query):,} characters, the limit is {MAX_QUERY_CHARS:,}")
    if not 1 <= top_k <= MAX_TOP_K:
        raise InputError(f"top_k is {top_k}, the range is 1 to {MAX_TOP_K:,}")
    if mode not in {"hybrid", "dense", "keyword"}:
        raise InputError(f"no mode {mode!r}", hint="one of hybrid, dense, keyword")


def _texts(
    texts: Sequence[str],
    uris: Sequence[str] | None,
    titles: Sequence[str] | None,
    metadata: Sequence[Metadata] | None,
) -> list[ingest.Text]:
    for name, values in (("uris", uris), ("titles", titles), ("metadata", metadata)):
        if values is not None and len(values) != len(texts):
            raise InputError(f"{len(texts)} texts, but {len(values)} {name}", hint="one for each text")
    given = []
    for number, text in enumerate(texts):
        if not text.isprintable() and any("\ud800" <= char <= "\udfff" for char in text):
            raise InputError(f"text number {number} holds half a character (a lone surrogate)")
        if not text.strip():
            raise InputError(f"text number {number} is empty", hint="leave it out; there is nothing to find")
        uri = uris[number] if uris else "text:" + hashlib.sha256(text.encode()).hexdigest()[:16]
        entry = metadata[number] if metadata else {}
        for key, value in entry.items():
            if not isinstance(value, str | int | float | bool):
                raise InputError(
                    f"metadata {key!r} of text number {number} is {type(value).__name__}",
                    hint="values are str, int, float or bool",
                )
        given.append(ingest.Text(uri, titles[number] if titles else "", text, entry))
    return given


def _unit_rows(vectors: npt.ArrayLike, count: int) -> Matrix:
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
