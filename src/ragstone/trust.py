"""Which files may be used without reading them first: those whose checksums held since this machine started.

A process that dies loses nothing of a file that was fsynced; a machine that loses power may. So the files of a folder
are trusted while size, mtime and inode of each and the kernel's boot id are those of the moment they were sealed or
last verified; otherwise their checksums are verified first. The note is advisory and may be deleted.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def is_trusted(folder: Path, files: Sequence[Path] | None = None) -> bool:
    """Whether these files of `folder`, None: all, are what was sealed or verified, as far as stat can tell."""
    try:
        note = json.loads(_note(folder, files).read_bytes())
        return bool(note == _fingerprint(folder, files)) and note["boot_id"] is not None
    except (OSError, ValueError):  # no note, or a file is being removed: the checksums will tell
        return False


def trust(folder: Path, files: Sequence[Path] | None = None) -> None:
    """Record that these files of `folder`, None: all, have just been sealed or verified; a read-only disk leaves no
    note."""
    note = _note(folder, files)
    draft = note.with_suffix(f".{os.getpid()}.draft")
    try:
        draft.write_text(json.dumps(_fingerprint(folder, files)))
        draft.replace(note)
    except OSError:
        # Without the note the next open verifies again: slower, never wrong.
        draft.unlink(missing_ok=True)


def forget(folder: Path) -> None:
    """Remove the note of a folder that is going away."""
    _note(folder, None).unlink(missing_ok=True)


def _note(folder: Path, files: Sequence[Path] | None) -> Path:
    """Beside a folder all of whose files it is about, in one where it is about some."""
    return folder.with_name(f"{folder.name}.trusted") if files is None else folder / ".trusted"


def _fingerprint(folder: Path, files: Sequence[Path] | None) -> dict[str, object]:
    try:
        boot_id = _BOOT_ID.read_text().strip()
    except OSError:
        boot_id = None  # no such thing on this system: verify at every open
    seen = {
        path.name: [(stat := path.stat()).st_size, stat.st_mtime_ns, stat.st_ino]
        for path in sorted(folder.iterdir() if files is None else files)
    }
    return {"boot_id": boot_id, "files": seen}
