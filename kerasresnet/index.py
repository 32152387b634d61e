"""What is known of photo files from before: digests of their contents, and looks at them.

A small database in the cache folder. A file is known again by its path, size and time, a
content by its digest. Without it everything is read again: a damaged or closed database
costs time, nothing else.
"""

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any

from kerasresnet.audit import Seen
from kerasresnet.decoding import (
    POLICY,
    Pixels,
    UnreadableError,
    content_of,
    digest,
)
from kerasresnet.disk import cache_root, remove
from kerasresnet.looks import VERSION, Look, look_at

NAME = "photos-v1.sqlite3"
# A file that changed so shortly before may change again within one tick of its clock.
_SETTLED = 2e9
_ROWS = 500  # in one statement
_SCHEMA = """
CREATE TABLE IF NOT EXISTS files (
    path TEXT PRIMARY KEY, size INTEGER, time INTEGER, digest TEXT
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS looks (
    digest TEXT, version TEXT, format TEXT, width INTEGER, height INTEGER,
    problem TEXT, reason TEXT, contrast REAL, colour REAL, sketch BLOB,
    PRIMARY KEY (digest, version)
) WITHOUT ROWID;
"""
_VERSION = f"{VERSION}.{POLICY}"
_COLUMNS = [field.name for field in fields(Look)]
_log = logging.getLogger(__name__)
_pool = ThreadPoolExecutor(thread_name_prefix="kerasresnet-look")
_lock = threading.Lock()


def seen_files(paths: Sequence[Path], *, look: bool = True) -> list[Seen]:
    """Returns what is known of photo files, after looking at those that are new.

    Args:
        paths: The files.
        look: Whether more than the digest of their contents is wanted.
    """
    held = digests(paths)
    places = [n for n, found in enumerate(held) if isinstance(found, str)]
    contents = [str(held[n]) for n in places]
    looks = [Look()] * len(contents)
    if look:
        looks = _looks_at(contents, lambda n: content_of(paths[places[n]]))
    seen = {
        n: Seen(str(paths[n]), str(held[n]), looks[k]) for k, n in enumerate(places)
    }
    return [
        Seen.unreadable(str(path), found)
        if isinstance(found, UnreadableError)
        else seen[n]
        for n, (path, found) in enumerate(zip(paths, held, strict=True))
    ]


def seen_contents(
    contents: Sequence[bytes | Pixels], sources: Sequence[str]
) -> list[Seen]:
    """Returns what is known of images in memory, after looking at each.

    Args:
        contents: Bytes of files, and arrays.
        sources: A name for each.
    """
    return [
        Seen(source, digest(content), look)
        for source, content, look in zip(
            sources, contents, _pool.map(look_at, contents), strict=True
        )
    ]


def digests(paths: Sequence[Path]) -> list[str | UnreadableError]:
    """Returns the digest of each file's content, or the error that it cannot be read.

    Args:
        paths: The files.
    """
    names = [os.path.abspath(path) for path in paths]  # noqa: PTH100 - links are kept
    states = list(_pool.map(_state, paths))
    known = _known_files(names)
    found: list[str | UnreadableError] = [
        known[name][2] if state and known.get(name, ())[:2] == state else ""
        for name, state in zip(names, states, strict=True)
    ]
    todo = [number for number, digest in enumerate(found) if not digest]
    fresh: list[tuple[Any, ...]] = []
    answers = _pool.map(_digest, [paths[n] for n in todo])
    for number, answer in zip(todo, answers, strict=True):
        found[number] = answer
        state = states[number]
        if isinstance(answer, str) and state and _is_settled(paths[number], state):
            fresh.append((names[number], *state, answer))
    _write("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", fresh)
    return found


def _looks_at(
    contents: Sequence[str], read: Callable[[int], bytes | Pixels]
) -> list[Look]:
    """Returns a look at each of some contents.

    Args:
        contents: Their digests.
        read: Returns the content of a number, if it was not looked at before.
    """
    known = _known_looks(sorted(set(contents)))
    first = {name: number for number, name in reversed(list(enumerate(contents)))}
    missing = sorted((n for name, n in first.items() if name not in known))
    if missing:
        _log.info("Looking at %d photos that were not seen before.", len(missing))

    def look(number: int) -> Look:
        try:
            return look_at(read(number))
        except UnreadableError as error:  # it has vanished since
            return Look(problem=error.problem, reason=error.reason)

    for start in range(0, len(missing), _ROWS):
        part = missing[start : start + _ROWS]
        fresh = dict(
            zip((contents[n] for n in part), _pool.map(look, part), strict=True)
        )
        known.update(fresh)
        _write(
            f"INSERT OR REPLACE INTO looks VALUES ({', '.join('?' * 10)})",
            [
                (name, _VERSION, *astuple(found))
                for name, found in fresh.items()
                if found.problem != "missing"
            ],
        )
    return [known[name] for name in contents]


def forget(path: Path) -> None:
    """Forgets the digest of a file whose content turned out to be another."""
    _write("DELETE FROM files WHERE path = ?", [(os.path.abspath(path),)])  # noqa: PTH100


def clear(root: Path) -> int:
    """Removes the database from a cache folder; returns how many bytes that freed."""
    return remove(root / NAME)


def _state(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def _is_settled(path: Path, state: tuple[int, int]) -> bool:
    """Whether a file is what it was, and old enough that its time would tell a change."""
    return state == _state(path) and time.time_ns() - state[1] > _SETTLED


def _digest(path: Path) -> str | UnreadableError:
    try:
        return digest(content_of(path))
    except UnreadableError as error:
        return error


def _known_files(paths: Sequence[str]) -> dict[str, tuple[int, int, str]]:
    rows = _read("SELECT path, size, time, digest FROM files WHERE path", paths)
    return {path: (size, changed, held) for path, size, changed, held in rows}


def _known_looks(names: Sequence[str]) -> dict[str, Look]:
    columns = ", ".join(_COLUMNS)
    rows = _read(
        f"SELECT digest, {columns} FROM looks WHERE version = '{_VERSION}' AND digest",
        names,
    )
    return {row[0]: Look(*row[1:]) for row in rows}


# The database -----------------------------------------------------------------------


def _read(query: str, keys: Sequence[str]) -> list[tuple[Any, ...]]:
    def select(database: sqlite3.Connection) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = []
        for start in range(0, len(keys), _ROWS):
            part = keys[start : start + _ROWS]
            marks = ", ".join("?" * len(part))
            found += database.execute(f"{query} IN ({marks})", part).fetchall()
        return found

    if not keys or not (cache_root() / NAME).exists():
        return []
    return _done(select) or []


def _write(query: str, rows: Iterable[tuple[Any, ...]]) -> None:
    rows = list(rows)

    def insert(database: sqlite3.Connection) -> None:
        database.executescript(_SCHEMA)
        database.executemany(query, rows)
        database.commit()

    if rows:
        _done(insert)


def _done(work: Callable[[sqlite3.Connection], Any]) -> Any:
    """The result of some work with the database, or None if that is out of reach."""
    file = cache_root() / NAME
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with _lock, closing(sqlite3.connect(file, timeout=20)) as database:
            return work(database)
    except sqlite3.OperationalError as error:  # locked, read-only, full, or not there
        _log.info("What is known of photos cannot be used: %s: %s.", file, error)
    except sqlite3.DatabaseError as error:
        _log.warning("%s is damaged (%s): photos are looked at again.", file, error)
        remove(file)
    except OSError as error:
        _log.info("What is known of photos cannot be kept: %s.", error)
    return None
