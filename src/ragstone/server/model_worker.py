"""One process of a model server: it loads the model and answers on the socket that all workers share."""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Callable, Iterator

import uvicorn
from fastapi import FastAPI

from ragstone.engine_models import model_name
from ragstone.memory.opening import settings_embedder
from ragstone.server.admission import admission_of
from ragstone.server.connections import ConnectionLimits, connections_with
from ragstone.server.model_app import create_model_app
from ragstone.server.serving import IDLE_CONNECTION_S
from ragstone.server.worker_side import Link
from ragstone.settings import Settings

GRACE_S = 8  # what supervisors wait for, less the time to close the model


def main() -> None:
    """Answer until SIGTERM, or until the other end of the link is closed: no worker outlives its supervisor."""
    link = Link()
    settings = Settings.model_validate(link.start["settings"])
    link.take_log(settings)
    embedder = settings_embedder(settings)
    try:
        app = create_model_app(
            embedder,
            name=model_name(settings),
            admission=admission_of(settings),
            limit_s=settings.request_timeout_s,
        )
        server = _Server(app, on_started=lambda: link.send({"ready": True}))
        link.at_end(lambda: server.handle_exit(signal.SIGTERM, None))
        with socket.socket(fileno=link.start["listener"]) as listener:
            server.run([listener])
    finally:
        embedder.close()


class _Server(uvicorn.Server):
    def __init__(self, app: FastAPI, *, on_started: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_level="warning",
                access_log=False,
                server_header=False,
                ws="none",
                lifespan="on",
                timeout_keep_alive=IDLE_CONNECTION_S,
                timeout_graceful_shutdown=GRACE_S,
                http=connections_with(ConnectionLimits()),
            )
        )
        self._on_started = on_started

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Only SIGTERM, and not raised again as the parent does: the model is closed afterwards."""
        before = signal.signal(signal.SIGTERM, self.handle_exit)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_started()


if __name__ == "__main__":
    main()
