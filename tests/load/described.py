"""Every operation of the interface's description, tried with what it allows and what it does not (RELIABILITY C14).

    python -m tests.load.described --schemathesis /path/to/bin/schemathesis [--cases 50000] [--seed 1]

schemathesis lives in an environment of its own (`pip install schemathesis`), since nothing else needs it. It makes
requests from the description of a service in this process, which has documents, a chat model that answers at once and
no limit of rate. No reply may be a 5xx, nor of a status, type or form that is not described.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from hashing_embedder import HashingEmbedder
from ragstone.engine import Ragstone
from ragstone.settings import Settings
from server.live import DrippingModel, running, write_library

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "unsupported_method",
)


def main() -> int:
    """Start the service, let schemathesis at it, print what it prints; its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--schemathesis", type=Path, required=True)
    parser.add_argument("--cases", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home)
        documents = write_library(folder / "documents")
        options = Settings(data_dir=folder / "data", enable_metrics=True, rate_per_minute=0)
        model = DrippingModel(pause_s=0.0)
        with (
            Ragstone(settings=options, embedder=HashingEmbedder(), chat_model=model) as engine,
            running(engine, paths=[documents]) as service,
        ):
            service.wait_ready()
            described = service.get("/api/openapi.json").json()["paths"]
            operations = sum(len(methods) for methods in described.values())
            command: list[str | Path] = [given.schemathesis, "run", f"{service.url}/api/openapi.json"]
            command += ["--max-examples", str(-(-given.cases // operations)), "--seed", str(given.seed)]
            command += ["--phases", "examples,coverage,fuzzing", "--checks", ",".join(CHECKS)]
            command += ["--continue-on-failure", "--no-color", "--request-timeout", "30"]
            return subprocess.run(command, cwd=folder, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
