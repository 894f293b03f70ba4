"""From a model's name to an open embedder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ragstone.errors import ModelError

if TYPE_CHECKING:
    from ragstone.embedding.sessions import Device
    from ragstone.types import Embedder

DEFAULT_MODEL = "minilm"


def load_embedder(
    name: str = DEFAULT_MODEL,
    *,
    cache_dir: Path,
    threads: int | None = None,
    background: bool = False,
    device: Device = "cpu",
    base_url: str | None = None,
    api_key: str | None = None,
) -> Embedder:
    """The embedder called `name`.

    `minilm` is the built-in model. `cache_dir` keeps what is made once; `threads` is for documents (None: one
    per physical core); `background` lowers their priority. Raises `ModelError`.
    """
    if name == DEFAULT_MODEL:
        from ragstone.embedding.minilm.model import load_minilm

        return load_minilm(cache_dir, threads=threads, background=background, device=device)
    raise ModelError(f"no embedding model is called {name}", hint=f"use {DEFAULT_MODEL}")
