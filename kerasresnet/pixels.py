"""The images of a set as arrays: read in threads, kept in memory if that is wanted.

In which order they come, and what is done with them, is decided in `pipeline`.
"""

import logging
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np

from kerasresnet.decoding import Pixels, content_of, describe, digest, read_image
from kerasresnet.errors import DataError
from kerasresnet.images import ImageData
from kerasresnet.index import digests, forget

# Up to here rows are kept in memory when `cache="auto"`.
MEMORY_BYTES = 2**31

_log = logging.getLogger(__name__)
# One more than there are cores, so that one may wait for the disk; more only change places.
_pool = ThreadPoolExecutor((os.cpu_count() or 1) + 1, thread_name_prefix="kerasresnet")
# Its work waits for that of the other pool, so it must not take places there.
_ahead = ThreadPoolExecutor(1, thread_name_prefix="kerasresnet-ahead")


class ChangedError(DataError):
    """A photo whose content is not what it was when it was listed."""


class PixelStore:
    """The decoded images of a set at one size, kept in memory if that is wanted.

    Args:
        data: Which images.
        image_size: Height and width that they are resized to.
        cache: Whether they are kept: `"auto"` up to 2 GiB, `"memory"`, or False.
        digests: For each image the digest that its content must have.
    """

    def __init__(
        self,
        data: ImageData,
        image_size: tuple[int, int],
        cache: Any,
        digests: Sequence[str] | None = None,
    ) -> None:
        if not len(data):
            raise DataError("The data has no image.")
        if cache not in ("auto", "memory") and cache is not False:
            raise ValueError(
                f"cache must be 'auto', 'memory' or False, received {cache!r}."
            )
        self.data = data
        self._digests = digests
        self.size = _checked_size(image_size)
        array = data.images
        is_float = array is not None and array.dtype.kind == "f"
        self.dtype = np.dtype("float32" if is_float else "uint8")
        if array is not None and array.shape[1:3] != self.size:
            _log.info(
                "Images of %d x %d are resized to %d x %d.",
                *array.shape[1:3],
                *self.size,
            )
        ready = array is not None and array.shape[1:] == (*self.size, 3)
        shape = (len(data), *self.size, 3)
        keep = not ready and self._is_kept(shape, cache)
        self._kept = np.empty(shape, self.dtype) if keep else None
        self._known = np.zeros(len(data), "bool")

    def _is_kept(self, shape: tuple[int, ...], cache: Any) -> bool:
        needed = math.prod(shape) * self.dtype.itemsize
        if cache == "auto" and needed > MEMORY_BYTES:
            _log.warning(
                "%d images of %d x %d would take %.1f GB of memory: they are decoded "
                "again in every epoch. cache='memory' keeps them.",
                *shape[:3],
                needed / 1e9,
            )
            return False
        return cache is not False

    def fill(self) -> None:
        """Reads every photo, and keeps it if that is wanted; names all that fail."""
        if self._kept is None and self.data.paths is None:
            return
        _log.info("Reading %d images.", len(self.data))
        problems = [p for p in _pool.map(self._try, range(len(self.data))) if p]
        _raise_unreadable(problems, len(self.data))

    def __len__(self) -> int:
        return len(self.data)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of an image."""
        return (*self.size, 3)

    def batch(self, indices: Pixels, draws: Pixels | None = None) -> Pixels:
        """Returns the images of some rows, shape `(batch, H, W, 3)`.

        Args:
            indices: Row numbers.
            draws: Unused: random views are made of images later.
        """
        del draws
        kept = self._kept
        if kept is not None:
            absent = np.unique(indices[~self._known[indices]])
            list(_pool.map(self._keep, absent.tolist()))
            return kept[indices]
        made = np.empty((len(indices), *self.shape), self.dtype)
        list(_pool.map(self._read, indices.tolist(), made))
        return made

    def _try(self, index: int) -> str:
        try:
            self._keep(index)
        except DataError as error:
            return str(error)
        return ""

    def _keep(self, index: int) -> None:
        if self._kept is None:
            self._read(index)
        elif not self._known[index]:
            self._read(index, self._kept[index])
            self._known[index] = True

    def _read(self, index: int, out: Pixels | None = None) -> None:
        photo = self.data.photo(index)
        if self._digests is None:
            read_image(photo, self.size, out=out)
            return
        content = content_of(photo)
        if digest(content) != self._digests[index]:
            if isinstance(photo, Path):
                forget(photo)
            raise ChangedError(
                f"{describe(photo)} changed while it was read. Run again; what was "
                "computed before is kept."
            )
        try:
            read_image(content, self.size, out=out)
        except DataError:
            read_image(photo, self.size, out=out)  # fails, too, and names the file


def _raise_unreadable(problems: Sequence[str], count: int) -> None:
    if problems:
        rest = f"\n  and {len(problems) - 10:,} more" if len(problems) > 10 else ""
        raise DataError(
            f"{len(problems):,} of {count:,} images cannot be read:\n  "
            + "\n  ".join(problems[:10])
            + rest
            + "\nLeave them out with data.without(data.check().unreadable), or with "
            "on_error='skip' (--on-error skip on the command line)."
        )


def content_digests(data: ImageData) -> list[str]:
    """Returns the digest of each image's content.

    Args:
        data: Which images.

    Raises:
        DataError: If a file cannot be read. All that cannot are named.
    """
    if data.paths is None:
        return list(
            _pool.map(lambda n: digest(content_of(data.photo(n))), range(len(data)))
        )
    found = digests(data.paths)
    _raise_unreadable(
        sorted(str(one) for one in found if not isinstance(one, str)), len(data)
    )
    return [one for one in found if isinstance(one, str)]


def image_batches(
    data: ImageData,
    *,
    image_size: tuple[int, int],
    batch_size: int,
    rows: Sequence[int] | None = None,
    digests: Sequence[str] | None = None,
) -> Iterator[Pixels]:
    """Gives the images in order, batch by batch, the next one read meanwhile.

    In plain Python: an unreadable photo is a plain error, not one of TensorFlow's threads.

    Args:
        data: Which images; labels are ignored.
        image_size: Height and width to resize to.
        batch_size: Images in a batch. The last one may be smaller.
        rows: Numbers of the images wanted, in their order. Defaults to all.
        digests: For each image of `data` the digest that its content must have.

    Yields:
        Arrays of shape `(batch, H, W, 3)`, RGB in 0..255.

    Raises:
        DataError: If an image cannot be read, or has changed. All that cannot be read
            are named.
    """
    check_batch_size(batch_size)
    pixels = PixelStore(data, image_size, cache=False, digests=digests)
    wanted = np.arange(len(data)) if rows is None else np.asarray(rows, "int64")
    if not len(wanted):
        return
    chunks = np.split(wanted, range(batch_size, len(wanted), batch_size))
    ahead = _ahead.submit(pixels.batch, chunks[0])
    for number in range(1, len(chunks) + 1):
        try:
            batch = ahead.result()
        except ChangedError:
            raise
        except DataError:
            if len(data) > 1:
                pixels.fill()
            raise
        if number < len(chunks):
            ahead = _ahead.submit(pixels.batch, chunks[number])
        yield batch


def _checked_size(image_size: Any) -> tuple[int, int]:
    size = tuple(image_size) if isinstance(image_size, Iterable) else (image_size,)
    if len(size) != 2 or any(
        not isinstance(side, Integral) or side < 1 for side in size
    ):
        raise ValueError(
            f"image_size must be (height, width) in px, received {image_size!r}."
        )
    return int(size[0]), int(size[1])


def check_batch_size(batch_size: Any) -> None:
    """Raises a `ValueError` unless it is a whole number of at least 1."""
    if not isinstance(batch_size, Integral) or batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, received {batch_size}.")
