"""What is seen of a photo at one look: whether it can be read, its size, and a sketch of it.

A sketch is 8 rows of 9 coloured blocks: enough to tell whether two files show the same
picture, and whether there is anything in it. Nothing is judged here; see `audit`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kerasresnet.decoding import (
    Pixels,
    Problem,
    UnreadableError,
    opened,
    read_image,
)

# Part of the key under which looks are kept: raise it when a look says something else.
VERSION = 1

_ROWS, _COLUMNS = 8, 9
# Photos are looked at in this size; eight pixels to a block.
_SIZE = (8 * _ROWS, 8 * _COLUMNS)
# Rows of an array that are looked at together.
_CHUNK = 1024


@dataclass(frozen=True)
class Look:
    """What one look at a photo tells.

    Args:
        format: Pillow's name of the file's format, `""` for an array or an unreadable
            file.
        width: In pixels, of the photo as it is stored.
        height: In pixels.
        problem: What is wrong with it in a word, or None if it can be read.
        reason: The same in a sentence.
        contrast: How much its pixels differ from each other: the largest standard
            deviation of a colour channel, in levels of 0..255.
        colour: How much its channels differ from each other, on average, in levels.
        sketch: The mean colours of its blocks, in 8 rows of 9: 216 bytes.
    """

    format: str = ""
    width: int = 0
    height: int = 0
    problem: Problem | None = None
    reason: str = ""
    contrast: float = 0.0
    colour: float = 0.0
    sketch: bytes = b""


def look_at(photo: bytes | Pixels) -> Look:
    """Looks at one photo.

    Args:
        photo: The bytes of a file, or an array.

    Returns:
        A `Look`; one with a problem, if the photo cannot be read.
    """
    try:
        pixels = read_image(photo, _SIZE)
    except UnreadableError as error:
        return Look(problem=error.problem, reason=error.reason)
    if not isinstance(photo, bytes):
        return _looks(pixels[None], "", photo.shape[1], photo.shape[0])[0]
    with opened(photo) as image:
        kind, width, height = image.format or "", image.width, image.height
    return _looks(pixels[None], kind, width, height)[0]


def look_at_rows(images: Pixels, rows: Pixels) -> list[Look]:
    """Looks at rows of an array of images `(N, H, W, channels)` or `(N, H, W)`."""
    height, width = images.shape[1:3]
    found: list[Look] = []
    for first in range(0, len(rows), _CHUNK):
        part = images[rows[first : first + _CHUNK]]
        part = part.reshape((*part.shape[:3], -1))
        found += _looks(part[..., :3], "", width, height)
    return found


def sketches_of(looks: Sequence[Look]) -> Pixels:
    """Returns the sketches of looks without a problem, uint8 of shape `(N, 8, 9, 3)`."""
    joined = b"".join(look.sketch for look in looks)
    return np.frombuffer(joined, "uint8").reshape(-1, _ROWS, _COLUMNS, 3)


def _looks(images: Pixels, kind: str, width: int, height: int) -> list[Look]:
    """Looks of images that have been read, shape `(N, H, W, 1 or 3)`."""
    values = images.astype("float32")
    if values.shape[-1] != 3:
        values = np.repeat(values[..., :1], 3, axis=-1)
    contrast = values.std(axis=(1, 2)).max(axis=-1)
    colour = np.ptp(values, axis=-1).mean(axis=(1, 2))
    sketches = np.rint(_blocks(values)).astype("uint8")
    return [
        Look(
            kind,
            width,
            height,
            contrast=float(contrast[i]),
            colour=float(colour[i]),
            sketch=sketches[i].tobytes(),
        )
        for i in range(len(images))
    ]


def _blocks(values: Pixels) -> Pixels:
    for axis, count in ((1, _ROWS), (2, _COLUMNS)):
        side = values.shape[axis]
        edges = np.linspace(0, side, count + 1).astype("int64")
        starts, ends = edges[:-1], np.maximum(edges[1:], edges[:-1] + 1)
        if side < count:  # a block for each, some of them of the same pixels
            values = np.take(values, starts, axis=axis)
            continue
        sums = np.add.reduceat(values, starts, axis=axis)
        shape = [1] * values.ndim
        shape[axis] = count
        values = sums / (ends - starts).reshape(shape)
    return values
