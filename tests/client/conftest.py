"""A running service, and both clients behind one face."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from client.scripted import ScriptedServer
from ragstone.client.asynchronous import AsyncClient
from ragstone.client.blocking import Client
from ragstone.client.steps import StreamEvent
from ragstone.embedding import load_embedder
from ragstone.engine import Ragstone
from ragstone.types import Embedder
from server.live import LiveService, running, write_library


class Blocking:
    """`Client` as it is."""

    def __init__(self, url: str, **options: Any) -> None:
        self._client = Client(url, **options)

    def call(self, name: str, *arguments: Any, **options: Any) -> Any:
        """What the method returns."""
        return getattr(self._client, name)(*arguments, **options)

    def listen(
        self, question: str, *, until: Callable[[StreamEvent], bool] = lambda _: False, **options: Any
    ) -> list[StreamEvent]:
        """The events of an answer, up to the one that `until` names."""
        found: list[StreamEvent] = []
        with self._client.ask_stream(question, **options) as stream:
            for event in stream:
                found.append(event)
                if until(event):
                    break
        return found


class Asynchronous:
    """`AsyncClient`, each call on a loop of its own."""

    def __init__(self, url: str, **options: Any) -> None:
        self._client = AsyncClient(url, **options)

    def call(self, name: str, *arguments: Any, **options: Any) -> Any:
        """What the coroutine returns."""

        async def run() -> Any:
            return await getattr(self._client, name)(*arguments, **options)

        return asyncio.run(run())

    def listen(
        self, question: str, *, until: Callable[[StreamEvent], bool] = lambda _: False, **options: Any
    ) -> list[StreamEvent]:
        """The events of an answer, up to the one that `until` names."""

        async def run() -> list[StreamEvent]:
            found: list[StreamEvent] = []
            async with aclosing(self._client.ask_stream(question, **options)) as stream:
                async for event in stream:
                    found.append(event)
                    if until(event):
                        break
            return found

        return asyncio.run(run())


Either = type[Blocking] | type[Asynchronous]


@pytest.fixture(params=[Blocking, Asynchronous])
def either(request: pytest.FixtureRequest) -> Either:
    """Both clients, one after the other."""
    kind: Either = request.param
    return kind


@pytest.fixture
def scripted() -> Iterator[ScriptedServer]:
    """A server that says what it is told to, byte for byte."""
    with ScriptedServer() as server:
        yield server


@pytest.fixture(scope="session")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedder]:
    model = load_embedder("minilm", cache_dir=tmp_path_factory.mktemp("models"))
    yield model
    model.close()


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory, embedder: Embedder) -> Path:
    """A data directory in which the library is indexed."""
    folder = tmp_path_factory.mktemp("data")
    with Ragstone(folder, embedder=embedder) as engine:
        engine.index([write_library(tmp_path_factory.mktemp("library"))])
    return folder


@pytest.fixture(scope="session")
def engine(data_dir: Path, embedder: Embedder) -> Iterator[Ragstone]:
    with Ragstone(data_dir, embedder=embedder) as opened:
        yield opened


@pytest.fixture(scope="session")
def service(engine: Ragstone) -> Iterator[LiveService]:
    with running(engine) as live:
        live.wait_ready()
        yield live
