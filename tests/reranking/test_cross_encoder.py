"""Cross-encoders in local folders, on a tiny graph whose scores can be counted by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer

from ragstone.embedding.onnx_folder import open_folder
from ragstone.embedding.tokens import TextTokenizer
from ragstone.errors import ModelError
from ragstone.reranking import load_reranker
from ragstone.reranking.cross_encoder import CrossEncoder
from reranking.overlap_model import make_folder, overlap

QUERY = "keeper lamp the lamp"
TEXTS = ["the lamp", "boat", "lamp lamp keeper the ferry noon tide", "", "keeper"]


def load(folder: Path) -> CrossEncoder:
    reranker = load_reranker(str(folder), cache_dir=folder, timeout_s=5)
    assert isinstance(reranker, CrossEncoder)
    return reranker


def test_each_text_is_judged_together_with_the_query(tmp_path: Path) -> None:
    reranker = load(make_folder(tmp_path / "tiny"))
    assert reranker.score(QUERY, TEXTS).tolist() == [overlap(QUERY, text) for text in TEXTS]
    assert reranker.score(QUERY, []).tolist() == []
    reranker.close()


def test_pairs_that_share_a_batch_have_the_scores_that_they_have_alone(tmp_path: Path) -> None:
    found = open_folder(make_folder(tmp_path / "tiny"))
    tokens = TextTokenizer(found.tokenizer, max_tokens=64)
    reranker = CrossEncoder(found.session, tokens, model_id="tiny", batch_pairs=3)
    assert reranker.score(QUERY, TEXTS).tolist() == [overlap(QUERY, text) for text in TEXTS]
    reranker.close()


def test_of_two_logits_the_second_speaks_for_the_passage(tmp_path: Path) -> None:
    reranker = load(make_folder(tmp_path / "tiny", logits=(-2.0, 1.0)))
    assert reranker.score(QUERY, TEXTS).tolist() == [3 * overlap(QUERY, text) for text in TEXTS]
    reranker.close()


def test_a_long_pair_loses_the_end_of_its_text_and_keeps_the_query(tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_file(str(make_folder(tmp_path / "tiny") / "tokenizer.json"))
    tokens = TextTokenizer(tokenizer, max_tokens=8)
    whole, cut = tokens.pairs("lamp", ["tide boat", "tide boat ferry noon tide tide"])
    names = [[tokenizer.id_to_token(id_) for id_ in pair.ids] for pair in (whole, cut)]
    assert names[0] == ["[CLS]", "lamp", "[SEP]", "tide", "boat", "[SEP]"]
    assert names[1] == ["[CLS]", "lamp", "[SEP]", "tide", "boat", "ferry", "noon", "[SEP]"]
    assert whole.types.tolist() == [0, 0, 0, 1, 1, 1]
    assert cut.types.tolist() == [0, 0, 0, 1, 1, 1, 1, 1]


def test_a_long_query_leaves_half_of_the_room_to_the_text(tmp_path: Path) -> None:
    reranker = load(make_folder(tmp_path / "tiny", positions=9))
    # Four words of the query, two of the text and three special tokens are what fits.
    texts = ["lamp lamp lamp", "tide lamp lamp", "tide tide lamp"]
    assert reranker.score("lamp " * 50, texts).tolist() == [4 * 2, 4 * 1, 0]
    reranker.close()


def test_half_an_emoji_costs_no_search(tmp_path: Path) -> None:
    reranker = load(make_folder(tmp_path / "tiny"))
    assert reranker.score("lamp \ud83d", ["lamp \ud83d"]).tolist() == [1]
    reranker.close()


def test_what_shapes_a_score_shapes_the_id(tmp_path: Path) -> None:
    folders = [make_folder(tmp_path / str(n) / "tiny", positions=n) for n in (32, 64)]
    rerankers = [load(folder) for folder in folders]
    assert rerankers[0].model_id != rerankers[1].model_id
    assert all(reranker.model_id.startswith("tiny/") for reranker in rerankers)
    for reranker in rerankers:
        reranker.close()


def test_a_graph_that_gives_no_number_for_a_pair_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"shape \(1, 3\)"):
        load(make_folder(tmp_path / "tiny", logits=(1.0, 2.0, 3.0)))


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no folder"):
        load(tmp_path / "nowhere")


def test_a_closed_reranker_says_so(tmp_path: Path) -> None:
    reranker = load(make_folder(tmp_path / "tiny"))
    reranker.close()
    with pytest.raises(ModelError, match="closed"):
        reranker.score(QUERY, TEXTS)
