"""Children that read: order, limits, what happens when one dies, what it may not do."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ragstone.documents.limits import ReadLimits
from ragstone.documents.pool import ReaderPool
from ragstone.errors import DocumentError, RagstoneError
from ragstone.types import BlockKind, ParsedDocument


def children() -> set[int]:
    """Processes that this one has started and not yet seen end."""
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError):  # a thread that has just ended
            found |= {int(pid) for pid in (task / "children").read_text().split()}
    return found


def slow_file(folder: Path) -> Path:
    """A file that takes seconds to read."""
    path = folder / "slow.json"
    path.write_text("[" + '{"a":1},' * 2_000_000 + "1]")
    return path


def test_documents_come_in_the_order_given(tmp_path: Path, pool: ReaderPool) -> None:
    paths = [tmp_path / f"{n}.md" for n in range(100)]
    for n, path in enumerate(paths):
        path.write_text(f"# Page {n}\n\n" + "words " * (n % 7) * 1_000)
    paths.insert(50, tmp_path / "missing.md")
    found = list(pool.read_many(paths))
    assert [path for path, _ in found] == paths
    titles = [document.title for _, document in found if isinstance(document, ParsedDocument)]
    assert titles == [f"Page {n}" for n in range(100)]
    assert isinstance(found[50][1], DocumentError)
    assert found[50][1].code == "unreadable"


def test_two_workers_keep_the_order(tmp_path: Path) -> None:
    paths = [tmp_path / f"{n}.txt" for n in range(60)]
    for n, path in enumerate(paths):
        path.write_text(f"text {n} " * (1 + (n * 37) % 5_000))
    with ReaderPool(workers=2) as pool:
        documents = [document for _, document in pool.read_many(paths)]
    assert [d.text.split()[1] for d in documents if isinstance(d, ParsedDocument)] == [
        str(n) for n in range(60)
    ]


def test_files_are_read_ahead_and_only_so_far(tmp_path: Path, pool: ReaderPool) -> None:
    taken: list[int] = []

    def paths() -> list[Path]:
        return [tmp_path / f"{n}.txt" for n in range(100)]

    def given() -> Iterator[Path]:
        for n, path in enumerate(paths()):
            path.write_text("words")
            taken.append(n)
            yield path

    found = pool.read_many(given())
    next(found)
    assert 2 <= len(taken) <= 20
    found.close()  # type: ignore[attr-defined]  # it is a generator


def test_a_file_through_the_pool_costs_half_a_millisecond(tmp_path: Path, pool: ReaderPool) -> None:
    path = tmp_path / "a.txt"
    path.write_text("A few words.\n\nAnd a few more.")
    pool.read(path)
    started = time.process_time()  # of this process: its share is what slows indexing down
    for _, document in pool.read_many([path] * 1_000):
        assert isinstance(document, ParsedDocument)
    assert time.process_time() - started < 0.5


def test_a_killed_child_costs_one_file(tmp_path: Path) -> None:
    fine = tmp_path / "fine.txt"
    fine.write_text("words")
    with ReaderPool() as pool:
        pool.read(fine)
        before = children()
        result: list[tuple[Path, ParsedDocument | DocumentError]] = []
        thread = threading.Thread(target=lambda: result.extend(pool.read_many([slow_file(tmp_path), fine])))
        thread.start()
        time.sleep(0.3)
        for pid in before:
            if "child.py" in Path(f"/proc/{pid}/cmdline").read_text():
                os.kill(pid, signal.SIGKILL)
        thread.join(30)
        (_, failed), (_, document) = result
    assert isinstance(failed, DocumentError)
    assert failed.code == "malformed"
    assert "SIGKILL" in failed.message
    assert isinstance(document, ParsedDocument)


def test_a_child_that_died_between_files_is_replaced_in_silence(tmp_path: Path) -> None:
    fine = tmp_path / "fine.txt"
    fine.write_text("words")
    others = children()
    with ReaderPool() as pool:
        pool.read(fine)
        for pid in children() - others:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.2)
        assert pool.read(fine).text == "words"


def test_time_memory_and_text_have_limits(tmp_path: Path) -> None:
    slow, fine = slow_file(tmp_path), tmp_path / "fine.txt"
    fine.write_text("words")
    cases = [
        (ReadLimits(wall_s=0.3, wall_s_per_mb=0), "timeout"),
        (ReadLimits(cpu_s=0, cpu_s_per_mb=0), "timeout"),
        (ReadLimits(memory_bytes=200 << 20), "too_large"),
        (ReadLimits(file_bytes=1_000_000), "too_large"),
    ]
    for limits, code in cases:
        with ReaderPool(limits=limits) as pool:
            with pytest.raises(DocumentError) as caught:
                pool.read(slow)
            assert caught.value.code == code, caught.value
            assert pool.read(fine).text == "words"
    with ReaderPool(limits=ReadLimits(text_chars=3)) as pool, pytest.raises(DocumentError) as caught:
        pool.read(fine)
    assert caught.value.code == "too_large"


def test_more_blocks_than_the_limit_are_merged(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("name,port\n" + "Ida,Kiel\n" * 5_000)
    with ReaderPool(limits=ReadLimits(blocks=100)) as pool:
        document = pool.read(path)
    assert 50 < len(document.blocks) <= 110
    assert {block.kind for block in document.blocks} == {BlockKind.TABLE_ROW}


def test_closing_ends_the_children_even_in_the_middle_of_a_file(tmp_path: Path) -> None:
    others = children()
    pool = ReaderPool()
    slow = slow_file(tmp_path)
    errors: list[RagstoneError] = []

    def read_all() -> None:
        try:
            list(pool.read_many([slow, slow, slow]))
        except RagstoneError as error:
            errors.append(error)

    thread = threading.Thread(target=read_all)
    thread.start()
    time.sleep(0.5)
    started = time.monotonic()
    pool.close()
    thread.join(5)
    assert time.monotonic() - started < 2
    assert children() <= others
    assert [error.code for error in errors] == ["closed"]  # no file is blamed for it
    with pytest.raises(RagstoneError) as caught:
        pool.read(tmp_path / "a.txt")
    assert caught.value.code == "closed"


def test_a_child_outlives_the_caller_s_thread(tmp_path: Path, pool: ReaderPool) -> None:
    path = tmp_path / "a.txt"
    path.write_text("words")
    for _ in range(3):
        thread = threading.Thread(target=pool.read, args=(path,))
        thread.start()
        thread.join()
    assert pool.read(path).text == "words"


def test_children_die_with_their_parent(tmp_path: Path) -> None:
    slow_file(tmp_path)
    script = f"""
        import pathlib, threading, time
        from ragstone.documents.pool import ReaderPool
        pool = ReaderPool()
        threading.Thread(target=pool.read, args=(pathlib.Path({str(tmp_path / "slow.json")!r}),), daemon=True).start()
        time.sleep(1)
        tasks = pathlib.Path("/proc/self/task").iterdir()
        print(*[(task / "children").read_text() for task in tasks], flush=True)
        time.sleep(60)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        parent.kill()
    assert pids
    deadline = time.monotonic() + 5
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(Path(f"/proc/{pid}/exe").exists() for pid in pids)


def test_a_child_starts_fast_without_the_rest_of_the_product(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("words")
    script = f"""
        import json, os, subprocess, sys, time
        from ragstone.documents import pool
        from ragstone.documents.limits import ReadLimits
        best = 9.0
        for _ in range(3):
            started = time.perf_counter()
            child = pool._Child(ReadLimits())
            child.ask(__import__("pathlib").Path({str(path)!r}))
            best = min(best, time.perf_counter() - started)
            modules = open(f"/proc/{{child._process.pid}}/maps").read()
            child.stop()
        print(best, "numpy" in modules)
    """
    found = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True
    )
    seconds, has_numpy = found.stdout.split()
    assert float(seconds) < 0.5  # 0.05 s measured on an idle machine; the limit of the design is 0.15 s
    assert has_numpy == "False"


SANDBOXED = """
    import ctypes, os, resource, socket, subprocess, sys
    from ragstone.documents import sandbox
    measures = sandbox.enter(memory_bytes=1 << 30, open_files=64, parent=os.getppid())
    libc = ctypes.CDLL(None, use_errno=True)

    def refused(act):
        try:
            act()
        except (PermissionError, OSError, MemoryError) as error:
            return True
        return False

    print("seccomp", measures["seccomp"])
    print("socket", refused(lambda: socket.socket()))
    print("raw socket", libc.socket(2, 1, 0) == -1 and ctypes.get_errno() == 1)
    print("program", refused(lambda: subprocess.run(["/bin/true"])))
    print("raw fork", libc.fork() == -1)
    print("write", refused(lambda: open("written", "w")))
    print("unlink", refused(lambda: os.unlink(sys.argv[1])))
    print("raw unlink", libc.unlink(sys.argv[1].encode()) == -1)
    print("kill", refused(lambda: os.kill(os.getppid(), 0)))
    print("memory", refused(lambda: bytearray(2 << 30)))
    print("read", open(sys.argv[1]).read() == "words")
"""


def test_a_child_may_read_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("words")
    command = [sys.executable, "-c", textwrap.dedent(SANDBOXED), str(path)]
    found = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    answers = dict(line.rsplit(" ", 1) for line in found.stdout.splitlines())
    if answers.pop("seccomp") == "False":
        pytest.skip("this kernel has no seccomp filters; the audit hook and the resource limits remain")
    assert set(answers.values()) == {"True"}, answers
    assert path.exists()
    assert not (tmp_path / "written").exists()


def test_the_environment_does_not_reach_a_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGSTONE_TEST_SECRET", "hush")
    path = tmp_path / "a.txt"
    path.write_text("words")
    others = children()
    with ReaderPool() as pool:
        pool.read(path)
        (pid,) = children() - others
        environment = Path(f"/proc/{pid}/environ")
        assert not os.access(environment, os.R_OK) or b"hush" not in environment.read_bytes()


def test_special_files_are_refused_without_waiting(tmp_path: Path, pool: ReaderPool) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    for path in (tmp_path / "pipe.txt", tmp_path, Path("/dev/zero")):
        with pytest.raises(DocumentError) as caught:
            pool.read(path)
        assert caught.value.code == "unreadable"
