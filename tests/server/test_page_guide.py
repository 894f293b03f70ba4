"""The guide to the page and its WebSocket, run as a reader would."""

from __future__ import annotations

from pathlib import Path

import pytest

from guides import DOCS, printed_by
from ragstone.server.chat_socket import ChatLimits
from ragstone.server.serving import GRACE_S
from ragstone.server.streaming import SEND_TIMEOUT_S
from server.live import LiveService


def test_the_guide_holds_a_conversation(
    service: LiveService, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RAGSTONE_CHAT", f"ws://127.0.0.1:{service.port}/ws/chat")
    assert printed_by("page.md", tmp_path) == ["session", "True True", "True True"]


def test_the_limits_in_the_guide_are_those_that_hold() -> None:
    guide, limits = (DOCS / "page.md").read_text(), ChatLimits()
    for sentence in (
        f"{limits.connections} conversations at once",
        f"{limits.idle_s:g} s without a message",
        f"{SEND_TIMEOUT_S:g} s in which you take nothing",
        f"running answers get {GRACE_S:g} s",
    ):
        assert sentence in guide
