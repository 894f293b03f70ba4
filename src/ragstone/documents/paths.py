"""The one guard between a name that came from outside and a path on this machine."""

from __future__ import annotations

from pathlib import Path

from ragstone.errors import InputError

# 4,096 bytes: PATH_MAX on Linux; 255 bytes: NAME_MAX of every common file system.
MAX_PATH_BYTES = 4_096
MAX_NAME_BYTES = 255


def safe_join(root: Path, user_path: str) -> Path:
    """The real path of `user_path` below `root`; it need not exist.

    Links are resolved first, so a link that leads out of `root` is refused as well. `user_path` uses
    `/`; a back slash, a drive, a control character, a name of dots only or an absolute path is refused even
    where this system would allow it, so that a name means the same everywhere.
    Raises `InputError` (code `invalid_input`) and touches nothing.
    """
    _check_characters(user_path)
    parts = user_path.split("/")
    if any(part in {"", ".", ".."} for part in parts):
        raise _refused(user_path, "it is empty, absolute, or has an empty, '.' or '..' part")
    if any(len(part.encode()) > MAX_NAME_BYTES for part in parts):
        raise _refused(user_path, f"a part is longer than {MAX_NAME_BYTES} bytes")
    base = root.resolve()
    try:
        target = base.joinpath(*parts).resolve()
    except (OSError, RuntimeError) as error:  # a loop of links
        raise _refused(user_path, f"it cannot be resolved: {error}") from error
    if target == base or not target.is_relative_to(base):
        raise _refused(user_path, "it leads outside the folder")
    return target


def _check_characters(user_path: str) -> None:
    try:
        size_bytes = len(user_path.encode())
    except UnicodeEncodeError as error:
        raise _refused(user_path, "it is not valid Unicode") from error
    if size_bytes > MAX_PATH_BYTES:
        raise _refused(user_path[:80], f"it has {size_bytes} bytes, the limit is {MAX_PATH_BYTES}")
    if "\\" in user_path or any(ord(character) < 32 or ord(character) == 127 for character in user_path):
        raise _refused(user_path, "it has a back slash or a control character")
    if len(user_path) > 1 and user_path[1] == ":" and user_path[0].isalpha():
        raise _refused(user_path, "it names a drive")


def _refused(user_path: str, reason: str) -> InputError:
    return InputError(
        f"path {user_path!a} is refused: {reason}", hint="give a relative path inside the folder"
    )
