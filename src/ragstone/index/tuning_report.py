"""A tuning run on paper: the JSON file of its results and a picture of the front."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ragstone.errors import StoreError
from ragstone.index.plans import INDEX_TYPES
from ragstone.index.tuning_results import Targets, TuningResult, TuningRun, pareto_front

FORMAT = 1

# For the types in their order: Okabe and Ito's eight colours, told apart by most eyes, and three more.
_COLOURS = (
    "#000000", "#7f7f7f", "#999933", "#aa4499", "#d55e00", "#56b4e9",
    "#0072b2", "#009e73", "#e69f00", "#cc79a7", "#882255",
)  # fmt: skip
_WIDTH, _PLOT_HEIGHT = 900, 400  # px
_LEFT, _RIGHT, _TOP = 64, 180, 84
_ROW = 20
_RADIUS_MIN, _RADIUS_MAX = 4.0, 18.0
# Below this share of neighbours nothing is of use; such points would squeeze the rest together.
_RECALL_SHOWN_MIN = 0.7
_RECALL_TICKS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98, 0.99, 1.0)
# Finding all is drawn where losing 1 in 200 more would be: 200 queries × 10 hits tell no finer.
_LOST_SHOWN_MIN = 0.005


def write_results(path: Path, run: TuningRun, best: TuningResult) -> None:
    """Write the run to a JSON file whose first level is the best result (so that `FAISSIndex.from_tuning_result`
    takes it), with the whole run under `run`. Raises `StoreError` when it cannot be written."""
    record = {"format": FORMAT, **best.to_json(), "run": run.to_json()}
    _write(path, json.dumps(record, indent=1) + "\n")


def write_picture(path: Path, run: TuningRun, best: TuningResult, targets: Targets) -> None:
    """Write `picture` to an SVG file. Raises `StoreError` when it cannot be written."""
    _write(path, picture(run, best, targets))


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise StoreError(
            f"{path} cannot be written: {error}", hint="name a file in a folder of yours"
        ) from error


@dataclass(frozen=True, slots=True)
class _Axes:
    """Where a time, a recall and a memory lie on the picture, in px."""

    ms: tuple[float, float]
    recall: tuple[float, float]
    memory_max: int

    def x(self, ms: float) -> float:
        """Logarithmic: settings differ by factors."""
        low, high = (math.log10(edge) for edge in self.ms)
        return _LEFT + (math.log10(ms) - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)

    def y(self, recall: float) -> float:
        """Logarithmic in the share that is lost: from .98 to .99 is as far as from .8 to .9."""
        low, high = (_nines(edge) for edge in self.recall)
        return _TOP + (high - _nines(recall)) / (high - low) * _PLOT_HEIGHT

    def radius(self, memory_bytes: int) -> float:
        """An area in proportion to the memory, but for the smallest, which could not be seen."""
        return max(_RADIUS_MIN, _RADIUS_MAX * math.sqrt(memory_bytes / self.memory_max))


def _nines(recall: float) -> float:
    return -math.log10(1 - recall + _LOST_SHOWN_MIN)


def picture(run: TuningRun, best: TuningResult, targets: Targets) -> str:
    """An SVG: each setting at its p95 (across, logarithmic) and recall@10 (up), its area the memory it takes.

    The front is joined and numbered, the best ringed; targets are dashed lines; a table names the numbers.
    """
    shown = [result for result in run if result.recall_10 >= _RECALL_SHOWN_MIN] or list(run)
    front = pareto_front(shown)
    axes = _fitted_axes(shown, targets)
    others = [result for result in shown if result not in front]
    height = _TOP + _PLOT_HEIGHT + 78 + _ROW * (len(front) + 1)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}"'
        ' font-family="system-ui, sans-serif" font-size="13" fill="#222">',
        f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
        _text(_LEFT - 44, 26, str(best), 'font-size="16" font-weight="600"'),
        _text(_LEFT - 44, 46, _subtitle(run, best), 'fill="#555"'),
        *_grid(axes),
        *_target_lines(axes, targets),
        *(_dot(axes, result, 0.35) for result in others),
        _line(axes, front),
        *(_dot(axes, result, 0.9) for result in front),
        *_marks(axes, front, best),
        *_legend(shown),
        *_table(front, best),
        "</svg>\n",
    ]
    return "\n".join(part for part in parts if part)


def _subtitle(run: TuningRun, best: TuningResult) -> str:
    measured = f"p95 {best.p95_ms:.3g} ms, recall@10 {best.recall_10:.3f}, {_memory(best.memory_bytes)}"
    missed = f"; misses: {'; '.join(best.missed)}" if best.missed else ""
    return f"{measured}{missed} · {run.count:,} vectors × {run.dim}, {run.n_queries} queries ({run.queries})"


def _fitted_axes(results: Sequence[TuningResult], targets: Targets) -> _Axes:
    times = [result.p95_ms for result in results] + ([targets.p95_ms] if targets.p95_ms else [])
    recalls = [result.recall_10 for result in results] + ([targets.recall] if targets.recall else [])
    return _Axes(
        ms=(min(times) / 1.4, max(times) * 1.4),
        recall=(max(tick for tick in _RECALL_TICKS[:-4] if tick <= min(recalls)), 1.0),
        memory_max=max(result.memory_bytes for result in results) or 1,
    )


def _grid(axes: _Axes) -> list[str]:
    right, bottom = _WIDTH - _RIGHT, _TOP + _PLOT_HEIGHT
    parts: list[str] = []
    for ms in _ticks(*axes.ms):
        x = axes.x(ms)
        parts += [_rule(x, _TOP, x, bottom), _text(x, bottom + 18, f"{ms:g}", 'text-anchor="middle"')]
    for recall in (tick for tick in _RECALL_TICKS if tick >= axes.recall[0]):
        y = axes.y(recall)
        parts += [_rule(_LEFT, y, right, y), _text(_LEFT - 8, y + 4, f"{recall:.2f}", 'text-anchor="end"')]
    parts.append(
        _text((_LEFT + right) / 2, bottom + 38, "p95 of a query, ms (one thread)", 'text-anchor="middle"')
    )
    parts.append(_text(_LEFT - 44, _TOP - 14, "recall@10"))
    return parts


def _ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten between the ends."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    marks = (digit * 10.0**power for power in powers for digit in (1, 2, 5))
    return [mark for mark in marks if low <= mark <= high]


def _target_lines(axes: _Axes, targets: Targets) -> list[str]:
    right, bottom = _WIDTH - _RIGHT, _TOP + _PLOT_HEIGHT
    dashed = 'stroke="#b00" stroke-dasharray="5 4"'
    parts: list[str] = []
    if targets.recall is not None:
        y = axes.y(targets.recall)
        parts += [
            _rule(_LEFT, y, right, y, dashed),
            _text(right - 6, y - 5, "recall wanted", 'text-anchor="end" fill="#b00"'),
        ]
    if targets.p95_ms is not None:
        x = axes.x(targets.p95_ms)
        parts += [
            _rule(x, _TOP, x, bottom, dashed),
            _text(x, _TOP - 4, "p95 wanted", 'text-anchor="middle" fill="#b00"'),
        ]
    return parts


def _dot(axes: _Axes, result: TuningResult, opacity: float) -> str:
    return (
        f'<circle cx="{axes.x(result.p95_ms):.1f}" cy="{axes.y(result.recall_10):.1f}" '
        f'r="{axes.radius(result.memory_bytes):.1f}" fill="{_colour(result.plan.index_type)}" '
        f'fill-opacity="{opacity}" stroke="#fff"><title>{html.escape(_described(result))}</title></circle>'
    )


def _line(axes: _Axes, front: Sequence[TuningResult]) -> str:
    # The front lies in three dimensions; joined are the settings that find more than all quicker ones.
    stairs: list[TuningResult] = []
    for result in front:
        if not stairs or result.recall_10 > stairs[-1].recall_10:
            stairs.append(result)
    points = " ".join(f"{axes.x(r.p95_ms):.1f},{axes.y(r.recall_10):.1f}" for r in stairs)
    return f'<polyline points="{points}" fill="none" stroke="#444" stroke-width="1.2"/>'


def _marks(axes: _Axes, front: Sequence[TuningResult], best: TuningResult) -> list[str]:
    parts: list[str] = []
    for number, result in enumerate(front, 1):
        x, y, radius = axes.x(result.p95_ms), axes.y(result.recall_10), axes.radius(result.memory_bytes)
        if _same(result, best):
            parts.append(
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius + 4:.1f}" fill="none" stroke="#b00" stroke-width="2"/>'
            )
        halo = 'font-size="11" font-weight="600" stroke="#fff" stroke-width="3" paint-order="stroke"'
        parts.append(_text(x + radius + 2, y - radius - 1, str(number), halo))
    return parts


def _legend(results: Iterable[TuningResult]) -> list[str]:
    present = {result.plan.index_type for result in results}
    x = _WIDTH - _RIGHT + 24
    parts: list[str] = []
    for place, index_type in enumerate(kind for kind in INDEX_TYPES if kind in present):
        y = _TOP + 14 + place * _ROW
        parts.append(f'<circle cx="{x}" cy="{y - 4}" r="6" fill="{_colour(index_type)}"/>')
        parts.append(_text(x + 14, y, index_type))
    parts.append(_text(x - 6, _TOP + 24 + len(present) * _ROW, "area: memory", 'fill="#555"'))
    return parts


def _table(front: Sequence[TuningResult], best: TuningResult) -> list[str]:
    columns: tuple[tuple[int, str, str, Callable[[int, TuningResult], str]], ...] = (
        (34, "end", "", lambda number, r: str(number)),
        (44, "start", "setting", lambda number, r: str(r)),
        (650, "end", "p95 ms", lambda number, r: f"{r.p95_ms:.3f}"),
        (725, "end", "recall@10", lambda number, r: f"{r.recall_10:.3f}"),
        (805, "end", "memory", lambda number, r: _memory(r.memory_bytes)),
        (875, "end", "build", lambda number, r: f"{r.build_s:.1f} s"),
    )
    top = _TOP + _PLOT_HEIGHT + 68
    parts = [
        _text(x, top, title, f'text-anchor="{side}" fill="#555"') for x, side, title, _ in columns if title
    ]
    for number, result in enumerate(front, 1):
        weight = ' font-weight="700"' if _same(result, best) else ""
        for x, side, _, cell in columns:
            style = f'text-anchor="{side}" font-size="12"{weight}'
            parts.append(_text(x, top + number * _ROW, cell(number, result), style))
    return parts


def _same(one: TuningResult, other: TuningResult) -> bool:
    return (one.plan, one.effort) == (other.plan, other.effort)


def _described(result: TuningResult) -> str:
    return (
        f"{result}: p50 {result.p50_ms:.3g}, p95 {result.p95_ms:.3g}, p99 {result.p99_ms:.3g} ms, "
        f"recall@10 {result.recall_10:.4f}, {_memory(result.memory_bytes)}, built in {result.build_s:.1f} s"
    )


def _memory(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.1f} MB"


def _colour(index_type: str) -> str:
    return _COLOURS[INDEX_TYPES.index(index_type) % len(_COLOURS)]


def _text(x: float, y: float, text: str, style: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{html.escape(text)}</text>'


def _rule(x1: float, y1: float, x2: float, y2: float, style: str = 'stroke="#e4e4e4"') -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" {style}/>'
