"""From what the settings say to an open reranker."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ragstone.embedding.sessions import Device
    from ragstone.types import Reranker


def load_reranker(
    name: str,
    *,
    cache_dir: Path,
    base_url: str | None = None,
    api_key: str | None = None,
    timeout_s: float,
    threads: int | None = None,
    device: Device = "cpu",
) -> Reranker:
    """The reranker called `name`.

    With `base_url` it is what the endpoint there calls so (empty: it has only one). Else a folder with an ONNX
    cross-encoder, or `owner/model` on the hub where there is no such folder. `timeout_s` ends requests to an endpoint;
    `threads` (None: one per physical core) judge pairs on this machine. Raises `ModelError`, `InputError`.
    """
    if base_url is not None:
        from ragstone.reranking.endpoint import HttpReranker

        return HttpReranker(name, base_url=base_url, api_key=api_key or "", timeout_s=timeout_s)
    from ragstone.embedding.onnx_folder import local_folder
    from ragstone.reranking.cross_encoder import load_cross_encoder

    folder, called = local_folder(name, cache_dir)
    return load_cross_encoder(folder, name=called, threads=threads, device=device)
