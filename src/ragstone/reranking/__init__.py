"""Models that read query and passage together and judge the pair: cross-encoders here, HTTP endpoints elsewhere."""

from __future__ import annotations

from ragstone.reranking.load import load_reranker
from ragstone.reranking.timely import TimelyReranker

__all__ = ["TimelyReranker", "load_reranker"]
