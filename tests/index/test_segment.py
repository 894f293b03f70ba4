"""Segments and the dense index against a plain matrix product."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from damage import replace_bytes
from ragstone.errors import DamagedError
from ragstone.index.dense import DenseIndex
from ragstone.index.segment import PICKED_INDEX_ROWS, Segment
from ragstone.index.segment_files import build_segment, read_manifest, salvage, verify_files
from ragstone.index.tail import Tail
from ragstone.trust import is_trusted, trust
from ragstone.types import Ids, Matrix

DIM = 24


def unit_rows(count: int, seed: int) -> Matrix:
    rows = np.random.default_rng(seed).standard_normal((count, DIM))
    halves: Matrix = (
        (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16).astype(np.float32)
    )
    return halves


def sealed(folder: Path, ids: Ids, owners: Ids, rows: Matrix) -> Segment:
    built = build_segment(
        folder, chunk_ids=ids, document_ids=owners, vectors=rows.astype(np.float16), model_id="m"
    )
    manifest = read_manifest(folder / built.name, manifest_sha256=built.manifest_sha256)
    verify_files(folder / built.name, manifest)
    return Segment(folder / built.name, manifest)


@given(data=st.data(), seed=st.integers(0, 2**16))
@settings(max_examples=60, deadline=None)
def test_dense_search_equals_a_matrix_product_whatever_is_sealed_deleted_or_filtered(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, seed: int
) -> None:
    choice = np.random.default_rng(seed)
    sizes = data.draw(st.lists(st.integers(1, 40), min_size=1, max_size=3))
    tail_size = data.draw(st.integers(0, 20))
    count = sum(sizes) + tail_size
    ids = choice.permutation(np.arange(1, 3 * count, dtype=np.int64))[:count]
    owners = choice.integers(1, count + 1, count)
    rows = unit_rows(count, seed)
    folder = tmp_path_factory.mktemp("segments")
    segments, start = [], 0
    for size in sizes:
        part = slice(start, start + size)
        segments.append(sealed(folder, ids[part], owners[part], rows[part]))
        start += size
    tail = Tail.empty(DIM).extended(ids[start:], owners[start:], rows[start:].astype(np.float16))
    dead = np.sort(choice.choice(ids[:start], size=data.draw(st.integers(0, start)), replace=False))
    allowed = None
    if data.draw(st.booleans()):
        allowed = np.unique(choice.choice(owners, size=data.draw(st.integers(0, 6))))
    index = DenseIndex(segments, tail, dead)
    live = ~np.isin(ids, dead)
    assert index.count == live.sum()
    query, top_k = unit_rows(1, seed + 1)[0], data.draw(st.integers(1, count + 5))
    passing = live if allowed is None else live & np.isin(owners, allowed)
    wanted = np.sort((rows @ query)[passing])[::-1][:top_k]
    found, scores = index.search(query, top_k=top_k, allowed=allowed)
    assert len(found) == len(wanted) == len(set(found.tolist()))
    assert np.allclose(scores, wanted, atol=1e-5)
    assert np.isin(found, ids[passing]).all()
    exact = dict(zip(ids.tolist(), (rows @ query).tolist(), strict=True))
    assert np.allclose(scores, [exact[id_] for id_ in found.tolist()], atol=1e-5)
    expected = np.array([exact[id_] if ok else np.nan for id_, ok in zip(ids.tolist(), live, strict=True)])
    assert np.allclose(index.score(query, ids), expected, atol=1e-5, equal_nan=True)
    assert np.array_equal(index.vectors(ids)[live], rows[live])


@pytest.mark.parametrize("matches", [1, PICKED_INDEX_ROWS - 1, PICKED_INDEX_ROWS, 3 * PICKED_INDEX_ROWS])
@pytest.mark.parametrize("ordered", [True, False])
def test_rows_picked_out_of_many_are_compared_as_all_would_be(
    tmp_path: Path, matches: int, *, ordered: bool
) -> None:
    """Few documents of many rows, however the matching rows are found and compared."""
    count, per_document = 20_000, 500
    rows = unit_rows(count, 7)
    owners = np.arange(count, dtype=np.int64) // per_document + 1
    if not ordered:
        owners = np.random.default_rng(1).permutation(owners)
    segment = sealed(tmp_path, np.arange(count, dtype=np.int64) + 1, owners, rows)
    assert segment.in_document_order is ordered
    allowed = np.arange(1, matches // per_document + 2, dtype=np.int64)
    passing = np.flatnonzero(np.isin(owners, allowed))
    dead = passing[matches:] + 1  # so that exactly so many are left
    query = unit_rows(1, 8)[0]
    found, scores = DenseIndex([segment], Tail.empty(DIM), dead).search(query, top_k=10, allowed=allowed)
    wanted = (rows @ query)[passing[:matches]]
    best = np.argsort(-wanted, kind="stable")[:10]
    assert found.tolist() == (passing[best] + 1).tolist()
    np.testing.assert_allclose(scores, wanted[best], atol=1e-5)


@pytest.mark.parametrize("name", ["index.faiss", "rows.u64", "documents.u64"])
def test_any_flipped_byte_fails_the_checksums(tmp_path: Path, name: str) -> None:
    ids = np.arange(1, 31, dtype=np.int64)
    built = build_segment(
        tmp_path, chunk_ids=ids, document_ids=ids, vectors=unit_rows(30, 1).astype(np.float16), model_id="m"
    )
    folder = tmp_path / built.name
    manifest = read_manifest(folder, manifest_sha256=built.manifest_sha256)
    good = (folder / name).read_bytes()
    for position in range(0, len(good), 7):
        data = bytearray(good)
        data[position] ^= 1
        replace_bytes(folder / name, data)
        with pytest.raises(DamagedError, match="fails its checksum"):
            verify_files(folder, manifest)
    replace_bytes(folder / name, good)
    verify_files(folder, manifest)


def test_salvage_gives_the_rows_of_undamaged_blocks_and_only_those(tmp_path: Path) -> None:
    ids = np.arange(1, 70_001, dtype=np.int64)  # 70,000 × 48 bytes: four blocks of 1 MiB
    rows = unit_rows(70_000, 2)
    built = build_segment(
        tmp_path, chunk_ids=ids, document_ids=ids * 2, vectors=rows.astype(np.float16), model_id="m"
    )
    folder = tmp_path / built.name
    manifest = read_manifest(folder, manifest_sha256=built.manifest_sha256)
    data = bytearray((folder / "index.faiss").read_bytes())
    data[manifest.vectors_offset + (1 << 20) + 5] ^= 0x10  # in the second block
    replace_bytes(folder / "index.faiss", data)
    saved, owners, halves = salvage(folder, manifest)
    lost = np.setdiff1d(ids, saved)
    assert lost.min() == (1 << 20) // 48 + 1
    assert len(lost) == -(-(2 << 20) // 48) - (1 << 20) // 48
    assert np.array_equal(owners, saved * 2)
    assert np.array_equal(halves.astype(np.float32), rows[saved - 1])


def test_a_segment_is_trusted_until_a_file_of_it_changes(tmp_path: Path) -> None:
    folder = tmp_path / "segment"
    folder.mkdir()
    replace_bytes(folder / "rows.u64", b"12345678")
    assert not is_trusted(folder)
    trust(folder)
    assert is_trusted(folder)
    replace_bytes(folder / "rows.u64", b"12345679")
    assert not is_trusted(folder)
    assert not is_trusted(tmp_path / "gone")
