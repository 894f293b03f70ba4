"""Settings: every key is read from every source, the strongest source wins, and mistakes are named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr
from pydantic import ValidationError as PydanticError

from ragstone.errors import SettingsError
from ragstone.setting_sources import PREFIX, SUPERSEDED, WELL_KNOWN
from ragstone.settings import MASK, Settings

# One valid value other than the default for each setting, as text in the environment and as its type.
SAMPLES: dict[str, tuple[str, object]] = {
    "data_dir": ("/srv/ragstone", Path("/srv/ragstone")),
    "collection": ("papers", "papers"),
    "model": ("/models/e5", "/models/e5"),
    "model_threads": ("3", 3),
    "device": ("cpu", "cpu"),
    "embedding_base_url": ("http://localhost:11434/v1/", "http://localhost:11434/v1"),
    "embedding_api_key": ("k-1", SecretStr("k-1")),
    "reranker": ("/models/bge-reranker", "/models/bge-reranker"),
    "reranker_base_url": ("https://example.test/v1/", "https://example.test/v1"),
    "reranker_api_key": ("k-4", SecretStr("k-4")),
    "rerank_depth": ("50", 50),
    "rerank_timeout_s": ("2.5", 2.5),
    "chat_model": ("llama3", "llama3"),
    "chat_base_url": ("https://example.test/v1", "https://example.test/v1"),
    "chat_api_key": ("k-2", SecretStr("k-2")),
    "chat_organization": ("org-7", "org-7"),
    "chat_timeout_s": ("12.5", 12.5),
    "answer_k": ("7", 7),
    "max_context_length": ("4096", 4096),
    "prompt_templates": ("/srv/prompts", Path("/srv/prompts")),
    "answer_cache_s": ("60", 60.0),
    "enable_streaming": ("false", False),
    "top_k": ("25", 25),
    "recall": ("0.9", 0.9),
    "graph": ("false", False),
    "graph_extractor": ("llm", "llm"),
    "acronyms": ("false", False),
    "synonyms": ("/srv/synonyms.txt", Path("/srv/synonyms.txt")),
    "search_cache": ("500", 500),
    "search_processes": ("3", 3),
    "cache_redis_url": ("redis://localhost:6380/0", SecretStr("redis://localhost:6380/0")),
    "chunk_tokens": ("128", 128),
    "max_file_bytes": ("1000", 1000),
    "reader_workers": ("2", 2),
    "executor_workers": ("6", 6),
    "disable_sources": ("true", True),
    "memory_consolidation_threshold": ("0.9", 0.9),
    "memory_importance_decay_rate": ("0.2", 0.2),
    "memory_cleanup_interval": ("60.5", 60.5),
    "memory_enable_background_tasks": ("false", False),
    "memory_auto_consolidate": ("false", False),
    "memory_redis_url": ("redis://:k-3@localhost:6380/0", SecretStr("redis://:k-3@localhost:6380/0")),
    "host": ("::1", "::1"),
    "port": ("9001", 9001),
    "mcp_writes": ("true", True),
    "require_key": ("false", False),
    "allowed_hosts": ("docs.example.org, d", ("docs.example.org", "d")),
    "allowed_origins": ("https://example.org", ("https://example.org",)),
    "trusted_proxies": ("10.0.0.0/8,::1", ("10.0.0.0/8", "::1")),
    "rate_per_minute": ("90.5", 90.5),
    "rate_burst": ("7", 7),
    "rate_redis_url": ("redis://localhost:6380/1", SecretStr("redis://localhost:6380/1")),
    "request_timeout_s": ("2.5", 2.5),
    "enable_metrics": ("true", True),
    "warm_up": ("false", False),
    "max_upload_bytes": ("1000", 1000),
    "webhook_url": ("https://example.test/hook/", "https://example.test/hook/"),
    "webhook_secret": ("whsec_k", SecretStr("whsec_k")),
    "log_level": ("DEBUG", "debug"),
    "log_levels": ("server=debug,access=warning", ("server=debug", "access=warning")),
    "log_format": ("JSON", "json"),
    "log_output": ("stderr", "stderr"),
}
Load = Callable[..., Settings]
SECRETS = {
    "embedding_api_key": "sk-hush",
    "chat_api_key": "sk-hush",
    "reranker_api_key": "sk-hush",
    "webhook_secret": "sk-hush",
    "cache_redis_url": "redis://:sk-hush@localhost",
}


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """`Settings.load` in an empty home and working folder: `load(env={…}, dotenv="…", toml="…", arguments={…})`."""
    work = tmp_path / "work"
    work.mkdir()

    def load_settings(
        *,
        env: dict[str, str] | None = None,
        dotenv: str = "",
        toml: str = "",
        arguments: dict[str, object] | None = None,
    ) -> Settings:
        (work / ".env").write_text(dotenv)
        (work / "ragstone.toml").write_text(toml)
        environ = {"HOME": str(tmp_path)} | (env or {})
        return Settings.load(overrides=arguments, environ=environ, working_dir=work)

    return load_settings


def test_the_samples_cover_every_setting() -> None:
    assert set(SAMPLES) == set(Settings.model_fields)
    for name, (_, value) in SAMPLES.items():
        assert getattr(Settings(), name) != value, name


@pytest.mark.parametrize("name", SAMPLES)
def test_a_setting_is_read_from_the_environment(load: Load, name: str) -> None:
    text, value = SAMPLES[name]
    settings = load(env={PREFIX + name.upper(): text})
    assert getattr(settings, name) == value
    assert settings.origins[name] == f"environment variable {PREFIX}{name.upper()}"


@pytest.mark.parametrize("name", SAMPLES)
def test_a_setting_is_read_from_dotenv_with_its_line(load: Load, name: str) -> None:
    text, value = SAMPLES[name]
    settings = load(dotenv=f"# ours\nOTHER_PROGRAM=1\n{PREFIX}{name.upper()}='{text}'\n")
    assert getattr(settings, name) == value
    assert "/.env line 3" in settings.origins[name]


@pytest.mark.parametrize("name", SAMPLES)
def test_a_setting_is_read_from_the_file_in_its_own_type(load: Load, name: str) -> None:
    text, value = SAMPLES[name]
    bare = isinstance(value, bool | int | float)
    settings = load(toml=f"{name} = {text}" if bare else f'{name} = "{text}"')
    assert getattr(settings, name) == value
    assert settings.origins[name].endswith("/ragstone.toml")


@pytest.mark.parametrize("name", sorted(WELL_KNOWN))
def test_a_well_known_name_sets_what_it_says(load: Load, name: str) -> None:
    field = WELL_KNOWN[name]
    text, value = SAMPLES[field]
    settings = load(env={name: text})
    assert getattr(settings, field) == value
    assert settings.origins[field] == f"environment variable {name}"
    other = "minilm" if field == "model" else text
    assert getattr(load(env={name: "not used", PREFIX + field.upper(): other}), field) == (
        other if field == "model" else value
    )


@pytest.mark.parametrize("name", sorted(SUPERSEDED))
def test_a_name_of_an_earlier_service_works_and_says_what_it_is_called_now(
    load: Load, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    own = PREFIX + WELL_KNOWN[name].upper()
    text = SAMPLES[WELL_KNOWN[name]][0]
    load(dotenv=f"{name}='{text}'")
    assert f"{name} is deprecated, its new name is {own}" in caplog.text
    caplog.clear()
    load(env={own: text, name: text})  # it already has its new name
    assert not caplog.records


def test_what_nothing_reads_any_more_is_said(load: Load, caplog: pytest.LogCaptureFixture) -> None:
    load(dotenv="OTHER=1\nFAISS_INDEX_PATH=index.faiss\n")
    assert "FAISS_INDEX_PATH is not read any more" in caplog.text
    assert "line 2" in caplog.text
    assert "ragstone import faiss" in caplog.text
    load(env={"RELOAD": "false"})
    assert "RELOAD is not read any more" in caplog.text


def test_the_strongest_source_wins_key_by_key(load: Load) -> None:
    toml = "port = 1\ntop_k = 11\nanswer_k = 6\nreader_workers = 9"
    dotenv = "RAGSTONE_PORT=2\nRAGSTONE_TOP_K=12\nRAGSTONE_ANSWER_K=7\n"
    env = {"RAGSTONE_PORT": "3", "RAGSTONE_TOP_K": "13"}
    settings = load(toml=toml, dotenv=dotenv, env=env, arguments={"port": 4, "top_k": None})
    assert (settings.port, settings.top_k, settings.answer_k, settings.reader_workers) == (4, 13, 7, 9)
    assert settings.origins["port"] == "argument"
    assert settings.origins["host"] == "default"


def test_an_empty_variable_counts_as_unset(load: Load) -> None:
    assert load(env={"RAGSTONE_PORT": "", "PORT": "", "OPENAI_MODEL": ""}) == load()


@pytest.mark.parametrize(
    ("given", "model"),
    [("english", "minilm"), ("Multilingual", "multilingual"), ("/Models/E5", "/Models/E5")],
)
def test_an_earlier_services_names_of_models_are_known(load: Load, given: str, model: str) -> None:
    assert load(env={"RAG_MODEL": given}).model == model
    assert load(toml=f"model = '{given}'").model == model


@pytest.mark.parametrize(
    ("sources", "named", "suggested"),
    [
        ({"env": {"RAGSTONE_PROT": "1"}}, "environment variable RAGSTONE_PROT", "RAGSTONE_PORT"),
        ({"env": {"ragstone_port": "1"}}, "environment variable ragstone_port", "RAGSTONE_PORT"),
        ({"dotenv": "A=1\nRAGSTONE_CHATMODEL=x"}, ".env line 2", "RAGSTONE_CHAT_MODEL"),
        ({"toml": "colection = 'x'"}, "ragstone.toml", "collection"),
        ({"toml": "[port]\nnumber = 1\n[top]\nk = 1"}, "ragstone.toml", ""),
        ({"arguments": {"topk": 3}}, "an argument", "top_k"),
        ({"env": {"RAGSTONE_QQQQ": "1"}}, "RAGSTONE_QQQQ", "config show"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_and_its_place(
    load: Load, sources: dict[str, object], named: str, suggested: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        load(**sources)
    assert named in caught.value.message
    assert suggested in caught.value.hint


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        ({"env": {"RAGSTONE_PORT": "eight"}}, ["port = 'eight'", "integer", "variable RAGSTONE_PORT"]),
        ({"env": {"RAGSTONE_PORT": "65536"}}, ["port = '65536'", "65535"]),
        ({"env": {"PORT": "tcp://10.0.0.1:80"}}, ["port", "variable PORT"]),
        ({"toml": "top_k = true"}, ["top_k = True", "true or false", "ragstone.toml"]),
        ({"toml": "top_k = 2.5"}, ["top_k = 2.5", "ragstone.toml"]),
        ({"toml": "model = ['a']"}, ["model = ['a']", "string"]),
        ({"toml": "chunk_tokens = 1"}, ["chunk_tokens = 1", "32"]),
        ({"dotenv": "RAGSTONE_DEVICE=tpu"}, ["device = 'tpu'", "'cuda'", ".env line 1"]),
        ({"env": {"RAGSTONE_CHAT_BASE_URL": "ftp://x"}}, ["chat_base_url = 'ftp://x'", "http://"]),
        ({"env": {"RAGSTONE_CHAT_BASE_URL": "http://[x"}}, ["chat_base_url"]),
        ({"env": {"RAGSTONE_COLLECTION": "../up"}}, ["collection = '../up'"]),
        ({"env": {"RAGSTONE_CHAT_TIMEOUT_S": "nan"}}, ["chat_timeout_s = 'nan'"]),
        ({"arguments": {"answer_k": 99}}, ["answer_k = 99", "argument"]),
    ],
)
def test_a_bad_value_is_named_with_its_key_and_place(
    load: Load, sources: dict[str, object], expected: list[str]
) -> None:
    with pytest.raises(SettingsError) as caught:
        load(**sources)
    for part in expected:
        assert part in caught.value.message
    assert caught.value.hint


def test_the_name_that_would_win_is_told_when_a_well_known_one_is_wrong(load: Load) -> None:
    with pytest.raises(SettingsError) as caught:
        load(env={"LOG_LEVEL": "trace"})
    assert "RAGSTONE_LOG_LEVEL" in caught.value.hint
    assert load(env={"LOG_LEVEL": "trace", "RAGSTONE_LOG_LEVEL": "info"}).log_level == "info"


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_is_never_shown(load: Load, name: str) -> None:
    settings = load(env={PREFIX + name.upper(): SECRETS[name]})
    shown = [
        repr(settings),
        str(settings),
        str(settings.shown()),
        settings.model_dump_json(),
        str(settings.origins),
    ]
    assert not any("hush" in text for text in shown)
    assert settings.shown()[name] == MASK
    assert getattr(settings, name).get_secret_value() == SECRETS[name]
    with pytest.raises(SettingsError) as caught:
        load(toml=f'{name} = ["sk-hush"]')
    assert "hush" not in str(caught.value)


def test_a_password_in_an_address_is_refused_without_being_shown(load: Load) -> None:
    with pytest.raises(SettingsError) as caught:
        load(env={"RAGSTONE_CHAT_BASE_URL": "https://me:hush@example.test/v1"})
    assert "hush" not in str(caught.value)
    assert "password" in caught.value.message


@pytest.mark.parametrize(
    ("text", "expected"), [("port 8000", "is not TOML"), ("port = 1\nport = 2", "is not TOML")]
)
def test_a_file_that_is_not_toml_is_named(load: Load, text: str, expected: str) -> None:
    with pytest.raises(SettingsError, match=expected):
        load(toml=text)


def test_a_dotenv_line_that_is_no_assignment_is_named(load: Load) -> None:
    with pytest.raises(SettingsError, match=r"\.env line 2"):
        load(dotenv="A=1\n'B\n")


def test_a_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "ragstone.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match="cannot be read"):
        Settings.load(environ={}, working_dir=tmp_path)


def test_the_named_file_wins_over_the_folders_and_the_folders_over_the_users(tmp_path: Path) -> None:
    work, home = tmp_path / "work", tmp_path / "home"
    (home / ".config" / "ragstone").mkdir(parents=True)
    work.mkdir()
    environ = {"HOME": str(home)}

    def port(config_file: str | None = None) -> int:
        return Settings.load(config_file, environ=environ, working_dir=work).port

    assert port() == 8000
    (home / ".config" / "ragstone" / "config.toml").write_text("port = 1")
    assert port() == 1
    (work / "ragstone.toml").write_text("port = 2")
    assert port() == 2
    (work / "named.toml").write_text("port = 3")
    assert port("named.toml") == 3
    with pytest.raises(SettingsError, match=r"no configuration file at .*absent\.toml"):
        port("absent.toml")


def test_data_lives_in_the_users_data_folder_by_default(tmp_path: Path) -> None:
    def data_dir(**environ: str) -> Path:
        return Settings.load(environ=environ, working_dir=tmp_path).data_dir

    assert data_dir(HOME="/home/ann") == Path("/home/ann/.local/share/ragstone")
    assert data_dir(HOME="/home/ann", XDG_DATA_HOME="/data") == Path("/data/ragstone")
    assert data_dir(HOME="/home/ann", XDG_DATA_HOME="relative") == Path("/home/ann/.local/share/ragstone")


def test_a_data_folder_named_in_a_file_is_relative_to_that_file(tmp_path: Path) -> None:
    config = tmp_path / "etc" / "mine.toml"
    config.parent.mkdir()
    config.write_text('data_dir = "store"')
    settings = Settings.load(config, environ={}, working_dir=tmp_path)
    assert settings.data_dir == tmp_path / "etc" / "store"


def test_settings_cannot_be_changed_after_loading(load: Load) -> None:
    with pytest.raises(PydanticError, match="frozen"):
        load().port = 1


def test_every_setting_says_what_it_is() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert len(field.description) <= 100, name
