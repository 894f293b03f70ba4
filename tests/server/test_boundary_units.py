"""Parts of the boundary that a live service shows only with large files or crowds."""

from __future__ import annotations

import asyncio

import pytest
from starlette.types import Message, Receive, Scope, Send

from ragstone.server.boundary import Crowd, paced
from ragstone.server.problems import SlowBodyError


def _parts(*parts: tuple[float, bytes], last: bool = True) -> Receive:
    """A body whose parts come after so many seconds each; without `last` the next one never comes."""
    coming = list(parts)

    async def receive() -> Message:
        if not coming:
            await asyncio.Event().wait()
        pause_s, body = coming.pop(0)
        await asyncio.sleep(pause_s)
        return {"type": "http.request", "body": body, "more_body": bool(coming) or not last}

    return receive


async def _read(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message["body"], message["more_body"]
    return body


def test_a_long_upload_at_a_good_pace_takes_the_time_it_needs() -> None:
    parts = [(0.02, b"x" * 10_000)] * 10  # four times the time that silence may last
    assert asyncio.run(_read(paced(_parts(*parts), timeout_s=0.05))) == b"x" * 100_000


@pytest.mark.parametrize("parts", [[], [(0.0, b"x" * 100_000)], [(0.02, b"x")] * 50])
def test_an_upload_that_stops_or_drips_is_given_up(parts: list[tuple[float, bytes]]) -> None:
    with pytest.raises(SlowBodyError):
        asyncio.run(_read(paced(_parts(*parts, last=False), timeout_s=0.05)))


def test_after_a_whole_upload_the_client_may_be_silent() -> None:
    async def run() -> None:
        receive = paced(_parts((0.0, b"whole")), timeout_s=0.02)
        await _read(receive)
        with pytest.raises(TimeoutError):  # ours, not the upload's
            async with asyncio.timeout(0.1):
                await receive()

    asyncio.run(run())


def test_requests_beyond_the_limit_are_refused_at_once_and_health_is_not() -> None:
    async def run() -> list[tuple[int, dict[bytes, bytes]]]:
        leave, entered = asyncio.Event(), asyncio.Semaphore(0)

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            entered.release()
            if scope["path"] == "/slow":
                await leave.wait()
            await send({"type": "http.response.start", "status": 200, "headers": []})

        crowd = Crowd(app, most=2)
        told: list[tuple[int, dict[bytes, bytes]]] = []

        async def ask(path: str) -> None:
            async def send(message: Message) -> None:
                if message["type"] == "http.response.start":
                    told.append((message["status"], dict(message["headers"])))

            await crowd({"type": "http", "path": path, "headers": []}, _parts((0.0, b"")), send)

        slow = [asyncio.create_task(ask("/slow")) for _ in range(2)]
        for _ in slow:
            await entered.acquire()
        await ask("/api/search")
        await ask("/health/live")
        leave.set()
        await asyncio.gather(*slow)
        await ask("/api/search")
        return told

    told = asyncio.run(run())
    assert [status for status, _ in told] == [503, 200, 200, 200, 200]
    assert told[0][1][b"retry-after"] == b"1"
