"""Pages of indexed PDFs as pictures, so that a reader sees a passage where it stands.

Only a document of the catalog is drawn, and only from the very file that was indexed: same path, size and time. What
else lies on the disk cannot be asked for. A child without rights does the drawing (`documents.sandbox`).
"""

from __future__ import annotations

import stat
from functools import partial
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import Response

from ragstone.cache_levels import LRUCache
from ragstone.documents.pool import ReaderPool
from ragstone.errors import NotFoundError
from ragstone.server.access import TheCaller, policy
from ragstone.server.replying import PROBLEMS
from ragstone.server.requests import CollectionName, DocumentRequest, RequestModel, Uri
from ragstone.server.service import Service
from ragstone.server.workers import Room, Workers
from ragstone.types import DocumentInfo

KEPT = 16  # pictures of 0.1 to 0.3 MB, scanned ones of up to 6 MB
WAITING = 8  # a page takes 0.1 s, a scanned one 0.5 s
MTIME_DIGITS = 1e-6  # s: what is left of nanoseconds in a float of this century


class PageImageRequest(RequestModel):
    """The query string of `GET /api/page-image`."""

    uri: Uri
    page: Annotated[int, Field(ge=1, le=20_000)]
    width: Annotated[int, Field(ge=100, le=1600)] = 1000
    collection: CollectionName | None = None


class PageImages:
    """Draws pages and keeps the latest. Thread-safe; the child starts with the first page."""

    def __init__(self) -> None:
        self._pool = ReaderPool()
        self._kept: LRUCache[tuple[str, float, int, int], bytes] = LRUCache(KEPT)
        self._workers = Workers(Room("page images", waiting=WAITING), threads=1)

    async def png(self, document: DocumentInfo, *, page: int, width_px: int) -> bytes:
        """The page as PNG. Raises `NotFoundError`, `DocumentError`, and `BusyError` when too many wait."""
        return await self._workers.run(partial(self._png, document, page, width_px))

    def close(self) -> None:
        """End the child, also in the middle of a page; blocks for a moment."""
        self._pool.close()
        self._workers.close()

    def _png(self, document: DocumentInfo, page: int, width_px: int) -> bytes:
        path = _indexed_file(document)
        key = (document.uri, document.modified_s, page, width_px)
        image = self._kept.get(key, None)
        if image is None:
            image = self._pool.page_image(path, page=page, width_px=width_px)
            self._kept.put(key, image)
        return image


def _indexed_file(document: DocumentInfo) -> Path:
    """The PDF that the document was read from, if it is still the same. Raises `NotFoundError`."""
    path = Path(document.uri)
    if document.format == "pdf" and path.is_absolute():
        try:
            found = path.stat()
        except (OSError, ValueError):
            found = None
        if (
            found is not None
            and stat.S_ISREG(found.st_mode)
            and found.st_size == document.size_bytes
            and abs(found.st_mtime - document.modified_s) <= MTIME_DIGITS
        ):
            return path
    raise NotFoundError(
        "There is no picture of this document's pages.",
        hint="Pages of PDFs are shown while the file is the one that was indexed; index it again if it has changed.",
        code="no_picture",
    )


page_images = APIRouter(prefix="/api", responses=PROBLEMS)


@page_images.get(
    "/page-image",
    summary="A page of an indexed PDF as a picture",
    response_class=Response,
    responses={200: {"content": {"image/png": {}}}},
)
@policy("read")
async def page_image(
    asked: Annotated[PageImageRequest, Query()], request: Request, caller: TheCaller
) -> Response:
    """PNG, of 2 million pixels at the most; 404 unless the file is the one that was indexed."""
    service: Service = request.app.state.service
    images: PageImages = request.app.state.page_images
    named = DocumentRequest(uri=asked.uri, collection=asked.collection)
    document, _ = await service.document(named, caller)
    return Response(await images.png(document, page=asked.page, width_px=asked.width), media_type="image/png")
