"""The built-in model, for real."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from ragstone.embedding import load_embedder
from ragstone.embedding.minilm.model import wordpiece
from ragstone.errors import ModelError
from ragstone.types import Embedder

TEXTS = [
    "The ferry leaves the harbour at seven.",
    "A boat departs from the port in the morning.",
    "Photosynthesis turns light into sugar.",
    "word " * 400,
    "中文",
    "",
]


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def minilm(cache_dir: Path) -> Iterator[Embedder]:
    embedder = load_embedder("minilm", cache_dir=cache_dir)
    yield embedder
    embedder.close()


def test_rows_are_unit_vectors_in_the_order_of_the_texts(minilm: Embedder) -> None:
    rows = minilm.embed_documents(TEXTS * 3)
    assert rows.shape == (len(TEXTS) * 3, 384)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    one_by_one = np.stack([minilm.embed_documents([text])[0] for text in TEXTS * 3])
    np.testing.assert_allclose(rows, one_by_one, atol=1e-5)


def test_like_means_near(minilm: Embedder) -> None:
    ferry, boat, leaf = minilm.embed_documents(TEXTS[:3])
    assert ferry @ boat > 0.4 > ferry @ leaf


def test_a_query_gives_the_same_bits_whatever_runs_beside_it(minilm: Embedder) -> None:
    alone = minilm.embed_query("when does the boat leave?").copy()
    with ThreadPoolExecutor(8) as threads:
        busy = threads.submit(minilm.embed_documents, TEXTS * 20)
        queries = [f"when does the boat leave?{' ' * n}" for n in range(1, 9)]
        for found in threads.map(minilm.embed_query, queries):
            np.testing.assert_array_equal(found, alone)
        busy.result()


def test_spans_point_into_the_text_and_counts_include_special_tokens(minilm: Embedder) -> None:
    text = "Ångström's ferry, unbelievable!"
    spans = minilm.token_spans(text)
    assert "".join(text[start:end] for start, end in spans) == text.replace(" ", "")
    assert minilm.count_tokens([text]) == [len(spans) + 2]


def test_a_closed_model_says_so(cache_dir: Path) -> None:
    embedder = load_embedder("minilm", cache_dir=cache_dir)
    embedder.close()
    with pytest.raises(ModelError, match="closed"):
        embedder.embed_query("anything")


def test_a_damaged_prepared_model_is_made_again(tmp_path: Path, minilm: Embedder) -> None:
    load_embedder("minilm", cache_dir=tmp_path).close()
    prepared = max(
        (path for path in tmp_path.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size
    )
    data = bytearray(prepared.read_bytes())
    data[len(data) // 2] ^= 0xFF
    prepared.write_bytes(data)
    embedder = load_embedder("minilm", cache_dir=tmp_path)
    np.testing.assert_array_equal(embedder.embed_query("tides"), minilm.embed_query("tides"))
    embedder.close()


def test_no_texts_give_no_rows(minilm: Embedder) -> None:
    assert minilm.embed_documents([]).shape == (0, 384)


def test_what_follows_the_limit_is_cut_off(minilm: Embedder) -> None:
    # 254 words of one token each and two special tokens fill the 256.
    full, longer = minilm.embed_documents(["tide " * 254, "tide " * 254 + "photosynthesis"])
    np.testing.assert_array_equal(full, longer)
    assert minilm.count_tokens(["tide " * 300]) == [302]
    assert minilm.max_tokens == 256


def test_half_an_emoji_costs_neither_document_nor_span(minilm: Embedder) -> None:
    text = "boat \ud83d boat"
    assert minilm.token_spans(text) == [(0, 4), (5, 6), (7, 11)]
    rows = minilm.embed_documents([text, "boat ? boat"])
    np.testing.assert_array_equal(rows[0], rows[1])


def test_eight_threads_get_what_one_gets(minilm: Embedder) -> None:
    alone = minilm.embed_documents(TEXTS)
    with ThreadPoolExecutor(8) as threads:
        for rows in threads.map(lambda _: minilm.embed_documents(TEXTS), range(16)):
            np.testing.assert_allclose(rows, alone, atol=1e-5)


def test_tokens_are_those_of_the_published_tokenizer(minilm: Embedder) -> None:
    # Ids of all-MiniLM-L6-v2's own tokenizer.json for accents, case, CJK and an unknown sign.
    ids = wordpiece().encode("Ångström's 中文 ☃ unbelievable").ids
    assert ids == [101, 17076, 15687, 1005, 1055, 1746, 1861, 100, 23653, 102]


def test_cuda_where_there_is_none_is_a_clear_error_and_auto_takes_the_cpu(cache_dir: Path) -> None:
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    with pytest.raises(ModelError, match="no CUDA"):
        load_embedder("minilm", cache_dir=cache_dir, device="cuda")
    load_embedder("minilm", cache_dir=cache_dir, device="auto").close()
