"""Opens the built-in model: its graph, its tokenizer, its form."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ragstone.embedding.encoder import EncoderForm, SentenceEncoder
from ragstone.embedding.minilm.weights import MAX_TOKENS, VECTORS_VERSION, WEIGHTS, minilm_graph
from ragstone.embedding.prepared import integer_arithmetic
from ragstone.embedding.sessions import Device, on_gpu, open_session

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Short texts share a call until it has the tokens of one long text: what a call costs beside its arithmetic is spread,
# and the activations still fit the core's cache (benchmarks/embedding.py).
CPU_BATCH_TEXTS = 8
CPU_BATCH_TOKENS = 256
_VOCABULARY = Path(__file__).with_name("vocab.txt")


def load_minilm(
    cache_dir: Path, *, threads: int | None = None, background: bool = False, device: Device = "cpu"
) -> SentenceEncoder:
    """The built-in model, in integers on the CPU and in float on a GPU (which has no such integer operators).

    The first call on a machine takes about a second to prepare `cache_dir`. Raises `ModelError`.
    """
    gpu = on_gpu(device)
    arithmetic = "float" if gpu else integer_arithmetic()
    session = open_session(minilm_graph(cache_dir, arithmetic), device=device)
    # One id for both arithmetics: they share the int8 weights and their vectors agree to a cosine of .9986, so what
    # a GPU indexed a CPU may search.
    form = EncoderForm(
        model_id=f"all-MiniLM-L6-v2/int8-{VECTORS_VERSION}/{WEIGHTS.sha256[:12]}",
        max_tokens=MAX_TOKENS,
        batch_texts=64 if gpu else CPU_BATCH_TEXTS,
        batch_tokens=16_384 if gpu else CPU_BATCH_TOKENS,  # 64 texts of 256
    )
    return SentenceEncoder(session, wordpiece(), form, threads=threads, background=background)


def wordpiece() -> Tokenizer:
    """The model's tokenizer: lower-cased WordPiece between `[CLS]` and `[SEP]`."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    tokenizer = Tokenizer(
        models.WordPiece.from_file(str(_VOCABULARY), unk_token="[UNK]", max_input_chars_per_word=100)  # noqa: S106
    )
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 101), ("[SEP]", 102)]
    )
    return tokenizer
