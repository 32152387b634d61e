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
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from kerasresnet.decoding import Pixels
from kerasresnet.disk import (
    listed,
    modified,
    remove,
    remove_folder,
    size_of,
    write_aside,
    write_json,
)
from kerasresnet.errors import CacheError

FORMAT = 1
_FOLDER = f"features-v{FORMAT}"
_VERSION = re.compile(r"features-v\d+")
_KEY = re.compile(r"[0-9a-f]{32}")
_SHARD = re.compile(r"[0-9a-f]{32}\.(npy|json|partial)")
# A process needs seconds between the first and the last file of a shard.
_ABANDONED = 3600
_ATTEMPTS = 5
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
        self._written: set[str] = set()

    @property
    def used(self) -> set[Path]:
        """The indices of the shards that were read or written through this object."""
        names = {*self._open, *self._written}
        return {self.folder / f"{name}.json" for name in names}

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
        values = np.ascontiguousarray(rows, self._dtype)
        with _disk_errors(self.root):
            for attempt in range(_ATTEMPTS):
                try:
                    self._write(list(names), values)
                    return
                except FileNotFoundError:
                    # Another process has cleared the cache meanwhile.
                    if attempt == _ATTEMPTS - 1:
                        raise

    def _write(self, names: list[str], values: Pixels) -> None:
        shard = self._prepared() / uuid.uuid4().hex
        array = shard.with_suffix(".npy")
        checksum = write_aside(array, lambda file: np.save(file, _plain(values)))
        index = {"sha256": _seal(checksum, names), "names": names}
        try:
            write_json(shard.with_suffix(".json"), index)
        except BaseException:
            remove(array)
            raise
        self._written.add(shard.name)

    def _prepared(self) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        if _kind(self.folder) != self._kind:
            tag = self.folder.parent / "CACHEDIR.TAG"
            write_aside(tag, lambda file: file.write(_TAG.encode()))
            content = {
                "format": FORMAT,
                "kind": self._kind,
                "shape": list(self.shape),
                "dtype": self._dtype.name,
            }
            write_json(self.folder / "manifest.json", content)
        return self.folder

    def _indices(self) -> list[Path]:
        return [file for file in _shard_files(self.folder) if file.suffix == ".json"]

    def _rows(self, index: Path, held: dict[str, Any]) -> Pixels | None:
        if index.stem not in self._open:
            path = index.with_suffix(".npy")
            try:
                self._open[index.stem] = self._opened(path, held)
            except (ValueError, EOFError) as error:
                _report_damage(index, error)
                return None
            except OSError as error:
                # Removed by another process, or out of reach for the moment.
                _log.info("Cached features in %s cannot be read: %s.", path, error)
                return None
        with contextlib.suppress(OSError):
            os.utime(index)
        return self._open[index.stem]

    def _opened(self, path: Path, held: dict[str, Any]) -> Pixels:
        with path.open("rb") as file:
            checksum = hashlib.file_digest(file, "sha256").hexdigest()
        if _seal(checksum, held["names"]) != held["sha256"]:
            raise ValueError("the checksum is wrong")
        stored = np.load(path, mmap_mode="r", allow_pickle=False)
        expected = (len(held["names"]), *self.shape)
        if stored.shape != expected or stored.itemsize != self._dtype.itemsize:
            raise ValueError(f"rows of {stored.dtype} and shape {stored.shape[1:]}")
        return stored.view(self._dtype)


def entries(root: Path) -> list[Entry]:
    """Lists what a cache folder holds, the one used last at the end.

    Args:
        root: The cache folder. It need not exist.
    """
    return sorted(map(_entry, _key_folders(root)), key=lambda entry: entry.used)


def kinds(root: Path) -> list[dict[str, Any]]:
    """Lists what kinds of rows a cache folder holds, as they were given to `Shards`."""
    return [
        _kind(folder) for folder in _key_folders(root) if folder.parent.name == _FOLDER
    ]


def clear(root: Path) -> int:
    """Removes all features from a cache folder, and nothing else.

    Args:
        root: The cache folder. It need not exist.

    Returns:
        The number of bytes that were freed.
    """
    freed = 0
    for folder in _key_folders(root):
        freed += sum(map(remove, _own_files(folder)))
        remove_folder(folder)
    for version in _version_folders(root):
        remove(version / "CACHEDIR.TAG")
        for file in _shard_files(version):
            remove(file)
        remove_folder(version)
    return freed


def make_room(root: Path, limit: int, keep: Collection[Path] = ()) -> None:
    """Removes the shards that were used longest ago, until the rest is within a limit.

    Args:
        root: The cache folder.
        limit: Number of bytes.
        keep: Indices of shards that stay.
    """
    shards = [
        (modified(index), size_of(index) + size_of(index.with_suffix(".npy")), index)
        for folder in _key_folders(root)
        for index in _shard_files(folder)
        if index.suffix == ".json"
    ]
    total = sum(size for _, size, _ in shards)
    for _, size, index in sorted(shards):
        if total <= limit:
            return
        if index not in keep:
            _log.info("The cache of features is over its limit: %s is removed.", index)
            remove(index)
            remove(index.with_suffix(".npy"))
            total -= size
            if not _shard_files(index.parent):
                remove(index.parent / "manifest.json")
                remove_folder(index.parent)


def remove_abandoned(root: Path) -> None:
    """Removes what killed processes have left: parts of shards older than an hour."""
    for folder in (*_version_folders(root), *_key_folders(root)):
        for file in _shard_files(folder):
            twin = file.with_suffix(".npy" if file.suffix == ".json" else ".json")
            old = time.time() - modified(file) > _ABANDONED
            if old and (file.suffix == ".partial" or not twin.exists()):
                remove(file)


def check_writable(root: Path, needed: int) -> None:
    """Raises a `CacheError` unless a folder can be written and has room.

    Args:
        root: The cache folder. It is made.
        needed: Number of bytes that will be written.
    """
    with _disk_errors(root):
        if root.exists() and not root.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "It is a file")
        root.mkdir(parents=True, exist_ok=True)
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


def _plain(values: Pixels) -> Pixels:
    # NumPy's file format does not know bfloat16.
    return values.view("uint16") if values.dtype == ml_dtypes.bfloat16 else values


def _seal(checksum: str, names: Sequence[str]) -> str:
    """The checksum of a shard: of its rows, and of the names that they go by."""
    return hashlib.sha256(json.dumps([checksum, *names]).encode()).hexdigest()


def _read_index(path: Path) -> dict[str, Any] | None:
    try:
        held = dict(json.loads(path.read_bytes()))
        found = {key: held[key] for key in ("sha256", "names")}
        if not all(isinstance(name, str) for name in found["names"]):
            raise TypeError("names that are no texts")
    except OSError:
        return None  # removed by another process, or out of reach for the moment
    except (ValueError, KeyError, TypeError) as error:
        _report_damage(path, error)
        return None
    return found


def _report_damage(index: Path, error: Exception) -> None:
    _log.warning(
        "Cached features in %s are damaged (%s): they are computed again.",
        index.with_suffix(".npy"),
        error,
    )
    remove(index)
    remove(index.with_suffix(".npy"))


def _entry(folder: Path) -> Entry:
    files = _own_files(folder)
    rows = 0
    for index in files:
        if index.suffix == ".json" and _SHARD.fullmatch(index.name):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                rows += len(json.loads(index.read_bytes())["names"])
    used = max(map(modified, files), default=0.0)
    return Entry(folder, _kind(folder), rows, sum(map(size_of, files)), used)


def _kind(folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / "manifest.json").read_bytes())["kind"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _version_folders(root: Path) -> list[Path]:
    found = [folder for folder in listed(root) if _VERSION.fullmatch(folder.name)]
    return [folder for folder in found if folder.is_dir()]


def _key_folders(root: Path) -> list[Path]:
    found = [folder for version in _version_folders(root) for folder in listed(version)]
    return [f for f in found if _KEY.fullmatch(f.name) and f.is_dir()]


def _shard_files(folder: Path) -> list[Path]:
    return [file for file in listed(folder) if _SHARD.fullmatch(file.name)]


def _own_files(folder: Path) -> list[Path]:
    manifest = folder / "manifest.json"
    return [*([manifest] if manifest.exists() else []), *_shard_files(folder)]
