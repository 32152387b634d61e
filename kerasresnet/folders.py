"""Which photo files lie in folders; files of other kinds are left out and named."""

import logging
from pathlib import Path

from kerasresnet.decoding import SUFFIXES
from kerasresnet.errors import DataError, listing

_log = logging.getLogger(__name__)


def class_names_in(root: Path) -> tuple[str, ...]:
    """Returns the names of the sub-folders, sorted; hidden ones left out."""
    if not root.is_dir():
        state = "is a file" if root.exists() else "does not exist"
        raise DataError(
            f"{root} {state}. Expected a folder with one sub-folder for each class."
        )
    entries = [entry for entry in root.iterdir() if not entry.name.startswith(".")]
    names = sorted(entry.name for entry in entries if entry.is_dir())
    if names:
        return tuple(names)
    loose = [entry for entry in entries if entry.suffix.lower() in SUFFIXES]
    found = f"{len(loose):,} images directly in it" if loose else "nothing to read"
    raise DataError(
        f"{root} has no sub-folder, but {found}. Put the images of each class into a "
        f"sub-folder named after the class, such as {root / 'daisy'}."
    )


def photos_in(folder: Path) -> list[Path]:
    """Returns the photos of one class, sorted; the log names what is left out."""
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder} for the class {folder.name!r}.")
    # By name: paths themselves sort otherwise on Windows, and splits follow this order.
    visible = [e for e in folder.iterdir() if not e.name.startswith(".")]
    entries = sorted(visible, key=lambda entry: entry.name)
    photos = [e for e in entries if e.is_file() and e.suffix.lower() in SUFFIXES]
    others = [
        e.name for e in entries if e.is_file() and e.suffix.lower() not in SUFFIXES
    ]
    nested = [e.name for e in entries if e.is_dir()]
    if not photos:
        hint = f" Its sub-folders are not read: {listing(nested)}." if nested else ""
        raise DataError(
            f"Class {folder.name!r} in {folder.parent} has no image.{hint} "
            f"Files ending in {', '.join(sorted(SUFFIXES))} are read; class_names=[…] "
            "chooses the classes."
        )
    if others:
        _log.warning(
            "%s: left out %d files of other kinds: %s",
            folder,
            len(others),
            listing(others),
        )
    if nested:
        _log.warning("%s: left out nested folders: %s", folder, listing(nested))
    return photos


def photos_below(folder: Path) -> list[Path]:
    """Returns the photos in a folder and below it, sorted; hidden ones left out."""
    visible = [
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    found = sorted(visible, key=lambda path: path.as_posix())
    if not found:
        raise DataError(
            f"There is no image in {folder}. Files ending in {', '.join(sorted(SUFFIXES))} "
            "are read."
        )
    return found
