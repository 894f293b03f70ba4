"""Text to token ids, counts and character spans, over the `tokenizers` library. Knows nothing of models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TokenIds: TypeAlias = npt.NDArray[np.int64]  # (tokens,) special tokens included


class TextTokenizer:
    """Tokenizes as one model wants it. Thread-safe: encoding does not change the library's object.

    Cutting to `max_tokens` is done here: in the library it is a state of the tokenizer, and counting and
    spans need the same tokenizer uncut (a second copy would cost 20 ms at every start).
    """

    def __init__(self, tokenizer: Tokenizer, *, max_tokens: int, prefix: str = "") -> None:
        """`prefix` is what documents get in front; `max_tokens` counts special tokens and prefix."""
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self._tokenizer = tokenizer
        self._prefix = prefix
        self._max_tokens = max_tokens
        # Special tokens that stand at the end (`[SEP]`) and must survive a cut.
        special = tokenizer.encode("a").special_tokens_mask
        self._tail = next((n for n, flag in enumerate(reversed(special)) if not flag), len(special))

    def document_ids(self, texts: Sequence[str]) -> list[TokenIds]:
        """Token ids of each text as a document, at most `max_tokens`."""
        encodings = self._tokenizer.encode_batch_fast(self._prefixed(texts))
        return [self._cut(encoding.ids) for encoding in encodings]

    def query_ids(self, text: str) -> TokenIds:
        """Token ids of `text` as it stands (the caller has put the query prefix), at most `max_tokens`."""
        return self._cut(self._tokenizer.encode(text).ids)

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text as a document: prefix and special tokens included, nothing cut off."""
        return [len(encoding) for encoding in self._tokenizer.encode_batch_fast(self._prefixed(texts))]

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Character span of each token of `text`, ascending, without special tokens or prefix, never cut off."""
        spans: list[tuple[int, int]] = self._tokenizer.encode(text, add_special_tokens=False).offsets
        return spans

    def _prefixed(self, texts: Sequence[str]) -> list[str]:
        return [self._prefix + text for text in texts] if self._prefix else list(texts)

    def _cut(self, ids: list[int]) -> TokenIds:
        if len(ids) > self._max_tokens:
            head = self._max_tokens - self._tail
            ids = ids[:head] + (ids[-self._tail :] if self._tail else [])
        return np.array(ids, dtype=np.int64)
