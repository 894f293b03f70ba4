"""One pool for all tests of readers: children are meant to serve many files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ragstone.documents.blocks import check_blocks
from ragstone.documents.pool import ReaderPool
from ragstone.types import ParsedDocument


@pytest.fixture(scope="session")
def pool() -> Iterator[ReaderPool]:
    with ReaderPool() as pool:
        yield pool


@pytest.fixture
def read(pool: ReaderPool, tmp_path: Path) -> Callable[[str, str | bytes], ParsedDocument]:
    """Write a file of that name and content, and read it."""

    def read_file(name: str, content: str | bytes) -> ParsedDocument:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        document = pool.read(path)
        check_blocks(document)
        return document

    return read_file
