"""Does a text say, token by token, what the query says? Each query token against the most alike token of the text.

After Khattab and Zaharia, "ColBERT" (2020), with two differences: the model is the ordinary sentence encoder, whose
token vectors were never trained for this, and a query token counts by how rare its word is in the collection. Vectors
are compared by their signs (`embedding.token_signs`), which costs an exclusive or and a count of bits.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np

from ragstone.types import QueryTokens, Scores, TokenSigns

_WORD = re.compile(r"\w+")


def token_weights(
    query: str, spans: Sequence[tuple[int, int]], idf_of_words: Callable[[Sequence[str]], Scores]
) -> Scores:
    """(n,) what each token of a query counts: the idf of the word it stands in, shared among that word's tokens.

    0 for tokens outside words. `idf_of_words` gives the idf (n,) of words as they are written.
    """
    words = list(_WORD.finditer(query))
    weights = np.zeros(len(spans), np.float32)
    if not words:
        return weights
    starts = np.array([word.start() for word in words])
    ends = np.array([word.end() for word in words])
    begins = np.array([start for start, _ in spans], np.int64)
    owner = np.searchsorted(starts, begins, side="right") - 1
    inside = (owner >= 0) & (begins < ends[owner])
    shares = np.bincount(owner[inside], minlength=len(words))
    idf = idf_of_words([word.group() for word in words])
    weights[inside] = (idf / np.maximum(shares, 1))[owner[inside]]
    return weights


def similarity(tokens: QueryTokens, weights: Scores, texts: Sequence[bytes]) -> Scores:
    """(n,) in [0, 1]: for each text the weighed mean over the query's tokens of the best agreement with one of its own.

    Agreement is the share of equal signs less that of unequal ones. `texts` are stored signs, 24 bytes a token; a text
    without any counts as the mean of those that have some: neither a gain nor a loss. All 0 where nothing can be said.
    """
    scores = np.zeros(len(texts), np.float32)
    asked = weights > 0
    lengths = np.array([len(text) for text in texts]) // (8 * tokens.signs.shape[1])
    known = lengths > 0
    if not asked.any() or not known.any():
        return scores
    held: TokenSigns = np.frombuffer(b"".join(texts), dtype="<u8").reshape(-1, tokens.signs.shape[1])
    differing = np.zeros((int(asked.sum()), len(held)), np.uint8)  # at most 192
    for word in range(held.shape[1]):
        differing += np.bitwise_count(tokens.signs[asked, word, None] ^ held[None, :, word])
    starts = np.cumsum(lengths[known]) - lengths[known]
    fewest = np.minimum.reduceat(differing, starts, axis=1).astype(np.float32)
    agreement = 1 - fewest * (2 / (64 * tokens.signs.shape[1]))
    scores[known] = np.clip(weights[asked] @ agreement / weights[asked].sum(), 0.0, 1.0)
    scores[~known] = scores[known].mean()
    return scores
