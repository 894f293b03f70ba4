"""Another service: a real HTTP server on loopback that notes what it is sent and answers as told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from loopback_server import Post, loopback_server


@dataclass
class Receiver:
    """Answers each request with the next of `statuses`, the last one again and again."""

    statuses: Sequence[int] = (204,)
    location: str = ""
    url: str = ""
    taken: list[tuple[dict[str, str], bytes]] = field(default_factory=list)


@contextmanager
def receiving(receiver: Receiver) -> Iterator[Receiver]:
    def answer(post: Post) -> tuple[int, dict[str, str], bytes]:
        place = min(len(receiver.taken), len(receiver.statuses) - 1)
        receiver.taken.append((dict(post.headers), post.body))
        return receiver.statuses[place], {"Location": receiver.location} if receiver.location else {}, b""

    with loopback_server(answer) as address:
        receiver.url = f"{address}/hook?from=ragstone"
        yield receiver
