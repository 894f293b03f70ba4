"""A model server: equal to the model it serves, and alive when its workers are not."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import openai
import pytest

from hashing_embedder import HashingEmbedder
from ragstone.embedding import load_embedder
from ragstone.embedding.minilm.model import wordpiece
from ragstone.embedding.openai_http import HttpEmbedder
from ragstone.engine import Ragstone
from ragstone.errors import RagstoneError
from ragstone.server.model_server import _keep
from ragstone.server.models import THREADS, WAITING
from ragstone.server.worker_process import Program
from ragstone.types import Embedder, Matrix
from server.live import LIBRARY, running, wait_until

PROGRAM = "import sys; from ragstone.cli.app import main; sys.exit(main())"
TEXTS = [*LIBRARY.values(), "", "x" * 5000, "granite " * 600, "a \ud800 bee"]


@dataclass
class Running:
    """A model server and where it listens."""

    process: subprocess.Popen[str]
    url: str

    def workers(self) -> list[int]:
        """The worker processes, found as the system's children of the server that run ragstone's code."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(pid) for pid in children if b"model_worker" in Path(f"/proc/{pid}/cmdline").read_bytes()]

    def embedder(self) -> HttpEmbedder:
        return HttpEmbedder("minilm", base_url=f"{self.url}v1", tokenizer=wordpiece())


@contextmanager
def serving(data_dir: Path, *options: str) -> Iterator[Running]:
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            PROGRAM,
            "model-server",
            "--port",
            "0",
            "--json",
            "--data-dir",
            str(data_dir),
            *options,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=data_dir,
        start_new_session=True,  # a group, as a terminal makes one
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        line = process.stdout.readline()
        assert line, process.stderr.read()
        yield Running(process, json.loads(line)["url"])
        if process.poll() is None:
            process.terminate()
            assert process.communicate(timeout=20) == ("", "")
            assert process.returncode == 0
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def models_only(tmp_path_factory: pytest.TempPathFactory, models_dir: Path, embedder: Embedder) -> Path:
    """A data directory without documents; the model's files are there already."""
    assert embedder.dim
    folder = tmp_path_factory.mktemp("models-only")
    (folder / "models").symlink_to(models_dir)
    return folder


@pytest.fixture(scope="module")
def server(models_only: Path) -> Iterator[Running]:
    with serving(models_only, "--workers", "2") as found:
        yield found


def test_the_model_through_the_server_is_the_model(server: Running, embedder: Embedder) -> None:
    there = server.embedder()
    assert (there.dim, there.max_tokens) == (embedder.dim, embedder.max_tokens)
    np.testing.assert_array_equal(there.embed_documents(TEXTS), embedder.embed_documents(TEXTS))
    for text in TEXTS:
        np.testing.assert_array_equal(there.embed_query(text), embedder.embed_query(text))
    assert there.count_tokens(TEXTS) == embedder.count_tokens(TEXTS)


def test_an_index_is_made_and_searched_through_the_server(
    server: Running, tmp_path: Path, library: Path, embedder: Embedder
) -> None:
    remote = load_embedder(
        "openai:minilm", cache_dir=tmp_path / "models", base_url=f"{server.url}v1", api_key="unused"
    )
    hits = []
    for name, model in (("remote", remote), ("local", embedder)):
        with Ragstone(tmp_path / name, embedder=model) as engine:
            assert engine.index([library]).failed == ()
            hits.append([(h.uri, h.start) for h in engine.search("granite tower", mode="dense").hits])
    assert hits[0] == hits[1]


def test_a_killed_worker_costs_no_answer_and_is_replaced(server: Running, embedder: Embedder) -> None:
    there = server.embedder()
    texts = [f"bee number {n}" for n in range(48)]
    expected = embedder.embed_documents(texts)
    before = server.workers()
    assert len(before) == 2
    stop, answers, failures = threading.Event(), [0], list[BaseException]()

    def ask() -> None:
        try:
            while not stop.is_set():
                np.testing.assert_array_equal(there.embed_documents(texts), expected)
                answers[0] += 1
        except BaseException as error:
            failures.append(error)
            raise

    clients = [threading.Thread(target=ask) for _ in range(3)]
    for client in clients:
        client.start()
    try:
        for _ in range(2):
            asked = answers[0]
            wait_until(lambda asked=asked: answers[0] > asked + 1, "clients are answered")  # type: ignore[misc]
            victim = server.workers()[0]
            os.kill(victim, signal.SIGKILL)
            wait_until(
                lambda victim=victim: len(now := server.workers()) == 2 and victim not in now,  # type: ignore[misc]
                "another worker is there",
            )
    finally:
        stop.set()
        for client in clients:
            client.join(20)
    assert failures == []
    assert answers[0] > 4


def test_it_serves_openais_client_and_no_documents(server: Running) -> None:
    with openai.OpenAI(base_url=f"{server.url}v1", api_key="none", max_retries=0) as client:
        assert [model.id for model in client.models.list()] == ["minilm"]
        assert len(client.embeddings.create(model="minilm", input="bee").data) == 1
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model="ragstone", messages=[{"role": "user", "content": "Hi"}])
    with urlopen(f"{server.url}health/ready") as reply:
        assert reply.status == 200


def test_ctrl_c_lets_requests_end_and_leaves_no_process(models_only: Path, embedder: Embedder) -> None:
    texts = [f"{text} {n}" for n in range(12) for text in LIBRARY.values()]
    expected = embedder.embed_documents(texts)
    with serving(models_only) as found:
        (worker,) = found.workers()
        there, answered = found.embedder(), list[Matrix]()
        client = threading.Thread(target=lambda: answered.append(there.embed_documents(texts)))
        client.start()
        wait_until(lambda: _connected(worker), "the request is there")
        os.killpg(found.process.pid, signal.SIGINT)
        out, err = found.process.communicate(timeout=15)
        client.join(20)
        assert (found.process.returncode, out, err) == (0, "", "")
    assert not Path(f"/proc/{worker}").exists()
    np.testing.assert_array_equal(answered[0], expected)


def _connected(pid: int) -> bool:
    """Whether the process holds a second socket of the network: the first is the one it listens on."""
    inodes = {line.split()[9] for line in Path("/proc/net/tcp").read_text().splitlines()[1:]}
    links = [str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir() if entry.is_symlink()]
    return sum(link.removeprefix("socket:[").removesuffix("]") in inodes for link in links) > 1


def test_each_worker_has_its_device_and_none_outlives_a_killed_server(models_only: Path) -> None:
    with serving(models_only, "--workers", "2", "--devices", "3,5") as found:
        workers = found.workers()
        seen = [part for pid in workers for part in _environment(pid) if b"CUDA_VISIBLE_DEVICES" in part]
        assert sorted(seen) == [b"CUDA_VISIBLE_DEVICES=3", b"CUDA_VISIBLE_DEVICES=5"]
        found.process.kill()
        found.process.wait()
        wait_until(
            lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), "the workers end", timeout_s=10
        )


def _environment(pid: int) -> list[bytes]:
    return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")


def test_a_model_that_is_not_there_is_said_at_once(models_only: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "model-server", "--port", "0", "--data-dir", str(models_only)],
        capture_output=True,
        text=True,
        env={**os.environ, "RAGSTONE_MODEL": "/no/such/model"},
        timeout=30,
    )
    assert done.returncode == 1
    assert "no folder /no/such/model" in done.stderr.replace("\n", " ")


def test_workers_that_end_as_they_start_end_the_server() -> None:
    announced: list[bool] = []
    with pytest.raises(RagstoneError, match="end as soon as they start, the last with status 4"):
        asyncio.run(_keep([Program("server.telling_worker", {"status": 4})], lambda: announced.append(True)))
    assert announced == []


@dataclass
class GatedEmbedder(HashingEmbedder):
    """Embeds once it is let."""

    gate: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        super().__init__()

    def embed_documents(self, texts: Sequence[str]) -> Matrix:
        assert self.gate.wait(20)
        return super().embed_documents(texts)


def test_more_requests_than_may_wait_are_told_when_to_come_again(tmp_path: Path) -> None:
    embedder = GatedEmbedder()
    statuses: list[int] = []
    with Ragstone(tmp_path, embedder=embedder) as engine, running(engine) as live:
        body = {"model": "minilm", "input": "bee"}
        clients = [
            threading.Thread(target=lambda: statuses.append(live.post("/v1/embeddings", body).status))
            for _ in range(THREADS + WAITING)
        ]
        for client in clients:
            client.start()
        try:
            places = live.app.state.models._workers
            while places.taken < THREADS + WAITING:  # a request of ours before would take a place itself
                time.sleep(0.01)
            refused = live.request("GET", "/v1/models")
        finally:
            embedder.gate.set()
            for client in clients:
                client.join(20)
        assert (refused.status, refused.headers["retry-after"]) == (503, "1")
        assert refused.json()["error"]["code"] == "busy"
    assert statuses == [200] * (THREADS + WAITING)
