"""Stores to run commands on, and servers, as the tests of their own packages have them."""

from __future__ import annotations

from cache.conftest import redis_cluster, redis_server
from cli.conftest import here, indexed, models, shell

__all__ = ["here", "indexed", "models", "redis_cluster", "redis_server", "shell"]
