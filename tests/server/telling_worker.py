"""A worker for tests: it logs, says it is ready, and does what it is told until its link is closed."""

from __future__ import annotations

import os
import sys
import threading
import time

from ragstone.server.worker_side import Link

if __name__ == "__main__":
    link = Link()
    if "status" in link.start:
        sys.exit(link.start["status"])
    record = {"name": "ragstone.server", "levelno": 30, "levelname": "WARNING", "msg": "100 % of it"}
    link.send({"log": record, "request_id": "r1"})
    link.at_end(lambda: os._exit(7))
    link.send({"ready": True})
    while (asked := link.receive()) is not None:
        print("a line from a library", flush=True)
        if "hold" in asked:
            time.sleep(60)
        link.send({"heard": asked, "variable": os.environ.get("TOLD", "")}, b'"' + b"x" * 100_000 + b'"')
    threading.Event().wait()
