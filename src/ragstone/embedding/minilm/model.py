"""Opens the built-in model: its graph, its tokenizer, its form."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ragstone.embedding.encoder import EncoderForm, SentenceEncoder
from ragstone.embedding.minilm.weights import MODEL_ID, dynamic_int8_model
from ragstone.embedding.sessions import Device, open_session

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# sentence_bert_config.json of the model; it was trained on 128 tokens and holds up to 256.
MAX_TOKENS = 256
_VOCABULARY = Path(__file__).with_name("vocab.txt")


def load_minilm(
    cache_dir: Path, *, threads: int | None = None, background: bool = False, device: Device = "cpu"
) -> SentenceEncoder:
    """The built-in model; the first call on a machine takes seconds to prepare `cache_dir`."""
    session = open_session(dynamic_int8_model(cache_dir), device=device)
    form = EncoderForm(model_id=MODEL_ID, max_tokens=MAX_TOKENS)
    return SentenceEncoder(session, _wordpiece(), form, threads=threads, background=background)


def _wordpiece() -> Tokenizer:
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
