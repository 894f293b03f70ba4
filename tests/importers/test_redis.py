"""Documents that other tools keep in a Redis come over whole, ranked as before, and the server is only read."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from socketserver import StreamRequestHandler, TCPServer
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis import Redis

from cli.shells import Shell
from hashing_embedder import HashingEmbedder
from importers.foreign_stores import Entry, entries_of, vectors_of
from importers.imports import assert_same_ranking, engine_at, imported, records_of, scores_of
from importers.redis_stores import WRITERS, write_langchain_community, write_memories, write_redisvl
from importers.test_rollback import tree
from ragstone.cli.importing import _format_and_place
from ragstone.errors import InputError, NotFoundError, SettingsError, StoreError
from ragstone.importers import redis_keys
from ragstone.importers.records import ForeignStore, Losses, Record
from ragstone.importers.redis_keys import Key, connected, server_at
from ragstone.importers.redis_store import open_redis
from ragstone.importers.rollback import roll_back
from ragstone.importers.run import Options
from redis_server import HOST, RedisServer

CHILD = Path(__file__).with_name("redis_child.py")
READING = {
    "scan",
    "type",
    "memory|usage",
    "hgetall",
    "get",
    "info",
    "hello",
    "client|setinfo",
    "select",
    "auth",
}
SECRET = "p@ss/word#7"  # noqa: S105


def everything(client: Redis) -> dict[bytes, Any]:
    """Every key with its serialised value."""
    return {name: client.dump(name) for name in client.scan_iter()}


def read_all(store: ForeignStore) -> tuple[list[Record], Losses]:
    """Its records, and what was lost on the way."""
    losses = Losses()
    return list(store.read(losses)), losses


@pytest.mark.parametrize("tool", WRITERS)
def test_what_a_tool_wrote_comes_over_whole_and_ranks_as_before(
    tool: str, redis_server: RedisServer, tmp_path: Path
) -> None:
    client = redis_server.client()
    WRITERS[tool](client, entries_of(40), vectors_of(40))
    before = everything(client)
    embedder = HashingEmbedder()
    with engine_at(tmp_path, embedder=embedder) as engine:
        store = open_redis(redis_server.url)
        report = imported(engine, store, tmp_path).report
        assert (report.added, report.left_out, report.dim) == (40, (), 16)
        assert embedder.embedded == []
        uris, rows = records_of(store)
        queries = vectors_of(50, seed=1)
        assert_same_ranking(engine, uris, queries, scores_of(queries, rows, "cosine"))
        (hit,) = engine.search("any", mode="dense", vector=vectors_of(40)[7], top_k=1).hits
        assert (hit.text, hit.metadata["author"]) == ("text number 7 about ferries", "Lindqvist")
        assert hit.metadata["page"] == 8  # LangChain's loaders count from 0
        assert hit.uri == f"docs/1.pdf#{hit.metadata['imported_id']}"
        assert str(hit.metadata["imported_id"]).encode() in before
        assert np.isclose(hit.score, 1, atol=1e-3)  # 1e-3: half precision
        assert imported(engine, store, tmp_path).report.unchanged == 40
        assert engine.verify().ok
        done = roll_back(engine, data_dir=tmp_path, source=redis_server.url)
        assert (done.documents, done.collection_removed, done.source_intact) == (40, True, None)
    assert everything(client) == before


def test_numbers_in_the_metadata_stay_numbers_where_the_tool_kept_them(redis_server: RedisServer) -> None:
    entries: list[Entry] = [("a", "text", {"year": 1987, "tags": ["x", "y"]})]
    for tool in ("langchain-redis", "llamaindex", "memories"):
        client = redis_server.client()
        client.flushdb()
        WRITERS[tool](client, [(id_, text, {"year": 1987}) for id_, text, _ in entries], vectors_of(1))
        ((record,), losses) = read_all(open_redis(redis_server.url))
        assert record.metadata["year"] == 1987
        assert "None" not in record.metadata.values()
        assert not any(name.startswith("_") for name in record.metadata)
        assert losses.parts.get("relationships between nodes (previous, next, parent, child)", 0) == (
            tool == "llamaindex"
        )


def test_only_reading_commands_are_sent_and_nothing_is_written_on_the_server(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    client = redis_server.client()
    write_langchain_community(client, entries_of(1_200), vectors_of(1_200))
    write_memories(client, entries_of(50), vectors_of(50))
    client.config_resetstat()
    changes: Any = client.info("persistence")
    with engine_at(tmp_path) as engine:
        store = open_redis(redis_server.url, prefix="doc:")
        assert imported(engine, store, tmp_path, Options(shadow=5)).report.added == 1_200
    sent: Any = client.info("commandstats")
    assert {name.removeprefix("cmdstat_") for name in sent} - {"config|resetstat"} <= READING
    after: Any = client.info("persistence")
    assert after["rdb_changes_since_last_save"] == changes["rdb_changes_since_last_save"]


def test_a_user_who_may_only_read_is_enough_and_the_password_is_written_nowhere(
    shell: Shell, redis_server: RedisServer
) -> None:
    client = redis_server.client()
    write_langchain_community(client, entries_of(5), vectors_of(5))
    client.acl_setuser(
        "reader",
        enabled=True,
        passwords=[f"+{SECRET}"],
        keys=["doc:*"],
        categories=["+@read", "+@connection"],
        commands=["+memory|usage"],
    )
    client.config_set("requirepass", "another")
    host = f"{HOST}:{redis_server.port}"
    url = f"redis://reader:{quote(SECRET, safe='')}@{host}/0"
    done = shell.run("import", "redis", url, "--prefix", "doc:papers:", "--json")
    assert (done.status, done.json["added"]) == (0, 5)
    assert done.json["source"] == f"redis://{host}/0#doc:papers:"
    assert any("may not run INFO" in note for note in done.json["notes"])
    in_environment = shell.run(
        "import", f"redis://reader@{host}", "--prefix", "doc:papers:", env={"REDISCLI_AUTH": SECRET}
    )
    assert (in_environment.status, in_environment.out.split(" · ")[0]) == (0, "0 imported, 5 unchanged")
    listed = shell.run("list", "--json").out
    undone = shell.run("rollback", f"{url}#doc:papers:")
    assert undone.status == 0
    assert undone.out.splitlines()[1] == f"redis://{host}/0#doc:papers: was only read"
    said = [done.out, done.err, in_environment.out, in_environment.err, listed, undone.out, undone.err]
    written = [path.read_bytes() for path in shell.data_dir.rglob("*") if path.is_file()]
    for form in (SECRET, quote(SECRET, safe="")):
        assert not any(form in text for text in said)
        assert not any(form.encode() in content for content in written)


def test_a_prefix_is_no_pattern(redis_server: RedisServer) -> None:
    client = redis_server.client()
    for prefix in ("a*[b]?\\", "axb:", "a*"):
        client.hset(f"{prefix}1", mapping={"text": prefix})
    (records, _) = read_all(open_redis(redis_server.url, prefix="a*[b]?\\"))
    assert [record.id for record in records] == ["a*[b]?\\1"]


def test_every_key_is_read_once_while_the_server_resizes_its_table(redis_server: RedisServer) -> None:
    client = redis_server.client()
    write_langchain_community(client, entries_of(3_000), vectors_of(3_000))
    store = open_redis(redis_server.url, prefix="doc:")
    found: list[str] = []
    for number, record in enumerate(store.read(Losses())):
        found.append(record.id)
        if number % 100 == 0:  # others write and delete meanwhile: the table grows and shrinks
            client.mset({f"other:{number}:{n}": n for n in range(500)})
            client.delete(*(f"other:{number}:{n}" for n in range(400)))
    assert sorted(found) == sorted(f"doc:papers:node-{n}" for n in range(3_000))


class _Repeating(Redis):
    """Gives keys again that an earlier SCAN gave, as a server may that shrinks its table in between."""

    earlier: Any = ()

    def scan(self, *arguments: Any, **options: Any) -> Any:
        cursor, found = super().scan(*arguments, **options)
        given, self.earlier = [*self.earlier, *found], found
        return cursor, given


def test_a_key_that_scan_gives_again_is_read_once(redis_server: RedisServer) -> None:
    write_langchain_community(redis_server.client(), entries_of(1_200), vectors_of(1_200))
    with _Repeating(host=HOST, port=redis_server.port) as client:
        names = [key.name for key in redis_keys.keys(client, "doc:")]
    assert len(names) == len(set(names)) == 1_200


@given(st.lists(st.integers(0, 12 << 20), max_size=40))
def test_values_are_asked_for_in_parts_of_8_mib_or_of_one_value(sizes: list[int]) -> None:
    found = [(b"%d" % number, "hash", size) for number, size in enumerate(sizes)]
    parts = list(redis_keys._parts(found))
    assert [one for part in parts for one in part] == found
    assert all(len(part) == 1 or sum(size for _, _, size in part) <= 8 << 20 for part in parts)
    for part, following in pairwise(parts):  # and none could take in the next
        assert sum(size for _, _, size in part) + following[0][2] > 8 << 20


def test_a_value_beyond_the_limit_is_left_out_and_not_asked_for(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = redis_server.client()
    write_langchain_community(client, entries_of(100), vectors_of(100))
    client.hset("doc:papers:huge", mapping={"content": "x" * 100_000})
    monkeypatch.setattr(redis_keys, "VALUE_BYTES_MAX", 50_000)
    client.config_resetstat()
    records, losses = read_all(open_redis(redis_server.url, prefix="doc:"))
    assert len(records) == 100
    ((id_, reason),) = [(left.id, left.reason) for left in losses.records]
    assert id_ == "doc:papers:huge"
    assert re.fullmatch(r"it takes 1\d\d,\d{3} bytes, the limit is 50,000", reason)
    sent: Any = client.info("commandstats")
    assert (
        sent["cmdstat_hgetall"]["calls"] == 200
    )  # for the sample, and for the records; the huge one is not asked for


def test_what_cannot_come_over_is_said(redis_server: RedisServer, tmp_path: Path) -> None:
    client, rows = redis_server.client(), vectors_of(3)
    write_redisvl(client, entries_of(3), rows)
    client.rpush("rvl:list", "a")
    client.set("rvl:word", "hello")
    client.set("rvl:number", "7")
    client.hset("rvl:no-text", mapping={"title": "a"})
    client.hset("rvl:empty", mapping={"text": " ", "embedding": rows[0].astype("f2").tobytes()})
    client.hset("rvl:no-vector", mapping={"text": "a"})
    client.hset("rvl:short", mapping={"text": "a", "embedding": rows[0][:8].astype("f2").tobytes()})
    client.hset("rvl:odd", mapping={"text": "a", "embedding": b"\0\1\2"})
    client.hset("rvl:zero", mapping={"text": "a", "embedding": bytes(32)})
    with engine_at(tmp_path) as engine:
        store = open_redis(redis_server.url, prefix="rvl:", text_field="text", vector_field="embedding")
        report = imported(engine, store, tmp_path).report
    assert report.added == 3
    assert report.not_carried == {
        "binary values (picture)": 3,
        "keys of type list": 1,
        "strings that are no JSON objects": 2,
    }
    assert {left.id.removeprefix("rvl:"): left.reason for left in report.left_out} == {
        "no-text": "it has no field 'text'",
        "empty": "its text is empty",
        "no-vector": "it has no vector of numbers (--reembed embeds the texts instead)",
        "short": "its vector has 8 dimensions, the others have 16",
        "odd": "it has no vector of numbers (--reembed embeds the texts instead)",
        "zero": "its vector is zero",
    }


def test_records_that_change_are_replaced_and_those_that_vanish_are_counted(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    client = redis_server.client()
    write_langchain_community(client, entries_of(10), vectors_of(10))
    with engine_at(tmp_path) as engine:
        imported(engine, open_redis(redis_server.url), tmp_path)
        client.hset("doc:papers:node-0", "content", "a new text")
        client.delete("doc:papers:node-9")
        report = imported(engine, open_redis(redis_server.url), tmp_path).report
        assert (report.added, report.replaced, report.unchanged, report.gone) == (0, 1, 8, 1)
        assert engine.document("docs/0.pdf#doc:papers:node-0")[1] == "a new text"


def test_an_import_that_was_killed_goes_on_by_the_same_command(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    write_langchain_community(redis_server.client(), entries_of(900), vectors_of(900))
    command = [sys.executable, str(CHILD), redis_server.url, str(tmp_path)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    with child.stdout:
        acknowledged = int(child.stdout.readline())
        child.kill()
        acknowledged = max([acknowledged, *(int(line) for line in child.stdout if line.strip().isdecimal())])
    child.wait(timeout=60)
    assert acknowledged < 900
    with engine_at(tmp_path) as engine:
        report = imported(engine, open_redis(redis_server.url), tmp_path).report
        assert report.unchanged >= acknowledged
        assert (report.added + report.unchanged, report.left_out) == (900, ())
        assert engine.verify().ok
        assert roll_back(engine, data_dir=tmp_path).documents == 900


def test_a_dry_run_reports_all_and_writes_nothing(redis_server: RedisServer, tmp_path: Path) -> None:
    write_langchain_community(redis_server.client(), entries_of(5), vectors_of(5))
    data = tmp_path / "data"
    with engine_at(data) as engine:
        report = imported(engine, open_redis(redis_server.url), data, Options(dry_run=True)).report
    assert (report.added, report.dry_run, report.dim) == (5, True, 16)
    assert not data.exists()


def test_two_prefixes_are_two_imports(redis_server: RedisServer, tmp_path: Path) -> None:
    client = redis_server.client()
    write_langchain_community(client, entries_of(5), vectors_of(5))
    write_memories(client, entries_of(4), vectors_of(4))
    with engine_at(tmp_path) as engine:
        imported(engine, open_redis(redis_server.url, prefix="doc:"), tmp_path)
        imported(engine, open_redis(redis_server.url, prefix="gemma:"), tmp_path)
        assert len(engine.documents()) == 9
        place = f"redis://{HOST}:{redis_server.port}/0#doc:"
        assert roll_back(engine, data_dir=tmp_path, source=place).documents == 5
    with engine_at(tmp_path) as engine, pytest.raises(NotFoundError, match="no import from"):
        roll_back(engine, data_dir=tmp_path, source=place)


# -- which keys ----------------------------------------------------------------------------------------------


def test_without_a_prefix_the_kinds_of_keys_are_named(redis_server: RedisServer) -> None:
    client = redis_server.client()
    with pytest.raises(NotFoundError, match="/0 has no keys"):
        open_redis(redis_server.url)
    write_langchain_community(client, entries_of(3), vectors_of(3))
    client.set("session:1", "x")
    with pytest.raises(InputError, match=r"several kinds: doc:papers:\* \(3\), session:\* \(1\)") as error:
        open_redis(redis_server.url)
    assert "--prefix" in error.value.hint
    assert len(read_all(open_redis(redis_server.url, prefix=""))[0]) == 3
    with pytest.raises(NotFoundError, match="begins with 'docs:'") as missing:
        open_redis(redis_server.url, prefix="docs:")
    assert "doc:papers:*" in missing.value.hint
    with pytest.raises(NotFoundError, match=r"no key session:\* in .* is a hash or JSON: 1 string"):
        open_redis(redis_server.url, prefix="session:")


def test_keys_that_vanish_or_change_their_type_while_they_are_read_are_passed_over(
    redis_server: RedisServer,
) -> None:
    redis_server.client().rpush("list", "a")
    with connected(server_at(redis_server.url)) as client:
        looked_at = [(b"gone", "hash", 10), (b"gone too", "string", 10), (b"list", "hash", 10)]
        assert list(redis_keys._values(client, looked_at)) == []


def test_documents_of_redisjson_are_read_by_their_command(tmp_path: Path) -> None:
    # Debian's server has no RedisJSON: its GET under the name of that module's command stands for it.
    server = RedisServer(tmp_path / "redis", "--rename-command", "GET", "JSON.GET")
    try:
        text = json.dumps({"text": "a"}).encode()
        server.client().set("doc", text)
        with connected(server_at(server.url)) as client:
            found = list(redis_keys._values(client, [(b"doc", "ReJSON-RL", 10)]))
        assert found == [Key(b"doc", "ReJSON-RL", text, 10)]
    finally:
        server.close()


# -- what can go wrong ---------------------------------------------------------------------------------------


def test_a_server_that_is_not_there_or_does_not_answer_is_named(redis_server: RedisServer) -> None:
    write_langchain_community(redis_server.client(), entries_of(3), vectors_of(3))
    address = f"redis://{HOST}:{redis_server.port}/0"
    redis_server.freeze()
    with pytest.raises(StoreError, match=rf"{address} did not answer within 0.2 s"):
        open_redis(redis_server.url, timeout_s=0.2)
    redis_server.thaw()
    redis_server.kill()
    with pytest.raises(StoreError, match=rf"{address} cannot be reached: .* refused"):
        open_redis(redis_server.url)


def test_a_server_that_dies_while_it_is_read_is_an_error_and_not_a_short_import(
    redis_server: RedisServer,
) -> None:
    write_langchain_community(redis_server.client(), entries_of(3_000), vectors_of(3_000))
    records = open_redis(redis_server.url).read(Losses())
    next(records)
    redis_server.kill()
    with pytest.raises(StoreError, match="cannot be reached"):
        list(records)


def test_a_wrong_login_is_an_error_that_does_not_repeat_it(tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "redis", "--requirepass", "right")
    try:
        with pytest.raises(InputError, match="asks for a password"):
            open_redis(server.url)
        with pytest.raises(InputError, match="refuses the user name or password") as error:
            open_redis(server.url.replace("://", f"://:{quote(SECRET, safe='')}@"))
        assert SECRET not in f"{error.value} {error.value.__cause__!r}"
        root = server.client(password="right")  # noqa: S106
        root.acl_setuser("x", enabled=True, passwords=["+y"], keys=["*"], commands=["+get"])
        with pytest.raises(InputError, match="may not run a command") as denied:
            open_redis(server.url.replace("://", "://x:y@"))
        assert "+@read" in denied.value.hint
    finally:
        server.close()


class _Refusal(StreamRequestHandler):
    def handle(self) -> None:
        """Answers as a web server answers what is no HTTP."""
        self.connection.recv(1 << 16)
        self.wfile.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")


@pytest.fixture
def web_server() -> Iterator[int]:
    """The port of something that is no Redis."""
    with TCPServer((HOST, 0), _Refusal) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_what_is_no_redis_is_said_to_be_none(web_server: int) -> None:
    with pytest.raises(InputError, match=rf"answers at redis://{HOST}:{web_server}/0 is not a Redis"):
        open_redis(f"redis://{HOST}:{web_server}", timeout_s=5)


def test_a_node_of_a_cluster_is_refused_because_it_has_a_part_of_the_keys(redis_cluster: RedisServer) -> None:
    with pytest.raises(InputError, match="is a node of a cluster"):
        open_redis(redis_cluster.url, prefix="")


def test_without_the_library_the_error_names_what_to_install(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(SettingsError) as error:
        open_redis(redis_server.url)
    assert error.value.hint == "pip install 'ragstone[redis]'"


@settings(max_examples=50)
@given(st.text(min_size=6, max_size=20).filter(lambda text: text not in "redis://user@host:6380/2"))
def test_no_password_is_in_what_is_said_of_a_server(password: str) -> None:
    try:
        server = server_at(f"redis://user:{quote(password, safe='')}@host:6380/2")
    except UnicodeEncodeError:
        return
    assert server.address == "redis://host:6380/2"
    assert quote(password, safe="") not in repr(server)


@pytest.mark.parametrize(
    "url",
    [
        "http://:secret@host",
        "redis://:secret@",
        "redis://:secret@host:port",
        "redis://:secret@host:99999",
        "redis://:sec#ret@host",
        "redis://:secret@host/papers",
        "redis://:secret@host/0?socket_timeout=1",
        "redis://:secret@[host",
        "unix://?db=1",
        "redis:/host",
        "reddis://:secret@host",
    ],
)
def test_what_is_no_url_of_a_redis_is_refused_and_not_quoted(url: str) -> None:
    with pytest.raises(InputError, match="not one of a Redis") as error:
        server_at(url)
    assert "sec" not in str(error.value).replace("socket", "")


def test_addresses_are_whole_however_they_are_written() -> None:
    for url, address in [
        ("redis://Host", "redis://host:6379/0"),
        ("redis://host/", "redis://host:6379/0"),
        ("rediss://u:p@host:1?db=3", "rediss://host:1/3"),
        ("redis://[::1]/02", "redis://[::1]:6379/2"),
        ("unix://:p@/run/redis.sock", "unix:///run/redis.sock?db=0"),
        ("unix:///run/redis.sock?db=2", "unix:///run/redis.sock?db=2"),
    ]:
        assert server_at(url).address == address


# -- as a user types it --------------------------------------------------------------------------------------


def test_a_redis_is_imported_searched_and_rolled_back(shell: Shell, redis_server: RedisServer) -> None:
    client = redis_server.client()
    write_langchain_community(client, entries_of(12), vectors_of(12))
    client.hset("doc:papers:broken", mapping={"title": "x"})
    url = redis_server.url
    looked = shell.run("import", "redis", url, "--prefix", "doc:", "--collection", "papers", "--dry-run")
    assert (looked.status, looked.out.split(" · ")[0]) == (1, "12 to import, 0 unchanged, 1 left out")
    assert "left out doc:papers:broken: it has no field 'content'" in looked.err
    assert not (shell.data_dir / "collections").exists()
    client.delete("doc:papers:broken")
    done = shell.run("import", url, "--prefix", "doc:", "--collection", "papers", "--shadow", "5")
    assert (done.status, done.out.splitlines()[0].split(" · ")[:2]) == (
        0,
        ["12 imported, 0 unchanged", "Redis (texts in content, float32 vectors in content_vector) → papers"],
    )
    assert "overlap@10 1.0000" in done.out
    found = shell.run("search", "number 7 ferries", "--collection", "papers", "--json").json
    assert "docs/1.pdf#doc:papers:node-7" in {hit["uri"] for hit in found["hits"]}
    before = tree(shell.data_dir / "collections")
    again = shell.run("import", url, "--prefix", "doc:", "--collection", "papers", "--json").json
    assert (again["added"], again["unchanged"]) == (0, 12)
    assert tree(shell.data_dir / "collections") == before
    undone = shell.run("rollback", url, "--collection", "papers")
    assert undone.out.splitlines()[0] == "12 documents removed, collection papers removed"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["llamaindex", "redis://:secret@host"], "llamaindex is read from files, not from a URL"),
        (["redis://:secret@host", "--only", "x"], "--only is for files"),
        (["somewhere", "--prefix", "doc:"], "--prefix is for a Redis"),
    ],
)
def test_options_and_words_that_do_not_fit_are_refused(shell: Shell, arguments: list[str], said: str) -> None:
    done = shell.run("import", *arguments)
    assert (done.status, done.err.splitlines()[0]) == (2, f"error: {said}")
    assert "secret" not in done.err


def test_a_url_in_the_place_of_the_format_is_not_quoted() -> None:
    with pytest.raises(InputError, match="the format stands before the URL"):
        _format_and_place(["redis://:secret@host", "redis"])


@pytest.mark.parametrize("options", [Options(backup=True), Options(in_place=True)])
def test_what_is_for_files_is_refused_for_a_server(
    redis_server: RedisServer, tmp_path: Path, options: Options
) -> None:
    write_langchain_community(redis_server.client(), entries_of(3), vectors_of(3))
    data = tmp_path / "data"
    with engine_at(data) as engine, pytest.raises(InputError, match="on a server, which is only read"):
        imported(engine, open_redis(redis_server.url), data, options)
    assert not data.exists()
