"""What changes documents through the service: folders, uploads and texts in; documents and collections out.

Folders and uploads become jobs. Texts and deletions are short: they take turns with a running job's transactions, so
they neither wait for it nor stop it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from starlette.requests import ClientDisconnect, Request

from ragstone import wire
from ragstone.collection import documents_only
from ragstone.engine import Ragstone
from ragstone.errors import InputError, LockedError, NotFoundError, StoreError
from ragstone.server.access import Caller
from ragstone.server.change_requests import TextModel
from ragstone.server.job import ENDED, Job, JobId, JobRecord, Kind, Work
from ragstone.server.job_records import JobRecords
from ragstone.server.jobs import Jobs
from ragstone.server.multipart import boundary_of
from ragstone.server.problems import SlowBodyError, TooLargeError
from ragstone.server.uploads import Receiver, Upload, leftovers
from ragstone.server.workers import Room, Workers
from ragstone.server.works import BEGUN_MAX, ONCE, index_work, noting, report_json, work_of
from ragstone.texts import text_uri

T = TypeVar("T")

# One writes at a time, the store sees to that; the next few wait for it, beside searches and not before them.
CHANGE_THREADS = 1
CHANGES_WAITING = 8
UPLOADS = 8  # received at once; each is a request that may last for minutes
UPLOAD_THREADS = 2  # they write to one disk
UPLOAD_LIMIT_S = 600.0  # 500 MB at 7 Mbit/s


class Changes:
    """The service's writing side. `start` it with the lane, `close` it at the end."""

    def __init__(
        self,
        engine: Ragstone,
        jobs: Jobs,
        *,
        records: JobRecords | None = None,
        roots: Sequence[str | Path] = (),
        on_end: Callable[[Job], None] = lambda job: None,
    ) -> None:
        """`roots` are the files and folders that may be indexed; `on_end` is told of every job that has ended.

        `records` are those of `jobs`: what earlier processes left in them is taken up by `start`.
        """
        self._engine = engine
        self._jobs = jobs
        self._records = records
        self._roots = tuple(Path(root).expanduser().resolve() for root in roots)
        self._on_end = on_end
        self._changing = Workers(Room("changes", waiting=CHANGES_WAITING), threads=CHANGE_THREADS)
        self._receiving = Workers(Room("uploads", waiting=UPLOADS - UPLOAD_THREADS), threads=UPLOAD_THREADS)

    def start(self) -> None:
        """Queue what the service was started for and then what earlier processes left, and know what they ended."""
        left = [] if self._records is None else self._records.left()
        self._jobs.show(Job.ended(record) for record in left if record.state in ENDED)
        uploads = {_job_id(upload): upload for upload in leftovers(self._engine.settings.data_dir)}
        if self._roots:
            self._jobs.add(self._index_job(self._roots, self._engine.collection, by_start=True))
        for record in [record for record in left if record.state not in ENDED]:
            self._jobs.add(self._again(record, uploads.pop(record.id, None)), taken_up=True)
        for upload in uploads.values():  # whose record was lost
            self._jobs.add(self._upload_job(upload), taken_up=True)

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

        def begin() -> Job:
            roots = [self._allowed(path, caller) for path in paths] or self._roots
            if not roots:
                raise InputError(
                    "there is nothing to index", hint="start the service with folders, or send paths"
                )
            return self._jobs.add(self._index_job(roots, collection))

        return await self._changing.run(begin)

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
                return await self._receive(lambda: self._jobs.add(self._upload_job(upload)))
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

    async def job(self, kind: Kind, collection: str, label: str, request: wire.Json) -> Job:
        """Queue other long work on a collection, see `works`. Raises `QueueFullError`, `InputError`."""
        work = work_of(kind, collection, request, engine=self._engine, jobs=self._jobs)
        job = Job(kind, collection, label, work, request=request, on_end=self._ended)
        return await self._changing.run(lambda: self._jobs.add(job))

    def _index_job(self, roots: Sequence[Path], collection: str, *, by_start: bool = False) -> Job:
        """`by_start`: the next start decides by itself what it indexes."""
        return Job(
            "index",
            collection,
            ", ".join(map(str, roots)),
            index_work(roots, collection, self._engine),
            request=None if by_start else {"paths": list(map(str, roots))},
            on_end=self._ended,
        )

    def _upload_job(self, upload: Upload) -> Job:
        def work(job: Job) -> wire.Json:
            report = self._engine.add_files(
                upload.files, collection=upload.collection, progress=noting(job), cancelled=job.cancelled
            )
            return {**report_json(report), "uris": [file.uri for file in upload.files]}

        def ended(job: Job) -> None:
            if job.interrupted:
                upload.release()  # the next start takes it up again
            else:
                self._discarded(upload, job)

        label = ", ".join(file.name for file in upload.files)
        return Job("upload", upload.collection, label, work, id=_job_id(upload), request={}, on_end=ended)

    def _again(self, record: JobRecord, upload: Upload | None) -> Job:
        """A job that an earlier process did not bring to its end; fails where it cannot be done again."""
        given_up = record.begun >= (1 if record.kind in ONCE else BEGUN_MAX)
        if upload is not None and not given_up:
            return self._upload_job(upload).taken_up(record)
        work: Work = _lost
        if record.kind != "upload" and not given_up:
            with suppress(InputError):
                work = work_of(
                    record.kind, record.collection, record.request or {}, engine=self._engine, jobs=self._jobs
                )
        job = Job(
            record.kind,
            record.collection,
            record.label,
            work,
            id=record.id,
            request=record.request,
            on_end=self._ended if upload is None else partial(self._discarded, upload),
        )
        return job.taken_up(record)

    def _discarded(self, upload: Upload, job: Job) -> None:
        upload.discard()
        self._ended(job)

    def _ended(self, job: Job) -> None:
        if not job.interrupted:  # else it goes on with the next start
            self._on_end(job)

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


def _job_id(upload: Upload) -> JobId:
    """The same in every process: the beginning of the folder's random name."""
    return upload.folder.name[:16]


def _lost(job: Job) -> wire.Json:
    raise StoreError(
        f"the service ended while the {job.kind} job ran, and it cannot be taken up",
        hint="see whether it was done, and start it again",
        code="interrupted",
    )
