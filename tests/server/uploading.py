"""Multipart bodies as a client writes them, and waiting for a job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from server.live import LiveService, Reply, wait_until

BOUNDARY = "----lighthouse1759"
ENDED = {"done", "failed", "cancelled"}


def multipart(files: Mapping[str, bytes], *, boundary: str = BOUNDARY) -> bytes:
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
        f"Content-Type: application/octet-stream\r\n\r\n".encode()
        + content
        + b"\r\n"
        for name, content in files.items()
    ]
    return b"".join(parts) + f"--{boundary}--\r\n".encode()


def upload(service: LiveService, files: Mapping[str, bytes], query: str = "") -> Reply:
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    return service.request("POST", f"/api/documents{query}", multipart(files), headers)


def finished(service: LiveService, accepted: Reply) -> Any:
    """The job that a request became, once it has ended."""
    assert accepted.status == 202, accepted.body
    return ended(service, accepted.json()["id"])


def ended(service: LiveService, job_id: str) -> Any:
    """A job once it has ended."""
    address = f"/api/jobs/{job_id}"
    wait_until(lambda: service.get(address).json()["state"] in ENDED, "the job has ended")
    return service.get(address).json()
