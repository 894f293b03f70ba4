"""ragstone: index folders of documents, search by meaning and keyword, answer with checked citations.

    from ragstone import Ragstone

    with Ragstone("my-index") as engine:
        engine.index(["documents"])
        for hit in engine.search("how are backups made?").hits:
            print(hit.uri, hit.page, hit.text)
        print(engine.ask("How are backups made?").text)

Importing this is cheap: the engine and what it needs are loaded when `Ragstone` or `Settings` is first named.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from ragstone.errors import RagstoneError
from ragstone.version import __version__

if TYPE_CHECKING:
    from ragstone.cache.memory_cache import MemoryCache
    from ragstone.cache.query_optimizer import QueryOptimizer
    from ragstone.cache.redis_cache import RedisCache
    from ragstone.client.asynchronous import AsyncClient
    from ragstone.client.blocking import Client
    from ragstone.embedding.batch_embedder import BatchEmbedder
    from ragstone.engine import Ragstone
    from ragstone.faiss_index.index import FAISSIndex
    from ragstone.faiss_index.sharded import ShardedFAISSIndex
    from ragstone.given_files import GivenFile
    from ragstone.importers.rollout import Rollout
    from ragstone.index.tuner import FAISSTuner
    from ragstone.index.tuning_results import TuningResult
    from ragstone.memory.backend import MemoryBackend
    from ragstone.memory.consolidator import MemoryConsolidator
    from ragstone.monitoring.monitor import PerformanceMonitor
    from ragstone.monitoring.prometheus import prometheus_text
    from ragstone.monitoring.statsd import StatsDExporter
    from ragstone.monitoring.timing import (
        PerformanceTimer,
        export_metrics_json,
        get_performance_stats,
        log_performance_summary,
        reset_performance_stats,
        track_rag_performance,
    )
    from ragstone.parallel.prefetch import (
        get_retriever,
        open_retriever,
        prefetch_all_rag_data,
        prefetch_all_rag_data_async,
    )
    from ragstone.parallel.retriever import ParallelRetriever
    from ragstone.settings import Settings

__all__ = [
    "AsyncClient",
    "BatchEmbedder",
    "Client",
    "FAISSIndex",
    "FAISSTuner",
    "GivenFile",
    "MemoryBackend",
    "MemoryCache",
    "MemoryConsolidator",
    "ParallelRetriever",
    "PerformanceMonitor",
    "PerformanceTimer",
    "QueryOptimizer",
    "Ragstone",
    "RagstoneError",
    "RedisCache",
    "Rollout",
    "Settings",
    "ShardedFAISSIndex",
    "StatsDExporter",
    "TuningResult",
    "__version__",
    "export_metrics_json",
    "get_performance_stats",
    "get_retriever",
    "log_performance_summary",
    "open_retriever",
    "prefetch_all_rag_data",
    "prefetch_all_rag_data_async",
    "prometheus_text",
    "reset_performance_stats",
    "track_rag_performance",
]


_LOADED_WHEN_NAMED = {
    "AsyncClient": "ragstone.client.asynchronous",
    "BatchEmbedder": "ragstone.embedding.batch_embedder",
    "Client": "ragstone.client.blocking",
    "FAISSIndex": "ragstone.faiss_index.index",
    "FAISSTuner": "ragstone.index.tuner",
    "GivenFile": "ragstone.given_files",
    "MemoryBackend": "ragstone.memory.backend",
    "MemoryCache": "ragstone.cache.memory_cache",
    "MemoryConsolidator": "ragstone.memory.consolidator",
    "ParallelRetriever": "ragstone.parallel.retriever",
    "PerformanceMonitor": "ragstone.monitoring.monitor",
    "PerformanceTimer": "ragstone.monitoring.timing",
    "QueryOptimizer": "ragstone.cache.query_optimizer",
    "Ragstone": "ragstone.engine",
    "RedisCache": "ragstone.cache.redis_cache",
    "Rollout": "ragstone.importers.rollout",
    "Settings": "ragstone.settings",
    "ShardedFAISSIndex": "ragstone.faiss_index.sharded",
    "StatsDExporter": "ragstone.monitoring.statsd",
    "TuningResult": "ragstone.index.tuning_results",
    "export_metrics_json": "ragstone.monitoring.timing",
    "get_performance_stats": "ragstone.monitoring.timing",
    "get_retriever": "ragstone.parallel.prefetch",
    "log_performance_summary": "ragstone.monitoring.timing",
    "open_retriever": "ragstone.parallel.prefetch",
    "prefetch_all_rag_data": "ragstone.parallel.prefetch",
    "prefetch_all_rag_data_async": "ragstone.parallel.prefetch",
    "prometheus_text": "ragstone.monitoring.prometheus",
    "reset_performance_stats": "ragstone.monitoring.timing",
    "track_rag_performance": "ragstone.monitoring.timing",
}


def __getattr__(name: str) -> object:
    if name not in _LOADED_WHEN_NAMED:
        raise AttributeError(f"module 'ragstone' has no attribute {name!r}")
    found: object = getattr(import_module(_LOADED_WHEN_NAMED[name]), name)
    return found
