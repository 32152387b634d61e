"""The folder of a run, and the record of what the run was: enough to do it again."""

import hashlib
import json
import platform
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasresnet._version import __version__
from kerasresnet.backends import backend
from kerasresnet.disk import remove, remove_folder, write_aside
from kerasresnet.errors import ArtifactError, DataError, listing
from kerasresnet.images import ImageData
from kerasresnet.pixels import content_digests

MANIFEST = "manifest.json"
# What the command line writes before a run and, last of all, after it.
SETTINGS, SPLIT, REPORT = "settings.json", "split.csv", "report.txt"
NOTES = (SETTINGS, SPLIT)


def new_folder(parent: Path, name: str) -> Path:
    """Makes the first of `name-1`, `name-2`, … that does not exist yet."""
    parent.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        folder = parent / f"{name}-{number}"
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
        else:
            return folder


def empty_folder(folder: Path, *, but: Collection[str] = NOTES) -> Path:
    """Makes a folder, or takes an empty one; refuses one that holds anything.

    Args:
        folder: The folder.
        but: Names of files that may be in there: those that the command line puts there
            before it begins a run.

    Raises:
        ArtifactError: If it cannot be made.
        DataError: If it holds anything else, or is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is a file. Choose another folder for the results.")
    if folder.exists() and any(path.name not in but for path in folder.iterdir()):
        held, way = "is not empty", ""
        if _is_unfinished(folder):
            held = "holds a run that failed or was stopped before its end"
            way = "go on with it (resume=True, on the command line --resume), "
        raise DataError(
            f"{folder} {held}. Choose another folder for the results, {way}or remove this one "
            "if nothing in it is needed."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArtifactError(
            f"{folder} cannot be made: {error}. Choose a folder for the results that can be "
            "written to."
        ) from error
    return folder


def _is_unfinished(folder: Path) -> bool:
    if (folder / MANIFEST).exists() and not read_manifest(folder)["finished"]:
        return True
    return (folder / SETTINGS).exists() and not (folder / REPORT).exists()


@contextmanager
def begun_in(folder: Path) -> Iterator[None]:
    """Takes a folder away again if the job fails before a run has begun in it."""
    try:
        yield
    except BaseException:
        if not (folder / MANIFEST).exists():
            for name in NOTES:
                remove(folder / name)
            remove_folder(folder)
        raise


def write_manifest(folder: Path, record: Mapping[str, Any]) -> None:
    """Writes what a run is, whole or not at all.

    Args:
        folder: Folder of the run.
        record: Anything that JSON holds, with an entry `"finished"`.
    """
    text = json.dumps(record, indent=2, ensure_ascii=False, default=_plain)
    write_aside(folder / MANIFEST, lambda file: file.write(f"{text}\n".encode()))


def read_manifest(folder: Path) -> dict[str, Any]:
    """Returns what a run is.

    Args:
        folder: Folder of the run.

    Raises:
        ArtifactError: If there is no run, or its record is damaged.
    """
    file = folder / MANIFEST
    try:
        return dict(json.loads(file.read_text("utf-8")))
    except FileNotFoundError:
        raise ArtifactError(
            f"There is no run in {folder}: {MANIFEST} is missing. Begin one without resume."
        ) from None
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{file} is damaged: {error}.") from error


def data_digest(data: ImageData) -> str:
    """Returns a fingerprint of images, their order and their labels."""
    found = hashlib.sha256()
    labels = np.asarray(data.labels).tolist()
    for digest, label in zip(content_digests(data), labels, strict=True):
        found.update(f"{digest} {label}\n".encode())
    return found.hexdigest()[:32]


def versions() -> dict[str, str]:
    """Returns the versions of all that decides what a run comes to."""
    return {
        "kerasresnet": __version__,
        "keras": keras.__version__,
        "tensorflow": tf.__version__,
        "backend": backend(),
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def check_same(folder: Path, then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raises an `ArtifactError` unless two records describe the same run.

    Args:
        folder: Folder of the run, for the message.
        then: The record in there.
        now: What is to go on.
    """
    now = json.loads(json.dumps(now, default=_plain))
    other = [name for name, value in now.items() if then.get(name) != value]
    if other:
        raise ArtifactError(
            f"The run in {folder} cannot go on, because this is not what it was begun with: "
            f"{listing(other)}. Begin a new one in another folder."
        )


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    return str(value)
