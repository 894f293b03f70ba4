"""Deleting for good: after a purge no file of the collection holds a byte of what was deleted."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from hashing_embedder import HashingEmbedder
from ragstone import Ragstone
from ragstone.errors import StoreError

SYLLABLES = ("ba", "ke", "li", "mo", "nu", "ra", "sho", "ti", "vu", "ze")


def made_up_word(choice: random.Random) -> str:
    return "".join(choice.choice(SYLLABLES) for _ in range(7))


def files_with(folder: Path, needle: bytes) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and needle in path.read_bytes()]


@pytest.mark.parametrize("seed", range(5))
def test_after_a_purge_no_file_holds_the_text_of_deleted_documents(tmp_path: Path, seed: int) -> None:
    choice = random.Random(seed)
    words = [made_up_word(choice) for _ in range(60)]
    texts = [f"The harbour log names {word} twice: {word}. " + "Nothing else. " * 20 for word in words]
    with Ragstone(tmp_path / "data", embedder=HashingEmbedder()) as engine:
        for start in range(0, 60, 20):
            uris = [f"note:{n}" for n in range(start, start + 20)]
            engine.add(
                texts[start : start + 20], uris=uris, titles=[f"About {w}" for w in words[start : start + 20]]
            )
            if choice.random() < 0.5:
                engine.compact()
        gone = choice.sample(range(60), 25)
        engine.delete([f"note:{n}" for n in gone])
        engine.add([texts[gone[0]].replace(words[gone[0]], "another")], uris=[f"note:{gone[0]}"])
        assert files_with(tmp_path, words[gone[0]].encode())  # the log and old index files still have it
        engine.purge()
        for number in gone:
            assert files_with(tmp_path, words[number].encode()) == [], number
            assert engine.search(words[number], mode="keyword").hits == ()
        for number in set(range(60)) - set(gone):
            assert engine.search(words[number], mode="keyword").hits[0].uri == f"note:{number}"
        assert engine.verify().ok
        assert engine.stats().tombstones == 0


def test_a_purge_says_so_when_a_reader_keeps_the_log_alive(tmp_path: Path) -> None:
    with Ragstone(tmp_path, embedder=HashingEmbedder()) as engine:
        engine.add(["The heron left the pier."], uris=["a"])
        engine.add(["The ferry left the pier."], uris=["b"])
        with engine._collection().catalog.reading() as db:
            db.execute("SELECT count(*) FROM chunks").fetchall()
            engine.delete(["a"])
            with pytest.raises(StoreError, match="still reads an older state"):
                engine.purge()
        engine.purge()
        assert files_with(tmp_path, b"heron") == []
