"""Which photo files lie in folders; files of other kinds are left out and named.

A name with a photo's suffix is taken for one, whatever it holds: `check` tells. Of other
files the first bytes decide.
"""

import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from kerasresnet.arrays import check_names
from kerasresnet.decoding import SUFFIXES, Pixels, has_signature
from kerasresnet.errors import DataError, count_of, listing

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


@dataclass(frozen=True)
class Listed:
    """Photos as folders or a table list them.

    Args:
        class_names: The names that labels count in; empty without labels.
        paths: The photo files.
        labels: For each photo the number of its class, or None.
        parts: For each photo the name of its part, or None.
    """

    class_names: tuple[str, ...]
    paths: tuple[Path, ...]
    labels: Pixels | None = None
    parts: tuple[str, ...] | None = None


def photos_by_class(
    root: Path, class_names: Sequence[str] | None = None, *, keep_empty: bool = False
) -> Listed:
    """Lists the photos of a folder of classes, or of parts that have such folders.

    Args:
        root: The folder.
        class_names: The classes to list, in the order of their labels. Defaults to
            all, sorted.
        keep_empty: Whether a class may have no photo.

    Raises:
        DataError: If the folder or a class is not there, or has no photo.
    """
    if class_names is not None and not len(class_names):
        raise DataError("class_names is empty: name the sub-folders to read.")
    folders = parts_in(root)
    inside = {"": root} if folders is None else folders
    held = {part: class_names_in(folder) for part, folder in inside.items()}
    present = {name for names in held.values() for name in names}
    names = check_names(sorted(present) if class_names is None else class_names)
    rows = [
        (path, label, part)
        for part, folder in inside.items()
        for label, name in enumerate(names)
        # A class may be absent from a part, but not from all of them.
        if name in held[part] or name not in present
        for path in photos_in(folder / name, may_be_empty=keep_empty)
    ]
    paths, labels, parts = zip(*rows, strict=True) if rows else ((), (), ())
    numbers = np.array(labels, "int32")
    return Listed(names, paths, numbers, None if folders is None else parts)


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
    found = (
        f"but {count_of(len(loose), 'image')} directly in it"
        if loose
        else "and no image"
    )
    raise DataError(
        f"{root} has no sub-folder, {found}. Put the images of each class into a "
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


def photos_in(folder: Path, *, may_be_empty: bool = False) -> list[Path]:
    """Returns the photos of one class, sorted; the log names what is left out."""
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder} for the class {folder.name!r}.")
    nested, files = _entries(folder)
    photos = [name for name in files if _is_photo(folder, name)]
    if not photos and not may_be_empty:
        hint = f" Its sub-folders are not read: {listing(nested)}." if nested else ""
        raise DataError(
            f"Class {folder.name!r} in {folder.parent} has no image.{hint} "
            f"Files ending in {', '.join(sorted(SUFFIXES))} are read. Add photos, or "
            "remove the folder (in Python, class_names=[…] can leave it out)."
        )
    if len(photos) < len(files):
        taken = set(photos)
        others = [name for name in files if name not in taken]
        _log.warning(
            "%s: left out %s: %s",
            folder,
            count_of(len(others), "file of another kind", "files of other kinds"),
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


class Foldered(ABC):
    """What `ImageData` has in common with folders: photo files, by class or not."""

    @classmethod
    @abstractmethod
    def _from_listed(cls, found: Listed) -> Self: ...

    @classmethod
    def from_folder(
        cls, directory: str | Path, *, class_names: Sequence[str] | None = None
    ) -> Self:
        """Lists the photos below a folder that has one sub-folder for each class.

        Or below one whose sub-folders `train`, `val` (or `valid`, `validation`) and
        `test` have a sub-folder for each class: then `data.split()` gives these parts.

        Files whose names end as photos do are listed, and others that begin as photos
        do. Hidden files and folders are passed over. Files of other kinds and photos in
        deeper folders are left out, and the log says so.

        Args:
            directory: The folder.
            class_names: Names of the sub-folders to read, in the order of their
                labels. Defaults to all, sorted.

        Returns:
            An `ImageData`, sorted by class and file name.

        Raises:
            DataError: If the folder or a class is missing or has no image.

        Example:

        >>> two = kr.ImageData.from_folder(
        ...     "flower_photos", class_names=["tulips", "daisy"]
        ... )
        >>> two.counts()
        {'tulips': 6, 'daisy': 6}
        """
        return cls._from_listed(photos_by_class(Path(directory), class_names))

    @classmethod
    def from_paths(cls, paths: str | Path | Sequence[str | Path]) -> Self:
        """Lists unlabelled photos, for prediction.

        Args:
            paths: A photo, a folder (every photo in it and below it, sorted; hidden ones
                left out), or photo files in the order wanted.

        Returns:
            An `ImageData` without labels.

        Raises:
            DataError: If a folder holds no photo.

        Example:

        >>> kr.ImageData.from_paths("flower_photos/daisy").take(3)
        ImageData(3 images, unlabelled)
        """
        if isinstance(paths, str | Path):
            path = Path(paths)
            paths = photos_below(path) if path.is_dir() else [path]
        return cls._from_listed(Listed((), tuple(Path(path) for path in paths)))
