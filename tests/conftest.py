"""Shared fixtures: where the data sets are, and nothing that only one package needs."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

REPOSITORY = Path(__file__).resolve().parents[1]

# The same examples each time, so that a refused change is that change's fault; `--hypothesis-profile default` looks for
# others.
settings.register_profile("same_examples", derandomize=True)
settings.load_profile("same_examples")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets beside the checkout; skips where it is absent (a user's clone)."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no data sets at {folder}")
    return folder
