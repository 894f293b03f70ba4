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

from typing import TYPE_CHECKING

from ragstone.errors import RagstoneError
from ragstone.version import __version__

if TYPE_CHECKING:
    from ragstone.engine import Ragstone
    from ragstone.faiss_index.index import FAISSIndex
    from ragstone.faiss_index.sharded import ShardedFAISSIndex
    from ragstone.index.tuner import FAISSTuner
    from ragstone.index.tuning_results import TuningResult
    from ragstone.settings import Settings

__all__ = [
    "FAISSIndex",
    "FAISSTuner",
    "Ragstone",
    "RagstoneError",
    "Settings",
    "ShardedFAISSIndex",
    "TuningResult",
    "__version__",
]


def __getattr__(name: str) -> object:
    if name == "Ragstone":
        from ragstone.engine import Ragstone

        return Ragstone
    if name == "Settings":
        from ragstone.settings import Settings

        return Settings
    if name == "FAISSIndex":
        from ragstone.faiss_index.index import FAISSIndex

        return FAISSIndex
    if name == "ShardedFAISSIndex":
        from ragstone.faiss_index.sharded import ShardedFAISSIndex

        return ShardedFAISSIndex
    if name == "FAISSTuner":
        from ragstone.index.tuner import FAISSTuner

        return FAISSTuner
    if name == "TuningResult":
        from ragstone.index.tuning_results import TuningResult

        return TuningResult
    raise AttributeError(f"module 'ragstone' has no attribute {name!r}")
