"""Texts of many callers, embedded together by one thread, and kept.

    embedder = BatchEmbedder(model, batch_size=32)
    await embedder.start_background_processor()
    vector = await embedder.embed_text("how are backups made?")
    await embedder.stop_background_processor()

Any number of event loops and threads may share one: the state is under one lock, and the model belongs to one thread.
Every text is embedded as a document; a model with a prefix of its own for queries is asked directly for those.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from ragstone.cache_levels import LRUCache, SharedCache
from ragstone.embedding.batch_calls import BatchEmbedderStats, Call, Counts, uncancellable
from ragstone.embedding.batch_queue import BatchQueue, Wanted
from ragstone.embedding.batch_size import BatchSize
from ragstone.embedding.model_calls import Model, Outcome, embed_each, embedding_of, model_id_of
from ragstone.embedding.shared_vectors import SharedVectors
from ragstone.errors import InputError, ModelError
from ragstone.types import Vector

# A model that has not answered by then hangs: HTTP embedders give up after 30 s, and a batch here takes milliseconds.
STOP_TIMEOUT_S = 60.0
# Some 20 MB of texts of 2,000 characters. More callers than that are refused rather than kept waiting for minutes.
WAITING_MAX = 10_000
# Of a long list so many batches wait at a time: the memory is bounded, and single texts come in between.
_WINDOW_BATCHES = 4
_STOPPED = "the background processor was stopped"


class BatchEmbedder:
    """Vectors of texts, from memory, from a second level, or from the model in batches."""

    def __init__(
        self,
        model: Model,
        batch_size: int = 32,
        cache_size: int = 1000,
        queue_timeout: float = 0.1,
        *,
        cache_embeddings: bool = True,
        p95_ms: float | None = None,
        model_id: str | None = None,
        shared: SharedCache | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`model` is an `Embedder` or has `encode`. A batch is taken when `batch_size` texts wait or the first has
        waited `queue_timeout` seconds. The `cache_size` vectors used last are kept, unless `cache_embeddings` is off.

        With `p95_ms`, batches have between 1 and `batch_size` texts, by load and measured times, so that the p95 of
        what callers wait stays below it while the model can keep up. `shared` is a second level; a model without a
        `model_id` of its own needs one given then. Raises `InputError`.
        """
        if queue_timeout < 0:
            raise InputError(f"queue_timeout is {queue_timeout} s, the least is 0")
        named = model_id or model_id_of(model)
        if shared is not None and named is None:
            raise InputError(
                "a shared cache needs to know which model its vectors are of",
                hint="pass model_id, e.g. the model's name and revision",
            )
        self._embed = embedding_of(model)
        self._seed = hashlib.sha256(f"{len(named or '')}:{named or ''}:".encode())
        self._cache: LRUCache[bytes, Vector] = LRUCache(cache_size if cache_embeddings else 0)
        self._shared = SharedVectors(shared if cache_embeddings else None)
        self._size = BatchSize(batch_size, p95_ms=p95_ms)
        self._window = _WINDOW_BATCHES * batch_size
        self._waiting_max = max(WAITING_MAX, self._window)
        self._queue_timeout_s = queue_timeout
        self._clock = clock
        self._queue: BatchQueue[Call] = BatchQueue()
        self._counts = Counts()
        self._running = False
        self._stop_at: int | None = None  # the owner leaves when all up to this number are served
        self._owner: threading.Thread | None = None
        self._ended: Future[None] = Future()
        self._changed = threading.Condition()
        self._model = threading.Lock()

    async def embed_text(self, text: str) -> Vector:
        """(dim,) float32, read-only. Raises `ModelError` when the model refuses this text, `InputError` for no text."""
        call = self._ask([text])
        await self._settled(call)
        return call.vectors[call.keys[0]]

    async def embed_batch(self, texts: Sequence[str]) -> list[Vector]:
        """(dim,) float32, read-only, for each of `texts`, in their order; equal texts are embedded once.

        Raises `ModelError` when the model refuses one of them; the others are kept nevertheless.
        """
        if isinstance(texts, str):
            raise InputError("embed_batch wants a list of texts, not one text", hint="use embed_text")
        vectors: list[Vector] = []
        for start in range(0, len(texts), self._window):
            call = self._ask(texts[start : start + self._window])
            await self._settled(call)
            vectors += [call.vectors[key] for key in call.keys]
        return vectors

    async def start_background_processor(self) -> None:
        """Let texts wait for companions from now on. Before, and after a stop, each call's texts go to the model as
        soon as it is free, and the thread is there only while there is work."""
        with self._changed:
            self._running = True
            self._wake()

    async def stop_background_processor(
        self, *, drain: bool = True, timeout_s: float = STOP_TIMEOUT_S
    ) -> None:
        """Embed what waits, or fail it with `ModelError` when not `drain`, and end the thread. Can be started again.

        Raises `ModelError` when the model does not return within `timeout_s`; whoever waits gets one too.
        """
        with self._changed:
            self._running = False
            owner, ended = self._owner, self._ended
            if owner is None:
                return
            dropped = [] if drain else self._queue.give_up_waiting()
            self._stop_at = self._queue.newest
            self._changed.notify_all()
        self._fail(dropped, _STOPPED)
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.wrap_future(ended)
        except TimeoutError:
            with self._changed:
                if self._owner is owner:
                    self._owner = self._stop_at = None
                dropped = self._queue.give_up_waiting() + self._queue.give_up_taken()
            self._fail(dropped, _STOPPED)
            raise ModelError(
                f"the embedding model did not return within {timeout_s:g} s", hint="is its server hanging?"
            ) from None
        owner.join()  # it has nothing left to do but return

    def get_stats(self) -> BatchEmbedderStats:
        """Counts so far; see `BatchEmbedderStats`."""
        with self._changed:
            return self._counts.stats(
                queue_length=len(self._queue), cache_size=len(self._cache), batch_limit=self._size.limit
            )

    def _ask(self, texts: Sequence[str]) -> Call:
        """Look every text up, and queue what is missing."""
        call = Call([self._key(text) for text in texts])
        with self._changed:
            missing: list[tuple[bytes, str]] = []
            for key, text in zip(call.keys, texts, strict=True):
                vector = self._cache.get(key, None)
                if vector is None:
                    missing.append((key, text))
                else:
                    call.vectors[key] = vector
            if missing:
                self._queue_up(call, missing)
            self._counts.hits += len(texts) - len(missing)
        return call

    def _queue_up(self, call: Call, missing: list[tuple[bytes, str]]) -> None:
        if len(self._queue) + len(missing) > self._waiting_max:
            raise ModelError(
                f"{len(self._queue)} texts wait for the embedding model, {self._waiting_max} may",
                hint="ask again later",
                code="overloaded",
            )
        now_s, idle = self._clock(), not len(self._queue)
        for key, text in missing:
            if key in call.wanted or not self._queue.add(key, text, call, now_s):
                self._counts.deduplicated += 1
            call.wanted.add(key)
        self._counts.misses += len(missing)
        call.done = uncancellable()
        if idle or len(self._queue) >= self._size.full:
            self._wake()

    async def _settled(self, call: Call) -> None:
        if call.done is None:
            return
        try:
            await asyncio.wrap_future(call.done)
        except asyncio.CancelledError:
            with self._changed:
                self._counts.withdrawn += self._queue.withdraw(call.wanted, call)
            raise

    def _key(self, text: str) -> bytes:
        if not isinstance(text, str):
            raise InputError(f"a text to embed is of type {type(text).__name__}")
        digest = self._seed.copy()
        digest.update(text.encode("utf-8", "surrogatepass"))
        return digest.digest()

    def _wake(self) -> None:
        if self._owner is not None:
            self._changed.notify_all()
            return
        self._ended = uncancellable()
        owner = threading.Thread(
            target=self._serve_until_idle, args=(self._ended,), name="ragstone-batches", daemon=True
        )
        owner.start()  # it waits for the lock that is held here
        self._owner = owner

    def _serve_until_idle(self, ended: Future[None]) -> None:
        try:
            while (taken := self._next_batch()) is not None:
                self._serve(*taken)
        finally:
            with self._changed:
                lost = []
                if self._owner is threading.current_thread():  # an error that nothing here foresaw
                    self._owner = self._stop_at = None
                    lost = self._queue.give_up_taken() + self._queue.give_up_waiting()
            self._fail(lost, "the thread that embeds ended with an error")
            ended.set_result(None)

    def _next_batch(self) -> tuple[list[Wanted[Call]], int] | None:
        """The next batch and how many texts had waited, when it is due; None when this thread is to end."""
        with self._changed:
            while self._owner is threading.current_thread():
                waiting, oldest = len(self._queue), self._queue.oldest
                if self._stop_at is not None:
                    if oldest is None or oldest > self._stop_at:
                        self._retire()
                        return None
                elif not self._running and not waiting:
                    self._retire()
                    return None
                due_in_s = self._due_in_s()
                if due_in_s == 0:
                    return self._queue.take(self._size.limit), waiting
                self._changed.wait(due_in_s)
            return None  # `stop` gave up on this thread

    def _due_in_s(self) -> float | None:
        patient = self._running and self._stop_at is None
        return self._queue.due_in_s(
            self._clock(),
            full=self._size.full if patient else 1,
            patience_s=self._size.patience_s(self._queue_timeout_s),
        )

    def _retire(self) -> None:
        """Leave the model to the next thread, which is there at once if it is needed."""
        self._owner = self._stop_at = None
        if self._running or len(self._queue):
            self._wake()

    def _serve(self, batch: list[Wanted[Call]], waiting: int) -> None:
        shared = self._shared.get_many([wanted.key for wanted in batch])
        missing = [wanted for wanted in batch if wanted.key not in shared]
        made, taken_s = self._embedded(missing)
        outcomes: dict[bytes, Outcome] = {**shared, **made}
        with self._changed:
            if missing:
                self._size.note(len(missing), taken_s, waiting=waiting)
                self._counts.batches += 1
                self._counts.given += len(missing)
                self._counts.model_s += taken_s
            woken = [call for wanted in batch for call in self._settle(wanted, outcomes[wanted.key])]
            live = [wanted.key for wanted in batch if not wanted.given_up]
            failed = sum(isinstance(outcomes[key], Exception) for key in live)
            known = sum(key in shared for key in live)
            self._counts.shared += known
            self._counts.failed += failed
            self._counts.embedded += len(live) - failed - known
        for call in woken:
            call.wake()
        self._shared.put_many({key: new for key, new in made.items() if not isinstance(new, Exception)})

    def _embedded(self, missing: list[Wanted[Call]]) -> tuple[dict[bytes, Outcome], float]:
        """What became of each text, and the seconds it took the model."""
        if not missing:
            return {}, 0.0
        texts = [wanted.text for wanted in missing]
        # One thread at a time, also while one that `stop` gave up on is still inside.
        with self._model:
            started_s = self._clock()
            try:
                outcomes = embed_each(self._embed, texts, clock=self._clock)
            except BaseException as error:  # noqa: BLE001 - SystemExit in a model must not strand those who wait
                outcomes = [ModelError(f"the model ended with {type(error).__name__}")] * len(texts)
            taken_s = self._clock() - started_s
        return {wanted.key: outcome for wanted, outcome in zip(missing, outcomes, strict=True)}, taken_s

    def _settle(self, wanted: Wanted[Call], outcome: Outcome) -> list[Call]:
        """Keep a vector; the callers for whom it was the last that was missing."""
        if not isinstance(outcome, Exception):
            self._cache.put(wanted.key, outcome)
        return [call for call in self._queue.finish(wanted) if call.settle(wanted, outcome)]

    def _fail(self, dropped: list[Wanted[Call]], why: str) -> None:
        error = ModelError(why)
        with self._changed:
            self._counts.failed += len(dropped)
            woken = [call for wanted in dropped for call in self._settle(wanted, error)]
        for call in woken:
            call.wake()
