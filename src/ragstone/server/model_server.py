"""A model server: worker processes that share one listening socket, watched and replaced by this one.

A worker that dies costs the requests in it, whose clients see a closed connection and ask again; the socket stays
open, so the other workers answer. Not uvicorn's own supervisor: that tells no worker its number, which decides its GPU,
leaves workers behind when it is killed itself, and waits for stuck ones without limit.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Sequence

from ragstone.embedding.cores import usable_cores
from ragstone.errors import InputError
from ragstone.memory.opening import settings_embedder
from ragstone.server.admission import admission_of, check_public, is_loopback
from ragstone.server.serving import address, listening_socket
from ragstone.server.worker_process import (
    Death,
    Program,
    WorkerProcess,
    keep_running,
    settings_frame,
    unexpected_end,
)
from ragstone.settings import Settings

logger = logging.getLogger("ragstone.server")

MAX_WORKERS = 64
CUDA_DEVICES = "CUDA_VISIBLE_DEVICES"
DRAIN_S = 10.0  # a full request, 2,048 passages, takes about this long on one core; then workers are killed
MAX_EARLY_DEATHS = 3  # of one worker in a row; then the server ends
WORKER = "ragstone.server.model_worker"


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
    settings = settings.model_copy(update={"model_threads": threads})
    with listening_socket(settings.host, settings.port) as listener:
        url = address(settings.host, listener.getsockname()[1])
        start = {"settings": settings_frame(settings), "listener": listener.fileno()}
        programs = [
            Program(WORKER, start, _seeing(devices, n), descriptors=(listener.fileno(),))
            for n in range(count)
        ]
        asyncio.run(_keep(programs, lambda: announce(url)))


def _seeing(devices: Sequence[str], number: int) -> dict[str, str]:
    """What lets a worker see one GPU, the devices in turn; nothing where none are named."""
    return {CUDA_DEVICES: devices[number % len(devices)]} if devices else {}


async def _keep(programs: Sequence[Program], on_ready: Callable[[], None]) -> None:
    """Keep the workers running until SIGTERM or Ctrl-C; `on_ready` once all were. Raises `RagstoneError`."""
    told, ready = asyncio.Event(), [asyncio.Event() for _ in programs]
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    keeping = [asyncio.create_task(_keep_one(*one)) for one in zip(programs, ready, strict=True)]
    announcing = asyncio.create_task(_announce(ready, on_ready))
    stop = asyncio.create_task(told.wait())
    await asyncio.wait([stop, *keeping], return_when=asyncio.FIRST_COMPLETED)
    failed = [task for task in keeping if task.done()]
    for task in (stop, announcing, *keeping):
        task.cancel()
    await asyncio.wait([stop, announcing, *keeping])
    for task in failed:
        task.result()  # raises what ended it


async def _keep_one(program: Program, ready: asyncio.Event) -> None:
    async def use(worker: WorkerProcess) -> None:
        ready.set()
        while True:
            await worker.receive()

    async def ended(death: Death) -> None:
        logger.warning("a model worker ended after %.0f s with status %s", death.lived_s, death.status)
        if death.early >= MAX_EARLY_DEATHS:
            raise unexpected_end(death)

    await keep_running(program, use, ended=ended, grace_s=DRAIN_S)


async def _announce(ready: Sequence[asyncio.Event], on_ready: Callable[[], None]) -> None:
    for worker in ready:
        await worker.wait()
    on_ready()
