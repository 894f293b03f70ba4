"""Answers without a chat model: is the gold answer in it, is every quote verbatim, is the wrong corpus refused.

Asks the real engine. xquad-en: the even-numbered questions (the odd ones chose the weights of sentences); no answer of
xquad-de or hotpotqa was tuned on, though half of their questions trained the refusals. `--calibrate` fits
grounding's constants anew, writes the curve, and sets both side by side.

    python -m benchmarks.answers ../shared/data [--calibrate] [--data-dir DIR] [--passages 20000]
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.answers_calibration import (
    FEATURES,
    HELD_OUT,
    MISSING_FACT,
    Case,
    Fit,
    cases,
    curve,
    fit,
    load,
    rates,
    save,
)
from benchmarks.answers_data import DataSet, Library, read
from ragstone.answering import grounding
from ragstone.types import Answer

SETS = ("xquad-en-ir", "xquad-de-ir", "hotpotqa-300", "cranfield", "npl-vaswani", "scifact", "locomo-ir-a")
PASSAGES = "techdocs-passages"
ANSWERED = ("xquad-en-ir", "xquad-de-ir", "hotpotqa-300")
QUESTIONS = 200
WORDS_MAX = 60
IN_CODE = Fit(tuple(grounding.WEIGHTS.values()), grounding.BIAS, grounding.THRESHOLD)


def main() -> None:
    """Index what is missing, ask, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="the folder of data sets in BEIR layout")
    parser.add_argument(
        "--calibrate", action="store_true", help="fit grounding's constants and write the curve"
    )
    parser.add_argument("--data-dir", type=Path, help="keep the indexes here and reuse them")
    parser.add_argument(
        "--passages", type=int, default=20_000, help="how many techdocs passages to ask against"
    )
    parser.add_argument("--cases", type=Path, help="read the measured cases here, or write them")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        library = Library(arguments.data_dir or Path(folder))
        names = SETS if arguments.calibrate else ANSWERED
        sets = [read(arguments.data / name) for name in names]
        if arguments.calibrate and arguments.passages:
            sets.append(read(arguments.data / PASSAGES, limit=arguments.passages))
        for data in sets:
            library.hold(data)
        figures: dict[str, Any] = {
            data.name: _answers(library, data) for data in sets if data.name in ANSWERED
        }
        _print_answers(figures)
        if arguments.calibrate:
            figures["grounding"] = _grounding(library, sets, arguments.cases)
        print("written to", report.write("answers", figures))


def _answers(library: Library, data: DataSet) -> dict[str, object]:
    """What 200 questions of a set get on their own collection."""
    even = [question for number, question in enumerate(data.questions) if number % 2 == 0]
    step = max(1, len(even) // QUESTIONS)
    asked = even[::step][:QUESTIONS]
    found, refused, verbatim, quotes, words, took_ms = 0, 0, 0, 0, [], []
    with library.at(data.name) as engine:
        engine.ask(asked[0][1])  # open files, warm the model
        for key, text in asked:
            start = time.perf_counter()
            answer = engine.ask(text)
            took_ms.append((time.perf_counter() - start) * 1e3)
            refused += not answer.grounded
            found += answer.grounded and _holds(answer, data.answers[key])
            for citation in answer.citations:
                quotes += 1
                _, whole = engine.document(citation.uri)
                verbatim += whole[citation.start : citation.end] == citation.quote
            words.append(sum(len(c.quote.split()) for c in answer.citations))
    assert max(words) <= WORDS_MAX
    return {
        "questions": len(asked),
        "gold_in_answer": round(found / len(asked), 3),
        "falsely_refused": round(refused / len(asked), 3),
        "quotes": quotes,
        "quotes_verbatim": verbatim,
        "words_median": statistics.median(words),
        "ask_ms_p50": round(statistics.median(took_ms), 1),
        "ask_ms_p95": round(statistics.quantiles(took_ms, n=20)[-1], 1),
    }


def _holds(answer: Answer, gold: Sequence[str]) -> bool:
    text = " ".join(answer.text.lower().split())
    return any(" ".join(one.lower().split()) in text for one in gold)


def _print_answers(figures: Mapping[str, Mapping[str, Any]]) -> None:
    rows = [("gold answer within 60 words", "share (quotes verbatim; refused; ms p50)", "target")]
    for name, row in figures.items():
        rows.append(
            (
                name,
                f"{row['gold_in_answer']:.3f} ({row['quotes_verbatim']}/{row['quotes']}; "
                f"{row['falsely_refused']:.3f}; {row['ask_ms_p50']})",
                "≥ 0.75" if name == "xquad-en-ir" else "not tuned on",
            )
        )
    report.table(rows)


def _grounding(library: Library, sets: Sequence[DataSet], saved: Path | None) -> dict[str, object]:
    """Fit, confirm on what was kept aside, and compare with the constants in the code."""
    found = load(saved) if saved and saved.exists() else cases(library, sets)
    if saved:
        save(found, saved)
    fitted = fit(found)
    missing = [case for case in found if case.pair == MISSING_FACT]
    aside = [case for case in found if not case.trains and case.pair != MISSING_FACT]
    held = [case for case in aside if case.pair in HELD_OUT or case.answerable]
    points = curve(IN_CODE, aside)
    _draw(points, IN_CODE.threshold)
    figures: dict[str, object] = {
        "features": FEATURES,
        "fitted": dataclasses.asdict(fitted),
        "in_code": dataclasses.asdict(IN_CODE),
        "cases": len(found),
        "kept_aside": _means(IN_CODE, aside),
        "pairs_kept_aside": _means(IN_CODE, held),
        "by_pair": rates(IN_CODE, aside, IN_CODE.threshold),
        "fact_missing_refused": rates(IN_CODE, missing, IN_CODE.threshold)["refused"],
        "curve": points,
    }
    print(f"fitted: {fitted}\nin the code: {IN_CODE}")
    print(f"kept aside, mean over pairs: {figures['kept_aside']}; whole pairs: {figures['pairs_kept_aside']}")
    print(f"right subject, fact missing: {figures['fact_missing_refused']}")
    return figures


def _means(model: Fit, found: Sequence[Case]) -> dict[str, float]:
    table = rates(model, found, model.threshold)
    return {side: round(statistics.mean(values.values()), 3) for side, values in table.items() if values}


def _draw(points: Sequence[Mapping[str, float]], threshold: float) -> None:
    """The curve as SVG: false refusals across (0 to 20 %), refused wrong questions up (80 to 100 %)."""
    width, height, left, top = 480, 320, 60, 20

    def place(point: Mapping[str, float]) -> tuple[float, float]:
        x = left + min(point["false_refusals"], 0.2) / 0.2 * width
        y = top + (1 - max(point["refused"], 0.8)) / 0.2 * height
        return round(x, 1), round(y, 1)

    line = " ".join(f"{x},{y}" for x, y in map(place, points))
    x, y = place(min(points, key=lambda p: abs(p["threshold"] - threshold)))
    ticks = "".join(
        f'<text x="{left + i * width / 4:.0f}" y="{top + height + 18}" text-anchor="middle">{i * 5} %</text>'
        f'<text x="{left - 8}" y="{top + height - i * height / 4 + 4:.0f}" text-anchor="end">{80 + i * 5} %</text>'
        for i in range(5)
    )
    report.RESULTS.mkdir(exist_ok=True)
    (report.RESULTS / "answers.svg").write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 30}" height="{top + height + 50}" '
        'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>'
        f'<rect x="{left}" y="{top}" width="{width}" height="{height}" fill="none" stroke="#999"/>{ticks}'
        f'<polyline points="{line}" fill="none" stroke="#06c" stroke-width="2"/>'
        f'<circle cx="{x}" cy="{y}" r="5" fill="#c30"/>'
        f'<text x="{left + width / 2:.0f}" y="{top + height + 40}" text-anchor="middle">'
        "answerable questions refused</text>"
        f'<text x="{left + 8}" y="{top + height - 10}">'
        f"up: wrong-corpus questions refused; dot: the threshold {threshold}</text></svg>\n"
    )


if __name__ == "__main__":
    main()
