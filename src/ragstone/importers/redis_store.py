"""Documents that LangChain, LlamaIndex, RedisVL or a program of one's own keeps in a Redis: one key each.

A key is a hash with a text and a vector as bytes, or JSON (a string, or a document of RedisJSON) with a list of
numbers. What is read is what the keys hold: the search index of the server is not asked, so it need not exist.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ragstone.errors import InputError, NotFoundError
from ragstone.importers import redis_keys
from ragstone.importers.records import ForeignStore, LeftOut, Losses, Record, new_record
from ragstone.importers.redis_fields import Entry, Fields, fields_of, metadata_of, text_of, vector_of
from ragstone.importers.redis_keys import TIMEOUT_S, Key, Server, connected, require_single, server_at

if TYPE_CHECKING:
    from redis import Redis

FORMAT = "redis"
_SAMPLE = 200  # entries looked at to see which field is what: of each, some hundred numbers
_LISTED = 10  # prefixes that are named


def open_redis(
    url: str,
    *,
    prefix: str | None = None,
    text_field: str | None = None,
    vector_field: str | None = None,
    vector_type: str | None = None,
    timeout_s: float = TIMEOUT_S,
) -> ForeignStore:
    """The documents at a URL whose keys begin with `prefix`; without one, all, if they begin alike.

    Fields are looked for where they are not named. Raises `NotFoundError` where no key matches, `InputError` where it
    is not clear which keys or fields are meant, and what `redis_keys` raises.
    """
    server = server_at(url, timeout_s=timeout_s)
    with connected(server) as client:
        doubt = require_single(client, server)
        prefix = _prefix(client, server, prefix)
        entries = _sample(client, server, prefix)
    fields = fields_of(entries, text=text_field, vector=vector_field, vector_type=vector_type)
    numbers = (
        f", {fields.vector_type or 'JSON'} vectors in {fields.vector}" if fields.vector else ", no vectors"
    )
    notes = ["its search index was not read: here vectors are ranked by cosine, its usual metric"]
    notes += [doubt] if doubt else []
    if fields.vector_type == "float64":
        notes.append("the vectors are of 64-bit numbers and come over as 32-bit ones")
    return ForeignStore(
        format=FORMAT,
        layout=f"Redis (texts in {fields.text}{numbers})",
        path=None,
        address=f"{server.address}#{prefix}",
        files=(),
        model=None,
        metric="unknown",
        dim=None,
        read=lambda losses: _records(server, prefix, fields, losses),
        notes=tuple(notes),
    )


def place_of(word: str) -> str:
    """What a user types to name an import, as its report does: `redis://HOST:6379/0#PREFIX`, without a password.

    Without a prefix, the server alone. Raises `InputError`.
    """
    url, mark, prefix = word.partition("#")
    return server_at(url).address + mark + prefix


def _prefix(client: Redis, server: Server, given: str | None) -> str:
    """The prefix given, or the one that all keys have."""
    if given is not None:
        return given
    found = redis_keys.prefixes(client)
    if len(found) > 1:
        raise InputError(
            f"{server.address} has keys of several kinds: {_named(found)}",
            hint="name one with --prefix; '' takes all",
        )
    return next(iter(found), "")


def _named(found: Mapping[str, int]) -> str:
    named = [f"{name}* ({count:,})" for name, count in list(found.items())[:_LISTED]]
    return ", ".join(named) + (f" and {len(found) - _LISTED:,} more" if len(found) > _LISTED else "")


def _sample(client: Redis, server: Server, prefix: str) -> list[Entry]:
    """The first entries. Raises `NotFoundError` where there are none."""
    entries: list[Entry] = []
    others: Counter[str] = Counter()
    for key in redis_keys.keys(client, prefix):
        entry = _entry(key)
        if entry is None:
            others[key.kind] += 1
        else:
            entries.append(entry)
        if len(entries) == _SAMPLE:
            break
    if entries:
        return entries
    if others:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in others.most_common())
        raise NotFoundError(
            f"no key {prefix}* in {server.address} is a hash or JSON: {kinds}",
            hint="name others with --prefix",
        )
    found = redis_keys.prefixes(client)
    if not found:
        raise NotFoundError(f"{server.address} has no keys", hint="check the database number")
    raise NotFoundError(
        f"no key in {server.address} begins with {prefix!r}", hint=f"there are {_named(found)}"
    )


def _entry(key: Key) -> Entry | None:
    """A key's fields; None where it holds none."""
    if isinstance(key.value, Mapping):
        return {name.decode("utf-8", "replace"): value for name, value in key.value.items()}
    if key.value is None:
        return None
    try:
        value: Any = json.loads(key.value)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _records(server: Server, prefix: str, fields: Fields, losses: Losses) -> Iterator[Record]:
    """An entry's id is its key: no two have the same, whatever `id` they hold."""
    with connected(server) as client:
        for key in redis_keys.keys(client, prefix):
            id_ = key.name.decode("utf-8", "backslashreplace")
            entry = _entry(key)
            if entry is None:
                _lose(key, id_, losses)
            elif fields.text not in entry:
                losses.records.append(LeftOut(id_, f"it has no field {fields.text!r}"))
            else:
                yield _record(id_, entry, fields, losses)


def _lose(key: Key, id_: str, losses: Losses) -> None:
    if key.value is not None:
        losses.part("strings that are no JSON objects")
    elif key.kind in redis_keys.READS:
        limit = redis_keys.VALUE_BYTES_MAX
        losses.records.append(LeftOut(id_, f"it takes {key.size_bytes:,} bytes, the limit is {limit:,}"))
    else:
        losses.part(f"keys of type {key.kind}")


def _record(id_: str, entry: Entry, fields: Fields, losses: Losses) -> Record:
    vector = vector_of(entry.get(fields.vector), fields.vector_type) if fields.vector else None
    metadata = metadata_of(entry, fields, losses)
    return new_record(id_, text_of(entry[fields.text]), vector, metadata=metadata, losses=losses)
