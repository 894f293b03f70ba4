"""Documents in a Redis as other tools write them, made without those tools: their keys and fields were looked up in
what langchain-community 0.4, langchain-redis 0.2, llama-index-vector-stores-redis 0.9 and redisvl 0.28 write."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from redis import Redis

from importers.foreign_stores import Entry
from ragstone.types import Matrix


def write_langchain_community(client: Redis, entries: Sequence[Entry], rows: Matrix) -> str:
    """LangChain's first store: the index's name in the key, metadata as fields."""
    for (id_, text, metadata), row in zip(entries, rows, strict=True):
        fields: dict[Any, Any] = {"content": text, "content_vector": row.tobytes(), **metadata}
        client.hset(f"doc:papers:{id_}", mapping=fields)
    return "doc:papers:"


def write_langchain_redis(client: Redis, entries: Sequence[Entry], rows: Matrix) -> str:
    """LangChain's store of today, with the metadata once more as JSON."""
    for (id_, text, metadata), row in zip(entries, rows, strict=True):
        own = {"_index_name": "papers", "_metadata_json": json.dumps(metadata)}
        fields: dict[Any, Any] = {"text": text, "embedding": row.tobytes(), **own, **metadata}
        client.hset(f"papers:{id_}", mapping=fields)
    return "papers:"


def write_llamaindex_redis(client: Redis, entries: Sequence[Entry], rows: Matrix) -> str:
    """LlamaIndex: the node without its text as JSON, and `None` as a word."""
    for (id_, text, metadata), row in zip(entries, rows, strict=True):
        node = {
            "id_": id_,
            "embedding": None,
            "metadata": metadata,
            "relationships": {"1": {"node_id": "source"}, "3": {"node_id": "next"}},
            "text": "",
        }
        fields: dict[Any, Any] = {
            "id": id_,
            "doc_id": "None",
            "document_id": "None",
            "ref_doc_id": "None",
            "text": text,
            "vector": row.tobytes(),
            "_node_content": json.dumps(node),
            "_node_type": "TextNode",
            **metadata,
        }
        client.hset(f"llama_index/vector_{id_}", mapping=fields)
    return "llama_index/"


def write_redisvl(client: Redis, entries: Sequence[Entry], rows: Matrix) -> str:
    """RedisVL with half-precision vectors, and a picture's beside them."""
    for (id_, text, metadata), row in zip(entries, rows, strict=True):
        half = row.astype(np.float16).tobytes()
        fields: dict[Any, Any] = {"text": text, "embedding": half, "picture": half[::-1], **metadata}
        client.hset(f"rvl:{id_}", mapping=fields)
    return "rvl:"


def write_memories(client: Redis, entries: Sequence[Entry], rows: Matrix) -> str:
    """The memories of the earlier service: JSON texts, which may expire."""
    for (id_, text, metadata), row in zip(entries, rows, strict=True):
        entry = {
            "id": id_,
            "content": text,
            "memory_type": "long_term",
            "importance": 0.5,
            "tags": ["ferry"],
            "metadata": metadata,
            "embedding": row.tolist(),
        }
        client.set(f"gemma:mem:long_term:{id_}", json.dumps(entry), ex=3600)
    return "gemma:mem:"


def write_own(client: Redis, entries: Sequence[Entry], rows: Matrix) -> str:
    """A program of one's own: 64-bit numbers in a field with a name of its own."""
    for (id_, text, metadata), row in zip(entries, rows, strict=True):
        fields: dict[Any, Any] = {"body": text, "numbers": row.astype(np.float64).tobytes(), **metadata}
        client.hset(id_, mapping=fields)
    return ""


def write_listed(client: Redis, entries: Sequence[Entry], rows: Matrix) -> str:
    """Vectors as the JSON text of a list, in a hash."""
    for (id_, text, metadata), row in zip(entries, rows, strict=True):
        fields: dict[Any, Any] = {"text": text, "embedding": json.dumps(row.tolist()), **metadata}
        client.hset(f"listed:{id_}", mapping=fields)
    return "listed:"


WRITERS = {
    "langchain-community": write_langchain_community,
    "langchain-redis": write_langchain_redis,
    "llamaindex": write_llamaindex_redis,
    "redisvl": write_redisvl,
    "memories": write_memories,
    "own": write_own,
    "listed": write_listed,
}
