"""An engine's caches: an answer lives as long as the chunks it used, a search result until somebody commits."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from pydantic import SecretStr

from hashing_embedder import HashingEmbedder
from ragstone import Ragstone, Settings
from ragstone.answering.chat_model import ChatDelta, Message
from ragstone.cli.app import main
from ragstone.errors import SettingsError, StoreError
from ragstone.types import Degraded
from redis_server import RedisServer
from restored_logging import restored_logging

KEEPER = "The lighthouse keeper is called Tom Arkwright. He lights the lamp at dusk."
TIDES = "The tides in the harbour turn twice a day, and the boats wait for the flood."
QUESTION = "What is the lighthouse keeper called?"

ADD_ELSEWHERE = """
import sys
sys.path.insert(0, sys.argv[1])
from hashing_embedder import HashingEmbedder
from ragstone import Ragstone
with Ragstone(sys.argv[2], embedder=HashingEmbedder()) as engine:
    engine.add([sys.argv[4]], uris=[sys.argv[3]])
"""


class CountingModel:
    """Says where the keeper is named, and counts how often it is asked."""

    name = "counting"

    def __init__(self) -> None:
        self.asked = 0

    def stream(self, messages: Sequence[Message], **options: object) -> Iterator[ChatDelta]:
        self.asked += 1
        yield ChatDelta("The lighthouse keeper is called Tom Arkwright [1].")


Open = Callable[..., Ragstone]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """Opens engines on one store, with settings, and closes them."""
    engines: list[Ragstone] = []

    def open_engine(model: CountingModel | None = None, **given: object) -> Ragstone:
        settings = Settings(data_dir=tmp_path / "data", **given)  # type: ignore[arg-type]
        engines.append(Ragstone(settings=settings, embedder=HashingEmbedder(), chat_model=model))
        return engines[-1]

    yield open_engine
    for engine in engines:
        engine.close()


def add_in_another_process(folder: Path, uri: str, text: str) -> None:
    tests = Path(__file__).resolve().parents[1]
    subprocess.run(
        [sys.executable, "-c", ADD_ELSEWHERE, tests, folder / "data", uri, text], check=True, timeout=60
    )


def test_an_answer_outlives_other_changes_and_dies_with_its_chunk_whoever_changes_it(
    opened: Open, tmp_path: Path
) -> None:
    model = CountingModel()
    engine = opened(model, answer_k=1)
    engine.add([KEEPER, TIDES], uris=["keeper", "tides"])
    first = engine.ask(QUESTION)
    assert first.citations and model.asked == 1
    engine.add([TIDES + " So it was."], uris=["tides"])
    add_in_another_process(tmp_path, "more", "Ferries sail at noon.")
    again = engine.ask(QUESTION)
    assert model.asked == 1
    assert (again.text, again.citations) == (first.text, first.citations)
    add_in_another_process(tmp_path, "keeper", KEEPER + " He has a dog.")
    engine.ask(QUESTION)
    assert model.asked == 2
    engine.delete(["keeper"])
    assert "Arkwright" not in engine.ask(QUESTION).text
    assert engine.stats().caches["answers"]["hits"] == 1


def test_a_filter_another_collection_and_another_number_of_chunks_are_other_answers_where_other_chunks_are_used(
    opened: Open,
) -> None:
    model = CountingModel()
    engine = opened(model)
    engine.add([KEEPER, KEEPER + " His house is white."], uris=["a", "b"])
    opened(collection="other").add([KEEPER], uris=["a"])
    for n, options in enumerate(
        [{"top_k": 2}, {"top_k": 1}, {"filter": "path:b*"}, {"collections": ["other"]}], start=1
    ):
        engine.ask(QUESTION, **options)  # type: ignore[arg-type]
        engine.ask(QUESTION, **options)  # type: ignore[arg-type]
        assert model.asked == n


def test_no_answer_is_kept_where_that_is_not_wanted(opened: Open) -> None:
    model = CountingModel()
    engine = opened(model, answer_cache_s=0)
    engine.add([KEEPER])
    for _ in range(2):
        engine.ask(QUESTION)
    assert model.asked == 2
    assert "answers" not in engine.stats().caches


def test_a_search_result_is_kept_until_any_process_commits(opened: Open, tmp_path: Path) -> None:
    engine = opened(search_cache=10)
    engine.add([KEEPER, TIDES], uris=["keeper", "tides"])
    fresh = opened()

    def counted(query: str = "the keeper", **options: object) -> tuple[int, int]:
        found = engine.search(query, **options)  # type: ignore[arg-type]
        expected = fresh.search(query, **options)  # type: ignore[arg-type]
        assert found.hits == expected.hits
        stats = engine.stats().caches["searches"]
        return stats["hits"], stats["misses"]

    assert counted() == (0, 1)
    assert counted() == (1, 1)
    for n, options in enumerate(
        [{"top_k": 1}, {"mode": "keyword"}, {"filter": "path:tides"}, {"recall": 1.0}, {"query": "tides"}],
        start=2,
    ):
        assert counted(**options) == (1, n)  # type: ignore[arg-type]
    add_in_another_process(tmp_path, "better", "the keeper, the keeper")
    assert counted() == (1, 7)
    engine.delete(["better"])
    assert counted() == (1, 8)
    assert counted() == (2, 8)


def test_what_a_caller_does_to_a_result_stays_his(opened: Open) -> None:
    engine = opened(search_cache=10)
    engine.add([KEEPER], metadata=[{"year": 1888}])
    for _ in range(3):
        (hit,) = engine.search("keeper").hits
        assert hit.metadata["year"] == 1888
        hit.metadata["year"] = 0  # type: ignore[index]


def test_a_degraded_result_and_one_for_a_given_vector_are_not_kept(opened: Open) -> None:
    engine = opened(search_cache=10)
    engine.add([KEEPER], vectors=np.eye(1, 8), model="another model")
    for _ in range(2):
        assert [type(part) for part in engine.search("keeper").degraded] == [Degraded]
        engine.search("keeper", vector=np.eye(1, 8)[0])
    stats = engine.stats().caches["searches"]
    assert (stats["hits"], stats["entries"]) == (0, 0)


def test_processes_share_answers_through_redis_and_answer_without_it(
    opened: Open, redis_server: RedisServer
) -> None:
    first, second, third = CountingModel(), CountingModel(), CountingModel()
    url = SecretStr(redis_server.url)
    opened(first, cache_redis_url=url).add([KEEPER], uris=["keeper"])
    engines = [opened(model, cache_redis_url=url) for model in (first, second)]
    answers = [engine.ask(QUESTION) for engine in engines]
    assert (first.asked, second.asked) == (1, 0)
    assert answers[0].citations == answers[1].citations
    assert engines[1].stats().caches["answers"]["shared_hits"] == 1
    assert engines[1].stats().caches["shared"] == {"reachable": 1}
    redis_server.kill()
    alone = opened(third, cache_redis_url=url)
    assert alone.ask(QUESTION).text == answers[0].text
    assert alone.ask(QUESTION).text == answers[0].text
    assert third.asked == 1
    assert alone.stats().caches["shared"] == {"reachable": 0}


def test_a_purge_leaves_nothing_on_redis_and_says_when_it_cannot(
    opened: Open, redis_server: RedisServer
) -> None:
    url = SecretStr(redis_server.url)
    engine = opened(CountingModel(), cache_redis_url=url)
    engine.add([KEEPER], uris=["keeper"])
    engine.ask(QUESTION)
    with redis_server.client() as client:
        client.set("{ragstone:memory:default}:entries", "Arkwright")

        def held() -> list[bytes]:
            return [key for key in client.scan_iter() if b"Arkwright" in (client.get(key) or b"")]

        assert len(held()) == 2
        engine.delete(["keeper"])
        engine.purge()
        assert held() == [b"{ragstone:memory:default}:entries"]
    redis_server.kill()
    with pytest.raises(StoreError, match="shared cache"):
        engine.purge()


def test_the_engines_model_serves_a_loop_in_batches_and_shares_vectors(
    opened: Open, redis_server: RedisServer
) -> None:
    async def embed(engine: Ragstone) -> tuple[list[list[float]], int]:
        embedder = engine.batch_embedder(batch_size=2, queue_timeout=0)
        await embedder.start_background_processor()
        vectors = await asyncio.gather(*(embedder.embed_text(text) for text in (KEEPER, TIDES, KEEPER)))
        await embedder.stop_background_processor()
        return [vector.tolist() for vector in vectors], embedder.get_stats()["shared_hits"]

    url = SecretStr(redis_server.url)
    first, none = asyncio.run(embed(opened(cache_redis_url=url)))
    second, shared = asyncio.run(embed(opened(cache_redis_url=url)))
    assert (first, none, shared) == (second, 0, 2)
    assert first[0] == HashingEmbedder().embed_query(KEEPER).tolist() == first[2]


@pytest.mark.parametrize("url", ["http://host:6379", "host:6379"])
def test_an_address_that_is_no_redis_is_refused_without_showing_it(tmp_path: Path, url: str) -> None:
    with pytest.raises(SettingsError, match="cache_redis_url") as refused:
        Settings.load(environ={"HOME": str(tmp_path), "RAGSTONE_CACHE_REDIS_URL": url}, working_dir=tmp_path)
    assert "host" not in str(refused.value)


def test_stats_on_a_terminal_say_whether_redis_answers(
    tmp_path: Path, redis_server: RedisServer, capsys: pytest.CaptureFixture[str]
) -> None:
    def said() -> str:
        assert main(["stats"]) == 0
        return capsys.readouterr().out

    with restored_logging(), pytest.MonkeyPatch.context() as environment:
        environment.setenv("HOME", str(tmp_path))
        environment.setenv("RAGSTONE_DATA_DIR", str(tmp_path / "data"))
        environment.setenv("RAGSTONE_CACHE_REDIS_URL", redis_server.url)
        assert "shared through Redis" in said()
        redis_server.kill()
        assert "Redis does not answer" in said()
