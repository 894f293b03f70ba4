"""The service under load: one client, 32 at once, and arrivals at .8, 2 and 4 times what it can serve (T13, B1).

The service is a process of its own over abstracts of scifact in `../shared/data` (or the folder given), the load comes
from this one, and both share the machine's cores. Queries are titles, each asked once, so that no cache helps; every
client keeps its connection. The open loop sends at random moments whether or not earlier requests have been answered;
beside it `--streams` clients ask for streamed answers, one after the other: those that begin have to end.

    python -m benchmarks.serving [--search-processes 0 2] [--loads .8 2 4] [--streams 0] [--seconds 30]
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np

from benchmarks import report
from ragstone import Ragstone

CLIENTS = 32
RETRY_AFTER_S = 1.0
STREAM_S = 90.0  # the service ends an answer after 60


@dataclass(frozen=True, slots=True)
class Reply:
    """How one request went; `took_s` from when it was due, not from when a connection was free."""

    status: int
    took_s: float
    retry_after: bool


class Connection(asyncio.Protocol):
    """One request at a time, its answer read with as little work as can be: the cores are the service's as well."""

    def __init__(self) -> None:
        self._transport: asyncio.WriteTransport | None = None
        self._received = bytearray()
        self._answer: asyncio.Future[bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def ask(self, request: bytes) -> asyncio.Future[bytes]:
        """The head of the answer, in small letters, once its body is there too; `OSError` where the service leaves."""
        assert self._transport is not None
        self._received.clear()
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._answer

    @property
    def open(self) -> bool:
        """Whether the service has not closed it: it does after some seconds without a request."""
        return self._transport is not None and not self._transport.is_closing()

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self._received[:end]).lower()
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(self._received) >= end + 4 + length and self._answer is not None and not self._answer.done():
            self._answer.set_result(head)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionError("closed"))

    def close(self) -> None:
        """Leave."""
        if self._transport is not None:
            self._transport.close()


class Client:
    """Connections kept open, as many as are needed at once."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._free: list[Connection] = []

    async def get(self, path: str, *, due_s: float | None = None) -> Reply:
        """Ask, and read the whole answer; it was to be asked at `due_s`, now if that is not said."""
        due_s = time.perf_counter() if due_s is None else due_s
        try:
            connection = await self._connection()
            head = await connection.ask(f"GET {path} HTTP/1.1\r\nHost: {self._host}\r\n\r\n".encode())
        except OSError:
            return Reply(0, time.perf_counter() - due_s, retry_after=False)
        took_s = time.perf_counter() - due_s
        if b"connection: close" in head:
            connection.close()
        else:
            self._free.append(connection)
        return Reply(int(head.split(b" ", 2)[1]), took_s, b"retry-after:" in head)

    async def _connection(self) -> Connection:
        while self._free:
            if (connection := self._free.pop()).open:
                return connection
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(Connection, self._host, self._port)
        return connection

    def close(self) -> None:
        """Close what is open."""
        for connection in self._free:
            connection.close()


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--documents", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--streams", type=int, default=0, help="clients beside the load")
    parser.add_argument("--name", default="serving", help="of the result file")
    parser.add_argument("--loads", type=float, nargs="+", default=[0.8, 2.0, 4.0], help="of the capacity")
    parser.add_argument("--search-processes", type=int, nargs="+", default=[0, os.cpu_count() or 1])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    arguments = parser.parse_args()
    texts, titles = _corpus(arguments.data)
    figures: dict[str, Any] = {"documents": arguments.documents}
    with tempfile.TemporaryDirectory() as folder:
        with Ragstone(folder) as engine:
            engine.add(texts[: arguments.documents])
        for count in arguments.search_processes:
            found = _measured(folder, titles, search_processes=count, given=arguments)
            figures[f"{count} search processes"] = found
            for name, value in found.items():
                print(f"{count} {name:<36} {value}", flush=True)
    print("written to", report.write(arguments.name, figures))


def _measured(
    folder: str, titles: list[str], *, search_processes: int, given: argparse.Namespace
) -> dict[str, Any]:
    seconds = given.seconds
    with _served(folder, search_processes) as (url, pid, ready_s):
        paths = _paths(titles)
        first = asyncio.run(_closed(url, paths, clients=1, seconds=0.01))
        memory = _memory_mb(pid)
        alone = asyncio.run(_closed(url, paths, clients=1, seconds=min(seconds, 30) / 2))
        many = asyncio.run(_closed(url, paths, clients=CLIENTS, seconds=min(seconds, 30)))
        figures: dict[str, Any] = {
            "seconds until ready": round(ready_s, 2),
            "memory in MB, of the service and each process": memory,
            "first request after ready, ms": first["p50_ms"],
            "one client": alone,
            f"{CLIENTS} clients": many,
            "throughput ratio": round(many["per_s"] / alone["per_s"], 2),
        }
        for load in given.loads:
            rate = load * many["per_s"]
            found = asyncio.run(_open(url, paths, rate=rate, seconds=seconds, streams=given.streams))
            figures[f"arrivals at {load:g} times capacity"] = found
    return figures


def _corpus(data: Path) -> tuple[list[str], list[str]]:
    path = next(data.glob("**/scifact*/corpus.jsonl"))
    with path.open(encoding="utf-8") as lines:
        found = [json.loads(line) for line in lines]
    return [entry["text"] for entry in found], [entry["title"] for entry in found]


def _paths(titles: list[str]) -> Iterator[str]:
    """Each title once, then again with a number, so that no query is asked twice."""
    for round_number in itertools.count():
        for title in titles:
            asked = title if round_number == 0 else f"{title} {round_number}"
            yield f"/api/search?k=10&q={quote(asked[:500])}"


@contextmanager
def _served(folder: str, search_processes: int) -> Iterator[tuple[str, int, float]]:
    """Where the service listens, its process, and the seconds it took until it was ready."""
    program = "import sys; from ragstone.cli.app import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "--data-dir", folder, "serve", "--port", "0", "--json"]
    command += ["--search-processes", str(search_processes)]
    started_s = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ))
    assert process.stdout is not None
    try:
        url = json.loads(process.stdout.readline())["url"]
        asyncio.run(_until_ready(url))
        yield url, process.pid, time.perf_counter() - started_s
    finally:
        process.terminate()
        process.wait(30)


def _memory_mb(pid: int) -> list[dict[str, int]]:
    """Resident and proportional memory of the service's process and of each that it has started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    rollups = [Path(f"/proc/{one}/smaps_rollup").read_text() for one in (str(pid), *children)]
    found = [dict(re.findall(r"^(Rss|Pss): +(\d+) kB", text, re.MULTILINE)) for text in rollups]
    return [{name.lower(): round(int(kb) / 1e3) for name, kb in sizes.items()} for sizes in found]


async def _until_ready(url: str) -> None:
    client = Client(url)
    while (await client.get("/health/ready")).status != 200:
        await asyncio.sleep(0.05)
    client.close()


async def _closed(url: str, paths: Iterator[str], *, clients: int, seconds: float) -> dict[str, Any]:
    """Each client asks again as soon as it is answered, and a second after it was refused, as it is told to."""
    client, replies, ends_s = Client(url), [], time.perf_counter() + seconds
    started_s = time.perf_counter()

    async def ask() -> None:
        while True:
            replies.append(reply := await client.get(next(paths)))
            if time.perf_counter() >= ends_s:
                return
            if reply.status != 200:
                await asyncio.sleep(RETRY_AFTER_S)

    await asyncio.gather(*(ask() for _ in range(clients)))
    client.close()
    return _summary(replies, time.perf_counter() - started_s)


async def _open(
    url: str, paths: Iterator[str], *, rate: float, seconds: float, streams: int
) -> dict[str, Any]:
    """Requests arrive by chance, `rate` a second on average."""
    client, choice = Client(url), random.Random(7)
    started_s, used_s = time.perf_counter(), time.process_time()
    due_s = started_s
    asked: list[asyncio.Task[Reply]] = []
    asking = [
        asyncio.create_task(_streamed(url, number, until_s=started_s + seconds)) for number in range(streams)
    ]
    while due_s < started_s + seconds:
        due_s += choice.expovariate(rate)
        if (pause_s := due_s - time.perf_counter()) > 0:
            await asyncio.sleep(pause_s)
        asked.append(asyncio.create_task(client.get(next(paths), due_s=due_s)))
    replies = await asyncio.gather(*asked)
    client.close()
    took_s = time.perf_counter() - started_s
    figures = _summary(replies, took_s)
    figures["cores_for_asking"] = round((time.process_time() - used_s) / took_s, 2)
    if streams:
        ended_well = list(itertools.chain(*await asyncio.gather(*asking)))
        figures["streams_begun"], figures["streams_ended_well"] = len(ended_well), sum(ended_well)
    return figures


async def _streamed(url: str, number: int, *, until_s: float) -> list[bool]:
    """Ask for one streamed answer after the other; of each that began, whether it ended with `done`."""
    parts, ended_well = urlsplit(url), list[bool]()
    for count in itertools.count():
        if time.perf_counter() >= until_s:
            break
        body = json.dumps({"question": f"What is said of cells, {number} {count}?"}).encode()
        head = f"POST /api/ask/stream HTTP/1.1\r\nHost: {parts.hostname}\r\nConnection: close\r\n"
        kind = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        writer.write((head + kind).encode() + body)
        async with asyncio.timeout(STREAM_S):
            answer = await reader.read()
        writer.close()
        if answer.startswith(b"HTTP/1.1 200"):
            ended_well.append(b"event: done\n" in answer)
        else:
            await asyncio.sleep(RETRY_AFTER_S)
    return ended_well


def _summary(replies: list[Reply], seconds: float) -> dict[str, Any]:
    served = np.array([reply.took_s for reply in replies if reply.status == 200]) * 1e3
    refused = [reply for reply in replies if reply.status != 200]
    figures = {
        "asked": len(replies),
        "per_s": round(len(served) / seconds, 1),
        "p50_ms": round(float(np.percentile(served, 50)), 1),
        "p99_ms": round(float(np.percentile(served, 99)), 1),
    }
    if refused:
        figures["refused"] = len(refused)
        figures["refused_p99_ms"] = round(float(np.percentile([r.took_s for r in refused], 99)) * 1e3, 1)
        figures["refused_without_retry_after"] = sum(
            reply.status not in {429, 503} or not reply.retry_after for reply in refused
        )
    return figures


if __name__ == "__main__":
    main()
