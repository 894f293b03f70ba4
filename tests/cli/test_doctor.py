"""Each broken condition has a message, a hint and an exit status of its own."""

from __future__ import annotations

import re
import site
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from cli.shells import Run
from hashing_embedder import HashingEmbedder
from ragstone.cli import checks
from ragstone.cli.doctor import STATUS
from ragstone.engine import Ragstone
from ragstone.errors import RagstoneError
from ragstone.importers.journal import Journal, folder_of, write
from ragstone.keys import KeyStore
from ragstone.settings import Settings
from redis_server import RedisServer

GUIDE = (Path(__file__).parents[2] / "docs" / "troubleshooting.md").read_text()


def test_every_check_has_an_entry_in_the_guide_and_every_entry_a_check() -> None:
    entries = re.findall(r"^## .+\n+`doctor`: `(\w+)` \((\d+)\)", GUIDE, re.MULTILINE)
    assert len(entries) == len(re.findall("^## ", GUIDE, re.MULTILINE))
    assert {(check, int(status)) for check, status in entries} == set(STATUS.items())
    assert len(set(STATUS.values())) == len(STATUS)


def test_a_redis_that_does_not_answer_is_named(here: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    done = here("doctor", env={"RAGSTONE_CACHE_REDIS_URL": f"redis://:hush-hush@127.0.0.1:{port}/0"})
    assert done.status == STATUS["redis"]
    assert f"failed  redis     the Redis of cache_redis_url at 127.0.0.1:{port}" in done.out
    assert "redis-server" in done.out
    assert "hush-hush" not in done.out + done.err


def test_a_redis_that_answers_is_in_order_and_keeps_nothing(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    try:
        assert checks.redis(Settings(cache_redis_url=SecretStr(server.url))) == "cache_redis_url: answers"
        assert server.client().pttl("ragstone-doctor:check") <= 1000
    finally:
        server.close()


def test_a_model_that_is_not_there_is_named(here: Run, tmp_path: Path) -> None:
    done = here("doctor", env={"RAGSTONE_MODEL": str(tmp_path / "nowhere")})
    assert done.status == STATUS["model"]
    assert "failed  model" in done.out


@pytest.mark.parametrize(
    ("package", "call", "hint"),
    [
        ("tantivy", "checks.versions()", "pip install ragstone"),
        ("uvicorn", "checks.service(Settings())", "pip install 'ragstone[server]'"),
    ],
)
def test_a_package_that_is_not_installed_is_named(tmp_path: Path, package: str, call: str, hint: str) -> None:
    for path in map(Path, site.getsitepackages() + sys.path):
        for entry in path.iterdir() if path.name == "site-packages" else ():
            if not entry.name.startswith(package) and not (tmp_path / entry.name).exists():
                (tmp_path / entry.name).symlink_to(entry)
    code = f"""
from ragstone.cli import checks
from ragstone.errors import RagstoneError
from ragstone.settings import Settings
try:
    {call}
except (RagstoneError, ModuleNotFoundError) as error:
    print(error)
"""
    source = Path(checks.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env={"PYTHONPATH": f"{source}:{tmp_path}"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert package in done.stdout, done.stderr
    assert hint in done.stdout


def test_an_open_address_without_a_key_is_named(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, host="0.0.0.0")  # noqa: S104 - what a container has
    with pytest.raises(RagstoneError, match=r"0\.0\.0\.0") as closed:
        checks.service(settings)
    assert closed.value.hint == "ragstone keys add NAME --may admin"
    KeyStore(tmp_path).add("admin", permission="admin")
    assert checks.service(settings) == checks.service(Settings(data_dir=tmp_path / "none")) == "installed"


def test_an_import_that_has_not_ended_is_named(tmp_path: Path) -> None:
    journal = Journal("default", "faiss", "mark", "/old/store", "/old", (), True, "running", 1.0)
    settings = Settings(data_dir=tmp_path)
    assert checks.imports(settings) == "none"
    write(folder_of(tmp_path, "default", "mark"), journal)
    with pytest.raises(RagstoneError, match="/old/store") as open_one:
        checks.imports(settings)
    assert "ragstone import" in open_one.value.hint


def test_too_little_disk_is_said_with_both_figures(tmp_path: Path) -> None:
    assert checks.disk(tmp_path / "not yet there", least_bytes=1).endswith("free")
    with pytest.raises(RagstoneError, match="less than"):
        checks.disk(tmp_path, least_bytes=1 << 60)


@pytest.mark.parametrize(
    ("limit", "used", "said"),
    [
        ("max", 10, "3.1 GB free"),
        ("9000000000", 1_000_000_000, "3.1 GB free"),
        ("2000000000", 1_500_000_000, "500.0 MB free"),
    ],
)
def test_memory_is_what_machine_and_container_leave(tmp_path: Path, limit: str, used: int, said: str) -> None:
    machine = tmp_path / "meminfo"
    machine.write_text("MemTotal: 8000000 kB\nMemAvailable:    3000000 kB\n")
    (tmp_path / "memory.max").write_text(f"{limit}\n")
    (tmp_path / "memory.current").write_text(f"{used}\n")
    assert checks.memory(machine=machine, group=tmp_path) == said
    machine.write_text("MemAvailable:    300000 kB\n")
    with pytest.raises(RagstoneError, match="memory free") as short:
        checks.memory(machine=machine, group=tmp_path / "none")
    assert "reader_workers" in short.value.hint
    assert checks.memory(machine=tmp_path / "none") == "not known on this system"


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Ragstone]:
    with Ragstone(tmp_path / "data", embedder=HashingEmbedder()) as opened:
        yield opened


def test_a_slow_search_is_said_with_its_slowest_stage(engine: Ragstone) -> None:
    assert checks.search(engine) == checks.recall(engine, wanted=0.98) == "nothing indexed yet"
    engine.add(["The ferry leaves at seven."], uris=["a"])
    assert re.fullmatch(r"opened in \d+ ms, a search takes [\d.]+ ms, most of it \w+", checks.search(engine))
    with pytest.raises(RagstoneError, match="most of it") as slow:
        checks.search(engine, slow_ms=0)
    assert "compact" in slow.value.hint


def test_recall_is_what_approximate_searches_find_of_the_exact(engine: Ragstone) -> None:
    engine.add([f"Note {n} on the ferry." for n in range(50)], uris=[f"n{n}" for n in range(50)])
    assert checks.recall(engine, wanted=0.98) == "1.000 of the nearest found, 0.98 wanted"
    with pytest.raises(RagstoneError, match=r"1.000 of the nearest found") as low:
        checks.recall(engine, wanted=1.0, margin=-0.01)
    assert "tune" in low.value.hint


def test_a_support_bundle_is_written_where_it_is_wanted(here: Run, tmp_path: Path) -> None:
    target = tmp_path / "bundle.zip"
    said = here("support", "bundle", target, "--json").json
    assert (said["path"], said["bytes"]) == (str(target), target.stat().st_size)
    assert {"doctor.json", "collections.json", "README.txt"} <= set(said["files"])
    assert here("support", "bundle", target).status == 2
    broken = here("support", "bundle", tmp_path / "broken.zip", "--json", env={"RAGSTONE_PORT": "x"})
    assert broken.json["files"] == ["README.txt", "doctor.json", "summary.json"]
