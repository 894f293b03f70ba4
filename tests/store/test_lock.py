"""One writer per collection: the second process is told at once who the first is."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ragstone.errors import LockedError, StoreError
from ragstone.store.lock import WriterLock

HOLD = """
import sys, time
from pathlib import Path
from ragstone.store.lock import WriterLock
with WriterLock(Path(sys.argv[1])).held():
    print("held", flush=True)
    time.sleep(60)
"""


def holder(path: Path) -> subprocess.Popen[bytes]:
    child = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"held\n"
    return child


def test_a_second_process_is_refused_within_a_second_and_told_the_pid_and_command(tmp_path: Path) -> None:
    child = holder(tmp_path / "lock")
    try:
        started_s = time.monotonic()
        with (
            pytest.raises(LockedError, match=rf"process {child.pid} \(-c .*lock\), since"),
            WriterLock(tmp_path / "lock").held(),
        ):
            pass
        assert time.monotonic() - started_s < 1.0
    finally:
        child.kill()
        child.communicate()


def test_the_lock_of_a_killed_process_is_free_and_its_name_is_not_used(tmp_path: Path) -> None:
    child = holder(tmp_path / "lock")
    child.kill()
    child.communicate()
    lock = WriterLock(tmp_path / "lock")
    with lock.held():
        assert f'"pid": {os.getpid()}' in (tmp_path / "lock").read_text()
        with (
            pytest.raises(LockedError, match=f"process {os.getpid()} "),
            WriterLock(tmp_path / "lock").held(),
        ):  # a second object stands for a second process
            pass
    assert (tmp_path / "lock").read_text() == ""


def test_a_refused_process_does_not_name_one_that_is_dead(tmp_path: Path) -> None:
    child = holder(tmp_path / "lock")
    child.kill()
    child.communicate()
    stale = (tmp_path / "lock").read_bytes()
    with WriterLock(tmp_path / "lock").held():
        (tmp_path / "lock").write_bytes(stale)  # as it looks before the new holder has written its name
        with pytest.raises(LockedError, match="another process"), WriterLock(tmp_path / "lock").held():
            pass


def test_threads_of_one_process_share_the_lock_and_the_last_one_lets_go(tmp_path: Path) -> None:
    lock = WriterLock(tmp_path / "lock")
    inside, leave = threading.Barrier(3), threading.Event()

    def hold() -> None:
        with lock.held():
            inside.wait(timeout=10)
            leave.wait(timeout=10)

    threads = [threading.Thread(target=hold) for _ in range(2)]
    for thread in threads:
        thread.start()
    inside.wait(timeout=10)
    assert lock.held_here
    with pytest.raises(LockedError), WriterLock(tmp_path / "lock").held():
        pass
    leave.set()
    for thread in threads:
        thread.join()
    with WriterLock(tmp_path / "lock").held():
        pass


def test_a_folder_that_is_gone_is_a_clear_error(tmp_path: Path) -> None:
    with (
        pytest.raises(StoreError, match="cannot be taken: No such file"),
        WriterLock(tmp_path / "gone" / "lock").held(),
    ):
        pass
