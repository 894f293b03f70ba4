"""Long work beside the service: two lanes with a thread each, bounded queues, and the latest results to look at.

Whatever takes longer than a request may is a job. Jobs that write run one after the other, so that they share neither
the cores nor the collection's turns at writing. Tuning measures a copy of the vectors for minutes: it has a lane of its
own, and waits for its turn among those that write only to apply what it found.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from ragstone import wire
from ragstone.errors import CancelledError, NotFoundError
from ragstone.server.job import ENDED, Job
from ragstone.server.job_records import JobRecords
from ragstone.server.problems import QueueFullError

MAX_WAITING = 32  # in a lane; of uploads of 500 MB each that is 16 GB of disk at the most
KEPT = 100  # ended jobs of a lane to look at; with their lists of failures some MB
CANCEL_LOOK_S = 0.2  # while a tuning job waits for its turn


class _Lane:
    """The jobs of one thread."""

    def __init__(self) -> None:
        self.waiting: deque[Job] = deque()
        self.running: Job | None = None
        self.held = False  # another lane has its turn here
        self.thread: threading.Thread | None = None


class Jobs:
    """The lanes. `start` them once, `stop` and `join` them at the end."""

    def __init__(self, records: JobRecords | None = None, *, max_waiting: int = MAX_WAITING) -> None:
        """Jobs are recorded in `records`, if there are some; they stay their owner's to close."""
        self._records = records
        self._max_waiting = max_waiting
        self._changed = threading.Condition()
        self._writing, self._measuring = _Lane(), _Lane()
        self._known: dict[str, Job] = {}  # oldest first
        self._stopping = False

    def start(self) -> None:
        """Begin with what waits; called again, it does nothing."""
        with self._changed:
            for name, lane in (("jobs", self._writing), ("tuning", self._measuring)):
                if lane.thread is None and not self._stopping:
                    # Not a daemon: the interpreter must not end while a transaction is being written.
                    lane.thread = threading.Thread(target=self._run, args=(lane,), name=f"ragstone-{name}")
                    lane.thread.start()

    def add(self, job: Job, *, taken_up: bool = False) -> Job:
        """Queue a job; writes to the disk. Raises `QueueFullError` when too many wait, or the service is stopping.

        One that was `taken_up` from an earlier process was acknowledged: it is queued however many wait.
        """
        with self._changed:
            if not taken_up or self._stopping:
                self.require_room(job)
            job.record = self._record
            self._lane(job).waiting.append(job)
            self._known[job.id] = job
            self._changed.notify_all()
        self._record(job, job.snapshot())
        self._forget_oldest()
        return job

    def show(self, ended: Iterable[Job]) -> None:
        """Know jobs of earlier processes, oldest first."""
        with self._changed:
            self._known = {job.id: job for job in ended} | self._known
        self._forget_oldest()

    def require_room(self, job: Job | None = None) -> None:
        """Raise `QueueFullError` where `add` would, of a job that writes if none is given."""
        lane = self._writing if job is None else self._lane(job)
        if self._stopping or len(lane.waiting) >= self._max_waiting:
            raise QueueFullError(
                f"{len(lane.waiting)} jobs wait already, as many as may.",
                hint="Try again when some are done: GET /api/jobs",
            )

    def every(self) -> list[Job]:
        """The jobs that are known, newest first."""
        with self._changed:
            return list(reversed(self._known.values()))

    def find(self, job_id: str) -> Job:
        """The job of that id. Raises `NotFoundError`."""
        with self._changed:
            if job_id not in self._known:
                raise NotFoundError(f"no job {job_id!r}", hint="list them with: GET /api/jobs")
            return self._known[job_id]

    def cancel(self, job: Job) -> None:
        """Stop a job; a queued one leaves the queue."""
        with self._changed:
            if job in (waiting := self._lane(job).waiting):
                waiting.remove(job)
        job.cancel()

    @contextmanager
    def turn(self, job: Job) -> Iterator[None]:
        """Hold the writing lane for a block: a tuning job's turn comes right after the job that writes now.

        Raises `CancelledError` when the job is cancelled while it waits.
        """
        lane = self._writing
        with self._changed:
            lane.held = True  # only one other lane ever asks
        try:
            with self._changed:
                while lane.running is not None:
                    if job.cancelled():
                        raise CancelledError("stopped before it was applied")
                    self._changed.wait(CANCEL_LOOK_S)
            yield
        finally:
            with self._changed:
                lane.held = False
                self._changed.notify_all()

    def stop(self) -> None:
        """Take no more jobs and ask the running ones to end; those that wait end without having begun."""
        with self._changed:
            self._stopping = True
            lanes = (self._writing, self._measuring)
            ending = [job for lane in lanes for job in (*lane.waiting, lane.running) if job is not None]
            for lane in lanes:
                lane.waiting.clear()
            self._changed.notify_all()
        for job in ending:
            job.cancel(lane_stopped=True)

    def join(self, timeout_s: float) -> bool:
        """Wait for the threads to end; False when one is still going after `timeout_s`."""
        ends_s = time.monotonic() + timeout_s
        threads = [lane.thread for lane in (self._writing, self._measuring) if lane.thread is not None]
        for thread in threads:
            thread.join(max(0.0, ends_s - time.monotonic()))
        return not any(thread.is_alive() for thread in threads)

    def _lane(self, job: Job) -> _Lane:
        return self._measuring if job.kind == "tune" else self._writing

    def _run(self, lane: _Lane) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopping or (lane.waiting and not lane.held))
                if self._stopping:
                    return
                job = lane.running = lane.waiting.popleft()
            job.run()
            with self._changed:
                lane.running = None
                self._changed.notify_all()

    def _record(self, job: Job, snapshot: wire.Json | None) -> None:
        if self._records is not None:
            self._records.keep(job, snapshot)

    def _forget_oldest(self) -> None:
        """Of each lane the latest are kept: many uploads do not push a tuning's result out."""
        with self._changed:
            ended = [job for job in self._known.values() if job.state in ENDED]
            old = [
                job
                for lane in (self._writing, self._measuring)
                for job in [job for job in ended if self._lane(job) is lane][:-KEPT]
            ]
            for job in old:
                del self._known[job.id]
        if self._records is not None:
            for job in old:
                self._records.drop(job.id)
