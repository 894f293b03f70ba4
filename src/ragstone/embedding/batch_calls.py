"""What one caller of the batch embedder waits for, and what is counted on the way."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TypedDict

from ragstone.embedding.batch_queue import Wanted
from ragstone.embedding.model_calls import Outcome
from ragstone.errors import ModelError
from ragstone.types import Vector


class BatchEmbedderStats(TypedDict):
    """Counts of texts since it was made. `cache_hits` + `cache_misses` are all that were asked for; the misses are
    `total_embeddings` (computed by the model) + `deduplicated` (waited for an equal one) + `shared_hits` + `failed` +
    `withdrawn` (nobody waited any more) + those waiting or being embedded now. `cache_hit_rate` is 0 to 1.

    `avg_batch_size` is texts given to the model, over `batches`; `avg_time_per_embedding_ms` is the model's time alone
    over `total_embeddings`; both 0 before the first. `queue_length`, `cache_size` and `batch_limit` are of now.
    """

    cache_hits: int
    cache_misses: int
    cache_hit_rate: float
    total_embeddings: int
    avg_batch_size: float
    avg_time_per_embedding_ms: float
    queue_length: int
    cache_size: int
    batches: int
    batch_limit: int
    deduplicated: int
    shared_hits: int
    failed: int
    withdrawn: int


@dataclass(slots=True)
class Counts:
    """Sums behind the statistics. `given` are texts that the model was asked for."""

    hits: int = 0
    misses: int = 0
    deduplicated: int = 0
    shared: int = 0
    given: int = 0
    embedded: int = 0
    failed: int = 0
    withdrawn: int = 0
    batches: int = 0
    model_s: float = 0.0

    def stats(self, *, queue_length: int, cache_size: int, batch_limit: int) -> BatchEmbedderStats:
        """The statistics, with what is so now."""
        asked = self.hits + self.misses
        return BatchEmbedderStats(
            cache_hits=self.hits,
            cache_misses=self.misses,
            cache_hit_rate=self.hits / asked if asked else 0.0,
            total_embeddings=self.embedded,
            avg_batch_size=self.given / self.batches if self.batches else 0.0,
            avg_time_per_embedding_ms=1e3 * self.model_s / self.embedded if self.embedded else 0.0,
            queue_length=queue_length,
            cache_size=cache_size,
            batches=self.batches,
            batch_limit=batch_limit,
            deduplicated=self.deduplicated,
            shared_hits=self.shared,
            failed=self.failed,
            withdrawn=self.withdrawn,
        )


@dataclass(slots=True, eq=False)
class Call:
    """One caller's texts. `wanted` are the keys still missing; `done` is there when some were missing at first."""

    keys: list[bytes]
    vectors: dict[bytes, Vector] = field(default_factory=dict)
    wanted: set[bytes] = field(default_factory=set)
    error: ModelError | None = None
    done: Future[None] | None = None

    def settle(self, wanted: Wanted[Call], outcome: Outcome) -> bool:
        """Take what became of one text; whether it was the last."""
        self.wanted.discard(wanted.key)
        if not isinstance(outcome, Exception):
            self.vectors[wanted.key] = outcome
        elif self.error is None:
            self.error = ModelError(f"a text of {len(wanted.text)} characters was not embedded: {outcome}")
            self.error.__cause__ = outcome
        return not self.wanted

    def wake(self) -> None:
        """Let the caller go on, with the first error if there was one."""
        if self.done is None:
            return
        if self.error is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(self.error)


def uncancellable() -> Future[None]:
    """A future that a cancelled waiter leaves alone: its maker, or others who wait, still count on it."""
    future: Future[None] = Future()
    future.set_running_or_notify_cancel()
    return future
