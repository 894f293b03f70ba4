"""`keys`: made, listed and revoked; the secret is printed once and opens the service."""

from __future__ import annotations

import json

from cli.shells import Shell
from ragstone.keys import KeyStore


def test_a_key_is_made_listed_and_revoked(shell: Shell) -> None:
    made = shell.run("keys", "add", "laptop", "--may", "write", "--only", "papers, notes", "--days", "90")
    secret = made.out.strip()
    assert made.status == 0
    assert "only now" in made.err
    store = KeyStore(shell.data_dir)
    key = store.find(secret)
    assert key is not None
    assert (key.name, key.permission, key.collections) == ("laptop", "write", ("notes", "papers"))
    listed = shell.run("keys", "list")
    assert "laptop" in listed.out
    assert secret not in listed.out
    (entry,) = shell.run("keys", "list", "--json").json["keys"]
    assert entry["state"].startswith("until 20")
    assert shell.run("keys", "revoke", "laptop").status == 0
    assert store.find(secret) is None
    assert shell.run("keys", "list", "--json").json["keys"][0]["state"] == "revoked"


def test_mistakes_change_nothing(shell: Shell) -> None:
    assert shell.run("keys", "revoke", "nobody").status == 2
    assert shell.run("keys", "add", "x", "--days", "0").status == 2
    assert shell.run("keys", "add", "x", "--may", "everything").status == 2
    assert shell.run("keys", "list", "--json").json["keys"] == []


def test_a_public_address_without_a_key_names_the_command_that_makes_one(shell: Shell) -> None:
    done = shell.run("serve", "--host", "0.0.0.0", "--port", "0")  # noqa: S104
    assert done.status == 2
    assert "ragstone keys add" in done.err
    shell.run("keys", "add", "laptop")
    with shell.start("serve", "--host", "0.0.0.0", "--port", "0", "--json") as process:  # noqa: S104
        try:
            assert process.stdout is not None
            assert "url" in json.loads(process.stdout.readline())
        finally:
            process.terminate()
            process.communicate(timeout=30)
