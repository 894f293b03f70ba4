"""What the world does to a store: a full disk, a second writer, damaged files. Nothing acknowledged is lost."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from damage import break_schema
from hashing_embedder import HashingEmbedder
from ragstone import Ragstone
from ragstone.collection import RETRY_S
from ragstone.errors import DamagedError, DiskFullError, LockedError, StoreError
from ragstone.index.plans import make_plan
from ragstone.store import catalog
from ragstone.types import Degraded, Matrix, SearchMode, Vector

TESTS = Path(__file__).resolve().parent
MODES: tuple[SearchMode, ...] = ("hybrid", "dense", "keyword")


def mounted(folder: Path, options: str) -> None:
    """A small file system in memory at `folder`; skips where that is not allowed."""
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True)
    if done.returncode:
        pytest.skip(f"cannot mount a small disk: {done.stderr.decode().strip()}")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """48 MB that can be filled."""
    mounted(tmp_path / "disk", "size=48m")
    yield tmp_path / "disk"
    subprocess.run(["umount", "-l", str(tmp_path / "disk")], check=True)


@pytest.fixture
def few_files(tmp_path: Path) -> Iterator[Path]:
    """Bytes enough, but room for 200 files only: each new file can be the one that does not fit."""
    mounted(tmp_path / "disk", "size=128m,nr_inodes=200")
    yield tmp_path / "disk"
    subprocess.run(["umount", "-l", str(tmp_path / "disk")], check=True)


def fill(disk: Path, *, leave_bytes: int) -> Path:
    ballast = disk / "ballast"
    status = os.statvfs(disk)
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, status.f_bavail * status.f_frsize - leave_bytes)
    return ballast


def vectors(count: int, dim: int = 16) -> Matrix:
    return np.random.default_rng(count).standard_normal((count, dim)).astype(np.float32)


def uris_found(engine: Ragstone, query: str, mode: SearchMode, vector: Vector) -> set[str]:
    return {hit.uri for hit in engine.search(query, mode=mode, top_k=1000, vector=vector).hits}


@pytest.mark.parametrize("leave_bytes", [0, 1 << 20, (8 << 20) + 65_536])
def test_a_full_disk_stops_writing_and_nothing_else(small_disk: Path, leave_bytes: int) -> None:
    choice = random.Random(leave_bytes)
    with Ragstone(small_disk / "data") as engine:
        early = vectors(2)
        engine.add(["an early harbour", "another early lantern"], uris=["a", "b"], vectors=early)
        ballast = fill(small_disk, leave_bytes=leave_bytes)
        # 4 MB: above the reserve it begins to be written, and the keyword index finds the rest too small.
        texts = [f"late harbour {choice.randbytes(1000).hex(' ', 4)}" for number in range(2000)]
        uris = [f"late:{number}" for number in range(2000)]
        with pytest.raises(DiskFullError, match=r"free|no space") as caught:
            engine.add(texts, uris=uris, vectors=vectors(2000))
        assert "nothing acknowledged was lost" in caught.value.hint
        for mode in MODES:
            assert "a" in uris_found(engine, "early harbour", mode, early[0])
        assert engine.document("b")[1] == "another early lantern"
        with pytest.raises(DiskFullError):
            engine.delete(["b"])
        ballast.unlink()
        engine.add(texts, uris=uris, vectors=vectors(2000))
        assert engine.stats().documents == 2002
        for mode in MODES:
            assert {"a", "late:7"} <= uris_found(
                engine, f"early {texts[7][:40]}", mode, early[0] + vectors(2000)[7]
            )
        assert engine.verify().ok


def test_a_store_opens_and_searches_on_a_disk_without_a_free_byte(small_disk: Path) -> None:
    with Ragstone(small_disk / "data", embedder=HashingEmbedder()) as engine:
        engine.add(["an early harbour"], uris=["a"])
        fill(small_disk, leave_bytes=0)
        code = (
            "import sys; from hashing_embedder import HashingEmbedder; from ragstone import Ragstone\n"
            "engine = Ragstone(sys.argv[1], embedder=HashingEmbedder())\n"
            "for mode in ('hybrid', 'dense', 'keyword'): print(engine.search('harbour', mode=mode).hits[0].uri)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(small_disk / "data")],
            env={**os.environ, "PYTHONPATH": str(TESTS)},
            capture_output=True,
            text=True,
        )
        assert done.stdout.split() == ["a", "a", "a"], done.stderr


def test_a_disk_that_fills_while_a_segment_is_sealed_loses_nothing(small_disk: Path) -> None:
    rows = vectors(1025, dim=3700)  # sealing writes 7.6 MB, and 1,024 rows are what makes a run seal
    texts = [f"text {number}" for number in range(1025)]
    uris = [f"t:{number}" for number in range(1025)]
    with Ragstone(small_disk / "data") as engine:
        engine.add(texts[:1000], uris=uris[:1000], vectors=rows[:1000])
        ballast = fill(small_disk, leave_bytes=17 << 19)
        with pytest.raises(DiskFullError, match=r"sealing 1,025 vectors needs 9 MiB, 8 MiB are free"):
            engine.add(texts[1000:], uris=uris[1000:], vectors=rows[1000:])
        found = engine.search("text", mode="dense", vector=rows[7], top_k=1).hits
        assert [hit.uri for hit in found] == ["t:7"]
        ballast.unlink()
        engine.add(texts[1000:], uris=uris[1000:], vectors=rows[1000:])
        stats = engine.stats()
        assert (stats.documents, stats.segments, stats.pending) == (1025, 1, 0)
        for number in (7, 1010):
            found = engine.search("text", mode="dense", vector=rows[number], top_k=1).hits
            assert [hit.uri for hit in found] == [f"t:{number}"]
        assert engine.verify().ok


@pytest.mark.parametrize(
    "refusal", [DiskFullError, StoreError], ids=["checked before", "found while writing"]
)
def test_whichever_file_does_not_fit_the_same_call_succeeds_once_it_does(
    few_files: Path, refusal: type[StoreError], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock, the segment's files, the keyword index's: each is in turn the first without room.

    Not checked before, as when another program is faster: the error may then be less precise.
    """
    if refusal is StoreError:
        monkeypatch.setattr(catalog, "FREE_FILES_TO_WRITE", 0)
    refused = 0
    with Ragstone(few_files / "data") as engine:
        engine.add(["early harbour"], uris=["early"], vectors=vectors(1))
        for room in range(14):
            status = os.statvfs(few_files)
            stones = [few_files / f"stone{number}" for number in range(status.f_favail - room)]
            for stone in stones:
                stone.touch()
            batch = [f"{room}:{number}" for number in range(1030)]  # enough to be sealed at once
            texts = [f"late lantern {name}" for name in batch]
            try:
                engine.add(texts, uris=batch, vectors=vectors(1030))
            except refusal:
                refused += 1
                assert "early" in uris_found(engine, "early harbour", "keyword", vectors(1)[0])
                assert "early" in uris_found(engine, "early harbour", "dense", vectors(1)[0])
            for stone in stones:
                stone.unlink()
            engine.add(texts, uris=batch, vectors=vectors(1030))
            assert engine.stats().documents == 1 + 1030 * (room + 1)
            assert engine.verify().ok
    assert refused >= 5  # so many files at least are made by an add that seals


# -- two writers --------------------------------------------------------------------------------------------

INDEX = """
import sys, time
from damage import break_schema
from hashing_embedder import HashingEmbedder
from ragstone import Ragstone
from ragstone.errors import LockedError
engine = Ragstone(sys.argv[1], embedder=HashingEmbedder())
print("ready", flush=True)
sys.stdin.readline()
started_s = time.monotonic()
def progress(event):
    if event.stage == "scan": time.sleep(0.3)  # a long run
try:
    engine.index([sys.argv[2]], progress=progress)
    print("worked")
except LockedError as error:
    print("refused", round(time.monotonic() - started_s, 3), error.message, flush=True)
"""


def test_of_two_processes_indexing_at_once_one_works_and_the_other_is_told_which(tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "a.txt").write_text("the harbour at night")
    rounds = int(os.environ.get("LOCK_ROUNDS", "3"))  # 20 in the long run
    for number in range(rounds):
        children = [
            subprocess.Popen(
                [sys.executable, "-c", INDEX, str(tmp_path / f"data{number}"), str(folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": str(TESTS)},
                text=True,
            )
            for _ in range(2)
        ]
        for child in children:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
        for child in children:
            assert child.stdin is not None
            child.stdin.write("\n")
            child.stdin.flush()
        said = [child.communicate(timeout=60)[0] for child in children]
        (worker,) = [child for child, words in zip(children, said, strict=True) if words == "worked\n"]
        (refusal,) = [words for words in said if words.startswith("refused")]
        assert f"process {worker.pid} (-c " in refusal
        assert float(refusal.split()[1]) < 1.0


def test_a_reader_in_another_process_sees_each_commit(tmp_path: Path) -> None:
    code = (
        "import sys; from hashing_embedder import HashingEmbedder; from ragstone import Ragstone\n"
        "engine = Ragstone(sys.argv[1], embedder=HashingEmbedder())\n"
        "for line in sys.stdin:\n"
        "    hits = [engine.search(line, mode=mode).hits for mode in ('hybrid', 'dense', 'keyword')]\n"
        "    print(*sorted({hit.uri for found in hits for hit in found}), flush=True)\n"
    )
    with Ragstone(tmp_path / "data", embedder=HashingEmbedder()) as engine:
        engine.add(["harbour"], uris=["a"])
        reader = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "data")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(TESTS)},
            text=True,
            bufsize=1,
        )
        assert reader.stdin is not None
        assert reader.stdout is not None

        def seen() -> list[str]:
            assert reader.stdin is not None
            assert reader.stdout is not None
            reader.stdin.write("harbour\n")
            return reader.stdout.readline().split()

        assert seen() == ["a"]
        engine.add(["harbour two", "harbour three"], uris=["b", "c"])
        assert seen() == ["a", "b", "c"]
        engine.delete(["a"])
        assert seen() == ["b", "c"]
        engine.add([f"harbour {n}" for n in range(1100)], uris=[f"n{n}" for n in range(1100)])  # seals
        assert len(seen()) >= 10
        engine.delete([f"n{n}" for n in range(1100)])
        assert seen() == ["b", "c"]
        with engine._collection().writing():
            engine._collection().rebuild_keyword()
        engine.add(["harbour four"], uris=["d"])
        assert seen() == ["b", "c", "d"]
        reader.communicate(timeout=30)
        assert reader.returncode == 0


def test_without_a_keyword_index_search_goes_by_meaning(tmp_path: Path) -> None:
    with Ragstone(tmp_path / "data", embedder=HashingEmbedder()) as engine:
        engine.add(["harbour", "kestrel"], uris=["a", "b"])
    shutil.rmtree(tmp_path / "data/collections/default/keyword")
    code = (
        "import sys\nfrom pathlib import Path\nfrom ragstone.store.lock import WriterLock\n"
        "with WriterLock(Path(sys.argv[1])).held():\n    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    lock = tmp_path / "data/collections/default/lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with Ragstone(tmp_path / "data", embedder=HashingEmbedder()) as engine:
        for mode in MODES[:2]:
            found = engine.search("harbour", mode=mode, top_k=1)
            assert [hit.uri for hit in found.hits] == ["a"]
            assert found.degraded == (Degraded("keyword", "the keyword index is being rebuilt"),)
        with pytest.raises(StoreError, match="being rebuilt"):
            engine.search("harbour", mode="keyword")
        holder.communicate(timeout=30)
        time.sleep(RETRY_S)
        assert [hit.uri for hit in engine.search("harbour", mode="keyword").hits] == ["a"]


def test_the_second_engine_in_a_process_is_refused_too(tmp_path: Path) -> None:
    with Ragstone(tmp_path, embedder=HashingEmbedder()) as one, Ragstone(tmp_path) as two:
        one.add(["harbour"], uris=["a"])
        with one._collection().writing(), pytest.raises(LockedError, match=str(os.getpid())):
            two.delete(["a"])


@pytest.mark.parametrize(
    ("table", "column", "value", "use", "fault"),
    [
        ("segments", "name", "NULL", lambda engine: engine.search("lantern"), "NoneType for SegmentRow.name"),
        ("documents", "title", "NULL", lambda engine: engine.search("lantern"), "NoneType for Hit.title"),
        (
            "documents",
            "format",
            "x'00ff'",
            lambda engine: engine.documents(),
            "bytes for DocumentInfo.format",
        ),
        (
            "chunks",
            "tile",
            "x'00ff'",
            lambda engine: engine.document("text:1"),
            "non-TEXT value in chunks.tile",
        ),
        ("counters", "value", "NULL", lambda engine: engine.delete(["text:1"]), "the counter [a-z_]* is"),
        ("plans", "plan", "NULL", lambda engine: engine.applied_plan(), "NULL value in plans.plan"),
        ("votes", "value", "'x'", lambda engine: engine.votes(), "str for Vote.value"),
        ("votes", "vector", "'x'", lambda engine: engine.search("lantern"), "has not 16 numbers"),
        ("identity", "value", "'x'", lambda engine: engine.stats(), "the identity is"),
    ],
)
def test_a_row_that_no_schema_allows_is_refused_and_blamed_on_the_catalog(
    tmp_path: Path, table: str, column: str, value: str, use: Callable[[Ragstone], object], fault: str
) -> None:
    with Ragstone(tmp_path / "data", embedder=HashingEmbedder(dim=16)) as engine:
        engine.add([f"the lantern of house {n}" for n in range(20)], uris=[f"text:{n}" for n in range(20)])
        engine.apply_plan(make_plan("Flat", dim=16), recall=0.9)
        engine.vote("lantern", engine.search("lantern").hits[0].id)
    assert break_schema(tmp_path / "data/collections/default/catalog.sqlite", table, column, value)
    with (
        Ragstone(tmp_path / "data", embedder=HashingEmbedder(dim=16)) as engine,
        pytest.raises(DamagedError, match=rf"catalog\.sqlite is damaged: .*{fault}") as error,
    ):
        use(engine)
    assert "restore it from a backup" in error.value.hint
