"""Rows of numbers on disk that survive anything: the files behind the cache of features.

    features-v1/<key>/manifest.json      what the rows are
    features-v1/<key>/<shard>.npy        rows, memory-mapped when they are read
    features-v1/<key>/<shard>.json       their names and the checksum, written last

Every file is written aside and renamed, so that a process that is killed leaves whole
shards or none. Nothing is ever changed in place: two processes at most write a row twice.
No photo and no network is known here; see `features`.
"""

import contextlib
import errno
import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import ml_dtypes
import numpy as np

from kerasresnet.decoding import Pixels
from kerasresnet.errors import CacheError

FORMAT = 1
_FOLDER = f"features-v{FORMAT}"
_SHARD = re.compile(r"[0-9a-f]{32}\.(npy|json|partial)")
# A process needs seconds between the first and the last file of a shard.
_ABANDONED = 3600
_TAG = (
    "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# This folder holds computed features of kerasresnet; it may be deleted at any time.\n"
    "# https://bford.info/cachedir/\n"
)
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """One key of the cache: rows of one kind.

    Args:
        folder: Where the shards are.
        kind: What the rows are, as it was given to `Shards`; empty if that is damaged.
        rows: Number of rows.
        bytes: Size on disk.
        used: When it was last read or written, in seconds since 1970.
    """

    folder: Path
    kind: dict[str, Any]
    rows: int
    bytes: int
    used: float


class Shards:
    """The rows of one kind, on disk.

    Args:
        root: The cache folder. It is made when the first row is written.
        kind: What the rows are: everything that decides their values. JSON.
        shape: Shape of a row.
        dtype: `"float32"` or `"bfloat16"`.
    """

    def __init__(
        self, root: Path, kind: dict[str, Any], shape: tuple[int, ...], dtype: str
    ) -> None:
        text = json.dumps(kind, sort_keys=True)
        key = hashlib.sha256(text.encode()).hexdigest()[:32]
        self.root = root
        self.folder = root / _FOLDER / key
        self._kind = kind
        self.shape = tuple(shape)
        self._dtype = np.dtype(getattr(ml_dtypes, dtype, dtype))
        self._open: dict[str, Pixels] = {}

    @property
    def row_bytes(self) -> int:
        """Size of a row."""
        return int(np.prod(self.shape)) * self._dtype.itemsize

    def find(self, names: Sequence[str]) -> dict[str, tuple[Pixels, int]]:
        """Looks up rows.

        A shard whose checksum is wrong is reported in the log and removed.

        Args:
            names: Names of rows.

        Returns:
            For each name that is there, a memory-mapped array and the number of the row
            in it.
        """
        wanted = set(names)
        found: dict[str, tuple[Pixels, int]] = {}
        for index in self._indices():
            held = _read_index(index)
            if held is None or not wanted.intersection(held["names"]):
                continue
            rows = self._rows(index, held)
            if rows is not None:
                found.update(
                    (name, (rows, number))
                    for number, name in enumerate(held["names"])
                    if name in wanted
                )
        return found

    def write(self, names: Sequence[str], rows: Pixels) -> None:
        """Writes a shard, whole or not at all.

        Args:
            names: Name of each row.
            rows: Array of shape `(len(names), *shape)`.

        Raises:
            CacheError: If the folder cannot be written or the disk is full. What was
                written before is kept.
        """
        shard = self._prepared() / uuid.uuid4().hex
        values = np.ascontiguousarray(rows, self._dtype)
        with _disk_errors(self.root):
            checksum = _write_aside(
                shard.with_suffix(".npy"), lambda file: np.save(file, _plain(values))
            )
            index = {"sha256": checksum, "names": list(names)}
            _write_aside(shard.with_suffix(".json"), _json_writer(index))

    def _prepared(self) -> Path:
        manifest = self.folder / "manifest.json"
        with _disk_errors(self.root):
            self.folder.mkdir(parents=True, exist_ok=True)
            if not manifest.exists():
                tag = self.folder.parent / "CACHEDIR.TAG"
                _write_aside(tag, lambda file: file.write(_TAG.encode()))
                content = {
                    "format": FORMAT,
                    "kind": self._kind,
                    "shape": list(self.shape),
                    "dtype": self._dtype.name,
                }
                _write_aside(manifest, _json_writer(content))
        return self.folder

    def _indices(self) -> list[Path]:
        try:
            files = sorted(self.folder.iterdir())
        except OSError:
            return []
        return [f for f in files if f.suffix == ".json" and _SHARD.fullmatch(f.name)]

    def _rows(self, index: Path, held: dict[str, Any]) -> Pixels | None:
        if index.stem not in self._open:
            path = index.with_suffix(".npy")
            try:
                with path.open("rb") as file:
                    whole = hashlib.file_digest(file, "sha256").hexdigest()
                if whole != held["sha256"]:
                    raise ValueError("its checksum is wrong")
                stored = np.load(path, mmap_mode="r", allow_pickle=False)
                self._open[index.stem] = self._checked(stored, len(held["names"]))
            except FileNotFoundError:
                return None  # another process has removed it
            except (OSError, ValueError) as error:
                _log.warning(
                    "Cached features in %s are damaged (%s): they are computed again.",
                    path,
                    error,
                )
                _remove(index)
                _remove(path)
                return None
        with contextlib.suppress(OSError):
            os.utime(index)
        return self._open[index.stem]

    def _checked(self, stored: Pixels, count: int) -> Pixels:
        rows = stored.view(self._dtype)
        if rows.shape != (count, *self.shape):
            raise ValueError(f"its rows have shape {rows.shape[1:]}")
        return rows


def entries(root: Path) -> list[Entry]:
    """Lists what a cache folder holds, the one used last at the end.

    Args:
        root: The cache folder. It need not exist.
    """
    found = [_entry(folder) for folder in root.glob("features-v*/*") if folder.is_dir()]
    return sorted(found, key=lambda entry: entry.used)


def kinds(root: Path) -> list[dict[str, Any]]:
    """Lists what kinds of rows a cache folder holds, as they were given to `Shards`."""
    return [_kind(folder) for folder in root.glob(f"{_FOLDER}/*")]


def clear(root: Path) -> int:
    """Removes all features from a cache folder, and nothing else.

    Args:
        root: The cache folder. It need not exist.

    Returns:
        The number of bytes that were freed.
    """
    freed = 0
    for version in root.glob("features-v*"):
        for folder in version.iterdir():
            freed += sum(_size(file) for file in _own_files(folder))
            for file in _own_files(folder):
                _remove(file)
            _remove_folder(folder)
        _remove(version / "CACHEDIR.TAG")
        _remove_folder(version)
    return freed


def make_room(root: Path, limit: int, keep: Path) -> None:
    """Removes the shards that were used longest ago, until the rest is within a limit.

    Args:
        root: The cache folder.
        limit: Number of bytes.
        keep: Folder of a key whose shards stay.
    """
    shards = [
        (index, _modified(index), _size(index) + _size(index.with_suffix(".npy")))
        for index in root.glob("features-v*/*/*.json")
        if _SHARD.fullmatch(index.name)
    ]
    total = sum(size for _, _, size in shards)
    for index, _, size in sorted(shards, key=lambda shard: shard[1]):
        if total <= limit:
            return
        if index.parent != keep:
            _log.info("The cache of features is over its limit: %s is removed.", index)
            _remove(index)
            _remove(index.with_suffix(".npy"))
            total -= size
            if not any(_SHARD.fullmatch(f.name) for f in index.parent.iterdir()):
                _remove(index.parent / "manifest.json")
                _remove_folder(index.parent)


def remove_abandoned(root: Path) -> None:
    """Removes what killed processes have left: parts of shards older than an hour."""
    for file in root.glob("features-v*/*/*"):
        partial = file.suffix == ".partial" or (
            file.suffix == ".npy" and not file.with_suffix(".json").exists()
        )
        old = time.time() - _modified(file) > _ABANDONED
        if partial and old and _SHARD.fullmatch(file.name):
            _remove(file)


def check_writable(root: Path, needed: int) -> None:
    """Raises a `CacheError` unless a folder can be written and has room.

    Args:
        root: The cache folder. It is made.
        needed: Number of bytes that will be written.
    """
    with _disk_errors(root):
        root.mkdir(parents=True, exist_ok=True)
        if not root.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "it is a file")
        with tempfile.NamedTemporaryFile(dir=root):
            free = shutil.disk_usage(root).free
    if free < needed:
        raise CacheError(
            f"The features take {needed / 1e9:.1f} GB, but the disk of {root} has "
            f"{free / 1e9:.1f} GB left. {_REMEDY}"
        )


_REMEDY = (
    "`kerasresnet cache clear` empties the cache, the environment variable "
    "KERASRESNET_CACHE or cache=folder puts it elsewhere, cache=False does without."
)


@contextlib.contextmanager
def _disk_errors(root: Path) -> Iterator[None]:
    try:
        yield
    except CacheError:
        raise
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        what = "The disk is full" if full else f"{error.strerror or error}"
        kept = " What was computed before is kept." if full else ""
        raise CacheError(
            f"Features cannot be written into {root}: {what}.{kept} {_REMEDY}"
        ) from error


def _write_aside(path: Path, write: Callable[[IO[bytes]], Any]) -> str:
    """Writes a file aside, renames it, and returns its SHA-256."""
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
        _remove(aside)
        raise
    return checksum


def _json_writer(content: dict[str, Any]) -> Callable[[IO[bytes]], Any]:
    return lambda file: file.write(json.dumps(content).encode())


def _plain(values: Pixels) -> Pixels:
    # NumPy's file format does not know bfloat16.
    return values.view("uint16") if values.dtype == ml_dtypes.bfloat16 else values


def _read_index(path: Path) -> dict[str, Any] | None:
    try:
        held = dict(json.loads(path.read_bytes()))
        return {key: held[key] for key in ("sha256", "names")}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        _log.warning("%s is damaged: its features are computed again.", path)
        _remove(path)
        _remove(path.with_suffix(".npy"))
        return None


def _entry(folder: Path) -> Entry:
    files = list(_own_files(folder))
    indices = [f for f in files if f.suffix == ".json" and _SHARD.fullmatch(f.name)]
    rows = 0
    for index in indices:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            rows += len(json.loads(index.read_bytes())["names"])
    used = max((_modified(file) for file in files), default=0.0)
    return Entry(folder, _kind(folder), rows, sum(_size(file) for file in files), used)


def _kind(folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / "manifest.json").read_bytes())["kind"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _own_files(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        for file in folder.iterdir():
            if file.name == "manifest.json" or _SHARD.fullmatch(file.name):
                yield file


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0


def _modified(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:
        return time.time()


def _remove(file: Path) -> None:
    with contextlib.suppress(OSError):
        file.unlink()


def _remove_folder(folder: Path) -> None:
    # Fails, and should, where somebody else has put a file.
    with contextlib.suppress(OSError):
        folder.rmdir()
