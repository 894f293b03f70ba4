"""FAISS files come out of the child process as what was put in, and no file reaches this process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from importers.foreign_stores import vectors_of, write_faiss
from ragstone.errors import DamagedError
from ragstone.importers import faiss_file
from ragstone.importers.faiss_file import is_faiss, read_faiss

ROWS = vectors_of(300)
EXACT = ["Flat", "HNSW8,Flat", "IVF4,Flat", "Flat,RFlat", "NSG8,Flat"]


@pytest.mark.parametrize("kind", [*EXACT, "RR16,Flat"])
def test_kinds_that_keep_their_vectors_give_them_back(kind: str, tmp_path: Path) -> None:
    path = write_faiss(tmp_path / "x", ROWS, kind=kind)
    found = read_faiss(path)
    assert is_faiss(path)
    assert not found.lossy
    order = np.argsort(found.ids)
    assert found.ids[order].tolist() == list(range(len(ROWS)))
    np.testing.assert_allclose(found.rows[order], ROWS, atol=0 if kind in EXACT else 1e-5)


@pytest.mark.parametrize(
    ("kind", "error"), [("SQ8", 0.02), ("SQfp16", 1e-3), ("IVF4,SQ8", 0.02), ("PQ8x4", 0.8)]
)
def test_kinds_that_compress_say_that_they_do(kind: str, error: float, tmp_path: Path) -> None:
    found = read_faiss(write_faiss(tmp_path / "x", ROWS, kind=kind))
    assert found.lossy
    order = np.argsort(found.ids)
    np.testing.assert_allclose(found.rows[order], ROWS, atol=error)


def test_ids_of_a_mapped_index_are_its_own(tmp_path: Path) -> None:
    ids = [number * 7 + 5 for number in range(300)]
    found = read_faiss(write_faiss(tmp_path / "x", ROWS, kind="IDMap,HNSW8", ids=ids))
    assert found.ids.tolist() == ids
    np.testing.assert_array_equal(found.rows, ROWS)


@pytest.mark.parametrize("kind", ["LSH", "PQ8x4fs"])
def test_kinds_that_cannot_give_vectors_back_are_named(kind: str, tmp_path: Path) -> None:
    with pytest.raises(DamagedError, match="cannot be read as a FAISS index: Index") as error:
        read_faiss(write_faiss(tmp_path / "x", ROWS, kind=kind))
    assert error.value.code == "unsupported"
    assert "--reembed" in error.value.hint


def test_a_file_that_says_it_holds_more_than_the_disk_has_is_refused(tmp_path: Path) -> None:
    path = write_faiss(tmp_path / "x", ROWS)
    data = bytearray(path.read_bytes())
    data[8:16] = (1 << 40).to_bytes(8, "little")
    path.write_bytes(data)
    with pytest.raises(DamagedError):
        read_faiss(path)


def test_a_reader_that_takes_too_long_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faiss_file, "_BASE_S", 0.01)
    with pytest.raises(DamagedError, match="took too") as error:
        read_faiss(write_faiss(tmp_path / "x", ROWS))
    assert error.value.code == "timeout"


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    path = write_faiss(tmp_path / "x", ROWS)
    descriptors = Path("/proc/self/fd")
    open_before = len(list(descriptors.iterdir()))
    found = read_faiss(path, work_folder=tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["x"]
    del found
    assert len(list(descriptors.iterdir())) == open_before
