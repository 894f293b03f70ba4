"""One indexed library and one running service for the tests that change nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ragstone.embedding import load_embedder
from ragstone.engine import Ragstone
from ragstone.types import Embedder
from server.live import DrippingModel, LiveService, running, write_library


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session")
def embedder(models_dir: Path) -> Iterator[Embedder]:
    model = load_embedder("minilm", cache_dir=models_dir)
    yield model
    model.close()


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_library(tmp_path_factory.mktemp("library"))


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory, library: Path, embedder: Embedder) -> Path:
    """A data directory in which the library is indexed."""
    folder = tmp_path_factory.mktemp("data")
    with Ragstone(folder, embedder=embedder) as engine:
        report = engine.index([library])
        assert report.failed == ()
    return folder


@pytest.fixture(scope="session")
def service(data_dir: Path, embedder: Embedder) -> Iterator[LiveService]:
    with Ragstone(data_dir, embedder=embedder) as engine, running(engine) as live:
        live.wait_ready()
        yield live


@pytest.fixture
def model() -> DrippingModel:
    return DrippingModel()


@pytest.fixture
def chatting(data_dir: Path, embedder: Embedder, model: DrippingModel) -> Iterator[LiveService]:
    """A service whose answers come from `model`; an answer may take 2 s."""
    with (
        Ragstone(data_dir, embedder=embedder, chat_model=model) as engine,
        running(engine, answer_limit_s=2.0) as live,
    ):
        live.wait_ready()
        yield live
