"""Names and paths that lead elsewhere, put to every door that takes one (RELIABILITY C4).

    python -m tests.load.escaping [--tries 2000] [--seed 1]

Beside the folder that may be indexed lies one that may not, and links lead there. Each try writes the way to it in one
of many spellings, in the name of an upload, in a path to index, a uri, a collection, a member of an archive, the
address itself. Nothing may come of it: this process opens nothing there and writes nowhere but into the store, no reply
and no search has a word of it, no path is refused with a 5xx, and both folders stay as they were, also for the
processes that read documents.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import zipfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, chdir
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import quote

from crash.command import Attempt, BrokenPromiseError, Try, main
from load.watching import CHANGES, Watch, opens_for_writing
from server.keyed import Keyed, keyed
from server.live import Reply
from server.uploading import BOUNDARY, multipart

SECRET = "quicksilver"  # noqa: S105 - the word that nobody may find
PLAIN = "cedar"

# How people have written their way out of a folder; `{rest}` leads to the secret from the folder above.
SPELLINGS: Mapping[str, str] = {
    "up": "../{rest}",
    "far up": "../../../../../../../../../../..{path}",
    "absolute": "{path}",
    "file url": "file://{path}",
    "from inside": "letters/../../{rest}",
    "dotted": "./.././{rest}",
    "doubled": "....//{rest}",
    "slashes": "..///{rest}",
    "encoded": "%2e%2e%2f{rest}",
    "encoded twice": "%252e%252e%252f{rest}",
    "back slashes": "..\\{rest}",
    "mixed": "..\\../{rest}",
    "full width": "\uff0e\uff0e\uff0f{rest}",
    "two dot leader": "\u2025/{rest}",
    "zero byte": "../{rest}\0.txt",
    "line": "../{rest}\nletters/a.txt",
    "space": " ../{rest} ",
    "home": "~root/../..{path}",
    "link": "letters/out/secret.txt",
    "link to the file": "letters/secret.txt",
    "absolute link": "{allowed}/letters/out/secret.txt",
    "drive": "C:{path}",
    "share": "//localhost{path}",
    "device": "/proc/self/root{path}",
    "open file": "/proc/self/cwd{path}",
    "long": "a/" * 90 + "../" * 91 + "{rest}",
    "half a pair": "../{rest}\ud800",
    "other host": "http://192.0.2.1/{rest}",
    "metadata service": "http://169.254.169.254/latest/meta-data/{rest}",
    "turned round": "\u202e../{rest}",
}


def prepare(shared: Path, given: argparse.Namespace) -> Attempt:
    """A service over one folder, another one beside it, and a watch over what is opened."""
    return Escaping(shared)


def _forbidden(secret: Path, store: Path) -> Callable[[str, tuple[Any, ...]], str | None]:
    """Opening anything below `secret`, writing elsewhere than into the store, connecting to another machine."""
    within = (str(store), "/dev/")

    def found(event: str, given: tuple[Any, ...]) -> str | None:
        if event == "socket.connect":
            return f"{event} {given[1]}" if given[1][0] != "127.0.0.1" else None
        if event not in CHANGES | {"open"}:
            return None
        writes = event in CHANGES or opens_for_writing(given)
        for path in [os.path.realpath(path) for path in given[:2] if isinstance(path, str) and "/" in path]:
            if path.startswith(str(secret)) or (writes and not path.startswith(within)):
                return f"{event} {path}"
        return None

    return found


class Escaping:
    """A service, open for as long as the process lives; each call is a try."""

    def __init__(self, shared: Path) -> None:
        allowed, secret = shared / "allowed", shared / "hidden"
        (allowed / "letters").mkdir(parents=True)
        secret.mkdir()
        (allowed / "letters" / "a.txt").write_text(f"The {PLAIN} stands by the gate.")
        (secret / "secret.txt").write_text(f"The word is {SECRET}.")
        (allowed / "letters" / "out").symlink_to(secret)
        (allowed / "letters" / "secret.txt").symlink_to(secret / "secret.txt")
        self._shared, self._allowed, self._secret = shared, allowed, secret
        store = shared / "data"
        self._open = ExitStack()
        self._open.enter_context(chdir(allowed))  # what relative paths are below
        self._service = self._open.enter_context(keyed(store, options={"paths": [allowed]}))
        self._key = self._service.key("writer", may="write")
        first = self._service.get("/api/jobs", self._key).json()["jobs"][-1]
        _finished(self._service, first["id"], self._key)
        self._before = self._folders()
        self._watch = Watch(_forbidden(secret, store))

    def __call__(self, this: Try) -> Iterable[str]:
        spelling = this.choice.choice(sorted(SPELLINGS))
        name = SPELLINGS[spelling].format(
            rest="hidden/secret.txt", path=self._secret / "secret.txt", allowed=self._allowed
        )
        if this.choice.random() < 0.2:
            name = _scrambled(name, this.choice)
        door = this.choice.choice(sorted(DOORS))
        with self._watch as seen:
            replies = DOORS[door](self._service, self._key, name)
            replies.append(self._service.get(f"/api/search?q={SECRET}&mode=keyword", self._key))
        self._check(replies, seen, f"{door}, {name!r}")
        return [door]

    def _check(self, replies: Iterable[Reply], seen: list[str], what: str) -> None:
        for reply in replies:
            if reply.status >= 500:
                raise BrokenPromiseError(f"{what}: {reply.status} {reply.body[:300]!r}")
            if f"is {SECRET}".encode() in reply.body:
                raise BrokenPromiseError(f"{what}: the secret is in {reply.body[:300]!r}")
        if seen:
            raise BrokenPromiseError(f"{what}: it did {seen}")
        if self._folders() != self._before:
            raise BrokenPromiseError(f"{what}: a folder has changed")
        found = self._service.get(f"/api/search?q={PLAIN}&mode=keyword", self._key).json()["hits"]
        if not any(PLAIN in hit["text"] for hit in found):
            raise BrokenPromiseError(f"{what}: what may be found is gone")

    def _folders(self) -> list[tuple[str, int, int]]:
        """Every file beside the store, with its size and the time of its last change."""
        found = []
        for path in sorted(self._shared.rglob("*")):
            if not path.is_relative_to(self._shared / "data"):
                status = path.lstat()
                found.append((str(path), status.st_size, status.st_mtime_ns))
        return found


def _scrambled(name: str, choice: Random) -> str:
    """With one character doubled, left out or exchanged."""
    at = choice.randrange(len(name))
    return name[:at] + choice.choice(["", name[at] * 2, "/", ".", "\\", "%00", "\u2215"]) + name[at + 1 :]


def _finished(service: Keyed, job_id: str, key: str) -> None:
    job = {"state": "queued"}
    while job["state"] not in {"done", "failed", "cancelled"}:
        job = service.get(f"/api/jobs/{job_id}", key).json()


def _query(name: str) -> str:
    return quote(name.encode("utf-8", "surrogatepass"), safe="")


def _body(value: object) -> bytes:
    return json.dumps(value).encode()  # half a pair as an escape, as a hostile client would send it


def _sent(
    service: Keyed, method: str, path: str, key: str, body: bytes | None = None, kind: str = ""
) -> Reply:
    headers = {"Authorization": f"Bearer {key}", **({"Content-Type": kind} if kind else {})}
    return service.live.request(method, path, body, headers)


def _with_job(service: Keyed, key: str, reply: Reply) -> list[Reply]:
    """The reply, and the job that it began, at its end."""
    if reply.status != 202:
        return [reply]
    job = reply.json()["id"]
    _finished(service, job, key)
    return [reply, service.get(f"/api/jobs/{job}", key)]


def _uploaded(service: Keyed, key: str, files: Mapping[str, bytes]) -> list[Reply]:
    body = multipart({name.encode("utf-8", "replace").decode(): content for name, content in files.items()})
    kind = f"multipart/form-data; boundary={BOUNDARY}"
    return _with_job(service, key, _sent(service, "POST", "/api/documents", key, body, kind))


def _archive(service: Keyed, key: str, name: str) -> list[Reply]:
    """A book whose members are called so."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr("mimetype", "application/epub+zip")
        archive.writestr(
            zipfile.ZipInfo(name.encode("utf-8", "replace").decode().partition("\0")[0] or "a"), "x"
        )
        container = f'<container><rootfiles><rootfile full-path="{_query(name)}"/></rootfiles></container>'
        archive.writestr("META-INF/container.xml", container)
    return _uploaded(service, key, {"book.epub": held.getvalue()})


def _indexed(service: Keyed, key: str, name: str) -> list[Reply]:
    reply = _sent(service, "POST", "/api/index", key, _body({"paths": [name]}), "application/json")
    return _with_job(service, key, reply)


def _asked(path: str, *, method: str = "GET") -> Callable[[Keyed, str, str], list[Reply]]:
    """A request whose address has the name in it, `{}`."""
    return lambda service, key, name: [_sent(service, method, path.format(_query(name)), key)]


def _address(service: Keyed, key: str, name: str) -> list[Reply]:
    raw = quote(name.encode("utf-8", "surrogatepass"), safe="/%.:~\\")
    return [_sent(service, "GET", prefix + raw, key) for prefix in ("/", "/ui/", "/api/../", "/static/../")]


def _text(service: Keyed, key: str, name: str) -> list[Reply]:
    text = {"text": "Some words.", "uri": name, "title": name[:300]}
    added = _sent(service, "POST", "/api/texts", key, _body({"texts": [text]}), "application/json")
    return [added, _sent(service, "GET", f"/api/document?uri={_query(name)}", key)]


DOORS: Mapping[str, Callable[[Keyed, str, str], list[Reply]]] = {
    "upload": lambda service, key, name: _uploaded(
        service, key, {f"{name}.txt": b"harmless", name: b"words"}
    ),
    "archive": _archive,
    "path to index": _indexed,
    "document": _asked("/api/document?uri={}"),
    "deleted document": _asked("/api/documents?uri={}", method="DELETE"),
    "page": _asked("/api/page-image?uri={}&page=1"),
    "explained": _asked("/api/explain?q=word&uri={}"),
    "collection": _asked("/api/search?q=word&collection={}"),
    "collection's numbers": _asked("/api/stats?collection={}"),
    "dropped collection": _asked("/api/collections/{0}?confirm={0}", method="DELETE"),
    "memory": _asked("/api/memory?collection={}"),
    "filter": _asked("/api/search?q=word&filter=uri%3D%22{}%22"),
    "job": _asked("/api/jobs/{}"),
    "address": _address,
    "text": _text,
}


if __name__ == "__main__":
    sys.exit(main(__doc__, prepare, tries=2_000))
