"""A memory in Redis: copies that follow, servers and processes that are killed, a Redis that went back in time."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path

import pytest

from hashing_embedder import HashingEmbedder
from memory.conftest import Clock
from memory.test_store import files_with
from ragstone.errors import LockedError, MismatchError, SettingsError, StoreError
from ragstone.memory.answering import answer_with_memory
from ragstone.memory.redis_truth import RedisTruth
from ragstone.memory.shared_store import SharedMemoryStore
from ragstone.types import Answer, AnswerDone, Memory, Usage
from redis_server import RedisServer

Copy = Callable[..., SharedMemoryStore]
TURN_S = 1.5


@pytest.fixture
def durable_server(tmp_path: Path) -> Iterator[RedisServer]:
    (tmp_path / "server").mkdir()
    server = RedisServer(tmp_path / "server", "--appendonly", "yes", "--appendfsync", "always")
    yield server
    server.close()


@pytest.fixture
def copy(tmp_path: Path, durable_server: RedisServer, clock: Clock) -> Iterator[Copy]:
    """Opens this test's memory as the machine of that name."""
    stores: list[SharedMemoryStore] = []

    def open_(machine: str, embedder: HashingEmbedder | None = None) -> SharedMemoryStore:
        stores.append(
            SharedMemoryStore(
                tmp_path / machine,
                url=durable_server.url,
                name="default",
                embedder=embedder or HashingEmbedder(),
                clock=clock,
                turn_s=TURN_S,
            )
        )
        return stores[-1]

    yield open_
    for store in stores:
        store.close()


def facts(store: SharedMemoryStore) -> list[object]:
    """Every entry but for the numbers that only its copy knows."""
    return [
        (
            e.id,
            e.text,
            e.tier,
            e.importance,
            e.expires_s,
            e.access_count,
            e.superseded_by,
            e.refreshed,
            e.tags,
        )
        for e in store.entries()
    ]


def test_what_one_machine_does_the_others_know(copy: Copy) -> None:
    one, two = copy("one"), copy("two")
    one.add("Anna lives in Berlin.", tier="long_term", tags=["people"])
    assert two.add("Anna now lives in Munich.", tier="long_term").superseded == ("m1",)
    assert one.add("ANNA NOW LIVES IN MUNICH", tier="working").outcome == "refreshed"
    two.recall("Munich", limit=1)
    one.promote("m2", "semantic")
    two.note_answer("The keeper wrote his name in the log and rang the bell twice.")
    assert one.add("The keeper wrote his name in the log and rang the bell twice.", source="agent").id is None
    assert facts(one) == facts(two) == facts(copy("three"))
    assert [entry.access_count for entry in one.entries()] == [0, 1]
    assert [item.entry.id for item in copy("three").search("Berlin")] == ["m1", "m2"]
    assert two.forget(["m1"]) == 1
    assert [entry.superseded_by for entry in one.entries()] == [None]
    one.close()
    newest = two.add("The ferry leaves at noon.", tier="long_term").id
    two.forget([str(newest)])
    four = copy("four")  # never saw it, and does not give its number again
    assert four.add("The library opens at ten.", tier="long_term").id not in {newest, None}
    assert facts(copy("one")) == facts(two)


def test_no_copy_and_no_file_of_the_server_keeps_what_was_forgotten(copy: Copy, tmp_path: Path) -> None:
    one, two = copy("one"), copy("two")
    one.add("the password of the boathouse was brillig", tier="long_term")
    assert len(two.entries()) == 1
    one.forget(["m1"])
    assert files_with(tmp_path / "one", b"brillig") == []
    assert two.entries() == []
    assert files_with(tmp_path / "two", b"brillig") == []
    while one._truth._client.info("persistence")["aof_rewrite_in_progress"]:
        pass
    assert files_with(tmp_path / "server", b"brillig") == []


def test_a_copy_that_was_lost_or_is_ahead_of_its_redis_is_made_anew(
    copy: Copy, tmp_path: Path, durable_server: RedisServer
) -> None:
    one = copy("one")
    one.add("herons nest on the pier", tier="long_term")
    durable_server.kill()
    shutil.copytree(tmp_path / "server", tmp_path / "backup")
    durable_server.start()
    one.add("swans winter on the pier", tier="long_term")
    two = copy("two")
    two.add("gulls steal bread on the pier", tier="long_term")
    durable_server.kill()  # and comes back as it was before the swans
    shutil.rmtree(tmp_path / "server")
    shutil.copytree(tmp_path / "backup", tmp_path / "server")
    durable_server.start()
    assert [entry.text for entry in one.entries()] == ["herons nest on the pier"]
    one.add("terns dive off the pier", tier="long_term")
    one.add("crows watch from the pier", tier="long_term")  # as many changes as `two` knows of
    assert facts(two) == facts(one)
    assert {item.entry.text for item in two.recall("pier", limit=9)} == {e.text for e in one.entries()}
    with durable_server.client(protocol=2) as client:
        client.flushall()
    assert one.entries() == two.entries() == []
    assert two.add("herons nest on the pier").id == "m1"


def test_nothing_is_half_done_when_the_server_dies_midway(copy: Copy, durable_server: RedisServer) -> None:
    choice, one = random.Random(7), copy("one")
    acknowledged: list[str] = []
    for turn in range(4):
        killer = threading.Timer(choice.uniform(0.01, 0.15), durable_server.kill)
        killer.start()
        with pytest.raises(StoreError):
            for n in range(10_000):
                text = f"kestrel{turn}x{n} osprey{n}y falcon{turn}z{n}"
                one.add(text, tier="long_term", importance=1.0)
                acknowledged.append(text)
                one.consolidate()
        killer.join()
        with pytest.raises(StoreError, match="cannot be reached"):
            one.recall("kestrel")
        durable_server.start()
        known = [entry.text for entry in one.entries()]
        assert set(acknowledged) <= set(known)
        assert len(known) <= len(acknowledged) + 1  # done, and dead before it could say so
        acknowledged = known
    assert facts(one) == facts(copy("two")) and acknowledged
    for entry in one.entries():
        (best,) = one.search(entry.text, mode="keyword", limit=1)
        assert best.entry.text == entry.text


WRITER = textwrap.dedent("""
    import sys
    from pathlib import Path
    from hashing_embedder import HashingEmbedder
    from ragstone.memory.shared_store import SharedMemoryStore

    store = SharedMemoryStore(
        Path(sys.argv[1]), url=sys.argv[2], name="default", embedder=HashingEmbedder(), turn_s=1.5
    )
    first = int(sys.argv[3])
    for n in range(first, first + 10_000):
        stored = store.add(f"kestrel{n}x osprey{n}y falcon{n}z", tier="semantic", importance=1.0)
        print(n, flush=True)
""")


def test_processes_killed_in_their_turn_leave_what_they_acknowledged(
    copy: Copy, tmp_path: Path, durable_server: RedisServer
) -> None:
    here = Path(__file__).resolve().parents[2]
    paths = os.pathsep.join([str(here / "tests"), str(here / "src")])
    watcher, said = copy("watcher"), set[str]()
    children = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path / f"m{n}"), durable_server.url, str(n * 10_000)],
            env={**os.environ, "PYTHONPATH": paths},
            stdout=subprocess.PIPE,
            text=True,
        )
        for n in range(2)
    ]
    for child in children:
        assert child.stdout is not None
        said.update(child.stdout.readline().strip() for _ in range(5))
        os.kill(child.pid, signal.SIGKILL)
        said.update(line.strip() for line in child.stdout if line.endswith("\n"))
        assert child.wait() == -signal.SIGKILL
        child.stdout.close()
    watcher.add("herons nest on the pier", tier="semantic")  # waits until the turn of a dead one is over
    texts = [entry.text for entry in watcher.entries()]
    assert {f"kestrel{n}x osprey{n}y falcon{n}z" for n in said} <= set(texts)
    assert len(set(texts)) == len(texts)


def test_a_conversation_goes_on_without_its_memory_and_says_so(
    copy: Copy, durable_server: RedisServer
) -> None:
    store = copy("one")
    store.add("The ferry leaves at noon.", tier="long_term")

    def asked(memories: Sequence[Memory]) -> Generator[AnswerDone, None, None]:
        yield AnswerDone(
            Answer("At noon.", (), True, "extractive", (), (), Usage(0, 0), {}, memories=tuple(memories))
        )

    def answered() -> Answer:
        (done,) = answer_with_memory("When does the ferry leave?", (), opened=lambda: store, ask=asked)
        assert isinstance(done, AnswerDone)
        return done.answer

    assert [memory.id for memory in answered().memories] == ["m1"]
    assert store.entries()[0].access_count == 1
    durable_server.kill()
    told = answered()
    assert told.memories == ()
    assert [(part.source, "cannot be reached" in part.reason) for part in told.degraded] == [("memory", True)]
    durable_server.start()
    assert answered().memories


def test_one_change_at_a_time_and_only_in_its_turn(copy: Copy, durable_server: RedisServer) -> None:
    store = copy("one")
    truth = RedisTruth(durable_server.url, "default", turn_s=TURN_S)
    with truth.turn() as turn:
        late = RedisTruth(durable_server.url, "default", turn_s=0.05)
        with pytest.raises(LockedError), late.turn():
            pass
        late.close()
        with pytest.raises(StoreError, match="nothing was changed"):  # on a state that is not the newest
            truth.change(turn, "7:ab", removed=(), items={}, entry=1, answer=0, forgotten=False)
        with durable_server.client(protocol=2) as client:  # as if the turn had ended by itself
            client.delete(truth._keys[0])
        with pytest.raises(StoreError, match="longer than its turn"):
            truth.change(turn, "", removed=(), items={}, entry=1, answer=0, forgotten=False)
    truth.close()
    assert store.entries() == [] and store.add("herons").id == "m1"


def test_another_models_memory_is_refused_and_a_bad_address_named(copy: Copy, tmp_path: Path) -> None:
    copy("one")
    with pytest.raises(MismatchError, match="was made with"):
        copy("two", HashingEmbedder(name="other"))
    with pytest.raises(SettingsError, match="memory_redis_url"):
        RedisTruth("http://localhost", "default")
