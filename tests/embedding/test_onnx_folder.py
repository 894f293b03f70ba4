"""Encoders in local folders: tiny graphs made here, whose vectors can be computed by hand."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers

from ragstone.embedding import load_embedder
from ragstone.embedding.onnx_folder import load_folder
from ragstone.errors import ModelError

VOCABULARY = ["[PAD]", "[UNK]", "query", "passage", ":", "north", "south", "tide", "boat"]
DIM = 4
TABLE = np.random.default_rng(7).normal(size=(len(VOCABULARY), DIM)).astype(np.float32)


def make_folder(folder: Path, **files: Any) -> Path:
    """A folder with a graph that looks up a vector per token, its tokenizer, and JSON files by stem."""
    folder.mkdir(parents=True)
    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(VOCABULARY)}, unk_token="[UNK]"))  # noqa: S106
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"])
        for name in ("input_ids", "attention_mask")
    ]
    output = helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ["batch", "tokens", DIM])
    node = helper.make_node("Gather", ["table", "input_ids"], ["last_hidden_state"])
    graph = helper.make_graph([node], "lookup", inputs, [output], [numpy_helper.from_array(TABLE, "table")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    (folder / "onnx").mkdir()
    onnx.save(model, str(folder / "onnx" / "model.onnx"))
    for name, content in files.items():
        path = folder / ("1_Pooling/config.json" if name == "pooling" else f"{name}.json")
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content))
    return folder


def rows_of(*words: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    return TABLE[[VOCABULARY.index(word) for word in words]]


def unit(vector: np.ndarray[Any, np.dtype[np.float32]]) -> np.ndarray[Any, np.dtype[np.float32]]:
    scaled: np.ndarray[Any, np.dtype[np.float32]] = vector / np.linalg.norm(vector)
    return scaled


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("mean_tokens", lambda rows: rows.mean(axis=0)),
        ("cls_token", lambda rows: rows[0]),
        ("lasttoken", lambda rows: rows[-1]),
    ],
)
def test_pooling_is_what_the_folder_says(tmp_path: Path, mode: str, expected: Any) -> None:
    folder = make_folder(tmp_path / "tiny", pooling={f"pooling_mode_{mode}": True})
    embedder = load_embedder(str(folder), cache_dir=tmp_path)
    texts = ["north tide", "south", "boat boat north"]
    wanted = [unit(expected(rows_of(*text.split()))) for text in texts]
    np.testing.assert_allclose(embedder.embed_documents(texts), wanted, atol=1e-6)
    embedder.close()


def test_e5_gets_its_prefixes_without_being_told(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "multilingual-e5-tiny")
    embedder = load_embedder(str(folder), cache_dir=tmp_path)
    document = unit(rows_of("passage", ":", "tide").mean(axis=0))
    query = unit(rows_of("query", ":", "tide").mean(axis=0))
    np.testing.assert_allclose(embedder.embed_documents(["tide"])[0], document, atol=1e-6)
    np.testing.assert_allclose(embedder.embed_query("tide"), query, atol=1e-6)
    assert embedder.count_tokens(["tide"]) == [3]
    embedder.close()


def test_prompts_in_the_folder_win(tmp_path: Path) -> None:
    prompts = {"prompts": {"query": "north ", "document": ""}}
    folder = make_folder(tmp_path / "e5-tiny", config_sentence_transformers=prompts)
    embedder = load_embedder(str(folder), cache_dir=tmp_path)
    wanted = unit(rows_of("north", "tide").mean(axis=0))
    np.testing.assert_allclose(embedder.embed_query("tide"), wanted, atol=1e-6)
    np.testing.assert_allclose(embedder.embed_documents(["tide"])[0], unit(rows_of("tide")[0]), atol=1e-6)
    embedder.close()


def test_the_limit_is_the_folders_and_longer_texts_are_cut(tmp_path: Path) -> None:
    folder = make_folder(
        tmp_path / "tiny",
        sentence_bert_config={"max_seq_length": 3},
        config={"max_position_embeddings": 512},
    )
    embedder = load_embedder(str(folder), cache_dir=tmp_path)
    assert embedder.max_tokens == 3
    long, cut = embedder.embed_documents(["north south tide boat boat", "north south tide"])
    np.testing.assert_array_equal(long, cut)
    embedder.close()


def test_two_models_have_two_ids(tmp_path: Path) -> None:
    first = load_embedder(str(make_folder(tmp_path / "one")), cache_dir=tmp_path)
    second = load_embedder(str(make_folder(tmp_path / "two")), cache_dir=tmp_path)
    assert first.model_id != second.model_id
    first.close()
    second.close()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer.json is missing"),
        (lambda folder: (folder / "tokenizer.json").write_text("{"), "does not load"),
        (lambda folder: (folder / "onnx" / "model.onnx").unlink(), "no ONNX graph"),
        (lambda folder: (folder / "onnx" / "model.onnx").write_bytes(b"garbage"), "does not load"),
        (lambda folder: (folder / "config.json").write_text("not json"), "is not JSON"),
    ],
)
def test_an_unusable_folder_is_a_clear_error(tmp_path: Path, spoil: Any, words: str) -> None:
    folder = make_folder(tmp_path / "tiny", config={})
    spoil(folder)
    with pytest.raises(ModelError, match=words) as caught:
        load_embedder(str(folder), cache_dir=tmp_path)
    assert caught.value.hint


def test_pooling_we_do_not_know_is_refused(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "tiny", pooling={"pooling_mode_max_tokens": True})
    with pytest.raises(ModelError, match="pooling_mode_max_tokens"):
        load_embedder(str(folder), cache_dir=tmp_path)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no folder"):
        load_embedder(str(tmp_path / "nowhere"), cache_dir=tmp_path)


def test_steps_that_the_graph_does_not_hold_are_refused(tmp_path: Path) -> None:
    modules = [
        {"type": f"sentence_transformers.models.{kind}"} for kind in ("Transformer", "Pooling", "Dense")
    ]
    folder = make_folder(tmp_path / "dense", modules=modules)
    with pytest.raises(ModelError, match="Dense"):
        load_embedder(str(folder), cache_dir=tmp_path)


def test_what_shapes_a_vector_shapes_the_id(tmp_path: Path) -> None:
    ids = set()
    for number, mode in enumerate(("cls_token", "mean_tokens")):
        folder = make_folder(tmp_path / str(number) / "lookup", pooling={f"pooling_mode_{mode}": True})
        with_mode = load_embedder(str(folder), cache_dir=tmp_path)
        ids.add(with_mode.model_id)
        with_mode.close()
    assert len(ids) == 2


def test_bge_is_pooled_by_its_first_token_when_nothing_says_how(tmp_path: Path) -> None:
    embedder = load_embedder(str(make_folder(tmp_path / "bge-small-en-v1.5")), cache_dir=tmp_path)
    (found,) = embedder.embed_documents(["north tide boat"])
    np.testing.assert_allclose(found, unit(rows_of("north")[0]), atol=1e-6)
    embedder.close()


def test_a_graph_that_wants_what_we_do_not_have_is_refused(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "vision")
    path = folder / "onnx" / "model.onnx"
    model = onnx.load(path)
    model.graph.input.append(helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["batch", 3]))
    onnx.save(model, path)
    with pytest.raises(ModelError, match="pixel_values"):
        load_embedder(str(folder), cache_dir=tmp_path)


def test_a_graph_that_gives_no_vectors_per_text_is_refused(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "flat")
    path = folder / "onnx" / "model.onnx"
    model = onnx.load(path)
    model.graph.node[0].output[0] = "rows"
    total = helper.make_node("ReduceSum", ["rows"], ["last_hidden_state"], keepdims=0)
    model.graph.node.append(total)
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, []))
    onnx.save(model, path)
    with pytest.raises(ModelError, match="shape"):
        load_embedder(str(folder), cache_dir=tmp_path)


def test_weights_that_give_no_numbers_are_refused(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "nan")
    path = folder / "onnx" / "model.onnx"
    model = onnx.load(path)
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.full_like(TABLE, np.nan), "table"))
    onnx.save(model, path)
    with pytest.raises(ModelError, match="not a number"):
        load_embedder(str(folder), cache_dir=tmp_path)


def test_a_hub_name_without_the_hub_library_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ModelError, match="pip install huggingface_hub"):
        load_embedder("intfloat/e5-small-v2", cache_dir=tmp_path)


def test_token_types_and_positions_of_32_bits_are_given_to_graphs_that_want_them(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "typed", pooling={"pooling_mode_lasttoken": True})
    path = folder / "onnx" / "model.onnx"
    model = onnx.load(path)
    for name in ("token_type_ids", "position_ids"):
        model.graph.input.append(helper.make_tensor_value_info(name, TensorProto.INT32, ["batch", "tokens"]))
    model.graph.node[0].output[0] = "looked_up"
    model.graph.initializer.append(numpy_helper.from_array(np.array([-1], dtype=np.int64), "last"))
    for node in (
        helper.make_node("Add", ["position_ids", "token_type_ids"], ["places"]),
        helper.make_node("Cast", ["places"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["numbers", "last"], ["column"]),
        helper.make_node("Add", ["looked_up", "column"], ["last_hidden_state"]),
    ):
        model.graph.node.append(node)
    onnx.save(model, path)
    embedder = load_embedder(str(folder), cache_dir=tmp_path)
    (found,) = embedder.embed_documents(["north tide boat"])
    np.testing.assert_allclose(found, unit(rows_of("boat")[0] + 2), atol=1e-6)
    embedder.close()


def test_a_model_of_the_hub_keeps_its_name_in_a_folder_named_after_a_commit(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "5c38ec7c405ec4b44b94cc5a9bb96e735b38267a")
    encoder = load_folder(folder, name="intfloat/e5-small-v2")
    assert encoder.model_id.startswith("intfloat/e5-small-v2/")
    np.testing.assert_allclose(
        encoder.embed_query("tide"), unit(rows_of("query", ":", "tide").mean(axis=0)), atol=1e-6
    )
    encoder.close()
