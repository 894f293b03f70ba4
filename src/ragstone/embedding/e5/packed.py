"""Reads the file of packed weights: a header, the tokenizer's pieces, a directory of tensors, the tensors.

All numbers are little-endian. A matrix is (outputs, inputs) in 4 bits: of each block of 32 inputs a float16 scale, then
16 bytes that hold the first 16 numbers in their low bits and the others in their high ones, 8 standing for 0. The file
is checked against its checksum before, so nothing here has to expect another one.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from ragstone.embedding.bert_graph import DIM, Array, Linear, StoredWeights, WordRows
from ragstone.embedding.e5.unigram import HEADER, read_pieces

_BLOCK = np.dtype([("scale", "<f2"), ("numbers", "u1", 16)])
# Name in the file → name of the layer's part.
_LINEARS = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "fi": "intermediate.dense",
    "fo": "output.dense",
}
_NORMS = {"aln": "attention.output.LayerNorm", "oln": "output.LayerNorm"}


def read_packed(file: bytes, *, center: npt.NDArray[np.float32] | None = None) -> StoredWeights:
    """The weights in `file`; `center` as in `StoredWeights`.

    A matrix gets int8 with one scale per output: vectors then have a cosine of .999 with those of the 4 bits in float.
    """
    layers = HEADER.unpack_from(file)[3]
    _, at = read_pieces(file)
    (normalizations_bytes,) = struct.unpack_from("<4xI", file, at)  # a table that the tokenizer does not need
    tensors = _directory(file, at + 8 + normalizations_bytes)
    named, linears = _named(tensors, layers)
    return StoredWeights(named, linears, _words(tensors["emb.word"]), center)


def _directory(file: bytes, at: int) -> Mapping[str, Array]:
    """Tensors by name: float32 (n,), or blocks of 4-bit numbers."""
    (count,) = struct.unpack_from("<i", file, at)
    at += 4
    tensors: dict[str, Array] = {}
    for _ in range(count):
        (length,) = struct.unpack_from("<H", file, at)
        name = file[at + 2 : at + 2 + length].decode()
        kind, _, start, size = struct.unpack_from("<BIQQ", file, at + 2 + length)
        dtype = _BLOCK if kind else np.dtype("<f4")
        tensors[name] = np.frombuffer(file, dtype, size // dtype.itemsize, start)
        at += 2 + length + 21
    return tensors


def _named(tensors: Mapping[str, Array], layers: int) -> tuple[dict[str, Array], dict[str, Linear]]:
    """Tensors and linear layers by the names that BERT's own files give them."""
    named = {
        "embeddings.position_embeddings.weight_q": tensors["emb.pos"].reshape(-1, DIM),
        "embeddings.position_embeddings.weight_scale": np.ones(1, np.float32),
        "embeddings.token_type_embeddings.weight": tensors["emb.type"].reshape(-1, DIM),
        "embeddings.LayerNorm.weight": tensors["emb.ln.w"],
        "embeddings.LayerNorm.bias": tensors["emb.ln.b"],
    }
    linears = {}
    for layer in range(layers):
        for short, name in _LINEARS.items():
            bias = tensors[f"l{layer}.{short}.b"]
            linears[f"encoder.layer.{layer}.{name}"] = _linear(tensors[f"l{layer}.{short}.w"], bias)
        for short, name in _NORMS.items():
            named[f"encoder.layer.{layer}.{name}.weight"] = tensors[f"l{layer}.{short}.w"]
            named[f"encoder.layer.{layer}.{name}.bias"] = tensors[f"l{layer}.{short}.b"]
    return named, linears


def unpacked(blocks: Array) -> npt.NDArray[np.float32]:
    """(n,) blocks → (n, 32) float32."""
    numbers = np.concatenate([blocks["numbers"] & 15, blocks["numbers"] >> 4], axis=1)
    values: npt.NDArray[np.float32] = (numbers.astype(np.float32) - 8) * blocks["scale"].astype(np.float32)[
        :, None
    ]
    return values


def _linear(blocks: Array, bias: Array) -> Linear:
    weights = unpacked(blocks).reshape(len(bias), -1).T  # (inputs, outputs)
    scales = np.abs(weights).max(axis=0) / 127
    return Linear(np.rint(weights / scales).astype(np.int8), scales, bias)


def _words(blocks: Array) -> WordRows:
    rows = blocks.reshape(-1, DIM // 32)
    return WordRows(rows["numbers"], rows["scale"])
