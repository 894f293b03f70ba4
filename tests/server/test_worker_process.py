"""One worker: what it is told, what it says, and how it ends; and settings and errors that cross the link whole."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
from pathlib import Path

import pytest
from pydantic import SecretStr

from fake_clock import FakeClock
from ragstone import errors, wire
from ragstone.deadlines import DeadlineError
from ragstone.errors import RagstoneError
from ragstone.logs import request_id
from ragstone.server.problems import status_of
from ragstone.server.search_frames import error_from, error_json
from ragstone.server.worker_process import (
    EARLY_S,
    Death,
    Program,
    WorkerProcess,
    keep_running,
    settings_frame,
)
from ragstone.settings import Settings
from server.live import wait_until

TELLING = "server.telling_worker"
KINDS = [
    kind
    for kind in (*vars(errors).values(), DeadlineError)
    if isinstance(kind, type) and issubclass(kind, RagstoneError)
]


def test_a_worker_answers_logs_and_ends_with_its_link() -> None:
    async def talk() -> None:
        worker = WorkerProcess(Program(TELLING, {}, {"TOLD": "so"}))
        await worker.ready()
        for number in range(3):
            worker.send({"n": number})
            assert await worker.receive() == {"heard": {"n": number}, "variable": "so"}
            assert len(await worker.receive_body()) == 100_002
        assert await worker.stop(10) == 7
        with pytest.raises(EOFError):
            await worker.receive()

    seen: list[tuple[str, str]] = []
    watch = logging.Handler()
    watch.emit = lambda record: seen.append((record.getMessage(), request_id.get()))  # type: ignore[method-assign]
    logging.getLogger("ragstone.server").addHandler(watch)
    try:
        asyncio.run(talk())
    finally:
        logging.getLogger("ragstone.server").removeHandler(watch)
    assert seen == [("100 % of it", "r1")]


def test_a_worker_in_the_middle_of_its_work_ends_with_its_link_too() -> None:
    async def leave() -> int:
        worker = WorkerProcess(Program(TELLING, {}))
        await worker.ready()
        worker.send({"hold": True})
        return await worker.stop(10)

    assert asyncio.run(leave()) == 7


def test_a_worker_that_does_not_end_is_killed() -> None:
    async def leave() -> int:
        worker = WorkerProcess(Program(TELLING, {}))
        await worker.ready()
        worker.process.send_signal(signal.SIGSTOP)
        state = Path(f"/proc/{worker.process.pid}/stat")
        wait_until(lambda: state.read_text().rpartition(")")[2].split()[0] == "T", "it stands still")
        return await worker.stop(0.05)

    assert asyncio.run(leave()) == -signal.SIGKILL


def test_deaths_at_the_start_are_counted_until_one_lives() -> None:
    clock, deaths = FakeClock(), list[Death]()

    async def ended(death: Death) -> None:
        deaths.append(death)
        if len(deaths) == 3:
            raise InterruptedError

    async def use(worker: WorkerProcess) -> None:
        raise AssertionError("it never was ready")

    with pytest.raises(InterruptedError):
        asyncio.run(keep_running(Program(TELLING, {"status": 4}), use, ended=ended, grace_s=1, clock=clock))
    assert [(death.status, death.early) for death in deaths] == [(4, 1), (4, 2), (4, 3)]
    deaths.clear()

    async def live(worker: WorkerProcess) -> None:
        clock.advance(EARLY_S if len(deaths) != 1 else 0.0)
        worker.kill()
        while True:
            await worker.receive()

    with pytest.raises(InterruptedError):
        asyncio.run(keep_running(Program(TELLING, {}), live, ended=ended, grace_s=1, clock=clock))
    assert [(death.status, death.early) for death in deaths] == [(-9, 0), (-9, 1), (-9, 0)]


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_crosses_the_link_as_it_is(kind: type[RagstoneError]) -> None:
    error = kind("what, with % and \ud800", hint="do", code="special")
    found = error_from(error_json(error))
    assert type(found) is kind
    assert (found.message, found.hint, found.code) == (error.message, error.hint, error.code)


def test_an_error_of_another_kind_arrives_as_the_nearest_known_one() -> None:
    class Peculiar(errors.NotFoundError):
        pass

    found = error_from(error_json(Peculiar("gone")))
    assert (type(found), status_of(found)) == (errors.NotFoundError, 404)


def test_settings_cross_the_link_with_their_secrets() -> None:
    settings = Settings(
        data_dir=Path("/some/where"),
        chat_api_key=SecretStr("s3cret"),
        cache_redis_url=SecretStr("redis://:pw@127.0.0.1:6380/0"),
        log_levels=("server=debug",),
        allowed_hosts=("a.example", "b.example"),
        trusted_proxies=("10.0.0.0/8",),
    )
    crossed = json.loads(wire.encode(settings_frame(settings)))
    assert Settings.model_validate(crossed) == settings


def test_a_worker_that_cannot_be_started_or_understood_is_a_death_too() -> None:
    deaths: list[Death] = []

    async def ended(death: Death) -> None:
        deaths.append(death)
        raise InterruptedError

    async def use(worker: WorkerProcess) -> None:
        worker.send({"n": 1})
        await worker.receive()
        await worker.receive()  # a body, which is no object
        raise TypeError("of another version")

    for program in (Program(TELLING, {}, {"BAD": "\0"}), Program(TELLING, {})):
        with pytest.raises(InterruptedError):
            asyncio.run(keep_running(program, use, ended=ended, grace_s=5))
    assert [death.status for death in deaths] == [None, 7]
