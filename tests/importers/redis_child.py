"""A process to be killed while it imports from a Redis: `redis_child.py URL DATA_DIR`; prints what it has reached."""

from __future__ import annotations

import sys
from pathlib import Path

from ragstone.engine import Ragstone
from ragstone.importers import take_over
from ragstone.importers.redis_store import open_redis
from ragstone.importers.run import Options, run_import
from ragstone.settings import Settings


def main() -> None:
    """Import in batches small enough that a kill falls between and inside them."""
    data_dir = Path(sys.argv[2])
    take_over.BATCH = 100
    with Ragstone(settings=Settings(data_dir=data_dir)) as engine:
        store = open_redis(sys.argv[1])
        run_import(engine, store, Options(), data_dir=data_dir, progress=lambda done: print(done, flush=True))
    print("done", flush=True)


if __name__ == "__main__":
    main()
