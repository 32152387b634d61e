"""Fetching published files: to a temporary name, on after a break, checked, then renamed.

Nothing else is in the network's reach here: no other module of the library downloads
weights.
"""

import contextlib
import errno
import http.client
import logging
import os
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from kerasresnet.errors import WeightsError
from kerasresnet.releases import PublishedFile

if sys.platform != "win32":
    import fcntl

MIRROR = "KERASRESNET_WEIGHTS_MIRROR"
# ResNet152 is half as large.
_LARGEST = 2**29
_TIMEOUT = 30.0
_ATTEMPTS = 5
_PAUSE = 1.0
_BLOCK = 2**20
# Asking again would not help.
_FINAL = (400, 401, 403, 404, 407, 410, 451)
_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EIO)
_LOG = logging.getLogger(__name__)


def address(file: PublishedFile) -> str:
    """Returns where a file is fetched from: its publisher, or the mirror.

    `KERASRESNET_WEIGHTS_MIRROR` is a base URL (http, https, file) or a folder.

    Args:
        file: A published file.

    Raises:
        WeightsError: If the mirror is an address of another kind.
    """
    mirror = os.environ.get(MIRROR)
    if not mirror:
        return file.url
    scheme = urlsplit(mirror).scheme
    if len(scheme) > 1 and scheme not in ("http", "https", "file"):
        raise WeightsError(
            f"{MIRROR} must be an address that begins with http:, https: or file:, or a "
            f"folder; received {mirror!r}."
        )
    if len(scheme) <= 1:
        return (Path(mirror).expanduser().absolute() / file.name).as_uri()
    return f"{mirror.rstrip('/')}/{file.name}"


def download(file: PublishedFile, folder: Path) -> Path:
    """Downloads a published file into a folder, whole and checked, or not at all.

    A download that broke goes on where it stopped, in a later call, too. Of two processes
    at once each downloads by itself, and the first to be done leaves the file.

    Args:
        file: A published file.
        folder: Made if need be.

    Returns:
        The path of the file.

    Raises:
        WeightsError: If it cannot be fetched, is another file, or the folder cannot be
            written.
    """
    url = address(file)
    path = folder / file.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _partial(path) as (stream, aside):
            _LOG.info("downloading %s into %s", url, folder)
            _fetch(file, url, stream, aside)
            if sys.platform == "win32":
                stream.close()
            aside.replace(path)
    except OSError as error:
        raise WeightsError(
            f"The weights folder {folder} cannot be written ({error}). Set KERAS_HOME to a "
            "folder that can, or pass weights=path."
        ) from error
    _LOG.info("%s is complete: %s", path, file.digest)
    return path


@contextlib.contextmanager
def _partial(path: Path) -> Iterator[tuple[IO[bytes], Path]]:
    """Opens the temporary file: the one to go on with, or one's own if that is in use."""
    shared = path.with_name(f"{path.name}.part")
    stream = _locked(shared)
    if stream is not None:
        with stream:
            try:
                yield stream, shared
            finally:
                _drop_empty(stream, shared)
        return
    own = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    try:
        with own.open("a+b") as stream:
            yield stream, own
    finally:
        own.unlink(missing_ok=True)


def _drop_empty(stream: IO[bytes], path: Path) -> None:
    # Nobody else removes or renames it while the lock is held.
    with contextlib.suppress(OSError):
        if stream.seek(0, os.SEEK_END) == 0:
            path.unlink()


def _locked(path: Path) -> IO[bytes] | None:
    if sys.platform == "win32":
        return None
    stream = path.open("a+b")
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The process that held it may just have renamed it.
        if os.path.samestat(os.fstat(stream.fileno()), path.stat()):
            return stream
    except OSError:
        pass
    stream.close()
    return None


def _fetch(file: PublishedFile, url: str, stream: IO[bytes], aside: Path) -> None:
    resumed = stream.seek(0, os.SEEK_END) > 0
    _receive(file, url, stream)
    difference = file.difference(aside)
    if difference and resumed:
        # What was there may have been of another file.
        stream.truncate(0)
        _receive(file, url, stream)
        difference = file.difference(aside)
    if difference:
        stream.truncate(0)
        raise WeightsError(_another_file(file, url, difference))


def _another_file(file: PublishedFile, url: str, difference: str) -> str:
    if url.startswith("file:"):
        return (
            f"{url} in the mirror is not the published file: {difference}. Replace it there "
            f"by {file.url}, or unset {MIRROR}."
        )
    return (
        f"What was received from {url} is not the published file: {difference}. It was "
        "thrown away. Something between here and there may have changed it, such as a "
        "login page or a proxy."
    )


def _receive(file: PublishedFile, url: str, stream: IO[bytes]) -> None:
    """Asks until the whole file is there, or nothing more comes."""
    idle = 0
    while True:
        start = stream.seek(0, os.SEEK_END)
        try:
            if _receive_rest(file, url, stream, start):
                stream.flush()
                os.fsync(stream.fileno())
                return
            why: object = "the connection broke"
        except (http.client.HTTPException, OSError) as error:
            _check_worth_asking_again(error, file, url, stream)
            why = error
        _LOG.info("%s: %s", url, why)
        idle = 0 if stream.seek(0, os.SEEK_END) > start else idle + 1
        if idle >= _ATTEMPTS:
            raise WeightsError(_unreachable(file, url, why))
        time.sleep(_PAUSE * (idle + 1))


def _check_worth_asking_again(
    error: Exception, file: PublishedFile, url: str, stream: IO[bytes]
) -> None:
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        if error.code == 416:
            # What is there is longer than the file.
            stream.truncate(0)
        final = error.code in _FINAL
    elif isinstance(error, urllib.error.URLError):
        # No connection: only worth another try if there was one before.
        final = stream.seek(0, os.SEEK_END) == 0
    elif isinstance(error, OSError) and error.errno in _OF_THE_DISK:
        raise error
    else:
        final = False
    if final:
        raise WeightsError(_unreachable(file, url, error)) from error


def _receive_rest(file: PublishedFile, url: str, stream: IO[bytes], start: int) -> bool:
    headers = {"User-Agent": "kerasresnet"}
    if start:
        headers["Range"] = f"bytes={start}-"
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:
        if start and not _goes_on(answer, start):
            start = 0
            stream.truncate(0)
        length = answer.headers.get("Content-Length")
        total = start + int(length) if length else None
        limit = file.size or _LARGEST
        if (total or 0) > limit:
            raise WeightsError(
                f"{url} has {total:,} bytes, expected {limit:,} at most: it is another file."
            )
        received = _copy(answer, stream, start, total, limit)
    return received >= (total or 1)


def _goes_on(answer: Any, start: int) -> bool:
    span = answer.headers.get("Content-Range") or ""
    return answer.status == 206 and span.startswith(f"bytes {start}-")


def _copy(
    answer: Any, stream: IO[bytes], start: int, total: int | None, limit: int
) -> int:
    import keras  # here, because the command that lists files does without

    received = start
    bar = keras.utils.Progbar(total, unit_name="byte")
    while block := answer.read(_BLOCK):
        received += len(block)
        if received > limit:
            stream.truncate(0)
            raise WeightsError(f"The server sent more than {limit:,} bytes.")
        stream.write(block)
        if keras.utils.is_interactive_logging_enabled():
            bar.update(received)
    return received


def _unreachable(file: PublishedFile, url: str, why: object) -> str:
    mirror = os.environ.get(MIRROR)
    place = f"the mirror {mirror} ({MIRROR})" if mirror else urlsplit(url).netloc
    return (
        f"The ImageNet weights are not on this machine and could not be downloaded from "
        f"{place} ({why}). Get {file.url} ({file.digest}) elsewhere and run `kerasresnet "
        f"weights import FILE`; set {MIRROR} to an address or a folder that has it; pass "
        "weights='path/to/file' for a file of your own, or weights=None to start from "
        "random weights."
    )
