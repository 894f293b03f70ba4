"""Stores to run commands on, as the commands' own tests have them."""

from __future__ import annotations

from cli.conftest import here, indexed, models, shell

__all__ = ["here", "indexed", "models", "shell"]
