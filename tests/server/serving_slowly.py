"""A service in a process of its own, which embeds so slowly that it can be killed at it: DATA_DIR PAUSE_S."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from hashing_embedder import HashingEmbedder
from ragstone.engine import Ragstone
from ragstone.settings import Settings
from ragstone.types import Matrix
from server.live import running


class SlowEmbedder(HashingEmbedder):
    """Waits before each batch."""

    def embed_documents(self, texts: Sequence[str]) -> Matrix:
        time.sleep(float(sys.argv[2]) * len(texts))
        return super().embed_documents(texts)


def main() -> None:
    """Serve until a signal comes."""
    settings = Settings(data_dir=Path(sys.argv[1]))
    with Ragstone(settings=settings, embedder=SlowEmbedder()) as engine, running(engine) as live:
        print(f"{live.url}/", flush=True)
        signal.sigwait({signal.SIGTERM})


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    main()
