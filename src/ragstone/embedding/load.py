"""From a model's name to an open embedder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ragstone.errors import ModelError

if TYPE_CHECKING:
    from ragstone.embedding.sessions import Device
    from ragstone.types import Embedder

DEFAULT_MODEL = "minilm"
MULTILINGUAL_MODEL = "multilingual"
HTTP_PREFIX = "openai:"


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

    `minilm` is the built-in model, `multilingual` that of the extra, `openai:<model>` one behind `base_url`. Else it is
    a folder with an ONNX encoder, or `owner/model` on the hub, fetched over the network when there is no such folder.
    `cache_dir` keeps what is made once; `threads` is for documents (None: one per physical core); `background` lowers
    their priority; `device` is for models on this machine. Raises `ModelError`.
    """
    if name == DEFAULT_MODEL:
        from ragstone.embedding.minilm.model import load_minilm

        return load_minilm(cache_dir, threads=threads, background=background, device=device)
    if name == MULTILINGUAL_MODEL:
        from ragstone.embedding.e5.model import load_e5

        return load_e5(cache_dir, threads=threads, background=background, device=device)
    if name.startswith(HTTP_PREFIX):
        from ragstone.embedding.minilm.model import wordpiece
        from ragstone.embedding.openai_http import HttpEmbedder

        if base_url is None:
            raise ModelError(
                f"the model {name} needs an endpoint",
                hint="set embedding_base_url, e.g. http://127.0.0.1:11434/v1",
            )
        model = name.removeprefix(HTTP_PREFIX)
        return HttpEmbedder(model, base_url=base_url, tokenizer=wordpiece(), api_key=api_key)
    from ragstone.embedding.onnx_folder import load_folder, local_folder

    folder, called = local_folder(name, cache_dir)
    return load_folder(folder, name=called, threads=threads, background=background, device=device)
