"""The MiniLM encoder as an ONNX graph in ONNX Runtime's fused operators, built from the stored integers.

The installed file holds an int8 value per weight with a float scale per output column, but dequantizes them and
computes in float, in some 450 small operators. Here the same integers are multiplied as integers: activations
are quantized as they come (`DynamicQuantizeMatMul`), attention and skip-normalisation are one operator each, and
the token vectors are pooled and normalised inside. Nothing is quantized twice, so the weights are exactly the
stored ones. Operators: github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

Arithmetic: TypeAlias = Literal["int8", "uint8", "float"]
"""How weights are multiplied. `int8` needs VNNI (or ARM) to be right: older x86 adds pairs of products in 16 bits
and saturates. `uint8` shifts the same integers by 128, which gives the same sums on any CPU, 1.75 times slower
where VNNI exists. `float` is the reference, and what a GPU wants."""

Array: TypeAlias = npt.NDArray[Any]

LAYERS = 6
HEADS = 12
DIM = 384
EPSILON = 1e-12  # layer_norm_eps in the model's config.json
_ORT = "com.microsoft"


@dataclass(frozen=True, slots=True)
class Linear:
    """A linear layer: `weights` (inputs, outputs) int8, `scales` (outputs,) float32, `bias` (outputs,) float32."""

    weights: Array
    scales: Array
    bias: Array


@dataclass(frozen=True, slots=True)
class StoredWeights:
    """What the installed file holds; `linears` by name without `.weight`, `tensors` everything by its own name."""

    tensors: Mapping[str, Array]
    linears: Mapping[str, Linear]


def read_weights(model: bytes) -> StoredWeights:
    """The stored integers; a matrix has an exporter's number for a name, so it is known by the bias added to it."""
    graph = onnx.load_from_string(model).graph
    tensors = {
        tensor.name.removeprefix("inner."): numpy_helper.to_array(tensor) for tensor in graph.initializer
    }
    bias_after: dict[str, str] = {}  # name of a product → name of the bias added to it
    for node in graph.node:
        if node.op_type == "Add":
            for product, bias in (node.input, reversed(node.input)):
                if bias.endswith(".bias"):
                    bias_after[product] = bias.removeprefix("inner.")
    linears = {}
    for node in graph.node:
        if node.op_type == "MatMul" and f"{node.input[1]}_q" in tensors:
            bias = bias_after[node.output[0]]
            weights, scales = tensors[f"{node.input[1]}_q"], tensors[f"{node.input[1]}_scale"]
            linears[bias.removesuffix(".bias")] = Linear(weights, scales.reshape(-1), tensors[bias])
    return StoredWeights(tensors, linears)


def build_graph(stored: StoredWeights, arithmetic: Arithmetic, *, max_tokens: int) -> bytes:
    """A serialized model.

    `input_ids`, `attention_mask` (batch, tokens) int64 → `sentence_embedding` (batch, 384) float32 unit rows.
    """
    graph = _Graph(stored, arithmetic)
    mask = graph.add("Cast", ["attention_mask"], to=TensorProto.INT32)
    hidden = _embeddings(graph, max_tokens)
    for layer in range(LAYERS):
        hidden = _layer(graph, hidden, mask, f"encoder.layer.{layer}")
    _pooled(graph, hidden)
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"])
        for name in ("input_ids", "attention_mask")
    ]
    output = helper.make_tensor_value_info("sentence_embedding", TensorProto.FLOAT, ["batch", DIM])
    model = helper.make_model(
        helper.make_graph(graph.nodes, "minilm", inputs, [output], graph.constants),
        opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid(_ORT, 1)],
        ir_version=9,  # what opset 18 came with; read by every ONNX Runtime since 1.14
    )
    serialized: bytes = model.SerializeToString(deterministic=True)
    return serialized


class _Graph:
    """Nodes and constants in the making; `add` returns the name of the (first) output."""

    def __init__(self, stored: StoredWeights, arithmetic: Arithmetic) -> None:
        self.stored = stored
        self.arithmetic = arithmetic
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(
        self,
        operator: str,
        inputs: Sequence[str],
        *,
        outputs: Sequence[str] = (),
        domain: str = "",
        **attributes: Any,
    ) -> str:
        names = list(outputs) or [f"{operator}_{len(self.nodes)}"]
        self.nodes.append(helper.make_node(operator, list(inputs), names, domain=domain, **attributes))
        return names[0]

    def constant(self, name: str, value: Array) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def tensor(self, name: str) -> str:
        return self.constant(name, self.stored.tensors[name])

    def linear(self, x: str, name: str, linear: Linear, *, biased: bool) -> str:
        """x · weights (+ bias): (batch, tokens, inputs) → (batch, tokens, outputs)."""
        bias = self.constant(f"{name}.bias", linear.bias) if biased else ""
        if self.arithmetic == "float":
            weights = self.constant(f"{name}.weight", linear.weights.astype(np.float32) * linear.scales)
            product = self.add("MatMul", [x, weights])
            return self.add("Add", [product, bias]) if biased else product
        zero = ""
        integers = linear.weights
        if self.arithmetic == "uint8":
            integers = (integers.astype(np.int16) + 128).astype(np.uint8)
            zero = self.constant(f"{name}.zero", np.full(len(linear.scales), 128, dtype=np.uint8))
        inputs = [
            x,
            self.constant(f"{name}.weight", integers),
            self.constant(f"{name}.scale", linear.scales),
            zero,
            bias,
        ]
        return self.add("DynamicQuantizeMatMul", inputs, domain=_ORT)


def _embeddings(graph: _Graph, max_tokens: int) -> str:
    """Word + position + token type, normalised; word rows stay int8 (12 MB, not 47) and are scaled as they are read."""
    tensors = graph.stored.tensors
    rows = graph.add("Gather", [graph.tensor("embeddings.word_embeddings.weight_q"), "input_ids"])
    scales = graph.add("Gather", [graph.tensor("embeddings.word_embeddings.weight_scale"), "input_ids"])
    words = graph.add("Mul", [graph.add("Cast", [rows], to=TensorProto.FLOAT), scales])
    positions = tensors["embeddings.position_embeddings.weight_q"].astype(np.float32)
    positions = positions * tensors["embeddings.position_embeddings.weight_scale"]
    # All tokens are of type 0 (no sentence pairs), so that row is added here once.
    positions = (positions + tensors["embeddings.token_type_embeddings.weight"][0])[:max_tokens]
    length = graph.add("Shape", ["input_ids"], start=1, end=2)
    first = graph.constant("zero", np.zeros(1, dtype=np.int64))
    here = graph.add("Slice", [graph.constant("positions", positions), first, length, first])
    scale, shift = graph.tensor("embeddings.LayerNorm.weight"), graph.tensor("embeddings.LayerNorm.bias")
    return graph.add(
        "LayerNormalization", [graph.add("Add", [words, here]), scale, shift], axis=-1, epsilon=EPSILON
    )


def _layer(graph: _Graph, hidden: str, mask: str, name: str) -> str:
    """Self-attention, then the feed-forward pair, each added to its input and normalised."""
    linears = graph.stored.linears
    attention, output = f"{name}.attention", f"{name}.output"
    projected = graph.linear(hidden, f"{attention}.self", _joined(linears, attention), biased=True)
    parts = [f"{attention}.{part}" for part in ("query", "key", "value")]
    graph.add("Split", [projected], outputs=parts, axis=2, num_outputs=3)
    attended = graph.add("MultiHeadAttention", [*parts, "", mask], domain=_ORT, num_heads=HEADS)
    hidden = _add_and_normalise(graph, attended, hidden, f"{attention}.output")
    wide = linears[f"{name}.intermediate.dense"]
    inner = graph.linear(hidden, f"{name}.intermediate.dense", wide, biased=False)
    bias = graph.constant(f"{name}.intermediate.dense.bias", wide.bias)
    inner = graph.add("BiasGelu", [inner, bias], domain=_ORT)
    return _add_and_normalise(graph, inner, hidden, output)


def _joined(linears: Mapping[str, Linear], attention: str) -> Linear:
    """Query, key and value projections side by side: one product, one quantization of the input."""
    three = [linears[f"{attention}.self.{part}"] for part in ("query", "key", "value")]
    return Linear(
        np.concatenate([linear.weights for linear in three], axis=1),
        np.concatenate([linear.scales for linear in three]),
        np.concatenate([linear.bias for linear in three]),
    )


def _add_and_normalise(graph: _Graph, x: str, skip: str, name: str) -> str:
    dense = graph.stored.linears[f"{name}.dense"]
    product = graph.linear(x, f"{name}.dense", dense, biased=False)
    inputs = [
        product,
        skip,
        graph.tensor(f"{name}.LayerNorm.weight"),
        graph.tensor(f"{name}.LayerNorm.bias"),
        graph.constant(f"{name}.dense.bias", dense.bias),
    ]
    return graph.add("SkipLayerNormalization", inputs, domain=_ORT, epsilon=EPSILON)


def _pooled(graph: _Graph, hidden: str) -> None:
    """Mean over the tokens of each text, scaled to length 1: the sum will do, its divisor cancels out."""
    row = graph.constant("one", np.ones(1, dtype=np.int64))
    weights = graph.add(
        "Unsqueeze", [graph.add("Cast", ["attention_mask"], to=TensorProto.FLOAT), row]
    )  # (batch, 1, tokens)
    total = graph.add("Squeeze", [graph.add("MatMul", [weights, hidden]), row])  # (batch, dim)
    graph.add("LpNormalization", [total], outputs=["sentence_embedding"], axis=-1, p=2)
