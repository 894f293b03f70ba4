"""T7 and T8: index a folder, whole pipeline, against the bare embedding loop; index it again unchanged.

T7 runs on the real trees given (Markdown and reStructuredText). The baseline hands the very texts that were
embedded to the same embedder, all at once, with nothing else to do. T8 runs on a generated folder of
8,000 small files, because nothing but their number matters there.

    python -m benchmarks.folders ../shared/data/folders/react.dev-docs ../shared/data/folders/prometheus-docs
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import threading
import time
from pathlib import Path

from benchmarks import report
from ragstone import Ragstone, Settings
from ragstone.embedding import load_embedder
from ragstone.errors import CancelledError, RagstoneError
from ragstone.types import Embedder

FILES_T8 = 8_000
FILES_T7 = 1_000


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        embedder = load_embedder("minilm", cache_dir=home / "models")
        embedder.embed_query("warm up")
        pipeline = _pipeline(home, arguments.folders, embedder, arguments.rounds)
        keyword = _first_keyword_hit(home, arguments.folders, embedder)
        again = _unchanged(home, embedder)
    figures = {"t7": {**pipeline, **keyword}, "t8": again}
    report.table(
        [
            ("T7 and T8", "measured", "target"),
            ("share of the bare embedding loop's speed", f"{pipeline['share']:.3f}", "≥ 0.95"),
            (f"first keyword answer, {FILES_T7:,} files", f"{keyword['first_keyword_s']:.2f} s", "≤ 2 s"),
            (f"unchanged folder of {FILES_T8:,} files", f"{again['unchanged_s']:.2f} s", "≤ 1 s"),
            ("chunks embedded after one edit", f"{again['embedded_after_edit']:.0f}", "the changed ones"),
        ]
    )
    print("written to", report.write("folders", figures))


def _pipeline(home: Path, folders: list[Path], embedder: Embedder, rounds: int) -> dict[str, float]:
    """Whole pipeline and bare loop in turn; medians of their times and of the ratio."""
    whole, bare, shares, count = [], [], [], 0
    for round_ in range(rounds):
        with Ragstone(home / f"whole-{round_}", settings=Settings(), embedder=embedder) as engine:
            started = time.perf_counter()
            made = engine.index(folders)
            whole.append(time.perf_counter() - started)
            texts = _chunk_texts(engine)
        count = made.embedded
        started = time.perf_counter()
        embedder.embed_documents(texts)
        bare.append(time.perf_counter() - started)
        shares.append(bare[-1] / whole[-1])
    return {
        "chunks": float(count),
        "whole_s": statistics.median(whole),
        "bare_loop_s": statistics.median(bare),
        "share": statistics.median(shares),
    }


def _chunk_texts(engine: Ragstone) -> list[str]:
    """What the model saw, as it stands in the catalog; equal chunks share one vector."""
    with engine._collection().catalog.reading() as db:
        found = db.execute(
            "SELECT DISTINCT context || substr(tile, start - tile_start + 1, end - start) FROM chunks"
        )
        return [str(text) for (text,) in found]


def _first_keyword_hit(home: Path, folders: list[Path], embedder: Embedder) -> dict[str, float]:
    """Seconds from the start of indexing 1,000 files until a keyword search answers, and until all are in."""
    tree = home / "thousand"
    sources = [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
    tree.mkdir()
    for number in range(FILES_T7):
        source = sources[number % len(sources)]
        shutil.copyfile(source, tree / f"{number:04}-{source.name}")
    all_read_s = 0.0
    stop = threading.Event()
    with Ragstone(home / "thousand-index", settings=Settings(), embedder=embedder) as engine:
        started = time.perf_counter()

        def progress(event: object) -> None:
            nonlocal all_read_s
            if getattr(event, "stage", "") == "read":
                all_read_s = time.perf_counter() - started

        def cancelled() -> bool:
            return stop.is_set()

        def run() -> None:
            try:
                engine.index([tree], progress=progress, cancelled=cancelled)
            except CancelledError:
                return

        worker = threading.Thread(target=run)
        worker.start()
        first_s = _poll(engine, started)
        while worker.is_alive() and time.perf_counter() - started < 60:
            time.sleep(0.2)
        stop.set()
        worker.join()
    return {"first_keyword_s": first_s, "all_text_searchable_s": all_read_s}


def _poll(engine: Ragstone, started: float) -> float:
    while time.perf_counter() - started < 60:
        try:
            if engine.search("configuration component", mode="keyword").hits:
                return time.perf_counter() - started
        except RagstoneError:
            pass  # the collection is not there yet
        time.sleep(0.01)
    raise TimeoutError("no keyword hit within 60 s")


def _unchanged(home: Path, embedder: Embedder) -> dict[str, float]:
    tree = home / "eight-thousand"
    for number in range(FILES_T8):
        path = tree / f"{number // 100:02}" / f"note-{number}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# Note {number}\n\nThe buoy numbered {number} was painted in week {number % 52}.\n")
    edited = tree / "00" / "note-0.md"
    edited.write_text("".join(f"# Part {n}\n\n{'A sentence about tides. ' * 20}\n\n" for n in range(30)))
    with Ragstone(home / "eight-thousand-index", settings=Settings(), embedder=embedder) as engine:
        first = engine.index([tree])
        runs = [engine.index([tree]) for _ in range(5)]
        text = edited.read_text()
        edited.write_text(text.replace("# Part 15\n\nA sentence", "# Part 15\n\nOne changed sentence"))
        after_edit = engine.index([tree])
    return {
        "files": float(FILES_T8),
        "first_s": first.seconds,
        "unchanged_s": statistics.median(run.seconds for run in runs),
        "embedded_unchanged": float(sum(run.embedded for run in runs)),
        "after_edit_s": after_edit.seconds,
        "embedded_after_edit": float(after_edit.embedded),
    }


if __name__ == "__main__":
    main()
