"""Each setting changes what ragstone does, under our name or the well-known one: not only parsed, but read."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from hashing_embedder import HashingEmbedder
from loopback_server import Post, loopback_server
from ragstone import Ragstone, Settings
from ragstone.cli.invocation import log_path, log_to
from ragstone.errors import ModelError, RagstoneError

COMMAND = Path(sys.executable).with_name("ragstone")
KEEPER = "The lighthouse keeper is called Tom Arkwright. He lights the lamp at dusk."
QUESTION = "What is the lighthouse keeper called?"

Open = Callable[..., Ragstone]


@dataclass
class Endpoint:
    """An OpenAI-compatible server on loopback that keeps what it was sent."""

    url: str
    paths: list[str] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    pause: threading.Event = field(default_factory=threading.Event)  # set: answer at once

    def answer(self, path: str, body: dict[str, Any]) -> tuple[str, bytes]:
        if path.endswith("/embeddings"):
            vectors = HashingEmbedder(dim=8).embed_documents(body["input"])
            rows = [{"index": n, "embedding": row.tolist()} for n, row in enumerate(vectors)]
            return "application/json", json.dumps({"data": rows, "model": body["model"]}).encode()
        self.pause.wait(timeout=20)
        delta = {"choices": [{"index": 0, "delta": {"content": "Tom Arkwright [1]."}, "finish_reason": None}]}
        end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        events = f"data: {json.dumps(delta)}\n\ndata: {json.dumps(end)}\n\ndata: [DONE]\n\n"
        return "text/event-stream", events.encode()


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    seen = Endpoint("")
    seen.pause.set()

    def answer(post: Post) -> tuple[int, dict[str, str], bytes]:
        body = json.loads(post.body)
        seen.paths.append(post.path)
        seen.bodies.append(body)
        seen.headers.append(dict(post.headers))
        kind, content = seen.answer(post.path, body)
        return 200, {"Content-Type": kind}, content

    with loopback_server(answer) as address:
        seen.url = f"{address}/v1"
        yield seen
        seen.pause.set()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture
def opened(tmp_path: Path, models: Path) -> Iterator[Open]:
    """Opens an engine on one store with settings from the given environment, and closes it at the end."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "models").symlink_to(models)
    engines: list[Ragstone] = []

    def open_engine(embedder: HashingEmbedder | None = None, **environ: str) -> Ragstone:
        base = {"HOME": str(tmp_path), "RAGSTONE_DATA_DIR": str(tmp_path / "data")}
        settings = Settings.load(environ=base | environ, working_dir=tmp_path)
        engines.append(Ragstone(settings=settings, embedder=embedder))
        return engines[-1]

    yield open_engine
    for engine in engines:
        engine.close()


def test_data_dir_and_collection_say_where_documents_go(opened: Open, tmp_path: Path) -> None:
    other = tmp_path / "other"
    engine = opened(HashingEmbedder(), RAGSTONE_DATA_DIR=str(other), RAGSTONE_COLLECTION="papers")
    engine.add([KEEPER])
    assert (other / "collections" / "papers" / "catalog.sqlite").is_file()


@pytest.mark.parametrize("name", ["RAGSTONE_MODEL", "RAG_MODEL"])
def test_model_and_its_endpoint_and_key_are_used_to_embed(
    opened: Open, endpoint: Endpoint, name: str
) -> None:
    key = {"RAGSTONE_EMBEDDING_BASE_URL": endpoint.url, "RAGSTONE_EMBEDDING_API_KEY": "k-1"}
    engine = opened(**{name: "openai:tiny"}, **key)
    engine.add([KEEPER])
    assert endpoint.paths[0] == "/v1/embeddings"
    assert endpoint.bodies[0]["model"] == "tiny"
    assert endpoint.headers[0]["authorization"] == "Bearer k-1"


@pytest.mark.parametrize("name", ["RAGSTONE_MODEL_THREADS", "RAG_CPU_THREADS"])
def test_threads_embed_as_many_as_set(opened: Open, name: str) -> None:
    texts = [f"Boat {number} carries {number} cars over the sound." for number in range(64)]

    def embedding() -> set[threading.Thread]:
        return {thread for thread in threading.enumerate() if thread.name.startswith("embed")}

    def threads_added(count: str) -> int:
        before = embedding()  # of engines that other tests still hold
        with closing(opened(**{name: count, "RAGSTONE_COLLECTION": f"with-{count}"})) as engine:
            engine.add(texts)
            return len(embedding() - before)

    assert threads_added("1") == 1
    assert 1 < threads_added("4") <= 4


@pytest.mark.parametrize("name", ["RAGSTONE_DEVICE", "RAG_DEVICE"])
def test_a_device_that_is_not_there_is_refused(opened: Open, name: str) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    with pytest.raises(ModelError, match=r"(?i)cuda"):
        opened(**{name: "cuda"}).warm_up()


@pytest.mark.parametrize(
    "names",
    [
        (
            "RAGSTONE_CHAT_MODEL",
            "RAGSTONE_CHAT_BASE_URL",
            "RAGSTONE_CHAT_API_KEY",
            "RAGSTONE_CHAT_ORGANIZATION",
        ),
        ("OPENAI_MODEL", "OPENAI_BASE_URL", "OPENAI_API_KEY", "OPENAI_ORG_ID"),
    ],
)
def test_the_chat_model_is_asked_where_and_as_whom_it_was_set(
    opened: Open, endpoint: Endpoint, names: tuple[str, ...]
) -> None:
    engine = opened(**dict(zip(names, ("llama", endpoint.url, "k-2", "org-7"), strict=True)))
    engine.add([KEEPER])
    answer = engine.ask(QUESTION)
    assert (answer.model, endpoint.paths) == ("llama", ["/v1/chat/completions"])
    assert endpoint.bodies[0]["model"] == "llama"
    assert endpoint.headers[0]["authorization"] == "Bearer k-2"
    assert endpoint.headers[0]["openai-organization"] == "org-7"


def test_a_key_alone_sends_nothing_anywhere(opened: Open, endpoint: Endpoint) -> None:
    engine = opened(OPENAI_API_KEY="k-2", OPENAI_BASE_URL=endpoint.url)
    engine.add([KEEPER])
    assert engine.ask(QUESTION).model == "extractive"
    assert endpoint.paths == []


def test_an_answer_waits_no_longer_than_set(opened: Open, endpoint: Endpoint) -> None:
    endpoint.pause.clear()
    engine = opened(OPENAI_MODEL="llama", OPENAI_BASE_URL=endpoint.url, RAGSTONE_CHAT_TIMEOUT_S="0.3")
    engine.add([KEEPER])
    answer = engine.ask(QUESTION)
    assert answer.model == "extractive"
    assert answer.degraded
    assert answer.timings_ms["total"] < 5_000


@pytest.mark.parametrize("name", ["RAGSTONE_MAX_CONTEXT_LENGTH", "MAX_CONTEXT_LENGTH"])
def test_the_prompt_is_no_longer_than_set(opened: Open, endpoint: Endpoint, name: str) -> None:
    chat = {"OPENAI_MODEL": "llama", "OPENAI_BASE_URL": endpoint.url}
    texts = [
        f"{KEEPER} " + f"On day {day} the sea was calm and boat {day} came in. " * 14 for day in range(4)
    ]
    opened(**chat).add(texts)
    for limit in ("8000", "300"):
        opened(**chat, **{name: limit}).ask(QUESTION)
    long, short = (len(json.dumps(body["messages"])) for body in endpoint.bodies)
    assert short < long / 2


@pytest.mark.parametrize(("setting", "expected"), [({}, 4), ({"RAGSTONE_ANSWER_K": "2"}, 2)])
def test_an_answer_draws_on_as_many_chunks_as_set(
    opened: Open, setting: dict[str, str], expected: int
) -> None:
    engine = opened(HashingEmbedder(), **setting)
    places = ["Holm", "Skar", "Vik", "Odde", "Nes", "Sund"]
    keepers = [f"The lighthouse keeper of {place} is called {place}son and lives there." for place in places]
    engine.add(keepers)
    assert len(engine.ask(QUESTION).hits) == expected


def test_a_search_returns_as_many_hits_as_set(opened: Open) -> None:
    opened(HashingEmbedder()).add([f"{KEEPER} Version {number}." for number in range(20)])
    assert len(opened(HashingEmbedder()).search("keeper").hits) == 10
    assert len(opened(HashingEmbedder(), RAGSTONE_TOP_K="3").search("keeper").hits) == 3


def test_chunks_are_no_longer_than_set(opened: Open) -> None:
    text = " ".join(f"Sentence number {number} is about the sea." for number in range(40))
    engine = opened(HashingEmbedder())
    engine.add([text], uris=["default"])
    shorter = opened(HashingEmbedder(), RAGSTONE_CHUNK_TOKENS="32", RAGSTONE_COLLECTION="short")
    shorter.add([text], uris=["short"])
    assert shorter.stats().chunks > engine.stats().chunks


def test_larger_files_than_set_are_reported(opened: Open, tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "long.txt").write_text(KEEPER * 20)
    report = opened(HashingEmbedder(), RAGSTONE_MAX_FILE_BYTES="1000").index([docs])
    assert [failed.code for failed in report.failed] == ["too_large"]
    assert opened(HashingEmbedder()).index([docs]).indexed == 1


def test_as_many_processes_read_as_set(opened: Open, tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    for number in range(12):
        (docs / f"{number}.txt").write_text(f"{KEEPER} Version {number}.")

    def most_children(workers: str) -> int:
        seen: list[int] = []

        def count(_: object) -> None:
            tasks = Path("/proc/self/task").glob("*/children")
            seen.append(sum(len(task.read_text().split()) for task in tasks))

        engine = opened(
            HashingEmbedder(), RAGSTONE_READER_WORKERS=workers, RAGSTONE_COLLECTION=f"by-{workers}"
        )
        engine.index([docs], progress=count)
        return max(seen)

    assert most_children("3") == most_children("1") + 2


@contextmanager
def served(tmp_path: Path, **environ: str) -> Iterator[str]:
    """The address of `ragstone serve` with the given environment, stopped afterwards."""
    base = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "PORT": "0"}
    process = subprocess.Popen(
        [COMMAND, "serve", "--json"],
        cwd=tmp_path,
        env=base | environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line:
            raise RagstoneError(process.communicate(timeout=30)[1])
        yield json.loads(line)["url"]
    finally:
        process.terminate()
        process.communicate(timeout=30)


def _stream_status(url: str) -> int:
    request = urllib.request.Request(
        f"{url}api/ask/stream", data=b'{"question": "Who?"}', headers={"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


@pytest.mark.parametrize(("host", "port"), [("HOST", "PORT"), ("RAGSTONE_HOST", "RAGSTONE_PORT")])
def test_serve_listens_where_set_and_streams_unless_told_not_to(tmp_path: Path, host: str, port: str) -> None:
    with served(tmp_path, **{host: "localhost", port: "0", "ENABLE_STREAMING": "false"}) as url:
        assert url.startswith("http://localhost:")
        assert _stream_status(url) == 409  # streaming is off
        taken = url.rsplit(":", 1)[1].strip("/")
        with pytest.raises(RagstoneError, match=taken), served(tmp_path, **{host: "localhost", port: taken}):
            pass


@pytest.mark.parametrize("name", ["RAGSTONE_LOG_LEVEL", "LOG_LEVEL"])
def test_the_log_holds_the_level_set_and_above(tmp_path: Path, name: str) -> None:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        for value in ("debug", "error"):
            settings = Settings.load(
                environ={"HOME": str(tmp_path), "RAGSTONE_DATA_DIR": str(tmp_path / value), name: value},
                working_dir=tmp_path,
            )
            log_to(settings)
            logging.getLogger("ragstone.test").info("a detail")
            logging.getLogger("ragstone.test").error("a fault")
    finally:
        for handler in root.handlers:
            if handler not in handlers:
                handler.close()
        root.handlers[:] = handlers
        root.setLevel(level)
        logging.getLogger("ragstone").setLevel(logging.NOTSET)
    both, faults = (log_path(tmp_path / value).read_text() for value in ("debug", "error"))
    assert ("a detail" in both, "a fault" in both) == (True, True)
    assert ("a detail" in faults, "a fault" in faults) == (False, True)
