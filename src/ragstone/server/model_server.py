"""A model server: worker processes that share one listening socket, watched and replaced by this one.

A worker that dies costs the requests in it, whose clients see a closed connection and ask again; the socket stays
open, so the other workers answer. Not uvicorn's own supervisor: that tells no worker its number, which decides its GPU,
leaves workers behind when it is killed itself, and waits for stuck ones without limit.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import FrameType

from ragstone.embedding.cores import usable_cores
from ragstone.errors import InputError, RagstoneError
from ragstone.memory.opening import settings_embedder
from ragstone.server.admission import admission_of, check_public, is_loopback
from ragstone.server.model_worker import WorkerPlan, run_worker
from ragstone.server.serving import address, listening_socket
from ragstone.settings import Settings

logger = logging.getLogger("ragstone.server")

MAX_WORKERS = 64
CUDA_DEVICES = "CUDA_VISIBLE_DEVICES"
DRAIN_S = 10.0  # a full request, 2,048 passages, takes about this long on one core; then workers are killed
START_S = 120.0  # a large model from a slow disk
# A worker that dies so soon after its start would do so again; the third such death in a row ends the server.
EARLY_S = 5.0
MAX_EARLY_DEATHS = 3

_spawn = multiprocessing.get_context(
    "spawn"
)  # a fork would share ONNX Runtime's and CUDA's threads and locks


def serve_model(
    settings: Settings,
    *,
    workers: int | None = None,
    devices: Sequence[str] = (),
    announce: Callable[[str], None] = lambda _url: None,
) -> None:
    """Serve the settings' embedding model until SIGTERM or Ctrl-C.

    `devices` are what CUDA_VISIBLE_DEVICES may name: each worker gets one of them in turn. `workers` is one per device
    if not given. `announce` is called with the address once every worker answers. Raises `InputError` for a port or
    address that cannot be taken, `ModelError` when the model does not load, `RagstoneError` when workers keep dying.
    """
    count = workers or len(devices) or 1
    if not 1 <= count <= MAX_WORKERS:
        raise InputError(f"{count} workers; 1 to {MAX_WORKERS} can be watched", hint="use fewer")
    if not is_loopback(settings.host):
        check_public(settings.host, admission_of(settings).identity)
    settings_embedder(settings).close()  # fails here, not in every worker; and makes the model's files once
    threads = settings.model_threads or max(1, usable_cores() // count)
    with listening_socket(settings.host, settings.port) as listener:
        url = address(settings.host, listener.getsockname()[1])
        plans = [
            WorkerPlan(settings, threads=threads, device=devices[n % len(devices)] if devices else None)
            for n in range(count)
        ]
        _Supervisor(plans, listener, on_ready=lambda: announce(url)).run()


@dataclass
class _Watched:
    """A worker process: `link` says once that it answers, and closes when either side is gone."""

    plan: WorkerPlan
    process: SpawnProcess
    link: Connection
    started_s: float = field(default_factory=time.monotonic)
    ready: bool = False


class _Supervisor:
    def __init__(
        self, plans: Sequence[WorkerPlan], listener: socket.socket, *, on_ready: Callable[[], None]
    ) -> None:
        self._plans = plans
        self._listener = listener
        self._on_ready = on_ready
        self._announced = False
        self._early_deaths = 0
        self._workers: list[_Watched] = []

    def run(self) -> None:
        """Keep the workers running until a signal; returns when all have ended."""
        with _stop_signals() as told_to_stop:
            try:
                self._workers = [self._started(plan) for plan in self._plans]
                while not self._news(told_to_stop):
                    self._replace_dead()
            finally:
                self._stop()

    def _started(self, plan: WorkerPlan) -> _Watched:
        ours, theirs = _spawn.Pipe()
        process = _spawn.Process(
            target=run_worker, args=(plan, self._listener, theirs), name="ragstone-model-worker"
        )
        with _visible(plan.device):
            process.start()
        theirs.close()
        return _Watched(plan, process, ours)

    def _news(self, told_to_stop: Connection) -> bool:
        """Wait until a worker is ready or dead, or a signal came; True for a signal."""
        starting = {worker.link: worker for worker in self._workers if not worker.ready}
        oldest_s = min((worker.started_s for worker in starting.values()), default=None)
        left_s = None if oldest_s is None else max(0.0, oldest_s + START_S - time.monotonic())
        sentinels = [worker.process.sentinel for worker in self._workers]
        changed = wait([told_to_stop, *starting, *sentinels], timeout=left_s)
        if not changed:
            raise RagstoneError(f"a worker did not start within {START_S:g} s", hint="look at the log")
        for link, worker in starting.items():
            if link in changed:
                worker.ready = _said_ready(link)
        if not self._announced and all(worker.ready for worker in self._workers):
            self._announced = True
            self._on_ready()
        return told_to_stop in changed

    def _replace_dead(self) -> None:
        for place, worker in enumerate(self._workers):
            if worker.process.is_alive():
                continue
            lived_s = time.monotonic() - worker.started_s
            status = worker.process.exitcode
            logger.warning("a model worker ended after %.0f s with status %s", lived_s, status)
            self._early_deaths = self._early_deaths + 1 if lived_s < EARLY_S and not worker.ready else 0
            if self._early_deaths >= MAX_EARLY_DEATHS:
                raise RagstoneError(
                    f"model workers end as soon as they start, the last with status {status}",
                    hint="look at what they printed, and at the memory that is free",
                )
            self._workers[place] = self._started(worker.plan)
            worker.link.close()
            worker.process.close()

    def _stop(self) -> None:
        """End every worker: by SIGTERM, and by SIGKILL what still runs after the time for draining."""
        for worker in self._workers:
            worker.process.terminate()
        ends_s = time.monotonic() + DRAIN_S
        for worker in self._workers:
            worker.process.join(max(0.0, ends_s - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.link.close()
            worker.process.close()


@contextmanager
def _visible(device: str | None) -> Iterator[None]:
    """Let a process that is started in this block see one GPU; None: what this one sees."""
    if device is None:
        yield
        return
    before = os.environ.get(CUDA_DEVICES)
    os.environ[CUDA_DEVICES] = device
    try:
        yield
    finally:
        del os.environ[CUDA_DEVICES]
        if before is not None:
            os.environ[CUDA_DEVICES] = before


def _said_ready(link: Connection) -> bool:
    try:
        return bool(link.recv() == "ready")
    except (EOFError, OSError):  # it died; its sentinel says so too
        return False


@contextmanager
def _stop_signals() -> Iterator[Connection]:
    """A connection that can be read from once SIGTERM or SIGINT has come."""
    reader, writer = _spawn.Pipe(duplex=False)
    os.set_blocking(writer.fileno(), False)

    def told(_number: int, _frame: FrameType | None) -> None:
        writer.send_bytes(b"stop")

    before = {number: signal.signal(number, told) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield reader
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        reader.close()
        writer.close()
