"""The cache folder as its owner sees it: what it holds, what is wrong with it, how to clear it.

Lines of text for `kerasresnet cache` and `kerasresnet doctor`. How things are kept is the
matter of `shards` and `index`.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path

from kerasresnet.caching import cache_limit
from kerasresnet.disk import size_of
from kerasresnet.errors import CacheError, count_of
from kerasresnet.index import NAME
from kerasresnet.index import clear as clear_index
from kerasresnet.shards import Entry, entries
from kerasresnet.shards import clear as clear_features

_UNKNOWN = {"stage": "?", "image_size": "?", "precision": "?"}


def holdings(root: Path) -> Iterator[str]:
    """Gives the lines that tell what a cache folder holds.

    Args:
        root: The cache folder. It need not exist.
    """
    kept = entries(root)
    total = size_text(sum(entry.bytes for entry in kept))
    number = count_of(len(kept), "entry", "entries")
    limit, *wrong = _limit()
    yield f"{root}: {total}{limit and f' of {limit}'}, {number}"
    yield f"what was seen of photos: {size_text(size_of(root / NAME))}"
    yield from [*wrong, *_obstacle(root)]
    if kept:
        yield "\nlast used            rows      size  stage     image size  precision"
    yield from map(_row, kept)


def cleared(root: Path) -> str:
    """Empties a cache folder, and returns what was removed from it.

    Args:
        root: The cache folder. What else is in it stays.

    Raises:
        CacheError: If something could not be removed.
    """
    features, seen = clear_features(root), clear_index(root)
    rest = sum(entry.bytes for entry in entries(root)) + size_of(root / NAME)
    if rest:
        why = "; ".join(_obstacle(root)) or "a file is in use or closed to you"
        raise CacheError(f"{size_text(rest)} in {root} could not be removed: {why}.")
    return (
        f"{root}: {size_text(features)} of features and {size_text(seen)} of what was "
        "seen of photos removed"
    )


def state(root: Path) -> str:
    """Returns in a line where the cache is, its limit, and what is wrong with either."""
    limit, *wrong = _limit()
    found = [f"{root}, {limit} at most" if limit else str(root)]
    return "; ".join([*found, *wrong, *_obstacle(root)])


def size_text(count: float) -> str:
    """Returns a number of bytes with three digits and its unit, such as `"1.23 MB"`."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


def _limit() -> tuple[str, ...]:
    """The limit; or nothing, and what is wrong with the number that was given for it."""
    try:
        return (f"{cache_limit() / 1e9:g} GB",)
    except ValueError as error:
        return "", str(error).rstrip(".")


def _obstacle(root: Path) -> list[str]:
    """Why a folder cannot be written; nothing is made to find out."""
    there = next(path for path in (root, *root.parents) if os.access(path, os.F_OK))
    if not there.is_dir():
        return [f"it cannot be used, because {there} is a file"]
    if not os.access(there, os.W_OK | os.X_OK):
        return [f"it cannot be written, because {there} is closed to you"]
    return []


def _row(entry: Entry) -> str:
    used = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.used))
    kind = _UNKNOWN | entry.kind
    pixels = " x ".join(str(side) for side in kind["image_size"])
    return (
        f"{used}  {entry.rows:>7,}  {size_text(entry.bytes):>8}  {kind['stage']:<8}  "
        f"{pixels:<10}  {kind['precision']}"
    )
