"""A process to be killed while it imports: `import_child.py SOURCE DATA_DIR`; prints what it has reached."""

from __future__ import annotations

import sys
from pathlib import Path

from ragstone.engine import Ragstone
from ragstone.importers import take_over
from ragstone.importers.formats import open_foreign
from ragstone.importers.run import Options, already_moved, run_import
from ragstone.settings import Settings


def main() -> None:
    """Import in place, in batches small enough that a kill falls between and inside them."""
    source, data_dir = Path(sys.argv[1]), Path(sys.argv[2])
    take_over.BATCH = 100
    print("ready", flush=True)
    if already_moved(data_dir, "default", source) is None:
        with Ragstone(settings=Settings(data_dir=data_dir)) as engine:
            store = open_foreign("auto", source)
            run_import(
                engine,
                store,
                Options(in_place=True, backup=True),
                data_dir=data_dir,
                progress=lambda done: print(done, flush=True),
            )
    print("done", flush=True)


if __name__ == "__main__":
    main()
