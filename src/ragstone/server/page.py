"""The page's files: read once at start, served from memory by exact name, packed where the browser takes that."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from importlib.resources import files

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from ragstone.server.access import policy

MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file of the page, also packed; `etag` is quoted, from its content."""

    body: bytes
    packed: bytes
    media_type: str
    etag: str


def load_assets() -> dict[str, Asset]:
    """The files of `ui/` by name. Only these are ever served: a request's path is never joined to a folder."""
    assets = {}
    for entry in files("ragstone.server").joinpath("ui").iterdir():
        suffix = entry.name[entry.name.rfind(".") :]
        if suffix in MEDIA_TYPES:
            body = entry.read_bytes()
            etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
            assets[entry.name] = Asset(
                body=body, packed=gzip.compress(body, mtime=0), media_type=MEDIA_TYPES[suffix], etag=etag
            )
    return assets


def page_routes() -> APIRouter:
    """`/`, `/api/docs` and `/ui/<file>`."""
    assets = load_assets()
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    @policy("open")
    async def index(request: Request) -> Response:
        return _served(assets["index.html"], request)

    @router.get("/api/docs")
    @policy("open")
    async def interface(request: Request) -> Response:
        return _served(assets["interface.html"], request)

    @router.get("/ui/{name}")
    @policy("open")
    async def asset(name: str, request: Request) -> Response:
        if name not in assets:
            raise HTTPException(404, "The page has no such file.")
        return _served(assets[name], request)

    return router


def _served(asset: Asset, request: Request) -> Response:
    # no-cache: the browser asks each time and gets 304, so an upgrade shows at once.
    headers = {"ETag": asset.etag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
    packs = "gzip" in request.headers.get("accept-encoding", "")
    if packs:
        headers |= {"ETag": asset.etag[:-1] + '-gzip"', "Content-Encoding": "gzip"}
    known = {tag.strip() for tag in request.headers.get("if-none-match", "").split(",")}
    if known & {headers["ETag"], f"W/{headers['ETag']}", "*"}:
        return Response(status_code=304, headers=headers)
    return Response(asset.packed if packs else asset.body, headers=headers, media_type=asset.media_type)
