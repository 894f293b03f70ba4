"""Batched embedding: the vectors are the model's, each text is computed once, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable

import numpy as np
import pytest
from scripted_models import ScriptedModel, SentenceModel, SlottedModel

from fake_clock import FakeClock
from hashing_embedder import HashingEmbedder
from ragstone.cache.memory_cache import MemoryCache
from ragstone.embedding.batch_embedder import BatchEmbedder
from ragstone.embedding.model_calls import embed_each
from ragstone.errors import InputError, ModelError
from ragstone.types import Vector

NEVER_S = 1_000.0  # a queue_timeout that a test must not have to wait for


def run(test: Callable[[], Awaitable[None]]) -> None:
    """Run, with a limit; no task and no thread of ours may be left."""

    async def limited() -> None:
        async with asyncio.timeout(30):
            await test()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(limited())
    give_up_s = time.monotonic() + 10
    while any(thread.name == "ragstone-batches" for thread in threading.enumerate()):
        assert time.monotonic() < give_up_s, "a thread is left"


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until something is so."""
    while not condition():
        await asyncio.sleep(0)


async def embed_and_end(embedder: BatchEmbedder, texts: str) -> list[Vector]:
    """The vectors of some letters; a second level has them too when it returns, which callers do not wait for."""
    vectors = await embedder.embed_batch(list(texts))
    await embedder.stop_background_processor()
    return vectors


def waits(embedder: BatchEmbedder) -> bool:
    """Whether the thread has looked at the queue and waits for more."""
    return bool(embedder._changed._waiters)  # type: ignore[attr-defined]


def expected(text: str) -> Vector:
    return HashingEmbedder(dim=8).embed_query(text)


def test_the_documents_snippet_runs() -> None:
    async def test() -> None:
        embedder = BatchEmbedder(SentenceModel(), batch_size=32)
        embeddings = await embedder.embed_batch(["text 1", "text 22"])
        assert [vector.tolist() for vector in embeddings] == [[6.0, 1.0], [7.0, 1.0]]
        await embedder.start_background_processor()
        await embedder.start_background_processor()
        embedding = await embedder.embed_text("text")
        assert embedding.dtype == np.float32 and embedding.tolist() == [4.0, 1.0]
        await embedder.stop_background_processor()
        await embedder.stop_background_processor()
        assert f"{embedder.get_stats()['cache_hit_rate']:.2%}" == "0.00%"

    run(test)


@pytest.mark.parametrize("started", [False, True])
def test_vectors_are_the_models_in_the_order_of_the_texts(started: bool) -> None:  # noqa: FBT001
    async def test() -> None:
        model = ScriptedModel()
        embedder = BatchEmbedder(model, batch_size=4, queue_timeout=0.01)
        if started:
            await embedder.start_background_processor()
        texts = [f"word{number % 50} and more" for number in range(300)]
        found = await embedder.embed_batch(texts)
        assert all(np.array_equal(vector, expected(text)) for vector, text in zip(found, texts, strict=True))
        assert len(model.embedded) == 50
        assert max(map(len, model.batches)) == 4
        assert await embedder.embed_batch([]) == []
        await embedder.stop_background_processor()

    run(test)


def test_results_are_read_only_for_good() -> None:
    async def test() -> None:
        embedder = BatchEmbedder(ScriptedModel())
        vector = await embedder.embed_text("a")
        with pytest.raises(ValueError, match="read-only"):
            vector[0] = 1
        with pytest.raises(ValueError, match="WRITEABLE"):
            vector.flags.writeable = True
        assert vector.base is None or not isinstance(vector.base, np.ndarray)  # holds no batch in memory

    run(test)


def test_the_cache_drops_what_was_not_asked_for_longest() -> None:
    async def test() -> None:
        model = ScriptedModel()
        embedder = BatchEmbedder(model, cache_size=2)
        for text in ("a", "b", "a", "c", "a", "b"):
            await embedder.embed_text(text)
        assert model.embedded == ["a", "b", "c", "b"]

    run(test)


def test_equal_texts_in_a_call_and_under_way_are_embedded_once() -> None:
    async def test() -> None:
        model = ScriptedModel()
        model.gate.clear()
        embedder = BatchEmbedder(model)
        first = asyncio.create_task(embedder.embed_batch(["a", "b", "a"]))
        await until(model.entered.is_set)
        others = [asyncio.create_task(embedder.embed_batch(["b", "a"])) for _ in range(5)]
        await asyncio.sleep(0)
        model.gate.set()
        await asyncio.gather(first, *others)
        assert model.embedded == ["a", "b"]
        stats = embedder.get_stats()
        assert (stats["cache_misses"], stats["deduplicated"], stats["total_embeddings"]) == (13, 11, 2)

    run(test)


def test_texts_that_differ_in_a_lone_surrogate_are_two_texts() -> None:
    async def test() -> None:
        embedder = BatchEmbedder(SentenceModel())
        await embedder.embed_batch(["\ud800", "\ud801", "?"])
        assert embedder.get_stats()["total_embeddings"] == 3

    run(test)


def test_a_full_batch_does_not_wait_and_a_lone_text_waits_its_time() -> None:
    async def test() -> None:
        clock, model = FakeClock(), ScriptedModel()
        embedder = BatchEmbedder(model, batch_size=4, queue_timeout=NEVER_S, clock=clock)
        await embedder.start_background_processor()
        first = asyncio.create_task(embedder.embed_text("t0"))
        await until(lambda: embedder.get_stats()["queue_length"] == 1 and waits(embedder))
        await asyncio.gather(first, *(embedder.embed_text(f"t{number}") for number in range(1, 4)))
        assert [len(batch) for batch in model.batches] == [4]
        lone = asyncio.create_task(embedder.embed_text("lone"))
        await until(lambda: embedder.get_stats()["queue_length"] == 1)
        clock.advance(NEVER_S)
        with embedder._changed:
            embedder._changed.notify_all()  # the owner looks at its clock again
        await lone
        await embedder.stop_background_processor()

    run(test)


def test_a_text_waits_no_longer_than_the_queue_timeout() -> None:
    async def test() -> None:
        embedder = BatchEmbedder(ScriptedModel(), batch_size=1_000, queue_timeout=0.05)
        await embedder.start_background_processor()
        started_s = time.monotonic()
        await embedder.embed_text("lone")
        assert time.monotonic() - started_s >= 0.05
        await embedder.stop_background_processor()

    run(test)


def test_the_event_loop_turns_while_the_model_works() -> None:
    async def test() -> None:
        model = ScriptedModel()
        model.gate.clear()
        task = asyncio.create_task(BatchEmbedder(model).embed_text("a"))
        await until(model.entered.is_set)
        assert not task.done()
        model.gate.set()  # by the loop itself: it would wait for ever if the model ran on it
        await task

    run(test)


def test_one_thread_owns_the_model_whoever_calls() -> None:
    model = ScriptedModel(takes=lambda texts: time.sleep(0))
    embedder = BatchEmbedder(model, batch_size=8, cache_size=40, queue_timeout=0.002)
    wrong: list[str] = []

    async def use(thread: int) -> None:
        for turn in range(10):
            if thread == 0:
                await embedder.stop_background_processor()
            if thread == 1:
                await embedder.start_background_processor()
            texts = [f"text{(thread * 7 + turn * 3 + number) % 90}" for number in range(6)]
            for text, vector in zip(texts, await embedder.embed_batch(texts), strict=True):
                if not np.array_equal(vector, expected(text)):
                    wrong.append(text)

    threads = [threading.Thread(target=lambda n=number: asyncio.run(use(n))) for number in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    run(embedder.stop_background_processor)
    assert not model.overlapped and not wrong
    stats = embedder.get_stats()
    assert stats["cache_hits"] + stats["cache_misses"] == 32 * 10 * 6
    assert stats["cache_misses"] == stats["total_embeddings"] + stats["deduplicated"]


@pytest.mark.parametrize("bad_at", [0, 5, 15])
def test_one_bad_text_fails_alone(bad_at: int) -> None:
    async def test() -> None:
        model = ScriptedModel()
        embedder = BatchEmbedder(model, batch_size=16, queue_timeout=NEVER_S)
        await embedder.start_background_processor()
        texts = ["bad" if number == bad_at else f"good{number}" for number in range(16)]
        found = await asyncio.gather(*map(embedder.embed_text, texts), return_exceptions=True)
        failure = found.pop(bad_at)
        assert isinstance(failure, ModelError)
        assert "3 characters" in failure.message and isinstance(failure.__cause__, ValueError)
        assert all(isinstance(vector, np.ndarray) for vector in found)
        stats = embedder.get_stats()
        assert (stats["failed"], stats["total_embeddings"], stats["batches"]) == (1, 15, 1)
        assert len(model.batches) <= 2 * 5  # halved, not one by one
        await (
            embedder.stop_background_processor()
        )  # or the one text that is missing would wait for companions
        with pytest.raises(ModelError):
            await embedder.embed_batch(texts)  # asked again: the failure was not kept
        assert model.batches[-1] == ["bad"]

    run(test)


def test_a_model_that_is_down_is_not_asked_for_every_text() -> None:
    clock, calls = FakeClock(), []

    def down(texts: list[str]) -> None:
        calls.append(len(texts))
        clock.advance(30)
        raise OSError("timed out")

    outcomes = embed_each(down, [str(number) for number in range(32)], clock=clock)
    assert calls == [32]
    assert all(isinstance(outcome, OSError) for outcome in outcomes)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[1.0, np.nan]], "not a number"),
        ([[1.0], [2.0]], r"\(2, 1\)"),
        ([1.0], r"\(1,\)"),
        ([["x"]], "convert"),
    ],
)
def test_what_is_no_vector_is_a_model_error(rows: object, message: str) -> None:
    async def test() -> None:
        with pytest.raises(ModelError, match=message):
            await BatchEmbedder(SlottedModel(rows)).embed_text("a")

    run(test)


def test_a_model_that_ends_its_thread_strands_nobody() -> None:
    async def test() -> None:
        model = ScriptedModel()
        embedder = BatchEmbedder(model)
        model.error = SystemExit(3)
        with pytest.raises(ModelError, match="SystemExit"):
            await embedder.embed_text("a")
        model.error = None
        await embedder.embed_text("a")

    run(test)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_error_that_was_not_foreseen_strands_nobody() -> None:
    class Broken(MemoryCache):
        def get_many(self, keys: object) -> list[bytes | None]:
            raise ZeroDivisionError

    async def test() -> None:
        embedder = BatchEmbedder(ScriptedModel(), shared=Broken())
        for _ in range(2):
            with pytest.raises(ModelError, match="ended with an error"):
                await embedder.embed_text("a")
        await embedder.stop_background_processor()

    run(test)


def test_a_cancelled_caller_leaves_the_others_their_vectors_and_its_own_texts_unasked() -> None:
    async def test() -> None:
        model = ScriptedModel()
        model.gate.clear()
        embedder = BatchEmbedder(model, batch_size=2)
        under_way = [asyncio.create_task(embedder.embed_batch(["a", "b"])) for _ in range(3)]
        await until(model.entered.is_set)
        waiting = [asyncio.create_task(embedder.embed_text(text)) for text in ("c", "c", "d")]
        await asyncio.sleep(0)
        for task in (under_way[0], under_way[2], waiting[0], waiting[2]):
            task.cancel()
        await asyncio.gather(*under_way, *waiting, return_exceptions=True) if model.gate.is_set() else None
        await asyncio.sleep(0)
        model.gate.set()
        found = await asyncio.gather(*under_way, *waiting, return_exceptions=True)
        assert [isinstance(one, asyncio.CancelledError) for one in found] == [
            True,
            False,
            True,
            True,
            False,
            True,
        ]
        assert sorted(model.embedded) == ["a", "b", "c"]
        stats = embedder.get_stats()
        assert stats["withdrawn"] == 1
        assert stats["cache_misses"] == stats["total_embeddings"] + stats["deduplicated"] + stats["withdrawn"]

    run(test)


@pytest.mark.parametrize("drain", [True, False])
def test_stop_leaves_no_text_waiting(drain: bool) -> None:  # noqa: FBT001
    async def test() -> None:
        model = ScriptedModel()
        embedder = BatchEmbedder(model, batch_size=64, queue_timeout=NEVER_S)
        await embedder.start_background_processor()
        callers = [asyncio.create_task(embedder.embed_text(f"t{number}")) for number in range(20)]
        await until(lambda: embedder.get_stats()["queue_length"] == 20)
        await embedder.stop_background_processor(drain=drain)
        found = await asyncio.gather(*callers, return_exceptions=True)
        assert all(isinstance(one, np.ndarray if drain else ModelError) for one in found)
        assert embedder.get_stats()["queue_length"] == 0
        assert np.array_equal(await embedder.embed_text("after"), expected("after"))
        await embedder.start_background_processor()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(embedder.embed_text("patient again"), 0.05)
        await embedder.stop_background_processor()

    run(test)


def test_stop_returns_although_new_texts_keep_coming() -> None:
    async def test() -> None:
        embedder = BatchEmbedder(ScriptedModel(takes=lambda texts: time.sleep(0.001)), batch_size=1)
        await embedder.start_background_processor()
        ended = False

        async def keep_asking(number: int) -> None:
            turn = 0
            while not ended:
                turn += 1
                await embedder.embed_text(f"{number} {turn}")

        callers = [asyncio.create_task(keep_asking(number)) for number in range(5)]
        await until(lambda: embedder.get_stats()["total_embeddings"] > 5)
        await embedder.stop_background_processor()
        ended = True
        await asyncio.gather(*callers)

    run(test)


def test_stop_gives_up_on_a_model_that_hangs_and_no_second_call_goes_in() -> None:
    async def test() -> None:
        model = ScriptedModel()
        model.gate.clear()
        embedder = BatchEmbedder(model, batch_size=1)
        stuck = [asyncio.create_task(embedder.embed_text(text)) for text in ("a", "b")]
        await until(model.entered.is_set)
        with pytest.raises(ModelError, match="did not return"):
            await embedder.stop_background_processor(timeout_s=0.05)
        assert all(
            isinstance(error, ModelError) for error in await asyncio.gather(*stuck, return_exceptions=True)
        )
        again = asyncio.create_task(embedder.embed_text("c"))
        await until(lambda: embedder.get_stats()["queue_length"] == 0)
        model.gate.set()
        await again
        assert not model.overlapped
        stats = embedder.get_stats()
        assert (stats["failed"], stats["total_embeddings"], stats["cache_misses"]) == (2, 1, 3)

    run(test)


def test_a_stop_that_is_cancelled_leaves_nobody_waiting() -> None:
    async def test() -> None:
        model = ScriptedModel()
        model.gate.clear()
        embedder = BatchEmbedder(model)
        await embedder.start_background_processor()
        caller = asyncio.create_task(embedder.embed_text("a"))
        stop = asyncio.create_task(embedder.stop_background_processor())
        await until(model.entered.is_set)
        stop.cancel()
        await asyncio.gather(stop, return_exceptions=True)
        model.gate.set()
        await caller
        await embedder.stop_background_processor()

    run(test)


def test_every_statistic_is_exact_in_a_scripted_run() -> None:
    async def test() -> None:
        clock = FakeClock()
        model = ScriptedModel(takes=lambda texts: clock.advance(0.010 + 0.002 * texts))
        embedder = BatchEmbedder(model, batch_size=4, cache_size=5, clock=clock)
        assert set(embedder.get_stats().values()) == {0, 4}  # 4: the limit of a batch
        await embedder.embed_batch(["a", "b", "c", "a"])  # one batch of 3: 16 ms
        await embedder.embed_text("d")  # one of 1: 12 ms
        await embedder.embed_batch(["a", "b", "c", "d", "a", "b"])  # six hits
        with pytest.raises(ModelError):
            await embedder.embed_batch(["e", "bad"])  # 14 ms, then 12 for e, then 12 for bad
        assert embedder.get_stats() == {
            "cache_hits": 6,
            "cache_misses": 7,
            "cache_hit_rate": 6 / 13,
            "total_embeddings": 5,
            "avg_batch_size": 6 / 3,
            "avg_time_per_embedding_ms": pytest.approx((16 + 12 + 14 + 12 + 12) / 5),
            "queue_length": 0,
            "cache_size": 5,
            "batches": 3,
            "batch_limit": 4,
            "deduplicated": 1,
            "shared_hits": 0,
            "failed": 1,
            "withdrawn": 0,
        }

    run(test)


def test_without_the_cache_nothing_is_kept_here_or_elsewhere() -> None:
    async def test() -> None:
        model, level = ScriptedModel(), MemoryCache()
        embedder = BatchEmbedder(model, cache_embeddings=False, shared=level)
        for _ in range(2):
            await embedder.embed_batch(["a", "a"])
        assert model.embedded == ["a", "a"]
        stats = embedder.get_stats()
        assert (stats["cache_hits"], stats["cache_misses"], stats["cache_size"]) == (0, 4, 0)
        assert len(level._values) == 0

    run(test)


def test_a_shared_level_spares_the_model_and_keeps_models_apart() -> None:
    async def test() -> None:
        level = MemoryCache()
        first, second, other = ScriptedModel(), ScriptedModel(), ScriptedModel(name="other")
        await embed_and_end(BatchEmbedder(first, shared=level), "ab")
        embedder = BatchEmbedder(second, shared=level)
        vectors = await embedder.embed_batch(["a", "b", "c"])
        assert second.embedded == ["c"]
        assert all(map(np.array_equal, vectors, map(expected, "abc")))
        assert not vectors[0].flags.writeable
        stats = embedder.get_stats()
        assert (stats["shared_hits"], stats["total_embeddings"], stats["avg_batch_size"]) == (2, 1, 1)
        await BatchEmbedder(other, shared=level).embed_text("a")
        assert other.embedded == ["a"]

    run(test)


def test_spoilt_vectors_on_the_shared_level_are_computed_anew() -> None:
    async def test() -> None:
        level = MemoryCache()
        await embed_and_end(BatchEmbedder(ScriptedModel(), shared=level), "ab")
        (key_a, a), (key_b, b) = ((key, entry.value) for key, entry in level._values._entries.items())
        for spoilt in (
            b"",
            b"x",
            b"\x80\x04K\x01.",
            a[:-1],
            a + b"\0",
            b[: len(b) // 2] + a[len(a) // 2 :],
            b,
        ):
            level.put_many({key_a: spoilt, key_b: b}, ttl_s=60)
            model = ScriptedModel()
            vectors = await embed_and_end(BatchEmbedder(model, shared=level), "ab")
            assert model.embedded == ["a"]
            assert all(map(np.array_equal, vectors, map(expected, "ab")))

    run(test)


def test_more_texts_than_may_wait_are_refused_and_hits_are_not() -> None:
    async def test() -> None:
        model = ScriptedModel()
        embedder = BatchEmbedder(model, batch_size=1, cache_size=5)
        await embedder.embed_text("known")
        model.gate.clear()
        model.entered.clear()
        embedder._waiting_max = 4
        waiting = asyncio.create_task(embedder.embed_batch(["a", "b", "c", "d"]))
        await until(model.entered.is_set)  # one is being embedded, three wait
        refused = [asyncio.create_task(embedder.embed_text(text)) for text in ("e", "f")]
        found = await asyncio.gather(refused[1], return_exceptions=True)
        assert isinstance(found[0], ModelError) and found[0].code == "overloaded"
        await embedder.embed_text("known")
        model.gate.set()
        await asyncio.gather(waiting, refused[0])

    run(test)


@pytest.mark.parametrize(
    "make",
    [
        lambda: BatchEmbedder(object()),  # type: ignore[arg-type]
        lambda: BatchEmbedder(ScriptedModel(), batch_size=0),
        lambda: BatchEmbedder(ScriptedModel(), cache_size=-1),
        lambda: BatchEmbedder(ScriptedModel(), queue_timeout=-1),
        lambda: BatchEmbedder(ScriptedModel(), p95_ms=0),
        lambda: BatchEmbedder(SentenceModel(), shared=MemoryCache()),
    ],
)
def test_senseless_arguments_are_refused(make: Callable[[], object]) -> None:
    with pytest.raises(InputError):
        make()


def test_one_text_is_no_list_and_a_number_no_text() -> None:
    async def test() -> None:
        embedder = BatchEmbedder(SentenceModel())
        with pytest.raises(InputError, match="embed_text"):
            await embedder.embed_batch("abc")
        with pytest.raises(InputError, match="int"):
            await embedder.embed_text(3)  # type: ignore[arg-type]

    run(test)


def test_a_hit_costs_less_than_a_fiftieth_of_a_millisecond() -> None:
    async def test() -> None:
        embedder = BatchEmbedder(ScriptedModel())
        texts = [f"a text of the usual length, with a number: {number}" for number in range(1_000)]
        await embedder.embed_batch(texts)
        taken = []
        for text in texts:
            started = time.perf_counter()
            await embedder.embed_text(text)
            taken.append(time.perf_counter() - started)
        assert sorted(taken)[500] * 1e3 <= 0.02

    run(test)
