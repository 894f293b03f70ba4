"""What changes documents through the service: folders, uploads and texts in; documents and collections out.

Folders and uploads become jobs. Texts and deletions are short: they take turns with a running job's transactions, so
they neither wait for it nor stop it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from starlette.requests import ClientDisconnect, Request

from ragstone import wire
from ragstone.collection import documents_only
from ragstone.engine import Ragstone
from ragstone.errors import InputError, LockedError, NotFoundError
from ragstone.server.access import Caller
from ragstone.server.change_requests import TextModel
from ragstone.server.jobs import ENDED, Job, Jobs, Kind, Work
from ragstone.server.multipart import boundary_of
from ragstone.server.problems import QueueFullError, SlowBodyError, TooLargeError
from ragstone.server.uploads import Receiver, Upload, leftovers
from ragstone.server.workers import Workers
from ragstone.texts import text_uri
from ragstone.types import IndexProgress, IndexReport

logger = logging.getLogger("ragstone.server")

T = TypeVar("T")

# One writes at a time, the store sees to that; the next few wait for it, beside searches and not before them.
CHANGE_THREADS = 1
CHANGES_WAITING = 8
UPLOADS = 8  # received at once; each is a request that may last for minutes
UPLOAD_THREADS = 2  # they write to one disk
UPLOAD_LIMIT_S = 600.0  # 500 MB at 7 Mbit/s
SHOWN_FAILURES = 100  # of one job


class Changes:
    """The service's writing side. `start` it with the lane, `close` it at the end."""

    def __init__(
        self,
        engine: Ragstone,
        jobs: Jobs,
        *,
        roots: Sequence[str | Path] = (),
        on_end: Callable[[Job], None] = lambda job: None,
    ) -> None:
        """`roots` are the files and folders that may be indexed; `on_end` is told of every job that has ended."""
        self._engine = engine
        self._jobs = jobs
        self._roots = tuple(Path(root).expanduser().resolve() for root in roots)
        self._on_end = on_end
        self._changing = Workers("changes", threads=CHANGE_THREADS, waiting=CHANGES_WAITING)
        self._receiving = Workers("uploads", threads=UPLOAD_THREADS, waiting=UPLOADS - UPLOAD_THREADS)

    def start(self) -> None:
        """Queue what the service was started for, and what an earlier process left: folders first."""
        if self._roots:
            self._jobs.add(self._index_job(self._roots, self._engine.collection))
        for upload in leftovers(self._engine.settings.data_dir):
            try:
                self._jobs.add(self._upload_job(upload))
            except QueueFullError as error:
                upload.release()
                logger.warning("an upload waits for the next start: %s", error)

    def close(self) -> None:
        """Take no more work."""
        self._changing.close()
        self._receiving.close()

    # -- documents in ------------------------------------------------------------------------------------

    async def index(self, paths: Sequence[str], collection: str, caller: Caller) -> Job:
        """Index paths, all that the service was started with if none are given.

        Raises `NotFoundError` for a path that is not there or, unless the caller is an admin, not below one of those.
        """
        documents_only(collection)
        roots = await self._changing.run(lambda: [self._allowed(path, caller) for path in paths])
        if not (roots or self._roots):
            raise InputError(
                "there is nothing to index", hint="start the service with folders, or send paths"
            )
        return self._jobs.add(self._index_job(roots or self._roots, collection))

    async def upload(self, request: Request, collection: str) -> Job:
        """Take the files of a multipart body; the job that reads them. They are durable when this returns.

        Raises `TooLargeError`, `DocumentError` (a type that is not read), `InputError`, `SlowBodyError`.
        """
        documents_only(collection)
        settings = self._engine.settings
        boundary = boundary_of(request.headers.get("content-type", ""))
        announced = request.headers.get("content-length", "")
        if announced.isdigit() and int(announced) > settings.max_upload_bytes:
            raise TooLargeError(
                f"The upload is larger than {settings.max_upload_bytes:,} bytes.",
                hint="Send the files in several requests.",
            )
        self._jobs.require_room()  # said now, not after 500 MB
        receiver = Receiver(
            settings.data_dir,
            collection,
            boundary,
            max_file_bytes=settings.max_file_bytes,
            max_bytes=settings.max_upload_bytes,
        )
        with self._receiving.slot():
            try:
                async with asyncio.timeout(UPLOAD_LIMIT_S):
                    async for piece in request.stream():
                        await self._receive(partial(receiver.feed, piece))
                    upload = await self._receive(receiver.finish)
                return self._jobs.add(self._upload_job(upload))
            except BaseException as error:
                self._receiving.finish(receiver.discard)
                if isinstance(error, TimeoutError | ClientDisconnect):
                    raise SlowBodyError(
                        "The upload did not come to its end.", hint="Send it again."
                    ) from error
                raise

    async def add_texts(self, texts: Sequence[TextModel], collection: str) -> list[str]:
        """Add texts; their uris. Durable and searchable when this returns."""
        return await self._changing.run(
            partial(
                self._engine.add,
                [text.text for text in texts],
                uris=[text.uri or text_uri(text.text) for text in texts],
                titles=[text.title for text in texts],
                metadata=[text.metadata for text in texts],
                collection=collection,
            )
        )

    # -- documents out -----------------------------------------------------------------------------------

    async def delete(self, uris: Sequence[str], collection: str) -> int:
        """Remove documents; how many. Raises `NotFoundError` for an unknown one and then removes none."""
        return await self._changing.run(partial(self._engine.delete, uris, collection=collection))

    async def drop(self, collection: str) -> int:
        """Remove a collection; how many documents it had. Raises `LockedError` while a job is to write it."""
        if any(job.collection == collection and job.state not in ENDED for job in self._jobs.every()):
            raise LockedError(
                f"a job is at work on {collection!r}", hint="wait for it, or cancel it: GET /api/jobs"
            )
        return await self._changing.run(partial(self._engine.drop, collection))

    async def run(self, call: Callable[[], T]) -> T:
        """A short change in a thread; raises `BusyError` when too many wait."""
        return await self._changing.run(call)

    # -- jobs --------------------------------------------------------------------------------------------

    def job(self, kind: Kind, collection: str, label: str, work: Work) -> Job:
        """Queue other long work on a collection. Raises `QueueFullError`."""
        return self._jobs.add(Job(kind, collection, label, work, on_end=self._on_end))

    def _index_job(self, roots: Sequence[Path], collection: str) -> Job:
        def work(job: Job) -> wire.Json:
            report = self._engine.index(
                roots, collection=collection, progress=_noting(job), cancelled=job.cancelled
            )
            return _report_json(report)

        return Job("index", collection, ", ".join(map(str, roots)), work, on_end=self._on_end)

    def _upload_job(self, upload: Upload) -> Job:
        def work(job: Job) -> wire.Json:
            report = self._engine.add_files(
                upload.files, collection=upload.collection, progress=_noting(job), cancelled=job.cancelled
            )
            return {**_report_json(report), "uris": [file.uri for file in upload.files]}

        def ended(job: Job) -> None:
            if job.lane_stopped:
                upload.release()  # the next start takes it up again
            else:
                upload.discard()
            self._on_end(job)

        label = ", ".join(file.name for file in upload.files)
        return Job("upload", upload.collection, label, work, on_end=ended)

    def _allowed(self, path: str, caller: Caller) -> Path:
        try:
            wanted = Path(path).expanduser().resolve()
            known = caller.may("admin") or any(
                wanted == root or root in wanted.parents for root in self._roots
            )
            if known and wanted.exists():
                return wanted
        except (ValueError, RuntimeError, OSError) as error:  # a zero byte, an unknown user, a name too long
            raise InputError(f"{path[:200]!r} is no path", hint="the path of a file or folder") from error
        raise NotFoundError(
            f"no file or folder {path[:200]!r} that may be indexed", hint="see the service's start"
        )

    async def _receive(self, call: Callable[[], T]) -> T:
        return await asyncio.wrap_future(self._receiving.submit(call))


def _noting(job: Job) -> Callable[[IndexProgress], None]:
    return lambda progress: job.note(progress.stage, progress.done, progress.total, progress.uri)


def _report_json(report: IndexReport) -> wire.Json:
    """The report with the number of failures, and the first of them beside it."""
    summary = wire.index_json(report)
    failures = summary["documents"]["failed"]
    summary["documents"]["failed"] = len(failures)
    return {**summary, "failures": failures[:SHOWN_FAILURES]}
