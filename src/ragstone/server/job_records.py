"""Jobs on disk, so that a restart takes up what was not through and shows what ended of late.

`<data_dir>/jobs/<id>.json` is one job, written anew whenever its state changes and put in place in one step. Of a job
that is not through, its process holds the file by a `flock`: what nobody holds was left by a process that has ended.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ragstone import wire
from ragstone.durable import sync
from ragstone.server.job import ENDED, Job, JobRecord

logger = logging.getLogger("ragstone.server")

FOLDER = "jobs"
MAX_BYTES = 4 << 20  # a hundred failures with paths of 4 KB are a tenth of it
DAMAGED_KEPT = 10  # to look at
WRITING_S = 60.0  # nothing takes as long to be written: its process was killed


class JobRecords:
    """The records of one process. Thread-safe."""

    def __init__(self, data_dir: Path) -> None:
        """Nothing is made or read until it is needed."""
        self._folder = data_dir / FOLDER
        self._lock = threading.Lock()
        self._held: dict[str, int] = {}  # file descriptors, by the job's id

    def keep(self, job: Job, snapshot: wire.Json | None) -> None:
        """Write a job's snapshot; durable when this returns. Of one that nothing could do again only its end is kept.

        None: it was interrupted, and is left to the next start. A disk that takes nothing costs the record and not the
        job.
        """
        with self._lock:
            through = snapshot is not None and snapshot["state"] in ENDED
            if snapshot is None or (job.request is None and not through):
                self._let_go(job.id)
                return
            if snapshot["state"] == "queued" and job.state != "queued":
                return  # it was begun before this came to be written
            try:
                descriptor = self._write(
                    job.id, wire.encode({**snapshot, "request": job.request, "begun": job.begun})
                )
            except OSError as error:
                logger.warning("the job %s is not recorded: %s", job.id, error)
                return
            self._let_go(job.id)
            if through:
                os.close(descriptor)
            else:
                self._held[job.id] = descriptor

    def drop(self, job_id: str) -> None:
        """Remove a job's record."""
        with self._lock:
            self._let_go(job_id)
            with suppress(OSError):
                self._path(job_id).unlink(missing_ok=True)

    def left(self) -> list[JobRecord]:
        """What earlier processes recorded, oldest first; those that are not through are this process's from now on.

        A file that is no record is set aside, and said in the log.
        """
        with self._lock:
            found = [record for path in sorted(self._folder.glob("*.json")) for record in self._read(path)]
            old = sorted(self._folder.glob("*.damaged"), key=_changed_s)[:-DAMAGED_KEPT]
            unfinished = [
                path for path in self._folder.glob("*.new") if time.time() - _changed_s(path) > WRITING_S
            ]
            for path in (*old, *unfinished):
                path.unlink(missing_ok=True)
        return sorted(found, key=lambda record: (record.created_s, record.id))

    def close(self) -> None:
        """Leave what is not through to the next start."""
        with self._lock:
            for job_id in list(self._held):
                self._let_go(job_id)

    def _path(self, job_id: str) -> Path:
        return self._folder / f"{job_id}.json"

    def _write(self, job_id: str, data: bytes) -> int:
        """The descriptor of the new file, held."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        beside = self._folder / f"{job_id}.new"
        descriptor = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            # Held before it is in place: at no moment is there a file that somebody could take for left over.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with open(descriptor, "wb", closefd=False) as target:
                target.write(data)
            os.fsync(descriptor)
            beside.rename(self._path(job_id))
            sync(self._folder)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _read(self, path: Path) -> Iterator[JobRecord]:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return  # dropped by another process just now
        except OSError as error:
            logger.warning("the record %s cannot be read: %s", path, error)
            return
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.path.samestat(os.fstat(descriptor), path.stat()):
                raise BlockingIOError  # its process has written it anew
            record = JobRecord.model_validate_json(os.pread(descriptor, MAX_BYTES + 1, 0))
            if record.id != path.stem:
                raise ValueError(f"it speaks of {record.id}")
        except (BlockingIOError, FileNotFoundError):
            os.close(descriptor)  # another process is at it
            return
        except ValueError as error:
            os.close(descriptor)
            logger.warning("the record %s is damaged and set aside: %s", path, str(error)[:200])
            with suppress(OSError):
                path.rename(path.with_suffix(".damaged"))
            return
        if record.state in ENDED:
            os.close(descriptor)
        else:
            self._held[record.id] = descriptor
        yield record

    def _let_go(self, job_id: str) -> None:
        descriptor = self._held.pop(job_id, None)
        if descriptor is not None:
            os.close(descriptor)


def _changed_s(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
