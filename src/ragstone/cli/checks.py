"""The checks of `doctor`: each returns what it saw, or raises what is wrong and what to do."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import platform
import shutil
import sys
import time
from http.client import HTTPConnection, HTTPException
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from ragstone.cli import terminal
from ragstone.cli.invocation import Invocation
from ragstone.errors import NotFoundError, RagstoneError
from ragstone.keys import KeyStore
from ragstone.redis_url import redis_place
from ragstone.version import __version__

if TYPE_CHECKING:
    from ragstone.engine import Ragstone
    from ragstone.maintenance import Problem, VerifyReport
    from ragstone.settings import Settings
    from ragstone.types import Vector

# 1 GB: the prepared model takes 50 MB and a folder of 10,000 files some hundred; less is soon full.
LEAST_FREE_BYTES = 1_000_000_000
LEAST_MEMORY_BYTES = 400_000_000  # twice what indexing the sample documents takes, model and all
# Ten times what 157,000 chunks take on two cores (benchmarks/results/searching.json).
SLOW_SEARCH_MS = 250.0
SLOW_OPEN_MS = 2_000.0  # a large collection opens in milliseconds; one that has to be verified, at disk speed
QUESTION = "what was decided, and by whom"
RECALL_QUERIES = 30
RECALL_TOP_K = 10
RECALL_MARGIN = 0.03  # thirty queries of ten hits know a recall of .9 to ± .03


def versions() -> str:
    """Packages that are there, load, and are new enough."""
    try:
        import apsw

        import ragstone.engine  # noqa: F401 - a package that is there but does not load shows here
    except ImportError as error:
        raise RagstoneError(
            f"a package does not load: {error}",
            hint=f"{sys.executable} -m pip install ragstone, which brings what is missing",
        ) from error

    versions = [f"ragstone {__version__}", f"Python {platform.python_version()}"]
    for package in ("faiss-cpu", "onnxruntime", "tantivy", "tokenizers"):
        try:
            versions.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError as error:
            raise RagstoneError(f"{package} is not installed", hint="pip install ragstone") from error
    versions.append(f"SQLite {apsw.sqlite_lib_version()}")
    # Older ones can lose a committed write when a WAL file is reset.
    if tuple(int(part) for part in apsw.sqlite_lib_version().split(".")) < (3, 51, 3):
        raise RagstoneError(
            f"SQLite is {apsw.sqlite_lib_version()}, 3.51.3 is needed", hint="pip install --upgrade apsw"
        )
    return ", ".join(versions)


def _nearest_existing(path: Path) -> Path:
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def folder(data_dir: Path) -> str:
    """A data directory that can be written."""
    nearest = _nearest_existing(data_dir)
    if not nearest.is_dir():
        raise RagstoneError(f"{nearest} is not a folder", hint="choose another one with --data-dir")
    if not os.access(nearest, os.R_OK | os.W_OK | os.X_OK):
        raise RagstoneError(f"{nearest} cannot be written", hint="give yourself the right, or set --data-dir")
    return f"{data_dir} can be written" if nearest == data_dir else f"{data_dir} will be made when needed"


def disk(data_dir: Path, *, least_bytes: int = LEAST_FREE_BYTES) -> str:
    """Room on its disk."""
    free = shutil.disk_usage(_nearest_existing(data_dir)).free
    if free < least_bytes:
        raise RagstoneError(
            f"{terminal.size(free)} free where {data_dir} is, less than {terminal.size(least_bytes)}",
            hint="make room, or choose another disk with --data-dir",
        )
    return f"{terminal.size(free)} free"


def model(current: Invocation) -> str:
    """An embedding model that loads and embeds."""
    started_s = time.perf_counter()
    # On a collection that does not exist, warming up loads the model and neither checks nor mends a store.
    with current.engine(collection="no-collection.doctor") as engine:
        engine.warm_up()
    return f"loaded and embedding in {time.perf_counter() - started_s:.1f} s"


def service(settings: Settings) -> str:
    """What `serve` needs: its packages, and a key where others can reach it."""
    for package in ("fastapi", "uvicorn"):
        try:
            metadata.version(package)
        except metadata.PackageNotFoundError as error:
            raise RagstoneError(
                f"{package} is not installed, so `serve` does not work", hint="pip install 'ragstone[server]'"
            ) from error
    if not _is_loopback(settings.host) and not KeyStore(settings.data_dir).any_current():
        raise RagstoneError(
            f"host is {settings.host}, which others can reach, and nobody has a key: `serve` will refuse",
            hint="ragstone keys add NAME --may admin",
        )
    there = _running(settings)
    if there is None:
        return "installed"
    searching = there.get("search_processes", "off")
    if searching not in {"off", "ok"} and there.get("model") != "loading":
        raise RagstoneError(
            f"of the search processes of the service on port {settings.port} only {searching} are there",
            hint="it searches by itself meanwhile; its log says how they ended, and memory may be short",
        )
    return f"installed, and one answers on port {settings.port}"


def _running(settings: Settings) -> dict[str, str] | None:
    """The checks of the service that answers where the settings say; None where none does."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104
    with contextlib.closing(HTTPConnection(host.strip("[]"), settings.port, timeout=1)) as connection:
        try:
            connection.request("GET", "/health/ready")
            found = json.loads(connection.getresponse().read())["checks"]
        except (OSError, HTTPException, ValueError, KeyError, TypeError):  # nobody, or somebody else
            return None
    return found if isinstance(found, dict) else None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def store(engine: Ragstone, *, repair: bool) -> str:
    """A collection whose every byte is as it should be; mended first with `repair`."""
    try:
        report = engine.repair() if repair else engine.verify()
    except NotFoundError:
        return "nothing indexed yet"
    if not report.ok:
        raise RagstoneError("; ".join(map(_said, report.problems)), hint=_next_step(report, repair=repair))
    mended = f", mended: {'; '.join(map(_said, report.repaired))}" if report.repaired else ""
    return f"{terminal.count(report.chunks, 'chunk')}, {terminal.size(report.bytes_read)} read, no problem{mended}"


def _said(problem: Problem) -> str:
    return f"{problem.where}: {problem.message}"


def _next_step(report: VerifyReport, *, repair: bool) -> str:
    if not repair and any(problem.repairable for problem in report.problems):
        return "ragstone doctor --repair"
    return "restore the collection from a backup, or index the documents again into another --collection"


def memory(*, machine: Path = Path("/proc/meminfo"), group: Path = Path("/sys/fs/cgroup")) -> str:
    """Memory that is free, of the machine and of the container."""
    free_bytes = _free_memory_bytes(machine, group)
    if free_bytes is None:
        return "not known on this system"
    if free_bytes < LEAST_MEMORY_BYTES:
        raise RagstoneError(
            f"{terminal.size(free_bytes)} of memory free, less than {terminal.size(LEAST_MEMORY_BYTES)}",
            hint="end other programs, raise the container's limit, or set reader_workers and model_threads lower",
        )
    return f"{terminal.size(free_bytes)} free"


def _free_memory_bytes(machine: Path, group: Path) -> int | None:
    """What Linux says can be had without swapping, or less where a container has a limit; None elsewhere."""
    try:
        lines = machine.read_text().splitlines()
    except OSError:
        return None
    free_bytes = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    try:
        limit, used = (group / "memory.max").read_text().strip(), (group / "memory.current").read_text()
    except OSError:
        return free_bytes
    return free_bytes if limit == "max" else min(free_bytes, int(limit) - int(used))


def redis(settings: Settings) -> str:
    """Every Redis that a setting names answers and takes a value."""
    urls = {
        name: getattr(settings, name) for name in type(settings).model_fields if name.endswith("redis_url")
    }
    named = {name: url.get_secret_value() for name, url in urls.items() if url is not None}
    if not named:
        return "none is set"
    from ragstone.cache.redis_cache import RedisCache

    for name, url in named.items():
        cache = RedisCache(url, prefix="ragstone-doctor")
        try:
            taken = cache.put_many({"check": b"1"}, ttl_s=1)
        finally:
            cache.close()
        if not taken:
            raise RagstoneError(
                f"the Redis of {name} at {redis_place(url).address} does not answer or takes no values",
                hint="is redis-server running there, with this password and with memory left? "
                "Searches and answers work without it, memories that are shared do not",
            )
    return f"{', '.join(named)}: answers"


def imports(settings: Settings) -> str:
    """Imports into the collection that have ended."""
    from ragstone.importers.journal import journals

    found = [journal for _, journal in journals(settings.data_dir, settings.collection)]
    open_ones = [journal for journal in found if journal.state not in {"done", "moved"}]
    if open_ones:
        sources = ", ".join(journal.source for journal in open_ones)
        raise RagstoneError(
            f"{terminal.count(len(open_ones), 'import')} not ended: {sources}",
            hint="run the same `ragstone import` again, it does the rest; or take it back with `ragstone rollback`",
        )
    return f"{terminal.count(len(found), 'import')}, all ended" if found else "none"


def search(engine: Ragstone, *, slow_ms: float = SLOW_SEARCH_MS) -> str:
    """A collection that opens and answers as quickly as it should."""
    try:
        started_s = time.perf_counter()
        engine.search(QUESTION, mode="keyword")
        open_ms = (time.perf_counter() - started_s) * 1e3
    except NotFoundError:
        return "nothing indexed yet"
    engine.search(QUESTION)  # loads the model
    timings = sorted((engine.search(QUESTION).timings_ms for _ in range(5)), key=lambda found: found["total"])
    median = timings[2]
    stages = {stage: value for stage, value in median.items() if stage != "total"}
    slowest = max(stages, key=lambda stage: stages[stage])
    said = f"opened in {open_ms:.0f} ms, a search takes {median['total']:.1f} ms, most of it {slowest}"
    if median["total"] > slow_ms:
        raise RagstoneError(said, hint="ragstone compact, then ragstone recommend; is the machine busy?")
    if open_ms > SLOW_OPEN_MS:
        raise RagstoneError(said, hint="a store that was not closed in order is checked once; look again")
    return said


def recall(engine: Ragstone, *, wanted: float, margin: float = RECALL_MARGIN) -> str:
    """Approximate searches that find what exact ones do, on vectors of the collection."""
    try:
        vectors = engine.sample_vectors(RECALL_QUERIES)
    except NotFoundError:
        return "nothing indexed yet"
    if not len(vectors):
        return "nothing embedded yet"

    def ids(vector: Vector, share: float) -> set[int]:
        found = engine.search(QUESTION, mode="dense", vector=vector, recall=share, top_k=RECALL_TOP_K)
        return {hit.id for hit in found.hits}

    exact = [ids(vector, 1.0) for vector in vectors]
    found = [ids(vector, wanted) for vector in vectors]
    mean = sum(len(a & b) / max(1, len(a)) for a, b in zip(exact, found, strict=True)) / len(exact)
    said = f"{mean:.3f} of the nearest found, {wanted:g} wanted"
    if mean < wanted - margin:
        raise RagstoneError(
            said, hint="ragstone compact, which builds the index anew; or ragstone tune --apply"
        )
    return said
