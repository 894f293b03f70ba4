"""Connections that are encrypted, and ones that end before the request does."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from client.conftest import Either
from client.scripted import json_response, refusal
from ragstone.client.blocking import Client
from ragstone.client.errors import ClientError, ServiceError

EMPTY = json_response({"hits": [], "degraded": [], "timings_ms": {}})


@contextmanager
def serving(answer: Callable[[socket.socket], None], *, connections: int = 1) -> Iterator[int]:
    """A port where so many connections are answered, one after the other."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for _ in range(connections):
                connection, _ = listener.accept()
                with connection:
                    connection.settimeout(10)
                    answer(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(10)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for localhost with its key, that nobody vouches for."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("openssl is not installed")
    path = tmp_path_factory.mktemp("tls") / "localhost.pem"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    kind = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"]
    subprocess.run(
        [program, *kind, *names, "-keyout", path, "-out", f"{path}.crt"], check=True, capture_output=True
    )
    path.write_text(path.read_text() + Path(f"{path}.crt").read_text())
    return path


def test_https_is_spoken_with_whom_one_trusts_and_with_nobody_else(either: Either, certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def answer(connection: socket.socket) -> None:
        try:
            with context.wrap_socket(connection, server_side=True) as wrapped:
                wrapped.recv(65536)
                wrapped.sendall(EMPTY)
        except OSError:
            pass  # the client that does not trust us has hung up

    with serving(answer, connections=2) as port:
        trusting = ssl.create_default_context(cafile=f"{certificate}.crt")
        url = f"https://localhost:{port}"
        assert either(url, tls=trusting, retries=0).call("search", "x").hits == ()
        with pytest.raises(ClientError, match="certificate") as stranger:
            either(url, retries=0).call("search", "x")
        assert stranger.value.code == "unreachable"


def test_a_file_that_is_refused_while_it_is_sent_is_refused_in_the_services_words() -> None:
    def answer(connection: socket.socket) -> None:
        while b"\r\n\r\n" not in connection.recv(4096):
            pass
        connection.sendall(refusal(413, code="too_large"))  # and closes with most of the file unread

    with serving(answer) as port, pytest.raises(ServiceError) as refused:
        Client(f"http://127.0.0.1:{port}").upload("large.bin", bytes(32 << 20))
    assert (refused.value.status, refused.value.code) == (413, "too_large")
