"""`backup`, `restore` and `watch` as people and scripts run them."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

from cli.shells import Run, Shell, write_documents


def test_a_backup_goes_beside_the_collections_and_says_where(here: Run, indexed: Shell) -> None:
    done = here("backup")
    assert done.status == 0
    size, _, path = done.out.splitlines()[0].partition(": ")
    assert Path(path).parent == indexed.data_dir / "backups"
    assert Path(path).name.startswith("default-")
    assert " in " in size
    assert done.out.splitlines()[1] == "default: 2 documents, 2 chunks"


def test_what_was_backed_up_is_found_where_it_was_restored(here: Run, tmp_path: Path) -> None:
    made = here("backup", tmp_path, "--json").json
    assert [home["name"] for home in made["collections"]] == ["default"]
    elsewhere = {"RAGSTONE_DATA_DIR": str(tmp_path / "elsewhere")}
    done = here("restore", made["path"], env=elsewhere)
    assert done.status == 0
    assert done.out.splitlines()[0].startswith("1 collection restored in ")
    assert done.out.splitlines()[1] == "default: 2 documents, 2 chunks"
    hits = here("search", "lighthouse", "--mode", "keyword", "--json", env=elsewhere).json["hits"]
    assert [Path(hit["uri"]).name for hit in hits] == ["keeper.txt"]
    again = here("restore", made["path"], env=elsewhere)
    assert (again.status, "there is a collection 'default' already" in again.err) == (2, True)
    named = here("restore", made["path"], "--collection", "then", "--json", env=elsewhere).json
    assert [home["name"] for home in named["collections"]] == ["then"]
    every = here("backup", tmp_path, "--all", "--json", env=elsewhere).json
    assert Path(every["path"]).name.startswith("all-")
    assert [home["name"] for home in every["collections"]] == ["default", "then"]
    replaced = here("restore", made["path"], "--replace", env=elsewhere)
    assert replaced.out.splitlines()[1].endswith("in the place of the one that was there")


def test_a_file_that_is_no_backup_is_an_error(here: Run, tmp_path: Path) -> None:
    other = tmp_path / "notes.tar"
    other.write_text("hello")
    done = here("restore", other, "--json")
    assert done.status == 1
    assert json.loads(done.err)["error"]["code"] == "damaged"
    assert here("backup", other).status == 2
    nothing = here("backup", tmp_path / "x.tar", "--all", env={"RAGSTONE_DATA_DIR": str(tmp_path / "empty")})
    assert (nothing.status, "no collection in" in nothing.err) == (2, True)


class Events:
    """A `watch --json` at work, read event by event."""

    def __init__(self, child: subprocess.Popen[str]) -> None:
        self.child = child
        self._limit = threading.Timer(60, child.kill)  # no wait without an end
        self._limit.start()

    def next(self) -> Any:
        assert self.child.stdout is not None
        return json.loads(self.child.stdout.readline())

    def end(self, number: signal.Signals) -> int:
        self.child.send_signal(number)
        assert self.next() == {"event": "stopped"}
        _, err = self.child.communicate(timeout=30)
        self._limit.cancel()
        self._limit.join()
        assert err == ""
        return self.child.returncode


def test_a_watch_follows_files_until_it_is_told_to_end(shell: Shell) -> None:
    docs = shell.folder / "docs"
    write_documents(docs)
    events = Events(shell.start("watch", "docs", "--json"))
    first = events.next()
    assert (first["event"], first["documents"]["indexed"]) == ("indexed", 2)
    (docs / "new.txt").write_text("The kiosk sells tickets.")
    (docs / "keeper.txt").unlink()
    second = events.next()
    assert second["documents"]["indexed"] == 1
    assert second["removed"] == [str(docs / "keeper.txt")]
    hits = shell.run("search", "kiosk", "--mode", "keyword", "--json").json["hits"]
    assert [Path(hit["uri"]).name for hit in hits] == ["new.txt"]
    assert events.end(signal.SIGTERM) == 0


def test_ctrl_c_ends_a_watch_without_an_error(shell: Shell) -> None:
    write_documents(shell.folder / "docs")
    watch = shell.start("watch", "docs")
    assert watch.stdout is not None
    lines = [watch.stdout.readline() for _ in range(3)]
    assert [line.split()[0] for line in lines[:2]] == ["indexed", "indexed"]
    assert "2 indexed, 0 unchanged, 0 removed" in lines[2]
    watch.send_signal(signal.SIGINT)
    out, err = watch.communicate(timeout=30)
    assert (watch.returncode, out, err) == (0, "stopped\n", "")


def test_a_folder_that_is_not_there_is_not_watched(here: Run) -> None:
    done = here("watch", "nowhere")
    assert (done.status, "no file or folder" in done.err) == (2, True)
