"""Every test of parallel retrieval leaves no thread behind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from parallel.scripted_sources import our_threads


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    assert our_threads() == []
    yield
    assert our_threads() == []
