"""Documents and collections: in by upload, text or folder; listed, shown, deleted."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from ragstone import wire
from ragstone.errors import InputError
from ragstone.server.access import TheCaller, policy
from ragstone.server.change_requests import (
    TEXTS_BODY_BYTES,
    DeleteRequest,
    DropRequest,
    IndexRequest,
    TextsRequest,
    UploadRequest,
)
from ragstone.server.jobs_routes import accepted
from ragstone.server.replies import Collections, Documents, DocumentText, Job, Removed, Uris
from ragstone.server.replying import PROBLEMS, TheService, described, large_reply, page, reply
from ragstone.server.requests import DocumentRequest, DocumentsRequest

# The page shows a passage in its document; more text than this is cut around it, because a browser lays
# out 400,000 characters in about a second and a 50 MB log not at all.
WINDOW_CHARACTERS = 400_000
COLLECTION_FIELDS = ("documents", "chunks", "unembedded", "bytes", "model")

_FILES_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "file": {
                            "type": "array",
                            "items": {"type": "string", "format": "binary"},
                            "minItems": 1,
                        }
                    },
                    "required": ["file"],
                }
            }
        },
    }
}

documents = APIRouter(prefix="/api", responses=PROBLEMS)


@documents.get(
    "/documents", summary="The indexed documents, a page at a time", responses=described(Documents)
)
@policy("read")
async def list_documents(
    asked: Annotated[DocumentsRequest, Query()], service: TheService, caller: TheCaller
) -> Response:
    """By uri; `next_offset` is null on the last page."""
    listed = await service.documents(asked, caller)
    return await large_reply(
        service,
        lambda: page("documents", listed, wire.document_json, offset=asked.offset, limit=asked.limit),
    )


@documents.get(
    "/document",
    summary="One document's text, for showing a passage in its place",
    responses=described(DocumentText),
)
@policy("read")
async def document(
    asked: Annotated[DocumentRequest, Query()], service: TheService, caller: TheCaller
) -> Response:
    """`{"document","text","offset","length"}`: `text` begins at character `offset` of `length`.

    The text comes from the catalog, never from the file system.
    """
    info, text = await service.document(asked, caller)
    if asked.start > len(text):
        raise InputError(
            f"start {asked.start} is behind the document's {len(text)} characters.",
            hint="The document may have changed; search again.",
        )
    offset = max(0, min(asked.start - WINDOW_CHARACTERS // 2, len(text) - WINDOW_CHARACTERS))
    return reply(
        {
            "document": wire.document_json(info),
            "text": text[offset : offset + WINDOW_CHARACTERS],
            "offset": offset,
            "length": len(text),
        }
    )


@documents.post(
    "/documents",
    summary="Upload files; a job reads them",
    status_code=202,
    responses=described(Job, 202),
    openapi_extra=_FILES_BODY,
)
@policy("write", media_type="multipart/form-data", streamed=True)
async def upload(
    asked: Annotated[UploadRequest, Query()], request: Request, service: TheService, caller: TheCaller
) -> Response:
    """Each file becomes the document `upload:<name>`, and replaces the one of that name.

    The files are durable when this answers, and gone when they have been read: the text is in the collection.
    """
    name = service.named(asked.collection, caller)
    return accepted(await service.changes.upload(request, name))


@documents.post("/texts", summary="Add texts", responses=described(Uris))
@policy("write", body_bytes=TEXTS_BODY_BYTES)
async def add_texts(body: TextsRequest, service: TheService, caller: TheCaller) -> Response:
    """Durable and searchable when this answers. A text replaces the document with the same uri."""
    name = service.named(body.collection, caller)
    return reply({"uris": await service.changes.add_texts(body.texts, name)})


@documents.delete("/documents", summary="Delete documents by uri", responses=described(Removed))
@policy("write")
async def delete_documents(
    asked: Annotated[DeleteRequest, Query()], service: TheService, caller: TheCaller
) -> Response:
    """All of them or, when one is unknown, none. Files they came from stay, and come back when they are indexed."""
    name = service.named(asked.collection, caller)
    return reply({"removed": await service.changes.delete(asked.uri, name)})


@documents.post(
    "/index", summary="Index folders; a job does it", status_code=202, responses=described(Job, 202)
)
@policy("write")
async def index(body: IndexRequest, service: TheService, caller: TheCaller) -> Response:
    """Paths on the service's machine, at or below those it was started with; an admin may name any.

    Indexing again goes on where a stopped or cancelled job left off.
    """
    name = service.named(body.collection, caller)
    return accepted(await service.changes.index(body.paths, name, caller))


@documents.get(
    "/collections", summary="The collections and what is in them", responses=described(Collections)
)
@policy("read")
async def list_collections(service: TheService, caller: TheCaller) -> Response:
    """By name. A collection comes to be with the first document put into it."""
    listed = []
    for name in filter(caller.sees, await service.read(service.engine.collections)):
        stats = wire.plain_json(await service.stats(caller, name))
        listed.append({"name": name, **{field: stats[field] for field in COLLECTION_FIELDS}})
    return reply({"collections": listed})


@documents.delete("/collections/{name}", summary="Delete a whole collection", responses=described(Removed))
@policy("admin")
async def drop_collection(
    name: str, asked: Annotated[DropRequest, Query()], service: TheService, caller: TheCaller
) -> Response:
    """With every document in it; there is no way back, so `confirm` has to be its name once more."""
    caller.check([name])
    if asked.confirm != name:
        raise InputError(f"confirm is {asked.confirm!r}, not {name!r}", hint="nothing was deleted")
    return reply({"removed": await service.changes.drop(name)})
