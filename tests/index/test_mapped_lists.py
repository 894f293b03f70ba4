"""Lists that are mapped against FAISS's own in memory: the same bits, and no read beyond what the file says."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import faiss as _faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from damage import replace_bytes
from ragstone.errors import DamagedError
from ragstone.index import mapped_lists
from ragstone.index.building import build_index
from ragstone.index.plans import make_plan
from ragstone.index.segment import Segment
from ragstone.index.segment_files import FAST_FILE, LISTS_FILE, build_segment, read_manifest
from ragstone.types import Matrix

faiss: Any = _faiss

DIM, LISTS = 16, 40


def rows_of(count: int, seed: int) -> Matrix:
    """Clustered, so that lists differ in size and some are empty."""
    random = np.random.default_rng(seed)
    rows = random.standard_normal((30, DIM))[random.integers(0, 30, count)]
    rows = rows + 0.1 * random.standard_normal((count, DIM))
    unit: Matrix = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return unit


def built(rows: Matrix, lists: int = LISTS, codes: int = DIM // 2) -> Any:
    faiss.omp_set_num_threads(1)
    plan = make_plan("IVF,PQ,FastScan", dim=DIM, nlist=lists, n_subquantizers=codes)
    return build_index(plan, rows, metric="cosine")


def apart(index: Any, folder: Path) -> Any:
    mapped_lists.write_apart(index, folder / "index", folder / "lists")
    found = faiss.read_index(str(folder / "index"), faiss.IO_FLAG_MMAP_IFC)
    mapped_lists.map_lists(found, folder / "lists")
    return found


@given(
    count=st.integers(32, 700),
    lists=st.integers(1, LISTS),
    codes=st.sampled_from([1, 2, 4, 8, 16]),
    seed=st.integers(0, 99),
)
@settings(max_examples=15, deadline=None)
def test_a_search_of_mapped_lists_gives_the_same_bits_as_one_in_memory(
    tmp_path_factory: pytest.TempPathFactory, count: int, lists: int, codes: int, seed: int
) -> None:
    rows = rows_of(count, seed)
    index = built(rows, min(lists, count), codes)
    found = apart(index, tmp_path_factory.mktemp("lists"))
    assert found.ntotal == count
    queries = rows_of(20, seed + 100)
    chosen = faiss.IDSelectorRange(count // 3, count)
    for given_ in ({}, {"sel": chosen}):
        for probes in (1, 5, index.nlist):
            asked = faiss.SearchParametersIVF(nprobe=probes, **given_)
            for one, other in zip(
                index.search(queries, 15, params=asked), found.search(queries, 15, params=asked), strict=True
            ):
                assert np.array_equal(one, other, equal_nan=one.dtype == np.float32)


def test_an_index_still_has_its_lists_once_it_has_been_written(tmp_path: Path) -> None:
    rows = rows_of(300, 1)
    index = built(rows)
    before = index.search(rows[:5], 10)
    apart(index, tmp_path)
    index.add(rows)
    assert index.ntotal == 600
    assert np.array_equal(np.sort(index.search(rows[:5], 20)[0][:, ::2]), np.sort(before[0]))


@pytest.mark.parametrize("place", ["size", "capacity", "offset"])
@pytest.mark.parametrize("value", [1 << 63, (1 << 64) - 1, 1 << 40, 7_777_777])
def test_a_table_that_leads_out_of_its_file_is_refused(tmp_path: Path, place: str, value: int) -> None:
    apart(built(rows_of(500, 2)), tmp_path)
    data = bytearray((tmp_path / "lists").read_bytes())
    table = np.frombuffer(data, "<u8", offset=len(data) - LISTS * 24).reshape(-1, 3)
    fullest = int(table[:, 0].argmax())
    table[fullest, ["size", "capacity", "offset"].index(place)] = value
    replace_bytes(tmp_path / "lists", data)
    index = faiss.read_index(str(tmp_path / "index"))
    with pytest.raises(DamagedError, match="lists"):
        mapped_lists.map_lists(index, tmp_path / "lists")


@pytest.mark.parametrize("size", [0, 5, LISTS * 24 - 1, LISTS * 24, 2_000])
def test_a_file_cut_off_is_refused(tmp_path: Path, size: int) -> None:
    apart(built(rows_of(500, 2)), tmp_path)
    replace_bytes(tmp_path / "lists", (tmp_path / "lists").read_bytes()[:size])
    index = faiss.read_index(str(tmp_path / "index"))
    with pytest.raises(DamagedError, match="lists"):
        mapped_lists.map_lists(index, tmp_path / "lists")


def test_a_segment_maps_its_lists_and_one_of_the_format_before_still_opens(tmp_path: Path) -> None:
    rows = rows_of(3_000, 3)
    ids = np.arange(1, len(rows) + 1, dtype=np.int64)
    plan = make_plan("IVF,PQ,FastScan", dim=DIM, nlist=LISTS)
    half = rows.astype(np.float16)
    made = build_segment(tmp_path, chunk_ids=ids, document_ids=ids, vectors=half, model_id="m", plans=[plan])
    folder = tmp_path / made.name
    segment = Segment(folder, read_manifest(folder, manifest_sha256=made.manifest_sha256))
    assert segment.fast is not None
    assert isinstance(faiss.downcast_InvertedLists(segment.fast.index.invlists), faiss.OnDiskInvertedLists)
    # As it was written before: the lists in the index's own file.
    before = tmp_path / "before"
    before.mkdir()
    for path in folder.iterdir():
        (before / path.name).write_bytes(path.read_bytes())
    (before / LISTS_FILE).unlink()
    whole = build_index(segment.fast.plan, half, metric="cosine")
    faiss.write_index(whole, str(before / FAST_FILE))
    fields = json.loads((before / "manifest.json").read_bytes())
    assert fields["format"] == 3
    fields["format"] = 2
    del fields["files"][LISTS_FILE]
    fields["files"][FAST_FILE]["bytes"] = (before / FAST_FILE).stat().st_size
    data = json.dumps(fields).encode()
    (before / "manifest.json").write_bytes(data)
    older = Segment(before, read_manifest(before, manifest_sha256=hashlib.sha256(data).digest()))
    for query in rows_of(20, 4):
        one = segment.search(query, top_k=10, among=None, recall=0.9)
        other = older.search(query, top_k=10, among=None, recall=0.9)
        assert np.array_equal(one[0], other[0])
        assert np.array_equal(one[1], other[1])
