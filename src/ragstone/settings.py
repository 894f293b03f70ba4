"""Every setting, its range, and where its value came from.

Precedence: arguments > environment > `.env` > configuration file (TOML) > default. The environment's names
are the settings' own in capitals after `RAGSTONE_`; a few well-known names (`OPENAI_API_KEY`, `PORT`, …) are
read too. An unknown name after our prefix, or in the file, is an error that names the nearest real one.

Only the engine and the edges read it: domain code takes plain arguments.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SecretStr, ValidationError, field_validator

from ragstone.errors import SettingsError
from ragstone.index.plans import USUAL_RECALL
from ragstone.setting_sources import PREFIX, SUPERSEDED, WELL_KNOWN, Found, every_source, xdg_folder
from ragstone.setting_values import (
    Endpoint,
    FullPath,
    Listed,
    LogFormat,
    LogLevel,
    LogLevels,
    LogOutput,
    ModelName,
    Networks,
    Origins,
    RedisUrl,
    WebhookUrl,
)

logger = logging.getLogger("ragstone")

MASK = "********"


class Settings(BaseModel):
    """What a user may set. Immutable; `Settings()` takes defaults and reads nothing, `Settings.load()` reads."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    data_dir: FullPath = Field(
        default_factory=lambda: xdg_folder("XDG_DATA_HOME", ".local/share", os.environ),
        description="folder of collections, the prepared model and logs",
    )
    collection: str = Field(
        default="default",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",  # a folder name on every file system
        description="collection that commands work on",
    )

    model: ModelName = Field(
        default="minilm",
        min_length=1,
        description="embedding model: minilm (built in), multilingual, an ONNX folder, a hub name, or openai:<model>",
    )
    model_threads: int | None = Field(
        default=None,
        ge=1,
        le=256,
        description="threads that embed while indexing; unset: one per physical core",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto",
        description="where the embedding model runs; auto takes a GPU when ONNX Runtime can use one",
    )
    embedding_base_url: Endpoint | None = Field(
        default=None, description="OpenAI-compatible endpoint for model=openai:<model>, ending in /v1"
    )
    embedding_api_key: SecretStr | None = Field(default=None, description="key for embedding_base_url")

    reranker: str | None = Field(
        default=None,
        min_length=1,
        description="judge of the best hits: an ONNX cross-encoder's folder, a hub name, or reranker_base_url's model",
    )
    reranker_base_url: Endpoint | None = Field(
        default=None,
        description="endpoint of the reranker in Jina's and Cohere's form, ending before /rerank",
    )
    reranker_api_key: SecretStr | None = Field(default=None, description="key for reranker_base_url")
    # 10 and 20 gain the same with a small model (LAB, "Rerankers"), and each costs its share of time or money.
    rerank_depth: int = Field(
        default=20, ge=2, le=1000, description="hits of a search that the reranker judges"
    )
    # 20 passages take a small model half a second on two cores and a large one several; who waits longer has given up.
    rerank_timeout_s: float = Field(
        default=5.0, gt=0, le=600, description="seconds until a search answers without its reranker"
    )

    chat_model: str | None = Field(
        default=None,
        min_length=1,
        description="model that writes answers; unset: quoted sentences, nothing is sent",
    )
    chat_base_url: Endpoint | None = Field(
        default=None,
        description="OpenAI-compatible endpoint of chat_model, ending in /v1; unset: OpenAI's own",
    )
    chat_api_key: SecretStr | None = Field(default=None, description="key for chat_base_url")
    chat_organization: str | None = Field(
        default=None, description="organization sent with each chat request"
    )
    # 60 s: what people wait for a whole answer; a local model on a slow machine may need more.
    chat_timeout_s: float = Field(
        default=60.0, gt=0, le=3600, description="seconds an answer may take in all"
    )
    answer_k: int = Field(default=4, ge=1, le=10, description="chunks an answer may draw on")
    max_context_length: int = Field(
        default=8000, ge=256, le=1_000_000, description="tokens of sources and history in one chat request"
    )
    prompt_templates: FullPath | None = Field(
        default=None, description="folder of prompt templates (fact.txt, system.txt …), or one file for all"
    )
    # 3,600 s as the service of old kept them. A kept answer's chunks are those of now: only the wording ages.
    answer_cache_s: float = Field(
        default=3600.0,
        ge=0,
        le=30 * 86_400,
        description="seconds a chat model's answer is kept for the same question over the same chunks; 0: not at all",
    )
    enable_streaming: bool = Field(default=True, description="show an answer while it is written")

    top_k: int = Field(default=10, ge=1, le=100, description="hits a search returns")

    recall: float = Field(
        default=USUAL_RECALL,
        gt=0,
        le=1,
        description="share of the true nearest chunks that an approximate index has to find; 1 searches exactly",
    )

    graph: bool = Field(
        default=True,
        description="whether hybrid search also follows the names of documents in query and passages",
    )
    graph_extractor: Literal["titles", "llm"] = Field(
        default="titles",
        description="where documents have their names from: their titles, or also chat_model, asked about each once",
    )
    acronyms: bool = Field(
        default=True,
        description="whether a query with an acronym also finds what the documents say it stands for, and the reverse",
    )
    synonyms: FullPath | None = Field(
        default=None, description="file of words that mean the same, one line each: car = automobile, vehicle"
    )
    # 0: a search takes 2 to 5 ms, a kept one .03; it gains where many clients send the same queries.
    search_cache: int = Field(
        default=0, ge=0, le=100_000, description="search results kept until somebody commits; 0: none"
    )
    cache_redis_url: RedisUrl | None = Field(
        default=None,
        description="Redis that several processes share answers and embeddings through; redis+cluster:// for a cluster",
    )

    chunk_tokens: int | None = Field(
        default=None,
        ge=32,
        le=8192,
        description="longest chunk in tokens; unset: what the embedding model reads",
    )
    max_file_bytes: int = Field(
        default=50_000_000, ge=1, le=1 << 34, description="larger files are reported as too_large, not read"
    )
    reader_workers: int = Field(default=1, ge=1, le=32, description="processes that read documents")

    executor_workers: int | None = Field(
        default=None,
        ge=1,
        le=256,
        description="sources asked at once by prefetch_all_rag_data; unset: 4, or one per source",
    )
    disable_sources: bool = Field(
        default=False, description="let prefetch_all_rag_data ask no source and say so"
    )

    # Document 003's numbers; `[memory]` in the file may hold them without the prefix, as it prints them.
    memory_consolidation_threshold: float = Field(
        default=0.75, ge=0, le=1, description="relevance from which a memory goes a tier up"
    )
    memory_importance_decay_rate: float = Field(
        default=0.1, ge=0, le=100, description="share of a memory's recency that a day takes"
    )
    memory_cleanup_interval: float = Field(
        default=300.0, gt=0, le=86_400, description="seconds between two clean-ups of expired memories"
    )
    memory_enable_background_tasks: bool = Field(
        default=True, description="clean up and consolidate memories while a program has them open"
    )
    memory_auto_consolidate: bool = Field(
        default=True, description="let the background tasks, and chat --memory, consolidate too"
    )
    memory_redis_url: SecretStr | None = Field(
        default=None, description="Redis that holds memories for several machines; without it this one's disk"
    )

    host: str = Field(default="127.0.0.1", min_length=1, description="address that serve listens on")
    port: int = Field(default=8000, ge=0, le=65535, description="port that serve listens on; 0: any free one")
    mcp_writes: bool = Field(
        default=False,
        description="let clients of the Model Context Protocol add and delete documents and memories",
    )
    require_key: bool = Field(
        default=True,
        description="once a key was made, whether requests from this machine need one too",
    )
    allowed_hosts: Listed = Field(
        default=(), description="further names that serve answers to, as in the address bar: docs.example.org"
    )
    allowed_origins: Origins = Field(
        default=(), description="sites whose pages may use the service (CORS): https://example.org"
    )
    trusted_proxies: Networks = Field(
        default=(), description="addresses or networks of proxies whose X-Forwarded-For is believed"
    )
    # An answer costs 10: with 600 these are the 60 questions a minute of the service of old. The page searches while
    # one types, five times a second at most, which a burst of 120 allows for half a minute.
    rate_per_minute: float = Field(
        default=600.0,
        ge=0,
        le=1_000_000,
        description="requests a minute for each key, an answer counting as 10; 0: any number",
    )
    rate_burst: int = Field(
        default=120, ge=1, le=1_000_000, description="requests that may be saved up and sent at once"
    )
    rate_redis_url: RedisUrl | None = Field(
        default=None,
        description="Redis that several services count requests on; unset: cache_redis_url, if set",
    )
    # The reference's limit of a stream.
    request_timeout_s: float = Field(
        default=60.0, gt=0, le=3600, description="seconds after which serve gives up a request"
    )
    # 115 MB each; what they give is in LAB, "Searches in processes of their own".
    search_processes: int | None = Field(
        default=None,
        ge=0,
        le=64,
        description="processes that search for serve; 0: threads; unset: one a core where others can reach it, else 0",
    )
    enable_metrics: bool = Field(default=False, description="serve figures for Prometheus at /metrics")
    warm_up: bool = Field(
        default=True, description="load model and index when serve starts, not with the first request"
    )
    # 500 MB: ten files of the largest size that is read.
    max_upload_bytes: int = Field(
        default=500_000_000, ge=1, le=1 << 40, description="largest upload, all its files together"
    )
    webhook_url: WebhookUrl | None = Field(
        default=None, description="address that serve posts to when a job or an answer has ended"
    )
    webhook_secret: SecretStr | None = Field(
        default=None, description="key that webhooks are signed with, as Standard Webhooks has it (whsec_…)"
    )
    log_level: LogLevel = Field(default="info", description="least level written to <data_dir>/logs")
    log_levels: LogLevels = Field(
        default=(), description="other levels for components: server=debug,access=warning"
    )
    log_format: LogFormat = Field(default="text", description="form of log lines")
    log_output: LogOutput = Field(
        default="file",
        description="where log lines go: <data_dir>/logs, or standard error as containers want it",
    )

    _origins: dict[str, str] = PrivateAttr(default_factory=dict)

    @field_validator("*", mode="before")
    @classmethod
    def _no_number_from_bool(cls, value: object, info: Any) -> object:
        if isinstance(value, bool) and cls.model_fields[info.field_name].annotation is not bool:
            raise ValueError("is true or false, which this setting is not")  # pydantic would read 1 or 0
        return value

    @property
    def origins(self) -> Mapping[str, str]:
        """Setting → where its value came from, in words; `default` for the rest."""
        return {name: self._origins.get(name, "default") for name in type(self).model_fields}

    def shown(self) -> dict[str, str | int | float | bool | None]:
        """Setting → value for people, secrets masked."""
        return {name: _shown(getattr(self, name)) for name in type(self).model_fields}

    @classmethod
    def load(
        cls,
        config_file: str | Path | None = None,
        overrides: Mapping[str, object] | None = None,
        *,
        environ: Mapping[str, str] | None = None,
        working_dir: str | Path | None = None,
    ) -> Settings:
        """Settings from every source. `overrides` are arguments by setting name; None there means not given.

        `environ` and `working_dir` default to the process's own. Raises `SettingsError` for an unknown
        name, a value of the wrong type or out of range (with the value and where it was found), and for a
        file that cannot be read.
        """
        environ = os.environ if environ is None else environ
        working_dir = Path.cwd() if working_dir is None else Path(working_dir)
        found: dict[str, Found] = {}
        for item in every_source(config_file, overrides or {}, environ, working_dir, fields=cls.model_fields):
            found.setdefault(item.field, item)  # sources come strongest first
        values = {name: item.value for name, item in found.items()}
        values.setdefault("data_dir", xdg_folder("XDG_DATA_HOME", ".local/share", environ))
        try:
            settings = cls.model_validate(values)
        except ValidationError as error:
            raise _value_error(error, found) from error
        settings._origins.update({name: item.origin for name, item in found.items()})
        for item in found.values():
            if item.name in SUPERSEDED:
                own = PREFIX + item.field.upper()
                logger.warning(
                    "%s is deprecated, its new name is %s (found: %s)", item.name, own, item.origin
                )
        return settings


def _value_error(error: ValidationError, found: Mapping[str, Found]) -> SettingsError:
    """The first fault, with the setting, its value (unless secret) and where that stood."""
    fault = error.errors(include_url=False, include_context=False)[0]
    field = str(fault["loc"][0])
    item = found[field]
    secret = "SecretStr" in str(Settings.model_fields[field].annotation)
    value = MASK if secret or ("://" in str(item.value) and "@" in str(item.value)) else repr(item.value)
    reason = fault["msg"].removeprefix("Value error, ")
    own = PREFIX + field.upper()
    hint = f"{field}: {Settings.model_fields[field].description}"
    if item.name in WELL_KNOWN:
        hint += f"; {own} wins over {item.name} if that is meant for another program"
    return SettingsError(f"{field} = {value}: {_lower_first(reason)} (found: {item.origin})", hint=hint)


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]


def _shown(value: object) -> str | int | float | bool | None:
    if isinstance(value, SecretStr):
        return MASK
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, tuple):
        return ",".join(value)
    return str(value)
