"""The alerts speak of figures that are exported; where Prometheus's own tool is installed, it agrees."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ragstone.index.recall_keeper import ENOUGH_TO_RAISE, ObservedRecall
from ragstone.monitoring.monitor import PerformanceMonitor
from ragstone.server.search_processes import SearchProcesses
from ragstone.server.workers import Room
from ragstone.settings import Settings
from ragstone.stats import recall_gauges

RULES = Path(__file__).parents[2] / "deploy" / "prometheus" / "alerts.yml"
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool (Debian: prometheus) is not installed")


@pytest.fixture
def exported(tmp_path: Path) -> str:
    monitor = PerformanceMonitor()
    monitor.observe("search", 5.0, {"embed": 1.0})
    monitor.record_error("search")
    monitor.record_metric("queue", 3.0)
    monitor.add_gauges(lambda: recall_gauges({"papers": ObservedRecall(30, 0.9, 0.99)}, wanted=0.98))
    room = Room("searches", waiting=0)
    monitor.add_gauges(
        SearchProcesses(Settings(data_dir=tmp_path), count=2, monitor=monitor, room=room).gauges
    )
    return monitor.to_prometheus()


def test_every_figure_in_an_alert_is_exported(exported: str) -> None:
    named = set(re.findall(r"ragstone_\w+", RULES.read_text()))
    assert len(named) == 8
    assert named <= set(re.findall(r"^# TYPE (\w+)", exported, re.MULTILINE))
    assert 'ragstone_operations_total{operation="search",outcome="error"} 1' in exported
    assert f"ragstone_recall_checks >= {ENOUGH_TO_RAISE}\n" in RULES.read_text()


@needs_promtool
def test_prometheus_takes_the_text(exported: str) -> None:
    promtool("check", "metrics", text=exported)


@needs_promtool
def test_the_alerts_are_raised_when_they_should_be(tmp_path: Path) -> None:
    for path in (RULES, Path(__file__).parent / "alerts_test.yml"):
        shutil.copy(path, tmp_path)
    promtool("test", "rules", str(tmp_path / "alerts_test.yml"))


def promtool(*arguments: str, text: str = "") -> None:
    done = subprocess.run(
        [str(PROMTOOL), *arguments], input=text, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
