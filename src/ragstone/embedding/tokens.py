"""Text to token ids, counts and character spans, over the `tokenizers` library. Knows nothing of models."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

TokenIds: TypeAlias = npt.NDArray[np.int64]  # (tokens,) special tokens included

# The library would spread each batch over a thread pool of its own, which knows neither the number of threads we
# were given nor their priority, and warns at every fork. Batches are spread over our own threads instead.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@dataclass(frozen=True, slots=True)
class TokenPair:
    """Two texts as one input, special tokens included; `types` says of each token which text it belongs to."""

    ids: TokenIds
    types: TokenIds


class TextTokenizer:
    """Tokenizes as one model wants it. Thread-safe: encoding does not change the library's object.

    Only batch methods are called, also for one text: they let other threads run meanwhile. Cutting to
    `max_tokens` is done here: in the library it is a state of the tokenizer, and counts and spans need the same
    tokenizer uncut (a second copy would cost 20 ms at every start).
    """

    def __init__(self, tokenizer: Tokenizer, *, max_tokens: int) -> None:
        """`max_tokens` counts special tokens too. `special` of them are added to a text, `special_before` it."""
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens
        # Special tokens that stand at the end (`[SEP]`) and must survive a cut.
        special = tokenizer.encode("a").special_tokens_mask
        self.special = sum(special)
        self._tail = next((n for n, flag in enumerate(reversed(special)) if not flag), len(special))
        self.special_before = self.special - self._tail

    @property
    def vocabulary(self) -> dict[str, int]:
        """Token → id."""
        vocabulary: dict[str, int] = self._tokenizer.get_vocab(with_added_tokens=False)
        return vocabulary

    def ids(self, texts: Sequence[str]) -> list[TokenIds]:
        """Token ids of each text, special tokens included, at most `max_tokens`."""
        return [self._cut(encoding.ids) for encoding in self._encodings(texts)]

    def pairs(self, first: str, seconds: Sequence[str]) -> list[TokenPair]:
        """`first` with each of `seconds`, at most `max_tokens` together: the second is cut, but the first to half."""
        first = self._start(well_formed(first), self._max_tokens // 2)
        encodings = self._tokenizer.encode_batch([(first, well_formed(second)) for second in seconds])
        return [self._cut_pair(encoding) for encoding in encodings]

    def counts(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, special tokens included, nothing cut off."""
        return [len(encoding) for encoding in self._encodings(texts)]

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Character span of each token of `text`, ascending, without special tokens, never cut off."""
        try:
            (encoding,) = self._tokenizer.encode_batch([text], add_special_tokens=False)
        except TypeError:
            (encoding,) = self._tokenizer.encode_batch([well_formed(text)], add_special_tokens=False)
        spans: list[tuple[int, int]] = encoding.offsets
        return spans

    def cut(self, text: str) -> str:
        """The start of `text` that fits `max_tokens`, for models that tokenize elsewhere."""
        return self._start(text, self._max_tokens - self.special)

    def _start(self, text: str, tokens: int) -> str:
        """The start of `text` that has at most so many tokens, special ones not counted."""
        if len(text) <= tokens:
            return text  # a token has at least one character
        spans = self.spans(text)[:tokens]
        return text[: spans[-1][1]] if spans else text

    def _encodings(self, texts: Sequence[str]) -> list[Encoding]:
        try:
            return self._tokenizer.encode_batch_fast(texts)
        except TypeError:
            return self._tokenizer.encode_batch_fast([well_formed(text) for text in texts])

    def _cut(self, ids: list[int]) -> TokenIds:
        if len(ids) > self._max_tokens:
            head = self._max_tokens - self._tail
            ids = ids[:head] + (ids[-self._tail :] if self._tail else [])
        # A tokenizer without special tokens gives nothing for an empty text, but a graph needs one token.
        return np.array(ids or [0], dtype=np.int64)

    def _cut_pair(self, encoding: Encoding) -> TokenPair:
        ids, types = np.array(encoding.ids, np.int64), np.array(encoding.type_ids, np.int64)
        beyond = max(0, len(ids) - self._max_tokens)
        # The last tokens of the second text; what stands behind it is special and stays.
        end = max((at for at, text in enumerate(encoding.sequence_ids) if text == 1), default=-1) + 1
        kept = np.r_[: end - beyond, end : len(ids)]
        return TokenPair(ids[kept], types[kept])


def well_formed(text: str) -> str:
    """`text` with `?` for lone surrogates, which the library refuses: half an emoji must not cost a document."""
    return text.encode("utf-8", "replace").decode("utf-8")
