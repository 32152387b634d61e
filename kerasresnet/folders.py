"""Which photo files lie in folders; files of other kinds are left out and named.

A name with a photo's suffix is taken for one, whatever it holds: `check` tells. Of other
files the first bytes decide.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kerasresnet.decoding import SUFFIXES, has_signature
from kerasresnet.errors import DataError, listing

# What the folders of a divided set are called, and the parts that they stand for.
PARTS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
_log = logging.getLogger(__name__)


def class_names_in(root: Path) -> tuple[str, ...]:
    """Returns the names of the sub-folders, sorted; hidden ones left out."""
    if not root.is_dir():
        state = "is a file" if root.exists() else "does not exist"
        raise DataError(
            f"{root} {state}. Expected a folder with one sub-folder for each class."
        )
    names, files = _entries(root)
    if names:
        return tuple(names)
    loose = [name for name in files if _is_photo(root, name)]
    found = f"{len(loose):,} images directly in it" if loose else "nothing to read"
    raise DataError(
        f"{root} has no sub-folder, but {found}. Put the images of each class into a "
        f"sub-folder named after the class, such as {root / 'daisy'}."
    )


def parts_in(root: Path) -> dict[str, Path] | None:
    """Returns the folders of a set that is divided already, or None if it is not.

    It is divided if its sub-folders are called `train`, `val`, `test` or the like, at
    least two of them, and have sub-folders themselves.

    Raises:
        DataError: If two folders stand for the same part.
    """
    names = class_names_in(root)
    if len(names) < 2 or any(name.lower() not in PARTS for name in names):
        return None
    if not all(_entries(root / name)[0] for name in names):
        return None
    found: dict[str, Path] = {}
    for name in names:
        part = PARTS[name.lower()]
        if part in found:
            raise DataError(
                f"{found[part]} and {root / name} both stand for the part {part!r}."
            )
        found[part] = root / name
    return {
        part: found[part] for part in dict.fromkeys(PARTS.values()) if part in found
    }


def photos_in(folder: Path) -> list[Path]:
    """Returns the photos of one class, sorted; the log names what is left out."""
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder} for the class {folder.name!r}.")
    nested, files = _entries(folder)
    photos = [name for name in files if _is_photo(folder, name)]
    if not photos:
        hint = f" Its sub-folders are not read: {listing(nested)}." if nested else ""
        raise DataError(
            f"Class {folder.name!r} in {folder.parent} has no image.{hint} "
            f"Files ending in {', '.join(sorted(SUFFIXES))} are read; class_names=[…] "
            "chooses the classes."
        )
    if len(photos) < len(files):
        taken = set(photos)
        others = [name for name in files if name not in taken]
        _log.warning(
            "%s: left out %d files of other kinds: %s",
            folder,
            len(others),
            listing(others),
        )
    if nested:
        _log.warning("%s: left out nested folders: %s", folder, listing(nested))
    return [folder / name for name in photos]


def photos_below(folder: Path) -> list[Path]:
    """Returns the photos in a folder and below it, sorted; hidden ones left out."""
    found = (
        sorted(_below(folder), key=lambda p: p.as_posix()) if folder.is_dir() else []
    )
    if not found:
        raise DataError(
            f"There is no image in {folder}. Files ending in {', '.join(sorted(SUFFIXES))} "
            "are read."
        )
    return found


def _below(folder: Path) -> Iterator[Path]:
    nested, files = _entries(folder)
    yield from (folder / name for name in files if _is_photo(folder, name))
    for name in nested:
        if not (folder / name).is_symlink():  # which may lead up again
            yield from _below(folder / name)


def _entries(folder: Path) -> tuple[list[str], list[str]]:
    """Names of the folders and of everything else in a folder, sorted, hidden ones left out.

    By name: paths themselves sort otherwise on Windows, and splits follow this order.
    """
    folders: list[str] = []
    files: list[str] = []
    with _readable(folder), os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith("."):
                (folders if entry.is_dir() else files).append(entry.name)
    return sorted(folders), sorted(files)


@contextmanager
def _readable(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(
            f"The folder {folder} cannot be read: {error.strerror}."
        ) from error


def _is_photo(folder: Path, name: str) -> bool:
    return os.path.splitext(name)[1].lower() in SUFFIXES or has_signature(  # noqa: PTH122
        folder / name
    )
