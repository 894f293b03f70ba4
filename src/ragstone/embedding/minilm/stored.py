"""Reads what the installed file of MiniLM holds."""

from __future__ import annotations

import onnx
from onnx import numpy_helper

from ragstone.embedding.bert_graph import Linear, StoredWeights


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
