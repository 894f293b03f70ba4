"""The guide's code runs as printed, and its tables name what there is."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from ragstone.monitoring.monitor import PerformanceMonitor
from ragstone.monitoring.timing import reset_performance_stats

GUIDE = (Path(__file__).parents[2] / "docs" / "monitoring.md").read_text()


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL))
def test_every_block_runs(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "monitoring.md", "exec"), {})  # noqa: S102 - our own guide
    reset_performance_stats()


def test_the_tables_name_every_option_key_and_family() -> None:
    monitor = PerformanceMonitor()
    monitor.observe("search", 1.0, {"embed": 1.0})
    monitor.record_metric("size", 1.0)
    report = monitor.report()
    families = re.findall(r"^# TYPE (\w+)", monitor.to_prometheus(), re.MULTILINE)
    options = set(inspect.signature(PerformanceMonitor).parameters) - {"folder", "clock", "wait"}
    keys = {*report, *report["operations"]["search"], *report["metrics"]["size"]}
    assert {*options, *keys, *families} <= set(re.findall(r"`(\w+)`", GUIDE))
