"""The cache folder, and files that are written whole or not at all.

Another process may remove them. Nothing here knows what is in them.
"""

import contextlib
import hashlib
import json
import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any


def cache_root() -> Path:
    """Returns the folder where things are kept that can be computed again.

    `KERASRESNET_CACHE`, or `kerasresnet` in the user's cache folder.
    """
    chosen = os.environ.get("KERASRESNET_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(shared).expanduser() / "kerasresnet"


def write_aside(path: Path, write: Callable[[IO[bytes]], Any]) -> str:
    """Writes a file aside, and renames it when it is whole and on the disk.

    Args:
        path: The file. What was there before is replaced at once, or stays.
        write: Writes the content into an open file.

    Returns:
        The SHA-256 of the content.

    Raises:
        OSError: If it cannot be written. Nothing is left of it.
    """
    aside = path.with_name(f"{uuid.uuid4().hex}.partial")
    try:
        with aside.open("w+b") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
            file.seek(0)
            checksum = hashlib.file_digest(file, "sha256").hexdigest()
        aside.replace(path)
    except BaseException:
        remove(aside)
        raise
    return checksum


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes a file of JSON aside, and renames it."""
    write_aside(path, lambda file: file.write(json.dumps(content).encode()))


# Any of these folders and files may be removed by another process while it is looked at.


def listed(folder: Path) -> list[Path]:
    """Returns what is in a folder, sorted; nothing if it is not there."""
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def size_of(file: Path) -> int:
    """Returns the bytes of a file, 0 if it is gone."""
    try:
        return file.stat().st_size
    except OSError:
        return 0


def modified(file: Path) -> float:
    """Returns when a file was changed, in seconds since 1970; now if it is gone."""
    try:
        return file.stat().st_mtime
    except OSError:
        return time.time()


def remove(file: Path) -> int:
    """Removes a file if it can; returns how many bytes that freed."""
    size = size_of(file)
    try:
        file.unlink()
    except OSError:
        return 0
    return size


def remove_folder(folder: Path) -> None:
    """Removes a folder, unless somebody else has put a file there."""
    with contextlib.suppress(OSError):
        folder.rmdir()
