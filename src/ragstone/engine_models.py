"""What settings name beside collections: the models, the words put to them, and the user's synonyms.

Each is loaded by the first call that needs it, once, and kept; what a caller brings takes its place.
"""

from __future__ import annotations

import threading
from pathlib import Path

from ragstone.answering.chat_model import ChatModel, OpenAIChatModel
from ragstone.answering.templates import BUILT_IN, Templates, load_templates
from ragstone.embedding import load_embedder
from ragstone.errors import InputError, engine_closed
from ragstone.reranking import TimelyReranker, load_reranker
from ragstone.settings import Settings
from ragstone.store.analysis import analyse
from ragstone.types import Embedder, Reranker
from ragstone.vocabulary.synonyms import NO_SYNONYMS, Synonyms, load_synonyms

OPENAI_BASE_URL = "https://api.openai.com/v1"  # used only where the user named a model and no endpoint


class EngineModels:
    """The models of one engine. Thread-safe."""

    def __init__(
        self,
        settings: Settings,
        *,
        embedder: Embedder | None = None,
        chat_model: ChatModel | None = None,
        reranker: Reranker | None = None,
    ) -> None:
        """Models given are used in place of those that `settings` name, and stay their owner's to close."""
        self._settings = settings
        self._given_embedder = embedder
        self._given_reranker = reranker
        self._embedder = embedder
        self._chat_model = chat_model
        self._reranker: TimelyReranker | None = None
        self._templates: Templates | None = None
        self._synonyms: Synonyms | None = None
        self._loading = threading.RLock()
        self._closed = False

    @property
    def loaded_embedder(self) -> Embedder | None:
        """The embedding model, if something has needed it by now."""
        return self._embedder

    def embedder(self) -> Embedder:
        """The embedding model. Raises `ModelError`, `InputError` after `close`."""
        with self._loading:
            self._require_open()
            if self._embedder is None:
                settings = self._settings
                key = settings.embedding_api_key
                self._embedder = load_embedder(
                    settings.model,
                    cache_dir=settings.data_dir / "models",
                    threads=settings.model_threads,
                    background=True,  # documents yield to queries: searching stays fast while indexing (T10)
                    device=settings.device,
                    base_url=settings.embedding_base_url,
                    api_key=key.get_secret_value() if key else None,
                )
            return self._embedder

    @property
    def has_reranker(self) -> bool:
        """Whether one is set or was given."""
        named = self._settings.reranker or self._settings.reranker_base_url
        return self._given_reranker is not None or named is not None

    def rerank_depth(self, *, wanted: bool | None) -> int:
        """How many hits of a search the reranker judges. Raises `InputError` where one is wanted and there is none."""
        if wanted and not self.has_reranker:
            raise InputError("there is no reranker", hint="set reranker, or search without rerank")
        return self._settings.rerank_depth if self.has_reranker and wanted is not False else 0

    def reranker(self) -> Reranker:
        """The reranker, which keeps to its time; there has to be one. Raises as `embedder`."""
        with self._loading:
            self._require_open()
            if self._reranker is None:
                settings = self._settings
                key = settings.reranker_api_key
                reranker = self._given_reranker or load_reranker(
                    settings.reranker or "",
                    cache_dir=settings.data_dir / "models",
                    base_url=settings.reranker_base_url,
                    api_key=key.get_secret_value() if key else None,
                    timeout_s=settings.rerank_timeout_s,
                    device=settings.device,
                )
                self._reranker = TimelyReranker(reranker, timeout_s=settings.rerank_timeout_s)
            return self._reranker

    def chat_model(self) -> ChatModel | None:
        """The model that writes answers; None: they are quoted."""
        with self._loading:
            settings = self._settings
            if self._chat_model is None and settings.chat_model is not None:
                key = settings.chat_api_key
                self._chat_model = OpenAIChatModel(
                    base_url=settings.chat_base_url or OPENAI_BASE_URL,
                    model=settings.chat_model,
                    api_key=key.get_secret_value() if key else "",
                    organization=settings.chat_organization or "",
                )
            return self._chat_model

    def namer(self) -> ChatModel:
        """The chat model, to say what documents are about. Raises `InputError` where none is set."""
        model = self.chat_model()
        if model is None:
            raise InputError(
                "names are to be found by a chat model, and none is set",
                hint="set chat_model (and chat_base_url), or leave the names to titles",
            )
        return model

    def templates(self) -> Templates:
        """What a chat model is told. Raises `SettingsError` for a file that is not such."""
        with self._loading:
            if self._templates is None:
                path = self._settings.prompt_templates
                self._templates = BUILT_IN if path is None else load_templates(path)
            return self._templates

    def synonyms(self) -> Synonyms:
        """The user's table. Raises `SettingsError` for a file that is not one."""
        with self._loading:
            if self._synonyms is None:
                path = self._settings.synonyms
                self._synonyms = NO_SYNONYMS if path is None else load_synonyms(path, analyse)
            return self._synonyms

    def close(self) -> None:
        """Let go of what was loaded here; no model can be loaded afterwards."""
        with self._loading:
            self._closed = True
            if self._reranker is not None:
                self._reranker.close(with_reranker=self._given_reranker is None)
            if self._embedder is not None and self._given_embedder is None:
                self._embedder.close()
                self._embedder = None

    def _require_open(self) -> None:
        if self._closed:
            raise engine_closed()


def model_name(settings: Settings) -> str:
    """What the embedding model is called in settings; of one in a folder the folder's name."""
    return Path(settings.model).name if settings.model[0] in "/.~" else settings.model
