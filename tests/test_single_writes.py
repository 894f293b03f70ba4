"""Texts added and deleted one by one: durable and found at once, though the keyword index commits many together."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from hashing_embedder import HashingEmbedder
from ragstone import Ragstone
from ragstone.collection_keyword import KEYWORD_TAIL_CHANGES, KEYWORD_TAIL_CHARS
from ragstone.store.keyword import KeywordIndex
from ragstone.types import SearchMode

MODES: tuple[SearchMode, ...] = ("hybrid", "dense", "keyword")


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Ragstone]:
    """A collection whose keyword index holds 300 texts."""
    with Ragstone(tmp_path / "data", embedder=HashingEmbedder()) as opened:
        opened.add([f"settled{n} heron" for n in range(300)], uris=[f"s{n}" for n in range(300)])
        yield opened


def committed(engine: Ragstone) -> int:
    """How many chunks the keyword index itself holds."""
    return KeywordIndex.open(engine._collection().folder / "keyword", writable=False).count


def found(engine: Ragstone, query: str, mode: SearchMode) -> list[str]:
    return [hit.uri for hit in engine.search(query, mode=mode, top_k=5).hits]


def test_a_text_is_found_in_every_mode_before_the_keyword_index_has_it(
    engine: Ragstone, tmp_path: Path
) -> None:
    with Ragstone(tmp_path / "data", embedder=HashingEmbedder()) as reader:
        for n in range(5):
            engine.add([f"fresh{n} kestrel"], uris=[f"f{n}"])
            for mode in MODES:
                assert found(engine, f"fresh{n} kestrel", mode)[0] == f"f{n}"
                assert found(reader, f"fresh{n} kestrel", mode)[0] == f"f{n}"
        engine.delete(["f2", "s7"])
        for each in (engine, reader):
            assert found(each, "fresh2", "keyword") == found(each, "settled7", "keyword") == []
            assert len(found(each, "kestrel", "keyword")) == 4
            assert len(each.search("heron", mode="keyword", top_k=1000).hits) == 299
    assert committed(engine) == 300
    assert engine.verify().ok


def test_what_waits_stays_little(engine: Ragstone) -> None:
    for n in range(KEYWORD_TAIL_CHANGES + 1):
        engine.add([f"fresh{n}"], uris=[f"f{n}"])
        waiting = engine.search("fresh", mode="keyword").degraded, committed(engine)
        assert waiting == ((), 300 if n < KEYWORD_TAIL_CHANGES else 301 + n)
    engine.add(["a long text " * KEYWORD_TAIL_CHARS], uris=["long"])
    assert found(engine, "long text", "keyword") == ["long"] * 5
    assert committed(engine) > 301 + KEYWORD_TAIL_CHANGES


def test_closing_leaves_nothing_waiting(engine: Ragstone, tmp_path: Path) -> None:
    engine.add(["kestrel"], uris=["f"])
    engine.close()
    assert KeywordIndex.open(tmp_path / "data/collections/default/keyword", writable=False).count == 301


def test_a_kill_loses_nothing_that_waited(engine: Ragstone, tmp_path: Path) -> None:
    engine.close()
    script = textwrap.dedent("""
        import os, signal, sys
        from ragstone import Ragstone
        from hashing_embedder import HashingEmbedder
        engine = Ragstone(sys.argv[1], embedder=HashingEmbedder())
        engine.add(["settled0 osprey"], uris=["s0"])
        for n in range(30):
            engine.add([f"fresh{n} kestrel"], uris=[f"f{n}"])
        engine.delete(["f3"])
        os.kill(os.getpid(), signal.SIGKILL)
    """)
    ended = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "data")],
        check=False,
        env={**os.environ, "PYTHONPATH": "tests"},
    )
    assert ended.returncode == -9
    with Ragstone(tmp_path / "data", embedder=HashingEmbedder()) as opened:
        assert committed(opened) < 330
        assert len(opened.search("kestrel", mode="keyword", top_k=100).hits) == 29
        assert found(opened, "osprey", "keyword") == ["s0"]
        assert found(opened, "fresh3", "keyword") == []
        assert opened.verify().ok


def test_a_chunk_missing_from_the_keyword_index_is_noticed_while_others_wait(engine: Ragstone) -> None:
    engine.add(["kestrel"], uris=["f"])
    index = KeywordIndex.open(engine._collection().folder / "keyword", writable=True)
    index.apply(add=[], delete=[5], sequence=index.sequence)
    assert [problem.code for problem in engine.verify().problems] == ["keyword_differs"]
    assert engine.repair().ok
    assert committed(engine) == 301
