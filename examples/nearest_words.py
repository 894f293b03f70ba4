"""A `FAISSIndex` on its own: words as vectors of their letters, the nearest spellings found, saved and opened again.

python examples/nearest_words.py
"""

from __future__ import annotations

import itertools
import tempfile

import numpy as np

from ragstone import FAISSIndex

WORDS = ["anchor", "harbour", "ferry", "island", "ferries", "anchorage", "lighthouse", "harbours", "light"]


def spelling(word: str) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """(26 × 26,) counts of the pairs of letters in a word."""
    counts = np.zeros((26, 26), np.float32)
    for first, second in itertools.pairwise(word):
        counts[ord(first) - 97, ord(second) - 97] += 1
    return counts.reshape(-1)


def main() -> None:
    """Index, search, save, open, remove."""
    index = FAISSIndex(dimension=26 * 26, index_type="auto", metric="cosine")
    index.add_embeddings([spelling(word) for word in WORDS], WORDS, [{"length": len(word)} for word in WORDS])
    with tempfile.TemporaryDirectory() as folder:
        index.save_index(folder)
        opened = FAISSIndex(dimension=26 * 26, metric="cosine")
        opened.load_index(folder)
        for hit in opened.search(spelling("harbor"), k=3):
            print(f"{hit.score:.2f} {hit.id} ({hit.metadata['length']} letters)")
        opened.remove(["harbour"])
        print("then", opened.search(spelling("harbor"), k=1)[0].id)


if __name__ == "__main__":
    main()
