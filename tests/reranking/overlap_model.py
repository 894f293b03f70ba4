"""A cross-encoder small enough to compute by hand: how many pairs of equal words do query and passage have?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers, processors

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
WORDS = ["the", "lamp", "keeper", "tide", "ferry", "boat", "noon"]


def overlap(query: str, text: str) -> int:
    """What the model gives."""
    return sum(query.split().count(word) * text.split().count(word) for word in WORDS)


def make_folder(folder: Path, *, logits: Sequence[float] = (1.0,), positions: int = 64) -> Path:
    """A folder whose graph gives the overlap, once for each of `logits` and multiplied with it."""
    folder.mkdir(parents=True)
    vocabulary = {word: number for number, word in enumerate(SPECIAL + WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))  # noqa: S106 - no password
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text(f'{{"max_position_embeddings": {positions}, "pad_token_id": 0}}')
    onnx.save(_model(len(vocabulary), logits), str(folder / "model.onnx"))
    return folder


def _model(size: int, logits: Sequence[float]) -> onnx.ModelProto:
    table = np.eye(size, dtype=np.float32)  # a word is its own direction, a special token none
    table[: len(SPECIAL)] = 0
    constants: dict[str, npt.NDArray[Any]] = {
        "table": table,
        "one": np.array([1], np.int64),
        "heads": np.array([logits], np.float32),
        "unit": np.array(1, np.float32),
    }
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["words"]),  # (batch, tokens, size)
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["token_type_ids"], ["types"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["unit", "types"], ["not_types"]),
    ]
    for side, weights in (("second", "types"), ("first", "not_types")):
        nodes += [
            helper.make_node("Mul", [weights, "mask"], [f"{side}_weights"]),
            helper.make_node("Unsqueeze", [f"{side}_weights", "one"], [f"{side}_row"]),
            helper.make_node("MatMul", [f"{side}_row", "words"], [f"{side}_words"]),  # (batch, 1, size)
        ]
    nodes += [
        helper.make_node("Transpose", ["second_words"], ["column"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["first_words", "column"], ["dot"]),  # (batch, 1, 1)
        helper.make_node("Squeeze", ["dot", "one"], ["overlap"]),
        helper.make_node("MatMul", ["overlap", "heads"], ["logits"]),
    ]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"])
        for name in ("input_ids", "attention_mask", "token_type_ids")
    ]
    output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(logits)])
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "overlap", inputs, [output], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
