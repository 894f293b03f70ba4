"""Running the service: the address check, uvicorn, signals, and the browser."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
import sys
import webbrowser
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import FrameType

import uvicorn
from fastapi import FastAPI

from ragstone.engine import Ragstone
from ragstone.errors import InputError
from ragstone.server.access import MAX_BODY_BYTES
from ragstone.server.admission import Admission, check_public, is_loopback
from ragstone.server.app import ANSWER_LIMIT_S, create_app
from ragstone.server.connections import ConnectionLimits, connections_with
from ragstone.server.service import Service

GRACE_S = 5.0  # after SIGTERM running answers get this long; most end sooner
# How long a searching thread may keep the interpreter from the event loop. With Python's 5 ms, four threads and several
# turns for each request, a refusal took longer than a search.
SWITCH_INTERVAL_S = 0.0005
# New objects, and times that, and times that again, at which garbage is collected: of all generations after 400,000.
# Python waits for a quarter of all that is old; what is frozen does not count there, and it would do so after 70,000.
COLLECTED_AT = (2_000, 10, 20)
SETTLE_S = 1.0  # and this long to send their last event before connections are closed
IDLE_CONNECTION_S = 15  # longer than the page's poll for news, so that it reuses its connection


def serve(
    engine: Ragstone,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    paths: Sequence[str | Path] = (),
    open_browser: bool = False,
    admission: Admission | None = None,
    streaming: bool = True,
    answer_limit_s: float = ANSWER_LIMIT_S,
    search_processes: int = 0,
    announce: Callable[[str], None] = lambda _url: None,
) -> None:
    """Serve until SIGTERM or Ctrl-C; `paths` are indexed in the background meanwhile, options are `create_app`'s.

    `announce` is called once with the address, when connections are accepted; port 0 takes a free one.
    The engine stays open. Raises `InputError` for an address that others can reach while nobody has a key, and for a
    port that cannot be taken. A second Ctrl-C leaves at once.
    """
    admission = admission or Admission()
    if not is_loopback(host):
        check_public(host, admission.identity)
    app = create_app(
        engine,
        paths=paths,
        admission=admission,
        streaming=streaming,
        answer_limit_s=answer_limit_s,
        search_processes=search_processes,
    )
    with listening_socket(host, port) as listener, favouring_the_loop():
        url = address(host, listener.getsockname()[1])
        _Server(app, on_started=lambda: _tell(url, announce, open_browser=open_browser)).run([listener])


@contextlib.contextmanager
def favouring_the_loop() -> Iterator[None]:
    """Set this process up for an event loop beside threads at work, for a `with` block: short turns at the interpreter,
    and few collections of all garbage, which pass over what was there at the start: everything stands still for as long
    as one takes."""
    interval_s, collected_at, frozen = sys.getswitchinterval(), gc.get_threshold(), gc.get_freeze_count()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTED_AT)
    try:
        yield
    finally:
        gc.set_threshold(*collected_at)
        if not frozen:  # else the caller's own would thaw too
            gc.unfreeze()
        sys.setswitchinterval(interval_s)


class _Server(uvicorn.Server):
    """uvicorn, which tells the service about a signal at once and leaves the process to the caller."""

    def __init__(
        self,
        app: FastAPI,
        *,
        on_started: Callable[[], None],
        limits: ConnectionLimits = ConnectionLimits(),  # noqa: B008 - immutable
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_level="warning",
                access_log=False,  # a query is private
                server_header=False,
                proxy_headers=False,  # it would believe whoever connects from this machine; see `identity`
                ws="websockets-sansio",  # the other implementation over websockets stands on what that deprecates
                ws_max_size=MAX_BODY_BYTES,
                ws_per_message_deflate=False,  # some 20 KB a connection, to shorten messages of 1 KB
                lifespan="on",
                timeout_keep_alive=IDLE_CONNECTION_S,
                timeout_graceful_shutdown=int(GRACE_S + SETTLE_S),
                http=connections_with(limits, app.state.shedding),
            )
        )
        self._app = app
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # uvicorn would cut conversations in the middle of an answer; told to stop, they end by themselves.
        for server in self.servers:
            server.close()
        await self._app.state.chats.ended(GRACE_S + SETTLE_S)
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.started:
            service: Service = self._app.state.service
            service.loop.call_soon_threadsafe(partial(service.stop_soon, grace_s=GRACE_S))
        super().handle_exit(sig, frame)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Like the parent's, but a handled signal is not raised again: the caller still closes the engine."""
        handled = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self.handle_exit) for number in handled}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def listening_socket(host: str, port: int) -> socket.socket:
    """A socket bound to the address, port 0 for any free one; raises `InputError` when it cannot be taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sends small packets at once only on sockets that say they are TCP: head and body of a response are two
    # packets, and a client's kernel acknowledges the first one after 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host.strip("[]"), port))
    except (OSError, OverflowError) as error:
        listener.close()
        raise InputError(
            f"Port {port} on {host} cannot be taken: {error}.",
            hint="Another service may use it; choose one with --port, or --port 0 for any free one.",
            code="port_taken",
        ) from error
    return listener


def address(host: str, port: int) -> str:
    """What a browser is given."""
    return f"http://[{host.strip('[]')}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def _tell(url: str, announce: Callable[[str], None], *, open_browser: bool) -> None:
    announce(url)
    if open_browser:
        # In a thread: starting a browser can take seconds and must not hold the event loop.
        asyncio.get_running_loop().run_in_executor(None, webbrowser.open, url)
