"""What is kept of a text's tokens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragstone.embedding.encoder import SentenceEncoder
from ragstone.embedding.minilm.model import load_minilm
from ragstone.embedding.token_signs import SIGN_DIMS, TokenChoice, signs_of
from ragstone.types import TokenEmbedder, TokenSigns

TEXTS = [
    "The rotor blade stalls, and the rotor of the tail does not.",
    "of the and",
    "Blattspitzen des Rotors",
    "",
    *(f"passage number {n} about boundary layers" for n in range(9)),
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> SentenceEncoder:
    return load_minilm(tmp_path_factory.mktemp("models"), threads=2)


def rows(data: bytes) -> TokenSigns:
    return np.frombuffer(data, "<u8").reshape(-1, 3)


@given(st.integers(0, 2**32 - 1))
def test_signs_differ_where_the_numbers_lie_on_different_sides_of_zero(seed: int) -> None:
    a, b = np.random.default_rng(seed).normal(size=(2, SIGN_DIMS + 7)).astype(np.float32)
    (x,), (y,) = signs_of(a[None]), signs_of(b[None])
    differing = int(np.bitwise_count(x ^ y).sum())
    assert differing == int(((a > 0) != (b > 0))[:SIGN_DIMS].sum())


def test_stop_words_punctuation_and_repetitions_are_left_out() -> None:
    choice = TokenChoice({"[CLS]": 0, "the": 1, "rotor": 2, ",": 3, "##s": 4, "stalls": 5})
    assert choice.positions(np.array([0, 1, 2, 4, 3, 5, 2, 1, 0])).tolist() == [2, 3, 5]
    assert choice.positions(np.array([0, 1, 1])).tolist() == [0, 1, 2]  # nothing else is there


def test_vectors_are_those_without_tokens_and_signs_do_not_depend_on_the_batch(
    model: SentenceEncoder,
) -> None:
    assert isinstance(model, TokenEmbedder)
    vectors, signs = model.embed_documents_and_tokens(TEXTS)
    np.testing.assert_array_equal(vectors, model.embed_documents(TEXTS))
    assert len(rows(signs[0])) == 4  # rotor, blade, stalls, tail
    for text, together in zip(TEXTS, signs, strict=True):
        ((alone,),) = [model.embed_documents_and_tokens([text])[1]]
        differing = np.bitwise_count(rows(together) ^ rows(alone)).sum()
        assert differing <= 0.01 * 192 * len(
            rows(alone)
        )  # a number near zero may be rounded to its other side


def test_equal_texts_have_equal_signs_in_the_order_asked_for(model: SentenceEncoder) -> None:
    _, signs = model.embed_documents_and_tokens(["b", "a", "b"])
    assert signs[0] == signs[2] != signs[1]


def test_a_query_token_is_most_alike_to_itself_in_the_same_text(model: SentenceEncoder) -> None:
    text = "rotor blade stall"
    _, (stored,) = model.embed_documents_and_tokens([text])
    tokens = model.query_tokens(text)
    assert [text[start:end] for start, end in tokens.spans] == ["rotor", "blade", "stall"]
    differing = np.bitwise_count(tokens.signs[:, None] ^ rows(stored)[None]).sum(axis=2)
    assert differing.argmin(axis=1).tolist() == [0, 1, 2]
    assert differing.min(axis=1).max() <= 2


def test_a_query_longer_than_the_model_takes_has_the_tokens_that_fit(model: SentenceEncoder) -> None:
    tokens = model.query_tokens("word " * 400)
    assert len(tokens.spans) == len(tokens.signs) == model.max_tokens - 2


def test_the_vector_of_a_query_is_the_same_with_and_without_its_tokens(
    model: SentenceEncoder, tmp_path: Path
) -> None:
    model.query_tokens("asked first for its tokens")
    fresh = load_minilm(tmp_path, threads=1)
    np.testing.assert_array_equal(
        model.embed_query("asked first for its tokens"), fresh.embed_query("asked first for its tokens")
    )
    fresh.close()
