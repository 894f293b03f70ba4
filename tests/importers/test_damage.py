"""A damaged file of any kind ends in an error with a code, or in records that pass every check; never in a crash."""

from __future__ import annotations

import random
import shutil
import sqlite3
from pathlib import Path

import pytest

from importers.foreign_stores import WRITERS, entries_of, vectors_of, write_chroma, write_faiss
from ragstone.errors import DamagedError, InputError, RagstoneError
from ragstone.importers.faiss_file import read_faiss
from ragstone.importers.formats import open_foreign
from ragstone.importers.records import Losses

CODES = {
    "damaged",
    "unsupported",
    "too_large",
    "timeout",
    "unsafe_pickle",
    "not_found",
    "invalid_input",
    "disk_full",
}
# File → the layout it is part of; FAISS files, each of which starts a process, have a test of their own.
FILES = {
    "default__vector_store.json": "llamaindex",
    "docstore.json": "llamaindex",
    "doc_store.json": "llamaindex-ts",
    "index_store.json": "llamaindex-faiss",
    "index.pkl": "langchain",
    "chroma.sqlite3": "chroma",
    "documents": "txtai",
    "documents.json": "documented",
    "alerts.meta": "meta",
    "texts.jsonl": "jsonl",
    "embedded_store.json": "embedded",
}
SEGMENT_FILES = ("header.bin", "data_level0.bin", "index_metadata.pickle")
NO_PROCESS = {"llamaindex", "llamaindex-ts", "chroma", "embedded"}  # layouts without a FAISS file


def damaged(data: bytes, choice: random.Random) -> bytes:
    """Cut short, with bits flipped, a stretch of zeros, or a stretch of noise."""
    cut = bytearray(data)
    at = choice.randrange(len(data))
    match choice.randrange(4):
        case 0:
            del cut[at:]
        case 1:
            for _ in range(choice.randrange(1, 20)):
                cut[choice.randrange(len(cut))] ^= 1 << choice.randrange(8)
        case 2:
            cut[at : at + 64] = bytes(len(cut[at : at + 64]))
        case _:
            cut[at : at + 16] = choice.randbytes(len(cut[at : at + 16]))
    return bytes(cut)


def read_whole(source: Path) -> None:
    """Read a store to its end; any `RagstoneError` must have a known code."""
    try:
        for record in open_foreign("auto", source, allow_pickle=True).read(Losses()):
            assert isinstance(record.text, str)
    except RagstoneError as error:
        assert error.code in CODES, error


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_ends_in_records_or_a_coded_error(name: str, tmp_path: Path) -> None:
    choice = random.Random(name)
    whole = WRITERS[FILES[name]](tmp_path / "whole", entries_of(30), vectors_of(30))
    data = (whole / name).read_bytes()
    for _ in range(100 if FILES[name] in NO_PROCESS else 8):
        (whole / name).write_bytes(damaged(data, choice))
        read_whole(whole)


@pytest.mark.parametrize("name", SEGMENT_FILES)
def test_a_damaged_hnsw_segment_ends_in_records_or_a_coded_error(name: str, tmp_path: Path) -> None:
    choice = random.Random(name)
    source = write_chroma(tmp_path / "s", entries_of(30), vectors_of(30), in_segment=30)
    file = source / "vectors-papers" / name
    data = file.read_bytes()
    for _ in range(100):
        file.write_bytes(damaged(data, choice))
        read_whole(source)


def _read_damaged_faiss(folder: Path, rounds: int) -> None:
    rows = vectors_of(300)
    for kind in ("Flat", "IVF4,Flat", "HNSW8,Flat", "IDMap,Flat"):
        choice = random.Random(kind)
        ids = range(300) if "IDMap" in kind else None
        path = write_faiss(folder / "x", rows, kind=kind, ids=ids)
        data = path.read_bytes()
        for number in range(rounds):
            harmed = bytearray(damaged(data, choice))
            if number % 2 and len(harmed) > 40:  # most of a file is vectors; the head is where damage tells
                harmed[choice.randrange(4, 40)] ^= 1 << choice.randrange(8)
            path.write_bytes(harmed)
            try:
                found = read_faiss(path)
                assert found.rows.shape == (len(found.ids), found.dim)
            except DamagedError as error:
                assert error.code in CODES, error


def test_damaged_faiss_files_never_end_this_process(tmp_path: Path) -> None:
    _read_damaged_faiss(tmp_path, 4)


@pytest.mark.long
def test_a_hundred_damages_to_each_kind_of_faiss_file(tmp_path: Path) -> None:
    _read_damaged_faiss(tmp_path, 100)


def test_a_file_that_vanishes_is_an_error_with_a_name(tmp_path: Path) -> None:
    source = WRITERS["chroma"](tmp_path / "s", entries_of(3), vectors_of(3))
    store = open_foreign("auto", source)
    shutil.rmtree(source)
    with pytest.raises(RagstoneError, match=r"chroma\.sqlite3"):
        list(store.read(Losses()))


@pytest.mark.parametrize("name", ["../outside", "/etc", "a/../../outside"])
def test_a_chroma_segment_that_leads_out_of_the_store_is_refused(tmp_path: Path, name: str) -> None:
    source = write_chroma(tmp_path / "s", entries_of(3), vectors_of(3), in_segment=3)
    (tmp_path / "outside").mkdir()
    with sqlite3.connect(source / "chroma.sqlite3") as db:
        db.execute("UPDATE segments SET id = ? WHERE scope = 'VECTOR'", (name,))
    with pytest.raises(InputError, match="refused"):
        open_foreign("chroma", source)
