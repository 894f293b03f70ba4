"""Another service: a real HTTP server on loopback that notes what it is sent and answers as told."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Receiver:
    """Answers each request with the next of `statuses`, the last one again and again."""

    statuses: Sequence[int] = (204,)
    location: str = ""
    url: str = ""
    taken: list[tuple[dict[str, str], bytes]] = field(default_factory=list)


@contextmanager
def receiving(receiver: Receiver) -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            place = min(len(receiver.taken), len(receiver.statuses) - 1)
            headers = {name.lower(): value for name, value in self.headers.items()}
            receiver.taken.append((headers, body))
            self.send_response(receiver.statuses[place])
            if receiver.location:
                self.send_header("Location", receiver.location)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    receiver.url = f"http://127.0.0.1:{server.server_address[1]}/hook?from=ragstone"
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
