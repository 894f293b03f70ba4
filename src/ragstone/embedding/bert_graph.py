"""A BERT sentence encoder of 384 dimensions as an ONNX graph of ONNX Runtime's fused operators, from stored integers.

The file of MiniLM holds an int8 value per weight with a float scale per output column, but dequantizes them and
computes in float, in some 450 small operators. Here the same integers are multiplied as integers, attention is one
operator, and token vectors are pooled and normalised inside.

Activations are quantized as they come, **each token by its own scale**. The usual way, one scale for the whole batch
(`DynamicQuantizeMatMul`), is 4 % faster, but one loud token coarsens all others (cosine to float .9954 against
.9986 here), and a text's vector then depends on its neighbours in the batch; here it does not.

The tokens of a batch lie one below the other in (batch x tokens, width) matrices; only attention sees the batch.
Operators: github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md.
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
and saturates. `uint8` shifts the same integers by 128, which gives the same sums on any CPU, at 1.75 times the cost
where VNNI exists. `float` is the reference, and what a GPU wants."""

Array: TypeAlias = npt.NDArray[Any]

# What config.json says of both models that are built so.
HEADS = 12
DIM = 384
EPSILON = 1e-12  # layer_norm_eps
# Activations are stored as 0 … 255 around a zero. Around 128 where both signs occur alike. GELU gives nothing below
# -0.17, so its zero lies at 32: that leaves 223 steps for what is above (20 and 48 measure the same).
MIDDLE = 128
GELU_ZERO = 32
GELU_MIN = -0.17
_ORT = "com.microsoft"


@dataclass(frozen=True, slots=True)
class Linear:
    """A linear layer: `weights` (inputs, outputs) int8, `scales` (outputs,) float32, `bias` (outputs,) float32."""

    weights: Array
    scales: Array
    bias: Array


@dataclass(frozen=True, slots=True)
class WordRows:
    """Word embeddings (words, 384) in 4 bits: `packed` (words, 12, 16) uint8 holds of each block of 32 numbers the
    first 16 in its low bits and the others in its high ones, 8 standing for 0; `scales` (words, 12) float16."""

    packed: Array
    scales: Array


@dataclass(frozen=True, slots=True)
class StoredWeights:
    """What the installed file holds; `linears` by name without `.weight`, `tensors` everything by its own name.

    `words` where word embeddings have 4 bits; else they are among the tensors, a row of int8 with its scale each.
    `center` (384,) float32: what is taken off each text's unit vector, which is then scaled to length 1 again.
    """

    tensors: Mapping[str, Array]
    linears: Mapping[str, Linear]
    words: WordRows | None = None
    center: Array | None = None

    @property
    def layers(self) -> int:
        """How many the encoder has."""
        return sum(name.endswith("attention.output.dense") for name in self.linears)


def build_graph(stored: StoredWeights, arithmetic: Arithmetic, *, max_tokens: int) -> bytes:
    """A serialized model.

    `input_ids`, `attention_mask` (batch, tokens) int64 → `sentence_embedding` (batch, 384) float32 unit rows, and
    without a center `token_vectors` (batch, tokens, 384) float32, which it is the mean of.
    """
    graph = _Graph(stored, arithmetic)
    hidden = _embeddings(graph, max_tokens)
    for layer in range(stored.layers):
        hidden = _layer(graph, hidden, f"encoder.layer.{layer}")
    _pooled(graph, hidden)
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"])
        for name in ("input_ids", "attention_mask")
    ]
    outputs = [helper.make_tensor_value_info("sentence_embedding", TensorProto.FLOAT, ["batch", DIM])]
    if stored.center is None:
        outputs.append(
            helper.make_tensor_value_info("token_vectors", TensorProto.FLOAT, ["batch", "tokens", DIM])
        )
    model = helper.make_model(
        helper.make_graph(graph.nodes, "minilm", inputs, outputs, graph.constants),
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
        # What several places need, computed or stored once.
        self.ids = self.add("Reshape", ["input_ids", self.integers("flat", [-1])])  # (batch x tokens,)
        self.shape = self.add("Shape", ["input_ids"])  # batch, tokens
        self.mask = self.add("Cast", ["attention_mask"], to=TensorProto.INT32)
        self.rows = self.integers("rows", [-1, DIM])
        self.integers("zero", [0])
        self.integers("one", [1])
        self.integers("last", [-1])
        if arithmetic != "float":
            self._quantization_constants()

    def _quantization_constants(self) -> None:
        count = self.add("Shape", [self.ids])
        for name, zero in (("middle", MIDDLE), ("gelu", GELU_ZERO)):
            self.constant(f"{name}_zero", np.array(zero, dtype=np.uint8))
            # The quantizing operator wants a zero per token where it has a scale per token.
            self.add("Expand", [f"{name}_zero", count], outputs=[f"{name}_zeros"])
            self.number(f"{name}_step", 1 / (255 - zero))
        self.number("gelu_least_scale", -GELU_MIN / GELU_ZERO)
        self.number("unscaled", 1)

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

    def integers(self, name: str, values: Sequence[int]) -> str:
        return self.constant(name, np.array(values, dtype=np.int64))

    def number(self, name: str, value: float) -> str:
        return self.constant(name, np.array(value, dtype=np.float32))

    def tensor(self, name: str) -> str:
        return self.constant(name, self.stored.tensors[name])

    def reshaped(self, x: str, width: int) -> str:
        """(batch x tokens, width) → (batch, tokens, width)."""
        shape = self.add("Concat", [self.shape, self.integers(f"{x}_width", [width])], axis=0)
        return self.add("Reshape", [x, shape])


def _product(graph: _Graph, x: str, name: str, linear: Linear, *, after_gelu: bool = False) -> str:
    """x · weights, without the bias: (rows, inputs) → (rows, outputs)."""
    if graph.arithmetic == "float":
        weights = linear.weights.astype(np.float32) * linear.scales
        return graph.add("MatMul", [x, graph.constant(f"{name}.weight", weights)])
    # A row is never all zeros (it is normalised, or attention's mix of what was), so its scale is not 0.
    if after_gelu:
        loudest = graph.add("ReduceMax", [x, "last"], keepdims=0)
        scale = graph.add("Max", [graph.add("Mul", [loudest, "gelu_step"]), "gelu_least_scale"])
    else:
        loudest = graph.add("ReduceMax", [graph.add("Abs", [x]), "last"], keepdims=0)
        scale = graph.add("Mul", [loudest, "middle_step"])
    zero = "gelu_zero" if after_gelu else "middle_zero"
    quantized = graph.add("QuantizeLinear", [x, scale, f"{zero}s"], axis=0)
    weights, weight_zero = linear.weights, ""
    if graph.arithmetic == "uint8":
        weights = (weights.astype(np.int16) + 128).astype(np.uint8)
        weight_zero = graph.constant(f"{name}.zero", np.full(len(linear.scales), 128, dtype=np.uint8))
    inputs = [
        quantized,
        graph.constant(f"{name}.weight", weights),
        "unscaled",  # takes one number for all rows; theirs is multiplied in below
        graph.constant(f"{name}.scale", linear.scales),
        zero,
        weight_zero,
    ]
    product = graph.add("MatMulIntegerToFloat", inputs, domain=_ORT)
    return graph.add("Mul", [product, graph.add("Unsqueeze", [scale, "last"])])


def _embeddings(graph: _Graph, max_tokens: int) -> str:
    """Word + position + token type, normalised; word rows stay integers (12 MB, not 47), scaled as they are read."""
    tensors = graph.stored.tensors
    words = _words(graph) if graph.stored.words is None else _words_of_4_bits(graph, graph.stored.words)
    positions = tensors["embeddings.position_embeddings.weight_q"].astype(np.float32)
    positions = positions * tensors["embeddings.position_embeddings.weight_scale"]
    # All tokens are of type 0 (no sentence pairs), so that row is added here once.
    positions = (positions + tensors["embeddings.token_type_embeddings.weight"][0])[:max_tokens]
    length = graph.add("Shape", ["input_ids"], start=1, end=2)
    here = graph.add("Slice", [graph.constant("positions", positions), "zero", length, "zero"])
    placed = graph.add("Add", [graph.reshaped(words, DIM), here])
    scale, shift = graph.tensor("embeddings.LayerNorm.weight"), graph.tensor("embeddings.LayerNorm.bias")
    inputs = [graph.add("Reshape", [placed, graph.rows]), scale, shift]
    return graph.add("LayerNormalization", inputs, axis=-1, epsilon=EPSILON)


def _words(graph: _Graph) -> str:
    """(batch x tokens, 384) from rows of int8 with a scale each."""
    stored = graph.add("Gather", [graph.tensor("embeddings.word_embeddings.weight_q"), graph.ids])
    scales = graph.add("Gather", [graph.tensor("embeddings.word_embeddings.weight_scale"), graph.ids])
    return graph.add("Mul", [graph.add("Cast", [stored], to=TensorProto.FLOAT), scales])


def _words_of_4_bits(graph: _Graph, words: WordRows) -> str:
    """(batch x tokens, 384) from the rows as they are stored: 54 MB of 250,000 words, not 384."""
    stored = graph.add("Gather", [graph.constant("words", words.packed), graph.ids])  # (…, 12, 16)
    scales = graph.add("Gather", [graph.constant("words.scale", words.scales[..., None]), graph.ids])
    low = graph.add("BitwiseAnd", [stored, graph.constant("low_bits", np.array(15, dtype=np.uint8))])
    four = graph.constant("four", np.array(4, dtype=np.uint8))
    high = graph.add("BitShift", [stored, four], direction="RIGHT")
    numbers = graph.add("Cast", [graph.add("Concat", [low, high], axis=-1)], to=TensorProto.FLOAT)
    zero = graph.constant("words.zero", np.array(8, dtype=np.float32))
    centered = graph.add("Sub", [numbers, zero])
    scaled = graph.add("Mul", [centered, graph.add("Cast", [scales], to=TensorProto.FLOAT)])
    return graph.add("Reshape", [scaled, graph.rows])


def _layer(graph: _Graph, hidden: str, name: str) -> str:
    """Self-attention, then the feed-forward pair, each added to its input and normalised."""
    attended = _attention(graph, hidden, f"{name}.attention")
    hidden = _add_and_normalise(graph, attended, hidden, f"{name}.attention.output")
    wide = graph.stored.linears[f"{name}.intermediate.dense"]
    product = _product(graph, hidden, f"{name}.intermediate.dense", wide)
    bias = graph.constant(f"{name}.intermediate.dense.bias", wide.bias)
    inner = graph.add("BiasGelu", [product, bias], domain=_ORT)
    return _add_and_normalise(graph, inner, hidden, f"{name}.output", after_gelu=True)


def _attention(graph: _Graph, hidden: str, name: str) -> str:
    """Query, key and value projections side by side (one product, one quantization of the input), then heads."""
    three = [graph.stored.linears[f"{name}.self.{part}"] for part in ("query", "key", "value")]
    joined = Linear(
        np.concatenate([linear.weights for linear in three], axis=1),
        np.concatenate([linear.scales for linear in three]),
        np.concatenate([linear.bias for linear in three]),
    )
    projected = graph.reshaped(_product(graph, hidden, f"{name}.self", joined), 3 * DIM)
    parts = [f"{name}.{part}" for part in ("query", "key", "value")]
    graph.add("Split", [projected], outputs=parts, axis=2, num_outputs=3)
    inputs = [*parts, graph.constant(f"{name}.self.bias", joined.bias), graph.mask]
    attended = graph.add("MultiHeadAttention", inputs, domain=_ORT, num_heads=HEADS)
    return graph.add("Reshape", [attended, graph.rows])


def _add_and_normalise(graph: _Graph, x: str, skip: str, name: str, *, after_gelu: bool = False) -> str:
    # ONNX Runtime's SkipLayerNormalization would do all of this, at 5 ns a number against 1: it is not vectorised.
    dense = graph.stored.linears[f"{name}.dense"]
    product = _product(graph, x, f"{name}.dense", dense, after_gelu=after_gelu)
    biased = graph.add("Add", [product, graph.constant(f"{name}.dense.bias", dense.bias)])
    scale, shift = graph.tensor(f"{name}.LayerNorm.weight"), graph.tensor(f"{name}.LayerNorm.bias")
    return graph.add(
        "LayerNormalization", [graph.add("Add", [biased, skip]), scale, shift], axis=-1, epsilon=EPSILON
    )


def _pooled(graph: _Graph, hidden: str) -> None:
    """Mean over the tokens of each text, scaled to length 1: the sum will do, its divisor cancels out."""
    weights = graph.add("Cast", ["attention_mask"], to=TensorProto.FLOAT)  # (batch, tokens)
    row = graph.add("Unsqueeze", [weights, "one"])
    graph.add("Identity", [graph.reshaped(hidden, DIM)], outputs=["token_vectors"])
    vector = graph.add("Squeeze", [graph.add("MatMul", [row, "token_vectors"]), "one"])
    if graph.stored.center is not None:
        unit = graph.add("LpNormalization", [vector], axis=-1, p=2)
        vector = graph.add("Sub", [unit, graph.constant("center", graph.stored.center)])
    graph.add("LpNormalization", [vector], outputs=["sentence_embedding"], axis=-1, p=2)
